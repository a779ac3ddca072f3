"""Every dialect reads its engine's text to one vocabulary, and says what is missing."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.core.load import Load
from penstock.wire.dialects import DIALECTS, SIGNALS, detect, expected, read_load
from penstock.wire.dialects.dialect import Range, version_of

RECORDED = Path(__file__).with_name("recorded")
NOW = 17.5

VLLM = Load(
    at=NOW,
    dialect="vllm",
    running=4,
    waiting=3,
    kv_utilisation=0.009628610729023435,
    kv_capacity_tokens=93184,
    prefix_hit_tokens=640,
    prefix_query_tokens=1160,
    preemptions=0,
    prompt_tokens=1160,
    generation_tokens=65,
    adapter_slots=2,
    adapters=("ancient", "modern"),
)
LOADS = {
    "vllm-0.32.0": VLLM,
    "vllm-0.8.5": VLLM,
    "vllm-0.6.3": Load(
        at=NOW,
        dialect="vllm",
        running=4,
        waiting=3,
        kv_utilisation=0.009628610729023435,
        kv_capacity_tokens=93184,
        preemptions=0,
        prompt_tokens=1160,
        generation_tokens=65,
    ),
    "sglang": Load(
        at=NOW,
        dialect="sglang",
        running=7,
        waiting=3,
        kv_utilisation=0.5,
        kv_capacity_tokens=200_000,
        prefix_hit_tokens=450,
        prefix_query_tokens=1000,
        preemptions=3,
        prompt_tokens=1000,
        generation_tokens=90,
        adapter_slots=8,
    ),
    "trtllm": Load(
        at=NOW,
        dialect="trtllm",
        running=6,
        waiting=2,
        kv_utilisation=0.5,
        kv_capacity_tokens=32_000,
        prefix_hit_tokens=320,
        prefix_query_tokens=900,
        prompt_tokens=900,
        generation_tokens=80,
    ),
    "triton": Load(
        at=NOW,
        dialect="triton",
        running=4,
        waiting=3,
        kv_utilisation=0.25,
        kv_capacity_tokens=64_000,
        prompt_tokens=900,
        generation_tokens=80,
    ),
    "tgi": Load(at=NOW, dialect="tgi", running=5, waiting=2, prompt_tokens=900, generation_tokens=80),
    "llamacpp": Load(
        at=NOW,
        dialect="llamacpp",
        running=0,
        waiting=0,
        prefix_hit_tokens=48,
        prefix_query_tokens=98,
        prompt_tokens=98,
        generation_tokens=8,
    ),
}


def text(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def without(whole: str, families: set[str]) -> str:
    """A text without the series of some metrics."""
    names = "|".join(map(re.escape, families))
    return re.sub(rf"^(?:{names})[{{ ].*\n", "", whole, flags=re.MULTILINE)


def engine_and_version(name: str) -> tuple[str, str]:
    engine, _, version = name.partition("-")
    return engine, version


@pytest.mark.parametrize("name", LOADS)
def test_a_text_is_read_whole(name: str) -> None:
    assert read_load(text(name).encode(), NOW) == LOADS[name]


def test_every_recorded_text_is_read() -> None:
    assert {path.stem for path in RECORDED.glob("*.txt")} == set(LOADS)
    assert {engine_and_version(name)[0] for name in LOADS} == set(DIALECTS)


def test_two_releases_of_vllm_with_other_names_give_the_same_load() -> None:
    new, old = text("vllm-0.32.0"), text("vllm-0.8.5")
    assert "gpu_cache_usage_perc" in old
    assert "gpu_cache_usage_perc" not in new
    assert read_load(new.encode(), NOW) == read_load(old.encode(), NOW)


@pytest.mark.parametrize("name", LOADS)
def test_a_known_version_reads_the_same(name: str) -> None:
    engine, version = engine_and_version(name)
    read = read_load(text(name).encode(), NOW, dialect=engine, version=version)
    assert read.version == version
    assert read.missing == ()
    assert all(getattr(read, signal) == getattr(LOADS[name], signal) for signal in SIGNALS)


def series_of(name: str) -> list[tuple[str, str]]:
    """(recorded text, metric that its range expects), each family once."""
    engine, version = engine_and_version(name)
    return [
        (name, metric) for metric in dict.fromkeys(metric.partition("{")[0] for _, metric in expected(engine, version))
    ]


ADDED_WHERE_EXPORTED = ("sglang:num_grammar_queue_reqs", "llamacpp:prompt_tokens_cached_total")


@pytest.mark.parametrize("told", [True, False], ids=["version told", "version unknown"])
@pytest.mark.parametrize(("name", "metric"), [case for name in LOADS for case in series_of(name)])
def test_a_dropped_series_flags_its_signals_and_no_other(name: str, metric: str, told: bool) -> None:
    engine, version = engine_and_version(name)
    hurt = {signal for signal, needed in expected(engine, version) if needed.partition("{")[0] == metric}
    if metric in ADDED_WHERE_EXPORTED:
        hurt = set()
    read = read_load(without(text(name), {metric}).encode(), NOW, dialect=engine, version=version if told else "")
    assert set(read.missing) == hurt
    assert all(getattr(read, signal) is None for signal in hurt)


@pytest.mark.parametrize("name", ["vllm-0.32.0", "sglang"])
def test_what_a_setting_switches_on_is_not_missed_without_it(name: str) -> None:
    read = read_load(without(text(name), {"vllm:lora_requests_info", "sglang:lora_pool_slots_total"}).encode(), NOW)
    assert (read.adapter_slots, read.adapters, read.missing) == (None, (), ())


@pytest.mark.parametrize(
    ("name", "born_later", "unknown"),
    [
        (
            "sglang",
            {
                "sglang:e2e_request_latency_seconds_count",
                "sglang:prompt_tokens_total",
                "sglang:generation_tokens_total",
                "sglang:cached_tokens_total",
            },
            {"prompt_tokens", "generation_tokens", "prefix_hit_tokens", "prefix_query_tokens"},
        ),
        (
            "tgi",
            {"tgi_request_success", "tgi_request_input_length_sum", "tgi_request_generated_tokens_sum"},
            {"prompt_tokens", "generation_tokens"},
        ),
    ],
)
def test_an_engine_before_its_first_request_misses_nothing(name: str, born_later: set[str], unknown: set[str]) -> None:
    read = read_load(without(text(name), born_later).encode(), NOW)
    assert read.missing == ()
    assert all(getattr(read, signal) is None for signal in unknown)


def test_triton_before_the_composite_labels_gives_what_they_are_made_of() -> None:
    old = re.sub(r'^.*(?:="waiting"|="fraction").*\n', "", text("triton"), flags=re.MULTILINE)
    assert "waiting" not in old
    assert read_load(old.encode(), NOW) == LOADS["triton"]


def test_utilisation_of_data_parallel_ranks_times_their_capacity_is_what_is_in_use() -> None:
    written = """vllm:kv_cache_usage_perc{engine="0"} 0.9
vllm:kv_cache_usage_perc{engine="1"} 0.1
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="100"} 1
vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="100"} 1
vllm:num_requests_running{engine="0"} 7
vllm:num_requests_running{engine="1"} 1
"""
    read = read_load(written.encode(), NOW)
    assert (read.kv_utilisation, read.kv_capacity_tokens, read.running) == (0.5, 3200, 8)


def test_the_newest_series_of_adapters_counts_whatever_the_order_of_lines() -> None:
    line = 'vllm:lora_requests_info{{max_lora="{}",running_lora_adapters="{}",waiting_lora_adapters="{}"}} {}\n'
    newest, old = line.format(4, "b, a", "a,c", "1.7e9"), line.format(2, "old", "", "1.6e9")
    for written in (newest + old, old + newest):
        read = read_load(written.encode(), NOW)
        assert (read.adapters, read.adapter_slots) == (("b", "a", "c"), 4)


def test_an_engine_without_adapters_at_work_still_tells_its_slots() -> None:
    written = 'vllm:lora_requests_info{max_lora="2",running_lora_adapters="",waiting_lora_adapters=""} 1.7e9\n'
    read = read_load(written.encode(), NOW)
    assert (read.adapters, read.adapter_slots) == ((), 2)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "", "many"])
def test_what_is_no_finite_number_is_missing(value: str) -> None:
    hurt = re.sub(r"^(vllm:kv_cache_usage_perc\{.*\}) .*$", rf"\1 {value}", text("vllm-0.32.0"), flags=re.MULTILINE)
    read = read_load(hurt.encode(), NOW)
    assert (read.kv_utilisation, read.missing) == (None, ("kv_utilisation",))


def test_a_number_that_no_engine_can_mean_is_missing() -> None:
    for value in ("-1", "1e300"):
        hurt = re.sub(
            r"^(vllm:num_requests_running\{.*\}) .*$", rf"\1 {value}", text("vllm-0.32.0"), flags=re.MULTILINE
        )
        assert read_load(hurt.encode(), NOW).missing == ("running",)


@given(st.sampled_from(list(LOADS)), st.lists(st.floats(), min_size=1, max_size=40))
def test_whatever_the_numbers_a_load_can_be_told(name: str, numbers: list[float]) -> None:
    at = iter(numbers * 400)
    odd = re.sub(r"^([^#\n]*) \S+$", lambda line: f"{line[1]} {next(at)}", text(name), flags=re.MULTILINE)
    read = read_load(odd.encode(), NOW)
    assert msgspec.json.decode(msgspec.json.encode(read), type=Load) == read
    assert read.kv_utilisation is None or 0 <= read.kv_utilisation <= 1


def test_a_capacity_not_yet_known_is_missing() -> None:
    hurt = re.sub(r'(kv_cache_size_tokens|num_gpu_blocks)="\d+"', r'\1="None"', text("vllm-0.32.0"))
    read = read_load(hurt.encode(), NOW)
    assert (read.kv_capacity_tokens, read.missing) == (None, ("kv_capacity_tokens",))


def test_both_names_of_a_release_between_are_read_by_the_newer() -> None:
    both = text("vllm-0.32.0") + 'vllm:gpu_cache_usage_perc{engine="0"} 0.5\n'
    assert read_load(both.encode(), NOW) == VLLM


def test_a_known_version_decides_against_the_names() -> None:
    read = read_load(text("vllm-0.8.5").encode(), NOW, version="0.11.2")
    assert set(read.missing) == {"kv_utilisation", "prefix_hit_tokens", "prefix_query_tokens"}


@pytest.mark.parametrize(
    ("version", "since"),
    [
        ("0.32.0", "0.9.2"),
        ("v0.9.2rc1+cpu", "0.9.2"),
        ("0.9.1", "0.8"),
        ("0.8.0", "0.8"),
        ("0.7.3", ""),
    ],
)
def test_a_version_falls_in_its_range(version: str, since: str) -> None:
    chosen = DIALECTS["vllm"].range_of(version)
    assert isinstance(chosen, Range)
    assert chosen.since == since


def test_openmetrics_names_without_colons_are_read() -> None:
    written = re.sub(r"\bvllm:", "vllm_", text("vllm-0.32.0"))
    assert ":" in text("vllm-0.32.0")
    assert read_load(written.encode(), NOW) == VLLM


def test_what_is_no_version_decides_nothing() -> None:
    assert version_of("nightly") is None
    assert read_load(text("vllm-0.8.5").encode(), NOW, version="nightly").missing == ()


@pytest.mark.parametrize("name", list(DIALECTS))
def test_the_ranges_of_a_dialect_leave_no_gap_and_do_not_overlap(name: str) -> None:
    ranges = DIALECTS[name].ranges
    assert (ranges[0].until, ranges[-1].since) == ("", "")
    assert [newer.since for newer in ranges[:-1]] == [older.until for older in ranges[1:]]


@pytest.mark.parametrize("name", list(DIALECTS))
def test_rules_fill_fields_of_load_once(name: str) -> None:
    for each in DIALECTS[name].ranges:
        signals = [rule.signal for rule in each.rules]
        assert set(signals) <= set(SIGNALS)
        assert len(signals) == len(set(signals))


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe\x00", b"<html>down</html>", b"vllm", b"# TYPE vllm:x gauge\n"])
def test_junk_misses_everything(junk: bytes) -> None:
    assert read_load(junk, NOW) == Load(at=NOW, missing=SIGNALS)
    assert read_load(junk, NOW, dialect="wllm") == Load(at=NOW, missing=SIGNALS)
    for name in DIALECTS:
        read = read_load(junk, NOW, dialect=name)
        assert read.dialect == name
        assert all(getattr(read, signal) in (None, ()) for signal in SIGNALS)
        assert {"running", "waiting"} <= set(read.missing)


@pytest.mark.parametrize("name", LOADS)
def test_a_text_tells_its_dialect(name: str) -> None:
    assert detect(text(name)) == engine_and_version(name)[0]


def test_llamacpp_is_not_asked_for_its_kv_cache() -> None:
    assert not {"kv_utilisation", "kv_capacity_tokens", "preemptions"} & {signal for signal, _ in expected("llamacpp")}


def test_expected_tells_the_metrics_of_a_version() -> None:
    assert ("kv_utilisation", "vllm:kv_cache_usage_perc") in expected("vllm")
    assert ("kv_utilisation", "vllm:gpu_cache_usage_perc") in expected("vllm", "0.8.5")
    with pytest.raises(ConfigError, match="known: llamacpp"):
        expected("wllm")
