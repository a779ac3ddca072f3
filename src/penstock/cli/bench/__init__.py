"""`penstock bench`: load tests against any OpenAI-compatible server."""

import click

from penstock.cli.group import LazyGroup

COMMANDS = {
    "run": ("penstock.cli.bench.run", "Send a load and show what came of it."),
    "baseline": ("penstock.cli.bench.baseline", "Run a contract and keep the result for ever."),
    "compare": ("penstock.cli.bench.compare", "Judge whether two sets of runs differ."),
    "matrix": ("penstock.cli.bench.matrix", "Say which of several servers to choose."),
    "explain": ("penstock.cli.bench.explain", "Say what bounds each stage of a set of runs."),
    "saturate": ("penstock.cli.bench.saturate", "Find the highest rate that meets an SLO."),
    "export": ("penstock.cli.bench.export", "Tell figures in the words of other tools."),
    "locust": ("penstock.cli.bench.locust", "Print a contract's closed loops as a file for Locust."),
    "report": ("penstock.cli.bench.report", "Make a page of a set of runs."),
}


@click.group("bench", cls=LazyGroup, modules=COMMANDS)
def command() -> None:
    """Send a known load, measure what comes of it, and judge whether it has changed.

    Works against any server with the OpenAI API. Latency counts from when a request was due, so that a client or server
    that falls behind shows.
    """
