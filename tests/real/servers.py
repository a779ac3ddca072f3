"""Real Redis and PostgreSQL, each started once as a child process with its data in a temporary folder."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

READY_WITHIN_S = 30.0
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
"""Debian keeps the programs of each major version apart, outside the PATH."""


class Server:
    """A server that can be stopped, frozen and started again on the same port with the same data."""

    def __init__(self, url: str, command: list[str], folder: Path, ready: Callable[[], None], user: str | None) -> None:
        self.url = url
        self._command = command
        self._folder = folder
        self._ready = ready
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=log, user=self._user, group=self._user
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                return self._ready()
            except (OSError, redis.RedisError, psycopg.Error):
                log_end = (self._folder / "log").read_text(errors="replace")[-2000:]
                assert self._process.poll() is None, log_end
                assert time.monotonic() < deadline, log_end
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends it and its connections; its data stay."""
        process = self._process
        if process is not None:
            self._signal(signal.SIGCONT)
            # SIGINT is PostgreSQL's fast shutdown, and Redis leaves on it too.
            process.send_signal(signal.SIGINT)
            process.wait(20)
            self._process = None

    def kill(self) -> None:
        """Ends it where it stands; what it has written stays."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(20)

    def freeze(self) -> None:
        """Connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        # PostgreSQL's children lead process groups of their own.
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


@contextmanager
def redis_at(folder: Path, port: int) -> Iterator[Server]:
    """A Redis without passwords that keeps what it has written across `stop` and `start`."""
    url = f"redis://127.0.0.1:{port}/0"
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "appendonly": "yes", "save": ""}
    command = ["redis-server", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]

    def ready() -> None:
        with redis.Redis.from_url(url) as client:
            client.ping()

    server = Server(url, command, folder, ready, None)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def postgres_at(port: int) -> Iterator[Server]:
    """A PostgreSQL; whoever connects as `penstock` owns it."""
    assert POSTGRES, "install postgresql"
    programs = POSTGRES[-1]
    # It refuses to run as root, and its user cannot look into the folders of others.
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user, user)
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", "penstock", "-A", "trust", "--no-sync", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, capture_output=True, user=user, group=user, cwd=folder)
        url = f"postgresql://penstock@127.0.0.1:{port}/postgres"
        options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]

        def ready() -> None:
            psycopg.connect(url, connect_timeout=2).close()

        server = Server(url, [str(programs / "postgres"), "-D", str(data), *settings], folder, ready, user)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    """See redis_at."""
    with redis_at(tmp_path_factory.mktemp("redis"), free_port()) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(free_port: Callable[[], int]) -> Iterator[Server]:
    """See postgres_at."""
    with postgres_at(free_port()) as server:
        yield server
