"""Chains and indexes of prefixes."""

import subprocess
import sys
from itertools import accumulate, pairwise
from operator import and_

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.approximate import ApproximateIndex
from penstock.policy.route.precise import PreciseIndex, blended
from penstock.policy.route.prefix import PER_SIZE, block_size, covered, longest, prompt_chain
from penstock.policy.route.tokens import token_chain
from tests.policy.route.fleets import PROPERTY

BLOCK = 16


def deepest(index: ApproximateIndex | PreciseIndex, chain: tuple[int, ...], bit: int) -> int:
    return longest(index.lookup(chain), bit)[0]


@PROPERTY
@given(same=st.binary(max_size=2000), one=st.binary(max_size=500), other=st.binary(max_size=500))
def test_prompts_share_the_entries_of_what_they_share(same: bytes, one: bytes, other: bytes) -> None:
    a, b = prompt_chain(same + one, BLOCK, "m"), prompt_chain(same + other, BLOCK, "m")
    whole = prompt_chain(same, BLOCK, "m")
    assert a[: len(whole)] == b[: len(whole)] == whole
    common = next((i for i, (x, y) in enumerate(zip(same + one, same + other, strict=False)) if x != y), None)
    if common is not None:
        beyond = sum(covered(i + 1, BLOCK) <= common for i in range(len(a)))
        assert not set(a[beyond:]) & set(b[beyond:])


@PROPERTY
@given(prompt=st.binary(max_size=20_000))
def test_entries_cover_whole_blocks(prompt: bytes) -> None:
    depth = len(prompt_chain(prompt, BLOCK, ""))
    assert covered(depth, BLOCK) <= len(prompt) < covered(depth + 1, BLOCK)
    assert covered(depth + 1, BLOCK) - covered(depth, BLOCK) == block_size(depth, BLOCK)


def test_a_long_prompt_has_few_entries() -> None:
    assert len(prompt_chain(bytes(4 << 20), 128, "m")) < 14 * PER_SIZE


def test_a_seed_separates() -> None:
    assert not set(prompt_chain(b"x" * 64, BLOCK, "m")) & set(prompt_chain(b"x" * 64, BLOCK, "n"))


def test_another_process_agrees() -> None:
    code = (
        "from penstock.policy.route.prefix import prompt_chain\n"
        "from penstock.policy.route.rendezvous import key_of\n"
        "print(prompt_chain(b'abc' * 99, 16, 'm'), key_of('e'))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


@PROPERTY
@given(
    uses=st.lists(st.tuples(st.sampled_from([1, 2, 4]), st.integers(0, 3), st.integers(0, 24)), max_size=40),
    tokens=st.integers(0, 200),
)
def test_the_index_is_bounded_and_has_no_gaps(uses: list[tuple[int, int, int]], tokens: int) -> None:
    index = ApproximateIndex(BLOCK, 4.0)
    chains = {(r, d): prompt_chain(bytes([r]) * covered(d, BLOCK), BLOCK, "m") for _, r, d in uses}
    for bit, root, depth in uses:
        chain = chains[root, depth]
        index.note(bit, chain, tokens, 0.0)
        assert index.held_bytes(bit) <= tokens * 4
        fits = max(d for d in range(depth + 1) if covered(d, BLOCK) <= tokens * 4)
        assert deepest(index, chain, bit) >= fits, "what was used last is there"
    for chain in chains.values():
        masks = index.lookup(chain)
        assert all(after & ~before == 0 for before, after in pairwise(masks))
        assert all(masks)
    for bit in (1, 2, 4):
        index.forget(bit)
        assert index.held_bytes(bit) == 0
    assert all(index.lookup(chain) == [] for chain in chains.values())


def test_what_was_used_longest_ago_goes_first() -> None:
    index = ApproximateIndex(BLOCK, 4.0)
    old, new, third = (prompt_chain(bytes([i]) * 4 * BLOCK, BLOCK, "m") for i in range(3))
    for chain in (old, new, old, third):
        index.note(1, chain, 2 * BLOCK, 0.0)
    assert [deepest(index, chain, 1) for chain in (old, new, third)] == [4, 0, 4]


def test_usage_corrects_bytes_per_token() -> None:
    index = ApproximateIndex(BLOCK, 4.0)
    for _ in range(200):
        index.learn(20, covered(20, BLOCK) // 2)
    assert index.tokens(20) > covered(20, BLOCK) / 2.3
    index.learn(20, 0)
    index.learn(0, 10**9)
    assert index.tokens(20) > covered(20, BLOCK) / 2.3


@PROPERTY
@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(["stored", "removed", "cleared", "expect", "settle"]),
            st.sampled_from([1, 2]),
            st.sets(st.integers(0, 9), max_size=4),
        ),
        max_size=30,
    )
)
def test_an_engine_has_what_it_tells_and_what_is_on_its_way(events: list[tuple[str, int, set[int]]]) -> None:
    index = PreciseIndex()
    held: dict[int, set[int]] = {1: set(), 2: set()}
    under_way: dict[int, list[set[int]]] = {1: [], 2: []}
    for what, bit, entries in events:
        if what == "stored":
            index.stored(bit, entries)
            held[bit] |= entries
        elif what == "removed":
            index.removed(bit, entries)
            held[bit] -= entries
        elif what == "cleared":
            index.cleared(bit)
            held[bit].clear()
        elif what == "expect":
            index.expect(bit, entries)
            under_way[bit].append(entries)
        elif under_way[bit]:
            index.settle(bit, under_way[bit].pop())
    chain = tuple(range(10))
    for bit, own in held.items():
        assert index.held(bit) == len(own)
        there = own.union(*under_way[bit])
        assert deepest(index, chain, bit) == next((i for i in chain if i not in there), 10)
    index.forget(1)
    assert deepest(index, chain, 1) == 0
    there = held[2].union(*under_way[2])
    assert deepest(index, chain, 2) == next((i for i in chain if i not in there), 10)
    index.forget(2)
    assert index.lookup(chain) == []


MASKS = st.lists(st.integers(0, 7), max_size=8).map(lambda masks: [m for m in accumulate(masks, and_, initial=7) if m])


@PROPERTY
@given(told=MASKS, guessed=MASKS, steps=st.lists(st.integers(1, 40), min_size=9, max_size=9), size=st.integers(1, 20))
def test_a_guess_counts_as_far_as_its_tokens_reach(
    told: list[int], guessed: list[int], steps: list[int], size: int
) -> None:
    chain = token_chain(list(range(8 * size)), size)
    tokens = [float(n) for n in accumulate(steps)][: len(guessed)]
    told = told[: len(chain)]
    masks = blended(told, chain, guessed, tokens)
    assert all(after & ~before == 0 for before, after in pairwise(masks))
    for bit in (1, 2, 4):
        known = longest(told, bit)[0]
        depth = longest(guessed, bit)[0]
        guess = int(tokens[depth - 1]) // size if depth else 0
        assert longest(masks, bit)[0] == min(len(chain), max(known, guess))
