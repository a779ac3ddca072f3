"""Chunks of a chunked body (RFC 9112, 7.1) that are recognised by their first bytes, without a parser."""

END_OF_EVENTS = b"\n\n\r\n"
"""How a chunk ends whose payload is whole events with plain line feeds."""
SMALLEST, LARGEST = 0x40, 0xFFF


def _beginnings(size: int) -> list[bytes]:
    """The first five bytes of a chunk with a payload of `size` bytes whose first line is a field of an event."""
    heads = {b"%x\r\n" % size, b"%X\r\n" % size}
    return [(head + letter)[:5] for head in heads for letter in (b"d", b"e", b"i", b":")]


CHUNKS = {
    beginning: size + len(b"%x" % size) + 4 for size in range(SMALLEST, LARGEST + 1) for beginning in _beginnings(size)
}
"""First five bytes -> length of the whole chunk, framing included.

A head that is spelled otherwise (padded, with an extension), and smaller or larger chunks, are not here: the parser
reads those. Small ones, because the last of a stream (`[DONE]`) are small and are looked at closer.
"""


def whole_chunks(data: bytes) -> list[bytes]:
    """The chunks of a read that is nothing but whole chunks of whole events; empty when it is anything else."""
    found: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        length = CHUNKS.get(data[at : at + 5])
        if length is None:
            return []
        chunk = data[at : at + length]
        if len(chunk) < length or chunk[-4:] != END_OF_EVENTS:
            return []
        found.append(chunk)
        at += length
    return found


def payload_bytes(chunks: list[bytes]) -> int:
    """Bytes of the payloads of chunks that CHUNKS recognised."""
    sizes = [len(chunk) for chunk in chunks]
    return sum(sizes) - 6 * len(sizes) - sum(size > 0xFF + 6 for size in sizes)
