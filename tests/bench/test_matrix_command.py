"""`penstock bench matrix` from the outside, against a server on a real socket."""

import json
from pathlib import Path

import pytest

from tests.bench.conftest import Thread
from tests.cli.conftest import Run, run

__all__ = ["run"]
pytestmark = pytest.mark.usefixtures("patient")

CONTRACT = """
name: small
workload:
  kinds: [{name: k, input: {law: fixed, tokens: 12}, output: {law: fixed, tokens: 3}}]
  stages: [{loop: closed, concurrency: 2, requests: 6}]
  warmup: 1
  gap: 0
runs: 3
judge: {metrics: [ttft.p50, output_rate]}
"""


def test_servers_are_measured_in_turn_kept_and_judged_again(
    run: Run, backend: Thread, contract: Path, tmp_path: Path
) -> None:
    kept, page = tmp_path / "kept", tmp_path / "page.html"
    servers = (f"one={backend.url}", f"two={backend.url}")
    done = run(
        "bench", "matrix", *servers, "-f", str(contract), "--price", "one=2", "--price", "two=6", "--weight", "cost=1",
        "--out", str(kept), "--report", str(page), "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["rounds"] == 3
    assert [place["name"] for place in told["places"]] == ["one", "two"], "it is a third of the price"
    assert told["places"][0]["values"]["2 at once"]["cost"] > 0
    text = page.read_text()
    assert "<h1>small</h1>" in text
    assert "Score against the best" in text
    assert f"two: {told['places'][1]['standing']}" in text
    assert "within ±" not in text, "a standing comes from the rounds, not from a margin"
    again = run("bench", "matrix", *(f"{name}={kept / name}.json.gz" for name in ("one", "two")), "--markdown")
    assert again.code == 0, again.err
    assert again.out.startswith("**")
    assert "| ttft.p50 |" in again.out.replace(" output_rate |", "")
    shown = run("bench", "matrix", *(f"{name}={kept / name}.json.gz" for name in ("one", "two")))
    assert "is best" in shown.out


def test_no_server_meets_a_need_is_an_exit_code(run: Run, backend: Thread, contract: Path) -> None:
    servers = (f"one={backend.url}", f"two={backend.url}")
    done = run("bench", "matrix", *servers, "-f", str(contract), "--rounds", "2", "--need", "ttft.p50<=0.001ms")
    assert done.code == 1, done.err
    assert "No server meets every need." in done.out
    assert "needed at most 1e-06" in done.out.replace("\n", " ").replace("  ", " ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("one=http://127.0.0.1:9",), "name at least two"),
        (("one=http://127.0.0.1:9", "one=http://127.0.0.1:9"), "two servers have this name"),
        (("http://127.0.0.1:9", "b=http://127.0.0.1:9"), "write NAME=URL or NAME=FILE"),
        (("a=http://127.0.0.1:9", "b=kept.json.gz"), "some servers are URLs and some are files"),
        (("a=http://127.0.0.1:9", "b=http://127.0.0.1:9"), "-f: servers are measured with a contract"),
        (("a=there", "b=is-none"), "is neither a file nor a baseline"),
        (("a=x", "b=y", "--price", "c=1"), "--price: there is no server 'c'"),
        (("a=x", "b=y", "--weight", "ttft.p50=0"), "--weight: ttft.p50='0' needs a number above 0"),
        (("a=x", "b=y", "--need", "ttft.p50=3"), "--need: 'ttft.p50=3' is no need"),
        (("a=x", "b=y", "--need", "ttft.p50<=1.2.3"), "is no need"),
    ],
)
def test_wrong_command_lines_are_refused(run: Run, arguments: tuple[str, ...], says: str) -> None:
    assert says in run("bench", "matrix", *arguments).refusal
