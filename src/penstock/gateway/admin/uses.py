"""The read routes of what tenants use: limits, costs, and how fairly engines are shared.

What is switched off is an empty list, with how to switch it on.
"""

from decimal import Decimal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.core.errors import BadRequest
from penstock.gateway.admin.answers import answer
from penstock.gateway.admin.routes import parse_limit, parse_number
from penstock.gateway.admin.state import COST_GROUPS, AdminState, Row

DEFAULT_DAYS, MOST_DAYS = 30, 366
NO_LIMITS = (
    "No limits are kept: write some under rate_limits in the config, "
    "or set auth.tenants: true and give limits to organisations, teams and keys."
)
NO_LEDGER = "No costs are kept: set ledger.enabled: true in the config, and ledger.prices for what things cost."
NO_FAIRNESS = (
    "No shares are kept: they are of tenants (auth.tenants: true) that queue for engines (max_in_flight of an engine)."
)


class Uses:
    """Renders what one `AdminState` knows of tenants."""

    def __init__(self, state: AdminState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """GET and HEAD only, as other reads."""
        return [
            Route("/admin/limits", self.limits, methods=["GET"]),
            Route("/admin/cost", self.cost, methods=["GET"]),
            Route("/admin/fairness", self.fairness, methods=["GET"]),
        ]

    async def limits(self, request: Request) -> Response:
        """The counts that were lately in use, the fullest first; `?limit=` says how many."""
        most = parse_limit(request)
        found = self._state.limits()
        if found is None:
            return answer({**off(NO_LIMITS), "store": None, "total": 0, "limits": []})
        rows = sorted(found.rows, key=lambda row: (-float(str(row["part"])), str(row["subject"]), str(row["rule"])))
        store = {"answers": not found.problem, "problem": found.problem}
        return answer({**ON, "store": store, "total": len(rows), "limits": rows[:most]})

    async def cost(self, request: Request) -> Response:
        """Totals of the last `?days=`, by `?by=`: days in their order, else the dearest first, `?limit=` of them."""
        days = parse_number(request, "days", DEFAULT_DAYS, MOST_DAYS)
        by = request.query_params.get("by", COST_GROUPS[0])
        if by not in COST_GROUPS:
            raise BadRequest(f"by must be one of {', '.join(COST_GROUPS)}, not {by!r:.80}", param="by")
        most = parse_limit(request)
        found = await self._state.costs(by, days)
        asked: Row = {"by": by, "days": days}
        if found is None:
            return answer({**off(NO_LEDGER), **asked, "problem": "", "total": 0, "costs": []})
        rows = found.rows if by == "day" else sorted(found.rows, key=dearest)[:most]
        return answer({**ON, **asked, "problem": found.problem, "total": len(found.rows), "costs": rows})

    async def fairness(self, request: Request) -> Response:
        """What each tenant waited and got."""
        found = await self._state.fairness()
        if found is None:
            return answer({**off(NO_FAIRNESS), "window_s": None, "index": None, "tenants": []})
        return answer({**ON, "window_s": found.window_s, "index": found.index, "tenants": found.rows})


def dearest(row: Row) -> tuple[Decimal, int]:
    """Orders costs: the highest first, then who asked most."""
    return -Decimal(str(row["cost"])), -int(str(row["requests"]))


ON: Row = {"enabled": True, "how": None}


def off(how: str) -> Row:
    """What every answer about something that is switched off begins with."""
    return {"enabled": False, "how": how}
