"""Token ids as a chain of entries."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.tokens import covered, following, root, token_chain
from tests.policy.route.fleets import PROPERTY

IDS = st.lists(st.integers(0, 200_000), max_size=80)


@PROPERTY
@given(same=IDS, one=IDS, other=IDS, size=st.sampled_from([1, 4, 16]))
def test_prompts_share_the_entries_of_what_they_share(
    same: list[int], one: list[int], other: list[int], size: int
) -> None:
    a, b = token_chain(same + one, size), token_chain(same + other, size)
    common = next((i for i, (x, y) in enumerate(zip(same + one, same + other, strict=False)) if x != y), None)
    if common is None:
        common = min(len(same + one), len(same + other))
    depth = common // size
    assert a[:depth] == b[:depth]
    assert not set(a[depth:]) & set(b[depth:])


@PROPERTY
@given(ids=IDS, size=st.sampled_from([1, 4, 16]), cut=st.integers(0, 80))
def test_a_chain_goes_on_where_it_ended(ids: list[int], size: int, cut: int) -> None:
    """What an engine tells in two events is what a prompt asks in one."""
    whole = token_chain(ids, size, "lora")
    cut = min(cut, len(ids)) // size * size
    first = following(root("lora"), ids[:cut], size)
    assert (*first, *following(first[-1] if first else root("lora"), ids[cut:], size)) == whole
    assert [covered(entry) for entry in whole] == list(range(size, len(ids) + 1, size))


def test_adapters_share_nothing() -> None:
    ids = list(range(64))
    assert not set(token_chain(ids, 16)) & set(token_chain(ids, 16, "lora"))
    assert not set(token_chain(ids, 16, "red")) & set(token_chain(ids, 16, "blue"))
