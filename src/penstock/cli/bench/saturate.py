"""`penstock bench saturate`: the rate up to which an SLO is met."""

from typing import Any

import click
import msgspec

from penstock.bench.contract.saturate import Knee, Trial, next_rate
from penstock.bench.sample import Ending
from penstock.bench.traffic.arrivals import Constant
from penstock.bench.traffic.workload import Open
from penstock.cli.bench import options
from penstock.cli.bench.measure import measure
from penstock.cli.bench.quick import quick_contract, slo_of
from penstock.cli.options import json_option
from penstock.core.errors import ConfigError

FRESH = 1000
"""Between the seeds of two trials: none knows the prompts of another."""


@click.command("saturate")
@options.server_options
@click.option("--slo", "slos", multiple=True, required=True, metavar="ttft=200ms", help="What makes an answer good.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.99,
    show_default=True,
    help="Part of the answers that must be good.",
)
@click.option(
    "--first",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Rate to begin with, requests/s.",
)
@click.option(
    "--width",
    type=click.FloatRange(0.001, 1),
    default=0.1,
    show_default=True,
    help="Step between rates near the knee, as a part of the rate.",
)
@click.option("--most", type=click.IntRange(2, 100), default=20, show_default=True, help="Trials at most.")
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True, help="Of each trial.")
@click.option("--input", "given", default="128", show_default=True, help="Tokens of prompts: 256, 100-400 or a preset.")
@click.option("--output", "wanted", default="64", show_default=True, help="Tokens of answers, likewise.")
@click.option(
    "--prefix", type=click.IntRange(0), default=0, show_default=True, help="Tokens that prompts begin with together."
)
@click.option("--model", default="", help="Model.  [default: the first that the server lists]")
@click.option("--api", type=click.Choice(["chat", "completions"]), default="chat", show_default=True, help="Endpoint.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Same seed: same prompts.")
@json_option
def command(as_json: bool, **given: Any) -> None:
    """Find the offered rate up to which enough answers are good.

    Doubles the rate until it fails, bisects, then goes up after each trial that passes and down after each that fails.
    Ends with an error when the client does not keep up.
    """
    slo = slo_of(given["slos"], given["share"])
    trials: list[Trial] = []
    while True:
        rate = next_rate(trials, given["first"], slo.share, given["width"], given["most"])
        if isinstance(rate, Knee):
            break
        stage = Open(Constant(rate), given["seconds"])
        contract = quick_contract((stage,), slo, given, given["seed"] + FRESH * len(trials))
        (found,) = measure(contract, [given["url"]], given, runs=1, quiet=as_json)
        if found.stopped:
            raise click.Abort
        run = found.runs[0]
        judged = [sample for sample in run.samples if sample.ending is not Ending.CANCELLED]
        trial = Trial(rate, len(judged), sum(map(slo.good, judged)), not run.client.invalid)
        if not trial.valid:
            raise ConfigError(f"at {rate:.4g} requests/s {run.client.invalid}")
        if not judged:
            raise ConfigError(
                f"at {rate:.4g} requests/s nothing was sent in {given['seconds']:g} s; raise --first or --seconds"
            )
        trials.append(trial)
        if not as_json:
            passed = "passes" if trial.passes(slo.share) else "fails"
            click.echo(
                f"{rate:8.3f}/s: {trial.good} of {trial.judged} good ({trial.good / trial.judged:.1%}), {passed}"
            )
    if as_json:
        # JSON has no infinity: a knee without an upper end has null there.
        click.echo(msgspec.json.format(msgspec.json.encode({"knee": rate, "trials": trials})).decode())
    else:
        click.echo(f"knee: {rate.rate:.4g} requests/s (between {rate.low:.4g} and {rate.high:.4g}; {rate.why})")
