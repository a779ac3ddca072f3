"""Same-origin way from the playground to the API, so the page needs no CORS and one address.

A client that leaves, before or after the first byte, closes the request to the API at once.
"""

import ssl
from collections.abc import Mapping

import anyio
import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from penstock.core.errors import BadRequest, RequestError, TooLarge, UpstreamFailed
from penstock.gateway.admin.answers import JSON_TYPE, error_body, refusal
from penstock.gateway.admin.guard import TOKEN_HEADER
from penstock.gateway.admin.settings import AdminSettings

PATH = "/v1/chat/completions"
MAX_BODY = 8 * 1024 * 1024
PASSED_DOWN = ("content-type", "content-encoding", "x-request-id", "retry-after", "www-authenticate")
# No read limit: the API has its own, and a long prefill is silent.
TIMEOUT = httpx.Timeout(5.0, read=None, write=30.0)


class Relay:
    """POST /v1/chat/completions -> the API."""

    def __init__(self, settings: AdminSettings) -> None:
        self._settings = settings
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Raises OSError when the certificate cannot be read."""
        self._client = httpx.AsyncClient(
            base_url=self._settings.api,
            timeout=TIMEOUT,
            verify=trust(self._settings),
            # A proxy from the environment has no business between two loopback ports.
            trust_env=False,
        )

    async def close(self) -> None:
        """Ends the requests still running."""
        if self._client is not None:
            await self._client.aclose()

    async def __call__(self, request: Request) -> Response:
        """The JSON type is required because a form on another site cannot send it unasked."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
            raise BadRequest(f"content-type must be {JSON_TYPE}", param="content-type")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                raise TooLarge(f"the playground sends at most {MAX_BODY} bytes")
        if self._client is None:
            raise RuntimeError("the relay is used outside the lifespan of its application")
        outgoing = self._client.build_request("POST", PATH, content=bytes(body), headers=self._up(request.headers))
        return _Answer(self._client, outgoing)

    def _up(self, headers: Mapping[str, str]) -> dict[str, str]:
        up = {"content-type": JSON_TYPE, "accept-encoding": "identity"}
        for name in ("accept", "x-request-id"):
            if name in headers:
                up[name] = headers[name]
        # An `authorization` that proved the admin token is not an API key: it goes no further.
        if "authorization" in headers and (not self._settings.token or TOKEN_HEADER in headers):
            up["authorization"] = headers["authorization"]
        return up


class _Answer(Response):
    """Streams the API's answer; watches for the client leaving all the while."""

    def __init__(self, client: httpx.AsyncClient, outgoing: httpx.Request) -> None:
        super().__init__()
        self._client = client
        self._outgoing = outgoing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await self._pump(scope, receive, send)
            group.cancel_scope.cancel()

    async def _pump(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            upstream = await self._client.send(self._outgoing, stream=True)
        except httpx.TransportError as error:
            failed = UpstreamFailed(
                f"the API at {self._client.base_url} did not answer: {_words(error)}", code="upstream_refused"
            )
            await refusal(failed)(scope, receive, send)
            return
        try:
            head = [(k.encode(), upstream.headers[k].encode()) for k in PASSED_DOWN if k in upstream.headers]
            await send({"type": "http.response.start", "status": upstream.status_code, "headers": head})
            tail = b""
            try:
                async for chunk in upstream.aiter_raw():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except httpx.TransportError as error:
                if not upstream.headers.get("content-type", "").startswith("text/event-stream"):
                    raise
                broken = UpstreamFailed(f"the API broke the stream off: {_words(error)}", code="upstream_reset")
                tail = in_band(broken)
            await send({"type": "http.response.body", "body": tail})
        finally:
            with anyio.CancelScope(shield=True):
                await upstream.aclose()


def in_band(error: RequestError) -> bytes:
    """An error as one event of a stream already begun."""
    return b"\n\ndata: " + msgspec.json.encode(error_body(error)) + b"\n\n"


def trust(settings: AdminSettings) -> ssl.SSLContext:
    """Trust in exactly one certificate, or in the system's authorities; in none for a plain API."""
    if settings.api.startswith("https:") and not settings.api_certificate:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.api_certificate:
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(settings.api_certificate)
    return context


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
