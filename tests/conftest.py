"""What tests of every package may use."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.engines.models.known import DEFAULT
from penstock.engines.models.progress import Silent
from penstock.engines.models.sources import sources
from penstock.engines.models.store import Store, cache_folder


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Asynchronous tests run on the event loop that the product runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The default model, pulled into the user's cache when it is not there."""
    return Store(cache_folder(os.environ, Path.home()), sources(os.environ)).pull(DEFAULT, Silent()).path


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A port that nothing listens on now. Where the program can choose one itself, port 0 is better."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return find
