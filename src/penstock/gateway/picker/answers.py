"""What is said to the proxy."""

from collections.abc import Iterator

from penstock.core.errors import RequestError
from penstock.gateway.picker.messages import Message, ProcessingResponse
from penstock.wire.openai import error_body

DESTINATION = "x-gateway-destination-endpoint"
NAMESPACE = "envoy.lb"
OVERWRITE = 2
"""HeaderAppendAction OVERWRITE_IF_EXISTS_OR_ADD: a client may have sent the header itself."""
CHUNK = 62_000
"""Bytes of body per message: Envoy recommends no more than 64 KiB."""


def passed(part: str) -> Message:
    """Nothing is to be changed in this part of the request or answer."""
    answer = ProcessingResponse()
    getattr(answer, part).SetInParent()
    return answer


def sent_to(part: str, destination: str) -> Message:
    """The request goes to `destination`: said as a header where the part can carry one, and as dynamic metadata."""
    answer = passed(part)
    answer.dynamic_metadata.update({NAMESPACE: {DESTINATION: destination}})
    if part != "request_trailers":
        _set(getattr(answer, part).response.header_mutation, DESTINATION, destination)
    return answer


def echoed(part: str, body: bytes, end_of_stream: bool) -> Iterator[Message]:
    """A body given back unchanged, as a full-duplex stream must. An empty one is one empty message."""
    for start in range(0, max(len(body), 1), CHUNK):
        answer = ProcessingResponse()
        streamed = getattr(answer, part).response.body_mutation.streamed_response
        streamed.body = body[start : start + CHUNK]
        streamed.end_of_stream = end_of_stream and start + CHUNK >= len(body)
        yield answer


def refused(error: RequestError, *, anthropic: bool) -> Message:
    """The proxy answers the client itself, with an error of the API."""
    answer = ProcessingResponse()
    immediate = answer.immediate_response
    immediate.status.code = error.status
    immediate.body = error_body(error, anthropic=anthropic)
    immediate.details = error.code
    _set(immediate.headers, "content-type", "application/json")
    if error.retry_after_s is not None:
        _set(immediate.headers, "retry-after", str(max(1, round(error.retry_after_s))))
    if error.retry is not None:
        _set(immediate.headers, "x-should-retry", "true" if error.retry else "false")
    return answer


def _set(mutation: Message, name: str, value: str) -> None:
    option = mutation.set_headers.add(append_action=OVERWRITE)
    option.header.key = name
    option.header.raw_value = value.encode()
