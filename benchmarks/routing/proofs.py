"""What is proved of routing beside the comparison of routers, by name. Each keeps its raw-NAME.json."""

from collections.abc import Callable, Mapping

from benchmarks.limits.proof import Proof
from benchmarks.routing import decision, lora, outages

PROOFS: Mapping[str, Callable[..., Proof]] = {
    "decision": decision.prove,
    "outages": outages.prove,
    "lora": lora.prove,
}
