"""The unfinished file of a download, and what is needed to continue it."""

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import msgspec

from penstock.core.errors import ModelError

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Origin(msgspec.Struct, frozen=True):
    """Where the bytes of a partial file came from."""

    url: str
    validator: str = ""
    """Strong ETag or Last-Modified, for `If-Range`; empty when the server gave neither."""


class Partial:
    """`NAME.part` and `NAME.part.json` beside the file to be."""

    def __init__(self, into: Path) -> None:
        self.into = into
        self.path = into.with_name(into.name + ".part")
        self._origin_path = into.with_name(into.name + ".part.json")

    def size(self) -> int:
        """Bytes on disk, 0 when there is no partial file."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def origin(self) -> Origin | None:
        """Where the bytes came from; None when that is not known, so they cannot be continued."""
        try:
            return msgspec.json.decode(self._origin_path.read_bytes(), type=Origin)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def begin(self, origin: Origin) -> None:
        """Empties the file and notes where its next bytes come from."""
        self._origin_path.unlink(missing_ok=True)
        self.path.write_bytes(b"")
        self._origin_path.write_bytes(msgspec.json.encode(origin))

    def append(self) -> BinaryIO:
        """The file, open at its end."""
        return self.path.open("ab")

    def remove(self) -> None:
        """Gives the space back; the next attempt starts from nothing."""
        self._origin_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def commit(self) -> None:
        """Turns the partial file into the file, in one step that survives a power cut."""
        put_in_place(self.path, self.into)
        self._origin_path.unlink(missing_ok=True)


def put_in_place(made: Path, final: Path) -> None:
    """Flushes `made` and renames it to `final`; both lie in one folder."""
    with made.open("rb") as stream:
        os.fsync(stream.fileno())
    made.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            os.fsync(folder)
    finally:
        os.close(folder)


def ask_for_space(folder: Path, needed: int) -> None:
    """Raises ModelError when `needed` more bytes do not fit on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            f"the disk of {folder} is too full: {needed} more bytes are needed, {free} are free; "
            "free some, or set PENSTOCK_CACHE to a folder on another disk"
        )
