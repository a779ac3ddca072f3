"""What the fair order costs, in microseconds, the best of rounds: `python -m benchmarks.limits.order [--json]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter

from penstock.policy.admission import NOBODY, AdmissionQueue, AdmissionSettings, Claim, PriorityFifo
from penstock.policy.admission.order import Order
from penstock.policy.fair import FairOrder, FairSettings, Prices, Served, Shares, Turn

ROUNDS, CALLS = 7, 2000


def best(work: Callable[[], int]) -> float:
    """Microseconds per call; `work` returns how many calls it timed and made."""
    least = float("inf")
    for _ in range(ROUNDS):
        begun = perf_counter()
        calls = work()
        least = min(least, (perf_counter() - begun) / calls)
    return round(least * 1e6, 2)


def filled(tenants: int, waiters: int, size: int, fair: bool = True) -> tuple[AdmissionQueue, FairOrder, list[Claim]]:
    fair_order = FairOrder(FairSettings(), Shares())
    fair_order.engines = fair_order.free = ("e",)
    order: Order = fair_order if fair else PriorityFifo()
    queue = AdmissionQueue(AdmissionSettings(requests=size, longest=1e5), order)
    claims = [Claim(f"t{number}", 1.0 + number % 3, 100.0, 300.0) for number in range(tenants)] if fair else [NOBODY]
    for number in range(waiters):
        queue.offer(str(number), 0.0, room=0, tokens=300, claim=claims[number % len(claims)])
    return queue, fair_order, claims


def turns(tenants: int, waiters: int, fair: bool = True) -> float:
    """One request waits and the next starts, so that as many wait as before; it is charged twice and ends."""
    queue, order, claims = filled(tenants, waiters, waiters + 1, fair)
    counters = order.shares.of(0)
    prices, served = Prices(), Served()
    number = waiters

    def work() -> int:
        nonlocal number
        for _ in range(CALLS):
            claim = claims[number % len(claims)]
            queue.offer(str(number), 1.0, room=0, tokens=300, claim=claim)
            number += 1
            queue.take(1, 1.0)
            if fair:
                turn = Turn(counters, counters.account(claim.tenant, claim.weight), prices, served, 100, 100.0)
                turn.charge(50)
                turn.charge(100, 100, 20)
                turn.end()
        return CALLS

    return best(work)


def refusals(tenants: int, waiters: int) -> float:
    """A flood that meets a queue full of its own: nobody is displaced."""
    queue, _, claims = filled(tenants, waiters, waiters)
    for extra in range(CALLS):
        queue.offer(f"f{extra}", 0.0, room=0, tokens=300, claim=claims[0])

    def work() -> int:
        for extra in range(CALLS):
            queue.offer(f"x{extra}", 1.0, room=0, tokens=300, claim=claims[0])
        return CALLS

    return best(work)


def alone(fair: bool) -> float:
    """A request that starts at once, and its turn."""
    queue, order, claims = filled(1, 0, 10, fair)
    counters = order.shares.of(0)
    prices, served = Prices(), Served()

    def work() -> int:
        for _ in range(CALLS):
            queue.offer("k", 1.0, room=1, tokens=300, claim=claims[0])
            if fair:
                turn = Turn(counters, counters.account("t0", 1.0), prices, served, 100, 100.0)
                turn.charge(100, 100, 20)
                turn.end()
        return CALLS

    return best(work)


def main() -> int:
    figures = {
        "start at once, no tenants (PriorityFifo)": alone(False),
        "start at once, with its turn": alone(True),
        "wait and start, 1000 waiters, no tenants (PriorityFifo)": turns(1, 1000, False),
        "wait, start and turn, 1000 waiters of 1 tenant": turns(1, 1000),
        "wait, start and turn, 1000 waiters of 100 tenants": turns(100, 1000),
        "wait, start and turn, 1000 waiters of 1000 tenants": turns(1000, 1000),
        "refused, 1000 waiters of 1 tenant": refusals(1, 1000),
        "refused, 1000 waiters of 100 tenants": refusals(100, 1000),
    }
    if "--json" in sys.argv:
        json.dump(figures, sys.stdout, indent=1)
    else:
        for name, value in figures.items():
            print(f"{value:8.2f} us  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
