"""Whether verdicts hold: a server that has not changed is called the same, a slower one is found.

For llama.cpp and for vLLM a baseline of lab L06's contract is added to results/baselines. Then two sets of the contract
are run on that server in turn (ABAB), 20 times, and each time the two are compared; between those a vLLM that takes
prompts in smaller steps stands against it 10 times. Sets that cannot be told apart nor called the same grow, up to
MOST runs each, and the looks at them share the level. How the server compares with its baseline then is noted beside
it: a machine that is faster at one hour than at another is what interleaving is for. A second process with the same
flags is not the same server: on the machine of these figures its memory alone makes it up to 5 % slower or faster.
All of it by the commands that a user has: `penstock bench baseline`, `run --against --most-runs`, `compare --pairs
--json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.bench.servers import KEY, SLOWER, Served, llamacpp, vllm
from benchmarks.gateway.gateways import ROOT, NotStarted
from benchmarks.limits.proof import Proof

CONTRACTS = {name: ROOT / "benchmarks" / "contracts" / f"l06-{name}.yaml" for name in ("llamacpp", "vllm")}
RERUNS, SLOWED = 20, 10
RUNS = {"llamacpp": 5, "vllm": 5}
"""Of the contract in each set; of a baseline twice as many, as the contract says."""
MOST = 20
"""Runs in a set that grows: it takes minutes as they are."""
SAME_AT_LEAST, WORSE_AT_LEAST = 19, 9


def prove_llamacpp(*, quick: bool = False) -> Proof:
    """Raises NotStarted."""
    with tempfile.TemporaryDirectory(prefix="penstock-again-") as name:
        folder = Path(name)
        with llamacpp(folder / "server") as served:
            found = _measured("llamacpp", [served], _kept(folder, quick=quick), folder, 2 if quick else RERUNS, 0)
    bar = verdicts("again_llamacpp_same", found["again"], "same", SAME_AT_LEAST)
    return Proof([bar], _told(found), found)


def prove_vllm(*, quick: bool = False) -> Proof:
    """Raises NotStarted."""
    reruns, slowed = (2, 1) if quick else (RERUNS, SLOWED)
    with tempfile.TemporaryDirectory(prefix="penstock-again-") as name:
        folder = Path(name)
        with vllm(folder / "server", [SLOWER]) as servers:
            found = _measured("vllm", servers, _kept(folder, quick=quick), folder, reruns, slowed)
    bars = [
        verdicts("again_vllm_same", found["again"], "same", SAME_AT_LEAST),
        verdicts("slowed_vllm_worse", found["slowed"], "worse", WORSE_AT_LEAST),
    ]
    return Proof(bars, _told(found), found)


def _told(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    return {kind: told(comparisons) for kind, comparisons in found.items() if comparisons}


def _kept(folder: Path, *, quick: bool) -> Path:
    """Where baselines go: a look leaves none."""
    return folder / "baselines" if quick else ROOT / "results" / "baselines"


def _measured(
    engine: str, servers: Sequence[Served], kept: Path, folder: Path, reruns: int, slowed: int
) -> dict[str, list[Any]]:
    """`servers`: the one that has the baseline, and a slowed one. Comparisons with the first one, as `compare --json`
    tells them; a slowed server's come between the others. Under `then` the first one beside its baseline."""
    contract = CONTRACTS[engine]
    _bench("baseline", "-f", str(contract), "--folder", str(kept), *_of(servers[0]))
    found: dict[str, list[Any]] = {"again": [], "slowed": [], "then": []}
    order = interleaved(reruns, slowed)
    for number, kind in enumerate(order):
        other = servers[kind == "slowed"]
        made = folder / f"{engine}-{number}.json.gz"
        _bench(
            "run", "-f", str(contract), "--runs", str(RUNS[engine]), "--most-runs", str(MOST), "--out", str(made),
            "--against", other.url, *_of(servers[0]), codes=(0, 1),
        )  # fmt: skip
        found["then"].append(_compared(contract.stem, f"{made}-a", "--folder", str(kept)))
        found[kind].append(_compared(f"{made}-a", f"{made}-b", "--pairs"))
        print(f"{engine} {number + 1}/{len(order)}, {kind}: {found[kind][-1]['verdict']}", file=sys.stderr, flush=True)
    return found


def _compared(*arguments: str) -> Any:
    return json.loads(_bench("compare", *arguments, "--json", codes=(0, 1, 3, 4)))


def interleaved(reruns: int, slowed: int) -> list[str]:
    """What is measured, in order: the slowed server's runs lie evenly between the others, so that both have the same
    hours."""
    step = reruns / slowed if slowed else 0.0
    order = []
    for number in range(reruns):
        order += ["again"] + ["slowed"] * sum(int(step * each) == number for each in range(slowed))
    return order


def _of(served: Served) -> tuple[str, ...]:
    return ("--url", served.url, *served.options)


def _bench(*arguments: str, codes: Sequence[int] = (0,)) -> str:
    """What a command of `penstock bench` printed. Raises NotStarted for an exit code that is not in `codes`."""
    environment = os.environ | {"PENSTOCK_API_KEY": KEY, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "penstock", "bench", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    if done.returncode not in codes:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise NotStarted(f"penstock bench {arguments[0]} ended with {done.returncode}: {' '.join(last)[-300:]}")
    return done.stdout


def verdicts(name: str, found: Sequence[Mapping[str, Any]], wanted: str, least: int) -> Bar:
    """How many comparisons came to the verdict that is true."""
    counted = Counter(each["verdict"] for each in found)
    others = [f"{count} {verdict}" for verdict, count in counted.most_common() if verdict != wanted]
    if grew := sum(each.get("runs", 0) > min(RUNS.values()) for each in found):
        others.append(f"{grew} of sets that had to grow")
    return Bar(name, counted[wanted], least, f"of {len(found)}", "higher", why=", ".join(others))


def told(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A table for people: the verdicts, and of each metric the changes that were seen."""
    changes: dict[str, list[float]] = {}
    for each in found:
        for row in each["rows"]:
            changes.setdefault(f"{row['stage']}: {row['metric']}", []).append(round(row["change"], 4))
    return {
        "verdicts": [each["verdict"] for each in found],
        "changes": {name: {"least": min(of), "mean": round(sum(of) / len(of), 4), "most": max(of)}
                    for name, of in changes.items()},
    }  # fmt: skip
