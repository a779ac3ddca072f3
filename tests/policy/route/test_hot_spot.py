"""A prefix that everybody shares makes no hot spot, and many prefixes still find their engines."""

import random

import pytest

from penstock.policy.route.facts import Ask
from penstock.policy.route.prefix import prompt_chain
from penstock.policy.route.router import Router
from penstock.policy.route.settings import RouteSettings
from tests.policy.route.service import BYTES_PER_TOKEN, WARM, Outcome, run

ENGINES = 8
BLOCK = 128


def ask(prompt: bytes) -> Ask:
    return Ask("m", prompt_chain(prompt, BLOCK, "m"), len(prompt) // BYTES_PER_TOKEN, 64)


def shared(seed: int, count: int, share: float) -> list[Ask]:
    """`share` of the requests begin with the same 6 KiB; the others with their own."""
    rng = random.Random(seed)
    common = rng.randbytes(6144)
    return [
        ask((common if rng.random() < share else rng.randbytes(6144)) + rng.randbytes(rng.randrange(512, 2048)))
        for _ in range(count)
    ]


def sessions(seed: int, count: int, live: int) -> list[Ask]:
    """Conversations that grow turn by turn, some much busier than others; one of four system prompts each."""
    rng = random.Random(seed)
    systems = [rng.randbytes(2048) for _ in range(4)]
    said = [rng.choice(systems) + rng.randbytes(512) for _ in range(live)]
    busy = [1.0 / (i + 1) ** 0.8 for i in range(live)]
    asks = []
    for which in rng.choices(range(live), busy, k=count):
        asks.append(ask(said[which]))
        said[which] += rng.randbytes(rng.randrange(200, 800))
        if len(said[which]) > 16_000:
            said[which] = rng.choice(systems) + rng.randbytes(512)
    return asks


def ideal(asks: list[Ask]) -> float:
    """Hit share of one cache that forgets nothing."""
    seen: set[int] = set()
    shares = []
    for one in asks:
        depth = sum(entry in seen for entry in one.chain)
        shares.append(depth / len(one.chain))
        seen.update(one.chain)
    late = shares[int(len(shares) * WARM) :]
    return sum(late) / len(late)


def with_policy(policy: str, asks: list[Ask], rate: float) -> Outcome:
    return run(Router(RouteSettings(policy=policy)), asks, ENGINES, rate, seed=7)


@pytest.mark.parametrize("rate", [40.0, 120.0, 180.0])
def test_a_prefix_that_nine_of_ten_share_is_served_by_all(rate: float) -> None:
    asks = shared(1, 4000, 0.9)
    outcome = with_policy("balanced", asks, rate)
    fair = sum(outcome.served.values()) / ENGINES
    assert max(outcome.served.values()) <= 1.3 * fair, outcome
    assert outcome.idle_while_loaded <= 0.01 * outcome.seconds, outcome


def test_without_the_window_it_is_a_hot_spot() -> None:
    outcome = with_policy("prefix", shared(1, 1500, 0.9), 120.0)
    assert max(outcome.served.values()) > 3 * sum(outcome.served.values()) / ENGINES


def test_sessions_find_their_prefixes() -> None:
    asks = sessions(2, 4000, 150)
    outcome, turns = (with_policy(policy, asks, 120.0) for policy in ("balanced", "round_robin"))
    best = ideal(asks)
    assert outcome.hit_share >= 0.9 * best, (outcome, best)
    assert 1 - outcome.hit_share < 0.7 * (1 - turns.hit_share), (outcome, turns)
    assert outcome.first_token_p50 < 0.7 * turns.first_token_p50
    fair = sum(outcome.served.values()) / ENGINES
    assert max(outcome.served.values()) <= 1.3 * fair, outcome
