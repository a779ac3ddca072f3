"""Requests that two parsers could read in two ways: each is refused, or means one thing on both sides.

Behind every odd request on the connection stands a request that must never reach an engine unless the odd one was
clear. The table says what the engine saw.
"""

import pytest

from tests.gateway.world import World

pytestmark = pytest.mark.anyio

BEHIND = b"GET /v1/behind HTTP/1.1\r\nHost: gateway\r\n\r\n"
"""What an attacker would like to see taken for a request of its own."""


def odd(*lines: str, body: bytes = b"", start: str = "POST /v1/odd HTTP/1.1", host: str = "Host: gateway") -> bytes:
    return "\r\n".join(filter(None, [start, host, *lines])).encode("latin-1") + b"\r\n\r\n" + body


CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"

REFUSED = {
    "two lengths that differ": odd("Content-Length: 0", f"Content-Length: {len(BEHIND)}"),
    "two lengths that agree": odd("Content-Length: 2", "Content-Length: 2", body=b"{}"),
    "a list of lengths": odd("Content-Length: 2, 2", body=b"{}"),
    "a length with a sign": odd("Content-Length: +2", body=b"{}"),
    "a negative length": odd("Content-Length: -2", body=b"{}"),
    "a length in hexadecimal": odd("Content-Length: 0x2", body=b"{}"),
    "a length with a space inside": odd("Content-Length: 1 0", body=b"{}"),
    "no length where one is named": odd("Content-Length:"),
    "a length with a vertical tab": odd("Content-Length: \x0b2", body=b"{}"),
    "a length beyond 64 bits": odd("Content-Length: 18446744073709551618", body=b"{}"),
    "a length of five thousand digits": odd(f"Content-Length: {'9' * 5000}"),
    "a length of five thousand noughts": odd(f"Content-Length: {'0' * 5000}2", body=b"{}"),
    "length before chunks": odd("Content-Length: 5", CHUNKED, body=END),
    "chunks before length": odd(CHUNKED, "Content-Length: 5", body=END),
    "chunked twice": odd(CHUNKED, CHUNKED, body=END),
    "chunked among others": odd("Transfer-Encoding: gzip, chunked", body=END),
    "chunked not last": odd("Transfer-Encoding: chunked, identity", body=END),
    "identity": odd("Transfer-Encoding: identity", "Content-Length: 2", body=b"{}"),
    "a coding that ends like chunked": odd("Transfer-Encoding: xchunked", body=END),
    "a coding that begins like chunked": odd("Transfer-Encoding: chunkedx", body=END),
    "a quoted coding": odd('Transfer-Encoding: "chunked"', body=END),
    "a coding behind a vertical tab": odd("Transfer-Encoding: \x0bchunked", body=END),
    "no coding where one is named": odd("Transfer-Encoding:", "Content-Length: 2", body=b"{}"),
    "chunks in HTTP/1.0": odd(CHUNKED, body=END, start="POST /v1/odd HTTP/1.0"),
    "a space before a colon": odd("Transfer-Encoding : chunked", body=END),
    "a tab before a colon": odd("Content-Length\t: 2", body=b"{}"),
    "a folded header": odd("X: a", " Transfer-Encoding: chunked", body=END),
    "a header folded with a tab": odd("Transfer-Encoding:", "\tchunked", body=END),
    "white space before the first header": odd(host=" Host: gateway"),
    "a bare line feed between headers": odd("X: a\nTransfer-Encoding: chunked", body=END),
    "a bare line feed after the request line": b"GET /v1/odd HTTP/1.1\nHost: gateway\r\n\r\n",
    "bare line feeds throughout": b"GET /v1/odd HTTP/1.1\nHost: gateway\n\n",
    "a bare carriage return": odd("X: a\rTransfer-Encoding: chunked", body=END),
    "a head that ends in LF CR LF": b"GET /v1/odd HTTP/1.1\r\nHost: gateway\n\r\n",
    "NUL in a value": odd("X: a\0b"),
    "NUL in a name": odd("X\0: a"),
    "NUL in the target": odd(start="GET /v1/odd\0 HTTP/1.1"),
    "a control character in a value": odd("X: \x01"),
    "a header without a colon": odd("X"),
    "a header without a name": odd(": x"),
    "a space in a name": odd("X Y: z"),
    "a letter beyond ASCII in a name": odd("Tränsfer-Encoding: chunked"),
    "two hosts": odd("Host: other"),
    "no host": odd(host=""),
    "an empty host": odd(host="Host:"),
    "two credentials": odd("Authorization: Bearer a", "Authorization: Bearer b"),
    "two spaces before the target": odd(start="GET  /v1/odd HTTP/1.1"),
    "two spaces behind the target": odd(start="GET /v1/odd  HTTP/1.1"),
    "a space in the target": odd(start="GET /v1/odd x HTTP/1.1"),
    "a tab for a space": odd(start="GET\t/v1/odd HTTP/1.1"),
    "a space behind the version": odd(start="GET /v1/odd HTTP/1.1 "),
    "a method in small letters": odd(start="get /v1/odd HTTP/1.1"),
    "a method nobody knows": odd(start="SMUGGLE /v1/odd HTTP/1.1"),
    "no version": b"GET /v1/odd\r\nHost: gateway\r\n\r\n",
    "HTTP/0.9": odd(start="GET /v1/odd HTTP/0.9"),
    "HTTP/2.0": odd(start="GET /v1/odd HTTP/2.0"),
    "HTTP/1.2": odd(start="GET /v1/odd HTTP/1.2"),
    "http/1.1": odd(start="GET /v1/odd http/1.1"),
    "RTSP": odd(start="DESCRIBE /v1/odd RTSP/1.0"),
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an asterisk for a target": odd(start="OPTIONS * HTTP/1.1"),
    "an authority for a target": odd(start="GET gateway:80 HTTP/1.1"),
    "a target of another scheme": odd(start="GET ftp://gateway/v1/odd HTTP/1.1"),
    "a chunk size in C": odd(CHUNKED, body=b"0x2\r\n{}\r\n" + END),
    "a chunk size with a sign": odd(CHUNKED, body=b"+2\r\n{}\r\n" + END),
    "a chunk size behind a space": odd(CHUNKED, body=b" 2\r\n{}\r\n" + END),
    "a chunk size that wraps around": odd(CHUNKED, body=b"10000000000000002\r\n{}\r\n" + END),
    "no chunk size": odd(CHUNKED, body=b"\r\n{}\r\n" + END),
    "a chunk longer than it says": odd(CHUNKED, body=b"1\r\n{}\r\n" + END),
    "a chunk that ends in LF": odd(CHUNKED, body=b"2\r\n{}\n" + END),
    "a chunk size that ends in LF": odd(CHUNKED, body=b"2\n{}\r\n" + END),
    "an extension with a line feed": odd(CHUNKED, body=b'2;x="\n"\r\n{}\r\n' + END),
    "an end of chunks with LF": odd(CHUNKED, body=b"0\n\n"),
    "a length in a trailer": odd(CHUNKED, body=b"0\r\nContent-Length: 50\r\n\r\n"),
    "a coding in a trailer": odd(CHUNKED, body=b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "a folded trailer": odd(CHUNKED, body=b"0\r\nX: a\r\n b\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
async def test_what_is_ambiguous_is_refused_and_ends_the_connection(data: bytes) -> None:
    """Whole or byte by byte: a typed 4xx, nothing reaches the engine, and nothing behind it is read."""
    async with World() as world:
        for pieces in ((data + BEHIND,), tuple((data + BEHIND)[at : at + 1] for at in range(min(len(data), 200)))):
            client = await world.client()
            await client.send(*pieces)
            if len(pieces) > 1:
                await client.send(data[len(pieces) :] + BEHIND)
            answer = await client.answer()
            assert answer.status in (400, 413)
            assert answer.header(b"connection") == b"close"
            assert set(answer.error) == {"message", "type", "param", "code"}
            assert await client.rest() == b"", "one answer, then the end"
        await world.quiet()
        assert [(seen.target, seen.body) for seen in world.engine.seen] == []
        assert not world.engine.garbage
        assert [record.outcome for record in world.records] == ["rejected", "rejected"]


CLEAR = {
    "a tab around a length": (odd("Content-Length:\t2\t", body=b"{}"), b"{}"),
    "a length with noughts": (odd("Content-Length: 0002", body=b"{}"), b"{}"),
    "a coding in capitals": (odd("Transfer-Encoding: CHUNKED", body=b"2\r\n{}\r\n" + END), b"{}"),
    "a chunk size in capitals with noughts": (odd(CHUNKED, body=b"00A\r\n0123456789\r\n" + END), b"0123456789"),
    "a chunk with an extension": (odd(CHUNKED, body=b'2;a;b=c;d="e"\r\n{}\r\n' + END), b"{}"),
    "a trailer": (odd(CHUNKED, body=b"2\r\n{}\r\n0\r\nHost: evil\r\nX: GET / HTTP/1.1\r\n\r\n"), b"{}"),
    "a request inside a body": (odd(f"Content-Length: {len(BEHIND)}", body=BEHIND), BEHIND),
    "a request inside chunks": (odd(CHUNKED, body=b"%x\r\n%b\r\n" % (len(BEHIND), BEHIND) + END), BEHIND),
    "an end of chunks inside a chunk": (odd(CHUNKED, body=b"7\r\n0\r\n\r\n{}\r\n" + END), b"0\r\n\r\n{}"),
    "an upgrade with a body": (
        odd("Connection: Upgrade", "Upgrade: h2c", f"Content-Length: {len(BEHIND)}", body=BEHIND),
        BEHIND,
    ),
    "an upgrade with chunks": (
        odd("Upgrade: websocket", "Connection: keep-alive, upgrade", CHUNKED, body=b"2\r\n{}\r\n" + END),
        b"{}",
    ),
    "connection names the length": (odd("Connection: content-length", "Content-Length: 2", body=b"{}"), b"{}"),
    "connection names the coding": (odd("Connection: transfer-encoding", CHUNKED, body=b"2\r\n{}\r\n" + END), b"{}"),
    "look-alikes of framing headers": (
        odd("X-Content-Length: 9", "Content_Length: 9", "Transfer_Encoding: chunked", "Content-Length: 2", body=b"{}"),
        b"{}",
    ),
    "a GET with a body": (odd("Content-Length: 2", body=b"{}", start="GET /v1/odd HTTP/1.1"), b"{}"),
    "a target with a fragment": (odd(start="GET /v1/odd#x HTTP/1.1"), b""),
    "a target with encoded line feeds": (odd(start="GET /v1/odd%0d%0aX:y HTTP/1.1"), b""),
}  # fmt: skip


@pytest.mark.parametrize(("data", "body"), CLEAR.values(), ids=CLEAR)
async def test_what_is_clear_means_the_same_to_the_engine(data: bytes, body: bytes) -> None:
    """The engine reads the body the client meant, and the request behind it, and nothing else."""
    async with World() as world:
        for pieces in ((data + BEHIND,), tuple((data + BEHIND)[at : at + 1] for at in range(len(data + BEHIND)))):
            client = await world.client()
            await client.send(*pieces)
            assert (await client.answer()).status == 200
            assert (await client.answer("GET")).status == 200
            client.leave()
        await world.quiet()
        target = data.split(b" ")[1].decode()
        assert [(seen.target, seen.body) for seen in world.engine.seen] == [(target, body), ("/v1/behind", b"")] * 2
        assert not world.engine.garbage
        for seen in world.engine.seen:
            assert seen.header(b"content-length") == (str(len(seen.body)).encode() if seen.body else b"")
            assert not seen.header(b"transfer-encoding")
