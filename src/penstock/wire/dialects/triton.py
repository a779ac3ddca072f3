"""Triton with the TensorRT-LLM backend.

One family per subject, told apart by a label. Releases before `waiting` and `fraction` give the numbers they come from.
Reused blocks are exported without the blocks looked up, so there is no prefix hit rate; paused requests are a gauge.
Source: the backend's custom metrics reporter.
"""

from penstock.wire.dialects.dialect import Dialect, Range, Rule
from penstock.wire.dialects.formulas import Number, either, minus, ranks, ratio, share, times, total

REQUESTS = "nv_trt_llm_request_metrics"
BLOCKS = "nv_trt_llm_kv_cache_block_metrics"
RANK = "model"


def requests(kind: str) -> Number:
    return ranks(REQUESTS, RANK, ("request_type", kind))


def blocks(kind: str) -> Number:
    return ranks(BLOCKS, RANK, ("kv_cache_block_type", kind))


TRITON = Dialect(
    "triton",
    ("nv_trt_llm_", "nv_inference_"),
    (
        Range(
            rules=(
                Rule("running", requests("scheduled")),
                Rule("waiting", either(requests("waiting"), minus(requests("active"), requests("scheduled")))),
                Rule(
                    "kv_utilisation",
                    either(
                        share(BLOCKS, RANK, ("kv_cache_block_type", "fraction")), ratio(blocks("used"), blocks("max"))
                    ),
                ),
                Rule(
                    "kv_capacity_tokens",
                    times(
                        BLOCKS, BLOCKS, RANK, (("kv_cache_block_type", "max"), ("kv_cache_block_type", "tokens_per"))
                    ),
                ),
                Rule(
                    "prompt_tokens",
                    total("nv_llm_input_token_len_sum"),
                    only="releases that have the histogram",
                ),
                Rule(
                    "generation_tokens",
                    total("nv_llm_output_token_len_sum"),
                    only="releases that have the histogram",
                ),
            ),
        ),
    ),
)
