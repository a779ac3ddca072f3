"""Every field of `penstock.yaml`: type, default, bounds and a doc line, declared once.

The JSON schema for editors, the configuration reference and `penstock explain` are rendered from here.
"""

import inspect
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from penstock.config.audit import Audit
from penstock.config.engines import Engine, LlamaCpp
from penstock.config.oidc import Oidc
from penstock.config.routing import Model, Queue, Resilience, Routing
from penstock.config.section import Port, Seconds, SecondsOrOff, Section
from penstock.config.state import Ledger, RateLimits, State


class Tls(Section, frozen=True):
    """Serve HTTPS with this certificate."""

    certificate: Annotated[str, Meta(description="Path of a PEM file with the certificate chain")]
    key: Annotated[str, Meta(description="Path of the PEM file with the private key")]


class Listen(Section, frozen=True):
    """Where the API listens."""

    host: Annotated[str, Meta(description="Address to bind; anything but loopback needs auth.keys")] = "127.0.0.1"
    port: Port = 8080
    tls: Annotated[Tls | None, Meta(description="Serve HTTPS instead of HTTP")] = None
    backlog: Annotated[int, Meta(ge=1, description="Connections the kernel holds before they are accepted")] = 2048


class Admin(Section, frozen=True):
    """Where metrics, health and the console listen."""

    host: Annotated[str, Meta(description="Address to bind; anything but loopback needs admin.token")] = "127.0.0.1"
    port: Port = 8081
    token: Annotated[str, Meta(description="Bearer token asked of every admin request; empty asks for none")] = ""
    records: Annotated[int, Meta(ge=0, le=100_000, description="Finished requests each worker keeps to show")] = 200


class Auth(Section, frozen=True):
    """Who may use the API."""

    keys: Annotated[
        tuple[str, ...],
        Meta(description="API keys that are let in; none leaves the API open (loopback only)"),
    ] = ()
    tenants: Annotated[
        bool, Meta(description="Let in the keys of organisations and teams (`penstock key`), which are kept in `state`")
    ] = False
    oidc: Annotated[Oidc | None, Meta(description="Let in the tokens of an OpenID provider")] = None

    @property
    def open(self) -> bool:
        """Whether everybody is let in."""
        return not self.keys and not self.tenants and self.oidc is None


class Limits(Section, frozen=True):
    """Sizes that one request or connection may reach."""

    head_bytes: Annotated[int, Meta(ge=1024, description="Request line and headers; above it: 431")] = 65_536
    body_bytes: Annotated[int, Meta(ge=1024, description="Request body; above it: 413")] = 64 * 1024 * 1024
    pipelined: Annotated[int, Meta(ge=1, description="Requests a connection may queue behind the one served")] = 16
    connections: Annotated[int, Meta(ge=1, description="Open client connections per worker; above it: 503")] = 16_384


class Timeouts(Section, frozen=True):
    """How long each phase may last, in seconds."""

    head: Annotated[Seconds, Meta(description="First byte of a request -> end of its headers; after it: 408")] = 10.0
    body: Annotated[Seconds, Meta(description="Longest silence inside a request body; after it: 408")] = 30.0
    idle: Annotated[Seconds, Meta(description="A kept-alive connection without a request; closed after it")] = 75.0
    connect: Annotated[Seconds, Meta(description="Opening a connection to an engine; after it the next is tried")] = 5.0
    first_byte: Annotated[Seconds, Meta(description="Request sent -> first content byte; after it: 504")] = 300.0
    stall: Annotated[Seconds, Meta(description="Longest silence inside an answer; after it a typed error")] = 120.0
    total: Annotated[Seconds, Meta(description="A request from first to last byte")] = 3600.0
    client_stall: Annotated[Seconds, Meta(description="A client that takes no bytes is dropped after it")] = 60.0
    drain: Annotated[Seconds, Meta(description="Running requests may take this long at shutdown or reload")] = 30.0


class Streaming(Section, frozen=True):
    """How streams are relayed."""

    heartbeat: Annotated[
        SecondsOrOff, Meta(description="Send an SSE comment after this much silence; 0 sends none")
    ] = 0.0


class Log(Section, frozen=True):
    """Where logs go."""

    access: Annotated[
        str, Meta(description="One JSON line per request: `stdout`, `stderr`, `off`, or the path of a file")
    ] = "off"


class Config(Section, frozen=True):
    """The whole document. Every key is optional; an empty document runs the embedded model on loopback."""

    listen: Annotated[Listen, Meta(description="Where the API listens")] = Listen()
    admin: Annotated[Admin, Meta(description="Where metrics, health and the console listen")] = Admin()
    workers: Annotated[int, Meta(ge=1, le=256, description="Gateway processes that share the port")] = 1
    auth: Annotated[Auth, Meta(description="Who may use the API")] = Auth()
    engines: Annotated[
        tuple[Engine, ...],
        Meta(description="What answers. A request goes to a ready engine that serves its model"),
    ] = (LlamaCpp(),)
    models: Annotated[
        dict[str, Model], Meta(description="What holds for one model: where its requests may go instead, and how many")
    ] = msgspec.field(default_factory=dict)
    routing: Annotated[Routing, Meta(description="Which engine takes a request")] = Routing()
    resilience: Annotated[Resilience, Meta(description="What happens when an engine fails or lags")] = Resilience()
    queue: Annotated[Queue, Meta(description="Where requests wait while all engines are full")] = Queue()
    state: Annotated[State, Meta(description="Where what survives a restart is kept")] = State()
    rate_limits: Annotated[RateLimits, Meta(description="How much may be used: requests, tokens, money")] = RateLimits()
    ledger: Annotated[Ledger, Meta(description="What was used, by whom, and what it cost")] = Ledger()
    audit: Annotated[Audit, Meta(description="A log that shows when it was tampered with")] = Audit()
    limits: Annotated[Limits, Meta(description="Sizes that one request may reach")] = Limits()
    timeouts: Annotated[Timeouts, Meta(description="How long each phase may last")] = Timeouts()
    streaming: Annotated[Streaming, Meta(description="How streams are relayed")] = Streaming()
    log: Annotated[Log, Meta(description="Where logs go")] = Log()


SECRETS = frozenset({"auth.keys", "admin.token", "engines.api_key", "state.url", "rate_limits.store"})
"""Fields whose values are never printed; list indexes are left out of the path."""


def field_doc(struct: type[Section], name: str) -> str:
    """The doc line of one field."""
    for base in struct.__mro__:
        if name in inspect.get_annotations(base):
            return _description(base.__annotations__[name])
    raise KeyError(name)


def _description(hint: Any) -> str:
    for extra in reversed(getattr(hint, "__metadata__", ())):
        if isinstance(extra, Meta) and extra.description:
            return extra.description
    return ""
