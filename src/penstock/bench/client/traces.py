"""Trace files of a workload, read and named by their SHA-256."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from penstock.bench.traffic.traces.trace import Trace, trace
from penstock.bench.traffic.workload import Replay, Stage
from penstock.core.errors import ConfigError


def opened(stages: Sequence[Stage]) -> tuple[tuple[Stage, ...], dict[int, Trace]]:
    """(stages that name their traces by SHA-256, the traces by number of their stage). Raises ConfigError."""
    named: list[Stage] = []
    traces: dict[int, Trace] = {}
    for number, stage in enumerate(stages):
        match stage:
            case Replay():
                found, traces[number] = _read(f"workload.stages[{number}]", stage)
                named.append(found)
            case _:
                named.append(stage)
    return tuple(named), traces


def _read(where: str, stage: Replay) -> tuple[Replay, Trace]:
    digest = hashlib.sha256()

    def lines(file: BinaryIO) -> Iterator[str]:
        for number, raw in enumerate(file, 1):
            digest.update(raw)
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ConfigError(f"{stage.file}:{number}: not UTF-8 text ({error.reason}); name a text file") from None

    try:
        with Path(stage.file).open("rb") as file:
            found = trace(lines(file), stage.file, stage.format, stage.seconds * stage.speed)
    except OSError as error:
        raise ConfigError(f"{where}.file: cannot read {stage.file}: {error.strerror}; name a trace") from None
    sha256 = digest.hexdigest()
    if stage.sha256 not in ("", sha256):
        raise ConfigError(
            f"{where}.sha256: is {stage.sha256}, and {stage.file} has {sha256}; take the other file, or this SHA-256"
        )
    return msgspec.structs.replace(stage, sha256=sha256), found
