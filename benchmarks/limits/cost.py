"""What tenants cost the data path: CPU per request with everything on that is kept for them, against nginx."""

from benchmarks.bars import Bar
from benchmarks.gateway.figures import ratio
from benchmarks.gateway.session import run
from benchmarks.limits.proof import Proof

PLAIN, ROW, PEER = "penstock", "penstock-tenants", "nginx"


def prove(*, quick: bool = False) -> Proof:
    """Rounds of `benchmarks.gateway` with the row `penstock-tenants`."""
    raw = run(quick=quick, only=(PLAIN, ROW, PEER), rounds=1 if quick else 5)
    unary, chunk = ratio(raw["rounds"], ROW, PEER, "unary_us"), ratio(raw["rounds"], ROW, PLAIN, "chunk_us")
    why = raw["absent"].get(ROW, "") or raw["absent"].get(PEER, "")
    return Proof(
        [
            Bar("tenants_unary_vs_nginx", unary, 4.5, "ratio", why=why),
            Bar("tenants_chunk_over_without", chunk, 1.1, "ratio", why=why or "runs differ by a tenth"),
        ],
        {
            "unary_vs_nginx": unary,
            "unary_over_without": ratio(raw["rounds"], ROW, PLAIN, "unary_us"),
            "chunk_over_without": chunk,
        },
        {"rounds": raw["rounds"], "versions": raw["versions"]},
    )
