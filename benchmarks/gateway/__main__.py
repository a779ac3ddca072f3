"""python -m benchmarks.gateway run [--quick] [--only penstock,nginx] [--rounds N] [--json] | install | report"""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console

from benchmarks.gateway import report
from benchmarks.gateway.gateways import install
from benchmarks.gateway.session import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("install", help="one virtual environment per comparator, below .bench/")
    for verb, what in (
        ("run", "measure, then report"),
        ("report", "render the raw data of the last run again"),
    ):
        each = verbs.add_parser(verb, help=what)
        each.add_argument("--json", action="store_true", help="print latest.json instead of tables")
        if verb == "run":
            each.add_argument("--quick", action="store_true", help="under 90 s: penstock, nginx and envoy")
            each.add_argument("--only", default="", help="comma-separated gateways")
            each.add_argument("--rounds", type=int, default=0, help="9 unless told, 2 with --quick")
    asked = parser.parse_args()
    if asked.verb == "install":
        install()
        return 0
    if asked.verb == "run":
        try:
            raw = run(quick=asked.quick, only=[name for name in asked.only.split(",") if name], rounds=asked.rounds)
        except ValueError as error:
            parser.error(str(error))
        report.save_raw(raw)
    try:
        raw = report.load_raw()
    except FileNotFoundError:
        parser.error("nothing was run yet: python -m benchmarks.gateway run")
    doc = report.write(raw)
    if asked.json:
        json.dump(doc, sys.stdout, indent=1)
    else:
        report.show(doc, Console(width=None if sys.stdout.isatty() else 160))
    return 0


if __name__ == "__main__":
    sys.exit(main())
