"""`penstock bench run`: sends a load and shows what came of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from penstock.bench.contract.baseline import packed
from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.contract.looks import looks
from penstock.bench.traffic.workload import Replay
from penstock.cli.bench import options
from penstock.cli.bench.measure import measure, require_folder, require_new, write_new
from penstock.cli.bench.quick import quick_contract, slo_of, stages_of
from penstock.cli.bench.show import all_valid, echo_json, show, summary, write_page
from penstock.cli.options import json_option
from penstock.core.errors import ConfigError

OPEN_S = 30.0
"""How long an open stage is unless it is said."""


@click.command("run")
@click.option(
    "-f", "--file", "path", type=click.Path(path_type=Path, exists=True), help="A contract; else the options below."
)
@options.server_options
@click.option("--against", metavar="URL", help="A second server, run in turn with the first: ABAB.")
@click.option("--runs", type=click.IntRange(1, 1000), help="Repetitions.  [default: the contract's, else 1]")
@click.option(
    "--most-runs",
    type=click.IntRange(2, 1000),
    help="With --against: until the two can be told apart or called the same, so many runs of each at most.",
)
@click.option(
    "--concurrency", "-C", multiple=True, type=click.IntRange(1), help="Closed loop: clients; repeat for stages."
)
@click.option("--requests", type=click.IntRange(1), default=32, show_default=True, help="Of each closed stage.")
@click.option(
    "--rate",
    "-R",
    multiple=True,
    type=click.FloatRange(0, min_open=True),
    help="Open loop: requests/s; repeat for stages.",
)
@click.option("--ramp", default="", metavar="FIRST-LAST", help="Open loop whose rate grows in a line.")
@click.option(
    "--replay",
    "replays",
    multiple=True,
    metavar="FILE",
    help="A trace, as it came: Azure's, BurstGPT's, Mooncake's, or Penstock's access or audit log; repeat for stages.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0, 1e6, min_open=True),
    default=1.0,
    show_default=True,
    help="Of a replay, times as fast as it was.",
)
@click.option("--most-input", type=click.IntRange(1), help="Of a replay: longer prompts are cut to so many tokens.")
@click.option("--most-output", type=click.IntRange(1), help="Of a replay: longer answers are cut to so many tokens.")
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    help="Of each open stage or replay.  [default: 30; of a replay all of it]",
)
@click.option(
    "--cv",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    help="Burstiness: 0 even, 1 Poisson, more in bursts.",
)
@click.option("--input", "given", default="128", show_default=True, help="Tokens of prompts: 256, 100-400 or a preset.")
@click.option("--output", "wanted", default="64", show_default=True, help="Tokens of answers, likewise.")
@click.option(
    "--prefix", type=click.IntRange(0), default=0, show_default=True, help="Tokens that prompts begin with together."
)
@click.option("--model", default="", help="Model.  [default: the first that the server lists]")
@click.option("--api", type=click.Choice(["chat", "completions"]), default="chat", show_default=True, help="Endpoint.")
@click.option("--slo", "slos", multiple=True, metavar="ttft=200ms", help="What makes an answer good: ttft, tpot, e2e.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.99,
    show_default=True,
    help="Part of the answers that must be good.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Same seed: same bytes, same moments."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Keep the set of runs there (.json.gz); with --against OUT-a and OUT-b.",
)
@click.option(
    "--price-per-hour",
    type=click.FloatRange(0, min_open=True),
    help="Of all that serves, in any currency: gives the cost of tokens and requests.",
)
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write a report there: HTML, or Markdown if it ends in .md."
)
@json_option
@click.pass_context
def command(ctx: click.Context, /, path: Path | None, as_json: bool, **given: Any) -> None:
    """Send a load and show what came of it.

    Exit code 1 when a run is not valid, because the client did not keep up: its figures say nothing of the server.
    Ctrl-C ends the load; what was measured is shown and kept, and the run that was not whole is not valid (exit code
    130).

    With --most-runs two servers are compared after --runs of each, then after twice as many, and so on. The looks share
    the level of the contract, and `bench compare` knows of them: what they find is as sure as one comparison's.
    """
    contract = options.contract_of(path) if path else _quick(given)
    urls = [given["url"], *([given["against"]] if given["against"] else [])]
    places = _places(given["out"], len(urls))
    for place in places:
        require_new(place)
    if given["report"]:
        require_folder(given["report"])
    most, after = _how_many(given, contract.runs if path else 1)
    sets = measure(contract, urls, given, runs=most, quiet=as_json, after=after)
    for run in (run for runs in sets for run in runs.runs):
        run.price_per_hour = given["price_per_hour"]
    for place, runs in zip(places, sets, strict=False):
        write_new(place, packed(runs))
    for runs in sets:
        if not as_json:
            show(runs.runs[-1], contract)
    if given["report"]:
        write_page(given["report"], sets[0])
    if as_json:
        echo_json(summary(sets[0]) if len(sets) == 1 else [summary(each) for each in sets])
    ctx.exit(_code(sets))


def _code(sets: Sequence[RunSet]) -> int:
    if any(each.stopped for each in sets):
        return 130
    return 0 if all(all_valid(each.runs) for each in sets) else 1


def _how_many(given: dict[str, Any], usual: int) -> tuple[int, tuple[int, ...]]:
    """Runs of each server at most, and after how many of them they are compared. Raises ConfigError."""
    runs, most = given["runs"] or usual, given["most_runs"]
    if most is None:
        return runs, ()
    if not given["against"]:
        raise ConfigError("--most-runs: there is one server; name the other with --against")
    runs = max(runs, 2)
    if most < runs:
        raise ConfigError(f"--most-runs: {most} is fewer than the {runs} of --runs")
    return most, looks(runs, most)


def _places(out: Path | None, servers: int) -> list[Path]:
    if out is None:
        return []
    return [out] if servers == 1 else [out.with_name(f"{out.name}-{letter}") for letter in "ab"]


def _quick(given: dict[str, Any]) -> Contract:
    most = given["seconds"]
    replays = tuple(
        Replay(
            file, speed=given["speed"], seconds=most or 0.0, most_input=given["most_input"] or 0,
            most_output=given["most_output"] or 0,
        )
        for file in given["replays"]
    )  # fmt: skip
    stages = stages_of(
        given["concurrency"], given["requests"], given["rate"], given["ramp"], most or OPEN_S, given["cv"], replays
    )
    return quick_contract(stages, slo_of(given["slos"], given["share"]), given, given["seed"])
