"""`guidellm run`. One worker process: it has one core."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench.rivals.tool import Export, Load, Rival, percentiles, write_prompts
from benchmarks.gateway.gateways import VENVS
from benchmarks.routing.engines import deps
from penstock.bench.measure.quantile import quantile

RESULT = "result.json"
PROGRAM = VENVS / "guidellm" / "bin" / "guidellm"
NAMES = {0.5: "p50", 0.9: "p90", 0.95: "p95", 0.99: "p99"}
# quantity -> name of the metric, its unit in seconds
METRICS = {
    "ttft_from_sent": ("time_to_first_token_ms", 0.001),
    "itl_mean": ("inter_token_latency_ms", 0.001),
    "e2e_from_sent": ("request_latency", 1.0),
    "e2e": ("request_scheduled_latency", 1.0),
}


def command(load: Load, folder: Path) -> list[str]:
    prompts = write_prompts(folder / "prompts.jsonl", "prompt", load)
    profile = f"kind=constant,rate={load.rate:g}" if load.rate else f"kind=concurrent,streams={load.clients}"
    return [
        str(PROGRAM), "run", "--disable-console",
        "--backend", f"kind=openai_http,target={load.url},model={load.model},max_tokens={load.tokens}",
        "--profile", profile, "--constraint", f"kind=max_requests,count={load.requests}",
        "--tokenizer", f"kind=huggingface_auto,model={deps() / 'smollm2'}",
        "--data", f"kind=json_file,path={prompts}", "--output", f"kind=json,path={folder / RESULT}",
    ]  # fmt: skip


def parse(found: Mapping[str, Any]) -> Export:
    """Raises KeyError, ValueError, IndexError."""
    run = found["benchmarks"][0]
    good = run["requests"]["successful"]
    reported = {
        quantity: percentiles(run["metrics"][name]["successful"]["percentiles"], NAMES, unit)
        for quantity, (name, unit) in METRICS.items()
        if run["metrics"].get(name)
    }
    return Export(len(good), [float(each["request_start_time"]) for each in good], "wall", reported)


def read(folder: Path) -> Export:
    return parse(json.loads((folder / RESULT).read_text()))


def rival() -> Rival:
    return Rival(
        "guidellm",
        "0.8.1",
        PROGRAM,
        "python -m benchmarks.bench install",
        command,
        read,
        quantile,
        {
            "ttft_from_sent": "TTFT: from the first write of the request's head to the first line with a token",
            "itl_mean": "ITL: mean gap of one answer, weighted by its tokens",
            "e2e_from_sent": "request latency: to the end of the stream",
            "e2e": "request scheduled latency: from the moment of its timetable to the end of the stream",
        },
        {"GUIDELLM__MAX_WORKER_PROCESSES": "1"},
    )
