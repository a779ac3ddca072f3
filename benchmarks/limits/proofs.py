"""What is proved. A proof is a module with `prove(*, quick) -> Proof`; adding one is a line here."""

from collections.abc import Callable, Mapping

from benchmarks.limits import cost, exact, killed, noisy, outages, tamper
from benchmarks.limits.proof import Proof

PROOFS: Mapping[str, Callable[..., Proof]] = {
    "exact": exact.prove,
    "noisy": noisy.prove,
    "killed": killed.prove,
    "outages": outages.prove,
    "cost": cost.prove,
    "tamper": tamper.prove,
}
"""Name -> what runs it: some minutes each, or `quick` for a look."""
