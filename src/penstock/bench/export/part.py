"""What one document of another tool is about: one stage of one run."""

from functools import cached_property

from penstock.bench.contract.contract import Contract
from penstock.bench.sample import Ending, Run, Sample, Stage
from penstock.bench.traffic.workload import Stage as Load


class Part:
    """Stage `number` (from 0) of a run. Requests that were cancelled as planned are in none of its lists: no other tool
    has them."""

    def __init__(self, contract: Contract, run: Run, number: int) -> None:
        self.contract = contract
        self.run = run
        self.stage: Stage = run.stages[number]
        self.load: Load = contract.workload.stages[number]
        self.model = run.fingerprint.get("server.model", "") or contract.workload.model
        self._number = number

    @cached_property
    def samples(self) -> list[Sample]:
        """In the order in which they were sent."""
        own = [each for each in self.run.samples if each.stage == self._number and each.ending is not Ending.CANCELLED]
        return sorted(own, key=lambda sample: sample.sent)

    @cached_property
    def whole(self) -> list[Sample]:
        """Those whose answer was whole."""
        return [sample for sample in self.samples if sample.ending is Ending.OK]

    @cached_property
    def streamed(self) -> list[Sample]:
        """Whole answers that came as streams with content: others have no first token."""
        return [sample for sample in self.whole if sample.events]

    @property
    def failed(self) -> int:
        return len(self.samples) - len(self.whole)

    @property
    def seconds(self) -> float:
        return max(1e-9, self.stage.end - self.stage.begin)


def first_from_sent(sample: Sample) -> float:
    """Time to first token of a stream, seconds from sending."""
    return sample.first - sample.sent


def last_from_sent(sample: Sample) -> float:
    """From sending to the last content, seconds; of an answer in one piece, to its last byte."""
    return (sample.last if sample.events else sample.ended) - sample.sent
