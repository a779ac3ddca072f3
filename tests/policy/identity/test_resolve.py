"""What holds for a key, from everything above it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.limit import Level, Measure, Rule
from penstock.core.tenant import Scopes
from penstock.policy.identity.access import (
    common_endpoints,
    common_models,
    model_allowed,
    path_allowed,
)
from penstock.policy.identity.resolve import TOLD_FOR_S, Snapshot, resolve
from penstock.policy.identity.tree import Org, Team
from tests.policy.identity.keys import key, key_id

NOW = 1_000_000.0
A_RULE = Rule("a", Measure.REQUESTS, 5, window_s=60.0)
names = st.text("ab", max_size=4)
patterns = st.builds(lambda name, star: f"{name}*" if star or not name else name, names, st.booleans())
several = st.lists(patterns, max_size=3).map(tuple)
paths = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
places = st.lists(paths, max_size=3).map(tuple)


@given(several, several, names.filter(bool))
def test_a_model_is_allowed_below_if_it_is_at_each_level(outer: tuple[str, ...], inner: tuple[str, ...], model: str):
    both = model_allowed(Scopes(outer), model) and model_allowed(Scopes(inner), model)
    assert model_allowed(Scopes(common_models(outer, inner)), model) == both


@given(places, places, paths)
def test_so_is_an_endpoint(outer: tuple[str, ...], inner: tuple[str, ...], path: str):
    asked = path.encode()
    both = path_allowed(Scopes(endpoints=outer), asked) and path_allowed(Scopes(endpoints=inner), asked)
    assert path_allowed(Scopes(endpoints=common_endpoints(outer, inner)), asked) == both


@given(several, several, several, names.filter(bool))
def test_narrowing_twice_never_widens(a: tuple[str, ...], b: tuple[str, ...], c: tuple[str, ...], model: str):
    """What two levels have nothing in common of stays nothing, however wide the third is."""
    narrowed = common_models(common_models(a, b), c)
    if model_allowed(Scopes(narrowed), model):
        assert all(model_allowed(Scopes(each), model) for each in (a, b, c))


def test_nothing_in_common_allows_nothing_and_not_all() -> None:
    found = resolve(1, (Org("acme", Scopes(("llama-*",))),), (), (key(0, org="acme", scopes=Scopes(("gpt-4",))),), NOW)
    scopes = found.entries[0].principal.scopes
    for model in ("llama-3", "gpt-4", "\0", "", None):
        assert not model_allowed(scopes, model)


def test_rules_of_all_levels_add_up_each_at_its_own() -> None:
    found = resolve(
        1,
        (Org("acme", rules=(A_RULE,)),),
        (Team("acme", "search", rules=(A_RULE,)),),
        (key(0, org="acme", team="search", rules=(A_RULE,)), key(1, org="acme"), key(2)),
        NOW,
    )
    levels = [[rule.level for rule in entry.principal.rules] for entry in found.entries]
    assert levels == [[Level.ORG, Level.TEAM, Level.KEY], [Level.ORG], []]


@pytest.mark.parametrize(
    ("weight", "priority", "expected"),
    [(None, None, (2.0, 3)), (0.5, -1, (0.5, -1)), (9.0, 9, (2.0, 3))],
)
def test_a_key_lowers_its_teams_share_and_never_raises_it(
    weight: float | None, priority: int | None, expected: tuple[float, int]
) -> None:
    team = Team("acme", "search", weight=2.0, priority=3)
    member = key(0, org="acme", team="search", weight=weight, priority=priority)
    principal = resolve(1, (Org("acme"),), (team,), (member,), NOW).entries[0].principal
    assert (principal.weight, principal.priority) == expected


def test_nobody_inside_an_organisation_administers() -> None:
    """Whatever the store says: somebody may have written to it by hand."""
    admin = Scopes(admin=True)
    found = resolve(1, (Org("acme", admin),), (), (key(0, scopes=admin), key(1, org="acme", scopes=admin)), NOW)
    assert [entry.principal.scopes.admin for entry in found.entries] == [True, False]
    assert not found.groups[0].scopes.admin


def test_ends_are_told_for_a_while_and_then_forgotten() -> None:
    keys = (
        key(0, revoked=NOW - TOLD_FOR_S + 1),
        key(1, revoked=NOW - TOLD_FOR_S - 1),
        key(2, expires=NOW - TOLD_FOR_S - 1),
        key(3, expires=NOW - TOLD_FOR_S + 1),
        key(4, expires=NOW + 1, revoked=NOW - TOLD_FOR_S - 1),
    )
    assert {entry.id for entry in resolve(1, (), (), keys, NOW).entries} == {key_id(0), key_id(3)}


def test_a_snapshot_crosses_to_another_process_whole() -> None:
    found = resolve(
        7,
        (Org("acme", Scopes(("a*",), ("/v1/x",)), (A_RULE,)),),
        (Team("acme", "search", weight=0.5),),
        (key(0, org="acme", team="search", name="é", expires=5.5 + NOW), key(1)),
        NOW,
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Snapshot) == found
