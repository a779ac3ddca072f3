"""How many tokens a prompt or an answer has.

The presets are lognormal distributions with the median and the 99th percentile of published traces; a lognormal has two
parameters, so what it says of the mean and the 90th percentile is off by what tests/bench/traffic states. Source of the
figures: Azure LLM inference trace 2023 (Patel et al., "Splitwise", ISCA 2024), Mooncake trace (Qin et al., FAST 2025),
ShareGPT and arXiv summarisation as in the Sarathi-Serve artefact (Agrawal et al., OSDI 2024).
"""

from math import exp, log
from random import Random
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

Tokens = Annotated[int, Meta(ge=1, le=10_000_000, description="Tokens")]
Z99 = 2.3263478740408408
"""99th percentile of the standard normal distribution."""


class Fixed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="law", tag="fixed"):
    """Always the same."""

    tokens: Tokens

    def draw(self, rng: Random) -> int:
        return self.tokens


class Uniform(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="law", tag="uniform"):
    """From `low` to `high`, both included, each as likely."""

    low: Tokens
    high: Tokens

    def draw(self, rng: Random) -> int:
        return rng.randint(min(self.low, self.high), max(self.low, self.high))


class Lognormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="law", tag="lognormal"):
    """Half of all up to `median`, all but one in a hundred up to `p99`; none beyond `most`."""

    median: Tokens
    p99: Tokens
    most: Tokens = 131_072

    def draw(self, rng: Random) -> int:
        sigma = max(0.0, log(self.p99 / self.median) / Z99)
        return max(1, min(self.most, round(exp(rng.gauss(log(self.median), sigma)))))


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="law", tag="like"):
    """As in a published trace, by name; see `PRESETS`."""

    trace: Annotated[str, Meta(description="azure_conversation_in, sharegpt_out and so on")]
    most: Tokens = 131_072

    def __post_init__(self) -> None:
        if self.trace not in PRESETS:
            raise ValueError(f"there is no trace {self.trace!r:.60}; known: {', '.join(PRESETS)}")

    def draw(self, rng: Random) -> int:
        median, p99 = PRESETS[self.trace]
        return Lognormal(median, p99, self.most).draw(rng)


Length: TypeAlias = Fixed | Uniform | Lognormal | Preset

PRESETS = {
    "azure_conversation_in": (1020, 4142),
    "azure_conversation_out": (129, 601),
    "azure_code_in": (1469, 7436),
    "azure_code_out": (13, 251),
    "mooncake_conversation_in": (6909, 85_400),
    "mooncake_conversation_out": (350, 1119),
    "sharegpt_in": (1730, 7434),
    "sharegpt_out": (415, 998),
    "arxiv_in": (2730, 3933),
    "arxiv_out": (167, 3271),
}
"""Trace and side -> (median, 99th percentile), tokens."""
