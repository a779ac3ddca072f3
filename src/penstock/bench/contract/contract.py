"""The load-test contract: one file that says what is sent, what is good, and when two sets of runs differ."""

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.bench.measure.figures import Slo
from penstock.bench.sample import Run
from penstock.bench.traffic.workload import Workload

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When two sets of runs differ. Sizes are parts: 0.1 is a tenth."""

    metrics: Annotated[
        tuple[str, ...], Meta(min_length=1, description="What gates: QUANTITY.pNN, output_rate, rate, ok_share")
    ] = ("ttft.p50", "tpot.p50", "e2e.p50", "e2e.p95", "output_rate")
    margin: Annotated[float, Meta(gt=0, lt=1, description="Differences below it are the same")] = 0.10
    least: Annotated[float, Meta(ge=0, lt=1, description="A difference that is sure is told from this size on")] = 0.05
    level: Annotated[float, Meta(gt=0.5, lt=1, description="Confidence")] = 0.95


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Version 1 of the format."""

    name: Annotated[Name, Meta(description="Folder of its baselines")]
    workload: Annotated[Workload, Meta(description="What is sent")]
    version: Annotated[int, Meta(ge=1, le=1, description="Of this format")] = 1
    runs: Annotated[int, Meta(ge=1, le=1000, description="Repetitions of one set")] = 8
    slo: Annotated[Slo, Meta(description="What makes an answer good")] = Slo()
    judge: Annotated[Judgement, Meta(description="When two sets differ")] = Judgement()

    @property
    def digest(self) -> str:
        """Names what is sent: two contracts with one digest send the same bytes."""
        return hashlib.sha256(msgspec.json.encode(self.workload, order="sorted")).hexdigest()[:16]


class RunSet(msgspec.Struct):
    """Runs of one contract against one server: what is stored, and what is compared."""

    contract: Contract
    fingerprint: dict[str, str]
    runs: list[Run]
    made: str = ""
    """ISO 8601, UTC."""
