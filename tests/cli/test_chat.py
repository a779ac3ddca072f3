"""`penstock chat`: one answer, a conversation, and what is said when something is wrong."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.cli import conversation
from penstock.cli.chat import local_target
from penstock.config import load
from tests.cli.conftest import Gateway, Run


def test_one_answer_is_streamed(run: Run, gateway: Gateway) -> None:
    gateway.say("Hel", "lo", usage=2)
    ran = run("chat", "hi", "--url", gateway.url, "--key", "k", "--system", "be kind", "--max-tokens", "5")
    assert (ran.code, ran.out) == (0, "Hello\n")
    assert "first token" in ran.err
    assert "2 tokens" in ran.err
    assert gateway.keys == ["Bearer k"]
    assert gateway.seen == [
        {
            "model": "tiny",
            "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 5,
        }
    ]


def test_json_is_the_only_thing_on_stdout(run: Run, gateway: Gateway) -> None:
    gateway.say("a", "b")
    ran = run("chat", "hi", "--json", "--model", "other", "--url", f"{gateway.url}/v1/")
    document = json.loads(ran.out)
    assert (document["model"], document["content"], document["finish_reason"]) == ("other", "ab", "stop")
    assert document["usage"] is None
    assert document["ttft_s"] >= 0


def test_a_piped_prompt_is_read(run: Run, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.say("ok")
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe\n"))
    assert run("chat", "--url", gateway.url).out == "ok\n"
    assert gateway.seen[0]["messages"] == [{"role": "user", "content": "from a pipe\n"}]


def test_where_the_config_listens(run: Run, gateway: Gateway) -> None:
    gateway.say("ok")
    Path("penstock.yaml").write_text(
        f"listen: {{port: {gateway.url.rpartition(':')[2]}}}\nauth: {{keys: [{'k' * 20}]}}\n"
    )
    assert run("chat", "hi").out == "ok\n"
    assert gateway.keys == ["Bearer " + "k" * 20]


@pytest.mark.parametrize(
    ("host", "base"),
    [("0.0.0.0", "http://127.0.0.1:8080/v1"), ("::", "http://[::1]:8080/v1"), ("::1", "http://[::1]:8080/v1")],
)
def test_an_address_that_can_be_dialled(host: str, base: str) -> None:
    config = load(None, {}, (f"listen.host='{host}'", f"auth.keys.0={'k' * 20}")).config
    assert local_target(config, None).base == base


def test_not_running(run: Run) -> None:
    Path("penstock.yaml").write_text("listen: {port: 1}")
    ran = run("chat", "hi")
    assert (ran.code, ran.out) == (1, "")
    assert (
        ran.err
        == "penstock: nothing answers at http://127.0.0.1:1/v1; start it with `penstock up`, or point --url elsewhere\n"
    )


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, {"error": {"message": "no model\nx", "code": "model_not_found"}}, "no model x (model_not_found)"),
        (401, {"error": {"message": "wrong key"}}, "wrong key; give the key with --key or PENSTOCK_API_KEY"),
        (500, "nonsense", "the gateway answered with status 500"),
    ],
)
def test_an_error_is_one_line(run: Run, gateway: Gateway, status: int, body: object, said: str) -> None:
    gateway.status, gateway.body = status, json.dumps(body).encode()
    ran = run("chat", "hi", "--url", gateway.url)
    assert (ran.code, ran.err) == (1, f"penstock: {said}\n")


def test_an_error_inside_the_stream(run: Run, gateway: Gateway) -> None:
    gateway.say("begin")
    gateway.events[1:] = [
        b": beat\n\ndata: {nonsense\n\n",
        b'data: {"error": {"message": "it died", "code": "upstream_reset"}}\n\n',
    ]
    ran = run("chat", "hi", "--url", gateway.url)
    assert (ran.code, ran.out) == (1, "begin")
    assert ran.err.endswith("penstock: it died (upstream_reset)\n")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("  ",), "PROMPT: it is empty"),
        (("hi", "--url", "localhost:1"), "--url 'localhost:1': write http://host:port"),
        (("hi", "--max-tokens", "0"), "'--max-tokens': 0"),
        (("hi", "--nope"), "--nope"),
        (("hi", "-c", "missing.yaml"), "cannot read config missing.yaml"),
    ],
)
def test_bad_input(run: Run, arguments: tuple[str, ...], part: str) -> None:
    assert part in run("chat", *arguments).refusal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lines a person types; an exception is raised where it stands, and the end of the lines is Ctrl-D."""

    def script(*lines: str | type[BaseException]) -> None:
        left = iter(lines)

        def answer(_: str) -> str:
            line = next(left, EOFError)
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr("builtins.input", answer)

    return script


def test_a_conversation_keeps_its_history(run: Run, gateway: Gateway, typed: Callable[..., None]) -> None:
    gateway.say("yes")
    typed("one", KeyboardInterrupt, "", "two", "/model big", "/clear", "three", "/what", "/exit", "never")
    ran = run("chat", "--url", gateway.url)
    assert (ran.code, ran.out) == (0, "yes\nyes\nyes\n")
    assert [[m["content"] for m in body["messages"]] for body in gateway.seen] == [
        ["one"],
        ["one", "yes", "two"],
        ["three"],
    ]
    assert [body["model"] for body in gateway.seen] == ["tiny", "tiny", "big"]
    assert "/what is unknown" in ran.err


def test_an_error_does_not_end_a_conversation(run: Run, gateway: Gateway, typed: Callable[..., None]) -> None:
    gateway.status, gateway.body = 503, b'{"error": {"message": "busy"}}'
    typed("one", "two")
    ran = run("chat", "--url", gateway.url)
    assert ran.code == 0
    assert ran.err.count("penstock: busy") == 2
    assert [len(body["messages"]) for body in gateway.seen] == [1, 1]


def test_ctrl_c_stops_the_answer_and_not_the_program(
    run: Run, gateway: Gateway, typed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.say("part", "rest")
    taken = conversation._take

    def interrupt(data: str, answer: conversation.Answer, write: Callable[[str], None]) -> None:
        taken(data, answer, write)
        if len(gateway.seen) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(conversation, "_take", interrupt)
    typed("one", "two")
    ran = run("chat", "--url", gateway.url)
    assert (ran.code, ran.out) == (0, "part\npartrest\n")
    assert "[stopped; " in ran.err
    assert [m["content"] for m in gateway.seen[1]["messages"]] == ["one", "part", "two"]


def test_a_model_cannot_steer_the_terminal(run: Run, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.say("a\x1b[2Jb\u009bc\n\té")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run("chat", "hi", "--url", gateway.url).out == "a[2Jbc\n\té\n"
