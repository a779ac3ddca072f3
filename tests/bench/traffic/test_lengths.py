"""Lengths: what was asked for, and how well the presets follow the traces that they are named after."""

from random import Random
from statistics import mean, quantiles

import pytest

from penstock.bench.traffic.lengths import PRESETS, Fixed, Lognormal, Preset, Uniform

PUBLISHED = {
    "azure_conversation_in": (1155, 2734),
    "azure_conversation_out": (211, 424),
    "azure_code_in": (2048, 5188),
    "mooncake_conversation_in": (12_035, 27_367),
    "mooncake_conversation_out": (343, 597),
}
"""Mean and 90th percentile of the traces: what the two parameters of a lognormal were not taken from."""


def test_fixed_and_uniform() -> None:
    rng = Random(1)
    assert {Fixed(7).draw(rng) for _ in range(5)} == {7}
    drawn = [Uniform(3, 5).draw(rng) for _ in range(300)]
    assert set(drawn) == {3, 4, 5}
    assert {Uniform(5, 3).draw(rng) for _ in range(300)} == {3, 4, 5}


@pytest.mark.parametrize("trace", PRESETS)
def test_presets_have_the_median_and_the_99th_percentile_of_their_trace(trace: str) -> None:
    rng = Random(2)
    drawn = [Preset(trace, most=10**7).draw(rng) for _ in range(40_000)]
    cuts = quantiles(drawn, n=100)
    median, p99 = PRESETS[trace]
    assert cuts[49] == pytest.approx(median, rel=0.05)
    assert cuts[98] == pytest.approx(p99, rel=0.12)


@pytest.mark.parametrize("trace", PUBLISHED)
def test_how_far_the_presets_are_off_elsewhere(trace: str) -> None:
    rng = Random(3)
    drawn = [Preset(trace, most=10**7).draw(rng) for _ in range(40_000)]
    whole, p90 = PUBLISHED[trace]
    assert mean(drawn) == pytest.approx(whole, rel=0.35)
    assert quantiles(drawn, n=10)[8] == pytest.approx(p90, rel=0.40)


def test_nothing_is_longer_than_the_bound_or_shorter_than_a_token() -> None:
    rng = Random(4)
    drawn = [Lognormal(2, 1000, most=50).draw(rng) for _ in range(5000)]
    assert min(drawn) >= 1
    assert max(drawn) == 50
