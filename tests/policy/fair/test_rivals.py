"""Which queues compete."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.fair import rivals


def test_lines_compete_when_a_chain_of_engines_joins_them() -> None:
    lines = {"base": ("e1", "e2"), "alone": ("e9",), "adapter": ("e2", "e3"), "far": ("e3",), "none": ()}
    assert rivals(lines) == [["base", "adapter", "far"], ["alone"], ["none"]]


@given(lines=st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 9).map(str), max_size=4), max_size=10))
def test_groups_are_a_partition_and_engines_belong_to_one(lines: dict[int, set[str]]) -> None:
    groups = rivals(lines)
    assert sorted(key for group in groups for key in group) == sorted(lines)
    engines = [set[str]().union(*(lines[key] for key in group)) for group in groups]
    assert sum(map(len, engines)) == len(set[str]().union(*engines))
    for group in groups:
        joined = set(lines[group[0]])
        for _ in group:
            joined = joined.union(*(lines[key] for key in group if joined & lines[key]))
        assert len(group) == 1 or all(joined & lines[key] for key in group)
