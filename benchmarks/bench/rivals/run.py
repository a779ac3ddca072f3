"""Installs rivals and runs them: one process tree on the load's core, its CPU time, and its last words if it fails."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench.rivals import aiperf, guidellm, vllm
from benchmarks.bench.rivals.tool import Export, Load, Rival, Unusable
from benchmarks.bench.truth import LOAD_CORE
from benchmarks.gateway.gateways import VENVS
from benchmarks.routing.engines import last_words

PACKAGED = (guidellm.rival(), aiperf.rival())
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def known() -> list[Rival]:
    return [vllm.rival(), *PACKAGED]


def install() -> None:
    """One virtual environment per rival, below `.bench/`, which git ignores; what is there stays as it is."""
    VENVS.mkdir(exist_ok=True)
    (VENVS / ".gitignore").write_text("*\n")
    for rival in PACKAGED:
        if rival.program.exists():
            continue
        print(f"installing {rival.name} {rival.version}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(VENVS / rival.name)], check=True)
        pip = [str(VENVS / rival.name / "bin" / "pip"), "install", "-q", f"{rival.name}=={rival.version}"]
        subprocess.run(pip, check=True)


def run(rival: Rival, load: Load, folder: Path, limit_s: float) -> tuple[Export, float]:
    """What it wrote down, and the CPU seconds of it and of all processes that it started. Raises Unusable."""
    if why := rival.missing():
        raise Unusable(why)
    folder.mkdir(parents=True)
    log = folder / "output.log"
    command = ["taskset", "-c", str(LOAD_CORE), *rival.command(load, folder)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            env=os.environ | OFFLINE | dict(rival.environment),
        )  # fmt: skip
    try:
        code, cpu_s = _ended(process, limit_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if code is None:
        raise Unusable(f"not done after {limit_s:.0f} s: {last_words(log)}")
    if code:
        raise Unusable(f"exit code {code}: {last_words(log)}")
    try:
        return rival.read(folder), cpu_s
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Unusable(f"no export: {error!r}; {last_words(log)}") from error


def _ended(process: subprocess.Popen[bytes], limit_s: float) -> tuple[int | None, float]:
    """Exit code, None when it took too long, and CPU seconds of the tree: of every process that was waited for."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used.ru_utime + used.ru_stime
        time.sleep(0.2)
    return None, 0.0
