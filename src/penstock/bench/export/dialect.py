"""The tools whose words this package knows."""

from collections.abc import Callable, Mapping

import msgspec

from penstock.bench.export.aiperf import aiperf
from penstock.bench.export.mlperf import mlperf
from penstock.bench.export.part import Part
from penstock.bench.export.vllm import vllm


class Dialect(msgspec.Struct, frozen=True):
    """`detailed`: the same with a value per request; None where the tool's file has none."""

    brief: Callable[[Part], dict[str, object]]
    detailed: Callable[[Part], dict[str, object]] | None = None


DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect(lambda part: vllm(part, detailed=False), lambda part: vllm(part, detailed=True)),
    "aiperf": Dialect(aiperf),
    "mlperf": Dialect(mlperf),
}
