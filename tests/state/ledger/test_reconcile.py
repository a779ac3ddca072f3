"""The ledger against engines' counters and logs."""

import json

import msgspec
import pytest

from penstock.core.errors import ConfigError
from penstock.core.record import Usage
from penstock.state.ledger.charge import Charge, charge_of
from penstock.state.ledger.reconcile import (
    Counters,
    Difference,
    Line,
    against_counters,
    against_log,
    between,
    counters_of,
    lines_of,
    worst,
)
from tests.state.ledger.contract import BOOK
from tests.state.ledger.entries import closed

VLLM = b"""# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 1234.0
vllm:generation_tokens_total{engine="0",model_name="m"} 567.0
vllm:num_requests_running{engine="0",model_name="m"} 0.0
"""
LLAMACPP = b"""llamacpp:prompt_tokens_total 100
llamacpp:prompt_tokens_cached_total 20
llamacpp:tokens_predicted_total 50
"""
SGLANG = b"""sglang:prompt_tokens_total{model_name="m",is_streaming="true"} 7.0
sglang:prompt_tokens_total{model_name="m",is_streaming="false"} 3.0
sglang:generation_tokens_total{model_name="m",is_streaming="true"} 4.0
"""


def charge(number: int, name: str = "", tokens: tuple[int, int, int, int] = (10, 4, 7, 2), model: str = "m") -> Charge:
    return charge_of(closed(number, name, tokens=tokens, model=model), "w", BOOK)


def interrupted(number: int, name: str = "") -> Charge:
    return msgspec.structs.replace(charge(number, name, (0, 0, 0, 0)), outcome="interrupted", source="none", cost=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(VLLM, Counters(1234, 567)), (LLAMACPP, Counters(120, 50)), (SGLANG, Counters(10, 4))],
    ids=["vllm", "llamacpp", "sglang"],
)
def test_counters_are_read_in_every_dialect(text: bytes, expected: Counters) -> None:
    assert counters_of(text, "x") == expected


def test_a_text_without_counters_is_refused() -> None:
    with pytest.raises(ConfigError, match="--metrics: no counters"):
        counters_of(b"up 1\n", "--metrics")


def test_two_readings_are_what_was_counted_between() -> None:
    assert between(Counters(10, 5), Counters(30, 9)) == Counters(20, 4)
    with pytest.raises(ConfigError, match="restarted between the readings"):
        between(Counters(10, 5), Counters(3, 9))


def test_counters_are_compared_to_the_token() -> None:
    found = against_counters([charge(1), charge(2)], Counters(20, 15))
    assert found == [Difference("", "input", 20, 20), Difference("", "output", 14, 15)]
    assert worst(found) == pytest.approx(1 / 15)
    assert worst([Difference("", "input", 1, 0)]) == float("inf")
    assert worst([]) == 0.0


def test_a_log_is_compared_request_by_request() -> None:
    charges = [charge(1), charge(2), charge(3), charge(4, tokens=(0, 0, 0, 0)), charge(5, model="other")]
    lines = [Line("req-1", 10, 7), Line("req-2", 10, 8), Line("req-9", 1, 1), Line("req-5", 10, 7)]
    found = against_log(charges, lines)
    assert (found.differing, found.unbilled, found.unreported) == (["req-2"], ["req-9"], ["req-3"])
    assert found.sums == [
        Difference("", "input", 0, 1),
        Difference("", "output", 0, 1),
        Difference("m", "input", 30, 20),
        Difference("m", "output", 21, 15),
        Difference("other", "input", 10, 10),
        Difference("other", "output", 7, 7),
    ]


def test_a_log_settles_what_was_interrupted() -> None:
    found = against_log([interrupted(1), interrupted(2), charge(3)], [Line("req-1", 9, 8, 7, 6), Line("req-3", 10, 7)])
    ((settles, usage),) = found.settles
    assert settles.request_id == "req-1"
    assert usage == Usage(9, 8, 7, 6)
    assert found.unsettled == 1, "req-2 has no line"
    assert worst(found.sums) == 0.0


def test_a_log_settles_what_the_gateway_counted_itself() -> None:
    counted = [msgspec.structs.replace(charge(number), source="counted") for number in (1, 2)]
    nothing = msgspec.structs.replace(charge(3, tokens=(0, 0, 0, 0)), outcome="client_left", source="none")
    found = against_log([*counted, nothing], [Line("req-1", 10, 8), Line("req-2", 10, 7, 4, 2), Line("req-3", 5, 0)])
    assert [settles.request_id for settles, _ in found.settles] == ["req-1", "req-3"], "of req-2 the log says the same"
    assert (found.differing, found.unsettled) == ([], 0)
    assert found.sums == [Difference("m", "input", 20, 25), Difference("m", "output", 14, 15)]


def test_requests_that_share_an_id_are_compared_and_never_settled() -> None:
    """Whose tokens a line tells cannot be known."""
    found = against_log([charge(1, "same"), charge(2, "same")], [Line("same", 15, 7), Line("same", 5, 7)])
    assert (found.differing, worst(found.sums)) == ([], 0.0)
    found = against_log([charge(1, "same"), interrupted(2, "same")], [Line("same", 10, 7), Line("same", 10, 7)])
    assert (found.settles, found.unsettled, found.differing) == ([], 1, ["same"])


def test_lines_of_a_log_are_named_when_they_are_wrong() -> None:
    good = json.dumps({"request_id": "a", "prompt_tokens": 1, "completion_tokens": 2, "more": [1]}).encode()
    assert list(lines_of(good + b"\n\n" + good, "x")) == [Line("a", 1, 2)] * 2
    with pytest.raises(ConfigError, match=r"engine\.log: line 2: "):
        list(lines_of(good + b'\n{"request_id": "a"}', "engine.log"))
