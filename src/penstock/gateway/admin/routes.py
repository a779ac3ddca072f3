"""The read routes: what the fleet is, does and did."""

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.core.clock import monotonic, wall
from penstock.core.errors import BadRequest, NotFound
from penstock.gateway.admin.answers import answer
from penstock.gateway.admin.state import AdminState
from penstock.gateway.admin.timeline import Timeline

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DEFAULT_LIMIT = 50
MAX_LIMIT = 1000
DEFAULT_TYPES = 20


class Reads:
    """Renders one `AdminState`."""

    def __init__(self, state: AdminState, timeline: Timeline) -> None:
        self._state = state
        self._timeline = timeline

    def routes(self) -> list[Route]:
        """GET and HEAD only; the router answers 405 to the rest."""
        return [
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/admin/about", self.about, methods=["GET"]),
            Route("/admin/engines", self.engines, methods=["GET"]),
            Route("/admin/live", self.live, methods=["GET"]),
            Route("/admin/requests", self.requests, methods=["GET"]),
            Route("/admin/why/{id}", self.why, methods=["GET"]),
            Route("/admin/health", self.health, methods=["GET"]),
            Route("/admin/memory", self.memory, methods=["GET"]),
            Route("/admin/timeline", self.timeline, methods=["GET"]),
        ]

    async def metrics(self, request: Request) -> Response:
        """Prometheus scrape."""
        return Response(await self._state.metrics(), headers={"content-type": METRICS_TYPE})

    async def healthz(self, request: Request) -> Response:
        """200 as long as the process lives: an answer at all is the whole proof."""
        return answer({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """200, or 503 with each reason."""
        ready, reasons = self._state.ready()
        return answer({"ready": ready, "reasons": reasons}, 200 if ready else 503)

    async def about(self, request: Request) -> Response:
        """Version, addresses, models."""
        return answer(self._state.about())

    async def engines(self, request: Request) -> Response:
        """Each engine and its state."""
        return answer({"engines": self._state.engines()})

    async def live(self, request: Request) -> Response:
        """Requests that run now."""
        return answer({"requests": await self._state.live()})

    async def requests(self, request: Request) -> Response:
        """The last Records, newest first."""
        limit = parse_limit(request)
        return answer({"requests": await self._state.requests(limit)})

    async def why(self, request: Request) -> Response:
        """How one request was routed."""
        request_id = request.path_params["id"]
        found = await self._state.why(request_id)
        if found is None:
            raise NotFound(
                f"No request {request_id!r:.140} is running or among the last of any worker; "
                "admin.records says how many are kept.",
                param="id",
            )
        return answer(found)

    async def health(self, request: Request) -> Response:
        """How each worker judges the engines."""
        return answer({"workers": await self._state.health()})

    async def memory(self, request: Request) -> Response:
        """Live objects of each worker by type."""
        types = parse_number(request, "limit", DEFAULT_TYPES, MAX_LIMIT)
        return answer({"workers": await self._state.memory(types)})

    async def timeline(self, request: Request) -> Response:
        """One point per second over the last five minutes, and the figures now.

        Points are taken on the steady clock and dated here, so a step of the wall clock
        moves the whole line and tears no hole in it.
        """
        shift = wall() - monotonic()
        points = [replace(point, t=point.t + shift) for point in self._timeline.points()]
        now = self._timeline.recent()
        return answer({"now": replace(now, t=now.t + shift), "points": points})


def parse_limit(request: Request) -> int:
    """`?limit=`: how many rows are asked for."""
    return parse_number(request, "limit", DEFAULT_LIMIT, MAX_LIMIT)


def parse_number(request: Request, name: str, default: int, most: int) -> int:
    """`?name=`, from 1 to `most`; BadRequest names the field and the value."""
    values = request.query_params.getlist(name)
    if not values:
        return default
    text = values[-1]
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most:
        return int(text)
    raise BadRequest(f"{name} must be a whole number from 1 to {most}, not {text!r}", param=name)
