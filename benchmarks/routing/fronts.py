"""What stands in front of the engines: Penstock with each policy, and the routers it is compared with."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway.gateways import ROOT, VENVS, NotStarted, free_port
from benchmarks.routing.client import request_bytes
from benchmarks.routing.engines import MODEL, Engine, last_words

RIVALS = ("smg", "vllm-router")


@dataclass(frozen=True, slots=True)
class Addresses:
    listen: int
    admin: int
    engines: Sequence[Engine]


@dataclass(frozen=True, slots=True)
class Front:
    """`command` writes the configuration into a folder and gives the argument list."""

    name: str
    what: str
    command: Callable[[Path, Addresses], list[str]]
    package: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str:
        """What to do when it is not installed; empty when it is."""
        if not self.package or (VENVS / self.package / "bin" / self.package).exists():
            return ""
        return "not installed: python -m benchmarks.routing install"

    def version(self) -> str:
        for found in VENVS.glob(f"{self.package or 'none'}/lib/python*/site-packages/*.dist-info"):
            name, _, version = found.name.removesuffix(".dist-info").partition("-")
            if name.replace("_", "-") == self.package:
                return version
        return "this checkout"


def penstock(
    policy: str, max_in_flight: int = 0, *, records: int = 200, models: Sequence[str] = (MODEL,)
) -> Callable[[Path, Addresses], list[str]]:
    """`max_in_flight`: requests that an engine is sent at a time, the others wait in the gateway; 0: all are sent.
    `records`: of requests that have ended, kept to be asked for. `models`: without any, engines are asked.
    """

    def command(folder: Path, at: Addresses) -> list[str]:
        wanted = {
            "listen": {"host": "127.0.0.1", "port": at.listen},
            "admin": {"host": "127.0.0.1", "port": at.admin, "records": records},
            "workers": 1,
            "engines": [
                {
                    "kind": "http",
                    "name": engine.name,
                    "url": f"{engine.url}/v1",
                    "models": list(models),
                    "max_in_flight": max_in_flight,
                }
                for engine in at.engines
            ],
            "routing": {"policy": policy, "explain_headers": True},
        }
        config = folder / "penstock.yaml"
        config.write_text(json.dumps(wanted))  # JSON is YAML
        return [sys.executable, "-m", "penstock", "up", "-c", str(config)]

    return command


def _rival(program: str, *verb: str, level: str) -> Callable[[Path, Addresses], list[str]]:
    def command(_folder: Path, at: Addresses) -> list[str]:
        return [
            str(VENVS / program / "bin" / program), *verb, "--host", "127.0.0.1", "--port", str(at.listen),
            "--worker-urls", *(engine.url for engine in at.engines), "--policy", "cache_aware",
            "--prometheus-port", str(at.admin), "--log-level", level,
        ]  # fmt: skip

    return command


def known() -> dict[str, Front]:
    """Every gateway by name, in the order of a round; the first is Penstock's default."""
    own = {"PYTHONPATH": str(ROOT / "src")}
    fronts = [
        Front("penstock", "policy balanced, the default", penstock("balanced"), environment=own),
        Front("penstock-round_robin", "policy round_robin", penstock("round_robin"), environment=own),
        Front("penstock-power_of_two", "policy power_of_two", penstock("power_of_two"), environment=own),
        Front("smg", "policy cache_aware, its defaults", _rival("smg", "launch", level="warn"), "smg"),
        Front("vllm-router", "policy cache_aware, its defaults", _rival("vllm-router", level="warning"), "vllm-router"),
    ]
    return {front.name: front for front in fronts}


@contextmanager
def started(front: Front, engines: Sequence[Engine], folder: Path, patience_s: float = 60.0) -> Iterator[int]:
    """The port of a gateway that answers 200; stopped at the end. Raises NotStarted."""
    at = Addresses(free_port(), free_port(), engines)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            front.command(folder, at), stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(front.environment),
        )  # fmt: skip
    try:
        until = time.monotonic() + patience_s
        # A few answers in a row: a gateway may listen before it knows every engine.
        needed = 2 * len(engines)
        while needed and time.monotonic() < until and process.poll() is None:
            if _answers(at.listen):
                needed -= 1
            else:
                time.sleep(0.1)
        if needed:
            raise NotStarted(f"{front.name} did not answer 200: {last_words(log)}")
        yield at.listen
    finally:
        _stop(process)


def admin_url(folder: Path) -> str:
    """Of the Penstock that was started in `folder`."""
    port = json.loads((folder / "penstock.yaml").read_text())["admin"]["port"]
    return f"http://127.0.0.1:{port}"


def _answers(port: int) -> bool:
    """Whether one short unary request is answered with 200."""
    messages = [{"role": "user", "content": "hello"}]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
            link.sendall(request_bytes(port, MODEL, messages, stream=False))
            return link.recv(65536)[9:12] == b"200"
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to its session, SIGKILL after 5 s."""
    for name in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, name)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return


def install() -> None:
    """One virtual environment per rival, below `.bench/`, which git ignores; what is there stays as it is."""
    VENVS.mkdir(exist_ok=True)
    (VENVS / ".gitignore").write_text("*\n")
    for name in RIVALS:
        if (VENVS / name / "bin" / name).exists():
            continue
        print(f"installing {name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(VENVS / name)], check=True)
        subprocess.run([str(VENVS / name / "bin/pip"), "install", "-q", name], check=True)
