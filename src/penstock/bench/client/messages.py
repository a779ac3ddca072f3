"""What the run and its client processes tell each other: frames of msgpack, each after its length in 4 bytes."""

import struct
from typing import TypeAlias

import msgspec

from penstock.bench.client.settings import Patience, Server
from penstock.bench.sample import Planned, Sample

LENGTH = struct.Struct("<I")


class Task(msgspec.Struct, frozen=True, tag=True):
    """One process's part of a stage."""

    server: Server
    patience: Patience
    began: float
    """Monotonic seconds at which the run began: the clock is the machine's, all processes read the same."""
    begin: float
    """Seconds from then on at which the stage begins."""
    stage: int
    concurrency: int
    """Places of a closed loop; 0: an open one, whose requests have due times from the stage's beginning."""
    requests: list[tuple[int, Planned]]
    """With their numbers in the stage."""
    cut: float = 0.0
    """Seconds from the stage's beginning after which no request is begun in a closed loop; 0: all are."""


class Lately(msgspec.Struct, frozen=True, tag=True):
    """How it goes, a few times a second. Counts are of this stage and process, so far."""

    sent: int
    done: int
    failed: int
    tokens: int
    ttft: list[float]
    """Seconds, of what began to be answered since the last word."""
    lag: float
    """The largest schedule delay since the last word, seconds."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """The part is over."""

    samples: list[Sample]
    cpu_s: float
    """CPU seconds spent on it."""
    wall_s: float


Word: TypeAlias = Lately | Done


def frame(message: Task | Lately | Done) -> bytes:
    data = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(data)) + data
