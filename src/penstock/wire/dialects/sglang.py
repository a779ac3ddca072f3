"""SGLang, started with `--enable-metrics`.

Every process of a tensor-parallel group may report the scheduler's gauges (`tp_rank`), and with priorities a total
stands beside its parts (`priority`); the highest within a data-parallel rank stands for them all. Token counters come
from the front process, split by `is_streaming`, and are born with the first finished request.
Sources: the engine's metrics collector and its page on production metrics.
"""

from penstock.wire.dialects.dialect import Dialect, Range, Rule
from penstock.wire.dialects.formulas import plus, ranks, share, total

RANK = "dp_rank"
FINISHED = "sglang:e2e_request_latency_seconds_count"

SGLANG = Dialect(
    "sglang",
    ("sglang:", "sglang_"),
    (
        Range(
            rules=(
                Rule("running", ranks("sglang:num_running_reqs", RANK)),
                # Requests whose grammar is being compiled wait in a queue of their own.
                Rule(
                    "waiting",
                    plus(ranks("sglang:num_queue_reqs", RANK), ranks("sglang:num_grammar_queue_reqs", RANK)),
                ),
                # The fullest of the engine's pools.
                Rule("kv_utilisation", share("sglang:token_usage", RANK)),
                Rule("kv_capacity_tokens", ranks("sglang:max_total_num_tokens", RANK)),
                Rule("prefix_hit_tokens", total("sglang:cached_tokens_total"), only="born with the first hit"),
                Rule("prefix_query_tokens", total("sglang:prompt_tokens_total"), after=FINISHED),
                Rule(
                    "preemptions",
                    ranks("sglang:num_retracted_requests_total", RANK),
                    only="born with the first retraction",
                ),
                Rule("prompt_tokens", total("sglang:prompt_tokens_total"), after=FINISHED),
                Rule("generation_tokens", total("sglang:generation_tokens_total"), after=FINISHED),
                Rule("adapter_slots", ranks("sglang:lora_pool_slots_total", RANK), only="only with `--enable-lora`"),
            ),
        ),
    ),
)
