"""vLLM. All series but those of LoRA exist from the start, at 0.

`prompt_tokens` counts cached tokens too. `gpu_memory_utilization` and the like are settings, not load.
Sources: `vllm/v1/metrics/loggers.py` of 0.32.0; names of older releases from their source distributions.
"""

from penstock.wire.dialects.dialect import Dialect, Range, Rule
from penstock.wire.dialects.formulas import label_product, newest_label, newest_names, scaled, share, total

CONFIG = "vllm:cache_config_info"
LORA = "vllm:lora_requests_info"
RANK = "engine"
"""The data-parallel rank."""
WITH_LORA = "only with `--enable-lora`, from the first step on"

COMMON = (
    Rule("running", total("vllm:num_requests_running")),
    Rule("waiting", total("vllm:num_requests_waiting")),
    Rule("preemptions", total("vllm:num_preemptions_total")),
    Rule("prompt_tokens", total("vllm:prompt_tokens_total")),
    Rule("generation_tokens", total("vllm:generation_tokens_total")),
    Rule("adapter_slots", newest_label(LORA, "max_lora"), only=WITH_LORA),
    Rule("adapters", newest_names(LORA, "running_lora_adapters", "waiting_lora_adapters"), only=WITH_LORA),
)
SIZE_IN_BLOCKS = ("block_size", "num_gpu_blocks")

VLLM = Dialect(
    "vllm",
    ("vllm:", "vllm_"),
    (
        Range(
            since="0.9.2",
            rules=(
                *COMMON,
                Rule("kv_utilisation", share("vllm:kv_cache_usage_perc", RANK)),
                Rule("kv_capacity_tokens", label_product(CONFIG, RANK, ("kv_cache_size_tokens",), SIZE_IN_BLOCKS)),
                Rule("prefix_hit_tokens", total("vllm:prefix_cache_hits_total")),
                Rule("prefix_query_tokens", total("vllm:prefix_cache_queries_total")),
            ),
        ),
        Range(
            since="0.8",
            until="0.9.2",
            rules=(
                *COMMON,
                Rule("kv_utilisation", share("vllm:gpu_cache_usage_perc", RANK)),
                Rule("kv_capacity_tokens", label_product(CONFIG, RANK, SIZE_IN_BLOCKS)),
                # Counted in blocks until the rename.
                Rule("prefix_hit_tokens", scaled(total("vllm:gpu_prefix_cache_hits_total"), CONFIG, "block_size")),
                Rule("prefix_query_tokens", scaled(total("vllm:gpu_prefix_cache_queries_total"), CONFIG, "block_size")),
            ),
        ),
        Range(
            until="0.8",
            rules=(
                *COMMON,
                Rule("kv_utilisation", share("vllm:gpu_cache_usage_perc", RANK)),
                Rule("kv_capacity_tokens", label_product(CONFIG, RANK, SIZE_IN_BLOCKS)),
            ),
        ),
    ),
)
