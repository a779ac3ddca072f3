"""`penstock profile`: what it reads, whom it means, and a real process that it looks into."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.profile import flame, procfs, pyspy, runtime, stacks, target, usage
from penstock.cli.profile.target import Process, Told
from penstock.core.errors import PenstockError
from penstock.telemetry.catalogue import SHEETS
from penstock.telemetry.exposition import render
from penstock.telemetry.meter import Meter
from penstock.telemetry.series import SeriesReader, SeriesWriter, Totals
from tests.cli.conftest import Run
from tests.telemetry.test_series import file

STAT = (
    "20675 ({name}) S 20674 20674 15990 0 -1 4194304 22262 34178 8 37 {user} {system} 143 53 20 0 {threads} 0 "
    "{started} 176271360 13679 18446744073709551615 4194304 7024181 140727 0 0 0 0 16781312 134235650 0 0 0 17 0 0 "
    "0 0 0 0 9395 10054 44945 140727 140727 140727 140727 0\n"
)
STATUS = """Name:\tpython
State:\tS (sleeping)
Tgid:\t20675
VmHWM:\t   54716 kB
VmRSS:\t   54000 kB
Threads:\t2
SigQ:\t0/31706
voluntary_ctxt_switches:\t{gave_way}
nonvoluntary_ctxt_switches:\t{made_way}
"""
ROLLUP = """00400000-7ffc2b9f4000 ---p 00000000 00:00 0                          [rollup]
Rss:               54716 kB
Pss:               42188 kB
Pss_Dirty:         36364 kB
"""
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max stack size            8388608              unlimited            bytes
Max open files            {files:<20} 20000                files
"""
SPIN = """
import ctypes
ctypes.CDLL(None).prctl(0x59616D61, -1, 0, 0, 0)  # PR_SET_PTRACER: anybody, where Yama asks

def inner():
    total = 0
    for number in range(20000):
        total += number * number
    return total

def outer():
    while True:
        inner()

print("on", flush=True)
outer()
"""


# -- /proc ------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_characters="\x00\n"), max_size=16))
def test_a_name_may_hold_anything(name: str) -> None:
    found = procfs.stat_of(STAT.format(name=name, user=250, system=50, threads=1, started=99), ticks=100)
    assert found == procfs.Stat(name, 20674, 2.5, 0.5, 99)


def test_sizes_are_bytes_and_what_is_no_number_is_left_out() -> None:
    found = procfs.numbers_of(STATUS.format(gave_way=3, made_way=4))
    assert (found["VmRSS"], found["Tgid"], found["voluntary_ctxt_switches"]) == (54000 * 1024, 20675, 3)
    assert not {"Name", "State", "SigQ"} & set(found)
    assert procfs.numbers_of(ROLLUP)["Pss"] == 42188 * 1024


@pytest.mark.parametrize(("files", "most"), [("1024", 1024), ("unlimited", None)])
def test_the_limit_of_open_files(files: str, most: int | None) -> None:
    assert procfs.limit_of(LIMITS.format(files=files)) == most
    assert procfs.limit_of("") is None


def record(root: Path, user: int, gave_way: int, started: int = 99) -> None:
    """A recorded process 7 with threads 7 and 8 under `root`; the second one alone works."""
    for place, own in ((root / "7", user), (root / "7/task/7", 0), (root / "7/task/8", user)):
        place.mkdir(parents=True, exist_ok=True)
        (place / "stat").write_text(STAT.format(name="python", user=own, system=0, threads=2, started=started))
        (place / "status").write_text(STATUS.format(gave_way=gave_way, made_way=1))
    (root / "7/smaps_rollup").write_text(ROLLUP)
    (root / "7/limits").write_text(LIMITS.format(files=64))
    (root / "7/fd").mkdir(exist_ok=True)
    for number, aim in enumerate(("socket:[1]", "pipe:[2]", "/a/file")):
        (root / f"7/fd/{number}").unlink(missing_ok=True)
        (root / f"7/fd/{number}").symlink_to(aim)


def test_usage_is_the_difference_of_two_readings(tmp_path: Path) -> None:
    record(tmp_path, user=0, gave_way=100)
    before = procfs.read(7, tmp_path)
    record(tmp_path, user=procfs.TICKS, gave_way=150)
    after = procfs.read(7, tmp_path)
    found = usage.between(before, after)
    assert found.user * found.seconds == pytest.approx(1.0)
    assert [each.tid for each in found.threads] == [8, 7]
    assert found.threads[0].user == pytest.approx(found.user)
    assert found.gave_way * found.seconds == pytest.approx(100), "of both threads: status tells of one thread only"
    assert (found.rss, found.pss, found.rss_growth) == (54000 * 1024, 42188 * 1024, 0)
    assert (found.files, found.sockets, found.most_files) == (3, 1, 64)


def test_another_process_with_the_same_id_is_not_taken_for_it(tmp_path: Path) -> None:
    record(tmp_path, user=0, gave_way=0)
    before = procfs.read(7, tmp_path)
    record(tmp_path, user=0, gave_way=0, started=100)
    with pytest.raises(ProcessLookupError):
        usage.between(before, procfs.read(7, tmp_path))
    with pytest.raises(ProcessLookupError):
        procfs.read(8, tmp_path)


def test_what_may_not_be_read_is_unknown_and_not_zero(tmp_path: Path) -> None:
    record(tmp_path, user=0, gave_way=0)
    (tmp_path / "7/smaps_rollup").unlink()
    for link in (tmp_path / "7/fd").iterdir():
        link.unlink()
    (tmp_path / "7/fd").rmdir()
    found = procfs.read(7, tmp_path)
    assert (found.pss, found.files, found.sockets) == (None, None, None)


# -- stacks -----------------------------------------------------------------------------------------------------------

RAW = """main (a.py:1);outer (a.py:9);inner (a.py:2) 60
main (a.py:1);outer (a.py:9) 30
main (a.py:1);main (a.py:1) 10
 3
"""
STACKS = st.lists(
    st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(tuple), st.integers(1, 50)), max_size=20
)


def test_shares_of_functions() -> None:
    found = {each.name: each for each in stacks.hottest(stacks.parse(RAW), 10)}
    assert list(found) == ["inner", "outer", "main"]
    assert (found["inner"].self_share, found["inner"].where) == (0.6, "a.py:2")
    assert (found["outer"].self_share, found["outer"].total_share) == (0.3, 0.9)
    assert found["main"].total_share == 1.0, "calling itself counts once"


@given(STACKS)
def test_every_sample_is_somebodys_own_and_is_drawn_once(seen: list[stacks.Stack]) -> None:
    found = stacks.hottest(seen, 100)
    assert sum(each.self_share for each in found) == pytest.approx(1.0 if seen else 0.0)
    assert all(each.self_share <= each.total_share <= 1 for each in found)
    root = flame.tree(seen)
    assert root.count == sum(box.count for box in root.inner.values()) == stacks.samples(seen)
    told = stacks.speedscope(seen, "t", 10)
    (profile,) = told["profiles"]  # type: ignore[misc]
    assert sum(profile["weights"]) == pytest.approx(profile["endValue"])


def test_a_flame_graph_tells_shares_and_escapes_names() -> None:
    drawn = flame.flame(stacks.parse("<module> (a.py:1);f (a.py:2) 3\n<module> (a.py:1) 1\n"), "a & b")
    assert "<title>&lt;module&gt; (a.py:1): 4 samples, 100.0%</title>" in drawn
    assert "<title>f (a.py:2): 3 samples, 75.0%</title>" in drawn
    assert "a &amp; b" in drawn
    deep = flame.flame([(tuple(map(str, range(5000))), 1)], "deep")
    assert deep.count("<rect") == flame.DEEPEST + 1


# -- py-spy's failures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "scope", "told"),
    [
        ("Permission Denied: Try running again with elevated permissions by going 'sudo ...'", "1", "ptrace_scope"),
        ("Error: Operation not permitted (os error 1)", "", "SYS_PTRACE"),
        ("Error: Failed to find python version from target process\n\nStack backtrace:", "", "no Python process"),
        ("Error: Failed to get process executable name. Check that the process is running.", "", "no such process"),
        ("Error: something else\n\nCaused by: x", "", "something else"),
        ("", "", "it said nothing"),
    ],
)
def test_what_py_spy_says_becomes_one_line_with_the_fix(said: str, scope: str, told: str) -> None:
    message = str(pyspy.failure(said, 7, scope))
    assert told in message
    assert message.startswith("7: ")
    assert "\n" not in message
    assert ("ptrace_scope" in message) == (scope == "1")


def test_without_py_spy_one_line_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "pip install 'penstock[profile]'" in run("profile", str(os.getpid())).refusal


# -- whom it means ----------------------------------------------------------------------------------------------------

PLATFORM = [
    Process(10, 1, "supervisor", "", "up"),
    Process(11, 10, "worker", "", "w"),
    Process(12, 10, "engine", "llamacpp", "e"),
    Process(13, 10, "engine", "vllm", "guard"),
    Process(14, 13, "", "", "vllm serve"),
    Process(15, 14, "", "", "core"),
]
OTHER = [Process(20, 1, "supervisor", "", "up"), Process(21, 20, "worker", "", "w")]
TOLD = Told(frozenset({11}), (("local", "llamacpp", 12), ("big", "vllm", 13), ("far", "http", 0)))


def pids(found: list[Process]) -> list[int]:
    return [each.pid for each in found]


@pytest.mark.parametrize(
    ("line", "role"),
    [
        ("/v/bin/python /v/bin/penstock up -c x.yaml", ("supervisor", "")),
        ("python -m penstock up", ("supervisor", "")),
        ("python -m penstock chat", ("", "")),
        ("/v/bin/python -m penstock.gateway.worker 16 13 18", ("worker", "")),
        ("/v/bin/python -m penstock.engines.llamacpp.child 1", ("engine", "llamacpp")),
        ("vi up", ("", "")),
    ],
)
def test_roles(line: str, role: tuple[str, str]) -> None:
    assert target.classify(line.split()) == role


def test_the_gateway_is_that_of_the_platform_that_told() -> None:
    assert pids(target.gateway(PLATFORM, Told())) == [10, 11]
    assert pids(target.gateway([*PLATFORM, *OTHER], TOLD)) == [10, 11]
    with pytest.raises(PenstockError, match=r"several platforms run \(10, 20\)"):
        target.gateway([*PLATFORM, *OTHER], Told())
    with pytest.raises(PenstockError, match="penstock up"):
        target.gateway([], Told())


def test_an_engine_by_name_or_kind_with_all_it_started() -> None:
    assert pids(target.engine(PLATFORM, "local", TOLD)) == pids(target.engine(PLATFORM, "llamacpp", TOLD)) == [12]
    assert pids(target.engine(PLATFORM, "big", TOLD)) == [13, 14, 15]
    assert pids(target.engine(PLATFORM, "vllm", Told())) == [13, 14, 15]
    with pytest.raises(PenstockError, match="not started by Penstock"):
        target.engine(PLATFORM, "far", TOLD)
    with pytest.raises(PenstockError, match="running: local, big"):
        target.engine(PLATFORM, "nobody", TOLD)


def test_without_arguments_one_line_names_the_candidates(run: Run) -> None:
    assert "--engine NAME" in run("profile", "--no-stacks").refusal
    line = target.candidates(PLATFORM, TOLD)
    assert "supervisor 10, worker 11, engine local 12, engine big 13" in line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("999999999",), "no process 999999999"),
        (("1", "--gateway"), "give one of them"),
        (("1", "--for", "soon"), "10s or 2m"),
        (("1", "--for", "0s"), "10s or 2m"),
        (("1", "--no-stacks", "--memory"), "only workers"),
        (("1", "--no-stacks", "--flame", "x.svg"), "--no-stacks"),
        (("1", "--speedscope", "nowhere/x.json"), "no folder"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(run: Run, options: tuple[str, ...], told: str) -> None:
    assert told in run("profile", *options).refusal


# -- what the platform tells ------------------------------------------------------------------------------------------


def test_lag_and_collections_are_those_between_two_scrapes() -> None:
    with file() as descriptor:
        writer = SeriesWriter(descriptor, SHEETS)
        meter, reader = Meter(writer), SeriesReader(descriptor, SHEETS)

        def scrape() -> str:
            writer.flush()
            totals = Totals()
            totals.add(reader, gauges=True)
            return render(SHEETS, totals.rows).decode()

        for _ in range(50):
            meter.add_lag("7", 4.0, 4.0)
        meter.add_pauses("7", [(2, 0.5)])
        before = scrape()
        for number in range(100):
            meter.add_lag("7", 0.04 if number < 3 else 0.0002, 0.04)
        meter.add_pauses("7", [(2, 0.1), (0, 0.001), (0, 0.001)])
        after = scrape()
    (found,) = runtime.runtime(before, after)
    assert (found.worker, found.looks, found.lag_p50_s, found.lag_p99_s) == (7, 100, 0.00025, 0.05)
    assert found.lag_max_s == 0.04
    assert [(each.generation, each.runs) for each in found.collections] == [(0, 2), (2, 1)]
    assert found.collections[1].seconds == pytest.approx(0.1)
    (fresh,) = runtime.runtime("", after)
    assert fresh.looks == 150, "a worker that came in between has done all of it since"
    assert runtime.runtime(before, "") == runtime.runtime(before, "<html>nobody's metrics") == []


# -- a real process ---------------------------------------------------------------------------------------------------


@contextmanager
def running(*command: str) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def spinning() -> Iterator[int]:
    """A process that is busy in `inner`, called by `outer`."""
    process = subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    yield process.pid
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_busy_process_is_seen_from_outside(run: Run, spinning: int, tmp_path: Path) -> None:
    svg, scope = tmp_path / "a.svg", tmp_path / "a.json"
    files = ("--flame", str(svg), "--speedscope", str(scope))
    done = run("profile", str(spinning), "--for", "2s", *files, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    (process,) = told["processes"]
    assert process["pid"] == spinning
    assert process["usage"]["user"] > 0.2
    assert process["usage"]["rss"] > 1e6
    assert process["samples"] > 20
    hottest = told["functions"][0]
    assert hottest["name"] == "inner"
    assert hottest["self_share"] > 0.9
    outer = next(each for each in told["functions"] if each["name"] == "outer")
    assert outer["total_share"] > 0.9 > outer["self_share"]
    assert told["workers"] == []
    assert "inner" in svg.read_text()
    assert any(frame["name"].startswith("inner") for frame in json.loads(scope.read_text())["shared"]["frames"])


def test_a_table_for_people(run: Run, spinning: int) -> None:
    done = run("profile", str(spinning), "--for", "1s")
    assert done.code == 0, done.err
    assert f"process {spinning}" in done.out
    assert "Hottest functions" in done.out
    assert "inner" in done.out
    assert "RSS" in done.out


def test_a_program_without_python_has_no_stacks_and_all_the_rest(run: Run) -> None:
    with running("sleep", "60") as pid:
        assert "no Python process" in run("profile", str(pid), "--for", "1s").refusal
        done = run("profile", str(pid), "--for", "1s", "--no-stacks", "--json")
        assert done.code == 0, done.err
        told = json.loads(done.out)
        assert told["processes"][0]["samples"] is None
        assert told["processes"][0]["usage"]["rss"] > 0
