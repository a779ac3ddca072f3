"""Exports of other load testers, and what they reported beside what the engine wrote down."""

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench.rivals import aiperf, compare, guidellm, own, vllm
from benchmarks.bench.rivals.compare import Written
from benchmarks.bench.rivals.run import known
from benchmarks.bench.rivals.tool import Export, Load, Rival, Unusable, linear

LOAD = Load("http://127.0.0.1:1", "fixed", 4, 20, rate=40.0)

# Recorded from vllm 0.32.0, guidellm 0.8.1 and aiperf 0.13.0, shortened.
VLLM: dict[str, Any] = {
    "completed": 2, "failed": 0, "start_times": [3702.805708423, 3702.83209438],
    "p50_ttft_ms": 51.74394250002479, "p90_ttft_ms": 55.30981120036813, "p95_ttft_ms": 56.19411230018159,
    "p99_ttft_ms": 57.16982037019987, "p50_itl_ms": 9.908318000043437, "p90_itl_ms": 12.262426799770763,
    "p95_itl_ms": 13.686198349955701, "p99_itl_ms": 15.925761859743943, "p50_e2el_ms": 241.73060900011478,
    "p90_e2el_ms": 245.03772910002226, "p95_e2el_ms": 246.71577049980442, "p99_e2el_ms": 248.9383062199886,
}  # fmt: skip
SUMMARY = {"p50": 52.60753631591797, "p90": 55.7255744934082, "p95": 56.85901641845703, "p99": 61.20777130126953}
GUIDELLM: dict[str, Any] = {
    "benchmarks": [
        {
            "metrics": {
                "time_to_first_token_ms": {"successful": {"mean": 52.9, "percentiles": SUMMARY}},
                "request_latency": {"successful": {"percentiles": {key: each / 1e3 for key, each in SUMMARY.items()}}},
                "turns": None,
            },
            "requests": {"successful": [{"request_start_time": 1795857298.3458416}], "errored": [], "incomplete": []},
        }
    ]
}
AIPERF: dict[str, Any] = {
    "request_count": {"unit": "requests", "avg": 1.0},
    "time_to_first_token": {"unit": "ms", "avg": 51.9, **SUMMARY},
    "effective_latency": {
        "unit": "ms",
        "p50": 242.333184,
        "p90": 249.1452928,
        "p95": 257.36,
        "p99": 269.12980480000004,
    },
}
RECORD = {"metadata": {"credit_issued_ns": 1795857548309218943, "request_start_ns": 1795857548310615189}, "error": None}


def test_exports_are_read_in_seconds() -> None:
    ours = vllm.parse(VLLM)
    assert (ours.done, ours.clock, list(ours.sent)) == (2, "monotonic", [3702.805708423, 3702.83209438])
    assert ours.reported["ttft_from_sent"][0.99] == pytest.approx(0.0571698, abs=1e-6)
    assert set(ours.reported) == {"ttft_from_sent", "itl", "e2e_from_sent"}
    theirs = guidellm.parse(GUIDELLM)
    assert (theirs.done, theirs.clock, list(theirs.sent)) == (1, "wall", [1795857298.3458416])
    assert theirs.reported["ttft_from_sent"][0.5] == theirs.reported["e2e_from_sent"][0.5] == pytest.approx(0.0526075)
    other = aiperf.parse(AIPERF, [RECORD, {**RECORD, "error": {"code": 500}}])
    assert (other.done, other.clock) == (1, "wall")
    assert list(other.sent) == [pytest.approx(1795857548.310615, abs=1e-5)]
    assert other.reported["e2e"][0.5] == pytest.approx(0.242333, abs=1e-6)


def test_an_export_of_another_form_is_an_error_and_not_a_figure() -> None:
    for broken in ({}, {"benchmarks": []}, {"completed": 3}):
        with pytest.raises((LookupError, ValueError)):
            vllm.parse(broken)
        with pytest.raises((LookupError, ValueError)):
            guidellm.parse(broken)
        with pytest.raises((LookupError, ValueError)):
            aiperf.parse(broken, [])


@pytest.mark.parametrize("rival", known(), ids=lambda rival: rival.name)
def test_every_rival_gets_the_same_load(rival: Rival, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    command = " ".join(rival.command(LOAD, tmp_path))
    prompts = "".join(path.read_text() for path in tmp_path.glob("prompts.jsonl"))
    assert re.search(r"(--request-rate |kind=constant,rate=)40\b", command)
    assert re.search(r"(--num-prompts |--request-count |kind=max_requests,count=)4\b", command)
    assert re.search(r"(--random-output-len |--osl |max_tokens=)20\b", command)
    assert LOAD.words in command or prompts.count(LOAD.words) == 4
    closed = " ".join(rival.command(dataclasses.replace(LOAD, rate=0.0, clients=7), tmp_path / "closed"))
    assert re.search(r"(--max-concurrency |--concurrency |kind=concurrent,streams=)7\b", closed)
    assert set(rival.says) >= {"ttft_from_sent", "e2e_from_sent", "e2e"}


def served(sent: Sequence[float], frozen: tuple[float, float] = (0.0, 0.0)) -> list[Written]:
    """An engine that answers after 50 ms, and reads nothing while it is frozen."""
    reads = [frozen[1] if frozen[0] <= at < frozen[1] else at for at in sent]
    return [Written(read, [read + 0.05 + 0.01 * number for number in range(5)]) for read in reads]


def latencies(streams: Sequence[Written], sent: Sequence[float]) -> list[float]:
    return [each.events[0] - at for each, at in zip(streams, sent, strict=True)]


def export(measured: Sequence[float], sent: Sequence[float]) -> Export:
    told = {q: linear(sorted(measured), q) for q in (0.5, 0.9, 0.95, 0.99)}
    return Export(len(sent), list(sent), "monotonic", {"ttft_from_sent": told})


def ttft(way: str, exported: Export, streams: Sequence[Written]) -> dict[str, float]:
    found = compare.truths(streams, exported.sent, 40.0)
    table = compare.rows(vllm.rival(), way, exported, found)
    compare.checked(exported, streams, len(streams))
    return {each["quantity"]: each["error_over_limit"] for each in table if each["q"] == 0.99}


def test_who_sends_on_time_sees_the_frozen_second_and_who_waits_does_not() -> None:
    due = [number / 40 for number in range(400)]
    streams = served(due, (3.0, 4.0))
    honest = export(latencies(streams, due), due)
    assert ttft("freeze", honest, streams) == {"ttft_from_sent": 0.0, "ttft": 0.0}
    # One request waits through the second; those due meanwhile are sent when it is over.
    late = [at if not 3.0 < at < 4.0 else 4.0 + at / 1e4 for at in due]
    streams = served(late, (3.0, 4.0))
    waits = export(latencies(streams, late), late)
    errors = ttft("freeze", waits, streams)
    assert errors["ttft_from_sent"] == 0.0
    assert errors["ttft"] > 80


@given(st.lists(st.floats(0, 0.02), min_size=2, max_size=40), st.floats(1, 1000))
def test_the_timetable_has_even_gaps_and_no_request_was_read_before_it_was_due(late: list[float], rate: float) -> None:
    reads = sorted(7.0 + number / rate + delay for number, delay in enumerate(late))
    due = compare.timetable(reads, rate)
    assert all(read >= at - 1e-9 for read, at in zip(reads, due, strict=True))
    assert min(read - at for read, at in zip(reads, due, strict=True)) == pytest.approx(0, abs=1e-9)
    assert all(b - a == pytest.approx(1 / rate, abs=1e-9) for a, b in itertools.pairwise(due))


def test_a_rival_that_lost_requests_has_no_figures() -> None:
    streams = served([0.0, 0.025])
    with pytest.raises(Unusable, match="1 of 2 requests answered"):
        compare.checked(export([0.05], [0.0]), streams, 2)
    with pytest.raises(Unusable, match="3 of 2 requests seen by the engine"):
        compare.checked(export([0.05] * 2, [0.0, 0.025]), served([0.0, 0.1, 0.2]), 2)


def test_the_version_is_that_of_the_environment_and_not_the_one_wished_for(tmp_path: Path) -> None:
    rival = dataclasses.replace(guidellm.rival(), program=tmp_path / "bin" / "guidellm")
    assert (rival.found(), "install" in rival.missing()) == (rival.version, True)
    (tmp_path / "lib" / "python3.11" / "site-packages" / "guidellm-9.9.dist-info").mkdir(parents=True)
    assert rival.found() == "9.9"


def test_an_answer_of_penstock_that_broke_off_does_not_count(tmp_path: Path) -> None:
    samples = [{"ending": "ok"}, {"ending": "reset"}]
    assert own.parse({"runs": [{"samples": samples}]}).done == 1
    command = own.command(dataclasses.replace(LOAD, rate=0.0, clients=7, words="events=2"), tmp_path)
    workload = json.loads(Path(command[command.index("-f") + 1]).read_text())["workload"]
    assert workload["stages"] == [{"loop": "closed", "concurrency": 7, "requests": 4}]
    assert workload["extra"] == {"user": "events=2"}


def test_capacity_is_the_difference_of_two_runs() -> None:
    assert compare.rate_of((10_000, 9.0), (110_000, 14.0)) == 20_000
    with pytest.raises(Unusable, match="cost"):
        compare.rate_of((10_000, 9.0), (110_000, 8.9))


def test_worst_keeps_what_a_tool_says_of_itself_apart_from_what_users_saw() -> None:
    row = {"tool": "a", "way": "freeze", "quantity": "itl", "error_over_limit": 0.5}
    assert compare.worst([row, {**row, "quantity": "ttft", "error_over_limit": 90.0}]) == [
        {"tool": "a", "way": "freeze", "own": 0.5, "seen": 90.0}
    ]


def test_the_engine_answers_what_rivals_ask_and_logs_streams_without_a_name(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    log = tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bench.mock", str(log)], cwd=root, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            assert client.get("/health").status_code == 200
            assert "freeze" in {each["id"] for each in client.get("/v1/models").json()["data"]}
            assert client.head("/metrics").status_code == 404
            chat = client.post("/v1/chat/completions", json={"model": "fixed", "max_completion_tokens": 3}).text
            text = client.post("/v1/completions", json={"model": "fixed", "max_tokens": 2, "prompt": [1, 2]}).text
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
    events = [json.loads(line[6:]) for line in chat.splitlines() if line.startswith("data: {")]
    assert [each["choices"][0]["delta"]["content"] for each in events[:-1]] == ["word "] * 3
    assert events[-1]["usage"]["completion_tokens"] == 3
    assert text.count('"text":"word "') == 2
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [len(line["written"]) for line in lines] == [3, 2]
    assert all(line["read"] < line["written"][0] for line in lines)
