"""Ejection: finds the one that is worse, leaves a fleet that differs a little alone, and never goes below the floor."""

from math import ceil
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.outlier import Outliers, OutlierSettings, _median_without

NAMES = [f"e{number}" for number in range(6)]


def fleet(settings: OutlierSettings, names: list[str]) -> Outliers:
    outliers = Outliers(settings)
    for name in names:
        outliers.appeared(name, "pool")
    return outliers


def feed(
    outliers: Outliers, name: str, now: float, *, errors: float = 0.0, ttft_s: float = 0.2, count: int = 20
) -> None:
    for number in range(count):
        outliers.observed(name, now, number >= errors * count, ttft_s * (1 + number / (10 * count)))


def test_one_engine_of_three_with_many_errors_goes_and_comes_back_later_each_time() -> None:
    settings = OutlierSettings(eject=30.0, eject_cap=70.0)
    outliers = fleet(settings, NAMES[:3])
    now = 0.0
    for expected in (30.0, 60.0, 70.0, 70.0):
        for name in NAMES[:3]:
            feed(outliers, name, now, errors=0.5 if name == "e0" else 0.05)
        assert outliers.sweep(now, ())
        assert [outliers.ejected(name) for name in NAMES[:3]] == [True, False, False]
        assert outliers.reason("e0") == "50% errors, others 5%"
        until = outliers.until("e0")
        assert until == pytest.approx(now + expected)
        assert not outliers.sweep(until - 0.01, ())
        assert outliers.sweep(until, ())
        assert not outliers.ejected("e0")
        now = until + 5.0
    now += 71.0
    for name in NAMES[:3]:
        feed(outliers, name, now, errors=0.5 if name == "e0" else 0.05)
    outliers.sweep(now, ())
    assert outliers.until("e0") == now + 30.0


def test_one_engine_with_a_first_token_that_takes_several_times_as_long_goes() -> None:
    outliers = fleet(OutlierSettings(), NAMES)
    for name in NAMES:
        feed(outliers, name, 0.0, ttft_s=3.0 if name == "e3" else 0.3)
    outliers.sweep(0.0, ())
    assert [name for name in NAMES if outliers.ejected(name)] == ["e3"]
    assert outliers.reason("e3").startswith("median TTFT 3.14 s, others 0.314 s")


@given(
    ttfts=st.lists(st.floats(0.01, 0.039), min_size=6, max_size=6),
    errors=st.lists(st.floats(0, 0.15), min_size=6, max_size=6),
)
def test_a_fleet_that_differs_a_little_stays_whole(ttfts: list[float], errors: list[float]) -> None:
    outliers = fleet(OutlierSettings(), NAMES)
    for name, ttft, share in zip(NAMES, ttfts, errors, strict=True):
        feed(outliers, name, 0.0, ttft_s=ttft, errors=share)
    assert not outliers.sweep(0.0, ())


def test_few_results_few_peers_and_old_results_eject_nobody() -> None:
    outliers = fleet(OutlierSettings(), NAMES[:3])
    feed(outliers, "e0", 0.0, errors=1.0)
    feed(outliers, "e1", 0.0)
    feed(outliers, "e2", 0.0, count=19)
    assert not outliers.sweep(0.0, ())
    for name in NAMES[1:3]:
        feed(outliers, name, 60.0)
    assert not outliers.sweep(60.0, ())


def test_off_ejects_nobody() -> None:
    outliers = fleet(OutlierSettings(enabled=False), NAMES[:3])
    for name in NAMES[:3]:
        feed(outliers, name, 0.0, errors=1.0 if name == "e0" else 0.0)
    assert not outliers.sweep(0.0, ())


def test_engines_of_other_groups_are_no_peers() -> None:
    outliers = Outliers(OutlierSettings())
    for name in NAMES:
        outliers.appeared(name, "small" if name < "e3" else "large")
        feed(outliers, name, 0.0, ttft_s=0.1 if name < "e3" else 9.0)
    assert not outliers.sweep(0.0, ())


STEPS = st.lists(
    st.tuples(
        st.floats(0, 40),
        st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1), max_size=6),
        st.sets(st.sampled_from(NAMES)),
    ),
    max_size=12,
)
"""(seconds since the step before, engine -> share of errors, engines whose breaker is open)."""


@given(steps=STEPS, size=st.integers(1, 6), floor=st.floats(0, 1))
def test_ejection_never_leaves_less_than_the_floor(
    steps: list[tuple[float, dict[str, float], set[str]]], size: int, floor: float
) -> None:
    names = NAMES[:size]
    settings = OutlierSettings(min_healthy=floor, minimum=5, peers=1, interval=1.0)
    outliers = fleet(settings, names)
    now = 0.0
    for wait, shares, down in steps:
        now += wait
        for name, share in shares.items():
            feed(outliers, name, now, errors=share, ttft_s=0.1 + 9 * share)
        outliers.sweep(now, down)
        ejected = {name for name in names if outliers.ejected(name)}
        if ejected:
            assert size - len(ejected | (down & set(names))) >= ceil(floor * size - 1e-9)


def test_when_breakers_open_the_least_bad_come_back() -> None:
    outliers = fleet(OutlierSettings(min_healthy=0.5), NAMES)
    for name, share in zip(NAMES, (0.9, 0.6, 0.0, 0.0, 0.0, 0.0), strict=True):
        feed(outliers, name, 0.0, errors=share)
    outliers.sweep(0.0, ())
    assert [name for name in NAMES if outliers.ejected(name)] == ["e0", "e1"]
    assert outliers.sweep(1.0, {"e2", "e3"})
    assert [name for name in NAMES if outliers.ejected(name)] == ["e0"]
    assert outliers.sweep(2.0, {"e2", "e3", "e4"})
    assert [name for name in NAMES if outliers.ejected(name)] == []
    feed(outliers, "e0", 1.0)
    outliers.left("e0")
    outliers.observed("e0", 1.0, True, 0.1)
    assert not outliers.ejected("e0")
    assert outliers.until("e0") is None
    assert outliers.reason("e0") == ""


@given(values=st.lists(st.integers(0, 9), min_size=2, max_size=12), index=st.integers(0, 100))
def test_the_median_of_the_others_needs_no_second_sort(values: list[int], index: int) -> None:
    ordered = [float(value) for value in sorted(values)]
    one = ordered[index % len(ordered)]
    others = list(ordered)
    others.remove(one)
    assert _median_without(ordered, one) == median(others)


def test_a_wide_spread_of_the_others_excuses_one() -> None:
    names = NAMES[:5]
    shares = dict(zip(names, (0.6, 0.0, 0.1, 0.3, 0.4), strict=True))
    strict, lenient = (fleet(OutlierSettings(deviations=deviations), names) for deviations in (1.0, 3.5))
    for name, share in shares.items():
        feed(strict, name, 0.0, errors=share)
        feed(lenient, name, 0.0, errors=share)
    assert strict.sweep(0.0, ())
    assert strict.ejected("e0")
    assert not lenient.sweep(0.0, ())
