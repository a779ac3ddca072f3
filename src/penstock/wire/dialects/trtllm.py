"""TensorRT-LLM behind `trtllm-serve`: the text of `/prometheus/metrics`, since its `/metrics` is JSON.

The gauges need `enable_iter_perf_stats: true`, the token counters `return_perf_metrics: true`; without them, and in
releases that export latencies alone (1.1), the load is flagged as missing. Paused requests are a gauge and no count of
preemptions. Source: the engine's metrics collector.
"""

from penstock.wire.dialects.dialect import Dialect, Range, Rule
from penstock.wire.dialects.formulas import share, times, total

FINISHED = "trtllm_request_success_total"

TRTLLM = Dialect(
    "trtllm",
    ("trtllm_", "trtllm:"),
    (
        Range(
            rules=(
                Rule("running", total("trtllm_num_requests_running")),
                Rule("waiting", total("trtllm_num_requests_waiting")),
                Rule("kv_utilisation", share("trtllm_kv_cache_utilization", "")),
                Rule("kv_capacity_tokens", times("trtllm_kv_cache_max_blocks", "trtllm_kv_cache_tokens_per_block", "")),
                Rule("prefix_hit_tokens", total("trtllm_prompt_cached_tokens_total")),
                Rule("prefix_query_tokens", total("trtllm_prompt_tokens_total"), after=FINISHED),
                Rule("prompt_tokens", total("trtllm_prompt_tokens_total"), after=FINISHED),
                Rule("generation_tokens", total("trtllm_generation_tokens_total"), after=FINISHED),
            ),
        ),
    ),
)
