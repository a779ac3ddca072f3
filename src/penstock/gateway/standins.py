"""Which models and pools may be asked for a request, from its config and the fleet as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.core.request import Request
from penstock.policy.identity.access import model_allowed
from penstock.policy.resilience.fallback import Pool, Step, order
from penstock.wire.openai import Call
from penstock.wire.paths import COMPUTING

if TYPE_CHECKING:
    from penstock.gateway.app import App
    from penstock.gateway.relay import Relay


def steps_for(app: App, relay: Relay, request: Request, call: Call) -> Sequence[Step]:
    """In the order they are to be asked; none where nothing is ordered and nothing stands in. Kept for `why`.

    A request that may not be done twice, such as an upload, is tried in one place.
    """
    asked = call.model or ""
    model = app.models.get(asked)
    if model is None or not (model.pools or model.fallbacks):
        return ()
    scopes = relay.principal.scopes
    models = [asked, *(each for each in model.fallbacks if each != asked and model_allowed(scopes, each))]
    steps = order(models, {each: _pools(app, each) for each in models})
    if request.path not in COMPUTING:
        del steps[1:]
    relay.steps = steps
    return steps


def _pools(app: App, model: str) -> list[Pool]:
    """The pools that have an order for a model, as they stand."""
    rule = app.models.get(model)
    found: list[Pool] = []
    for pool in rule.pools if rule is not None else ():
        engines = app.fleet.of_pool(model, pool)
        found.append(Pool(pool, bool(engines), bool(engines) and app.waiting.has_room(model, engines)))
    return found
