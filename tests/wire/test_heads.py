"""Heads: which lines cross, which stay, and what repeating heads are taken for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import BadRequest
from penstock.core.request import Request
from penstock.wire.heads import HOP_BY_HOP, ONCE, READ_OF_REQUEST, framed, upstream_head, valid_request_id, without
from penstock.wire.request_head import LINES, HeadReader, Template

NAME = st.sampled_from(
    (
        *("Host", "content-length", "Content-Length", "Accept", "X-A", "x-a", "Authorization", "X-Request-ID"),
        *("TE", "Cookie", "Connection", "Keep-Alive", "User-Agent", "Content-Type"),
    )
)
VALUE = st.sampled_from(["5", "17", "", "a b", "close", "x\xe9", " padded ", "\ttab\t", "content-length: 5"])
LINE = st.tuples(NAME, st.sampled_from([": ", ":", ":\t"]), VALUE).map("".join)
HEAD = st.lists(LINE, max_size=8).map(
    lambda lines: "\r\n".join(["POST /v1/a?b HTTP/1.1", *lines]).encode("latin-1") + b"\r\n\r\n"
)


def read(head: bytes, reader: HeadReader | None = None) -> Request:
    request = Request(0.0)
    (reader or HeadReader()).read(head, request)
    return request


def fields(request: Request) -> tuple[object, ...]:
    return request.method, request.target, request.path, request.http11, request.headers, request.special


@given(head=HEAD)
def test_every_line_crosses_as_it_is_or_is_kept(head: bytes) -> None:
    try:
        request = read(head)
    except BadRequest:
        names = [line.partition(b":")[0].lower() for line in head[:-4].split(b"\r\n")[1:]]
        assert any(names.count(name) > 1 for name in ONCE)
        return
    lines = head[:-4].split(b"\r\n")[1:]
    own = [line for line in lines if line.partition(b":")[0].lower() in READ_OF_REQUEST]
    assert request.headers == [line for line in lines if line not in own]
    assert request.special.keys() == {line.partition(b":")[0].lower() for line in own}
    assert fields(request)[:4] == (b"POST", b"/v1/a?b", b"/v1/a", True)


@given(heads=st.lists(HEAD, min_size=1, max_size=5))
def test_memory_changes_nothing(heads: list[bytes]) -> None:
    """A reader that has seen other heads reads the next as a fresh one does."""
    reader = HeadReader()
    for head in heads:
        try:
            expected = fields(read(head))
        except BadRequest:
            with pytest.raises(BadRequest):
                read(head, reader)
        else:
            assert fields(read(head, reader)) == expected


@given(head=HEAD, other=HEAD, length=st.sampled_from(["5", "17", "0", "999", "+5", "", "5 ", "0x5"]))
def test_a_template_means_what_reading_in_full_means(head: bytes, other: bytes, length: str) -> None:
    """Also for the same head with another length, and for a head that has nothing to do with it."""
    try:
        template = Template(head, read(head))
    except BadRequest:
        return
    again = head.replace(b"Length: 5\r\n", b"Length: " + length.encode() + b"\r\n")
    for candidate in (head, again, other):
        data = candidate + b"x" * 30
        found = template.read(data, 0.0, 1000)
        if found is None:
            continue
        request, end = found
        plain = read(candidate)
        size = int(plain.special.get(b"content-length", b"0"))
        assert (end, request.body, request.bytes_in) == (len(candidate) + size, b"x" * size, size)
        assert request.special.keys() == plain.special.keys()
        request.special = {**request.special, **{n: v for n, v in plain.special.items() if n == b"content-length"}}
        assert fields(request) == fields(plain)


@pytest.mark.parametrize(
    "data",
    [
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n1234",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n12345678901",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9",
        b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX: y\r\n\r\n12345",
    ],
    ids=["body not whole", "body too long", "head not whole", "another target", "another header"],
)
def test_a_template_takes_whole_requests_like_its_own_alone(data: bytes) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n"
    template = Template(head, read(head))
    assert template.read(head + b"12GET", 0.0, 10) is not None
    assert template.read(data, 0.0, 10) is None
    assert template.fits(head.replace(b": 2", b": 345"))


def test_noted_headers_go_on_and_are_known() -> None:
    reader = HeadReader(frozenset({b"x-session-id"}))
    request = read(b"GET / HTTP/1.1\r\nHost: h\r\nX-Session-Id: a\r\nx-session-id: b\r\n\r\n", reader)
    assert request.headers == [b"X-Session-Id: a", b"x-session-id: b"]
    assert request.special[b"x-session-id"] == b"a"


def test_memory_is_bounded_and_holds_no_credentials() -> None:
    reader = HeadReader()
    for number in range(LINES + 100):
        read(
            b"GET / HTTP/1.1\r\nX-%d: y\r\nAuthorization: Bearer sk-%d\r\nCookie: c=%d\r\n\r\n" % ((number,) * 3),
            reader,
        )
    remembered = vars(reader)["_memory"]._known
    assert len(remembered) == LINES
    assert not any(b"sk-" in line or b"c=" in line for line in remembered)


@given(given_id=st.binary(max_size=140))
def test_request_ids_cannot_break_a_header(given_id: bytes) -> None:
    if valid_request_id(given_id):
        assert 0 < len(given_id) <= 128
        assert not set(given_id) & set(b"\r\n \0\x7f")


def test_the_head_that_goes_upstream() -> None:
    request = read(
        b"POST /v1/a?b HTTP/1.1\r\nHost: gateway\r\nX-A:1\r\nAuthorization: Bearer own\r\nContent-Length: 2\r\n\r\n"
    )
    request.body = b"{}"

    def head(authorization: bytes | None) -> bytes:
        return framed(upstream_head(request, host=b"e:1", base=b"/base", authorization=authorization), request, b"id")

    start = b"POST /base/v1/a?b HTTP/1.1\r\nhost: e:1\r\nX-A:1\r\n"
    end = b"content-length: 2\r\nx-request-id: id\r\n\r\n{}"
    assert head(None) == start + b"Authorization: Bearer own\r\n" + end
    assert head(b"Bearer engine") == start + b"authorization: Bearer engine\r\n" + end
    assert head(b"") == start + end


def test_headers_that_connection_names_are_dropped_by_name() -> None:
    lines = [b"X-A: 1", b"x-b:2", b"X-AB: 3"]
    assert without(lines, b"x-a , X-B,, close") == [b"X-AB: 3"]
    assert b"connection" in HOP_BY_HOP
