"""python -m benchmarks.bench.baseline [--check]: L06's contract on the embedded llama.cpp.

Without options a baseline is added to results/baselines. With `--check` the contract is run and compared with the last.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.limits.platform import up

CONTRACT = ROOT / "benchmarks" / "contracts" / "l06-small.yaml"
KEY = "sk-baseline-0123456789"
SLOTS = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench.baseline", description=__doc__)
    parser.add_argument("--check", action="store_true", help="run and compare with the last baseline")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-baseline-") as folder:
        try:
            with up(Path(folder) / "platform", [KEY], SLOTS) as platform:
                return _measure(platform.port, platform.admin, Path(folder), check=asked.check)
        except NotStarted as error:
            parser.error(str(error))


def _measure(port: int, admin: int, folder: Path, *, check: bool) -> int:
    server = ["--url", f"http://127.0.0.1:{port}", "--metrics", f"http://127.0.0.1:{admin}/metrics",
              "--label", f"engine=llamacpp, {SLOTS} slots"]  # fmt: skip
    if not check:
        return _bench("baseline", "-f", str(CONTRACT), *server)
    made = str(folder / "now.json.gz")
    code = _bench("run", "-f", str(CONTRACT), *server, "--out", made)
    return code or _bench("compare", CONTRACT.stem, made)


def _bench(*arguments: str) -> int:
    environment = os.environ | {"PENSTOCK_API_KEY": KEY, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "penstock", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
