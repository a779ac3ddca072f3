"""Plans: exact lengths by a tokenizer that merges, prefixes that are shared and tails that are not, the same bytes."""

import json
import re
from collections import Counter
from itertools import combinations, takewhile
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.traffic.arrivals import Constant
from penstock.bench.traffic.lengths import Fixed, Uniform
from penstock.bench.traffic.plan import Planner, StagePlan
from penstock.bench.traffic.prompts import CannotCount, Prompts
from penstock.bench.traffic.workload import Closed, Kind, Open, Prefix, Workload


def merging(text: str) -> int:
    """A toy tokenizer: a word is a token, long ones are two, and `river stone` side by side are one."""
    words = re.sub(r"\briver stone\b", "riverstone", text).split(" ")
    return sum(2 if len(word) > 12 else 1 for word in words if word)


@given(st.integers(1, 300), st.integers(0, 10_000), st.integers(0, 50))
def test_a_text_has_exactly_as_many_tokens_as_were_asked_for(tokens: int, seed: int, mark: int) -> None:
    text = Prompts(merging).text(tokens, Random(seed), mark)
    assert merging(text) == tokens
    assert text == Prompts(merging).text(tokens, Random(seed), mark)


@given(st.integers(1, 100), st.integers(1, 100), st.integers(0, 1000))
def test_a_prefix_is_kept_to_the_letter_and_the_whole_has_the_length(prefix: int, tail: int, seed: int) -> None:
    prompts, rng = Prompts(merging), Random(seed)
    shared = prompts.text(prefix, rng)
    whole = prompts.extend(shared, prefix + tail, rng, 7)
    assert whole.startswith(shared + " ")
    assert merging(whole) == prefix + tail


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(CannotCount, match="too few"):
        Prompts(lambda text: len(text))
    prompts = Prompts(merging)
    with pytest.raises(CannotCount, match="no room"):
        prompts.extend("mill mill mill", 3, Random(1))


def plan(workload: Workload) -> list[StagePlan]:
    return list(Planner(workload, "tiny", Prompts(merging)).stages())


def text_of(body: bytes) -> str:
    return str(json.loads(body)["messages"][0]["content"])


SHORT = Kind("short", Fixed(40), Fixed(8), weight=3.0)
LONG = Kind("long", Uniform(100, 200), Fixed(32), prefix=Prefix(60, variants=3, zipf=1.0), tenant="b", model="lora")
MIX = Workload((SHORT, LONG), (Closed(4, 400), Open(Constant(20.0), 10.0)), seed=5)


def test_same_workload_same_bytes_at_the_same_moments() -> None:
    assert plan(MIX) == plan(MIX)
    other = Workload((SHORT, LONG), MIX.stages, seed=6)
    assert [each.body for each in plan(other)[0].requests] != [each.body for each in plan(MIX)[0].requests]


def test_the_mix_and_what_belongs_to_its_classes() -> None:
    closed, opened = plan(MIX)
    kinds = Counter(each.kind for each in closed.requests)
    assert len(closed.requests) == 400
    assert kinds["short"] == pytest.approx(300, abs=40)
    for each in closed.requests:
        body = json.loads(each.body)
        assert merging(text_of(each.body)) == each.input_tokens
        assert body["max_tokens"] == each.output_tokens == (8 if each.kind == "short" else body["max_tokens"])
        assert (each.tenant, body["model"]) == (("", "tiny") if each.kind == "short" else ("b", "lora"))
        assert body["stream"] is True
        assert body["ignore_eos"] is True
        assert each.due is None
    assert all(0 <= (each.due or 0.0) < 10 for each in opened.requests)
    assert len(opened.requests) == pytest.approx(200, abs=50)


def test_prefixes_are_shared_by_rank_and_tails_never() -> None:
    (stage,) = plan(Workload((LONG,), (Closed(1, 120),)))
    texts = [text_of(each.body) for each in stage.requests]
    beginnings = Counter(" ".join(text.split(" ")[:60]) for text in texts)
    assert len(beginnings) == 3
    assert beginnings.most_common(1)[0][1] > 40
    assert len(set(texts)) == len(texts)


def test_prompts_without_a_prefix_differ_from_their_third_word_on_at_the_latest() -> None:
    (stage,) = plan(Workload((SHORT,), (Closed(1, 60),)))
    for one, other in combinations([text_of(each.body) for each in stage.requests], 2):
        same = takewhile(lambda pair: pair[0] == pair[1], zip(one.split(" "), other.split(" "), strict=False))
        assert len(list(same)) <= 3


def test_conversations_carry_their_later_turns() -> None:
    kind = Kind("talk", Fixed(20), Fixed(4), turns=3, turn_input=5, pause=0.5)
    (stage,) = plan(Workload((kind,), (Closed(1, 3),)))
    assert [len(each.turns) for each in stage.requests] == [2, 2, 2]
    assert all(merging(turn) == 5 for each in stage.requests for turn in each.turns)
    assert len({each.session for each in stage.requests}) == 3
    assert {each.pause_s for each in stage.requests} == {0.5}


def test_a_part_of_the_clients_leaves() -> None:
    kind = Kind("flaky", Fixed(10), Fixed(4), cancel_share=0.25, cancel_after=0.2)
    (stage,) = plan(Workload((kind,), (Closed(1, 400),)))
    assert sum(each.cancel_after_s == 0.2 for each in stage.requests) == pytest.approx(100, abs=30)
