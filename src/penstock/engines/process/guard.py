"""Between Penstock and a program that is not ours: `python -m penstock.engines.process.guard GRACE_S PROGRAM ...`.

Starts the program as the leader of a process group and leaves nothing of it behind, whatever ends first:

- the program ends: the rest of its group is killed and waited for, before its memory and ports are needed again;
- Penstock ends, seen as the end of stdin: SIGTERM to the program, SIGKILL to the group GRACE_S seconds later;
- SIGTERM goes to the program, SIGQUIT kills the group;
- this guard is killed: the kernel kills the program.

Writes one line of JSON (Started) to stdout. The program's own output goes to stderr. Exits with the program's status,
or 128 plus the signal that ended it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from penstock.engines.process.orphan import adopt_orphans, die_with_parent

CANNOT_START = 127
PASSED_ON = frozenset({signal.SIGTERM, signal.SIGQUIT})
REAP_S = 5.0
"""How long the ended program's children may take to go; one that the kernel holds longer is left behind."""


class Started(msgspec.Struct, frozen=True):
    """The guard's line: the program runs, or it cannot be started."""

    pid: int = 0
    error: str = ""


class Guard:
    """One program and its group."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._pid = 0
        self._wanted = 0

    def signalled(self, number: int, _frame: object) -> None:
        """A signal's handler: passes it on, or notes it for a program that is not there yet."""
        if self._wanted != signal.SIGKILL:
            self._wanted = signal.SIGTERM if number == signal.SIGTERM else signal.SIGKILL
        if self._pid:
            self._pass_on()

    def start(self) -> Started:
        """Starts the program."""
        parent = os.getpid()
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=2,
                stderr=2,
                process_group=0,
                # This process has one thread: nothing can hold a lock at the fork.
                preexec_fn=lambda: die_with_parent(parent),
            )
        except (OSError, subprocess.SubprocessError) as error:
            return Started(error=str(error))
        self._pid = process.pid
        process.returncode = 0  # `wait` below reaps it, not subprocess
        if self._wanted:
            self._pass_on()
        return Started(pid=self._pid)

    def wait(self) -> int:
        """Waits for the program, ends what it left. Returns its status."""
        # Not reaped yet: its number, which is the group's too, cannot be somebody else's.
        ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        deadline = time.monotonic() + REAP_S
        while not _reaped() and time.monotonic() < deadline:
            for pid in _children():  # children of the program with groups of their own are ours since it ended
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status

    def _pass_on(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._wanted == signal.SIGKILL:
                os.killpg(self._pid, signal.SIGKILL)
            else:
                os.kill(self._pid, self._wanted)


def _reaped() -> bool:
    """Takes leave of every child that has ended; whether there are no others."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return True
    return False


def _children() -> list[int]:
    """Our children, by number; none where the kernel does not say."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def end_with_stdin(grace_s: float) -> None:
    """Waits for the end of stdin in a thread, then ends the program: politely, then not."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os.kill(os.getpid(), signal.SIGQUIT)

    # The thread takes no signals: one that it got would leave the main thread waiting, and Python's handler unrun.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(arguments: list[str]) -> int:
    """Serves until the program has ended. Returns the exit status."""
    guard = Guard(arguments[1:])
    for number in PASSED_ON:
        signal.signal(number, guard.signalled)
    adopt_orphans()
    started = guard.start()
    os.write(1, msgspec.json.encode(started) + b"\n")
    if started.error:
        return CANNOT_START
    end_with_stdin(float(arguments[0]))
    return guard.wait()


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
