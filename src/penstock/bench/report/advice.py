"""What to try next, by what bounds a stage."""

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "client": "Do not use these figures: give the client more processes (--processes) or a machine of its own.",
    "KV cache": "Fewer requests at once, shorter contexts, KV values of 8 bits, or more memory for the cache.",
    "gateway queue": "The gateway holds requests back: more engines, or a higher limit per engine if they have room.",
    "engine queue": "Engines have more than they run at once: more engines, or a larger batch where memory allows it.",
    "prefill": "Shorter or shared prompts (prefix caching), chunked prefill, or engines that only do prefill.",
    "decode": "A larger batch while TPOT allows it, quantised weights, speculative decoding, or faster memory.",
}


def advice(what: str) -> str:
    """Empty where there is none."""
    return ADVICE.get(what, "")
