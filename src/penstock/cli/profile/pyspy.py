"""Stacks of a running Python process, taken by py-spy from outside: the process runs none of our code."""

import shutil
import subprocess
import sys
from pathlib import Path

from penstock.core.errors import PenstockError

RATE = 100
"""Samples per second that py-spy takes unless told."""
PATIENCE_S = 60.0
"""How much longer than asked it may take: it reads symbols first."""
SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")


class Denied(PenstockError):
    """This user may not look into the process."""


class Unreadable(PenstockError):
    """There are no Python stacks to be had from it."""


def executable() -> str:
    """py-spy beside this interpreter, or on the path. Raises PenstockError with the command that installs it."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.is_file() else shutil.which("py-spy")
    if found is None:
        raise PenstockError(
            "py-spy is not installed: pip install 'penstock[profile]', or take --no-stacks for all but the stacks"
        )
    return found


def start(program: str, pid: int, seconds: int, rate: int, out: Path) -> "subprocess.Popen[str]":
    """Begins to sample; `out` is there when it ends."""
    command = [
        program, "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(rate), "--format", "raw",
        "--function", "--output", str(out),
    ]  # fmt: skip
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]", pid: int, seconds: int, out: Path) -> str:
    """The raw stacks. Raises Denied or Unreadable."""
    try:
        _, said = process.communicate(timeout=seconds + PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Unreadable(f"{pid}: py-spy did not end; try a lower --rate") from None
    if process.returncode == 0 and out.is_file():
        return out.read_text(encoding="utf-8", errors="replace")
    scope = SCOPE.read_text().strip() if SCOPE.is_file() else ""
    raise failure(said, pid, scope)


def failure(said: str, pid: int, scope: str) -> PenstockError:
    """What py-spy's stderr means. `scope`: kernel.yama.ptrace_scope, empty where there is none."""
    low = said.lower()
    if "permission denied" in low or "not permitted" in low:
        yama = (
            f", or set kernel.yama.ptrace_scope, which is {scope}, to 0 with sysctl" if scope not in ("", "0") else ""
        )
        return Denied(
            f"{pid}: this user may not read its memory; run it as root{yama}, and in a container with the capability "
            "SYS_PTRACE; --no-stacks does without"
        )
    if "failed to find python version" in low:
        return Unreadable(f"{pid}: it is no Python process, so it has no Python stacks; --no-stacks shows the rest")
    if "check that the process is running" in low or "no such process" in low:
        return Unreadable(f"{pid}: there is no such process any more")
    lines = [line.removeprefix("Error: ") for line in said.splitlines() if line.startswith("Error: ")]
    return Unreadable(f"{pid}: py-spy failed: {lines[0] if lines else said.strip()[-200:] or 'it said nothing'}")
