"""Replays: moments and lengths of the trace, beginnings that are shared as its hash ids say, and the same bytes."""

import json
from itertools import combinations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.contract.compare import differences
from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.traffic.lengths import Fixed
from penstock.bench.traffic.plan import Planner, StagePlan
from penstock.bench.traffic.prompts import Count, Prompts
from penstock.bench.traffic.traces.trace import trace
from penstock.bench.traffic.workload import Closed, Context, Kind, Prefix, Replay, Workload
from tests.bench.traffic.test_plan import merging
from tests.bench.traffic.traces import published as p

ANY = Kind("any", Fixed(10), Fixed(4))
WHOLE = Replay("t")


def plan(
    text: str, stage: Replay = WHOLE, kinds: tuple[Kind, ...] = (ANY,), *, count: Count | None = merging,
    seed: int = 1,
) -> StagePlan:  # fmt: skip
    workload = Workload(kinds, (Closed(1, 1), stage), seed=seed)
    traces = {1: trace(text.splitlines(), stage.file, stage.format, stage.seconds * stage.speed)}
    return list(Planner(workload, "tiny", Prompts(count), traces).stages())[1]


def texts(made: StagePlan) -> list[str]:
    return [str(json.loads(each.body)["messages"][0]["content"]) for each in made.requests]


@given(
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=20),
    st.floats(0.01, 100),
    st.integers(0, 40),
)
def test_gaps_are_the_traces_divided_by_the_speed_and_lengths_are_its_own(
    rows: list[tuple[int, int, int]], speed: float, most: int
) -> None:
    gaps = [gap for gap, _, _ in rows]
    made = plan(p.azure(gaps, [row[1:] for row in rows]), Replay("t", speed=speed, most_input=most))
    due = [each.due or 0.0 for each in made.requests]
    assert due[0] == 0
    assert due == sorted(due)
    for gap, one, other in zip(gaps[1:], due, due[1:], strict=False):
        assert other - one == pytest.approx(gap / 1e6 / speed, abs=2e-6 / speed)
    for (_, asked, wanted), each, text in zip(rows, made.requests, texts(made), strict=True):
        assert each.input_tokens == min(asked, most or asked) == merging(text)
        assert each.output_tokens == wanted == json.loads(each.body)["max_tokens"]


def test_the_same_seed_sends_the_same_bytes_and_another_does_not() -> None:
    for text in (p.AZURE_2023, p.MOONCAKE):
        assert plan(text) == plan(text)
        assert not set(texts(plan(text))) & set(texts(plan(text, seed=2)))


def test_what_was_cut_and_left_out_is_said() -> None:
    made = plan(p.BURSTGPT, Replay("x/day.csv", most_input=1000, most_output=200, speed=2.0))
    assert [(each.input_tokens, each.output_tokens) for each in made.requests] == [(472, 18), (1000, 200), (1000, 200)]
    assert made.notes == [
        "day.csv at 2x: 3 requests of a trace in the format burstgpt, 1 rows of the file without tokens of input or "
        "output left out, 2 prompts cut to 1000 tokens, 2 answers cut to 200 tokens."
    ]
    assert (made.places, made.seconds) == (0, 90.0)


def test_seconds_are_those_of_the_replay() -> None:
    for seconds, speed, count in ((40.0, 1.0, 1), (40.5, 1.0, 2), (21.0, 2.0, 2), (0.0, 1.0, 3)):
        assert len(plan(p.BURSTGPT, Replay("t", seconds=seconds, speed=speed)).requests) == count


ROWS = st.lists(
    st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.integers(0, 7)), min_size=2, max_size=8
)


def leading(one: list[int], other: list[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def shared_words(one: str, other: str) -> int:
    pairs = zip(one.split(" "), other.split(" "), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one.split(" ")), len(other.split(" "))))


@given(ROWS)
def test_equal_leading_hash_ids_are_an_equal_beginning_and_others_are_not(rows: list[tuple[list[int], int]]) -> None:
    """Blocks of 8 tokens, the last one short by up to 7; each word is a token."""
    block = 8
    made = p.mooncake([(n, block * len(ids) - short, 1, ids) for n, (ids, short) in enumerate(rows)])
    found = texts(plan(made, Replay("t", block=block), count=None))
    for (ids, short), text in zip(rows, found, strict=True):
        assert len(text.split(" ")) == block * len(ids) - short
    for (one, a), (other, b) in combinations(zip([ids for ids, _ in rows], found, strict=True), 2):
        equal = leading(one, other)
        shared = shared_words(a, b)
        assert shared >= min(block * equal, len(a.split(" ")), len(b.split(" ")))
        assert shared <= block * equal + 4, "the first words of a block tell it from every other"


def test_a_tokenizer_that_merges_changes_nothing_before_the_last_block() -> None:
    rows = [(0, 1100, 1, [46, 47, 48]), (1, 1500, 1, [46, 47, 50]), (2, 900, 1, [46, 47]), (3, 1100, 1, [46, 47, 48])]
    made = plan(p.mooncake(rows))
    one, other, short, again = texts(made)
    assert [merging(text) for text in (one, other, short, again)] == [1100, 1500, 900, 1100]
    assert one == again
    assert 2 * 512 <= shared_words(one, other) < 2 * 512 + 4
    assert one.startswith(short), "its last block is the beginning of theirs"


def eager(text: str) -> int:
    """A toy tokenizer: a word that begins like the one before it is one token with it."""
    words = text.split(" ")
    return sum(one[:1] != other[:1] for one, other in zip(["", *words], words, strict=False))


@given(st.integers(1, 39), st.integers(0, 100))
def test_a_block_that_ends_early_is_the_beginning_of_the_whole_one(short: int, seed: int) -> None:
    rows = [(0, 80 - short, 1, [1, 2]), (1, 120, 1, [1, 2, 3])]
    one, other = texts(plan(p.mooncake(rows), Replay("t", block=40), count=eager, seed=seed))
    assert (eager(one), eager(other)) == (80 - short, 120)
    assert shared_words(one, other) >= min(80, len(one.split(" "))), "mending takes the block's own next words"


def test_what_has_no_hash_id_is_shared_with_nobody() -> None:
    made = texts(plan(p.mooncake([(0, 100, 1, [1]), (1, 100, 1, [1])]), Replay("t", block=32)))
    assert 32 <= shared_words(*made) < 36
    assert [merging(text) for text in made] == [100, 100]


def test_rows_take_the_class_that_has_the_name_of_their_model_and_the_tenant_of_the_trace() -> None:
    kinds = (Kind("ChatGPT", Fixed(9), Fixed(9), model="small"), Kind("GPT-4", Fixed(9), Fixed(9), model="big"))
    assert [each.model for each in plan(p.BURSTGPT, kinds=kinds).requests] == ["small", "big", "big"]
    assert [each.tenant for each in plan(p.AUDITED).requests] == ["acme/search/k1", ""]
    fixed = (Kind("any", Fixed(9), Fixed(9), tenant="ours"),)
    assert [each.tenant for each in plan(p.AUDITED, kinds=fixed).requests] == ["ours", "ours"]


def test_prefix_and_context_of_a_class_are_part_of_a_replayed_prompt_where_there_are_no_hash_ids() -> None:
    kinds = (Kind("any", Fixed(9), Fixed(9), prefix=Prefix(400), context=Context(100, 4, 2)),)
    made = plan(p.AZURE_2023, kinds=kinds)
    assert [merging(text) for text in texts(made)] == [501, 501, 879]
    assert "2 prompts lengthened" in made.notes[0]
    assert len({" ".join(text.split(" ")[:390]) for text in texts(made)}) == 1
    assert [merging(text) for text in texts(plan(p.MOONCAKE, kinds=kinds))] == [1100, 1300, 655]


def contract(**more: object) -> Contract:
    stage = msgspec.convert({"loop": "replay", "file": "a.csv", **more}, Replay)
    return Contract("c", Workload((ANY,), (Closed(1, 1), stage)))


def test_two_traces_are_not_comparable_and_one_at_two_places_is() -> None:
    one, other = "1" * 64, "2" * 64
    assert contract(sha256=one).digest == contract(sha256=one, file="elsewhere/b.csv").digest
    assert contract(sha256=one).digest != contract(sha256=other).digest
    assert contract(sha256=one).digest != contract(sha256=one, speed=2.0).digest
    assert contract().digest != contract(file="b.csv").digest
    before, after = (RunSet(contract(sha256=each), {}, []) for each in (one, other))
    assert differences(before, before, set()) == []
    assert differences(before, after, {"workload"}) == [
        "the contracts send different loads",
        "workload.stages[1].file: another trace was replayed (SHA-256 111111111111 before, 222222222222 after)",
    ]
