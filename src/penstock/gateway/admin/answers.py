"""How the admin listener writes JSON and errors."""

import logging

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from penstock.core.errors import InternalError, MethodNotAllowed, NotFound, RequestError, Unavailable

log = logging.getLogger(__name__)

JSON_TYPE = "application/json"


def answer(body: object, status: int = 200) -> Response:
    """`body` as JSON; dataclasses and msgspec structs too. What is not a number becomes null."""
    return Response(msgspec.json.encode(body), status, media_type=JSON_TYPE)


def error_body(error: RequestError) -> dict[str, dict[str, str | None]]:
    """The shape every OpenAI client reads."""
    return {
        "error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code},
    }


def refusal(error: RequestError) -> Response:
    """An error as a whole answer."""
    response = answer(error_body(error), error.status)
    if error.allow is not None:
        response.headers["allow"] = error.allow
    if error.status == 401:
        response.headers["www-authenticate"] = 'Bearer realm="penstock admin"'
    return response


async def on_refusal(request: Request, error: Exception) -> Response:
    """A RequestError raised by a route."""
    assert isinstance(error, RequestError)
    return refusal(error)


async def on_http(request: Request, error: Exception) -> Response:
    """The router found no route, or not for this method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        refused = MethodNotAllowed(f"{request.method} is not served on {request.url.path}")
        refused.allow = (error.headers or {}).get("Allow")
        return refusal(refused)
    return refusal(NotFound(f"nothing is served on {request.url.path}"))


async def on_silence(request: Request, error: Exception) -> Response:
    """A worker did not answer the supervisor."""
    log.warning("%s: the fleet did not answer: %r", request.url.path, error)
    return refusal(Unavailable("a worker did not answer in time", code="worker_unavailable"))


def fault(path: str, error: Exception) -> Response:
    """A fault of ours; the traceback goes to the log, not to the client."""
    log.error("%s failed", path, exc_info=error)
    return refusal(InternalError("the admin listener failed; its log says why"))
