"""What engines say of their load, as the admin listener shows it: what they do not say stays unsaid."""

from collections.abc import Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.core.clock import monotonic
from penstock.core.endpoint import Endpoint, EngineState
from penstock.core.load import Load
from penstock.gateway.platform import Platform

ALWAYS = ("penstock_engine_ready", "penstock_engine_restarts_total")


class Telling:
    """An engine that says `load` of itself."""

    def __init__(self, name: str, load: Load | None) -> None:
        self.name = name
        self.load = load
        self.endpoint = Endpoint(name, "http", EngineState.READY, "http://e:1", {"tiny": b"{}"})

    @property
    def members(self) -> Sequence["Telling"]:
        return (self,)

    def describe(self) -> dict[str, object]:
        return {"restarts": 0}

    async def run(self) -> None: ...


def platform(*loads: Load | None) -> Platform:
    found = Platform("http://127.0.0.1:8080")
    found.groups = [Telling(f"e{index}", load) for index, load in enumerate(loads)]
    return found


async def series(state: Platform) -> dict[tuple[str, ...], float]:
    """(name, label values) -> value of all series about engines."""
    text = (await state.metrics()).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("penstock_engine_")
    }


@pytest.mark.anyio
async def test_signals_are_gauges_and_unknown_ones_no_series() -> None:
    said = Load(
        monotonic() - 3, "vllm", running=2.0, waiting=0.0, kv_utilisation=0.5, kv_capacity_tokens=4096, missing=("x",)
    )
    found = await series(platform(said, Load(monotonic(), "llamacpp", running=1.0), None))
    assert found.pop(("penstock_engine_load_age_seconds", "e0")) >= 3
    assert found.pop(("penstock_engine_load_age_seconds", "e1")) < 3
    always = [found.pop(key) for key in list(found) if key[0] in ALWAYS]
    assert len(always) == 6
    assert found == {
        ("penstock_engine_requests_running", "e0"): 2,
        ("penstock_engine_requests_waiting", "e0"): 0,
        ("penstock_engine_kv_utilisation", "e0"): 0.5,
        ("penstock_engine_kv_capacity_tokens", "e0"): 4096,
        ("penstock_engine_signals_missing", "e0", "x"): 1,
        ("penstock_engine_requests_running", "e1"): 1,
    }


@pytest.mark.anyio
async def test_adapters_are_counted_where_the_engine_tells_of_adapters() -> None:
    found = await series(platform(Load(monotonic(), adapter_slots=4, adapters=("a", "b")), Load(monotonic())))
    assert found["penstock_engine_adapter_slots", "e0"] == 4
    assert found["penstock_engine_adapters_resident", "e0"] == 2
    assert not any(key[0].startswith("penstock_engine_adapter") and key[1] == "e1" for key in found)


def test_engines_carry_their_load_with_its_age() -> None:
    one, other = platform(Load(monotonic() - 2, "vllm", waiting=1.0, missing=("running",)), None).engines()
    load = one["load"]
    assert isinstance(load, dict)
    assert load["running"] is None
    assert (load["waiting"], load["missing"]) == (1.0, ("running",))
    assert load["age_s"] >= 2
    assert "at" not in load
    assert other["load"] is None
