"""Which keys of a provider are used, and where they are read."""

import asyncio
import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from penstock.config.oidc import ALGORITHMS
from penstock.core.errors import ConfigError
from penstock.state.identity import jwks as module
from penstock.state.identity.jwks import LONGEST, PublicKey, follow_keys, public_keys, read_keys
from tests.state.identity.provider import Provider


def kids(document: bytes, allowed: tuple[str, ...] = ALGORITHMS) -> dict[str, tuple[str, ...]]:
    return {key.kid: key.algorithms for key in public_keys(document, allowed)}


def test_each_key_verifies_what_it_can_and_the_list_allows(provider: Provider) -> None:
    assert kids(provider.document) == {
        "rsa": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        "ec": ("ES256",),
        "ed": ("EdDSA",),
    }
    assert kids(provider.document, ("RS256", "ES384")) == {"rsa": ("RS256",)}


def test_private_members_go_no_further(provider: Provider) -> None:
    private = RSAAlgorithm.to_jwk(provider.rsa, as_dict=True)
    (key,) = public_keys(json.dumps({"keys": [{**private, "kid": "rsa", "use": "sig"}]}).encode(), ALGORITHMS)
    assert set(json.loads(key.jwk)) == {"kty", "kid", "n", "e"}
    assert private["d"] not in key.jwk.decode()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(key), type=PublicKey) == key


def test_keys_that_do_not_verify_are_left_out(provider: Provider) -> None:
    small = {**RSAAlgorithm.to_jwk(provider.small.public_key(), as_dict=True), "kid": "small"}
    useless: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "hmac", "alg": "HS256"},
        {**provider.jwks[0], "kid": "enc", "use": "enc"},
        {**provider.jwks[0], "kid": "hs", "alg": "HS256"},
        {**provider.jwks[0], "kid": "none", "alg": "none"},
        {**provider.jwks[1], "kid": "curve", "crv": "secp256k1"},
        {**provider.jwks[0], "kid": "nan", "n": "!"},
        small,
        {"kty": "RSA"},
        "no key",
        None,
        5,
    ]
    assert set(kids(json.dumps({"keys": [*useless, *provider.jwks]}).encode())) == {"rsa", "ec", "ed"}
    with pytest.raises(ConfigError, match="none of its 11 keys verifies RS256"):
        public_keys(json.dumps({"keys": useless}).encode(), ("RS256",))


@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b'{"keys": 5}', b"<html>", b"\xff", b"[" * 9999])
def test_what_is_no_jwks_document(document: bytes) -> None:
    with pytest.raises(ConfigError, match="jwks"):
        public_keys(document, ALGORITHMS)


@given(
    st.binary(max_size=50) | st.from_regex(rb'\{"keys": \[(\{"kty": "(RSA|EC)"[^"]{0,9}\},?){0,3}\]\}', fullmatch=True)
)
def test_any_bytes_are_keys_or_refused(document: bytes) -> None:
    with pytest.raises(ConfigError):
        public_keys(document, ALGORITHMS)


def test_two_keys_of_one_name_are_refused(provider: Provider) -> None:
    with pytest.raises(ConfigError, match="same `kid`"):
        public_keys(json.dumps({"keys": [provider.jwks[0], provider.jwks[0]]}).encode(), ALGORITHMS)


@pytest.mark.anyio
async def test_a_file(provider: Provider, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(ConfigError, match="cannot read"):
        await read_keys(str(path), ALGORITHMS)
    path.write_bytes(provider.document)
    assert len(await read_keys(str(path), ALGORITHMS)) == 3
    assert len(await read_keys(f"file://{path}", ALGORITHMS)) == 3
    path.write_bytes(b" " * (LONGEST + 1))
    with pytest.raises(ConfigError, match="more than"):
        await read_keys(str(path), ALGORITHMS)


@pytest.mark.anyio
async def test_keys_are_followed_and_outlive_a_provider_that_fails(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(provider.document)
    seen: list[set[str]] = []
    heard = asyncio.Event()

    def take(keys: tuple[PublicKey, ...]) -> None:
        seen.append({key.kid for key in keys})
        heard.set()

    async def next_one() -> set[str]:
        await asyncio.wait_for(heard.wait(), 5)
        heard.clear()
        return seen[-1]

    following = asyncio.ensure_future(follow_keys(str(path), ALGORITHMS, 0.01, take))
    assert await next_one() == {"rsa", "ec", "ed"}
    path.write_bytes(json.dumps({"keys": provider.jwks[:1]}).encode())
    assert await next_one() == {"rsa"}
    path.write_bytes(b"broken")
    await asyncio.sleep(0.1)
    assert len(seen) == 2
    assert "stay in use" in caplog.text
    monkeypatch.setattr(module, "STALE_S", 0.0)
    assert await next_one() == set()
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


# -- over https --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that 127.0.0.1 signed for itself, with its key behind it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@asynccontextmanager
async def served(certificate: Path, answer: bytes, *, silent: bool = False) -> AsyncIterator[str]:
    """A URL that answers `answer`, or never."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if silent:
                await reader.read()
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    finally:
        server.close()


def http(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{head}\r\n".encode() + body


@pytest.mark.anyio
async def test_a_url(provider: Provider, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(certificate, http(provider.document)) as url:
        with pytest.raises(ConfigError, match="cannot be read"):
            await read_keys(url, ALGORITHMS)  # a certificate that nobody vouches for
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert len(await read_keys(url, ALGORITHMS)) == 3


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (http(b"", "500 Oops"), "answered 500"),
        (http(b"", "302 Found", "location: https://evil.example/keys\r\n"), "answered 302"),
        (http(b" " * (LONGEST + 1)), "more than"),
        (b"nonsense", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
async def test_answers_that_are_none(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, part: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with served(certificate, answer) as url:
        with pytest.raises(ConfigError, match=part):
            await read_keys(url, ALGORITHMS)


@pytest.mark.anyio
async def test_a_silent_provider_is_not_waited_for(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(module, "FETCH_S", 0.3)
    async with served(certificate, b"", silent=True) as url:
        with pytest.raises(ConfigError, match="cannot be read"):
            await read_keys(url, ALGORITHMS)


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["http://127.0.0.1/keys", "ftp://x/y", "gopher://x"])
async def test_other_schemes_are_unknown(url: str) -> None:
    with pytest.raises(ConfigError, match="known: file, https"):
        await read_keys(url, ALGORITHMS)
