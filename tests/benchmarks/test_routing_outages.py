"""What is said of a fault: from rows to figures, from figures to bars."""

from typing import Any

import pytest

from benchmarks.routing import decision, lora, signals
from benchmarks.routing.outages import bars, told
from benchmarks.routing.workloads import OUT_TOKENS


def answer(error: str = "", ttft_s: float | None = 0.2, tokens: int = OUT_TOKENS, engine: str = "e0") -> dict[str, Any]:
    return {"error": error, "ttft_s": ttft_s, "tokens": tokens, "engine": engine, "during": True}


def record(*started: float, ttft_s: float | None = 1.0) -> dict[str, Any]:
    return {"ttft_s": ttft_s, "attempts": [{"engine": "e0", "started_s": at} for at in started]}


def look(kv_utilisation: float | None, preemptions: float | None = None) -> dict[str, Any]:
    return {"kv_utilisation": kv_utilisation, "preemptions": preemptions}


def found(
    answers: list[dict[str, Any]], records: list[dict[str, Any]], seen: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {
        "victim": "e1", "repair_s": 0.1, "recovery_s": 3.0, "seen": seen or [look(0.97, 3.0), look(0.98, 5.0)],
        "answers": answers, "records": records,
    }  # fmt: skip


def held(of: dict[str, Any]) -> dict[str, bool]:
    return {bar.name.removeprefix("outage_"): bar.holds for bar in bars({"killed": of, "filled": of})}


def test_all_is_well() -> None:
    of = told(found([answer(), answer(engine="e1")], [record(0.0), record(0.0)]))
    assert all(held(of).values())
    assert (of["victims_share"], of["attempts"]) == (0.5, 2)


@pytest.mark.parametrize(
    ("answers", "records", "missed"),
    [
        ([answer("status 503", None)], [record(0.0)], "killed_unanswered"),
        ([answer(tokens=OUT_TOKENS + 1)], [record(0.0)], "answers_of_wrong_length"),
        ([answer()], [record(0.0, 1.5)], "tries_after_first_byte"),
        ([answer()], [record(0.0, 0.5)], "retry_amplification"),
        ([answer()], [], "requests_without_record"),
    ],
)
def test_each_bar_can_be_missed(answers: list[dict[str, Any]], records: list[dict[str, Any]], missed: str) -> None:
    assert not held(told(found(answers, records)))[missed]


@pytest.mark.parametrize("seen", [[look(0.4), look(0.95), look(0.3)], [look(None)]])
def test_a_cache_that_was_not_full_proves_nothing(seen: list[dict[str, Any]]) -> None:
    of = told(found([answer()], [record(0.0)], seen))
    assert [name for name, holds in held(of).items() if not holds] == ["filled_kv_utilisation"]


def test_what_was_put_back_is_told() -> None:
    assert told(found([answer()], [record(0.0)]))["preemptions"] == 2.0


def test_an_answer_that_breaks_off_after_its_first_byte_is_no_retriable_request() -> None:
    of = told(found([answer("cut off", 0.2), answer()], [record(0.0), record(0.0)]))
    assert (of["unanswered"], of["cut_after_first_byte"]) == (0, 1)


def test_a_hit_follows_its_like_on_the_same_engine() -> None:
    rows = [{"engine": engine, "adapter": adapter} for engine, adapter in ["ar", "bb", "ar", "bb", "ab", "bb"]]
    assert lora.hit_share(rows) == 0.75
    assert lora.hit_share(rows[:2]) == 0.0


def test_an_answer_is_of_the_model_whose_words_it_begins_with() -> None:
    texts = {"smollm2": ["The Mill is a"], "red": ["The Mill of the hill, a "], "blue": ["A mill"]}
    policies = {name: {"same": [], "asked": []} for name in lora.POLICIES}
    policies["balanced"]["same"] = [("red", 0, "The Mill of the hill, a small"), ("blue", 0, "The Mill is a")]
    assert lora.told({"texts": texts, "policies": policies})["of_another"] == 1


def test_the_recorded_release_misses_nothing_and_every_series_that_is_dropped_is_flagged() -> None:
    text = (signals.RECORDED / f"vllm-{signals.NEW}.txt").read_text()
    of = signals.read(text, signals.NEW)
    assert of["dropped"] > 5
    assert [bar.holds for bar in signals.bars(of)] == [True] * 3
    hurt = signals.read(
        "\n".join(line for line in text.splitlines() if "num_requests_waiting" not in line), signals.NEW
    )
    assert hurt["missing"] == ["waiting"]


def test_a_decision_stands_beside_an_empty_loop() -> None:
    of = decision.measure_choose("balanced", 50)
    assert of["empty_loop"]["p50_us"] > 0
    (bar,) = decision.bars(of | {"choose": of["choose"] | {"p99_us": 99.9}})
    assert bar.holds
    assert "empty loop" in bar.why
    assert not decision.bars(of | {"choose": of["choose"] | {"p99_us": 100.0}})[0].holds
