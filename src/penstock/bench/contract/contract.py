"""The load-test contract: one file that says what is sent, what is good, and when two sets of runs differ."""

import hashlib
from pathlib import PurePath
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.bench.measure.figures import Slo
from penstock.bench.sample import Run
from penstock.bench.traffic.workload import Replay, Stage, Workload

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When two sets of runs differ. Sizes are parts: 0.1 is a tenth."""

    metrics: Annotated[
        tuple[str, ...], Meta(min_length=1, description="What gates: QUANTITY.pNN, output_rate, rate, ok_share")
    ] = ("ttft.p50", "tpot.p50", "e2e.p50", "e2e.p95", "output_rate")
    stages: Annotated[
        dict[str, tuple[str, ...]], Meta(description="Stage, as reports call it -> what gates there instead")
    ] = msgspec.field(default_factory=dict)
    margin: Annotated[float, Meta(gt=0, lt=1, description="Differences below it are the same")] = 0.10
    least: Annotated[float, Meta(ge=0, lt=1, description="A difference that is sure is told from this size on")] = 0.05
    level: Annotated[float, Meta(gt=0.5, lt=1, description="Confidence")] = 0.95

    def of(self, stage: str) -> tuple[str, ...]:
        """What gates in a stage."""
        return self.stages.get(stage, self.metrics)

    def shared(self, looks: int) -> "Judgement":
        """The judgement at one of so many looks, which share its level (Bonferroni)."""
        return msgspec.structs.replace(self, level=1.0 - (1.0 - self.level) / looks)


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Version 1 of the format."""

    name: Annotated[Name, Meta(description="Folder of its baselines")]
    workload: Annotated[Workload, Meta(description="What is sent")]
    version: Annotated[int, Meta(ge=1, le=1, description="Of this format")] = 1
    runs: Annotated[int, Meta(ge=1, le=1000, description="Repetitions of one set")] = 8
    slo: Annotated[Slo, Meta(description="What makes an answer good")] = Slo()
    judge: Annotated[Judgement, Meta(description="When two sets differ")] = Judgement()

    def __post_init__(self) -> None:
        known = [stage.label for stage in self.workload.stages]
        for stage in self.judge.stages:
            if stage not in known:
                raise ValueError(f"judge.stages: there is no stage {stage!r:.60}; there are {', '.join(known)}")

    @property
    def digest(self) -> str:
        """Names what is sent: two contracts with one digest send the same bytes. A trace is named by its own SHA-256,
        and where it lies says nothing more."""
        workload = msgspec.to_builtins(self.workload)
        for stage in workload["stages"]:
            if stage.get("sha256"):
                del stage["file"]
        return hashlib.sha256(msgspec.json.encode(workload, order="sorted")).hexdigest()[:16]

    @property
    def traces(self) -> dict[str, str]:
        """Stage -> SHA-256 of the trace that it replays."""
        stages = enumerate(msgspec.to_builtins(self.workload.stages))
        return {f"workload.stages[{number}].file": found for number, stage in stages if (found := stage.get("sha256"))}

    def within(self, folder: PurePath) -> "Contract":
        """The contract that lies in `folder`, with paths that do not count from there."""
        stages = tuple(_within(stage, folder) for stage in self.workload.stages)
        return msgspec.structs.replace(self, workload=msgspec.structs.replace(self.workload, stages=stages))


class RunSet(msgspec.Struct):
    """Runs of one contract against one server: what is stored, and what is compared."""

    contract: Contract
    fingerprint: dict[str, str]
    runs: list[Run]
    made: str = ""
    """ISO 8601, UTC."""
    looks: int = 1
    """Comparisons that were to be made at most while the sets grew: they share the level."""
    stopped: bool = False
    """Ended before all of its runs were made."""


def _within(stage: Stage, folder: PurePath) -> Stage:
    match stage:
        case Replay(file=file):
            return msgspec.structs.replace(stage, file=str(folder / file))
        case _:
            return stage
