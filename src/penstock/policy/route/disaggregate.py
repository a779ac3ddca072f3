"""Prefill on one engine, decode on another: whether, where, and what each leg carries.

Parameter names are those of vLLM's NIXL connector (0.32): the prefill engine answers with the address of its KV blocks,
which the decode engine then reads.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from penstock.policy.route.facts import Ask, Decision

ADDRESS = ("remote_engine_id", "remote_block_ids", "remote_host", "remote_port")
"""What the prefill engine must answer with for its blocks to be found."""

PATHS = frozenset({b"/v1/chat/completions", b"/v1/completions"})
"""Where vLLM takes `kv_transfer_params` and answers with them."""

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
    ask: Ask = Ask("")
    """What the first leg asks of its engine, where there is one."""


class Fleet(Protocol):
    """The engines, as far as a split asks of them."""

    def choose(self, ask: Ask, now: float, chance: float, excluded: Collection[str]) -> Decision | None: ...

    def load(self, engine: str) -> float: ...


class _Shape(msgspec.Struct):
    """Fields of a request that decide whether one prompt gets one answer. Prompts of several kinds stay bytes."""

    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    use_beam_search: bool | None = None
    prompt: msgspec.Raw = msgspec.Raw(b"")
    prompt_logprobs: msgspec.Raw = msgspec.Raw(b"null")
    kv_transfer_params: msgspec.Raw = msgspec.Raw(b"null")


_decode_shape = msgspec.json.Decoder(_Shape).decode


def split(
    fleet: Fleet, ask: Ask, decode: Decision, pool: str, now: float, chance: float, settings: SplitSettings
) -> Split:
    """Decides the legs of a request that `decode` has found an engine for, in `pool`: blocks are moved inside a pool
    only. `chance` in [0, 1) breaks ties."""
    fresh = max(0, ask.prompt_tokens - decode.matched_tokens)
    if fresh < settings.min_prompt_tokens:
        return Split(decode, None, f"{fresh} fresh prompt tokens, fewer than {settings.min_prompt_tokens}")
    first = msgspec.structs.replace(ask, leg="prefill", pool=pool, output_tokens=1)
    prefill = fleet.choose(first, now, chance, (decode.engine,))
    if prefill is None:
        return Split(decode, None, "no engine to prefill on")
    there, here = fleet.load(prefill.engine), fleet.load(decode.engine)
    limit = settings.max_load_ratio * here + 1.0
    if there > limit:
        return Split(decode, None, f"prefill load {there:.2f} above {limit:.2f}")
    reason = f"{fresh} fresh prompt tokens, prefill load {there:.2f} within {limit:.2f}"
    return Split(decode, prefill, reason, first)


def indivisible(body: bytes) -> str | None:
    """Why a request's body must stay in one leg; None when it may go in two. What is not one prompt with one answer
    would read the same blocks more than once."""
    try:
        shape = _decode_shape(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "the body is not what can be split"
    if bytes(shape.kv_transfer_params) != b"null":
        return "the client sends kv_transfer_params of its own"
    if (shape.n or 1) != 1 or (shape.best_of or 1) != 1 or shape.use_beam_search:
        return "more than one answer is asked for"
    if shape.echo or bytes(shape.prompt_logprobs) not in (b"null", b"0", b"false"):
        return "the prompt is asked back"
    prompt = bytes(shape.prompt)
    if prompt[:1] == b"[" and not prompt[1:].lstrip()[:1].isdigit():
        return "more than one prompt is asked"
    return None


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
