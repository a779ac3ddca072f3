"""Which engine takes a request: always one of those that may, the least loaded, in turn among equals."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.endpoint import Endpoint, EngineState
from penstock.policy.route.in_turn import choose

NAMES = "abcdef"
CANDIDATES = st.lists(st.sampled_from(NAMES), unique=True, max_size=6)
LOADS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3))
EXCLUDED = st.lists(st.sampled_from(NAMES), max_size=6)


def endpoints(names: list[str]) -> list[Endpoint]:
    return [Endpoint(name, "http", EngineState.READY, f"http://{name}") for name in names]


@given(names=CANDIDATES, loads=LOADS, excluded=EXCLUDED, turn=st.integers(0, 10_000))
def test_the_choice_may_be_made_and_none_is_less_loaded(
    names: list[str], loads: dict[str, int], excluded: list[str], turn: int
) -> None:
    left = [name for name in names if name not in excluded]
    choice = choose(endpoints(names), loads, excluded, turn)
    if choice is None:
        assert not left
    else:
        assert choice.endpoint.name in left
        assert loads.get(choice.endpoint.name, 0) == min(loads.get(name, 0) for name in left)
        assert choice.reason


@given(names=CANDIDATES.filter(bool), start=st.integers(0, 1000), rounds=st.integers(1, 5))
def test_equals_take_turns(names: list[str], start: int, rounds: int) -> None:
    turns = range(start, start + rounds * len(names))
    chosen = [choose(endpoints(names), {}, [], turn) for turn in turns]
    assert set(Counter(choice.endpoint.name for choice in chosen if choice).values()) == {rounds}


@given(names=CANDIDATES.filter(bool), requests=st.integers(1, 60))
def test_loads_stay_within_one_of_each_other(names: list[str], requests: int) -> None:
    loads: Counter[str] = Counter()
    for turn in range(requests):
        choice = choose(endpoints(names), loads, [], turn)
        assert choice is not None
        loads[choice.endpoint.name] += 1
    shares = [loads[name] for name in names]
    assert max(shares) - min(shares) <= 1
