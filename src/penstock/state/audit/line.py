"""One line of a chain: what stands in it, how it is sealed, and how it is read back. Pure.

    {"seq":7,"time":...,"kind":...,"actor":...,"what":...,"fields":{...},"prev":"<hash of line 6>","hash":"<64 hex>"}

`hash` is the SHA-256 of all bytes of the line before `,"hash"`: what is checked is what was written, and nothing is
serialised anew. With a key, `mac` stands before it: the HMAC-SHA-256 (RFC 2104) of the SHA-256 of all bytes before
`,"mac"`. So everybody can check that a chain holds together, and who has the key, that its owner wrote it.
"""

import hmac
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.errors import ConfigError

START = "0" * 64
"""`prev` of the first line of a chain."""
HASH = b',"hash":"'
MAC = b',"mac":"'
END = b'"}'
HASH_BYTES = len(HASH) + 64 + len(END)
MAC_BYTES = len(MAC) + 64 + 1
KEY_BYTES = 32


class Head(msgspec.Struct, frozen=True):
    """The last line of a chain. Numbers begin at 1 and leave none out, so `seq` is the count of lines as well."""

    seq: int = 0
    hash: str = START


class Body(msgspec.Struct):
    """A line without its seals."""

    seq: int
    time: float
    """Seconds since the epoch."""
    kind: str
    """`chain` (the log's own), `admin`, `request`, `anchor`."""
    actor: str
    """Who: `org/team/key`, `admin`, or `penstock`."""
    what: str
    fields: Any
    prev: str


class Key:
    """What lines are signed with. `name`: eight hex digits that tell keys apart and say nothing of them."""

    __slots__ = ("_secret", "name")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.name = sha256(b"penstock audit key\0" + secret).hexdigest()[:8]

    def sign(self, digest: bytes) -> bytes:
        """64 hex digits."""
        return hmac.digest(self._secret, digest, "sha256").hex().encode()

    @classmethod
    def read(cls, path: Path) -> "Key":
        """Raises ConfigError for a file that is absent, readable by everybody, or too short to be a secret."""
        try:
            secret, mode = path.read_bytes().strip(), path.stat().st_mode
        except OSError as error:
            raise ConfigError(f"audit.key_file: cannot read {str(path)!r}: {error.strerror}") from None
        if mode & 0o007:
            raise ConfigError(f"audit.key_file: everybody may read {str(path)!r}; run: chmod 600 {path}")
        if len(secret) < KEY_BYTES:
            raise ConfigError(
                f"audit.key_file: {str(path)!r} holds {len(secret)} bytes; {KEY_BYTES} are the least; "
                f"make one with `openssl rand -hex 32`"
            )
        return cls(secret)


class Chain:
    """Lines that wait to be written, and the head that they lead to."""

    __slots__ = ("_encode", "_key", "_lines", "head")

    def __init__(self, head: Head, key: Key | None = None) -> None:
        self.head = head
        self._key = key
        self._lines: list[bytes] = []
        self._encode = msgspec.json.Encoder().encode

    def add(self, time: float, kind: str, actor: str, what: str, fields: object) -> None:
        """Appends a line. `fields` is a mapping or a struct that JSON can hold."""
        head = self.head
        seq = head.seq + 1
        line = self._encode(Body(seq, time, kind, actor, what, fields, head.hash))[:-1]
        digest = sha256(line)
        if self._key is None:
            found = digest.hexdigest()
            self._lines.append(b"%b%b%b%b\n" % (line, HASH, found.encode(), END))
        else:
            mac = b'%b%b"' % (MAC, self._key.sign(digest.digest()))
            digest.update(mac)
            found = digest.hexdigest()
            self._lines.append(b"%b%b%b%b%b\n" % (line, mac, HASH, found.encode(), END))
        self.head = Head(seq, found)

    def take(self) -> bytes:
        """What was added since the last call."""
        data = b"".join(self._lines)
        self._lines.clear()
        return data

    def back_to(self, head: Head) -> None:
        """Forgets what was added after `head`: it was not written."""
        self._lines.clear()
        self.head = head


class Line(msgspec.Struct, frozen=True):
    """A line that was read, and whose own hash fits it."""

    body: Body
    hash: str
    digest: bytes
    """Of what `mac` signs."""
    mac: bytes
    """Empty for a line without."""
    raw: bytes
    """As it was read."""

    @property
    def head(self) -> Head:
        return Head(self.body.seq, self.hash)

    def signed_by(self, key: Key) -> bool:
        return hmac.compare_digest(key.sign(self.digest), self.mac)


_DECODER = msgspec.json.Decoder(Body)


def parse(raw: bytes) -> Line | None:
    """A line without its line end; None for one that is not what was written."""
    sealed, tail = raw[:-HASH_BYTES], raw[-HASH_BYTES:]
    if not tail.startswith(HASH) or not tail.endswith(END):
        return None
    digest = sha256(sealed)
    if digest.hexdigest().encode() != tail[len(HASH) : -len(END)]:
        return None
    text, mac, signed = sealed, b"", digest
    if sealed[-MAC_BYTES:].startswith(MAC) and sealed.endswith(b'"'):
        text, mac = sealed[:-MAC_BYTES], sealed[-MAC_BYTES + len(MAC) : -1]
        signed = sha256(text)
    try:
        body = _DECODER.decode(text + b"}")
    except msgspec.MsgspecError:
        return None
    return Line(body, digest.hexdigest(), signed.digest(), mac, raw)
