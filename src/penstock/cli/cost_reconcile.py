"""`penstock cost reconcile`: the ledger against what an engine says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import httpx

from penstock.cli.finding import Finding
from penstock.cli.ledger import ledger_option, opened, span_of, span_options
from penstock.cli.options import json_option
from penstock.core.errors import ConfigError
from penstock.state.ledger import reconcile as engine_side
from penstock.state.ledger.charge import settled
from penstock.state.ledger.entries import RECONCILED
from penstock.state.ledger.prices import load_book
from penstock.state.ledger.reconcile import Compared, Difference
from penstock.state.ledger.store import Span, Store

SHOWN = 10
"""Request ids that are listed for people; --json lists all."""


@click.command("reconcile")
@click.option("--engine", required=True, help="Name of the engine in the ledger.")
@click.option("--metrics", "after", metavar="URL|FILE", help="Its metrics now; counted since it started.")
@click.option("--before", metavar="URL|FILE", help="An earlier reading of them: only what was counted since.")
@click.option(
    "--log", "lines", metavar="FILE", type=click.Path(path_type=Path), help="Its log, a JSON line per request."
)
@click.option(
    "--settle", is_flag=True, help="Give requests whose engine told no usage the tokens of --log, at --prices."
)
@click.option("--prices", metavar="FILE", default="", help="Price book for --settle.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Share by which sums may differ."
)
@span_options
@ledger_option
@json_option
def reconcile(**options: Any) -> None:
    """Compare the ledger with an engine's own counts.

    With --metrics its token counters are compared, all models together. With --log every request is, by its id, and
    the sums per model. A line of the log is {"request_id", "prompt_tokens", "completion_tokens"} and, where known,
    "cached_tokens" and "reasoning_tokens". Exit code 1 when they differ by more than --tolerance.
    """
    span = span_of(options["since"], options["until"])
    after, lines = options["after"], options["lines"]
    if not after and not lines:
        raise ConfigError("--metrics, --log: give one of them, or both")
    if options["settle"] and not lines:
        raise ConfigError("--settle: it needs --log, which says what requests used")
    result: dict[str, Any] = {"engine": options["engine"]}
    differences: list[Difference] = []
    with opened(options["url"]) as store:
        if lines:
            compared, settled_now = _by_log(store, span, options)
            differences += compared.sums
            result["log"] = _log_row(compared, settled_now)
        if after:
            counted = _by_counters(store, span, options)
            differences += counted
            result["metrics"] = [engine_side.as_row(difference) for difference in counted]
    if options["as_json"]:
        click.echo(json.dumps(result, indent=2))
    else:
        _show(result)
    _judge(result, engine_side.worst(differences), options["tolerance"])


def _by_log(store: Store, span: Span, options: Mapping[str, Any]) -> tuple[Compared, int]:
    """How they compare, after settling if that is wanted; and how many were settled."""
    path: Path = options["lines"]
    lines = list(engine_side.lines_of(_read(str(path), "--log"), f"--log {path}"))
    compared = engine_side.against_log(store.charges(span, options["engine"]), lines)
    if not options["settle"] or not compared.settles:
        return compared, 0
    book = load_book(options["prices"])
    priced = [settled(charge, usage, RECONCILED, book) for charge, usage in compared.settles]
    done = store.settle(priced, book)
    return engine_side.against_log(store.charges(span, options["engine"]), lines), done


def _by_counters(store: Store, span: Span, options: Mapping[str, Any]) -> list[Difference]:
    after, before = options["after"], options["before"]
    counted = engine_side.counters_of(_read(after, "--metrics"), "--metrics")
    if before:
        counted = engine_side.between(engine_side.counters_of(_read(before, "--before"), "--before"), counted)
    return engine_side.against_counters(store.charges(span, options["engine"]), counted)


def _log_row(compared: Compared, settled_now: int) -> dict[str, Any]:
    return {
        "sums": [engine_side.as_row(difference) for difference in compared.sums],
        "settled": settled_now,
        "to_settle": len(compared.settles),
        "unsettled": compared.unsettled,
        "differing": compared.differing,
        "unbilled": compared.unbilled,
        "unreported": compared.unreported,
    }


def _show(result: Mapping[str, Any]) -> None:
    log = result.get("log", {})
    click.echo(f"{'source':<8}  {'model':<28}  {'tokens':<6}  {'ledger':>14}  {'engine':>14}  {'difference':>12}")
    for source, rows in (("log", log.get("sums", [])), ("metrics", result.get("metrics", []))):
        for row in rows:
            click.echo(
                f"{source:<8}  {row['model'] or 'all':<28}  {row['kind']:<6}  {row['ledger']:>14,}  "
                f"{row['engine']:>14,}  {row['difference']:>+12,}"
            )
    for name, text in (
        ("settled", "requests settled"),
        ("to_settle", "requests whose engine told no usage, and which --settle would settle"),
        ("unsettled", "interrupted requests that the log does not settle"),
    ):
        if log.get(name):
            click.echo(f"{log[name]:,} {text}")
    for name, text in (
        ("differing", "requests differ"),
        ("unbilled", "requests of the log are in no charge"),
        ("unreported", "charged requests are not in the log"),
    ):
        if ids := log.get(name):
            click.echo(f"{len(ids):,} {text}: {', '.join(ids[:SHOWN])}{', ...' if len(ids) > SHOWN else ''}")


def _judge(result: Mapping[str, Any], worst: float, tolerance: float) -> None:
    """Ends with exit code 1 when sums differ by too much, or, without a tolerance, when any request does."""
    log = result.get("log", {})
    if worst > tolerance:
        raise Finding(f"ledger and engine differ by {worst:.2%}; at most {tolerance:.2%} is allowed")
    if not tolerance and any(
        log.get(name) for name in ("differing", "unbilled", "unreported", "to_settle", "unsettled")
    ):
        raise Finding("the sums agree, and single requests do not")


def _read(source: str, option: str) -> bytes:
    """A file's or a URL's bytes."""
    try:
        if source.startswith(("http://", "https://")):
            return httpx.get(source, timeout=10, follow_redirects=True).raise_for_status().content
        return Path(source).read_bytes()
    except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigError(f"{option}: cannot read {source}: {error}") from None
