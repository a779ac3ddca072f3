"""What an engine's cache holds, as its answers correct it."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.approximate import ApproximateIndex
from penstock.policy.route.prefix import covered, prompt_chain
from tests.policy.route.fleets import PROPERTY

BLOCK = 128
BYTES_PER_TOKEN = 4.0
PROMPT = 4 * 800
TOLD = 100_000.0
"""Tokens that the engine is said to hold."""


def chain(number: int) -> tuple[int, ...]:
    return prompt_chain(bytes([number]) * PROMPT, BLOCK, "m")


def believed(index: ApproximateIndex) -> float:
    return index.held_bytes(1) / BYTES_PER_TOKEN


def filled(prompts: int = 20) -> ApproximateIndex:
    index = ApproximateIndex(BLOCK, BYTES_PER_TOKEN)
    for number in range(prompts):
        index.note(1, chain(number), TOLD, 0.0)
    index.answered(1, chain(0), 0.5, 8, TOLD, 1.0)  # it tells what it had
    return index


def test_a_prompt_that_is_gone_makes_the_cache_smaller_and_forgets_what_was_used_longest_ago() -> None:
    index = filled()
    before = believed(index)
    index.answered(1, chain(7), 20.0, 0, TOLD, 21.0)
    assert 0.7 * before < believed(index) < 0.85 * before
    assert index.lookup(chain(0)) == []
    assert index.lookup(chain(19))
    index.note(1, chain(0), TOLD, 22.0)
    assert believed(index) < 0.85 * before, "what is said of it counts for no more"


def test_misses_that_began_before_it_was_corrected_count_once() -> None:
    index = filled()
    index.answered(1, chain(7), 20.0, 0, TOLD, 21.0)
    once = believed(index)
    for number in range(8, 19):
        index.answered(1, chain(number), 20.5, 0, TOLD, 22.0)
    assert believed(index) == once
    index.answered(1, chain(18), 22.5, 0, TOLD, 23.0)
    assert believed(index) < once


def test_prompts_that_were_there_make_it_larger_again() -> None:
    index = filled()
    index.answered(1, chain(7), 20.0, 0, TOLD, 21.0)
    small = believed(index)
    for number in range(50):
        index.answered(1, chain(19), 30.0 + number, 800, TOLD, 31.0 + number)
    for number in range(30, 60):
        index.note(1, chain(number), TOLD, 90.0)
    assert believed(index) > 1.2 * small


def test_an_engine_that_never_tells_is_believed() -> None:
    index = ApproximateIndex(BLOCK, BYTES_PER_TOKEN)
    index.note(1, chain(0), TOLD, 0.0)
    index.answered(1, chain(0), 20.0, 0, TOLD, 21.0)
    assert index.lookup(chain(0))


def test_a_prompt_that_was_only_just_sent_may_be_missed() -> None:
    index = filled()
    index.note(1, chain(30), TOLD, 19.0)
    before = believed(index)
    index.answered(1, chain(30), 20.0, 0, TOLD, 21.0)
    assert believed(index) == before


def test_a_small_prefix_says_nothing() -> None:
    index = filled()
    before = believed(index)
    index.answered(1, chain(3)[:2], 20.0, 0, TOLD, 21.0)
    assert believed(index) == before


@PROPERTY
@given(
    said=st.floats(0, 20_000),
    answers=st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.floats(0.1, 30)), max_size=60),
)
def test_it_is_never_larger_than_said_nor_too_small_to_learn(
    said: float, answers: list[tuple[int, bool, float]]
) -> None:
    index, now = ApproximateIndex(BLOCK, BYTES_PER_TOKEN), 0.0
    for number, hit, seconds in answers:
        index.note(1, chain(number), said, now)
        index.answered(1, chain(number), now, 800 if hit else 0, said, now + 0.05)
        now += seconds
        assert believed(index) <= said
        deepest = max(d for d in range(len(chain(0)) + 1) if covered(d, BLOCK) / BYTES_PER_TOKEN <= min(said, 800))
        index.note(1, chain(number), said, now)
        assert len(index.lookup(chain(number))) >= deepest, "the last prompt is always believed there"
