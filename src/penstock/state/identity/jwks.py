"""An identity provider's public keys (JWKS, RFC 7517): read by the supervisor, handed to workers.

Only what verifies gets through: keys for signatures, of a kind that an allowed algorithm uses, RSA from 2048 bits. The
private members of a key, should a file hold them, are dropped, and so are symmetric keys.
"""

import asyncio
import logging
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from penstock.core.clock import monotonic
from penstock.core.errors import ConfigError
from penstock.core.registry import Registry

log = logging.getLogger("penstock.identity")

LONGEST = 256 * 1024
"""Bytes of a document; real ones have a few thousand."""
MOST_KEYS = 64
FETCH_S = 10.0
STALE_S = 86_400.0
"""Keys that could not be read again for so long are used no more."""
SMALLEST_RSA_BITS = 2048
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
FITS = {
    ("RSA", ""): RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
PUBLIC = frozenset({"kty", "crv", "x", "y", "n", "e", "kid", "alg"})


class PublicKey(msgspec.Struct, frozen=True):
    """One key, and the algorithms that it verifies. Crosses process boundaries."""

    kid: str
    algorithms: tuple[str, ...]
    jwk: bytes
    """JSON, public members alone."""


class _Jwk(msgspec.Struct):
    kty: str
    kid: str = ""
    crv: str = ""
    use: str = "sig"
    alg: str = ""
    n: str = ""


class _Jwks(msgspec.Struct):
    keys: list[msgspec.Raw]


Read = Callable[[str], Awaitable[bytes]]


def public_keys(document: bytes, allowed: Sequence[str]) -> tuple[PublicKey, ...]:
    """The usable keys of a JWKS document. Raises ConfigError when it is none, or holds none."""
    try:
        found = msgspec.json.decode(document, type=_Jwks).keys
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ConfigError('jwks: this is no JWKS document; it must be JSON with a list "keys"') from None
    keys = tuple(key for raw in found[:MOST_KEYS] if (key := _usable(bytes(raw), allowed)) is not None)
    if not keys:
        raise ConfigError(f"jwks: none of its {len(found)} keys verifies {', '.join(allowed)}; check algorithms")
    names = [key.kid for key in keys]
    if len(set(names)) != len(names):
        raise ConfigError("jwks: two of its keys have the same `kid`, or none; each needs one of its own")
    return keys


def _usable(raw: bytes, allowed: Sequence[str]) -> PublicKey | None:
    try:
        jwk = msgspec.json.decode(raw, type=_Jwk)
        members = msgspec.json.decode(raw, type=dict[str, object])
        bits = 8 * len(urlsafe_b64decode(f"{jwk.n}==")) if jwk.kty == "RSA" else 0
    except (msgspec.MsgspecError, ValueError):
        return None
    if jwk.use != "sig" or (jwk.kty == "RSA" and bits < SMALLEST_RSA_BITS):
        return None
    fits = FITS.get((jwk.kty, "" if jwk.kty == "RSA" else jwk.crv), ())
    algorithms = tuple(name for name in fits if name in allowed and jwk.alg in ("", name))
    if not algorithms:
        return None
    public = {name: value for name, value in members.items() if name in PUBLIC}
    return PublicKey(jwk.kid, algorithms, msgspec.json.encode(public))


def readers() -> Registry[Read]:
    """Scheme of `jwks` -> what reads it."""
    return Registry("source of keys", {"file": _read_file, "https": _fetch})


async def read_keys(jwks: str, allowed: Sequence[str]) -> tuple[PublicKey, ...]:
    """The provider's keys as they are now. Raises ConfigError."""
    scheme = jwks.partition("://")[0] if "://" in jwks else "file"
    return public_keys(await readers()[scheme](jwks.removeprefix("file://")), allowed)


async def follow_keys(
    jwks: str, allowed: Sequence[str], refresh_s: float, on_keys: Callable[[tuple[PublicKey, ...]], None]
) -> None:
    """Calls `on_keys` with the keys, and again whenever they changed. Runs until it is cancelled.

    A provider that does not answer leaves the last keys in use, for STALE_S; then there are none, and no token is
    let in.
    """
    last: tuple[PublicKey, ...] | None = None
    read_at = monotonic()
    while True:
        try:
            found = await read_keys(jwks, allowed)
            read_at = monotonic()
        except ConfigError as error:
            log.warning("%s; %s", error, "the keys read before stay in use" if last else "no token is let in")
            found = last or ()
            if monotonic() - read_at > STALE_S:
                found = ()
        if found != last:
            on_keys(found)
            last = found
        await asyncio.sleep(refresh_s)


async def _read_file(path: str) -> bytes:
    def read() -> bytes:
        with Path(path).open("rb") as file:
            return file.read(LONGEST + 1)

    try:
        return _bounded(await asyncio.to_thread(read))
    except OSError as error:
        raise ConfigError(f"jwks: cannot read {path!r}: {error.strerror or error}") from None


async def _fetch(url: str) -> bytes:
    import httpx  # noqa: PLC0415 - slow to import, and not needed for a file

    body = b""
    place = f"{urlsplit(url).hostname}{urlsplit(url).path}"  # what else is in the URL may be a secret
    try:
        # A redirect could lead to where anybody writes; a provider's address does not move.
        async with (
            asyncio.timeout(FETCH_S),
            httpx.AsyncClient(timeout=FETCH_S, follow_redirects=False) as client,
            client.stream("GET", url, headers={"accept": "application/json"}) as answer,
        ):
            if answer.status_code != 200:
                raise ConfigError(f"jwks: {place} was answered {answer.status_code}")
            async for part in answer.aiter_bytes():
                body = _bounded(body + part)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise ConfigError(f"jwks: {place} cannot be read: {type(error).__name__}") from None
    return body


def _bounded(body: bytes) -> bytes:
    if len(body) > LONGEST:
        raise ConfigError(f"jwks: the document has more than {LONGEST} bytes; this is no JWKS")
    return body
