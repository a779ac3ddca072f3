"""Where a request goes: its model's pools in their order, then the models that stand in for it, and why each."""

from collections.abc import Mapping, Sequence

import msgspec


class Pool(msgspec.Struct, frozen=True, gc=False):
    """A pool of a model, as it stands."""

    name: str
    ready: bool
    """An engine of it that serves the model is ready."""
    room: bool
    """A request would start there at once: an engine is fit and has room, and nobody waits."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """One place to try."""

    model: str
    pool: str
    """Empty: the engines of all pools together."""
    reason: str
    """Why it is in the order at this point, for people."""


def order(models: Sequence[str], pools: Mapping[str, Sequence[Pool]]) -> list[Step]:
    """At least one step for each of `models`, which begin with the one that was asked for. `pools`: of each, in the
    order that its operator wants; a model without any has no order.

    Of one model's pools those with room come first, so that work spills over instead of waiting. The full ones follow,
    and the request waits in the first of them. A pool without a ready engine is tried only when no other is left: its
    state is then what the client is told.
    """
    steps: list[Step] = []
    for number, model in enumerate(models):
        named = "asked for" if not number else f"stands in for {models[0]}"
        own = pools.get(model, ())
        if not own:
            steps.append(Step(model, "", named))
            continue
        ready = [pool for pool in own if pool.ready]
        if not ready:
            steps.append(Step(model, own[0].name, f"{named}; no pool of it is ready"))
            continue
        away = [pool.name for pool in own if not pool.ready]
        full = [pool for pool in ready if not pool.room]
        for pool in (*(pool for pool in ready if pool.room), *full):
            passed = _before(own, pool, away, full)
            steps.append(Step(model, pool.name, f"{named}; {passed}" if passed else named))
    return steps


def _before(own: Sequence[Pool], pool: Pool, away: Sequence[str], full: Sequence[Pool]) -> str:
    """What is known against the pools that its operator put before this one, or against itself."""
    if not pool.room:
        return f"{pool.name} is full"
    told = []
    for earlier in own[: own.index(pool)]:
        if earlier.name in away:
            told.append(f"{earlier.name} is not ready")
        elif earlier in full:
            told.append(f"{earlier.name} is full")
        else:
            told.append(f"after {earlier.name}")
    return ", ".join(told)
