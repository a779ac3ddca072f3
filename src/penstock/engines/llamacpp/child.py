"""What runs in the child: `python -m penstock.engines.llamacpp.child PARENT_PID`.

Reads one line of JSON (Launch) from stdin, writes one (Hello) to stdout. llama.cpp's log goes to stderr. SIGTERM
ends it with status 0; so does the end of stdin.
"""

import os
import signal
import sys
import time

import msgspec

from penstock.core.errors import ConfigError
from penstock.engines.llamacpp.settings import Hello, Launch
from penstock.engines.process.orphan import die_with_parent, watch_stdin

LOG_S = 0.3
"""llama.cpp writes its log from a thread of its own: so long the reason of a failure has to reach stderr."""
FATAL = 3
"""Exit status of a child that would fail the same way again."""


def main(arguments: list[str]) -> int:
    """Serves until it is told to stop. Returns the exit status."""
    die_with_parent(int(arguments[0]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    # llama.cpp may print; only Hello may reach the parent's pipe.
    pipe = os.dup(1)
    os.dup2(2, 1)
    launch = msgspec.json.decode(_read_line(0), type=Launch)
    watch_stdin(0)
    try:
        # An optional extra: its absence is told to the user, not thrown at them.
        from penstock.engines.llamacpp import params  # noqa: PLC0415
    except ImportError as error:
        fix = "install penstock[llamacpp]; if it names libgomp.so.1, install the system package libgomp1"
        return _say(pipe, Hello(ready=False, error=f"llama.cpp cannot be loaded ({error}); {fix}", fatal=True))
    try:
        server = params.serve(params.build(launch.settings, launch.cores, launch.port))
    except ConfigError as error:
        return _say(pipe, Hello(ready=False, error=str(error), fatal=True))
    except RuntimeError as error:
        time.sleep(LOG_S)
        return _say(pipe, Hello(ready=False, error=str(error)))
    # Until here SIGTERM has its default effect: Python cannot act on it while llama.cpp loads the model.
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    # The C handler writes there at once, in whichever thread; Python's own would wait for a main thread that sleeps.
    signal.set_wakeup_fd(tell)
    signal.signal(signal.SIGTERM, lambda *_: None)
    _say(pipe, Hello(ready=True, address=server.listening_address))
    os.read(told, 1)
    _end(0)
    return 0


def _end(status: int) -> None:
    """Leaves without llama.cpp's static destructors, which join threads that may be busy for seconds."""
    os._exit(status)


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 65536)
        if not piece:
            raise SystemExit("the parent closed stdin before it sent the settings")
        line += piece
    return line


def _say(pipe: int, hello: Hello) -> int:
    os.write(pipe, msgspec.json.encode(hello) + b"\n")
    return FATAL if hello.fatal else int(not hello.ready)


if __name__ == "__main__":
    _end(main(sys.argv[1:]))
