"""Where a request goes when its own model or pool cannot serve it: an order of (model, pool), and why each was left."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.core.errors import ConfigError

ANY = "*"


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model in a pool. An empty field is the one the request came with."""

    model: Annotated[str, Meta(max_length=256, description="Model; empty: the same")] = ""
    pool: Annotated[str, Meta(max_length=63, description="Pool; empty: the same")] = ""


class Fallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to try instead of one model, in order."""

    to: Annotated[tuple[Target, ...], Meta(min_length=1, description="Tried in this order")]
    model: Annotated[str, Meta(max_length=256, description="Model it stands in for; `*`: any without its own")] = ANY
    pool: Annotated[str, Meta(max_length=63, description="Pool it stands in for; `*`: any")] = ANY


class Step(msgspec.Struct, frozen=True):
    """One place to try."""

    model: str
    pool: str
    reason: str
    """Why it is in the order, for people."""


class Fallbacks:
    """The configured lists, checked once. Raises ConfigError when one leads back to where it began."""

    def __init__(self, rules: Sequence[Fallback]) -> None:
        self._rules = {(rule.model, rule.pool): rule for rule in rules}
        if len(self._rules) != len(rules):
            raise ConfigError("fallbacks: two rules stand in for the same model and pool; join their lists")
        checked: set[tuple[str, str]] = set()
        for place in self._rules:
            self._refuse_circle(place, [], checked)

    def order(self, model: str, pool: str) -> tuple[Step, ...]:
        """The request's own place first, then every other once: a target's own fallbacks follow it at once."""
        steps = {(model, pool): Step(model, pool, "asked for")}
        self._follow((model, pool), steps)
        return tuple(steps.values())

    def _follow(self, place: tuple[str, str], steps: dict[tuple[str, str], Step]) -> None:
        for target in self._targets(place):
            if target not in steps:
                steps[target] = Step(*target, f"stands in for {_name(place)}")
                self._follow(target, steps)

    def _targets(self, place: tuple[str, str]) -> list[tuple[str, str]]:
        model, pool = place
        rules = self._rules
        for key in (place, (model, ANY), (ANY, pool), (ANY, ANY)):
            if key in rules:
                return [(target.model or model, target.pool or pool) for target in rules[key].to]
        return []

    def _refuse_circle(
        self, place: tuple[str, str], path: list[tuple[str, str]], checked: set[tuple[str, str]]
    ) -> None:
        """Follows rules from `place`, where `*` stands for whatever the request came with.

        A named model follows only rules that name it: that a rule for any model also covers its own targets is no
        mistake, and `order` takes no place twice.
        """
        if place in path:
            circle = " -> ".join(_name(each) for each in [*path[path.index(place) :], place])
            raise ConfigError(f"fallbacks: {circle} is a circle; take one of them out")
        if place in checked:
            return
        model, pool = place
        rule = self._rules.get(place) or self._rules.get((model, ANY))
        for target in rule.to if rule is not None else ():
            following = (target.model or model, target.pool or pool)
            # "The same model in the spare pool", met in the spare pool: nothing is left to try there.
            if following != place or place in self._rules:
                self._refuse_circle(following, [*path, place], checked)
        checked.add(place)


class Left(msgspec.Struct, frozen=True):
    """A step that did not serve the request."""

    model: str
    pool: str
    code: str
    """Error code it ended with."""


class Trail:
    """One request's way through an order."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._at = 0
        self.left: list[Left] = []
        """Steps given up, in order."""

    @property
    def step(self) -> Step:
        """Where the request is now."""
        return self._steps[self._at]

    def next(self, code: str) -> Step | None:
        """Gives the present step up for `code`; the next one, or None at the end."""
        step = self.step
        if len(self.left) <= self._at:
            self.left.append(Left(step.model, step.pool, code))
        if self._at + 1 >= len(self._steps):
            return None
        self._at += 1
        return self.step


def _name(place: tuple[str, str]) -> str:
    model, pool = place
    return f"{model}@{pool}"
