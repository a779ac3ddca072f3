"""python -m benchmarks.routing run [--quick] [--only penstock,smg] [--json] | prove [--quick] | install | report"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.gateway.gateways import NotStarted
from benchmarks.limits.report import began
from benchmarks.limits.report import document as proof_document
from benchmarks.limits.report import save as save_proof
from benchmarks.routing import report
from benchmarks.routing.fronts import install
from benchmarks.routing.proofs import PROOFS
from benchmarks.routing.session import Options, run


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=__doc__)
    verbs = made.add_subparsers(dest="verb", required=True)
    verbs.add_parser("install", help="one virtual environment per rival, below .bench/")
    for verb, what in (("run", "measure, then report"), ("report", "render the raw data of the last run again")):
        each = verbs.add_parser(verb, help=what)
        each.add_argument("--json", action="store_true", help="print latest.json instead of tables")
        if verb == "run":
            each.add_argument("--quick", action="store_true", help="under 3 min: 2 policies, 2 workloads, llama.cpp")
            each.add_argument("--only", type=names, default=[], help="comma-separated gateways")
            each.add_argument("--workloads", type=names, default=[], help="comma-separated workloads")
            each.add_argument("--engines", type=names, default=[], help="llamacpp, vllm or both")
            each.add_argument("--rounds", type=int, default=0, help="as many as fit into --minutes unless told")
            each.add_argument("--minutes", type=float, default=24.0, help="time to fill with rounds")
            each.add_argument("--model", type=Path, help="another GGUF for llama.cpp")
            each.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the results")
    each = verbs.add_parser("prove", help="faults under load, and LoRA adapters: real engines")
    each.add_argument("--only", type=names, default=[], help=f"of {', '.join(PROOFS)}; all unless told")
    each.add_argument("--quick", action="store_true", help="a look that is not kept")
    each.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return made


def prove(asked: argparse.Namespace, asking: argparse.ArgumentParser) -> None:
    """Runs proofs and keeps them. A look is printed instead."""
    if unknown := set(asked.only) - set(PROOFS):
        asking.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PROOFS)}")
    for name in asked.only or PROOFS:
        run = began()
        try:
            made = PROOFS[name](quick=asked.quick)
        except NotStarted as error:
            asking.error(f"{name}: {error}")
        doc = proof_document(name, run, made)
        if asked.quick:
            print(json.dumps(doc, indent=1))
        else:
            save_proof(doc, made.raw, report.RESULTS)


def main() -> int:
    asking = parser()
    asked = asking.parse_args()
    if asked.verb == "install":
        install()
        return 0
    if asked.verb == "prove":
        prove(asked, asking)
        if asked.quick:
            return 0
    folder = asked.out if asked.verb == "run" else report.RESULTS
    if asked.verb == "run":
        options = Options(
            asked.quick, asked.only, asked.workloads, asked.engines, asked.rounds, asked.minutes, asked.model
        )
        try:
            report.save_raw(run(options), folder)
        except ValueError as error:
            asking.error(str(error))
    try:
        raw = report.load_raw(folder)
    except FileNotFoundError:
        asking.error("nothing was run yet: python -m benchmarks.routing run")
    doc = report.write(raw, folder)
    if asked.json:
        json.dump(doc, sys.stdout, indent=1)
    else:
        report.show(doc, Console(width=None if sys.stdout.isatty() else 160))
    return 0


if __name__ == "__main__":
    sys.exit(main())
