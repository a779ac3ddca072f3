"""A whole platform, `penstock up` with an embedded engine and API keys, started for a proof and stopped after it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gateway.gateways import ROOT, NotStarted, free_port
from benchmarks.routing.engines import last_words

MODEL = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True)
class Platform:
    port: int
    admin: int
    log: Path
    """One Record per line."""

    def records(self) -> Iterator[dict[str, Any]]:
        """Those written so far."""
        with self.log.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)


@contextmanager
def up(folder: Path, keys: Sequence[str], slots: int, patience_s: float = 120.0, **more: Any) -> Iterator[Platform]:
    """A platform with one llama.cpp engine that decodes `slots` requests at a time. `more`: sections of its config, and
    `max_in_flight`, `threads` and `extra` of the engine. Raises NotStarted."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Platform(free_port(), free_port(), folder / "access.jsonl")
    engine = {"kind": "llamacpp", "name": "local", "model": MODEL, "slots": slots, "context_tokens": 512 * slots}
    engine["max_in_flight"] = more.pop("max_in_flight", slots)
    engine["threads"] = more.pop("threads", 0)
    engine["extra"] = more.pop("extra", {})
    wanted: Mapping[str, Any] = {
        "listen": {"host": "127.0.0.1", "port": made.port},
        "admin": {"host": "127.0.0.1", "port": made.admin},
        "workers": 1,
        "auth": {"keys": list(keys)},
        "engines": [engine],
        "log": {"access": str(made.log)},
        **more,
    }
    config, output = folder / "penstock.yaml", folder / "output.log"
    config.write_text(json.dumps(wanted))  # JSON is YAML
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "up", "-c", str(config)], stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
    try:
        until = time.monotonic() + patience_s
        while not _ready(made.admin):
            if time.monotonic() > until or process.poll() is not None:
                raise NotStarted(f"the platform is not ready: {last_words(output)}")
            time.sleep(0.1)
        yield made
    finally:
        stop(process)


def _ready(port: int) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to its session, SIGKILL after 10 s."""
    for name in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, name)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
