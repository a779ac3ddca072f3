"""The one process that appends to a chain: day files, torn tails, files that changed under it, a full disk."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from penstock.state.audit.files import DayFile, Tail, day_files, day_of, file_name, tail_of
from penstock.state.audit.line import Chain, Head, Key

ACTOR = "penstock"
CHAIN = "chain"
"""Kind of the lines that the log writes about itself."""


class ChainWriter:
    """`begin`, add lines to the chain it returns, `commit`. Whoever has one holds the chain's lock.

    What is on disk decides: after any failure, and at the start, the head is read from the files again.
    """

    def __init__(self, folder: Path, writer: str, key: Key | None, *, daily: bool = True) -> None:
        self._folder = folder
        self._writer = writer
        self._daily = daily
        self._key = key
        self._chain = Chain(Head(), key)
        self._written = Head()
        self._file: DayFile | None = None
        self._descriptor = -1
        self._inode = 0
        self._size = 0
        self._prefix = b""
        """Ends the line of somebody else that our first one would otherwise run into."""

    @property
    def head(self) -> Head:
        """Of what is on disk."""
        return self._written

    def begin(self, now: float) -> Chain:
        """The chain, on the file of the day. Raises OSError. Lines of a batch that began and was not committed go."""
        self._chain.back_to(self._written)
        if self._descriptor < 0 or self._changed():
            self._resume(now)
        assert self._file is not None
        day = max(self._file.day, day_of(now)) if self._daily else ""
        if day != self._file.day:
            self._open(DayFile(self._writer, day, self._folder / file_name(self._writer, day)))
            self._head_line(now)
        return self._chain

    def commit(self, *, sync: bool = False) -> None:
        """Writes what was added, in one call of the system. Raises OSError, and then nothing of it is on disk.

        `sync`: returns when the disk has it, and not only the system.
        """
        data = self._prefix + self._chain.take()
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            if sync:
                os.fdatasync(self._descriptor)
        except OSError:
            self._undo()
            raise
        self._prefix = b""
        self._size += len(data)
        self._written = self._chain.head

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    # -- where it goes on ----------------------------------------------------------------------------------------------

    def _resume(self, now: float) -> None:
        """Finds the head on disk, and writes down what does not belong to the chain."""
        known, unlike = self._written, self._descriptor >= 0
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = day_files(self._folder, self._writer)
        day = day_of(now) if self._daily else ""
        newest = files[-1] if files else DayFile(self._writer, day, self._folder / file_name(self._writer, day))
        tail = tail_of(newest.path) if files else Tail(None, 0, 0)
        head = self._last_head(files, tail)
        if head.seq < known.seq:
            head, unlike = known, True  # what was written is no longer there; its number is not given out twice
        foreign = self._foreign(newest, tail)
        self._written = head
        self._chain.back_to(head)
        self._open(newest)
        kept = list(self._kept(newest))
        if self._size == 0:
            self._head_line(now)
        if foreign:
            self._prefix = b"" if foreign.endswith(b"\n") else b"\n"
            facts = {"file": newest.name, "bytes": len(foreign), "sha256": sha256(foreign).hexdigest()}
            self._chain.add(now, CHAIN, ACTOR, "damaged", facts)
        elif unlike:
            self._chain.add(now, CHAIN, ACTOR, "damaged", {"file": newest.name, "size": self._size})
        if kept:
            self._chain.add(now, CHAIN, ACTOR, "torn", {"parts": kept})

    def _last_head(self, files: list[DayFile], tail: Tail) -> Head:
        if tail.line is not None:
            return tail.line.head
        for file in reversed(files[:-1]):
            if line := tail_of(file.path).line:
                return line.head
        return Head()

    def _foreign(self, file: DayFile, tail: Tail) -> bytes:
        """What stands behind the last good line. The torn line of a crash is kept aside, and is not foreign."""
        if tail.size == tail.end:
            return b""
        with file.path.open("rb") as opened:
            opened.seek(tail.end)
            rest = opened.read()
        if b"\n" in rest.rstrip(b"\0"):
            return rest
        name = f"{file.name}.{tail.end}.{sha256(rest).hexdigest()[:8]}.torn"
        made = self._folder / f"{name}.new"
        with open(made, "wb", opener=_private) as aside:
            aside.write(rest)
            aside.flush()
            os.fsync(aside.fileno())
        made.replace(self._folder / name)
        os.truncate(file.path, tail.end)
        return b""

    def _kept(self, file: DayFile) -> Iterator[dict[str, object]]:
        """Torn tails that were cut off where the file ends now: no line speaks of them yet."""
        for path in sorted(self._folder.glob(f"{file.name}.{self._size}.*.torn")):
            torn = path.read_bytes()
            yield {"file": path.name, "bytes": len(torn), "sha256": sha256(torn).hexdigest()}

    def _head_line(self, now: float) -> None:
        """Each file says whose it is, and what came before it."""
        assert self._file is not None
        before = [file.name for file in day_files(self._folder, self._writer) if file < self._file]
        facts: dict[str, object] = {"writer": self._writer, "file": self._file.name}
        if self._key is not None:
            facts["key"] = self._key.name
        if self._chain.head.seq == 0:
            self._chain.add(now, CHAIN, ACTOR, "begun", facts | {"version": 1, "id": os.urandom(16).hex()})
        else:
            self._chain.add(now, CHAIN, ACTOR, "continued", facts | {"after": before[-1] if before else ""})

    # -- the file ------------------------------------------------------------------------------------------------------

    def _open(self, file: DayFile) -> None:
        self.close()
        self._descriptor = _private(str(file.path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        status = os.fstat(self._descriptor)
        self._inode, self._size, self._file = status.st_ino, status.st_size, file

    def _changed(self) -> bool:
        """Whether the file is no longer what we left: cut, appended to, replaced, removed."""
        assert self._file is not None
        try:
            status = os.stat(self._file.path)
        except FileNotFoundError:
            return True
        return (status.st_size, status.st_ino) != (self._size, self._inode)

    def _undo(self) -> None:
        """Takes back a batch that is written in part. When even that fails, its torn tail is found at the next try."""
        self._chain.back_to(self._written)
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            pass
        finally:
            self.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
