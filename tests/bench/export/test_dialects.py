"""Exports: numbers computed by hand, and names that the tools have."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.contract.baseline import packed
from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.export.dialect import DIALECTS
from penstock.bench.export.interpolated import deviation, percentile
from penstock.bench.export.part import Part
from penstock.bench.measure.figures import Slo, figures
from penstock.bench.measure.health import health
from penstock.bench.sample import Ending, Run, Sample, Stage
from penstock.bench.traffic.arrivals import Constant
from penstock.bench.traffic.lengths import Fixed
from penstock.bench.traffic.workload import Closed, Kind, Open, Workload
from tests.bench import samples
from tests.bench.export import names
from tests.cli.conftest import Run as Command
from tests.cli.conftest import run

__all__ = ["run"]

SLO = Slo(ttft=0.25, tpot=0.06)
LOAD = Open(Constant(1), 4, cv=0.5)


def made(index: int, due: float, sent: float, first: float, gaps: list[float], **more: Any) -> Sample:
    last = first + sum(gaps)
    values = {"events": len(gaps) + 1, "ended": last + 0.01} | more
    return Sample(index, 0, due, sent, first, last, gaps=gaps, **values)


FEW = [
    made(0, 10.0, 10.0, 10.1, [0.02, 0.04], input_tokens=10, output_tokens=3),
    # sent 0.1 s late; its four events hold five tokens
    made(1, 11.0, 11.1, 11.3, [0.0, 0.1, 0.1], input_tokens=20, output_tokens=5),
    made(2, 12.0, 12.0, 12.1, [], input_tokens=30, output_tokens=1),
    made(3, 13.0, 13.0, 13.2, [0.3], input_tokens=40, output_tokens=2, ending=Ending.RESET, error="gone"),
    made(4, 13.5, 13.5, 0.0, [], events=0, ended=13.6, ending=Ending.CANCELLED),
]


def part(own: list[Sample] = FEW, slo: Slo = SLO, load: Open | Closed = LOAD) -> Part:
    contract = Contract("few", Workload((Kind("k", Fixed(10), Fixed(5)),), (load,)), slo=slo)
    closed = isinstance(load, Closed)
    stage = Stage("s", 10.0, 14.0, load.concurrency if closed else 0, 0.0 if closed else 1.0)
    client = health([stage], own, [(0.1, 4.0)])
    found = Run("few", 1e9, 1, {}, {"server.model": "tiny"}, [stage], client, own)
    return Part(contract, found, 0)


def told(tool: str, given: Part, *, detailed: bool = False) -> dict[str, Any]:
    dialect = DIALECTS[tool]
    make = dialect.detailed if detailed else dialect.brief
    assert make is not None
    return make(given)


def has(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compares only what is wanted, all of it at once."""
    assert {name: found.get(name) for name in wanted} == pytest.approx(wanted, rel=1e-9)


def test_vllm_counts_from_sending_and_pools_gaps() -> None:
    found = told("vllm", part())
    has(
        found,
        {
            "duration": 4.0, "completed": 3, "failed": 1, "total_input_tokens": 60, "total_output_tokens": 9,
            "request_throughput": 0.75, "output_throughput": 2.25, "total_token_throughput": 17.25,
            "max_output_tokens_per_s": 4.0, "max_concurrent_requests": 1,
            "mean_ttft_ms": 400 / 3, "median_ttft_ms": 100.0, "p99_ttft_ms": 198.0, "std_ttft_ms": 100 * (2 / 9) ** 0.5,
            "mean_tpot_ms": 40.0, "p99_tpot_ms": 49.8,
            "mean_itl_ms": 52.0, "median_itl_ms": 40.0, "p90_itl_ms": 100.0,
            "mean_e2el_ms": 220.0, "p99_e2el_ms": 395.2,
        },
    )  # fmt: skip
    assert found["request_goodput"] == 0.75, "one token: TPOT 0, good; sent late: good from sending"
    assert (found["request_rate"], found["burstiness"], found["max_concurrency"]) == (1.0, 4.0, None)
    assert (found["model_id"], found["num_prompts"], found["date"]) == ("tiny", 4, "20010909-014640")
    assert told("vllm", part(slo=Slo()))["request_goodput"] is None


def test_vllm_in_detail() -> None:
    found = told("vllm", part(), detailed=True)
    assert found["ttfts"] == pytest.approx([0.1, 0.2, 0.1, 0.2])
    assert found["itls"] == [[0.02, 0.04], [0.0, 0.1, 0.1], [], [0.3]]
    assert found["latencies"] == pytest.approx([0.16, 0.4, 0.1, 0.0])
    assert found["queue_times"] == pytest.approx([0.0, 0.1, 0.0, 0.0])
    assert found["output_lens"] == [3, 5, 1, 0]
    assert found["errors"] == ["", "", "", "gone"]


def test_a_closed_loop_in_the_words_of_vllm() -> None:
    found = told("vllm", part(load=Closed(8, 4)))
    assert (found["request_rate"], found["burstiness"], found["max_concurrency"]) == ("inf", 1.0, 8)


def test_aiperf_has_latency_per_request_and_time_from_first_to_last() -> None:
    found = told("aiperf", part())
    assert found["time_to_first_token"] == pytest.approx(
        {
            "unit": "ms", "avg": 400 / 3, "p1": 100.0, "p5": 100.0, "p10": 100.0, "p25": 100.0, "p50": 100.0,
            "p75": 150.0, "p90": 180.0, "p95": 190.0, "p99": 198.0, "min": 100.0, "max": 200.0,
            "std": 100 * (2 / 9) ** 0.5, "count": 3, "sum": 400.0,
        }
    )  # fmt: skip
    averages = {name: value["avg"] for name, value in found.items() if isinstance(value, dict)}
    has(
        averages,
        {
            "inter_token_latency": 40.0, "inter_chunk_latency": 52.0, "time_to_second_token": 10.0,
            "request_latency": 220.0, "effective_latency": (170 + 510 + 110) / 3,
            "credit_to_start_latency": 100 / 3, "decode_duration": 260 / 3,
            "output_token_throughput_per_user": (1 / 0.03 + 1 / 0.05) / 2, "output_sequence_length": 3.0,
            "benchmark_duration": 2.1, "request_throughput": 3 / 2.1, "output_token_throughput": 9 / 2.1,
            "total_token_throughput": 69 / 2.1, "request_count": 3, "error_request_count": 1,
            "request_error_rate": 25.0, "good_request_count": 2, "goodput": 2 / 2.1, "good_request_fraction": 0.5,
        },
    )  # fmt: skip
    units = {"benchmark_duration": "sec", "request_throughput": "requests/sec", "goodput": "requests/sec"}
    assert {name: found[name]["unit"] for name in units} == units
    assert found["request_count"] == {"unit": "requests", "avg": 3}
    assert found["start_time"] == "2001-09-09T01:46:50+00:00"
    assert "goodput" not in told("aiperf", part(slo=Slo()))


def test_mlperf_counts_from_the_timetable_in_nanoseconds() -> None:
    found = told("mlperf", part())
    has(
        found,
        {
            "result_query_count": 4, "num_errors": 1,
            "result_scheduled_samples_per_sec": 1.0, "result_completed_samples_per_sec": 2 / 2.1,
            "result_completed_tokens_per_second": 9 / 2.1,
            "result_first_token_50.00_percentile_latency_ns": 100_000_000,
            "result_first_token_90.00_percentile_latency_ns": 300_000_000,
            "result_first_token_mean_latency_ns": 166_666_666, "result_99.00_percentile_latency_ns": 500_000_000,
            "result_min_latency_ns": 100_000_000, "result_time_per_output_token_50.00_percentile_ns": 50_000_000,
            "result_time_to_output_token_min": 30_000_000, "result_time_to_output_token_mean": 40_000_000,
        },
    )  # fmt: skip
    assert found["effective_scenario"] == "Server"
    single = told("mlperf", part(load=Closed(1, 4)))
    assert single["effective_scenario"] == "SingleStream"
    assert single["result_qps_without_loadgen_overhead"] == pytest.approx(3 / 0.76)
    assert "effective_scenario" not in told("mlperf", part(load=Closed(2, 4))), "LoadGen has no such scenario"


def test_the_three_differ_where_their_definitions_do() -> None:
    """The same requests: from sending or from due, with or without the answer of one token."""
    given = part()
    ours = figures(given.stage, FEW, SLO)
    assert ours.spreads["ttft"].most == pytest.approx(0.3)
    assert told("vllm", given)["p99_ttft_ms"] < 200.1
    assert told("mlperf", given)["result_first_token_max_latency_ns"] == 300_000_000
    shares = ours.good_share, told("vllm", given)["request_goodput"], told("aiperf", given)["goodput"]["avg"]
    assert shares == (0.5, 0.75, pytest.approx(2 / 2.1)), "of 4, per second of 4 s, per second of 2.1 s"


@pytest.mark.parametrize("tool", DIALECTS)
@pytest.mark.parametrize("load", [LOAD, Closed(1, 4), Closed(8, 4)], ids=["open", "single", "closed"])
def test_every_name_is_one_of_the_tool(tool: str, load: Open | Closed) -> None:
    dialect = DIALECTS[tool]
    found = set(dialect.brief(part(load=load)))
    if dialect.detailed is not None:
        found |= set(dialect.detailed(part(load=load)))
    assert found <= names.KNOWN[tool]
    assert names.ALWAYS[tool] <= found


@pytest.mark.parametrize("tool", DIALECTS)
def test_nothing_is_made_up_of_nothing(tool: str) -> None:
    """What has no value is absent: an answer in one piece has no first token, a stage may have no whole answer."""
    unary = made(0, 10.0, 10.0, 10.2, [], events=0, input_tokens=10, output_tokens=3)
    for own in ([], FEW[3:], [unary]):
        found = told(tool, part(own))
        assert not [name for name in found if "first_token" in name or "ttft" in name]
        json.dumps(found, allow_nan=False)
    latency = {"vllm": "mean_e2el_ms", "aiperf": "request_latency", "mlperf": "result_mean_latency_ns"}
    assert latency[tool] in told(tool, part([unary]))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 100))
def test_a_percentile_lies_between_its_neighbours(values: list[float], p: float) -> None:
    ordered = sorted(values)
    assert ordered[0] <= percentile(ordered, p) + 1e-6
    assert percentile(ordered, p) <= ordered[-1] + 1e-6
    assert percentile(ordered, 50) == pytest.approx(-percentile(sorted(-value for value in values), 50))
    assert 0 <= deviation(values) <= (ordered[-1] - ordered[0]) / 2 + 1e-6


@pytest.fixture
def kept(tmp_path: Path) -> str:
    """A set of two runs with two stages, the second run not valid."""
    load = (Closed(1, 3), Closed(4, 60))
    contract = Contract("two", Workload((Kind("k", Fixed(10), Fixed(5)),), load), runs=2)
    runs = []
    for seed in (1, 2):
        one = samples.run(seed)
        stages = [Stage("1 at once", 0.0, 1.0, 1), *one.stages]
        own = [samples.sample(number, due=0.3 * number) for number in range(3)]
        for each in one.samples:
            each.stage = 1
        runs.append(msgspec.structs.replace(one, stages=stages, samples=[*own, *one.samples]))
    runs[1].client = msgspec.structs.replace(runs[1].client, invalid="lagged")
    path = tmp_path / "kept.json.gz"
    path.write_bytes(packed(RunSet(contract, {}, runs, "now")))
    return str(path)


def test_the_command(run: Command, kept: str, tmp_path: Path) -> None:
    done = run("bench", "export", kept, "--as", "vllm")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["max_concurrency"] for line in lines] == [1, 4]
    assert [line["completed"] for line in lines] == [3, 60]
    first = run("bench", "export", kept, "--as", "vllm", "--run", "1", "--stage", "2", "--detailed")
    only = json.loads(first.out)
    assert len(only["ttfts"]) == 60
    assert {name: only[name] for name in lines[1]} == lines[1], "the last valid run is the first"
    other = run("bench", "export", kept, "--as", "vllm", "--run", "2", "--stage", "2")
    assert json.loads(other.out)["mean_ttft_ms"] != only["mean_ttft_ms"]
    out = tmp_path / "out.json"
    arguments = ("bench", "export", kept, "--as", "aiperf", "--stage", "1", "--out", str(out))
    assert run(*arguments).out == ""
    assert json.loads(out.read_text())["request_count"]["avg"] == 3
    assert "is there already" in run(*arguments).refusal


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--as", "mlperf", "--detailed"), "--detailed: the file of mlperf"),
        (("--as", "vllm", "--run", "3"), "--run: there is no run 3; it has runs 1 to 2"),
        (("--as", "vllm", "--stage", "3"), "--stage: there is no stage 3; it has stages 1 to 2"),
    ],
)
def test_what_an_export_refuses(run: Command, kept: str, arguments: tuple[str, ...], named: str) -> None:
    assert named in run("bench", "export", kept, *arguments).refusal


def test_an_export_of_nothing(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "none.json.gz"
    path.write_bytes(packed(RunSet(samples.CONTRACT, {}, [], "now")))
    assert "RESULT: it holds no run" in run("bench", "export", str(path), "--as", "vllm").refusal
    assert "neither a file nor a baseline" in run("bench", "export", "nowhere", "--as", "vllm").refusal
