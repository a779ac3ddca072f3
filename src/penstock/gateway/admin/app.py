"""The admin application: routes over an `AdminState`, behind the guard."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from penstock.core.clock import monotonic
from penstock.core.errors import RequestError
from penstock.gateway.admin.adapters import Adapters
from penstock.gateway.admin.admins import Admins
from penstock.gateway.admin.answers import on_http, on_refusal, on_silence
from penstock.gateway.admin.assets import Console
from penstock.gateway.admin.guard import Guard
from penstock.gateway.admin.relay import PATH, Relay
from penstock.gateway.admin.routes import Reads
from penstock.gateway.admin.settings import AdminSettings
from penstock.gateway.admin.state import AdminState
from penstock.gateway.admin.timeline import Timeline
from penstock.gateway.admin.uses import Uses

log = logging.getLogger(__name__)


TICK_S = 1.0


def create_admin(
    state: AdminState,
    settings: AdminSettings,
    timeline: Timeline | None = None,
    admins: Admins | None = None,
    more: Sequence[Route] = (),
) -> Starlette:
    """Build the application. Its lifespan must run: it feeds the timeline and holds the relay.

    A `timeline` brought along keeps what it has seen (a reload need not forget five minutes).
    """
    timeline = timeline or Timeline()
    relay = Relay(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await relay.open()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(feed, timeline, state)
                yield
                group.cancel_scope.cancel()
        finally:
            await relay.close()

    return Starlette(
        routes=[
            *Console().routes(),
            *Reads(state, timeline).routes(),
            *Uses(state).routes(),
            *Adapters(state).routes(),
            Route(PATH, relay.__call__, methods=["POST"]),
            *more,
        ],
        middleware=[Middleware(Guard, settings=settings, admins=admins)],
        exception_handlers={
            RequestError: on_refusal,
            HTTPException: on_http,
            OSError: on_silence,
        },
        lifespan=lifespan,
    )


async def feed(timeline: Timeline, state: AdminState) -> None:
    """Show the timeline the totals once per tick, on a grid that does not drift."""
    due = monotonic()
    while True:
        try:
            timeline.observe(monotonic(), state.totals())
        except Exception:  # one bad reading leaves a gap; the listener goes on
            log.warning("the timeline missed a second", exc_info=True)
        # A suspended machine owes many ticks; only the next one is worth taking.
        now = monotonic()
        due = max(due + TICK_S, now)
        await anyio.sleep(due - now)
