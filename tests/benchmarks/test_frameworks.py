"""Engines beside each other: what is said of the matrices, and that the page's table tells them."""

import json
from pathlib import Path
from typing import Any

from benchmarks.bench.frameworks import CONTRACT, WISHES, judged
from penstock.cli.bench.options import contract_of
from tests.test_docs import generator

STAGES = {"1 at once": {"ttft.mean": 0.05, "output_rate": 40.0}}


def place(name: str, standing: str, score: float) -> dict[str, Any]:
    return {
        "name": name, "standing": standing, "score": score, "low": score * 0.9, "high": score * 1.1, "why": [],
        "values": STAGES,
    }  # fmt: skip


def told(twin: str = "tied") -> dict[str, Any]:
    places = [place("llamacpp", "best", 1.0), place("llamacpp-twin", twin, 0.99), place("vllm", "behind", 0.5)]
    return {wish: {"places": places} for wish in WISHES}


def test_a_twin_that_cannot_be_told_apart_holds_and_one_that_is_behind_does_not() -> None:
    assert [bar.holds for bar in judged(told()).bars] == [True, True]
    measured, apart = judged(told("behind")).bars
    assert (measured.holds, apart.holds, apart.value) == (True, False, 3)


def test_an_engine_that_is_out_under_every_wish_was_not_measured() -> None:
    found = told()
    for matrix in found.values():
        matrix["places"][2]["standing"] = "out"
    assert judged(found).bars[0].value == 1


def test_its_contract_is_one() -> None:
    contract = contract_of(CONTRACT)
    assert contract.name == CONTRACT.stem
    assert contract.workload.exact_output


def test_the_table_has_every_server_under_every_wish(tmp_path: Path) -> None:
    kept = tmp_path / "latest.json"
    proof = judged(told())
    run = {"when": "2026-11-28T00:00:00", "machine": {"cpu": "a cpu", "cores": 2}}
    kept.write_text(json.dumps({"figures": {"frameworks": proof.figures}, "runs": {"frameworks": run}}))
    text = generator().frameworks(None, kept)
    assert text.startswith("Measured 2026-11-28 on a cpu, 2 cores.")
    assert text.count("| vllm |") == len(WISHES) + len(STAGES)
    assert "| interactive | vllm | behind | 0.50 | 0.45 to 0.55 |" in text
    assert "| vllm | 1 at once | 50 ms | 40/s |" in text.replace("50.00 ms", "50 ms").replace("40.00/s", "40/s")
