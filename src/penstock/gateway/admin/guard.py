"""Stands before every admin route: who is asked for (Host), who asks (token), what a browser may do.

A page on the open web can make a browser talk to loopback. Three things stop it: the Host must be
ours (a name rebound to 127.0.0.1 keeps its own Host), a write must come from this origin, and the
console's own page may load and reach nothing but this listener.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.core.errors import RequestError
from penstock.gateway.admin.admins import Admins
from penstock.gateway.admin.answers import fault, refusal
from penstock.gateway.admin.settings import AdminSettings

TOKEN_HEADER = "x-penstock-admin-token"
"""Carries the admin token where `authorization` carries an API key (the playground's relay)."""

SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

OPEN_PATHS = frozenset({"/healthz", "/"})
OPEN_PREFIX = "/console/"
"""The page holds no data and must load to ask for the token."""


class Misdirected(RequestError):
    """The Host is not ours."""

    status, type, code, retry = 421, "invalid_request_error", "misdirected_request", False


class CrossOrigin(RequestError):
    """Another site's page sent this."""

    status, type, code, retry = 403, "permission_error", "cross_origin", False


class Guard:
    """ASGI middleware. Refuses with an OpenAI-shaped error, or passes on; marks every answer."""

    def __init__(self, app: ASGIApp, settings: AdminSettings, admins: Admins | None = None) -> None:
        self._app = app
        self._settings = settings
        self._admins = admins or Admins(settings.token, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lifespan passes untouched; so does nothing else."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        started = False

        async def marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            self._admit(scope["method"], scope["path"], Headers(scope=scope))
        except RequestError as error:
            await refusal(error)(scope, receive, marked)
            return
        try:
            await self._app(scope, receive, marked)
        except Exception as error:
            if started:  # closing the connection is the only way left to say so
                raise
            await fault(scope["path"], error)(scope, receive, marked)

    def _admit(self, method: str, path: str, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not is_ours(hosts[0], self._settings.host):
            raise Misdirected(
                f"host {', '.join(hosts)!r} is not served here; ask for localhost or {self._settings.host}"
            )
        if method not in ("GET", "HEAD", "OPTIONS"):
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
                raise CrossOrigin(f"origin {origin!r} may not write here")
        if self._settings.token and path not in OPEN_PATHS and not path.startswith(OPEN_PREFIX):
            self._admins.admit(headers.get(TOKEN_HEADER) or bearer(headers))


def bearer(headers: Headers) -> str:
    """The token of `authorization: Bearer ...`, or nothing."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_ours(host: str, bound: str) -> bool:
    """Whether a Host header names loopback or the bound host.

    Bound to all addresses, any literal address is ours: only a name can be rebound.
    """
    name = _name(host)
    if name is None:
        return False
    if name == "localhost" or name.endswith(".localhost") or name == bound.lower().strip("[]"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or bound in ("", "0.0.0.0", "::", "[::]")


def _name(host: str) -> str | None:
    """The name or address in a Host header, lower case, or None when it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises on a malformed port
    except ValueError:
        return None
    plain = not parts.path and not parts.query and not parts.fragment and "@" not in host
    return parts.hostname.rstrip(".") if plain and parts.hostname else None
