"""At most so many requests of one model at once: one slow model must not fill the worker for all others."""

from typing import Annotated

import msgspec
from msgspec import Meta

Bound = Annotated[int, Meta(ge=0, le=1_000_000, description="Requests at once; 0: no bound")]


class BulkheadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on requests in flight, per worker."""

    each: Annotated[Bound, Meta(description="Requests at once of any one model; 0: no bound")] = 0
    models: Annotated[dict[str, Bound], Meta(description="The same for single models, by name")] = {}


class Place(msgspec.Struct):
    """A request's place in its model's compartment (law 6: every place returns)."""

    model: str
    returned: bool = False


class Bulkheads:
    """Counts places. Models without requests take no memory: clients choose names."""

    def __init__(self, settings: BulkheadSettings) -> None:
        self._settings = settings
        self._taken: dict[str, int] = {}

    def enter(self, model: str) -> Place | None:
        """A place for one request; None when its model's compartment is full."""
        taken = self._taken.get(model, 0)
        bound = self._settings.models.get(model, self._settings.each)
        if bound and taken >= bound:
            return None
        self._taken[model] = taken + 1
        return Place(model)

    def leave(self, place: Place) -> None:
        """Gives a place back; a second time changes nothing."""
        if place.returned:
            return
        place.returned = True
        taken = self._taken[place.model] - 1
        if taken:
            self._taken[place.model] = taken
        else:
            del self._taken[place.model]

    def in_flight(self, model: str) -> int:
        """Places taken."""
        return self._taken.get(model, 0)

    def explain(self) -> dict[str, dict[str, int]]:
        """Model -> taken and bound, for models with requests."""
        settings = self._settings
        return {
            model: {"in_flight": taken, "bound": settings.models.get(model, settings.each)}
            for model, taken in self._taken.items()
        }
