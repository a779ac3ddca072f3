"""llama.cpp's server, started with `--metrics`. It exports nothing of its KV cache.

`n_tokens_max` is a high-water mark and no capacity. `prompt_tokens_total` counts what was computed,
`prompt_tokens_cached_total` what was reused; builds without the latter leave the reused tokens out of the prompt
tokens. Source: the server's own text and its metrics, build 11549.
"""

from penstock.wire.dialects.dialect import Dialect, Range, Rule
from penstock.wire.dialects.formulas import plus, total

COMPUTED = total("llamacpp:prompt_tokens_total")
REUSED = total("llamacpp:prompt_tokens_cached_total")
COUNTS_REUSE = "builds that count reused tokens"

LLAMACPP = Dialect(
    "llamacpp",
    ("llamacpp:", "llamacpp_"),
    (
        Range(
            rules=(
                Rule("running", total("llamacpp:requests_processing")),
                Rule("waiting", total("llamacpp:requests_deferred")),
                Rule("prefix_hit_tokens", REUSED, only=COUNTS_REUSE),
                Rule("prefix_query_tokens", plus(REUSED, COMPUTED), only=COUNTS_REUSE),
                Rule("prompt_tokens", plus(COMPUTED, REUSED)),
                Rule("generation_tokens", total("llamacpp:tokens_predicted_total")),
            ),
        ),
    ),
)
