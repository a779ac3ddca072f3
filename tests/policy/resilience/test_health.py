"""Health: breaker, ejection and slow start as one weight per engine, and never a group left with nothing."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.breaker import BreakerSettings
from penstock.policy.resilience.health import Health, HealthSettings
from penstock.policy.resilience.outlier import OutlierSettings
from penstock.policy.resilience.slow_start import SlowStartSettings

NAMES = ["e0", "e1", "e2", "e3"]
SETTINGS = HealthSettings(
    breaker=BreakerSettings(consecutive=3, open=5.0, probes=1, successes=1),
    outlier=OutlierSettings(minimum=10, eject=30.0),
    slow_start=SlowStartSettings(window=10.0, minimum=0.1),
    probe_weight=0.2,
)


def started(settings: HealthSettings = SETTINGS, names: list[str] = NAMES) -> Health:
    """A fleet that has been up for long."""
    health = Health(settings)
    for name in names:
        health.appeared(name, -1000.0)
    return health


def tried(health: Health, engine: str, now: float, ok: bool | None, ttft_s: float | None = None) -> None:
    health.began(engine, now)
    health.observed(engine, now, ok, "" if ok else "upstream_reset", ttft_s, since=now)


def test_an_engine_that_fails_goes_out_is_probed_and_comes_back_slowly() -> None:
    health = started()
    assert health.weights(NAMES, 0.0) == dict.fromkeys(NAMES, 1.0)
    version = health.version
    for _ in range(3):
        tried(health, "e0", 0.0, False)
    assert health.version > version
    assert health.weights(NAMES, 1.0) == {"e0": 0.0, "e1": 1.0, "e2": 1.0, "e3": 1.0}
    assert not health.admits("e0", 1.0)
    assert health.wait_s(["e0"], 1.0) == 4.0
    assert health.wait_s(NAMES, 1.0) is None
    assert health.weights(NAMES, 5.0)["e0"] == 0.2
    assert health.admits("e0", 5.0)
    version = health.version
    health.began("e0", 5.0)
    assert health.version > version
    assert health.weights(NAMES, 5.5)["e0"] == 0.0
    assert not health.admits("e0", 5.5)
    health.observed("e0", 6.0, True, since=5.0)
    assert health.weights(NAMES, 6.0)["e0"] == pytest.approx(0.1)
    assert health.weights(NAMES, 11.0)["e0"] == pytest.approx(0.5)
    assert health.weights(NAMES, 16.0)["e0"] == 1.0


def test_a_new_engine_starts_slowly_and_a_known_one_does_not_start_again() -> None:
    health = Health(SETTINGS)
    health.appeared("e0", 0.0)
    health.appeared("e0", 9.0)
    assert health.weights(["e0"], 9.0) == {"e0": pytest.approx(0.9)}
    health.appeared("e0", 20.0, "other")
    assert health.weights(["e0"], 20.0) == {"e0": 0.1}
    health.left("e0")
    health.left("e0")
    health.appeared("e0", 40.0, "other")
    assert health.weights(["e0"], 45.0) == {"e0": pytest.approx(0.5)}


def test_an_engine_much_worse_than_the_others_is_ejected_and_returns_slowly() -> None:
    health = started()
    for name in NAMES:
        for _ in range(20):
            tried(health, name, 0.0, True, 5.0 if name == "e1" else 0.1)
    assert health.weights(NAMES, 0.0) == {"e0": 1.0, "e1": 0.0, "e2": 1.0, "e3": 1.0}
    assert health.wait_s(["e1"], 10.0) == 20.0
    reasons = health.explain(10.0)["e1"]["reasons"]
    assert reasons == ["median TTFT 5 s, others 0.1 s"]
    assert health.weights(NAMES, 30.0)["e1"] == pytest.approx(0.1)
    assert health.weights(NAMES, 40.0)["e1"] == 1.0


def test_what_is_not_the_engines_doing_changes_nothing() -> None:
    health = started()
    for _ in range(50):
        tried(health, "e0", 0.0, None)
    assert health.weights(NAMES, 0.0)["e0"] == 1.0


def test_the_only_engine_stays_in_at_the_probe_weight_and_without_last_resort_it_does_not() -> None:
    health = started(names=["e0"])
    strict = started(msgspec.structs.replace(SETTINGS, last_resort=False), names=["e0"])
    for one in (health, strict):
        for _ in range(3):
            tried(one, "e0", 0.0, False)
    assert health.weights(["e0"], 1.0) == {"e0": 0.2}
    assert health.admits("e0", 1.0)
    assert health.explain(1.0)["e0"]["last_resort"] is True
    assert strict.weights(["e0"], 1.0) == {"e0": 0.0}
    assert not strict.admits("e0", 1.0)


def test_a_spare_engine_is_no_last_resort() -> None:
    health = Health(SETTINGS)
    health.appeared("e0", -1000.0, spare=True)
    for _ in range(3):
        tried(health, "e0", 0.0, False)
    assert health.weights(["e0"], 1.0) == {"e0": 0.0}
    assert not health.admits("e0", 1.0)
    assert health.weights(["e0"], 5.0) == {"e0": 0.2}, "it is probed as others are"


def test_a_group_that_is_out_comes_back_though_another_group_is_well() -> None:
    health = Health(SETTINGS)
    for name in NAMES:
        health.appeared(name, -1000.0, "small" if name < "e2" else "large")
    for name in ("e0", "e1"):
        for _ in range(3):
            tried(health, name, 0.0, False)
    assert health.weights(NAMES, 1.0) == {"e0": 0.2, "e1": 0.2, "e2": 1.0, "e3": 1.0}


def test_an_engine_nobody_knows_is_not_judged() -> None:
    health = started()
    tried(health, "stranger", 0.0, False)
    assert health.weights(["stranger"], 0.0) == {"stranger": 1.0}
    assert health.admits("stranger", 0.0)
    assert health.wait_s(["stranger"], 0.0) is None
    assert health.wait_s([], 0.0) is None


STEPS = st.lists(
    st.tuples(
        st.floats(0, 10),
        st.sampled_from(NAMES),
        st.sampled_from(["ok", "slow", "fail", "fail often", "left", "gone", "back"]),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_weights_are_shares_and_no_group_is_left_with_nothing(steps: list[tuple[float, str, str]]) -> None:
    health = started()
    present = set(NAMES)
    now = 0.0
    for wait, name, what in steps:
        now += wait
        if what == "gone":
            health.left(name)
            present.discard(name)
        elif what == "back":
            health.appeared(name, now)
            present.add(name)
        else:
            ok = {"ok": True, "slow": True, "left": None}.get(what, False)
            for _ in range(12 if what in ("slow", "fail often") else 1):
                tried(health, name, now, ok, 30.0 if what == "slow" else 0.1)
        weights = health.weights(sorted(present), now)
        assert set(weights) == present
        assert all(0 <= share <= 1 for share in weights.values())
        assert not present or any(weights.values())
        assert all(health.admits(each, now) for each, share in weights.items() if share > 0)
        explained = health.explain(now)
        assert set(explained) == present
        assert msgspec.json.decode(msgspec.json.encode(explained)) == explained
        assert all(entry["reasons"] for entry in explained.values() if entry["weight"] == 0)
