"""Chunks of a chunked body (RFC 9112, 7.1) that are recognised by their first bytes, without a parser."""

END_OF_EVENTS = b"\n\n\r\n"
"""How a chunk ends whose payload is whole events with plain line feeds."""
SMALLEST, LARGEST = 0x40, 0xFFF


def _beginnings(size: int) -> list[bytes]:
    """The first five bytes of a chunk with a payload of `size` bytes whose first line is a field of an event."""
    heads = {b"%x\r\n" % size, b"%X\r\n" % size}
    return [(head + letter)[:5] for head in heads for letter in (b"d", b"e", b"i", b":")]


def _ends() -> dict[bytes, slice]:
    found = {}
    for size in range(SMALLEST, LARGEST + 1):
        end = slice(size + len(b"%x" % size), None)  # and two line ends, less the four bytes
        found.update(dict.fromkeys(_beginnings(size), end))
    return found


BEGINNING = slice(5)
ENDS = _ends()
"""First five bytes -> where the last four of that chunk are in a read that is this chunk and no more. Of a longer or
shorter read the same slice has more than four bytes, or fewer.

A head that is spelled otherwise (padded, with an extension), and smaller or larger chunks, are not here: the parser
reads those. Small ones, because the last of a stream (`[DONE]`) are small and are looked at closer.
"""


def whole_chunks(data: bytes) -> list[bytes]:
    """The chunks of a read that is nothing but whole chunks of whole events; empty when it is anything else."""
    found: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        last = ENDS.get(data[at : at + 5])
        if last is None:
            return []
        length = last.start + 4
        chunk = data[at : at + length]
        if chunk[last] != END_OF_EVENTS:
            return []
        found.append(chunk)
        at += length
    return found


def payload_bytes(chunks: list[bytes]) -> int:
    """Bytes of the payloads of chunks that ENDS recognised."""
    sizes = [len(chunk) for chunk in chunks]
    return sum(sizes) - 6 * len(sizes) - sum(size > 0xFF + 6 for size in sizes)
