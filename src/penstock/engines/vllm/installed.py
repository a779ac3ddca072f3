"""What the installed vLLM is: its version, its flags. The program itself is asked, as it may have a venv of its own."""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from penstock.core.errors import ConfigError
from penstock.engines.vllm.flags import Option, read_help

ASK_TIMEOUT_S = 180.0
"""`vllm --help` imports much of vLLM: 12 s on two idle cores, far more on a busy or cold machine."""
# Widths and colours of the asking terminal must not reach the answer.
PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "PYTHON_COLORS": "0"}
FEW = 20
"""`vllm serve` has hundreds of flags; an answer with fewer than this is not its help."""
VERSION_OF = "import importlib.metadata as m; print(m.version('vllm'))"
_VERSION = re.compile(r"^\d+\.\d+\S*$", re.MULTILINE)


class Installed(msgspec.Struct, frozen=True):
    """One installed vLLM."""

    executable: str
    version: str
    flags: dict[str, Option]


async def find(executable: str, environ: Mapping[str, str], cache: Path | None = None) -> Installed:
    """Asks the program; what it said is kept under `cache` per program and version. Raises ConfigError."""
    path = shutil.which(executable, path=environ.get("PATH"))
    if path is None:
        raise ConfigError(f"executable: there is no program {executable!r}; install vLLM, or give its whole path")
    environment = {**environ, **PLAIN}
    version = await _version(path, environment)
    kept = _place(cache, path, version)
    if kept is not None and (found := _read(kept)) is not None:
        return found
    text = await _ask([path, "serve", "--help=all"], environment)
    flags = read_help(text)
    if len(flags) < FEW:  # before `--help=all` there was only `--help`
        flags = read_help(await _ask([path, "serve", "--help"], environment))
    if len(flags) < FEW:
        raise ConfigError(f"executable: {path} does not list its flags as `vllm serve` does")
    found = Installed(path, version, flags)
    if kept is not None:
        _write(kept, found)
    return found


async def _version(path: str, environ: Mapping[str, str]) -> str:
    """Its package's version, from its own interpreter in a moment; else from the program in many seconds."""
    if interpreter := _interpreter(path):
        try:
            return (await _ask([interpreter, "-c", VERSION_OF], environ)).strip()
        except ConfigError:
            pass  # not where the package is, after all
    said = await _ask([path, "--version"], environ)
    if matched := _VERSION.search(said):
        return matched[0]
    raise ConfigError(f"executable: {path} --version does not tell a version")


def _interpreter(path: str) -> str:
    """The Python in the program's first line; empty when it has none, or one that needs a search."""
    try:
        with open(path, "rb") as file:
            first = file.readline(4096).decode(errors="replace").strip()
    except OSError:
        return ""
    program = first[2:].strip() if first.startswith("#!") else ""
    name = os.path.basename(program)
    return program if name.startswith("python") and " " not in program else ""


async def _ask(command: list[str], environ: Mapping[str, str]) -> str:
    shown = " ".join(command[:3])
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environ, start_new_session=True
        )
    except OSError as error:
        raise ConfigError(f"executable: {shown} cannot be started: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise ConfigError(f"executable: {shown} did not answer in {ASK_TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["it says nothing"]
        raise ConfigError(f"executable: {shown} failed with status {process.returncode}: {last[0][:300]}")
    return out.decode(errors="replace")


def _place(cache: Path | None, path: str, version: str) -> Path | None:
    if cache is None:
        return None
    mark = sha256(f"{os.path.realpath(path)}\0{path}\0{version}".encode()).hexdigest()[:16]
    return cache / "vllm" / f"flags-{mark}.json"


def _read(place: Path) -> Installed | None:
    try:
        return msgspec.json.decode(place.read_bytes(), type=Installed)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(place: Path, found: Installed) -> None:
    """Keeps it for the next start; a folder that cannot be written costs that start some seconds, no more."""
    part = place.with_suffix(f".{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.encode(found))
        part.replace(place)
    except OSError:
        part.unlink(missing_ok=True)
