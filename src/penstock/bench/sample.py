"""What is planned and what came of it: the two records that every other module speaks in."""

from enum import StrEnum

import msgspec


class Planned(msgspec.Struct, gc=False):
    """One request that is to be sent. Times in seconds since the run began."""

    due: float | None
    """On the absolute timetable of an open loop; None: as soon as its turn comes (closed loop, later turns)."""
    body: bytes
    """JSON, as it goes over the wire."""
    path: str = "/v1/chat/completions"
    model: str = ""
    kind: str = ""
    """Class of the mix it belongs to, e.g. `short`; the report splits by it."""
    tenant: str = ""
    """Name of the credential in the client's settings; empty: the default one."""
    session: str = ""
    """Requests of one session are sent one after the other, the next after the answer to the one before."""
    turn: int = 0
    turns: tuple[str, ...] = ()
    """What the user says next, turn by turn; each body is made of the one before and its answer."""
    pause_s: float = 0.0
    """Between the answer to the turn before and this one."""
    input_tokens: int = 0
    """As planned; 0: not known."""
    output_tokens: int = 0
    """As asked for; 0: not bounded."""
    cancel_after_s: float = 0.0
    """The client leaves so long after sending; 0: it stays."""
    headers: tuple[tuple[str, str], ...] = ()


class Ending(StrEnum):
    """How a request ended, as its client saw it."""

    OK = "ok"
    REFUSED = "refused"
    """No connection."""
    RESET = "reset"
    """The connection broke before the answer was whole."""
    STATUS = "status"
    """An answer with a status of 400 or more."""
    STREAM_ERROR = "stream_error"
    """An error event inside a stream that had begun, or a stream without its end."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    """The plan said so."""
    MALFORMED = "malformed"
    """Not HTTP, or not the JSON that was promised."""


class Sample(msgspec.Struct, gc=False):
    """What came of one request. All moments in seconds since the run began, on one monotonic clock; 0: never.

    A moment is taken when the bytes are read from the socket, before anything is parsed.
    """

    index: int
    """In the plan."""
    stage: int
    due: float
    """When it should have been sent. In a closed loop: when its place became free."""
    sent: float
    """When its bytes were handed to the socket."""
    first: float = 0.0
    """The first event with content; for an answer in one piece, its first body byte."""
    last: float = 0.0
    """The last event with content."""
    ended: float = 0.0
    ending: Ending = Ending.OK
    status: int = 0
    error: str = ""
    """The server's error code or the client's own words, short."""
    kind: str = ""
    tenant: str = ""
    session: str = ""
    turn: int = 0
    model: str = ""
    engine: str = ""
    """From `x-penstock-engine`, where the server says."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    counted: bool = False
    """No usage was reported: output tokens are the content events, input tokens those of the plan."""
    events: int = 0
    """With content."""
    gaps: list[float] = []
    """Seconds between content events: `events - 1` of them, in order. Events that came in one read have gap 0."""
    bytes_in: int = 0
    """Of the answer."""
    queue_s: float = 0.0
    """Time in the gateway's queue, where the server says."""
    reused: bool = False
    """Sent on a kept-alive connection."""


class Stage(msgspec.Struct, frozen=True):
    """A stretch of a run with one load. `begin` and `end` are seconds since the run began."""

    name: str
    begin: float
    end: float
    concurrency: int = 0
    """Closed loop; 0 for an open one."""
    rate: float = 0.0
    """Requests per second asked for (mean over the stage); 0 for a closed loop."""


class ClientHealth(msgspec.Struct, frozen=True):
    """Whether the client itself kept up. A run whose client lagged says nothing of the server."""

    processes: int
    cpu_s: float
    """CPU seconds of all client processes."""
    wall_s: float
    busiest: float
    """Largest share of one core that one client process used, 0 to 1."""
    lag_p50_s: float
    """Schedule delay: sent - due."""
    lag_p99_s: float
    lag_max_s: float
    asked_rate: float
    """Requests per second on the timetable; 0 for a closed loop."""
    achieved_rate: float
    invalid: str = ""
    """How the client did not keep up; empty: it did."""


class Series(msgspec.Struct):
    """A quantity over time beside the load, e.g. `kv_utilisation` of engine `a`."""

    name: str
    source: str
    """Engine, process or device."""
    unit: str
    at: list[float] = []
    """Seconds since the run began."""
    values: list[float] = []


class Run(msgspec.Struct):
    """One run, whole: what reports and comparisons read. Stored as JSON."""

    name: str
    began: float
    """Wall clock, seconds since the epoch."""
    seed: int
    workload: dict[str, object]
    """The contract or options it was made from."""
    fingerprint: dict[str, str]
    """Of hardware, engine and its flags, model, client: what must agree for two runs to be comparable."""
    stages: list[Stage]
    client: ClientHealth
    samples: list[Sample]
    series: list[Series] = []
    notes: list[str] = []
    price_per_hour: float | None = None
    """Of all that serves, in any currency; None: not known."""
    stopped: bool = False
    """Ended before its load was whole: what was under way then counts as cancelled."""

    @property
    def invalid(self) -> str:
        """Why the run must not be used; empty: it may."""
        return "it was stopped before its end" if self.stopped else self.client.invalid
