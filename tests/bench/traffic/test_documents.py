"""Contexts of shared documents: chunks come again, in another order, with exact lengths."""

import json
from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.traffic.documents import drawn
from penstock.bench.traffic.lengths import Fixed
from penstock.bench.traffic.plan import Planner
from penstock.bench.traffic.prompts import Prompts, popularity
from penstock.bench.traffic.workload import Closed, Context, Kind, Prefix, Workload
from tests.bench.traffic.test_plan import merging


def texts(kind: Kind, count: int, seed: int = 1) -> list[str]:
    workload = Workload((kind,), (Closed(1, count),), seed=seed)
    (stage,) = Planner(workload, "tiny", Prompts(merging)).stages()
    return [str(json.loads(each.body)["messages"][0]["content"]) for each in stage.requests]


def test_chunks_come_again_between_prefix_and_question_and_their_order_changes() -> None:
    kind = Kind("rag", Fixed(200), Fixed(4), prefix=Prefix(30), context=Context(120, documents=6, per_request=3))
    made = texts(kind, 80)
    prefix = " ".join(made[0].split(" ")[:25])
    chunks: Counter[str] = Counter()
    orders = set()
    for text in made:
        assert merging(text) == 200
        assert text.startswith(prefix)
        words = text.split(" ")
        pieces = [" ".join(words[at : at + 20]) for at in range(len(words) - 19)]
        chunks.update(set(pieces))
        orders.add(" ".join(words[30:60]))
    whole = [chunk for chunk, count in chunks.items() if count > 20]
    assert len(whole) > 6 * 10, "each of the six documents is in half of the prompts, word for word"
    assert len(orders) >= 5, "and begins the context in some of them"
    assert len(set(made)) == 80, "no question comes twice"


def test_each_document_has_exactly_its_share_of_the_tokens() -> None:
    kind = Kind("rag", Fixed(100), Fixed(4), context=Context(90, documents=2, per_request=2))
    made = texts(kind, 40)
    one, other = {" ".join(text.split(" ")[:40]) for text in made}, set()
    for text in made:
        first = next(each for each in one if text.startswith(each))
        other |= {each for each in one - {first} if each in text}
    assert other == one, "both orders come, each with the other document behind the first"
    assert all(merging(text) == 100 for text in made)


def test_a_prompt_that_is_too_short_grows_by_a_question() -> None:
    kind = Kind("rag", Fixed(10), Fixed(4), context=Context(90, documents=9, per_request=3))
    assert [merging(text) for text in texts(kind, 3)] == [91, 91, 91]


def test_the_same_seed_gives_the_same_bytes() -> None:
    kind = Kind("rag", Fixed(100), Fixed(4), context=Context(60, documents=5, per_request=2, zipf=1.0))
    assert texts(kind, 20) == texts(kind, 20)
    assert not set(texts(kind, 20)) & set(texts(kind, 20, seed=2))


@given(st.integers(1, 12), st.data(), st.floats(0, 10), st.integers(0, 1000))
def test_drawn_are_as_many_as_asked_for_and_each_once(
    documents: int, data: st.DataObject, zipf: float, seed: int
) -> None:
    count = data.draw(st.integers(1, documents))
    found = drawn(popularity(documents, zipf), count, Random(seed))
    assert len(found) == len(set(found)) == count
    assert set(found) <= set(range(documents))


def test_the_first_document_is_drawn_first_by_its_share() -> None:
    """Zipf with exponent 1 over 4: 1, 1/2, 1/3, 1/4 of 25/12."""
    rng, weights = Random(1), popularity(4, 1.0)
    firsts = Counter(drawn(weights, 2, rng)[0] for _ in range(5000))
    assert [firsts[n] / 5000 for n in range(4)] == pytest.approx([0.48, 0.24, 0.16, 0.12], abs=0.025)


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"tokens": 100, "documents": 9, "per_request": 3}, "tokens is 100, which 3 documents cannot share evenly"),
        ({"tokens": 100, "documents": 2, "per_request": 4}, "per_request is 4 of 2 documents; write at most 2"),
    ],
)
def test_contexts_that_cannot_be_are_refused(given_: dict[str, int], told: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert(given_, Context)
