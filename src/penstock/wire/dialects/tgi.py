"""Text Generation Inference. It exports nothing of its KV cache. Token counts are sums of histograms, which are born
with the first successful request. Source: the engine's reference of metrics.
"""

from penstock.wire.dialects.dialect import Dialect, Range, Rule
from penstock.wire.dialects.formulas import total

FINISHED = "tgi_request_success"

TGI = Dialect(
    "tgi",
    ("tgi_",),
    (
        Range(
            rules=(
                Rule("running", total("tgi_batch_current_size")),
                Rule("waiting", total("tgi_queue_size")),
                Rule("prompt_tokens", total("tgi_request_input_length_sum"), after=FINISHED),
                Rule("generation_tokens", total("tgi_request_generated_tokens_sum"), after=FINISHED),
            ),
        ),
    ),
)
