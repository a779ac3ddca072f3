"""What clients are told, and what the OpenAI SDK makes of it."""

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.advice import AGAIN, ONCE, USELESS, AdviceSettings, advise

SETTINGS = AdviceSettings(wait=2.0, spread=0.25)
CODES = st.sampled_from([*sorted(AGAIN | USELESS), "invalid_request", "model_not_found"])


@given(
    code=CODES,
    chance=st.floats(0, 1, exclude_max=True),
    wait_s=st.none() | st.floats(0, 1e4),
    repeatable=st.booleans(),
    spent=st.booleans(),
)
def test_who_is_asked_to_come_again_is_told_a_wait_every_sdk_obeys(
    code: str, chance: float, wait_s: float | None, repeatable: bool, spent: bool
) -> None:
    advice = advise(SETTINGS, code, chance=chance, wait_s=wait_s, repeatable=repeatable, spent=spent)
    if code not in AGAIN | USELESS:
        assert (advice.retry, advice.retry_after_s) == (None, None)
    elif advice.retry:
        assert code in AGAIN
        assert not spent
        assert repeatable or code not in ONCE
        assert advice.retry_after_s is not None
        assert 1 <= advice.retry_after_s <= 60
        assert advice.retry_after_s >= min(60, wait_s or 0)
    else:
        assert advice.retry is False
        assert code in USELESS or spent or not repeatable or (wait_s or 0) > 120


def test_chance_spreads_the_waits() -> None:
    waits = [advise(SETTINGS, "queue_full", chance=chance, wait_s=10).retry_after_s for chance in (0.0, 0.5, 0.99)]
    assert waits == [10.0, 11.25, pytest.approx(12.475)]


@pytest.mark.parametrize(("code", "calls"), [("queue_full", 3), ("deadline_unmeetable", 1)])
def test_the_sdk_obeys(code: str, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = advise(SETTINGS, code, chance=0.0, wait_s=7.0)
    seen: list[httpx.Request] = []
    slept: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        headers = {"x-should-retry": "true" if advice.retry else "false", "retry-after": f"{advice.retry_after_s:.0f}"}
        return httpx.Response(503, headers=headers, json={"error": {"message": "m", "type": "t", "code": code}})

    monkeypatch.setattr("time.sleep", slept.append)
    client = openai.OpenAI(
        api_key="k", base_url="http://engine/v1", http_client=httpx.Client(transport=httpx.MockTransport(answer))
    )
    with client, pytest.raises(openai.InternalServerError):
        client.models.list()
    assert len(seen) == calls
    assert slept == [7.0] * (calls - 1)
