"""The listener: accepts requests, and hands out what became of them."""

from collections.abc import AsyncIterator

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from penstock.core.clock import monotonic, type_of_clock
from penstock.core.errors import BadRequest, RequestError, TooLarge, Unavailable
from penstock.gateway.admin.answers import answer, error_body, on_http, refusal
from penstock.gateway.durable.answer import EVENTS, Asked, Head, raw, replayed
from penstock.gateway.durable.callers import Callers, owner_of
from penstock.gateway.durable.counts import Counts
from penstock.gateway.durable.desk import Desk, why
from penstock.gateway.durable.puller import Puller
from penstock.gateway.durable.settings import Settings
from penstock.state.queue.broker import Broker, BrokerAway
from penstock.state.queue.job import Job, State
from penstock.telemetry.exposition import CONTENT_TYPE
from penstock.wire.paths import check_path

QUEUE = "/v1/queue/{id}"
LONGEST_WAIT_S = 60.0
HEARTBEAT_S = 10.0
"""A stream that has nothing to say sends a comment."""


class Listener:
    """Routes over a Desk."""

    def __init__(self, desk: Desk, broker: Broker, callers: Callers, settings: Settings) -> None:
        self._desk = desk
        self._broker = broker
        self._callers = callers
        self._settings = settings

    async def accept(self, request: Request) -> Response:
        """`POST /v1/...`: 202 once the broker has it."""
        check_path(request.scope["raw_path"])
        owner = await self._callers.admit(request.headers)
        body = await self._body(request)
        # The path as it was sent: what is escaped in it stays so.
        target, query = request.scope["raw_path"].decode("latin-1"), request.scope["query_string"].decode("latin-1")
        asked = Asked(f"{target}?{query}" if query else target, replayed(request.headers.raw), body)
        job = await self._desk.accept(asked, owner, request.headers.get("idempotency-key", ""))
        response = answer(shown(job), 202)
        response.headers["location"] = f"/v1/queue/{job.id}"
        return response

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._settings.body_bytes:
                raise TooLarge(f"the queue takes at most {self._settings.body_bytes} bytes")
        return bytes(body)

    async def result(self, request: Request) -> Response:
        """`GET /v1/queue/{id}`: the answer as the engine gave it, or 202 and the state; `?wait=` seconds for it."""
        wait_s = _wait(request)
        job = await self._desk.until_over(request.path_params["id"], owner_of(request.headers), wait_s)
        if not job.state.over:
            response = answer(shown(job), 202)
            response.headers["retry-after"] = "1"
            return response
        if job.state is not State.DONE:
            raise why(job)
        pieces = await self._desk.answer(job)
        head = pieces[0].head or Head(502, [])
        response = Response(b"".join(piece.body for piece in pieces), head.status)
        response.raw_headers[:0] = raw(head.headers)
        response.headers["x-penstock-queue"] = job.id
        return response

    async def status(self, request: Request) -> Response:
        """`GET /v1/queue/{id}/status`: the state, and never the answer."""
        return answer(shown(await self._desk.find(request.path_params["id"], owner_of(request.headers))))

    async def stream(self, request: Request) -> Response:
        """`GET /v1/queue/{id}/stream`: events of the answer from the first on, as they come."""
        id_, owner = request.path_params["id"], owner_of(request.headers)
        await self._desk.find(id_, owner)  # a wrong id is a 404 and no stream
        headers = {"cache-control": "no-store", "x-penstock-queue": id_}
        return StreamingResponse(self._events(id_, owner), media_type=EVENTS, headers=headers)

    async def _events(self, id_: str, owner: str) -> AsyncIterator[bytes]:
        said = monotonic()
        events = False
        whole = bytearray()
        try:
            async for piece in self._desk.follow(id_, owner):
                if piece is None:
                    if monotonic() - said >= HEARTBEAT_S:
                        said = monotonic()
                        yield b": waiting\n\n"
                    continue
                if piece.head is not None:
                    events = piece.head.streams
                if events:
                    said = monotonic()
                    yield piece.body
                    continue
                whole += piece.body  # an error, or an answer that was not asked for as a stream: one event
                if piece.last:
                    yield b"".join(b"data: %b\n" % line for line in bytes(whole).splitlines()) + b"\n"
        except RequestError as error:
            yield b"\n\ndata: " + msgspec.json.encode(error_body(error)) + b"\n\n"
        except BrokerAway as error:
            yield b"\n\ndata: " + msgspec.json.encode(error_body(away(error))) + b"\n\n"

    async def cancel(self, request: Request) -> Response:
        """`DELETE /v1/queue/{id}`: called off, unless it is over; the state it is in now."""
        return answer(shown(await self._desk.cancel(request.path_params["id"], owner_of(request.headers))))

    async def health(self, request: Request) -> Response:
        """`GET /healthz`: 200 while the broker answers."""
        await self._broker.depth()
        return answer({"status": "ok"})


class Metrics:
    """`GET /metrics`."""

    def __init__(self, broker: Broker, counts: Counts, puller: Puller, now: type_of_clock) -> None:
        self._broker = broker
        self._counts = counts
        self._puller = puller
        self._now = now

    async def __call__(self, request: Request) -> Response:
        try:
            depth = await self._broker.depth()
        except BrokerAway:
            depth = None
        pace = self._puller.pace
        text = self._counts.exposition(depth, self._now(), pace.running, pace.window)
        return Response(text, headers={"content-type": CONTENT_TYPE})


def create_app(listener: Listener, metrics: Metrics) -> Starlette:
    """The application."""
    return Starlette(
        routes=[
            Route(QUEUE, listener.result, methods=["GET"]),
            Route(QUEUE, listener.cancel, methods=["DELETE"]),
            Route(f"{QUEUE}/status", listener.status, methods=["GET"]),
            Route(f"{QUEUE}/stream", listener.stream, methods=["GET"]),
            Route("/healthz", listener.health, methods=["GET"]),
            Route("/metrics", metrics.__call__, methods=["GET"]),
            Route("/v1/{path:path}", listener.accept, methods=["POST"]),
        ],
        exception_handlers={RequestError: _on_refusal, HTTPException: on_http, BrokerAway: _on_away},
    )


def shown(job: Job) -> dict[str, object]:
    """What a caller sees of a job, besides its answer."""
    return {
        "id": job.id,
        "object": "queue.request",
        "status": job.state,
        "attempts": job.attempts,
        "created": job.created,
        "expires": job.expires,
        "started": job.started or None,
        "finished": job.finished or None,
        "answer_status": job.status or None,
        "error": job.error or None,
    }


def away(error: BrokerAway) -> RequestError:
    return Unavailable(f"the broker does not answer: {error}", code="broker_unavailable", retry_after_s=1.0)


def _wait(request: Request) -> float:
    text = request.query_params.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_WAIT_S:
        raise BadRequest(f"wait: {text!r} is not 0 to {LONGEST_WAIT_S:g} seconds", param="wait")
    return seconds


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    response = refusal(error)
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    return response


async def _on_away(request: Request, error: Exception) -> Response:
    assert isinstance(error, BrokerAway)
    return await _on_refusal(request, away(error))
