"""`penstock bench` from the outside, against a server on a real socket."""

import asyncio
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from penstock.bench.contract.baseline import packed, unpacked
from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.measure.bound import ADVICE
from penstock.cli.bench.measure import measure
from tests.bench import samples
from tests.bench.client import server as s
from tests.bench.conftest import Thread
from tests.bench.traffic.traces.published import AUDITED
from tests.cli.conftest import Run, run

__all__ = ["run"]
pytestmark = pytest.mark.usefixtures("patient")

CONTRACT = """
name: small
workload:
  kinds: [{name: k, input: {law: fixed, tokens: 12}, output: {law: fixed, tokens: 3}}]
  stages:
    - {loop: closed, concurrency: 2, requests: 6}
    - {loop: open, seconds: 0.5, cv: 0, arrivals: {shape: constant, rate: 20}}
  warmup: 1
  gap: 0
runs: 2
judge: {metrics: [ttft.p50, e2e.p50], margin: 0.9}
"""


async def steady(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
    """Takes so long that a busy machine does not nearly double it: two sets of it are not to be told apart."""
    await asyncio.sleep(0.15)
    await s.three_words(asked, writer)


def test_a_run_of_options(run: Run, backend: Thread, tmp_path: Path) -> None:
    asked = ("-C", "1", "-C", "2", "--requests", "4", "--input", "10", "--output", "3", "--slo", "ttft=5s")
    done = run("bench", "run", "--url", backend.url, *asked, "--report", str(tmp_path / "page.html"), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["fingerprint"]["server.version"] == "1.2.3"
    (only,) = told["runs"]
    assert [(stage["stage"], stage["requests"], stage["ok"]) for stage in only["stages"]] == [
        ("1 at once", 4, 4),
        ("2 at once", 4, 4),
    ]
    assert only["stages"][0]["good_share"] == 1.0
    assert only["client"]["invalid"] == ""
    assert all(0.3 < stage["steady"]["share"] <= 1 for stage in only["stages"])
    assert "<h1>adhoc</h1>" in (tmp_path / "page.html").read_text()
    bodies = [each.body for each in backend.sent]
    assert len(bodies) == 4 + 8, "the warm-up is sent and not counted"
    assert all(len(body["messages"][0]["content"].split()) == 10 for body in bodies)


def test_a_table_for_people(run: Run, backend: Thread, contract: Path) -> None:
    done = run("bench", "run", "-f", str(contract), "--url", backend.url, "--runs", "1")
    assert done.code == 0, done.err
    assert "TTFT p50" in done.out
    assert "20/s" in done.out
    assert "bound by" in done.out


def test_a_set_is_kept_shown_and_compared(run: Run, backend: Thread, contract: Path, tmp_path: Path) -> None:
    backend.script = steady
    one, other = str(tmp_path / "one.json.gz"), str(tmp_path / "other.json.gz")
    for path in (one, other):
        assert run("bench", "run", "-f", str(contract), "--url", backend.url, "--out", path).code == 0
    kept = unpacked(Path(one).read_bytes())
    assert len(kept.runs) == 2
    assert [len(each.samples) for each in kept.runs] == [15, 15], "the tenth would be due when the stage is over"
    assert kept.runs[0].seed != kept.runs[1].seed
    assert "is there already" in run("bench", "run", "-f", str(contract), "--url", backend.url, "--out", one).refusal
    compared = run("bench", "compare", one, other, "--json", "--report", str(tmp_path / "c.html"))
    assert compared.code in (0, 3), compared.out
    assert json.loads(compared.out)["verdict"] in ("same", "inconclusive")
    assert "Verdict" in (tmp_path / "c.html").read_text()
    shown = run("bench", "report", one)
    assert "Run 2" in shown.out
    assert "| 2 at once | 6 | 0 |" in shown.out


def test_a_slower_server_is_worse_and_ci_hears_it(run: Run, backend: Thread, contract: Path, tmp_path: Path) -> None:
    one, other = str(tmp_path / "one.json.gz"), str(tmp_path / "other.json.gz")
    arguments = ("bench", "run", "-f", str(contract), "--url", backend.url, "--runs", "3", "--out")
    assert run(*arguments, one).code == 0

    async def slow(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        await s.three_words(asked, writer)

    backend.script = slow
    assert run(*arguments, other).code == 0
    found = run("bench", "compare", one, other, "--markdown")
    assert found.code == 1, found.out
    assert found.out.startswith("**worse**")


def test_two_servers_in_turn(run: Run, backend: Thread, contract: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "set")
    arguments = ("--against", backend.url, "--runs", "2", "--out", out, "--json")
    done = run("bench", "run", "-f", str(contract), "--url", backend.url, *arguments)
    assert done.code == 0, done.err
    assert [len(each["runs"]) for each in json.loads(done.out)] == [2, 2]
    found = run("bench", "compare", f"{out}-a", f"{out}-b", "--pairs", "--json")
    assert json.loads(found.out)["pairs"] is True


def test_two_servers_until_they_can_be_told_apart(run: Run, backend: Thread, contract: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "set")
    two = ("bench", "run", "-f", str(contract), "--url", backend.url, "--against", backend.url)
    done = run(*two, "--runs", "2", "--most-runs", "5", "--out", out)
    assert done.code == 0, done.err
    looked = re.findall(r"^(\d) runs of each: (\w+)", done.err, re.MULTILINE)
    assert [each for each, _ in looked] == ["2", "5"][: len(looked)]
    assert all(verdict == "inconclusive" for _, verdict in looked[:-1])
    sets = [unpacked(Path(f"{out}-{each}").read_bytes()) for each in "ab"]
    assert [len(each.runs) for each in sets] == [int(looked[-1][0])] * 2
    assert [each.looks for each in sets] == [2, 2]
    found = json.loads(run("bench", "compare", f"{out}-a", f"{out}-b", "--pairs", "--json").out)
    assert (found["verdict"], found["level"]) == (looked[-1][1], 0.975)
    assert "name the other with --against" in run("bench", "run", "--url", backend.url, "--most-runs", "6").refusal
    assert "6 is fewer than the 8 of --runs" in run(*two, "--runs", "8", "--most-runs", "6").refusal


def test_baselines_are_added_and_never_changed(run: Run, backend: Thread, contract: Path, tmp_path: Path) -> None:
    backend.script = steady
    folder = tmp_path / "kept"
    arguments = ("bench", "baseline", "-f", str(contract), "--url", backend.url, "--folder", str(folder))
    for number in (1, 2):
        done = run(*arguments)
        assert done.code == 0, done.err
        assert f"000{number}-" in done.out
    assert len(list((folder / "small").iterdir())) == 3
    found = run("bench", "compare", "small@1", "small", "--folder", str(folder), "--json")
    assert found.code in (0, 3), found.out
    assert "baselines 1 to 2" in run("bench", "report", "small@7", "--folder", str(folder)).refusal
    victim = next((folder / "small").glob("0001-*"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    assert "was changed" in run("bench", "report", "small@2", "--folder", str(folder)).refusal
    assert "was changed" in run(*arguments).refusal


@pytest.mark.parametrize("always", [False, True])
def test_runs_of_a_baseline_that_are_not_valid_are_sent_again_once(
    run: Run, backend: Thread, contract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always: bool
) -> None:
    asked: list[tuple[int, int]] = []

    def late(*given: Any, runs: int, quiet: bool, first: int = 0) -> list[RunSet]:
        (found,) = measure(*given, runs=runs, quiet=quiet, first=first)
        if always or not asked:
            found.runs[0].client = msgspec.structs.replace(found.runs[0].client, invalid="late")
        asked.append((runs, first))
        return [found]

    monkeypatch.setattr("penstock.cli.bench.baseline.measure", late)
    done = run("bench", "baseline", "-f", str(contract), "--url", backend.url, "--folder", str(tmp_path / "kept"))
    assert asked == [(2, 0), (1, 2)]
    assert "1 of 2 runs are not valid and are sent again: late" in done.out
    if always:
        assert (done.code, "nothing was kept" in done.err) == (2, True)
        return
    (kept,) = (tmp_path / "kept" / "small").glob("0001-*")
    found = unpacked(kept.read_bytes())
    assert len({each.seed for each in found.runs}) == 2
    assert not any(each.client.invalid for each in found.runs)


def test_the_knee(run: Run, backend: Thread) -> None:
    """A server that answers one after the other, 60 ms each: about 16 requests per second."""
    one = asyncio.Lock()

    async def single(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        async with one:
            await asyncio.sleep(0.06)
        await s.three_words(asked, writer)

    backend.script = single
    asked = ("--slo", "ttft=400ms", "--share", "0.9", "--first", "4", "--seconds", "2", "--width", "0.5", "--json")
    done = run("bench", "saturate", "--url", backend.url, *asked, "--input", "10", "--output", "3")
    assert done.code == 0, done.err
    knee = json.loads(done.out)["knee"]
    assert 4 <= knee["rate"] <= 20
    assert knee["low"] <= knee["rate"] <= knee["high"]


def test_a_queue_that_grows_is_told(run: Run, backend: Thread, tmp_path: Path) -> None:
    """A server that answers one after the other, 60 ms each, and is asked 40 times a second."""
    one = asyncio.Lock()

    async def single(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        async with one:
            await asyncio.sleep(0.06)
        await s.three_words(asked, writer)

    backend.script = single
    asked = ("--rate", "40", "--seconds", "2", "--cv", "0", "--input", "10", "--output", "3")
    out = str(tmp_path / "grown.json.gz")
    done = run("bench", "run", "--url", backend.url, *asked, "--out", out)
    assert "40/s: queue grows: offered rate is above what the server does; of 4" in done.out
    (stage,) = json.loads(run("bench", "report", out, "--json").out)["runs"][0]["stages"]
    assert stage["notice"].startswith("queue grows")
    assert stage["growth"]["requests"]["value"] == pytest.approx(40 - 1 / 0.06, rel=0.3)
    assert stage["steady"] is None
    assert "| queue grows |" in run("bench", "report", out).out


def test_a_price_gives_the_cost_and_is_kept(run: Run, backend: Thread, tmp_path: Path) -> None:
    out = str(tmp_path / "priced.json.gz")
    asked = ("--requests", "4", "--input", "10", "--output", "3", "--price-per-hour", "3600")
    done = run("bench", "run", "--url", backend.url, *asked, "--out", out)
    assert "1 at once: cost per 1K requests" in done.out
    (stage,) = json.loads(run("bench", "report", out, "--json").out)["runs"][0]["stages"]
    assert stage["cost"]["whole"] == pytest.approx(stage["seconds"])
    assert stage["cost"]["per_1k_output_tokens"] == pytest.approx(1000 * stage["seconds"] / 12)
    free = json.loads(run("bench", "run", "--url", backend.url, *asked[:-2], "--json").out)
    assert "cost" not in free["runs"][0]["stages"][0]
    refused = run("bench", "run", "--url", backend.url, "--price-per-hour", "0")
    assert refused.code == 2
    assert "--price-per-hour" in refused.err


def test_a_server_that_fails_is_measured_and_not_an_error(run: Run, backend: Thread) -> None:
    async def broken(asked: s.Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(s.whole({"error": {"code": "overloaded"}}, "503 Unavailable"))

    backend.script = broken
    done = run("bench", "run", "--url", backend.url, "--requests", "3", "--input", "10", "--json")
    (stage,) = json.loads(done.out)["runs"][0]["stages"]
    assert (stage["ok"], stage["endings"]) == (0, {"status": 3})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--input", "many"), "--input"),
        (("--slo", "speed=1"), "--slo"),
        (("--ramp", "1"), "--ramp"),
        (("--key", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
        (("--label", "flags"), "--label"),
        (("--model", "other"), "does not list 'other'"),
        (("--url", "ftp://x"), "no address"),
        (("--url", "http://127.0.0.1:1"), "no server at"),
    ],
)
def test_what_is_refused(run: Run, backend: Thread, arguments: tuple[str, ...], named: str) -> None:
    assert named in run("bench", "run", "--url", backend.url, *arguments).refusal


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("tokens: 12", "tokens: 0"), "workload.kinds[0].input.tokens"),
        (("law: fixed, tokens: 12", "law: like, trace: none"), "there is no trace 'none'"),
        (("runs: 2", "runs: 2\nrnus: 3"), "rnus"),
        (("loop: closed", "loop: sideways"), "workload.stages[0].loop"),
    ],
)
def test_contracts_that_are_refused_name_the_field(
    run: Run, backend: Thread, contract: Path, change: tuple[str, str], named: str
) -> None:
    contract.write_text(CONTRACT.replace(*change, 1))
    assert named in run("bench", "run", "-f", str(contract), "--url", backend.url).refusal


def test_the_contracts_of_the_documents_are_ones() -> None:
    text = (Path(__file__).parents[2] / "docs" / "load.md").read_text()
    examples = [part.split("```")[0] for part in text.split("```yaml\n")[1:]]
    names = [msgspec.convert(yaml.safe_load(each), Contract).name for each in examples]
    assert names == ["chat-small", "two-tenants"]


@pytest.mark.parametrize("name", ["github-actions.yml", "Jenkinsfile"])
def test_templates_for_ci_use_options_that_there_are(run: Run, name: str) -> None:
    text = (Path(__file__).parents[2] / "deploy" / "ci" / name).read_text()
    commands = re.findall(r"penstock bench (run|compare) ([^\n>]*)", text)
    assert {command for command, _ in commands} == {"run", "compare"}
    for command, rest in commands:
        known = run("bench", command, "--help").out
        for option in re.findall(r"--[a-z-]+|-f\b", rest):
            assert option in known, (command, option)


def test_the_contracts_of_this_repository_are_ones() -> None:
    for path in (Path(__file__).parents[2] / "benchmarks" / "contracts").glob("*.yaml"):
        assert msgspec.convert(yaml.safe_load(path.read_text()), Contract).name == path.stem


TENANTS = """
name: two-tenants
workload:
  kinds:
    - {name: a, tenant: acme, input: {law: fixed, tokens: 12}, output: {law: fixed, tokens: 3}}
    - {name: b, tenant: umbrella/lab, model: tiny-lora, input: {law: fixed, tokens: 9}, output: {law: fixed, tokens: 3}}
  stages: [{loop: closed, concurrency: 2, requests: 24}]
  warmup: 0
runs: 1
"""
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:15:{second:02}.6805900,{tokens},3\n" for second, tokens in ((46, 10), (48, 30), (50, 12), (52, 14))
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "azure.csv"
    path.write_text(TRACE)
    return path


def test_a_trace_is_replayed_at_its_own_moments_and_lengths(run: Run, backend: Thread, trace: Path) -> None:
    asked = ("--replay", str(trace), "--speed", "10", "--most-input", "20", "--out", str(trace.parent / "one"))
    done = run("bench", "run", "--url", backend.url, *asked)
    assert done.code == 0, done.err
    assert "azure.csv at 10x" in done.out
    assert "1 prompts cut to 20 tokens" in done.out
    kept = unpacked((trace.parent / "one").read_bytes())
    begin = kept.runs[0].stages[0].begin
    assert [each.due - begin for each in kept.runs[0].samples] == pytest.approx([0, 0.2, 0.4, 0.6], abs=1e-6)
    assert kept.contract.traces == {"workload.stages[0].file": hashlib.sha256(TRACE.encode()).hexdigest()}
    lengths = [len(each.body["messages"][0]["content"].split()) for each in backend.sent]
    assert lengths[-4:] == [10, 20, 12, 14]


def test_two_traces_are_two_loads(run: Run, backend: Thread, trace: Path, tmp_path: Path) -> None:
    def measured(path: Path, out: str) -> str:
        asked = ("--replay", str(path), "--speed", "40", "--runs", "2", "--out", str(tmp_path / out))
        assert run("bench", "run", "--url", backend.url, *asked).code == 0
        return str(tmp_path / out)

    one = measured(trace, "one")
    copied = tmp_path / "elsewhere" / trace.name
    copied.parent.mkdir()
    copied.write_text(TRACE)
    assert run("bench", "compare", one, measured(copied, "copied")).code in (0, 1, 3)
    copied.write_text(TRACE.replace(",30,", ",29,"))
    found = run("bench", "compare", one, measured(copied, "changed"))
    assert found.code == 4
    assert "another trace was replayed" in found.out


def test_a_contract_names_its_trace_from_where_it_lies_and_may_hold_it_to_a_digest(
    run: Run, backend: Thread, contract: Path, trace: Path
) -> None:
    folder = contract.parent / "contracts"
    folder.mkdir()
    trace.rename(folder / "t.csv")
    moved = contract.rename(folder / "c.yaml")
    stage = "    - {loop: replay, file: t.csv, speed: 40, sha256: %s}\n  warmup: 1"
    moved.write_text(CONTRACT.replace("  warmup: 1", stage % hashlib.sha256(TRACE.encode()).hexdigest()))
    done = run("bench", "run", "-f", str(moved), "--url", backend.url, "--runs", "1", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["runs"][0]["stages"][2]["requests"] == 4
    moved.write_text(CONTRACT.replace("  warmup: 1", stage % ("0" * 64)))
    refusal = run("bench", "run", "-f", str(moved), "--url", backend.url).refusal
    assert "workload.stages[2].sha256: is 000" in refusal
    assert "take the other file" in refusal


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "workload.stages[0].file: cannot read"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"a,b\n", "of no known format"),
        (TRACE.encode().replace(b",30,", b",x,"), "azure.csv:3: ContextTokens is 'x'; write whole tokens"),
    ],
)
def test_what_is_no_trace_is_refused(run: Run, backend: Thread, trace: Path, data: bytes | None, told: str) -> None:
    trace.unlink()
    if data is not None:
        trace.write_bytes(data)
    assert told in run("bench", "run", "--url", backend.url, "--replay", str(trace)).refusal
    assert not backend.sent


def test_each_tenant_sends_with_its_own_key_and_each_class_names_its_model(
    run: Run, backend: Thread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tenants.yaml"
    path.write_text(TENANTS)
    backend.models = ["tiny", "tiny-lora"]
    monkeypatch.setenv("KEY_A", "sk-a")
    monkeypatch.setenv("KEY_B", "sk-b")
    asked = ("bench", "run", "-f", str(path), "--url", backend.url, "--json")
    refusal = run(*asked, "--key", "acme=KEY_A").refusal
    assert "workload.kinds[1].tenant: there is no key for 'umbrella/lab'; give one with --key umbrella/lab=" in refusal
    assert not backend.server.asked, "nothing is sent before that is clear"
    done = run(*asked, "--key", "acme=KEY_A", "--key", "umbrella=KEY_B")
    assert done.code == 0, done.err
    found = {
        (re.findall(rb"authorization: Bearer ([a-z-]+)", each.head)[0], each.body["model"]) for each in backend.sent
    }
    assert found == {(b"sk-a", "tiny"), (b"sk-b", "tiny-lora")}
    told = run("bench", "run", "-f", str(path), "--url", backend.url)
    assert "24 requests of 2 tenants without a key of their own went without one." in told.out
    backend.models = ["tiny"]
    assert "workload.kinds[1].model: the server does not list 'tiny-lora'; it has tiny" in run(*asked).refusal


def test_tenants_of_the_audit_log_send_with_their_keys(
    run: Run, backend: Thread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text(AUDITED)
    monkeypatch.setenv("KEY_A", "sk-a")
    monkeypatch.setenv("PENSTOCK_API_KEY", "sk-default")
    asked = ("--replay", str(path), "--speed", "20", "--key", "acme=KEY_A")
    done = run("bench", "run", "--url", backend.url, *asked)
    assert done.code == 0, done.err
    keys = [re.findall(rb"authorization: Bearer ([a-z-]+)", each.head)[0] for each in backend.sent]
    assert keys[-2:] == [b"sk-a", b"sk-default"]


def test_explain_names_what_bounds_each_stage_and_what_does_not(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "set.json.gz"
    path.write_bytes(packed(samples.runs(1, 3)))
    done = run("bench", "explain", str(path))
    assert done.code == 0, done.err
    assert "4 at once: bound by prefill in 3 of 3 runs" in done.out
    assert re.search(r"bounds +prefill +5\d% of a request passed before its first token", done.out)
    assert re.search(r"unknown +KV cache +no engine told", done.out)
    assert re.search(r"no +client +its busiest process used \d+% of a core", done.out)
    assert f"advice: {ADVICE['prefill']}" in done.out
    told = json.loads(run("bench", "explain", str(path), "--json").out)
    assert [each["stages"][0]["bound"]["what"] for each in told["runs"]] == ["prefill"] * 3
    assert len(told["runs"][0]["stages"][0]["candidates"]) == 6
    assert "neither a file nor a baseline" in run("bench", "explain", "nothing-there").refusal
