"""`penstock picker`: answers Envoy's question where a request goes."""

import logging
from collections.abc import Coroutine
from pathlib import Path

import click
import uvloop

from penstock.cli.options import config_option, read_config, set_option
from penstock.config import Loaded
from penstock.core.errors import ConfigError

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("picker")
@config_option
@set_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=9002, show_default=True, help="Port of gRPC: picks and health."
)
@click.option("--tls", type=(FILE, FILE), metavar="CERTIFICATE KEY", help="PEM files; serves TLS.")
@click.option(
    "--fallbacks",
    type=click.IntRange(0, 8),
    default=0,
    show_default=True,
    help="Engines named behind the first, for a proxy that retries.",
)
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    metavar="NAME=PRIORITY",
    help="Priority of an inference objective; below 0 its requests may be shed. Any number of times.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log every decision with its reasons.")
def command(
    config: Path | None,
    sets: tuple[str, ...],
    host: str,
    port: int,
    tls: tuple[Path, Path] | None,
    fallbacks: int,
    objectives: tuple[str, ...],
    verbose: bool,
) -> None:
    """Pick engines for Envoy.

    An endpoint picker of the Gateway API Inference Extension, protocol version 1: Envoy carries the bytes and asks
    here, over gRPC, which engine gets each request. Engines are those of the config that are started elsewhere:
    kinds http, dns, file and kubernetes.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line per reading is no news
    logging.getLogger("penstock.picker").setLevel(logging.DEBUG if verbose else logging.INFO)
    loaded = read_config(config, sets)
    priorities = dict(map(_objective, objectives))
    try:
        uvloop.run(_serve(loaded, (host, port), tls, priorities, fallbacks))
    except OSError as error:
        raise ConfigError(f"--port: {error}; choose another") from None


def _serve(
    loaded: Loaded, address: tuple[str, int], tls: tuple[Path, Path] | None, objectives: dict[str, int], fallbacks: int
) -> Coroutine[None, None, None]:
    try:
        # An optional extra: its absence is told to the user, not thrown at them.
        from penstock.gateway.picker.serve import serve  # noqa: PLC0415
        from penstock.gateway.picker.server import Settings  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"the picker cannot be loaded ({error}); pip install 'penstock[picker]'") from None
    host, config = address[0], loaded.config
    settings = Settings(
        host=host,
        port=address[1],
        body_bytes=config.limits.body_bytes,
        streams=config.limits.connections,
        drain_s=config.timeouts.drain,
        tls=(tls[1].read_bytes(), tls[0].read_bytes()) if tls else None,
    )

    def started(port: int) -> None:
        click.echo(f"Picking on {host}:{port}; Ctrl-C stops it")

    return serve(config, settings, objectives=objectives, fallbacks=fallbacks, started=started)


def _objective(text: str) -> tuple[str, int]:
    name, _, priority = text.rpartition("=")
    try:
        return name, int(priority)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not NAME=PRIORITY with a whole number", param_hint="--objective"
        ) from None
