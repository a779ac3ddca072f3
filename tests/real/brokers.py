"""Real brokers of the durable queue, and its own processes: children with their data in temporary folders."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

READY_WITHIN_S = 30.0


class Child:
    """A process that can be killed and started again with the same data."""

    def __init__(self, command: list[str], folder: Path, ready: Callable[[], bool]) -> None:
        self._command = command
        self._folder = folder
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    def start(self) -> "Child":
        """Returns when it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=self._folder, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._ready():
            said = self.log.read_text(errors="replace")[-3000:]
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """As an operator would; the exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(60)
        self._process = None
        return code


def listening(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return ready


def redis(folder: Path, port: int, *, durable: bool = True) -> tuple[str, Child]:
    """A Redis that has on disk what it has answered."""
    folder.mkdir()
    settings = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": ""}
    settings |= {"appendonly": "yes", "appendfsync": "always"} if durable else {"appendonly": "no"}
    command = ["redis-server", *(part for name, value in settings.items() for part in (f"--{name}", str(value)))]
    return f"redis://127.0.0.1:{port}/0", Child(command, folder, listening(port))


def nats(folder: Path, port: int) -> tuple[str, Child]:
    """A NATS server whose JetStream syncs before it answers."""
    folder.mkdir()
    program = Path(sys.executable).with_name("nats-server")
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/data", sync_interval: always }}\n'
    )
    return f"nats://127.0.0.1:{port}", Child([str(program), "-c", str(config)], folder, listening(port))


def queue(folder: Path, command: str, broker: str, gateway: str, *options: str) -> Child:
    """`penstock queue serve` or `pull`."""
    folder.mkdir()
    program = [sys.executable, "-m", "penstock", "queue", command, "--broker", broker, "--gateway", gateway, *options]

    def ready() -> bool:
        return (folder / "log").exists() and "pulling for" in (folder / "log").read_text()

    return Child(program, folder, ready)
