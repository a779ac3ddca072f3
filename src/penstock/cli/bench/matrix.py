"""`penstock bench matrix`: which of several servers to choose."""

import re
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from penstock.bench.contract.baseline import packed
from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.contract.matrix import Matrix, Need, Standing, decide
from penstock.bench.report.matrix import matrix_report, matrix_table, verdict_of
from penstock.bench.report.table import markdown
from penstock.cli.bench import options
from penstock.cli.bench.baseline import FOLDER, load
from penstock.cli.bench.measure import measure, require_folder, write_new
from penstock.cli.bench.show import echo_json, write_report
from penstock.cli.options import json_option
from penstock.core.errors import ConfigError

NEED = re.compile(r"([a-z0-9_.]+)(<=|>=)([0-9.]+)(ms|s|%)?")
UNITS = {"ms": 1e-3, "s": 1.0, "%": 1e-2, None: 1.0}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@click.command("matrix")
@click.argument("servers", nargs=-1, required=True, metavar="NAME=URL|NAME=FILE...")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path, exists=True), help="The contract, for URLs.")
@options.client_options
@click.option("--rounds", type=click.IntRange(2, 1000), help="Runs of each server.  [default: the contract's runs]")
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="METRIC=NUMBER",
    help="Criteria, and how much each counts: ttft.p95=2, output_rate=1, cost=3."
    "  [default: what the contract judges, alike]",
)
@click.option(
    "--need",
    "needs",
    multiple=True,
    metavar="METRIC<=BOUND",
    help="What every stage must meet: ttft.p95<=500ms, output_rate>=40, ok_share>=99%.",
)
@click.option(
    "--price", "prices", multiple=True, metavar="NAME=PER_HOUR", help="Of a server, in any currency; for `cost`."
)
@click.option("--out", type=click.Path(path_type=Path), help="Keep the sets of runs in that new folder.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write a report there: HTML, or Markdown if it ends in .md."
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a table for a pull request.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, servers: tuple[str, ...], path: Path | None, **given: Any) -> None:  # fmt: skip
    """Put several servers under one contract in turn, and say which to choose.

    Each is NAME=URL, or NAME=FILE of a set of runs that `bench run` or this command kept; all of one sort. Every round
    runs the contract on each in turn. Exit code 1 when no server meets every need.
    """
    named = _named(servers)
    needs, prices = [_need(text) for text in given["needs"]], _numbers("--price", given["prices"])
    if strange := prices.keys() - named.keys():
        raise ConfigError(f"--price: there is no server {min(strange)!r:.60}; there are {', '.join(named)}")
    weights = _numbers("--weight", given["weights"])
    out: Path | None = given["out"]
    if out is not None and out.exists():
        raise ConfigError(f"--out: {out} is there already; results are not overwritten")
    if given["report"]:
        require_folder(given["report"])
    sets = _sets(named, path, given)
    contract = next(iter(sets.values())).contract
    if out is not None:
        _keep(out, sets)
    found = decide(sets, weights or dict.fromkeys(contract.judge.metrics, 1.0), needs, prices)
    if given["report"]:
        write_report(given["report"], matrix_report(found, sets))
    _show(found, given)
    if any(each.stopped for each in sets.values()):
        ctx.exit(130)
    ctx.exit(0 if found.places[0].standing is Standing.BEST else 1)


def _named(servers: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in servers:
        name, sign, where = text.partition("=")
        if not sign or not where or not NAME.fullmatch(name):
            raise ConfigError(f"{text!r:.80} is no server; write NAME=URL or NAME=FILE")
        if name in found:
            raise ConfigError(f"{name}: two servers have this name; call one otherwise")
        found[name] = where
    if len(found) < 2:
        raise ConfigError("one server is no choice; name at least two")
    return found


def _sets(named: dict[str, str], path: Path | None, given: dict[str, Any]) -> dict[str, RunSet]:
    """Measured, where they are URLs; else read."""
    urls = [where.startswith(("http://", "https://")) for where in named.values()]
    if not any(urls):
        return {name: load(where, FOLDER) for name, where in named.items()}
    if not all(urls):
        raise ConfigError("some servers are URLs and some are files; what is compared is measured in turn")
    if path is None:
        raise ConfigError("-f: servers are measured with a contract; give its file")
    contract: Contract = options.contract_of(path)
    runs = given["rounds"] or max(2, contract.runs)
    made = measure(contract, list(named.values()), given, runs=runs, quiet=given["as_json"] or given["as_markdown"])
    if made[0].stopped and len(made[0].runs) < 2:
        raise click.Abort
    return dict(zip(named, made, strict=True))


def _keep(out: Path, sets: dict[str, RunSet]) -> None:
    try:
        out.mkdir()
    except OSError as error:
        raise ConfigError(f"--out: cannot make {out}: {error.strerror}") from None
    for name, runs in sets.items():
        write_new(out / f"{name}.json.gz", packed(runs))


def _show(found: Matrix, given: dict[str, Any]) -> None:
    header, rows = matrix_table(found)
    if given["as_json"]:
        echo_json(msgspec.to_builtins(found))
    elif given["as_markdown"]:
        problems = "".join(f"\n- {each}" for each in found.problems)
        click.echo(f"**{verdict_of(found)}**\n\n{markdown(header, rows)}{problems}")
    else:
        table = Table(*header, box=None, padding=(0, 1, 0, 0))
        for row in rows:
            table.add_row(*map(escape, row))
        Console(width=None if sys.stdout.isatty() else 160).print(table)
        for problem in found.problems:
            click.echo(problem)
        click.echo(verdict_of(found))


def _numbers(option: str, texts: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for name, text in options.pairs(option, texts).items():
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < 1e12:
            raise ConfigError(f"{option}: {name}={text!r:.40} needs a number above 0")
        found[name] = number
    return found


def _need(text: str) -> Need:
    match = NEED.fullmatch(text.replace(" ", ""))
    try:
        if match is None:
            raise ValueError
        return Need(match[1], float(match[3]) * UNITS[match[4]], match[2] == ">=")
    except ValueError:
        raise ConfigError(f"--need: {text!r:.60} is no need; write ttft.p95<=500ms or output_rate>=40") from None
