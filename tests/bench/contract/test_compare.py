"""Verdicts: noise is the same, a slowdown is worse, and the mirror image is its mirror."""

import msgspec
import pytest

from penstock.bench.contract.compare import EXIT, Verdict, compare
from penstock.bench.contract.contract import RunSet
from penstock.core.errors import ConfigError
from tests.bench.samples import CONTRACT, runs

RUNS = CONTRACT.runs


def test_runs_of_the_same_thing_are_the_same_in_nineteen_of_twenty() -> None:
    """With noise of 3 % from run to run, and the number of runs that a contract has by default."""
    verdicts = [compare(runs(2 * each, RUNS), runs(2 * each + 1, RUNS)).verdict for each in range(60)]
    assert verdicts.count(Verdict.SAME) >= 57, verdicts


def test_a_slowdown_by_a_tenth_is_worse_in_nine_of_ten() -> None:
    verdicts = [compare(runs(2 * each, RUNS), runs(2 * each + 1, RUNS, slower=1.1)).verdict for each in range(40)]
    assert verdicts.count(Verdict.WORSE) >= 36, verdicts


def test_the_mirror_image() -> None:
    one, other = runs(1, 6), runs(2, 6, slower=1.3)
    there, back = compare(one, other), compare(other, one)
    assert (there.verdict, back.verdict) == (Verdict.WORSE, Verdict.BETTER)
    for a, b in zip(there.rows, back.rows, strict=True):
        assert (1 + a.change) * (1 + b.change) == pytest.approx(1.0)
        assert a.p == pytest.approx(b.p)


def test_more_throughput_is_better_and_less_is_worse() -> None:
    found = compare(runs(1, 6), runs(2, 6, slower=1.4))
    rate = next(row for row in found.rows if row.metric == "output_rate")
    assert rate.change < -0.2
    assert rate.verdict is Verdict.WORSE


def test_noise_that_hides_everything_is_inconclusive_and_says_how_many_runs_would_tell() -> None:
    found = compare(runs(1, 3, noise=0.3), runs(2, 3, noise=0.3))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any(row.runs_needed > 3 for row in found.rows)


def test_pairs_see_through_drift() -> None:
    one, other = runs(1, 6, noise=0.0), runs(1, 6, noise=0.0, slower=1.08)
    for number, (a, b) in enumerate(zip(one.runs, other.runs, strict=True)):
        for run in (a, b):  # the machine gets slower by the hour
            for sample in run.samples:
                for name in ("due", "sent", "first", "last", "ended"):
                    setattr(sample, name, getattr(sample, name) * (1 + 0.2 * number))
                sample.gaps = [gap * (1 + 0.2 * number) for gap in sample.gaps]
            stage = run.stages[0]
            run.stages = [msgspec.structs.replace(stage, end=stage.end * (1 + 0.2 * number))]
    assert compare(one, other).verdict is Verdict.INCONCLUSIVE
    assert compare(one, other, pairs=True).verdict is Verdict.WORSE


def test_sets_that_say_nothing_about_each_other() -> None:
    one, other = runs(1, 3), runs(2, 3)
    other.fingerprint = {"client.cpu": "another", "engine.flags": "-x"}
    found = compare(one, other)
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert [problem.partition(" ")[0] for problem in found.problems] == ["client.cpu", "engine.flags"]
    assert compare(one, other, despite=["client", "engine.flags"]).verdict is not Verdict.NOT_COMPARABLE
    other = runs(2, 3)
    other.contract = msgspec.structs.replace(CONTRACT, workload=msgspec.structs.replace(CONTRACT.workload, seed=9))
    assert "different loads" in compare(one, other).problems[0]


def test_runs_whose_client_lagged_are_left_out() -> None:
    one, other = runs(1, 3), runs(2, 3)
    for run in other.runs[:2]:
        run.client = msgspec.structs.replace(run.client, invalid="it was late")
    found = compare(one, other)
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert "2 of 3 runs are left out" in found.problems[0]


def test_a_cache_that_was_warm_for_one_set_only_is_remarked_on() -> None:
    def cached(part: float, seed: int) -> RunSet:
        made = runs(seed, 3)
        for run in made.runs:
            for sample in run.samples:
                sample.cached_tokens = int(part * sample.input_tokens)
        return made

    (problem,) = compare(cached(0.0, 1), cached(0.9, 2)).problems
    assert "0% of the input came from prefix caches before, 9" in problem
    assert compare(cached(0.5, 1), cached(0.55, 2)).problems == []


def test_a_metric_that_there_is_not() -> None:
    judge = msgspec.structs.replace(CONTRACT.judge, metrics=("ttft.p42",))
    one, other = runs(1, 2), runs(2, 2)
    one.contract = msgspec.structs.replace(CONTRACT, judge=judge)
    with pytest.raises(ConfigError, match=r"judge\.metrics"):
        compare(one, other)


def test_every_verdict_has_an_exit_code() -> None:
    assert set(EXIT) == set(Verdict)
    assert len({EXIT[Verdict.WORSE], EXIT[Verdict.INCONCLUSIVE], EXIT[Verdict.NOT_COMPARABLE], 0, 2}) == 5


def test_a_stage_may_have_metrics_of_its_own_and_must_be_one() -> None:
    judge = msgspec.structs.replace(CONTRACT.judge, metrics=("ttft.p50",), stages={"4 at once": ("output_rate",)})
    before, after = runs(1, 3), runs(2, 3)
    before.contract = msgspec.structs.replace(CONTRACT, judge=judge)
    assert [row.metric for row in compare(before, after).rows] == ["output_rate"]
    told = msgspec.to_builtins(before.contract)
    told["judge"]["stages"] = {"5 at once": ["rate"]}
    with pytest.raises(msgspec.ValidationError, match="there is no stage '5 at once'; there are 4 at once"):
        msgspec.convert(told, type(CONTRACT))


def test_of_a_pair_with_an_invalid_run_both_are_left_out() -> None:
    before, after = runs(1, 5), runs(2, 5)
    after.runs[2].client = msgspec.structs.replace(after.runs[2].client, invalid="late")
    found = compare(before, after, pairs=True)
    assert found.pairs
    assert found.problems == [
        "before: 1 of 5 runs are left out, as they are not valid or their pair is not",
        "after: 1 of 5 runs are left out, as they are not valid or their pair is not",
    ]


def test_sets_of_different_lengths_are_no_pairs_even_when_as_many_are_valid() -> None:
    before, after = runs(1, 5), runs(2, 4)
    before.runs[0].client = msgspec.structs.replace(before.runs[0].client, invalid="late")
    assert not compare(before, after, pairs=True).pairs
