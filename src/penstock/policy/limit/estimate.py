"""How many tokens a request will use, learned from those that have ended.

Reserving `max_tokens` blocks far more than is used, and few clients send it. What is reserved too little is charged
afterwards and adds to the bound of the limit; what is reserved too much is given back, and held others up meanwhile.
"""

from collections import OrderedDict
from math import ceil
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.policy.resilience.quantile import Recent


class EstimateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the use of a request is estimated before it runs."""

    quantile: Annotated[float, Meta(gt=0, lt=1, description="Part of past answers that are not longer")] = 0.9
    samples: Annotated[int, Meta(ge=8, le=10_000, description="Past answers that are kept of each kind")] = 128
    minimum: Annotated[int, Meta(ge=1, description="Answers before a kind is believed")] = 8
    prior: Annotated[int, Meta(ge=0, description="Output tokens while nothing is known")] = 256
    bytes_per_token: Annotated[float, Meta(gt=0, description="Of a prompt, while nothing is known")] = 3.5


MOST_KINDS = 10_000
"""Models times keys that are remembered; those unused for longest are forgotten."""
MEMORY = 0.98
"""Weight of what is known of a model's bytes per token against one more request."""


class _Kind:
    __slots__ = ("estimate", "recent")

    def __init__(self, samples: int) -> None:
        self.recent = Recent(samples)
        self.estimate = -1


class Estimates:
    """Of one worker. Names of models must be ones that exist."""

    def __init__(self, settings: EstimateSettings) -> None:
        self._settings = settings
        self._kinds: OrderedDict[tuple[str, str], _Kind] = OrderedDict()
        self._ratios: dict[str, tuple[float, float]] = {}
        """Model -> (bytes, tokens), both decayed."""

    def output_tokens(self, model: str, key: str, max_tokens: int | None = None) -> int:
        """Of answers of this model to this key; else of this model to all; else the prior. Never above `max_tokens`.

        With several answers per request (`n`), pass `max_tokens` times `n`; what is learned holds for the sum too.
        """
        for name in (key, ""):
            kind = self._kinds.get((model, name))
            if kind is not None and kind.estimate >= 0:
                estimate = kind.estimate
                break
        else:
            estimate = self._settings.prior
        return estimate if max_tokens is None else min(estimate, max(0, max_tokens))

    def input_tokens(self, model: str, prompt_bytes: int) -> int:
        """Of a prompt of so many bytes."""
        counted, tokens = self._ratios.get(model, (0.0, 0.0))
        ratio = counted / tokens if tokens else self._settings.bytes_per_token
        return ceil(prompt_bytes / ratio)

    def learn(self, model: str, key: str, prompt_bytes: int, input_tokens: int, output_tokens: int) -> None:
        """What an engine has reported of a request that ended well."""
        if prompt_bytes > 0 and input_tokens > 0:
            counted, tokens = self._ratios.get(model, (0.0, 0.0))
            self._ratios[model] = (counted * MEMORY + prompt_bytes, tokens * MEMORY + input_tokens)
        for name in (key, ""):
            self._learn(model, name, output_tokens)

    def _learn(self, model: str, name: str, output_tokens: int) -> None:
        kind = self._kinds.get((model, name))
        if kind is None:
            kind = self._kinds[model, name] = _Kind(self._settings.samples)
            if len(self._kinds) > MOST_KINDS:
                self._kinds.popitem(last=False)
        else:
            self._kinds.move_to_end((model, name))
        kind.recent.add(output_tokens)
        if len(kind.recent) >= self._settings.minimum:
            kind.estimate = int(kind.recent.quantile(self._settings.quantile))
