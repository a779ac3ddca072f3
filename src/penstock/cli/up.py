"""`penstock up`: starts the platform in the foreground."""

import logging
from pathlib import Path

import click

from penstock.cli import banner, ports
from penstock.cli.fetch import fetch
from penstock.cli.options import config_option, read_config, set_option
from penstock.cli.progress import Bar
from penstock.config import Loaded
from penstock.config.override import Flag
from penstock.gateway import supervisor

PORT = click.IntRange(0, 65_535)


@click.command("up")
@config_option
@set_option
@click.option("--host", help="Address of the API, `listen.host`.")
@click.option("--port", type=PORT, help="Port of the API, `listen.port`.  [default: 8080]")
@click.option("--admin-port", type=PORT, help="Port of console and metrics, `admin.port`.  [default: 8081]")
def command(
    config: Path | None, sets: tuple[str, ...], host: str | None, port: int | None, admin_port: int | None
) -> None:
    """Start the platform in the foreground.

    Fetches missing models first (once; they are kept in the user's cache folder), then prints the addresses
    and how to call them. SIGTERM and Ctrl-C drain running requests; SIGHUP reads the config again, and an
    invalid one changes nothing. The variables HOST, PORT and ADMIN_PORT override the file.
    """
    options = (
        ("--host", "listen.host", host),
        ("--port", "listen.port", port),
        ("--admin-port", "admin.port", admin_port),
    )
    flags = tuple(Flag(*option) for option in options if option[2] is not None)

    def load() -> tuple[Loaded, dict[str, Path]]:
        loaded = read_config(config, sets, flags)
        return loaded, fetch(loaded.config, Bar)

    def show(ready: supervisor.Banner) -> None:
        click.echo(banner.text(ready.api_url, ready.admin_url, ready.models, keys=not first.config.auth.open))

    def show_key(secret: str) -> None:
        click.echo(f"The first admin key, shown this once; `penstock key create` makes others:\n\n  {secret}\n")

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line per health probe is no news
    ports.require(read_config(config, sets, flags).config)
    first, paths = load()
    supervisor.run(first, paths, load, show, show_key)
