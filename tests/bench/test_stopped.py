"""Ctrl-C on `penstock bench`: the load ends, and what was not whole is taken for nothing else."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.bench.contract.baseline import unpacked
from tests.bench.client import server as s
from tests.bench.conftest import Thread
from tests.cli.conftest import Run, run

__all__ = ["run"]
pytestmark = pytest.mark.usefixtures("patient")
CLOSED = ("-C", "2", "--requests", "100000", "--input", "10", "--output", "3")
OPEN = ("--rate", "50", "--seconds", "600", "--input", "10", "--output", "3")
CONTRACT = """
name: small
workload:
  kinds: [{name: k, input: {law: fixed, tokens: 12}, output: {law: fixed, tokens: 3}}]
  stages: [{loop: closed, concurrency: 2, requests: 6}]
  warmup: 0
  gap: 0
runs: 4
judge: {metrics: [ttft.p50, e2e.p50], margin: 0.9}
"""


def interrupting(at: int) -> s.Script:
    """A server in whose time of the request of that number Ctrl-C is pressed: the process that runs the test has it."""
    asked = 0

    async def script(request: s.Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if asked == at:
            os.kill(os.getpid(), signal.SIGINT)
        await s.three_words(request, writer)

    return script


@pytest.mark.parametrize("load", [CLOSED, OPEN], ids=["closed", "open"])
def test_a_run_ends_and_shows_what_it_measured(
    run: Run, backend: Thread, tmp_path: Path, load: tuple[str, ...]
) -> None:
    backend.script = interrupting(30)
    out = str(tmp_path / "cut.json.gz")
    done = run("bench", "run", "--url", backend.url, *load, "--runs", "3", "--out", out)
    assert done.code == 130, done.err
    assert "stopped: 0 of 3 runs are whole" in done.err
    assert "NOT VALID: it was stopped before its end" in done.out
    kept = unpacked(Path(out).read_bytes())
    assert (kept.stopped, [each.stopped for each in kept.runs]) == (True, [True])
    assert 15 <= sum(each.ending == "ok" for each in kept.runs[0].samples) < 100
    assert "Not valid: it was stopped before its end." in run("bench", "report", out).out
    assert "bound by" in run("bench", "explain", out).out
    refused = run("bench", "compare", out, out)
    assert (refused.code, "1 of 1 runs are left out, as they are not valid" in refused.out) == (4, True)


def test_whole_runs_before_it_are_good(run: Run, backend: Thread, contract: Path, tmp_path: Path) -> None:
    backend.script = interrupting(3 * 6 + 2)
    out = str(tmp_path / "cut.json.gz")
    done = run("bench", "run", "-f", str(contract), "--url", backend.url, "--out", out, "--json")
    assert done.code == 130, done.err
    told = json.loads(done.out)
    assert told["stopped"] is True
    assert [each["stopped"] for each in told["runs"]] == [False, False, False, True]
    assert [len(each.samples) for each in unpacked(Path(out).read_bytes()).runs[:3]] == [6, 6, 6]


@pytest.mark.parametrize("at", [3, 6 + 3], ids=["first", "second"])
def test_of_two_servers_only_whole_rounds_are_kept(
    run: Run, backend: Thread, contract: Path, tmp_path: Path, at: int
) -> None:
    backend.script = interrupting(2 * 2 * 6 + at)
    out = str(tmp_path / "set")
    two = ("bench", "run", "-f", str(contract), "--url", backend.url, "--against", backend.url)
    done = run(*two, "--out", out)
    assert done.code == 130, done.err
    sets = [unpacked(Path(f"{out}-{each}").read_bytes()) for each in "ab"]
    assert [[run.stopped for run in each.runs] for each in sets] == [[False, False], [False, False]]
    assert all(each.stopped for each in sets)
    backend.script = interrupting(at)
    none = run(*two, "--out", str(tmp_path / "none"))
    assert (none.code, none.out, "stopped: 0 of 4 runs are whole" in none.err) == (130, "", True)
    assert not (tmp_path / "none-a").exists()


@pytest.mark.parametrize("at", [3, 21])
def test_no_baseline_is_made_of_fewer_runs(run: Run, backend: Thread, contract: Path, tmp_path: Path, at: int) -> None:
    backend.script = interrupting(at)
    folder = tmp_path / "kept"
    done = run("bench", "baseline", "-f", str(contract), "--url", backend.url, "--folder", str(folder))
    assert done.code == 130
    assert "nothing was kept" in done.err
    assert not folder.exists()


def test_a_search_for_the_knee_ends(run: Run, backend: Thread) -> None:
    backend.script = interrupting(20)
    load = ("--slo", "ttft=5s", "--first", "10", "--seconds", "1", "--input", "10", "--output", "3")
    done = run("bench", "saturate", "--url", backend.url, *load)
    assert done.code == 130
    assert "knee" not in done.out
    assert len(backend.sent) < 60


@contextmanager
def started(url: str, *load: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, as a shell starts it."""
    command = [sys.executable, "-m", "penstock", "bench", "run", "--url", url, *load, "--processes", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def waited(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: str) -> bool:
    """Not if it has ended and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_ctrl_c_of_a_terminal_goes_to_all_of_its_processes(backend: Thread) -> None:
    with started(backend.url, *OPEN, "--runs", "2") as process:
        waited(lambda: len(backend.sent) > 20)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "NOT VALID: it was stopped before its end" in out
    assert "Traceback" not in err


def test_a_second_ctrl_c_ends_it_at_once(backend: Thread) -> None:
    """Its client processes stand still, and end nothing."""
    with started(backend.url, *OPEN) as process:
        waited(lambda: len(backend.sent) > 20)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGSTOP)
        os.kill(process.pid, signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not any(map(alive, children))


def test_a_client_whose_command_was_killed_sends_no_more(backend: Thread) -> None:
    with started(backend.url, *OPEN) as process:
        waited(lambda: len(backend.sent) > 20)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        process.kill()
        process.wait()
        waited(lambda: not any(map(alive, children)))
