"""Two legs: when, where, and what each carries."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.route.disaggregate import (
    ADDRESS,
    Split,
    SplitSettings,
    decode_parameters,
    indivisible,
    prefill_body,
    prefill_parameters,
    split,
)
from penstock.policy.route.facts import Ask, EngineFacts
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.fleets import ASKS, CHANCES, FLEETS, PROPERTY, engine

SETTINGS = SplitSettings(min_prompt_tokens=100)
BLOCKS = st.one_of(st.lists(st.integers(0, 99)), st.lists(st.lists(st.integers(0, 99), max_size=3), max_size=3))
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "do_remote_prefill": st.booleans(),
        "do_remote_decode": st.booleans(),
        "remote_engine_id": st.one_of(st.none(), st.text(max_size=4)),
        "remote_block_ids": st.one_of(st.none(), BLOCKS),
        "remote_request_id": st.text(max_size=4),
        "remote_host": st.one_of(st.none(), st.just("10.0.0.1")),
        "remote_port": st.one_of(st.none(), st.integers(1, 65535)),
        "tp_size": st.integers(1, 8),
    },
)


def routed(*engines: EngineFacts) -> Router:
    router = Router(RouteSettings())
    router.update(engines)
    return router


def legs_of(router: Router, ask: Ask, settings: SplitSettings = SETTINGS, *, now: float = 0.0, pool: str = "default",
            chance: float = 0.0) -> Split | None:  # fmt: skip
    """The decode engine is chosen first, as for a request in one leg."""
    decode = router.choose(ask, now, chance)
    return split(router, ask, decode, pool, now, chance, settings) if decode is not None else None


@PROPERTY
@given(fleet=FLEETS, ask=ASKS, chance=CHANCES, tokens=st.integers(0, 3000))
def test_each_leg_has_an_engine_of_its_role(fleet: list[EngineFacts], ask: Ask, chance: float, tokens: int) -> None:
    facts = {e.name: e for e in fleet}
    router = routed(*fleet)
    ask = msgspec.structs.replace(ask, leg="")
    decode = router.choose(ask, 25.0, chance)
    if decode is None:
        return
    pool = facts[decode.engine].pool
    legs = split(router, ask, decode, pool, 25.0, chance, SplitSettings(min_prompt_tokens=tokens))
    assert legs.decode is decode
    assert facts[legs.decode.engine].role != "prefill"
    assert legs.reason
    if legs.prefill is not None:
        assert facts[legs.prefill.engine].role != "decode"
        assert legs.prefill.engine != legs.decode.engine
        assert facts[legs.prefill.engine].pool == pool
        assert (legs.ask.leg, legs.ask.output_tokens, legs.ask.prompt_tokens) == ("prefill", 1, ask.prompt_tokens)
        assert ask.prompt_tokens - legs.decode.matched_tokens >= tokens


def test_a_long_fresh_prompt_is_split() -> None:
    legs = legs_of(routed(engine("p", role="prefill"), engine("d", role="decode")), Ask("m", (), 500))
    assert legs is not None
    assert legs.prefill is not None
    assert (legs.prefill.engine, legs.decode.engine) == ("p", "d")


def test_a_short_or_cached_prompt_is_not() -> None:
    router = routed(engine("p", role="prefill"), engine("d", role="decode"))
    chain = tuple(range(1, 30))
    for ask in (Ask("m", (), 50), Ask("m", chain, 500)):
        router.learned("d", chain)
        legs = legs_of(router, ask)
        assert legs is not None
        assert legs.prefill is None
        assert "fresh prompt tokens" in legs.reason


def test_a_crowded_prefill_pool_is_spared() -> None:
    router = routed(engine("p", role="prefill"), engine("d", role="decode"))
    for _ in range(3):
        router.begin("p", Ask("m"), 0.0)
    legs = legs_of(router, Ask("m", (), 500))
    assert legs is not None
    assert legs.prefill is None
    assert legs.reason == "prefill load 3.00 above 1.00"


def test_one_engine_does_both_and_none_does_nothing() -> None:
    legs = legs_of(routed(engine("b")), Ask("m", (), 500))
    assert legs is not None
    assert (legs.decode.engine, legs.prefill) == ("b", None)
    assert legs_of(routed(engine("p", role="prefill")), Ask("m", (), 500)) is None


@pytest.mark.parametrize(
    "body",
    [b'{"prompt":"once"}', b'{"prompt":[1,2,3],"n":1}', b'{"prompt":[ 1]}', b'{"messages":[],"best_of":null}',
     b'{"echo":false,"prompt_logprobs":null,"kv_transfer_params":null}'],
)  # fmt: skip
def test_one_prompt_with_one_answer_may_be_split(body: bytes) -> None:
    assert indivisible(body) is None


@given(body=st.one_of(st.binary(max_size=40), st.sampled_from([b"[]", b'{"n":2}', b'{"prompt":["a"]}', b'{"n":"2"}'])))
def test_whatever_else_comes_stays_whole(body: bytes) -> None:
    try:
        whole = not isinstance(msgspec.json.decode(body), dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        whole = True
    assert not whole or indivisible(body)
    assert indivisible(body) or not body.startswith((b'{"n', b'{"prompt":["'))


@PROPERTY
@given(answer=st.one_of(ANSWERS, st.none(), st.text(), st.lists(st.integers())))
def test_the_second_leg_reads_what_the_first_told(answer: object) -> None:
    second = decode_parameters(answer)
    if second is None:
        return
    assert isinstance(answer, dict)
    assert second["do_remote_prefill"] is True
    assert second["do_remote_decode"] is False
    assert all(second[name] is not None for name in ADDRESS)
    told = {k: v for k, v in answer.items() if not k.startswith("do_")}
    assert {k: v for k, v in second.items() if not k.startswith("do_")} == told
    ids = second["remote_block_ids"]
    assert isinstance(ids, list)
    assert any(group != [] for group in ids), "an engine told to read no blocks fails"


def test_a_whole_answer_is_passed() -> None:
    answer = {
        "do_remote_prefill": True,
        "do_remote_decode": False,
        "remote_engine_id": "e",
        "remote_block_ids": [[1, 2]],
        "remote_request_id": "r",
        "remote_host": "10.0.0.1",
        "remote_port": 5600,
        "tp_size": 1,
    }
    assert decode_parameters(answer) == answer
    assert decode_parameters({**answer, "remote_block_ids": [[]]}) is None


def test_the_first_leg_asks_for_one_token() -> None:
    body = {"model": "m", "max_tokens": 99, "stream": True, "stream_options": {}, "n": 3, "seed": 1}
    leg = prefill_body(body)
    assert leg == {
        "model": "m",
        "max_tokens": 1,
        "stream": False,
        "seed": 1,
        "kv_transfer_params": prefill_parameters(),
    }
    assert body["max_tokens"] == 99
    assert prefill_body({"max_completion_tokens": 9})["max_completion_tokens"] == 1
    assert "max_tokens" not in prefill_body({"max_completion_tokens": 9})
