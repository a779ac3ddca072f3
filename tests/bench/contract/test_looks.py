"""Sets that grow until they are enough: a verdict is as sure as that of sets whose size was set before."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.contract.compare import Verdict, compare
from penstock.bench.contract.contract import Judgement, RunSet
from penstock.bench.contract.looks import looked_at, looks
from tests.bench import samples

NOISE = 0.08
"""From run to run. Pairs of the made-up runs share no weather, so that it counts twice."""
SETS = 120


def grown(seed: int, slower: float) -> Verdict:
    """What is said at last of sets of 4 runs each, 8, and 16 at most."""
    after = looks(4, 16)
    made = [
        [samples.run(1000 * seed + 100 * which + each, factor, requests=8, noise=NOISE) for each in range(16)]
        for which, factor in ((0, 1.0), (1, slower))
    ]
    verdict = Verdict.INCONCLUSIVE
    for count in after:
        before, later = (RunSet(samples.CONTRACT, {}, runs[:count]) for runs in made)
        verdict = looked_at(before, later, looks=len(after))
        if verdict is not Verdict.INCONCLUSIVE:
            break
    return verdict


def test_noise_is_told_apart_in_one_of_twenty_at_most() -> None:
    verdicts = [grown(seed, 1.0) for seed in range(SETS)]
    assert sum(each in (Verdict.WORSE, Verdict.BETTER) for each in verdicts) <= 0.05 * SETS, verdicts
    assert verdicts.count(Verdict.SAME) > 0, "a test that says nothing"


def test_what_differs_by_more_than_the_margin_is_called_the_same_in_one_of_twenty_at_most() -> None:
    verdicts = [grown(seed, 1.11) for seed in range(SETS)]
    assert verdicts.count(Verdict.SAME) <= 0.05 * SETS, verdicts
    assert verdicts.count(Verdict.WORSE) > 0, "a test that says nothing"


@given(st.integers(2, 50), st.integers(2, 1000))
def test_looks_go_from_the_first_to_the_last_by_about_twice(runs: int, most: int) -> None:
    after = looks(runs, max(runs, most))
    assert after[0] == runs
    assert after[-1] == max(runs, most)
    for one, other in pairwise(after):
        assert one < other <= 3 * one


def test_the_looks_share_the_level() -> None:
    assert looks(5, 40) == (5, 10, 20, 40)
    assert looks(5, 22) == (5, 10, 22), "two runs more are no look of their own"
    assert abs(Judgement(level=0.95).shared(4).level - 0.9875) < 1e-12


def test_a_later_comparison_knows_of_the_looks() -> None:
    one, other = samples.runs(1, 6), samples.runs(2, 6)
    alone = compare(one, other, pairs=True)
    assert looked_at(one, other, looks=4) in (Verdict.SAME, Verdict.INCONCLUSIVE)
    again = compare(one, other, pairs=True)
    assert (alone.level, again.level, again.runs) == (0.95, 0.9875, 6)
    assert any("4 looks" in note for note in again.problems)
    for a, b in zip(alone.rows, again.rows, strict=True):
        assert b.high - b.low > a.high - a.low


def test_servers_that_say_of_themselves_that_they_differ_are_compared_while_they_grow() -> None:
    one, other = samples.runs(1, 6), samples.runs(2, 6, slower=1.5)
    one.fingerprint, other.fingerprint = {"engine.flags": "a"}, {"engine.flags": "b", "engine.version": "2"}
    assert looked_at(one, other, looks=2) is Verdict.WORSE
    assert compare(one, other).verdict is Verdict.NOT_COMPARABLE
