"""python -m benchmarks.bench run [--only NAME,NAME] [--quick] [--json] | report [--json] | install"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping

from rich.console import Console

from benchmarks.bars import table
from benchmarks.bench import again, capacity, frameworks, knee, locust_same, three_x, truth
from benchmarks.bench.rivals import proof
from benchmarks.bench.rivals.run import install
from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.limits import report
from benchmarks.limits.proof import Proof

RESULTS = ROOT / "results" / "bench"
PROOFS: Mapping[str, Callable[..., Proof]] = {
    "truth": truth.prove,
    "capacity": capacity.prove,
    "rivals": proof.prove,
    "locust": locust_same.prove,
    "knee": knee.prove,
    "three_x": three_x.prove,
    "frameworks": frameworks.prove,
    "again_llamacpp": again.prove_llamacpp,
    "again_vllm": again.prove_vllm,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument(
        "verb", choices=("run", "report", "install"), help="install: Locust and the rivals, below .bench/"
    )
    parser.add_argument("--json", action="store_true", help="print latest.json instead of a table")
    parser.add_argument("--only", default="", help="comma-separated proofs; all unless told")
    parser.add_argument("--quick", action="store_true", help="a look that is not kept")
    asked = parser.parse_args()
    if asked.verb == "install":
        locust_same.install()
        install()
        return 0
    wanted = [name for name in asked.only.split(",") if name] or list(PROOFS)
    if unknown := set(wanted) - set(PROOFS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PROOFS)}")
    docs = []
    for name in wanted if asked.verb == "run" else ():
        print(f"proving {name}", file=sys.stderr, flush=True)
        run = report.began()
        try:
            made = PROOFS[name](quick=asked.quick)
        except NotStarted as error:
            parser.error(f"{name}: {error}")
        docs.append(report.document(name, run, made))
        if not asked.quick:
            report.save(docs[-1], made.raw, RESULTS)
    bars = [bar for doc in docs for bar in doc["bars"]] if asked.quick else report.latest(PROOFS, RESULTS)["bars"]
    if asked.json:
        json.dump({"bars": bars}, sys.stdout, indent=1)
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(table([("bench", bar) for bar in bars]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
