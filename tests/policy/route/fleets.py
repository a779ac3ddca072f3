"""Fleets and requests that tests of routing share."""

from hypothesis import settings
from hypothesis import strategies as st

from penstock.core.load import Load
from penstock.policy.route.facts import Ask, EngineFacts

NAMES = "abcdefgh"
MODELS = ("m", "n", "lora")
PROPERTY = settings(deadline=None, max_examples=60)
"""A busy machine may take its time over an example."""


def engine(name: str, **more: object) -> EngineFacts:
    """An engine that serves `m`."""
    return EngineFacts(name=name, **{"models": frozenset({"m"}), **more})  # type: ignore[arg-type]


def reading(at: float = 0.0, **signals: object) -> Load:
    return Load(at=at, **signals)  # type: ignore[arg-type]


COUNTS = st.one_of(st.none(), st.floats(0, 50), st.sampled_from([float("nan"), float("inf"), -1.0]))
READINGS = st.builds(
    Load,
    at=st.floats(0, 20),
    running=COUNTS,
    waiting=COUNTS,
    kv_utilisation=st.one_of(st.none(), st.floats(-1, 2), st.just(float("nan"))),
    kv_capacity_tokens=st.one_of(st.none(), st.integers(0, 4096)),
    preemptions=st.one_of(st.none(), st.floats(0, 9)),
    adapter_slots=st.one_of(st.none(), st.integers(0, 2)),
    adapters=st.sampled_from([(), ("lora",)]),
)


def engines(name: str) -> st.SearchStrategy[EngineFacts]:
    """Any facts of one engine."""
    return st.builds(
        EngineFacts,
        name=st.just(name),
        models=st.frozensets(st.sampled_from(MODELS)),
        adapters=st.sampled_from([frozenset(), frozenset({"lora"})]),
        pool=st.sampled_from(["default", "other"]),
        role=st.sampled_from(["both", "prefill", "decode"]),
        cost=st.floats(0, 10),
        weight=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        kv_capacity_tokens=st.sampled_from([0, 64, 4096]),
        max_in_flight=st.integers(0, 4),
        load=st.one_of(st.none(), READINGS),
    )


FLEETS = st.sets(st.sampled_from(NAMES)).flatmap(
    lambda names: st.tuples(*(engines(name) for name in sorted(names))).map(list)
)
CHAINS = st.integers(0, 30).flatmap(
    lambda n: st.integers(0, 2).map(lambda root: tuple(hash((root, i)) for i in range(n)))
)
ASKS = st.builds(
    Ask,
    model=st.sampled_from([*MODELS, "", "unknown"]),
    chain=CHAINS,
    prompt_tokens=st.integers(0, 5000),
    output_tokens=st.integers(0, 500),
    session=st.sampled_from(["", "s", "t"]),
    priority=st.integers(-3, 3),
    pool=st.sampled_from(["", "default", "other"]),
    leg=st.sampled_from(["", "prefill", "decode"]),
)
CHANCES = st.floats(0, 1, exclude_max=True)
