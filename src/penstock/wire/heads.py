"""Which headers cross a proxy (RFC 9110, 7.6.1), and the head that goes upstream."""

from penstock.core.request import Headers, Request

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip

READ_OF_REQUEST = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"authorization", b"x-api-key", b"x-request-id"}
"""Request headers that the gateway keeps to itself: it reads, replaces or drops them."""

READ_OF_RESPONSE = HOP_BY_HOP | {b"content-length", b"x-request-id"}

ONCE = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key"})
"""A second one of these makes a request ambiguous between the gateway and the engine."""


def without(headers: Headers, names: bytes) -> Headers:
    """The headers less those that a Connection header names: they belong to this hop alone."""
    drop = {name.strip().lower() for name in names.split(b",")}
    return [line for line in headers if line.partition(b":")[0].lower() not in drop]


def upstream_head(request: Request, *, host: bytes, base: bytes, authorization: bytes | None) -> bytes:
    """The request head for an engine, up to framing and request id: the client's own target and headers, our host and
    credentials.

    `authorization`: the value to send; None sends the client's own. `base`: path prefix of the engine's URL.
    """
    special = request.special
    lines = [b"%b %b%b HTTP/1.1\r\nhost: %b" % (request.method, base, request.target, host)]
    lines += request.headers
    if authorization is None:
        if (own := special.get(b"authorization")) is not None:
            lines.append(b"Authorization: " + own)
        if (own := special.get(b"x-api-key")) is not None:
            lines.append(b"X-Api-Key: " + own)
    elif authorization:
        lines.append(b"authorization: " + authorization)
    return b"\r\n".join(lines)


def framed(head: bytes, request: Request, request_id: bytes) -> bytes:
    """A whole request for an engine: `head` as `upstream_head` made it for one with the same headers, and the body."""
    body, special = request.body, request.special
    if body or b"content-length" in special or b"transfer-encoding" in special:
        return b"%b\r\ncontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (head, len(body), request_id, body)
    return b"%b\r\nx-request-id: %b\r\n\r\n" % (head, request_id)


def valid_request_id(value: bytes) -> bool:
    """Whether a client's request id may be kept: 1 to 128 visible ASCII characters."""
    return 0 < len(value) <= 128 and all(33 <= byte <= 126 for byte in value)
