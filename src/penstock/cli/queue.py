"""`penstock queue`: the durable queue, and what became of a request in it."""

import logging
import sys
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar, cast

import click
import httpx
import uvloop

from penstock.cli.options import json_option
from penstock.core.errors import ConfigError, PenstockError

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT_S = 70.0
"""More than the listener lets a client wait for an answer."""
LONGEST_WAIT_S = 60


class Given(TypedDict):
    """Options of `serve` and `pull`."""

    broker: str
    gateway: str
    prefix: str
    concurrency: int
    most: int
    keep: float
    expires: float
    silent: float
    replicas: int
    answer_bytes: int
    drain: float


def _broker_options(function: F) -> F:
    options = [
        click.option(
            "--broker",
            envvar="PENSTOCK_BROKER",
            default="redis://127.0.0.1:6379/0",
            show_default=True,
            help="redis://, rediss://, nats:// or tls:// URL; or in PENSTOCK_BROKER.",
        ),
        click.option("--gateway", default="http://127.0.0.1:8080", show_default=True, help="Address of the API."),
        click.option("--prefix", default="penstock", show_default=True, help="Of all names in the broker."),
        click.option(
            "--concurrency",
            type=click.IntRange(0, 4096),
            default=16,
            show_default=True,
            help="Requests that this process runs at once; 0 runs none.",
        ),
        click.option(
            "--most",
            type=click.IntRange(1),
            default=100_000,
            show_default=True,
            help="Requests in the queue; then 429.",
        ),
        click.option(
            "--keep",
            type=click.FloatRange(60),
            default=86_400.0,
            show_default=True,
            help="Seconds that an answer is kept.",
        ),
        click.option(
            "--expires",
            type=click.FloatRange(1),
            default=43_200.0,
            show_default=True,
            help="Seconds after which a request is not started any more; less than --keep.",
        ),
        click.option(
            "--silent",
            type=click.FloatRange(2, 3600),
            default=30.0,
            show_default=True,
            help="Seconds of silence after which a puller is taken for dead.",
        ),
        click.option(
            "--replicas", type=click.IntRange(1, 5), default=1, show_default=True, help="Copies of a message (NATS)."
        ),
        click.option(
            "--answer-bytes",
            type=click.IntRange(1024),
            default=64 * 1024 * 1024,
            show_default=True,
            help="Largest answer that is kept.",
        ),
        click.option(
            "--drain",
            type=click.FloatRange(0),
            default=30.0,
            show_default=True,
            help="Seconds for what runs when it is stopped; the rest is given back.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _client_options(function: F) -> F:
    for option in (
        click.option("--key", envvar="PENSTOCK_API_KEY", default="", help="The key the request was sent with."),
        click.option(
            "--queue",
            envvar="PENSTOCK_QUEUE",
            default="http://127.0.0.1:8082",
            show_default=True,
            help="Address of the queue's listener.",
        ),
    ):
        function = option(function)
    return function


@click.group("queue")
def command() -> None:
    """Accept requests into Redis or NATS, have the gateway answer them, and look at what became of one."""


@command.command("serve")
@_broker_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8082, show_default=True, help="Port to listen on.")
@click.option(
    "--body-bytes",
    type=click.IntRange(1024),
    default=8 * 1024 * 1024,
    show_default=True,
    help="Largest request; then 413.",
)
@click.option("--relaxed", is_flag=True, help="Take a Redis that may lose what it was told when it crashes.")
def serve(host: str, port: int, body_bytes: int, relaxed: bool, **given: Any) -> None:
    """Listen for requests, and run them at the gateway.

    A request is accepted (202) once the broker has it on disk. Its answer is at /v1/queue/ID.
    """
    _run(cast(Given, given), relaxed=relaxed, listen={"host": host, "port": port, "body_bytes": body_bytes})


@command.command("pull")
@_broker_options
def pull(**given: Any) -> None:
    """Run requests at the gateway, and listen nowhere. Start as many as there is work for."""
    if not given["concurrency"]:
        raise ConfigError("--concurrency: 0 runs nothing; give at least 1")
    _run(cast(Given, given), relaxed=True, listen=None)


def _run(given: Given, *, relaxed: bool, listen: dict[str, Any] | None) -> None:
    # They bring a web server along, which the other commands do not need.
    from penstock.gateway.durable.serve import serve as serve_queue  # noqa: PLC0415
    from penstock.gateway.durable.settings import Settings  # noqa: PLC0415
    from penstock.state.queue.broker import BrokerSettings  # noqa: PLC0415
    from penstock.state.queue.brokers import open_broker  # noqa: PLC0415

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line per request is no news
    if given["expires"] > given["keep"]:
        raise ConfigError(f"--expires: {given['expires']:g} s is more than --keep, {given['keep']:g} s; give less")
    broker = open_broker(
        BrokerSettings(
            given["broker"], given["prefix"], given["keep"], given["silent"], given["most"], given["replicas"]
        )
    )
    settings = Settings(
        gateway=given["gateway"].rstrip("/").removesuffix("/v1"),
        concurrency=given["concurrency"],
        answer_bytes=given["answer_bytes"],
        expires_s=given["expires"],
        silent_s=given["silent"],
        drain_s=given["drain"],
        **(listen or {}),
    )

    def started(url: str) -> None:
        what = f"Queue on {url}; " if url else ""
        click.echo(f"{what}pulling for {settings.gateway}, {settings.concurrency} at once; Ctrl-C stops it")

    try:
        uvloop.run(serve_queue(broker, settings, relaxed=relaxed, listen=listen is not None, started=started))
    except OSError as error:
        raise ConfigError(f"--port: {error}; choose another") from None


@command.command("status")
@click.argument("request_id", metavar="[ID]", required=False)
@_client_options
@json_option
def status(request_id: str | None, queue: str, key: str, as_json: bool) -> None:
    """Print the state of the request ID, or how much is in the queue."""
    if request_id is None:
        gauges = _gauges(_ask(queue, key, "/metrics").text)
        if as_json:
            click.echo(httpx.Response(200, json=gauges).text)
        else:
            for name, value in gauges.items():
                click.echo(f"{name:<16}  {value:g}")
        return
    found = _ask(queue, key, f"/v1/queue/{request_id}/status")
    if as_json:
        click.echo(found.text)
        return
    for name, value in found.json().items():
        if value is not None:
            click.echo(f"{name:<16}  {value}")


@command.command("result")
@click.argument("request_id", metavar="ID")
@click.option(
    "--wait", type=click.IntRange(0), default=0, show_default=True, help="Seconds to wait for it; 0 does not wait."
)
@_client_options
@click.pass_context
def result(ctx: click.Context, request_id: str, wait: int, queue: str, key: str) -> None:
    """Print the answer of the request ID as it is; exit 1 when it is an error, or not there."""
    while True:
        now = min(wait, LONGEST_WAIT_S)
        found = _ask(queue, key, f"/v1/queue/{request_id}?wait={now}", any_status=True)
        wait -= now
        if found.status_code != 202 or "x-penstock-queue" in found.headers or wait <= 0:
            break
    sys.stdout.buffer.write(found.content)
    sys.stdout.flush()
    if not 200 <= found.status_code < 400 or "x-penstock-queue" not in found.headers:
        ctx.exit(1)


def _gauges(text: str) -> dict[str, float]:
    """The queue's numbers in Prometheus text."""
    begins = "penstock_durable_queue_"
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name.startswith(begins) and "{" not in name:
            found[name.removeprefix(begins)] = float(value)
    return found


def _ask(queue: str, key: str, path: str, *, any_status: bool = False) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        found = httpx.get(queue.rstrip("/") + path, headers=headers, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        raise PenstockError(f"no queue answers on {queue}: {error}; start one: penstock queue serve") from None
    if not any_status and found.status_code != 200:
        try:
            reason = found.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            reason = f"it answered {found.status_code}"
        raise PenstockError(f"{queue}: {reason}")
    return found
