"""What is proved. A proof is a module with `prove(*, quick) -> Proof`; adding one is a line here."""

from collections.abc import Callable, Mapping

from benchmarks.limits import exact, outages
from benchmarks.limits.proof import Proof

PROOFS: Mapping[str, Callable[..., Proof]] = {
    "exact": exact.prove,
    "outages": outages.prove,
}
"""Name -> what runs it: some minutes each, or `quick` for a look."""
