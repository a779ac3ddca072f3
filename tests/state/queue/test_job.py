"""The life of a queued request, whatever its pullers do: run at most twice, answered at most once."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from penstock.state.queue.job import (
    CLOCKS_S,
    MOST_ATTEMPTS,
    Drop,
    Fail,
    Failure,
    Job,
    Leave,
    Start,
    State,
    cancel,
    finish,
    give_back,
    holds,
    renew,
    start,
)

LEASE_S = 30.0
JOB = Job("q-1", "owner", "/v1/x", 0.0, 1000.0)


def started(job: Job, now: float) -> Job:
    decision = start(job, now, LEASE_S)
    assert isinstance(decision, Start)
    return decision.job


def test_a_run_has_a_number_and_a_lease() -> None:
    job = started(JOB, 5.0)
    assert (job.state, job.run, job.attempts, job.lease, job.log) == (State.RUNNING, 1, 1, 35.0, "q-1.1")
    assert start(job, 20.0, LEASE_S) == Leave(35.0 + CLOCKS_S - 20.0)
    assert started(job, 35.0 + CLOCKS_S).run == 2


def test_a_request_whose_pullers_are_lost_twice_is_abandoned() -> None:
    job = started(started(JOB, 0.0), 40.0)
    decision = start(job, 80.0, LEASE_S)
    assert isinstance(decision, Fail)
    assert (decision.job.state, decision.job.error, decision.job.finished) == (State.FAILED, Failure.ABANDONED, 80.0)


def test_a_full_gateway_costs_no_attempt() -> None:
    job = JOB
    for number in range(10):
        job = give_back(started(job, float(number)), counts=False)
    assert (job.run, job.attempts) == (10, 0)
    assert give_back(started(job, 20.0), counts=True).attempts == 1


def test_what_waited_too_long_is_not_started() -> None:
    decision = start(JOB, 1000.5, LEASE_S)
    assert isinstance(decision, Fail)
    assert decision.job.error == Failure.EXPIRED


def test_what_is_over_stays_so() -> None:
    for job in (finish(started(JOB, 0.0), 200, 1.0), cancel(JOB, 1.0)):
        assert start(job, 2.0, LEASE_S) == Drop()
        assert cancel(job, 2.0) is job
        assert not holds(job, job.run)


class Life(RuleBasedStateMachine):
    """Pullers that die, sleep and come back, deliveries that come twice, a full gateway, a caller that leaves."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.job = JOB
        self.answers: list[int] = []
        self.real_runs = 0
        """Runs that were started and not turned away."""
        self.ends = 0

    def ended(self, job: Job) -> None:
        self.ends += job.state.over and not self.job.state.over
        self.job = job

    @rule(seconds=st.floats(0.0, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=runs)
    def delivered(self) -> int:
        match start(self.job, self.now, LEASE_S):
            case Start(job):
                assert self.job.state is State.WAITING or self.now >= self.job.lease
                self.job = job
                self.real_runs += 1
                return job.run
            case Fail(job):
                self.ended(job)
        return -1

    @rule(run=runs)
    def renewed(self, run: int) -> None:
        if holds(self.job, run):
            self.job = renew(self.job, self.now, LEASE_S)

    @rule(run=runs)
    def answered(self, run: int) -> None:
        if holds(self.job, run):
            self.ended(finish(self.job, 200, self.now))
            self.answers.append(run)

    @rule(run=runs, counts=st.booleans())
    def given_back(self, run: int, counts: bool) -> None:
        if holds(self.job, run):
            self.job = give_back(self.job, counts=counts)
            self.real_runs -= not counts

    @rule()
    def called_off(self) -> None:
        self.ended(cancel(self.job, self.now))

    @invariant()
    def one_end_and_at_most_two_runs(self) -> None:
        assert len(self.answers) <= 1
        assert self.ends == self.job.state.over
        assert 0 <= self.job.attempts == self.real_runs <= MOST_ATTEMPTS
        assert (self.job.state is State.DONE) == bool(self.answers)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=200, deadline=None, stateful_step_count=30)
