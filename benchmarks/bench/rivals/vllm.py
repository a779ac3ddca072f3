"""`vllm bench serve`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench.rivals.tool import QUANTILES, Export, Load, Rival, linear
from benchmarks.routing.engines import deps

RESULT = "result.json"
NAMES = {"ttft_from_sent": "ttft", "itl": "itl", "e2e_from_sent": "e2el", "e2e": "e2el_including_client_queue"}


def command(load: Load, folder: Path) -> list[str]:
    pace = (
        ["--request-rate", f"{load.rate:g}", "--burstiness", "inf"]
        if load.rate
        else ["--max-concurrency", f"{load.clients}"]
    )
    return [
        str(deps() / "vllm" / "bin" / "vllm"), "bench", "serve", "--backend", "openai-chat",
        "--endpoint", "/v1/chat/completions", "--base-url", load.url, "--model", load.model,
        "--tokenizer", str(deps() / "smollm2"), "--dataset-name", "random", "--random-input-len", "8",
        "--random-output-len", f"{load.tokens}", "--extra-body", json.dumps({"user": load.words}),
        "--num-prompts", f"{load.requests}", *pace, "--percentile-metrics", ",".join(NAMES.values()),
        "--metric-percentiles", ",".join(f"{q * 100:g}" for q in QUANTILES), "--disable-tqdm",
        "--save-result", "--save-detailed", "--result-dir", str(folder), "--result-filename", RESULT,
    ]  # fmt: skip


def parse(found: Mapping[str, Any]) -> Export:
    """Raises KeyError, ValueError."""
    reported = {
        quantity: {q: round(found[f"p{q * 100:g}_{name}_ms"] / 1000, 7) for q in QUANTILES}
        for quantity, name in NAMES.items()
        if f"p99_{name}_ms" in found
    }
    return Export(int(found["completed"]), [float(at) for at in found["start_times"]], "monotonic", reported)


def read(folder: Path) -> Export:
    return parse(json.loads((folder / RESULT).read_text()))


def rival() -> Rival:
    return Rival(
        "vllm bench serve",
        "0.32.0",
        deps() / "vllm" / "bin" / "vllm",
        "tests/real/vllm.sh install",
        command,
        read,
        linear,
        {
            "ttft_from_sent": "TTFT: from before the request is handed to the HTTP client to the first event",
            "itl": "ITL: gaps between events, those of all answers pooled",
            "e2e_from_sent": "E2EL: to the last event with a token",
            "e2e": "E2EL including client queue: the wait for --max-concurrency counts, a late start does not",
        },
        {"VLLM_NO_USAGE_STATS": "1"},
    )
