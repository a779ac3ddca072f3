"""Downloads one URL to one file: resumable, verified, atomic.

What stays behind: after a network error, a kill, or a refusal for lack of space before the first byte, the
partial file is kept and the next call continues it. After a disk that filled up while writing, or content that
does not match, it is removed.
"""

import re
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import msgspec

from penstock.core.errors import ModelError
from penstock.engines.models.digest import damaged, sha256_of, wrong_size
from penstock.engines.models.partial import DISK_FULL, Origin, Partial, ask_for_space
from penstock.engines.models.progress import Progress

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIXES = {
    401: "it asks for a login; for a gated model accept its terms and set HF_TOKEN",
    403: "access is refused; for a gated model accept its terms and set HF_TOKEN",
    404: "nothing is there; check the reference",
    410: "it is gone; check the reference",
}


class Expected(msgspec.Struct, frozen=True):
    """What is known beforehand of the content."""

    sha256: str = ""
    """Hex digest; empty when not known."""
    size: int = 0
    """Bytes; 0 when not known."""


class _Interrupted(Exception):
    """The transfer stopped in a way that another attempt may mend."""


def open_client() -> httpx.Client:
    """A client with the system's certificates (SSL_CERT_FILE works) that never follows HTTPS to HTTP."""
    return httpx.Client(
        verify=ssl.create_default_context(),
        timeout=httpx.Timeout(30.0, connect=15.0),
        follow_redirects=True,
        headers={"user-agent": "penstock", "accept-encoding": "identity"},
    )


class Downloader:
    """Fetches URLs. Holds no connection between calls."""

    def __init__(
        self,
        connect: Callable[[], httpx.Client] = open_client,
        sleep: Callable[[float], None] = time.sleep,
        attempts: int = 6,
    ) -> None:
        self._connect = connect
        self._sleep = sleep
        self._attempts = attempts

    def fetch(
        self,
        url: str,
        into: Path,
        progress: Progress,
        expected: Expected | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Puts the content of `url` at `into`.

        Gives up after `attempts` attempts in a row that brought not one byte. Raises ModelError.
        """
        partial = Partial(into)
        with self._connect() as client:
            client.event_hooks["request"].append(_refuse_downgrade(url))
            client.headers.update(headers or {})
            transfer = _Transfer(client, url, partial, progress, expected or Expected())
            try:
                self._fetch(transfer)
            except OSError as error:
                raise _disk_error(error, partial) from error

    def _fetch(self, transfer: "_Transfer") -> None:
        partial, progress = transfer.partial, transfer.progress
        continued = self._until_whole(transfer)
        problem = _problem(partial, transfer.expected)
        if problem is not None and continued:
            # The bytes kept from an earlier attempt may be what is wrong: once more, from nothing.
            partial.remove()
            progress.message("the continued download does not match; starting again from the first byte")
            self._until_whole(transfer)
            problem = _problem(partial, transfer.expected)
        if problem is not None:
            partial.remove()
            raise problem
        partial.commit()
        progress.done()

    def _until_whole(self, transfer: "_Transfer") -> bool:
        """Attempts until the body is whole; True when bytes of an earlier attempt are part of it."""
        failures = 0
        continued = False
        while True:
            before = transfer.partial.size()
            try:
                return transfer.attempt() or continued
            except (httpx.TransportError, _Interrupted) as error:
                continued = True
                failures = 1 if transfer.partial.size() > before else failures + 1
                if failures >= self._attempts or not _mendable(error):
                    raise _gave_up(transfer, error) from error
                delay_s = min(10.0, 0.5 * 2.0 ** (failures - 1))
                transfer.progress.message(f"{_words(error)}; trying again in {delay_s:g} s")
                self._sleep(delay_s)
            except httpx.RequestError as error:
                raise _gave_up(transfer, error) from error


class _Transfer:
    """One body on its way to one partial file."""

    def __init__(
        self, client: httpx.Client, url: str, partial: Partial, progress: Progress, expected: Expected
    ) -> None:
        self.client = client
        self.url = url
        self.partial = partial
        self.progress = progress
        self.expected = expected

    def attempt(self) -> bool:
        """One request. True when it continued a partial file."""
        offset = self.partial.size()
        with self.client.stream("GET", self.url, headers=self._range(offset)) as response:
            total = _total(response)
            if response.status_code == 416 and total and total == offset:
                self.progress.start(total, offset)
                return True
            continued = self._continues(response, offset)
            if not continued:
                offset = 0
                self.partial.begin(Origin(self.url, _validator(response)))
            self._judge(total)
            ask_for_space(self.partial.into.parent, (total or self.expected.size) - offset)
            self.progress.start(total, offset)
            with self.partial.append() as stream:
                for piece in response.iter_raw():
                    stream.write(piece)
                    self.progress.advance(len(piece))
        if total and self.partial.size() < total:
            raise _Interrupted(f"the connection ended after {self.partial.size()} of {total} bytes")
        return continued

    def _range(self, offset: int) -> dict[str, str]:
        """Headers that ask for the rest; none when what is here cannot be continued."""
        origin = self.partial.origin()
        if not offset or origin is None or origin.url != self.url:
            return {}
        if origin.validator:
            return {"range": f"bytes={offset}-", "if-range": origin.validator}
        # Without a validator only a pinned digest can tell whether old and new bytes belong together.
        return {"range": f"bytes={offset}-"} if self.expected.sha256 else {}

    def _continues(self, response: httpx.Response, offset: int) -> bool:
        """True for the rest of the file, False for the whole of it; raises for anything else."""
        status = response.status_code
        if status not in (200, 206):
            if status == 416:
                self.partial.remove()
                raise _Interrupted("the server's file is shorter than what is here")
            raise _refused(response)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ModelError(f"{_shown(self.url)}: the server compresses the file although asked not to")
        if status == 206 and _first(response) != offset:
            self.partial.remove()
            raise _Interrupted("the server sent another range than asked for")
        return status == 206

    def _judge(self, total: int) -> None:
        if self.expected.size and total and total != self.expected.size:
            fix = "the server's file is not the one meant"
            raise wrong_size(_shown(self.url), self.expected.size, total, fix)


def _refuse_downgrade(first_url: str) -> Callable[[httpx.Request], None]:
    secure = httpx.URL(first_url).scheme == "https"

    def check(request: httpx.Request) -> None:
        if secure and request.url.scheme != "https":
            scheme = request.url.scheme
            raise ModelError(f"{_shown(first_url)} redirects to {scheme}:, which can be tampered with")

    return check


def _problem(partial: Partial, expected: Expected) -> ModelError | None:
    """What is wrong with the finished bytes, None when nothing is."""
    size, what = partial.size(), f"the download of {partial.into.name}"
    fix = "it was removed; the server's file is not the one meant"
    if expected.size and size != expected.size:
        return wrong_size(what, expected.size, size, fix)
    if expected.sha256:
        found = sha256_of(partial.path)
        if found != expected.sha256:
            return damaged(what, expected.sha256, found, fix)
    return None


def _refused(response: httpx.Response) -> Exception:
    status, url = response.status_code, _shown(str(response.request.url))
    if status in _WORTH_A_RETRY:
        return _Interrupted(f"{url} answered {status}")
    fix = _FIXES.get(status, "check the reference and the server")
    return ModelError(f"{url} answered {status}: {fix}")


def _total(response: httpx.Response) -> int:
    """Size of the whole file as the server gives it, 0 when it does not."""
    if response.status_code == 200:
        length = response.headers.get("content-length", "")
        return int(length) if length.isdecimal() else 0
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    return int(match[3]) if match and match[3] != "*" else 0


def _first(response: httpx.Response) -> int:
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    return int(match[1]) if match and match[1] else -1


def _validator(response: httpx.Response) -> str:
    etag = str(response.headers.get("etag", ""))
    if etag and not etag.startswith("W/"):
        return etag
    return str(response.headers.get("last-modified", ""))


def _disk_error(error: OSError, partial: Partial) -> ModelError:
    folder = partial.into.parent
    if error.errno in DISK_FULL:
        written = partial.size()
        partial.remove()
        return ModelError(
            f"the disk of {folder} is full after {written} bytes ({error.strerror}); they were removed; "
            "free some space, or set PENSTOCK_CACHE to a folder on another disk"
        )
    return ModelError(f"cannot write to {folder}: {error.strerror or error}; check its permissions")


def _mendable(error: Exception) -> bool:
    return not isinstance(error, httpx.UnsupportedProtocol) and "CERTIFICATE_VERIFY_FAILED" not in str(error)


def _gave_up(transfer: _Transfer, error: Exception) -> ModelError:
    fix = "check the network; the next attempt continues where this one stopped"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        fix = "point SSL_CERT_FILE at a file with your certificate authorities"
    here = f"{transfer.partial.size()} bytes are here"
    return ModelError(f"cannot download {_shown(transfer.url)} ({here}): {_words(error)}; {fix}")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _shown(url: str) -> str:
    """The URL without what may be secret: its query, a user name, a password."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])
