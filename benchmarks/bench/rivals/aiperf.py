"""`aiperf profile`. One worker and one record processor: it has one core."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench.rivals.tool import Export, Load, Rival, linear, percentiles, write_prompts
from benchmarks.gateway.gateways import VENVS
from benchmarks.routing.engines import deps

PROGRAM = VENVS / "aiperf" / "bin" / "aiperf"
NAMES = {0.5: "p50", 0.9: "p90", 0.95: "p95", 0.99: "p99"}
METRICS = {
    "ttft_from_sent": "time_to_first_token",
    "itl": "inter_chunk_latency",
    "itl_mean": "inter_token_latency",
    "e2e_from_sent": "request_latency",
    "e2e": "effective_latency",
}
TOKENIZER = "local/smollm2"


def command(load: Load, folder: Path) -> list[str]:
    prompts = write_prompts(folder / "prompts.jsonl", "text", load)
    pace = (
        ["--request-rate", f"{load.rate:g}", "--request-rate-mode", "constant"]
        if load.rate
        else ["--concurrency", f"{load.clients}"]
    )
    return [
        "env", f"HF_HOME={cached(folder / 'hf')}", str(PROGRAM), "profile", "--ui", "none", "-m", load.model,
        "--url", load.url, "--endpoint-type", "chat", "--streaming", *pace, "--request-count", f"{load.requests}",
        "--input-file", str(prompts), "--custom-dataset-type", "single_turn", "--osl", f"{load.tokens}",
        "--tokenizer", TOKENIZER, "--use-server-token-count", "--artifact-dir", str(folder),
        "--workers-max", "1", "--record-processors", "1", "--no-gpu-telemetry", "--no-server-metrics",
    ]  # fmt: skip


def cached(home: Path) -> Path:
    """A cache of models in which the local tokenizer has a name: without a network it takes no path."""
    folder = home / "hub" / f"models--{TOKENIZER.replace('/', '--')}"
    revision = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / revision).symlink_to((deps() / "smollm2").resolve())
    return home


def parse(found: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> Export:
    """Raises KeyError, ValueError."""
    sent = [record["metadata"]["request_start_ns"] / 1e9 for record in records if not record.get("error")]
    reported = {quantity: percentiles(found[name], NAMES, 0.001) for quantity, name in METRICS.items() if name in found}
    return Export(int(found["request_count"]["avg"]), sent, "wall", reported)


def read(folder: Path) -> Export:
    records = (folder / "profile_export.jsonl").read_text().splitlines()
    summary = json.loads((folder / "profile_export_aiperf.json").read_text())
    return parse(summary, map(json.loads, records))


def rival() -> Rival:
    return Rival(
        "aiperf",
        "0.13.0",
        PROGRAM,
        "python -m benchmarks.bench install",
        command,
        read,
        linear,
        {
            "ttft_from_sent": "TTFT: from the request's start to the first response with content",
            "itl": "inter-chunk latency: gaps of all answers pooled, from a sketch",
            "itl_mean": "ITL: mean gap of one answer",
            "e2e_from_sent": "request latency: to the last response with content",
            "e2e": "effective latency: from when its scheduler let the request go",
        },
    )
