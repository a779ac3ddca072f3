"""Processes that die by SIGKILL at a chosen moment."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

LEDGER = os.path.join("penstock", "state", "ledger")


def killed_at_line(line: int, work: Callable[[], object]) -> bool:
    """Runs `work` in a child that kills itself before it executes the ledger's `line`-th line. True: it came to its end
    before that."""
    child = os.fork()
    if child == 0:
        _run(line, work)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "the child raised"
    return True


def _run(line: int, work: Callable[[], object]) -> None:
    left = line

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if LEDGER not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    code = 1
    try:
        sys.settrace(trace)
        work()
        code = 0
    finally:
        os._exit(code)
