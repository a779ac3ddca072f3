"""One request as the proxy tells it: headers, body, then the answer's headers and body. No I/O, no clock of its own."""

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum

from penstock.core.errors import RequestError, TooLarge
from penstock.core.record import Usage
from penstock.gateway.picker import answers
from penstock.gateway.picker.desk import FAIRNESS, Desk, Pick
from penstock.gateway.picker.messages import Message
from penstock.gateway.picker.reading import Reading
from penstock.gateway.verdict import Verdict

SUBSET_NAMESPACE = "envoy.lb.subset_hint"
SUBSET = "x-gateway-destination-endpoint-subset"
SERVED = "x-gateway-destination-endpoint-served"
ENGINE_GONE = frozenset({502, 503, 504})
"""Statuses after which the engine is looked at anew: the proxy may have found nobody there."""


class BodyMode(IntEnum):
    """ProcessingMode.BodySendMode; the modes not named here need nothing of their own."""

    BUFFERED = 2
    FULL_DUPLEX = 4


class Exchange:
    """Feed it every message of one stream in order and send what it returns; `close` it whatever happens."""

    def __init__(
        self, desk: Desk, clock: Callable[[], float], doubt: Callable[[str], None], *, body_bytes: int
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._doubt = doubt
        self._body_bytes = body_bytes
        self._headers: Mapping[str, bytes] = {}
        self._subset: frozenset[str] | None = None
        self._request_mode = self._response_mode = int(BodyMode.BUFFERED)
        self._body = bytearray()
        self._held = False
        """The request's headers wait for its body, as a full-duplex stream allows."""
        self._pick: Pick | None = None
        self._moved = False
        self._refused = False
        self._reading: Reading | None = None
        self._steps: dict[str, Callable[[Message, Message], Iterable[Message]]] = {
            "request_headers": self._request_headers,
            "request_body": self._request_body,
            "request_trailers": self._request_trailers,
            "response_headers": self._response_headers,
            "response_body": self._response_body,
            "response_trailers": self._response_trailers,
        }

    def feed(self, message: Message) -> list[Message]:
        """What to answer to one message. A refusal is an answer; whatever raises is a fault of ours."""
        part = message.WhichOneof("one")
        if part is None or self._refused:
            return []
        if message.HasField("protocol_config"):
            self._request_mode = message.protocol_config.request_body_mode
            self._response_mode = message.protocol_config.response_body_mode
        try:
            said = list(self._steps[part](getattr(message, part), message))
        except RequestError as error:
            self._refused = True
            said = [answers.refused(error, anthropic=self._path().endswith(b"/messages"))]
        return [] if message.observability_mode else said

    def close(self) -> None:
        """Ends the claim of a request whose stream is over."""
        self._settle(whole=False)

    # -- the request ------------------------------------------------------------------------------------------------

    def _request_headers(self, head: Message, message: Message) -> Iterable[Message]:
        self._headers = _headers(head.headers)
        self._subset = _subset(message)
        if head.end_of_stream or self._request_mode not in (BodyMode.BUFFERED, BodyMode.FULL_DUPLEX):
            return [self._sent("request_headers")]
        if self._request_mode == BodyMode.FULL_DUPLEX:
            self._held = True
            return []
        return [answers.passed("request_headers")]

    def _request_body(self, piece: Message, _message: Message) -> Iterable[Message]:
        if self._held:
            if len(self._body) + len(piece.body) > self._body_bytes:
                raise TooLarge(f"The body is larger than {self._body_bytes} bytes.")
            self._body += piece.body
            return self._let_go(end_of_stream=True) if piece.end_of_stream else []
        if self._request_mode == BodyMode.FULL_DUPLEX:
            return answers.echoed("request_body", piece.body, piece.end_of_stream)
        if self._pick is None:
            self._body += piece.body
            return [self._sent("request_body")]
        return [answers.passed("request_body")]

    def _request_trailers(self, _trailers: Message, _message: Message) -> Iterable[Message]:
        if self._held:
            return [*self._let_go(end_of_stream=False), answers.passed("request_trailers")]
        if self._pick is None:
            return [self._sent("request_trailers")]
        return [answers.passed("request_trailers")]

    def _let_go(self, *, end_of_stream: bool) -> list[Message]:
        """The whole request is here: headers with their destination, then the body as it came."""
        self._held = False
        body = bytes(self._body)
        return [self._sent("request_headers"), *answers.echoed("request_body", body, end_of_stream)]

    def _sent(self, part: str) -> Message:
        now = self._clock()
        ask = self._desk.read(self._path(), self._headers, bytes(self._body), now)
        self._body = bytearray()
        fairness = self._headers.get(FAIRNESS, b"").decode("latin-1")
        self._pick = self._desk.choose(ask, self._subset, fairness, now)
        return answers.sent_to(part, self._pick.destination)

    def _path(self) -> bytes:
        return self._headers.get(":path", b"").partition(b"?")[0]

    # -- the answer -------------------------------------------------------------------------------------------------

    def _response_headers(self, head: Message, message: Message) -> Iterable[Message]:
        self._reading = Reading(_headers(head.headers))
        self._move(_served(message))
        if head.end_of_stream:
            self._settle(whole=True)
        return [answers.passed("response_headers")]

    def _response_body(self, piece: Message, _message: Message) -> Iterable[Message]:
        if self._reading is not None:
            self._reading.take(piece.body, self._clock())
        if piece.end_of_stream:
            self._settle(whole=True)
        if self._response_mode == BodyMode.FULL_DUPLEX:
            return answers.echoed("response_body", piece.body, piece.end_of_stream)
        return [answers.passed("response_body")]

    def _response_trailers(self, _trailers: Message, _message: Message) -> Iterable[Message]:
        self._settle(whole=True)
        return [answers.passed("response_trailers")]

    def _move(self, served: str) -> None:
        """The proxy retried: another engine than the first answers, and carries the request from now on."""
        pick = self._pick
        if pick is None or not served or served == pick.lease.engine:
            return
        self._doubt(pick.lease.engine)
        self._desk.move(pick, served, self._clock())
        self._moved = True

    def _settle(self, *, whole: bool) -> None:
        """Ends the claim, once. Where the proxy sends no body, its end of the stream ends the answer."""
        pick, reading = self._pick, self._reading
        if pick is None or pick.lease.ended:
            return
        if reading is None:
            self._desk.end(pick.lease, self._clock(), Verdict(None), Usage())
            return
        if reading.status in ENGINE_GONE:
            self._doubt(pick.lease.engine)
        usage = reading.usage
        verdict = Verdict(
            reading.verdict(whole or self._response_mode == 0),
            code=f"status_{reading.status}",
            ttft_s=None if self._moved else reading.ttft(pick.lease.since),
            tpot_s=reading.tpot(usage),
        )
        self._desk.end(pick.lease, self._clock(), verdict, usage)


def _headers(found: Message) -> Mapping[str, bytes]:
    """Name -> value; Envoy sends values in one field or the other, depending on its version and settings."""
    return {h.key: h.raw_value or h.value.encode("latin-1", "replace") for h in found.headers}


def _subset(message: Message) -> frozenset[str] | None:
    """The engines that the proxy allows; None when it does not say. A list, or one string with commas."""
    spaces = message.metadata_context.filter_metadata
    if SUBSET_NAMESPACE not in spaces or SUBSET not in spaces[SUBSET_NAMESPACE]:
        return None
    named = spaces[SUBSET_NAMESPACE][SUBSET]
    names = named.split(",") if isinstance(named, str) else [name for name in named or () if isinstance(name, str)]
    return frozenset(name.strip() for name in names)


def _served(message: Message) -> str:
    """The engine that answered, where the proxy tells."""
    spaces = message.metadata_context.filter_metadata
    if answers.NAMESPACE in spaces and SERVED in spaces[answers.NAMESPACE]:
        return str(spaces[answers.NAMESPACE][SERVED])
    return ""
