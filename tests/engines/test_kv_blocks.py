"""What is known of an engine's cache is what is in it."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engines.kv_batches import Removed, Stored, read_batch
from penstock.engines.kv_blocks import EngineBlocks
from penstock.policy.route.tokens import token_chain
from tests.engines.cache import EngineCache, pack

SIZE = 4
PROMPTS = st.lists(st.integers(0, 2), min_size=1, max_size=24)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("prompt"), PROMPTS, st.sampled_from(["", "lora"])),
        st.tuples(st.just("evict"), st.integers(0, 99), st.just("")),
        st.tuples(st.just("reset"), st.just(0), st.just("")),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS, salt=st.integers(0, 3))
def test_what_is_known_is_what_the_cache_holds(steps: list[tuple[str, list[int] | int, str]], salt: int) -> None:
    """Whatever the engine's own hash is, and though it keeps several copies of one block."""
    cache, blocks = EngineCache(SIZE, salt), EngineBlocks()
    for what, argument, adapter in steps:
        if what == "prompt" and isinstance(argument, list):
            events = cache.compute(argument, adapter)
        elif what == "evict" and isinstance(argument, int):
            events = cache.evict(argument)
        else:
            events = cache.reset()
            blocks.clear()
        for event in events:
            before = set(blocks.entries)
            if isinstance(event, Stored):
                came = blocks.stored(event)
                assert set(came) == set(blocks.entries) - before
            else:
                assert isinstance(event, Removed)
                gone = blocks.removed(event)
                assert set(gone) == before - set(blocks.entries)
        assert set(blocks.entries) == cache.entries
        assert Counter(blocks.entries) == Counter(set(blocks.entries))


def stored(name: int, parent: int | None, tokens: list[int], **more: object) -> Stored:
    return Stored((name,), parent, tuple(tokens), len(tokens), **more)  # type: ignore[arg-type]


def test_blocks_of_more_than_tokens_are_left_out_and_all_after_them() -> None:
    raw = {
        "type": "BlockStored", "block_hashes": [1, 2, 3], "parent_block_hash": None, "token_ids": list(range(12)),
        "block_size": SIZE, "lora_id": 1, "medium": "GPU", "lora_name": "red",
        "extra_keys": [["red"], ["red", ["image", 0]], ["red"]],
    }  # fmt: skip
    (event,) = read_batch(0, pack([1.0, [raw]])).events
    assert isinstance(event, Stored)
    blocks = EngineBlocks()
    assert blocks.stored(event) == list(token_chain(range(4), SIZE, "red"))
    assert blocks.stored(stored(4, 3, [1, 2, 3, 4])) == []
    assert blocks.removed(Removed((2, 3, 4), "GPU")) == []
    assert len(blocks.removed(Removed((1,), "GPU"))) == 1


def test_a_salted_prompt_is_nobody_elses() -> None:
    raw = {
        "type": "BlockStored", "block_hashes": [1, 2], "parent_block_hash": None, "token_ids": list(range(8)),
        "block_size": SIZE, "lora_id": None, "medium": "GPU", "lora_name": None, "extra_keys": [["salt"], None],
    }  # fmt: skip
    (event,) = read_batch(0, pack([1.0, [raw]])).events
    assert isinstance(event, Stored)
    assert EngineBlocks().stored(event) == []


def test_a_block_on_another_medium_is_still_there() -> None:
    blocks = EngineBlocks()
    entry = blocks.stored(stored(1, None, [1, 2, 3, 4], medium="GPU"))
    assert blocks.stored(stored(1, None, [1, 2, 3, 4], medium="CPU")) == []
    assert blocks.removed(Removed((1,), "GPU")) == []
    assert blocks.removed(Removed((1,), "CPU")) == entry


def test_windows_and_what_has_no_beginning_say_nothing() -> None:
    blocks = EngineBlocks()
    assert blocks.stored(stored(1, None, [1, 2, 3, 4], kind="sliding_window", group=1)) == []
    assert blocks.stored(stored(2, 77, [1, 2, 3, 4])) == []
    assert blocks.stored(Stored((1, 2), None, (1, 2, 3), 2)) == []
    assert blocks.stored(stored(3, None, [-1])) == []
    assert blocks.removed(Removed((1, 2, 3))) == []
    assert not blocks.entries
