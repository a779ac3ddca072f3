"""Makes the child end with its parent, however the parent ends."""

import ctypes
import os
import signal
import sys
import threading

# <sys/prctl.h>
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when `parent` dies. Does nothing where that is not Linux.

    The kernel ties this to the thread that started the child; a supervisor starts it from its main thread.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants that lose theirs, so that it can wait for them. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def watch_stdin(descriptor: int) -> None:
    """Ends the process at the end of its stdin, which the parent holds open for as long as it lives."""

    def wait() -> None:
        while True:
            try:
                if not os.read(descriptor, 4096):
                    break
            except OSError:
                break
        os._exit(0)

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()
