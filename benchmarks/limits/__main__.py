"""python -m benchmarks.limits run [--only exact,outages] [--quick] [--json] | report [--json]"""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console

from benchmarks.bars import table
from benchmarks.gateway.gateways import NotStarted
from benchmarks.limits import report
from benchmarks.limits.proofs import PROOFS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, what in (("run", "prove, then report"), ("report", "the bars of the last runs again")):
        each = verbs.add_parser(verb, help=what)
        each.add_argument("--json", action="store_true", help="print latest.json instead of a table")
        if verb == "run":
            each.add_argument("--only", default="", help="comma-separated proofs; all unless told")
            each.add_argument("--quick", action="store_true", help="a look of a minute each that is not kept")
    asked = parser.parse_args()
    names = list(PROOFS)
    if asked.verb == "report":
        return _show(report.latest(names), asked.json)
    wanted = [name for name in asked.only.split(",") if name] or names
    if unknown := set(wanted) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    docs = []
    for name in wanted:
        print(f"proving {name}", file=sys.stderr, flush=True)
        run = report.began()
        try:
            proof = PROOFS[name](quick=asked.quick)
        except NotStarted as error:
            parser.error(f"{name}: {error}")
        docs.append(report.document(name, run, proof))
        if not asked.quick:
            report.save(docs[-1], proof.raw)
    if asked.quick:
        return _show({"bars": [bar for doc in docs for bar in doc["bars"]]}, asked.json)
    return _show(report.latest(names), asked.json)


def _show(doc: dict[str, object], as_json: bool) -> int:
    if as_json:
        json.dump(doc, sys.stdout, indent=1)
    else:
        bars = doc["bars"]
        assert isinstance(bars, list)
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(table([("limits", bar) for bar in bars]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
