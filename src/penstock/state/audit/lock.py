"""Whose turn it is to write a chain. The system frees a lock when its holder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def claim(folder: Path, role: str) -> tuple[str, int]:
    """The first chain of `role` that no living process writes, e.g. `worker-2`, and the lock's descriptor.

    So a chain goes on over restarts, and there are as many as there were processes at once. Raises OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = 0
    while True:
        writer = f"{role}-{number}"
        descriptor = _open(folder / f"{writer}.lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            number += 1
        else:
            return writer, descriptor


@contextmanager
def held(folder: Path, writer: str) -> Iterator[None]:
    """Waits for the lock of one chain and holds it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = _open(folder / f"{writer}.lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
