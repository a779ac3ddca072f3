"""Law 5. A tenant's share under contention is within a stated bound of its weight (token-fair)."""

from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.fair.pool import Job, Moment, Pool

SLACK = 1e-6
Flow = tuple[int, int]


@st.composite
def pools(draw: st.DrawFn, *, priorities: tuple[int, ...] = (0,), aging: float = 10.0) -> Pool:
    """Random tenants, weights, arrivals, sizes, cached shares, wrong guesses, speeds and concurrency."""
    tenants = draw(st.integers(2, 5))
    weights = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=tenants, max_size=tenants))
    slots = draw(st.integers(1, 6))
    lines = draw(st.integers(1, 2))
    rng = Random(draw(st.integers(0, 1 << 32)))
    hurry = [draw(st.sampled_from([1e-6, 0.1, 1.0, 5.0])) for _ in range(tenants)]
    size = [draw(st.sampled_from([1, 10, 100])) for _ in range(tenants)]
    speed = draw(st.sampled_from([1.0, 20.0, 500.0]))
    jobs = []
    for tenant in range(tenants):
        at = rng.uniform(0, 5)
        for _ in range(draw(st.integers(1, 20))):
            at += rng.expovariate(1.0) * hurry[tenant]
            read = rng.randint(0, 10 * size[tenant])
            written = rng.randint(0, 10 * size[tenant])
            guessed = rng.choice([read, rng.randint(0, 10 * size[tenant])])
            cached = rng.choice([0, read, rng.randint(0, read)])
            seconds = rng.uniform(0.5, 2.0) * (1 + read - cached + written) / speed
            line, priority = rng.randrange(lines), rng.choice(priorities)
            jobs.append(Job(tenant, at, guessed, read, cached, written, seconds, rng.randint(0, 4), priority, line))
    return Pool(jobs, weights, slots, lines=lines, aging=aging).run()


def together(moments: list[Moment], one: Flow, other: Flow) -> list[list[Moment]]:
    """The stretches in which both wait without a break."""
    found: list[list[Moment]] = [[]]
    for moment in moments:
        if one in moment.oldest and other in moment.oldest:
            found[-1].append(moment)
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]


def flows_of(pool: Pool) -> list[Flow]:
    return sorted({(stay.job.tenant, stay.job.priority) for stay in pool.stays})


def widest(pool: Pool, one: Flow, other: Flow) -> float:
    """The most that the weighted service of the two differed over any time in which both waited."""
    most = 0.0
    for stretch in together(pool.moments, one, other):
        apart = [
            moment.service.get(one, 0.0) / pool.weights[one[0]]
            - moment.service.get(other, 0.0) / pool.weights[other[0]]
            for moment in stretch
        ]
        most = max(most, max(apart) - min(apart))
    return most


@settings(max_examples=300, deadline=None)
@given(pool=pools())
def test_backlogged_tenants_get_their_weights_within_the_bound(pool: Pool) -> None:
    for one, other in combinations(flows_of(pool), 2):
        assert widest(pool, one, other) <= pool.bound(one, other) + SLACK


@settings(max_examples=150, deadline=None)
@given(pool=pools(priorities=(0, 0, 1, 5), aging=2.0))
def test_the_bound_holds_inside_every_priority(pool: Pool) -> None:
    for one, other in combinations(flows_of(pool), 2):
        if one[1] == other[1]:
            assert widest(pool, one, other) <= pool.bound(one, other) + SLACK


@settings(max_examples=150, deadline=None)
@given(pool=pools(priorities=(0, 3)))
def test_it_conserves_work_and_everybody_is_served(pool: Pool) -> None:
    for before, after in zip(pool.moments, pool.moments[1:], strict=False):
        if after.now > before.now:  # all that happened at one time is over
            assert before.running == pool.slots or not before.waiting
    assert all(stay.ended < float("inf") for stay in pool.stays)
    last = pool.moments[-1]
    assert (last.running, last.waiting) == (0, 0)
    for order in pool.orders:
        for counters in order.shares.counters().values():
            assert (counters.running, counters.waiting, len(counters)) == (0, 0, 0)


@settings(max_examples=200, deadline=None)
@given(pool=pools())
def test_nobody_starves_while_others_are_served(pool: Pool) -> None:
    """From when a request is its tenant's next until it starts, nobody else gets more than the bound."""
    waits: dict[int, list[Moment]] = {}
    for moment in pool.moments:
        for number in moment.oldest.values():
            waits.setdefault(number, []).append(moment)
    for number, stretch in waits.items():
        own = (pool.stays[number].job.tenant, 0)
        for other in flows_of(pool):
            if other != own:
                gained = stretch[-1].service.get(other, 0.0) - stretch[0].service.get(other, 0.0)
                assert gained / pool.weights[other[0]] <= pool.bound(own, other) + SLACK


@settings(max_examples=200, deadline=None)
@given(pool=pools(priorities=(0, 1, 2, 5), aging=1.5))
def test_the_best_placed_priority_starts_and_aging_bounds_what_is_passed_over(pool: Pool) -> None:
    aging = pool.settings.aging
    late: dict[tuple[int, int], int] = {}
    for start in pool.starts:
        chosen = pool.stays[start.number].job.priority
        standing = {priority: priority + (start.now - since) / aging for priority, since in start.passed.items()}
        if not standing:
            continue
        assert standing[chosen] >= max(standing.values()) - SLACK
        for priority, since in start.passed.items():
            if priority < chosen and start.now > since + (chosen - priority) * aging + SLACK:
                late[priority, chosen] = late.get((priority, chosen), 0) + 1
                assert late[priority, chosen] <= 1, "it was passed over twice after its time had come"
        for pair in [pair for pair in late if pair[0] == chosen or pair[0] not in start.passed]:
            del late[pair]


@settings(max_examples=200, deadline=None)
@given(pool=pools())
def test_the_least_served_starts_and_a_tenants_own_go_in_turn(pool: Pool) -> None:
    for start in pool.starts:
        assert start.counter <= min(start.others.values(), default=start.counter) + SLACK
    for tenant in range(len(pool.weights)):
        own = sorted((stay for stay in pool.stays if stay.job.tenant == tenant), key=lambda stay: stay.job.at)
        assert [stay.started for stay in own] == sorted(stay.started for stay in own)


def flood(weight: float, slots: int = 4, modest: int = 20) -> Pool:
    """One tenant with 400 requests at once, another that asks for one whenever its last was answered."""
    jobs = [Job(0, 0.0, 50, 50, 0, 50, 2.0) for _ in range(400)]
    jobs += [Job(1, 10.0 + 3.0 * number, 50, 50, 0, 50, 2.0) for number in range(modest)]
    return Pool(jobs, [1.0, weight], slots).run()


@pytest.mark.parametrize("weight", [0.5, 1.0, 4.0])
def test_who_asks_for_less_than_its_share_waits_for_one_free_place(weight: float) -> None:
    pool = flood(weight)
    waits = [stay.started - stay.job.at for stay in pool.stays if stay.job.tenant == 1]
    assert max(waits) <= 2.0, "the longest that four running requests take to free a place"


def test_the_bound_is_reached_within_a_factor_so_it_says_something() -> None:
    """Requests that cost nothing at their start and all at their end: the worst that can be done to counters."""
    jobs = [Job(tenant, 0.0, 0, 0, 0, 100, 1.0 + 0.001 * tenant) for tenant in (0, 1) for _ in range(60)]
    pool = Pool(jobs, [1.0, 1.0], 6).run()
    assert widest(pool, (0, 0), (1, 0)) >= pool.bound((0, 0), (1, 0)) / 4


def test_weights_are_what_is_got() -> None:
    jobs = [Job(tenant, 0.0, 20, 20, 10, 20, 1.0, told=2) for tenant in range(3) for _ in range(400)]
    pool = Pool(jobs, [1.0, 2.0, 4.0], 4).run()
    half = next(moment for moment in pool.moments if sum(moment.service.values()) > 20_000)
    got = [half.service[tenant, 0] / sum(half.service.values()) for tenant in range(3)]
    assert got == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=0.02)
