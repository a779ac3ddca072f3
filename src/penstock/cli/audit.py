"""`penstock audit`: the log of who did what, checked, shown and handed on."""

import datetime
import itertools
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from penstock.cli.options import json_option
from penstock.core.clock import wall
from penstock.core.errors import ConfigError
from penstock.state.audit.anchors import anchor_now, anchors, stored_anchor
from penstock.state.audit.line import Key
from penstock.state.audit.read import Filter, Shown, read
from penstock.state.audit.report import Report
from penstock.state.audit.verify import verify

FOLDER = click.argument(
    "folder", envvar="PENSTOCK_AUDIT", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
KEYS = click.option(
    "--key",
    "keys",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="File of audit.key_file. Several after a change of keys: a line must be signed with one of them.",
)


@click.group("audit")
def command() -> None:
    """Check, show and export the audit log in FOLDER.

    FOLDER may also be given as the variable PENSTOCK_AUDIT.
    """


@command.command("verify")
@FOLDER
@KEYS
@click.option(
    "--anchor", metavar="FILE|HEX", help="An anchor that was kept elsewhere: the file that holds it, or its hash."
)
@click.option("--since", metavar="DAY", help="Files of earlier days may be gone. ISO date, UTC.")
@json_option
@click.pass_context
def verify_log(
    ctx: click.Context, folder: Path, keys: tuple[Path, ...], anchor: str | None, since: str | None, as_json: bool
) -> None:
    """Read every line; exit 1 when one is altered, missing, reordered, duplicated, truncated or forged."""
    begin = datetime.datetime.fromtimestamp(_time("--since", since), datetime.UTC).date().isoformat() if since else ""
    kept = stored_anchor(anchor, folder) if anchor else None
    report = verify(folder, keys=[Key.read(path) for path in keys], anchor=kept, since=begin)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"ok": report.ok, **msgspec.to_builtins(report)}), indent=2))
    else:
        _tell(report)
    if not report.ok:
        ctx.exit(1)


def _tell(report: Report) -> None:
    for finding in report.findings:
        where = f"{finding.file}:{finding.line}" if finding.line else finding.file
        click.echo(f"penstock: {where}: {finding.wrong}: {finding.detail}", err=True)
    for note in report.notes:
        click.echo(f"note: {note}")
    verdict = "the log is whole" if report.ok else f"{len(report.findings)} findings"
    click.echo(
        f"{verdict}: {report.lines} lines, {report.files} files, {report.chains} chains, {report.anchors} anchors, "
        f"{report.lost} lines lost"
    )


@command.command("show")
@FOLDER
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(["admin", "request", "chain", "anchor"]),
    help="Lines of this kind; any number of times.",
)
@click.option("--actor", default="", help="Lines of actors that begin so, e.g. acme/search.")
@click.option("--what", default="", help="Lines whose action holds this text.")
@click.option("--since", metavar="TIME", help="Not before it: ISO date or time; UTC unless it says otherwise.")
@click.option("--until", metavar="TIME", help="Before it.")
@click.option("--last", type=click.IntRange(1), help="Only so many, the newest.")
@json_option
def show(
    folder: Path,
    kinds: tuple[str, ...],
    actor: str,
    what: str,
    since: str | None,
    until: str | None,
    last: int | None,
    as_json: bool,
) -> None:
    """Print lines of all chains, oldest first. With --json, the lines as they were written."""
    wanted = Filter(kinds, actor, what, *_span(since, until))
    lines: Iterable[Shown] = read(folder, wanted)
    for shown in deque(lines, last) if last else lines:
        if as_json:
            sys.stdout.buffer.write(shown.line.raw + b"\n")
            continue
        body = shown.line.body
        when = datetime.datetime.fromtimestamp(body.time, datetime.UTC).isoformat(sep=" ", timespec="milliseconds")
        fields = msgspec.json.encode(body.fields).decode()
        click.echo(f"{when[:23]}  {shown.writer:<12}  {body.kind:<7}  {body.actor:<24}  {body.what}  {fields}")
    sys.stdout.flush()


@command.command("export")
@FOLDER
@KEYS
@click.option("--since", metavar="TIME", help="Not before it: ISO date or time; UTC unless it says otherwise.")
@click.option("--until", metavar="TIME", help="Before it.")
@click.pass_context
def export(ctx: click.Context, folder: Path, keys: tuple[Path, ...], since: str | None, until: str | None) -> None:
    """Print one JSON document: the result of a check, the anchors, and the lines as text, as they were written.

    Exit 1 when the check finds something; the document says what.
    """
    report = verify(folder, keys=[Key.read(path) for path in keys])
    wanted = Filter((), "", "", *_span(since, until))
    out = sys.stdout.buffer
    head = {"exported_at": wall(), "ok": report.ok, "report": report}
    out.write(msgspec.json.encode(head)[:-1] + b',\n"anchors":[')
    _list(anchor.line.raw for anchor in anchors(folder))
    out.write(b'],\n"lines":[')
    _list(
        msgspec.json.encode({"writer": s.writer, "file": s.file, "line": s.line.raw.decode()})
        for s in read(folder, wanted)
    )
    out.write(b"]}\n")
    out.flush()
    if not report.ok:
        ctx.exit(1)


@command.command("anchor")
@FOLDER
@KEYS
@click.option("--new", is_flag=True, help="Write one now. With audit.key_file set, give --key.")
@json_option
def anchor_log(folder: Path, keys: tuple[Path, ...], new: bool, as_json: bool) -> None:
    """Print the hash of the newest anchor, to be kept elsewhere. With --json, its whole line, for `verify --anchor`."""
    if new:
        anchor_now(folder, "asked", Key.read(keys[0]) if keys else None, wall())
    found = next(reversed(anchors(folder)), None)
    if found is None:
        raise ConfigError(f"FOLDER: {str(folder)!r} has no anchor yet; write one with --new")
    click.echo(found.line.raw if as_json else found.line.hash)


def _list(items: Iterable[bytes]) -> None:
    for comma, item in zip(itertools.chain([b"\n"], itertools.repeat(b",\n")), items, strict=False):
        sys.stdout.buffer.write(comma + item)


def _span(since: str | None, until: str | None) -> tuple[float, float]:
    return _time("--since", since) if since else 0.0, _time("--until", until) if until else float("inf")


def _time(option: str, text: str) -> float:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option}: {text!r} is no date or time; write it as 2026-01-31 or 2026-01-31T12:00"
        ) from None
    return found.replace(tzinfo=found.tzinfo or datetime.UTC).timestamp()
