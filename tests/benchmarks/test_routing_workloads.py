"""What is asked: reproducible, salted, as skewed as it says."""

from collections import Counter

import pytest

from benchmarks.routing import workloads
from benchmarks.routing.workloads import Job, known


def shape(jobs: list[Job]) -> list[tuple[int, tuple[str, ...], float]]:
    return [(len(job.system.split()), job.turns, job.due_s) for job in jobs]


@pytest.mark.parametrize("name", list(known()))
def test_same_seed_same_work_and_another_salt_another_prompt(name: str) -> None:
    workload = known()[name]
    one, same, salted = workload.jobs(3, "aa", 2.0), workload.jobs(3, "aa", 2.0), workload.jobs(3, "bb", 2.0)
    assert one == same
    assert shape(one) == shape(salted)
    assert all(job.system.startswith("aa") for job in one)
    assert {job.system for job in one}.isdisjoint(job.system for job in salted)
    assert shape(one) != shape(workload.jobs(4, "aa", 2.0))


@pytest.mark.parametrize("name", list(known()))
def test_open_loops_arrive_at_their_rate_and_closed_ones_at_once(name: str) -> None:
    workload = known(20.0)[name]
    due = [job.due_s for job in workload.jobs(1, "s", 5.0)]
    if workload.loop == "closed":
        assert set(due) == {0.0}
    else:
        assert due == sorted(due)
        assert len(due) / due[-1] == pytest.approx(5.0, rel=0.2)


def test_most_of_the_hot_spot_shares_one_prompt() -> None:
    counted = Counter(job.system for job in known(20.0)["hot_spot"].jobs(1, "s"))
    assert counted.most_common(1)[0][1] / counted.total() == pytest.approx(0.9, abs=0.03)
    assert all(count == 1 for _, count in counted.most_common()[1:])


def test_prefixes_are_skewed_by_rank() -> None:
    counted = Counter(job.system for job in known(60.0)["skewed_prefix"].jobs(1, "s"))
    ranked = [count for _, count in counted.most_common()]
    assert len(ranked) == known()["skewed_prefix"].dose.prefixes
    assert ranked[0] / ranked[1] == pytest.approx(2, rel=0.25)


def test_sessions_share_nothing_and_have_several_turns() -> None:
    jobs = known()["multi_turn"].jobs(1, "s")
    assert len({job.system for job in jobs}) == len(jobs)
    assert {len(job.turns) for job in jobs} == {4}


def test_a_smaller_dose_keeps_at_least_two_jobs() -> None:
    assert [len(each.jobs(1, "s")) for each in workloads.known(0.001).values()] == [2] * len(known())
