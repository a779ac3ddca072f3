"""`penstock bench locust`: a contract's closed loops as a file for Locust."""

from pathlib import Path
from typing import Any

import click

from penstock.bench.client.probe import Probe
from penstock.bench.client.session import model_and_prompts
from penstock.bench.locust.make import check, locustfile
from penstock.bench.traffic.plan import Planner
from penstock.bench.traffic.workload import Closed
from penstock.cli.bench import options


@click.command("locust")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path, exists=True), required=True, help="The contract.")
@click.option("--url", envvar="PENSTOCK_URL", default=options.URL, show_default=True, help="Address of the server.")
@click.option("--key", "keys", multiple=True, metavar="NAME", help="Environment variable that holds the server's key.")
def command(path: Path, url: str, **given: Any) -> None:
    """Print a file for `locust -f` that sends a contract's closed-loop stages.

    It sends the same bytes with the same concurrency as `bench run` and tells TTFT, TPOT and end-to-end latency under
    the same definitions, so that the two can be held against each other. The server is asked for its model and how it
    counts tokens. The file needs Locust and nothing of Penstock.
    """
    contract = options.contract_of(path)
    workload = contract.workload
    check(workload)
    probe = Probe(options.server(url, given["keys"]))
    try:
        model, prompts = model_and_prompts(contract, probe)
        text = locustfile(Planner(workload, model, prompts), workload, _address(url))
    finally:
        probe.close()
    for stage in workload.stages:
        if not isinstance(stage, Closed):
            click.echo(f"left out: {stage.label}, an open loop", err=True)
    click.echo(text, nl=False)


def _address(url: str) -> str:
    """Without the `/v1` that paths begin with."""
    whole = url if "://" in url else f"http://{url}"
    return whole.rstrip("/").removesuffix("/v1")
