"""The head of a request: which lines go on to the engine, and what the gateway reads.

llhttp has accepted the bytes before they come here; this splits them. Lines go on as they are, spelling and spacing
included.
"""

from penstock.core.errors import BadRequest
from penstock.core.request import Request
from penstock.wire.heads import ONCE, READ_OF_REQUEST

SPELLINGS = 2048
"""Header name spellings remembered; past it each new one is looked at afresh."""


class HeadReader:
    """Reads heads. Remembers, by spelling, which header names are the gateway's own: clients repeat themselves."""

    def __init__(self) -> None:
        self._own: dict[bytes, bytes] = {}

    def read(self, head: bytes, request: Request) -> None:
        """Fills `request` from a head that ends in an empty line. Raises BadRequest for an ambiguous one."""
        lines = head[:-4].split(b"\r\n")
        request.method, request.target, version = lines[0].split(b" ")
        request.path = request.target.partition(b"?")[0]
        request.http11 = version == b"HTTP/1.1"
        own, headers, special = self._own, request.headers, request.special
        del lines[0]
        for line in lines:
            name, _, value = line.partition(b":")
            lower = own.get(name)
            if lower is None:
                lower = self._learn(name)
            if not lower:
                headers.append(line)
            else:
                if lower in special and lower in ONCE:
                    raise BadRequest(f"The header {lower.decode()} is given twice.")
                special[lower] = value.strip(b" \t")

    def _learn(self, name: bytes) -> bytes:
        """Lower-case name of a header the gateway keeps, b"" for one that goes on."""
        if not name or name[:1] in b" \t" or name[-1:] in b" \t":
            raise BadRequest("A header line has white space where its name should be.")
        lower = name.lower()
        kept = lower if lower in READ_OF_REQUEST else b""
        if len(self._own) < SPELLINGS:
            self._own[name] = kept
        return kept
