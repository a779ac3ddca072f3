"""Options of `penstock profile`, and the order of the work."""

import json
import re
from pathlib import Path
from typing import Any

import click
import msgspec

from penstock.cli import admin
from penstock.cli.options import config_option, json_option, read_config
from penstock.cli.profile import pyspy, target
from penstock.cli.profile.flame import flame
from penstock.cli.profile.measure import How, measure
from penstock.cli.profile.runtime import workers
from penstock.cli.profile.show import show
from penstock.cli.profile.stacks import samples, speedscope
from penstock.cli.profile.target import Process, Told
from penstock.config.schema import Config
from penstock.core.errors import ConfigError, PenstockError

LENGTH = re.compile(r"([0-9]{1,4})(s|m)?")
LONGEST_S = 3600
TYPES = 20
TELL_S = 2.0
"""How long a platform has to tell of itself."""


@click.command("profile")
@click.argument("pid", type=click.IntRange(1), required=False)
@click.option("--gateway", is_flag=True, help="The supervisor and all workers.")
@click.option("--engine", metavar="NAME", default="", help="An engine that Penstock runs, by name or kind.")
@click.option("--for", "length", default="10s", show_default=True, metavar="LENGTH", help="How long: 10s, 2m.")
@click.option("--rate", type=click.IntRange(1, 1000), default=pyspy.RATE, show_default=True, help="Stacks per second.")
@click.option("--no-stacks", is_flag=True, help="Without py-spy: CPU, memory, files, loop lag and GC alone.")
@click.option("--top", type=click.IntRange(1, 1000), default=20, show_default=True, help="Functions to show.")
@click.option("--flame", "flame_file", type=click.Path(path_type=Path), help="Write a flame graph (SVG) there.")
@click.option("--speedscope", "scope_file", type=click.Path(path_type=Path), help="Write a speedscope.app file there.")
@click.option("--memory", is_flag=True, help="Count live objects of workers by type; each stands still meanwhile.")
@config_option
@json_option
def command(config: Path | None, as_json: bool, **given: Any) -> None:
    """Say where CPU time and memory of a running process go.

    PID is any Python process of this machine. Stacks come from py-spy, which looks from outside: nothing has to be
    restarted or prepared. Loop lag and GC come from the platform, which -c names as for `penstock up`.
    """
    seconds = _checked(given)
    settings = read_config(config).config
    processes = _chosen(given, settings)
    if given["memory"] and not any(each.role == "worker" for each in processes):
        raise ConfigError("--memory: only workers tell their objects; take --gateway, or the PID of a worker")
    how = How(seconds, given["rate"], "" if given["no_stacks"] else pyspy.executable(), given["top"])

    def objects() -> list[Any]:
        return list(admin.ask(settings, "GET", f"/admin/memory?limit={TYPES}")["workers"])

    ours = any(each.role in ("supervisor", "worker") for each in processes)
    profile, stacks = measure(
        processes,
        how,
        (lambda: admin.metrics(settings)) if ours else str,
        objects if given["memory"] else None,
    )
    title = f"penstock profile: {samples(stacks)} stacks in {how.seconds} s"
    if given["flame_file"]:
        _write("--flame", given["flame_file"], flame(stacks, title))
    if given["scope_file"]:
        _write("--speedscope", given["scope_file"], json.dumps(speedscope(stacks, title, how.rate)))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(profile), indent=2))
    else:
        show(profile)


def seconds_of(text: str) -> int:
    """`10s`, `2m`, or seconds. Raises ConfigError."""
    match = LENGTH.fullmatch(text)
    seconds = int(match[1]) * (60 if match[2] == "m" else 1) if match else 0
    if not 0 < seconds <= LONGEST_S:
        raise ConfigError(
            f"--for: {text!r:.40} is no length; write whole seconds or minutes, 10s or 2m, at most an hour"
        )
    return seconds


def _checked(given: dict[str, Any]) -> int:
    """The length, once all options go together. Raises ConfigError."""
    seconds = seconds_of(given["length"])
    for option, name in (("--flame", "flame_file"), ("--speedscope", "scope_file")):
        path = given[name]
        if path and given["no_stacks"]:
            raise ConfigError(f"{option} needs stacks; leave --no-stacks out")
        if path and not path.parent.is_dir():
            raise ConfigError(f"{option}: there is no folder {path.parent}")
    if sum(map(bool, (given["pid"], given["gateway"], given["engine"]))) > 1:
        raise ConfigError("PID, --gateway, --engine: give one of them")
    return seconds


def _chosen(given: dict[str, Any], config: Config) -> list[Process]:
    processes = target.everything()
    if given["pid"]:
        return target.by_pid(processes, given["pid"])
    told = _told(config)
    if given["gateway"]:
        return target.gateway(processes, told)
    if given["engine"]:
        return target.engine(processes, given["engine"], told)
    raise PenstockError(target.candidates(processes, told))


def _told(config: Config) -> Told:
    """What the config's platform says of itself; nothing when none answers."""
    text = admin.metrics(config, TELL_S)
    found = workers(text)
    if not found:  # something else listens there
        return Told()
    rows = admin.ask(config, "GET", "/admin/engines", timeout_s=TELL_S)["engines"]
    return Told(found, tuple((row["name"], row["kind"], row.get("pid") or 0) for row in rows))


def _write(option: str, path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{option}: cannot write {path}: {error.strerror}") from None
