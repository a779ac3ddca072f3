"""`penstock chat`: talks to a model through the running gateway, in the terminal."""

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

import click
import httpx

from penstock.cli.conversation import Answer, Target, first_model, stream
from penstock.cli.finding import Finding
from penstock.cli.options import complete_model, config_option, json_option, read_config
from penstock.config.schema import Config

with contextlib.suppress(ImportError):
    import readline  # noqa: F401 - importing it gives `input` line editing and history

COMMANDS = "/model NAME changes the model, /clear forgets the conversation, /exit leaves"


@dataclass(slots=True)
class Session:
    """One conversation: what was said, and how to ask."""

    client: httpx.Client
    target: Target
    model: str
    system: str | None
    options: dict[str, Any]
    said: list[dict[str, str]] = field(default_factory=list)

    def ask(self, prompt: str, write: Callable[[str], None]) -> Answer:
        """Streams one answer. An interrupt ends the answer and keeps what came of it."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        question = {"role": "user", "content": prompt}
        answer = Answer()
        body = {
            "model": self.model,
            "messages": [*system, *self.said, question],
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.options,
        }
        with contextlib.suppress(KeyboardInterrupt):
            stream(self.client, self.target, body, answer, write)
            self.said += [question, {"role": "assistant", "content": answer.text}]
            return answer
        answer.finish_reason = "interrupted"
        if answer.text:
            self.said += [question, {"role": "assistant", "content": answer.text}]
        return answer


class Asked(TypedDict):
    """The options of the command, as click passes them."""

    model: str | None
    url: str | None
    key: str | None
    system: str | None
    max_tokens: int | None
    temperature: float | None
    config: Path | None


@click.command("chat")
@click.argument("prompt", required=False)
@click.option("--model", shell_complete=complete_model, help="Model to ask.  [default: the first one served]")
@click.option("--url", envvar="PENSTOCK_URL", help="Base URL of the API.  [default: where the config listens]")
@click.option("--key", envvar="PENSTOCK_API_KEY", help="API key.  [default: the first of the config's keys]")
@click.option("--system", help="System message.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@click.option("--temperature", type=click.FloatRange(min=0), help="Sampling temperature.")
@config_option
@json_option
def command(prompt: str | None, as_json: bool, **asked: Unpack[Asked]) -> None:
    """Talk to a model through the running gateway.

    With PROMPT, or with text on standard input, one answer is streamed. Without either a conversation starts:
    /clear forgets it, /model NAME changes the model, /exit or Ctrl-D leaves, Ctrl-C stops an answer.
    """
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is not None and not prompt.strip():
        raise click.UsageError("PROMPT: it is empty; write the question, or leave it out to converse")
    if prompt is None and as_json:
        raise click.UsageError("--json: a conversation is not JSON; give PROMPT")
    target = _target(asked["url"], asked["key"], asked["config"])
    given = {"max_tokens": asked["max_tokens"], "temperature": asked["temperature"]}
    options = {name: value for name, value in given.items() if value is not None}
    with target.client() as client:
        model = asked["model"] or first_model(client, target)
        session = Session(client, target, model, asked["system"], options)
        if prompt is None:
            _converse(session)
        elif as_json:
            _print_json(session, session.ask(prompt, lambda _: None))
        else:
            _finish(session.ask(prompt, _write), leave=True)


def _target(url: str | None, key: str | None, path: Path | None) -> Target:
    if url:
        base = url.rstrip("/")
        if not base.startswith(("http://", "https://")):
            raise click.UsageError(f"--url {url!r}: write http://host:port")
        return Target(base if base.endswith("/v1") else f"{base}/v1", key)
    return local_target(read_config(path).config, key)


def local_target(config: Config, key: str | None) -> Target:
    """The gateway that this config starts, dialled on this machine."""
    listen = config.listen
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    place = f"[{host}]" if ":" in host else host
    scheme = "https" if listen.tls else "http"
    chosen = key or (config.auth.keys[0] if config.auth.keys else None)
    certificate = listen.tls.certificate if listen.tls else None
    return Target(f"{scheme}://{place}:{listen.port}/v1", chosen, certificate, local=True)


def _converse(session: Session) -> None:
    click.echo(f"{session.model} at {session.target.base}. {COMMANDS}.", err=True)
    while True:
        try:
            line = input("> ").strip()
        except KeyboardInterrupt:
            click.echo(err=True)
            continue
        except EOFError:
            click.echo(err=True)
            return
        if line in ("/exit", "/quit"):
            return
        if line.startswith("/"):
            _command(session, line)
        elif line:
            try:
                _finish(session.ask(line, _write), leave=False)
            except Finding as error:
                click.echo(f"\npenstock: {error.format_message()}", err=True)


def _command(session: Session, line: str) -> None:
    name, _, argument = line.partition(" ")
    if name == "/clear":
        session.said.clear()
        click.echo("forgotten", err=True)
    elif name == "/model" and argument.strip():
        session.model = argument.strip()
        click.echo(f"now {session.model}", err=True)
    elif name == "/model":
        click.echo(session.model, err=True)
    else:
        click.echo(f"{name} is unknown; {COMMANDS}", err=True)


def _finish(answer: Answer, *, leave: bool) -> None:
    stopped = answer.finish_reason == "interrupted"
    click.echo()
    click.echo(f"[{'stopped; ' if stopped else ''}{answer.summary()}]", err=True)
    if stopped and leave:
        raise click.Abort


def _print_json(session: Session, answer: Answer) -> None:
    document = {
        "model": session.model,
        "content": answer.text,
        "finish_reason": answer.finish_reason,
        "usage": answer.usage,
        "ttft_s": answer.ttft,
        "total_s": answer.total,
        "tokens_per_s": answer.rate,
    }
    click.echo(json.dumps(document, ensure_ascii=False))


def _write(text: str) -> None:
    if sys.stdout.isatty():  # A model must not steer the terminal: no escape sequences.
        text = "".join(c for c in text if c in "\n\t" or (c.isprintable() or ord(c) > 0x9F))
    click.echo(text, nl=False)
    sys.stdout.flush()
