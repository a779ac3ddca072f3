"""One puller at a time per model, over processes."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.engines.models.progress import Progress


@contextmanager
def held(path: Path, progress: Progress) -> Iterator[None]:
    """Holds the lock file `path`, waiting for whoever has it. The system frees it when its holder dies."""
    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.message("another process is fetching this model; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
