"""Prefill on one engine, decode on another: whether, where, and what each leg carries.

Parameter names are those of vLLM's NIXL connector (0.32): the prefill engine answers with the address of its KV blocks,
which the decode engine then reads.
"""

from collections.abc import Mapping

import msgspec

from penstock.policy.route.facts import Ask, Decision
from penstock.policy.route.router import Router

ADDRESS = ("remote_engine_id", "remote_block_ids", "remote_host", "remote_port")
"""What the prefill engine must answer with for its blocks to be found."""

_WHOLE_ANSWER = frozenset({"best_of", "min_tokens", "n", "stream", "stream_options"})
"""Fields that ask for more than one token of one answer."""

Parameters = dict[str, object]


class SplitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a request is worth two legs."""

    min_prompt_tokens: int = 1024
    """Prompt tokens not cached where the request would be decoded, from which splitting pays for the transfer."""
    max_load_ratio: float = 2.0
    """No split when the prefill engine's load is above so many times the decode engine's, plus one request."""


class Split(msgspec.Struct, frozen=True):
    """One or two legs. `prefill` is None when the decode engine does all the work."""

    decode: Decision
    prefill: Decision | None
    reason: str


def split(
    router: Router, ask: Ask, now: float, chance: float, settings: SplitSettings, *, excluded: tuple[str, ...] = ()
) -> Split | None:
    """Decides the legs of a request; None when no engine can decode. `chance` in [0, 1) breaks ties."""
    decode = router.choose(msgspec.structs.replace(ask, leg="decode"), now, chance, excluded)
    if decode is None:
        return None
    fresh = max(0, ask.prompt_tokens - decode.matched_tokens)
    if fresh < settings.min_prompt_tokens:
        return Split(decode, None, f"{fresh} fresh prompt tokens, fewer than {settings.min_prompt_tokens}")
    prefill = router.choose(msgspec.structs.replace(ask, leg="prefill"), now, chance, {*excluded, decode.engine})
    if prefill is None:
        return Split(decode, None, "no engine to prefill on")
    there, here = router.load(prefill.engine), router.load(decode.engine)
    limit = settings.max_load_ratio * here + 1.0
    if there > limit:
        return Split(decode, None, f"prefill load {there:.2f} above {limit:.2f}")
    return Split(decode, prefill, f"{fresh} fresh prompt tokens, prefill load {there:.2f} within {limit:.2f}")


def prefill_parameters() -> Parameters:
    """`kv_transfer_params` of the first leg: keep the blocks, somebody will read them."""
    return {
        "do_remote_decode": True,
        "do_remote_prefill": False,
        "remote_engine_id": None,
        "remote_block_ids": None,
        "remote_host": None,
        "remote_port": None,
    }


def prefill_body(body: Mapping[str, object]) -> dict[str, object]:
    """The first leg's request: one token, no stream, so that it ends with the prompt's KV blocks made.

    Only bounds that the request has are set: the two names of one bound may not both be sent.
    """
    leg = {name: value for name, value in body.items() if name not in _WHOLE_ANSWER}
    bound = "max_completion_tokens" if "max_completion_tokens" in leg else "max_tokens"
    leg.update({bound: 1, "stream": False, "kv_transfer_params": prefill_parameters()})
    return leg


def decode_parameters(answered: object) -> Parameters | None:
    """`kv_transfer_params` of the second leg, from those in the first leg's answer.

    None when the answer does not say where the blocks are, or has none: the decode engine then does the prefill
    itself. Fields this code does not know are passed, since both legs are engines of one version.
    """
    if not isinstance(answered, Mapping):
        return None
    if any(answered.get(name) is None for name in ADDRESS) or not _any_block(answered["remote_block_ids"]):
        return None
    return {**answered, "do_remote_prefill": True, "do_remote_decode": False}


def _any_block(ids: object) -> bool:
    """Block ids come in a list, or in one list per KV cache group. An engine told to read none would fail."""
    return isinstance(ids, list | tuple) and any(_any_block(i) if isinstance(i, list | tuple) else True for i in ids)
