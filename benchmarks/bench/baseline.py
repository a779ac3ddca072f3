"""python -m benchmarks.bench.baseline [--engine vllm] [--check]: L06's contract on a real engine.

Without `--check` a baseline is added to results/baselines. With it the contract is run and compared with the last one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bench.again import CONTRACTS
from benchmarks.bench.servers import KEY, Served, llamacpp, vllm
from benchmarks.gateway.gateways import ROOT, NotStarted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench.baseline", description=__doc__)
    parser.add_argument("--engine", choices=tuple(CONTRACTS), default="llamacpp")
    parser.add_argument("--check", action="store_true", help="run and compare with the last baseline")
    asked = parser.parse_args()
    contract = CONTRACTS[asked.engine]
    with tempfile.TemporaryDirectory(prefix="penstock-baseline-") as name:
        folder = Path(name)
        try:
            if asked.engine == "llamacpp":
                with llamacpp(folder / "server") as served:
                    return _measure(contract, served, folder, check=asked.check)
            with vllm(folder / "server") as servers:
                return _measure(contract, servers[0], folder, check=asked.check)
        except NotStarted as error:
            parser.error(str(error))


def _measure(contract: Path, served: Served, folder: Path, *, check: bool) -> int:
    server = ("--url", served.url, *served.options)
    if not check:
        return _bench("baseline", "-f", str(contract), *server)
    made = str(folder / "now.json.gz")
    code = _bench("run", "-f", str(contract), *server, "--out", made)
    return code or _bench("compare", contract.stem, made)


def _bench(*arguments: str) -> int:
    environment = os.environ | {"PENSTOCK_API_KEY": KEY, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "penstock", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
