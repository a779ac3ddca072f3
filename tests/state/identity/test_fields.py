"""What people may not say of a tenant or a key: each refusal names field, value and fix."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import BadRequest
from penstock.policy.identity.tree import Org, Team
from penstock.state.identity.fields import KeyFields, OrgFields, TeamFields, checked_name, key_with, org_with, team_with
from tests.policy.identity.keys import key

NOW = 1_000_000.0
TEAM = Team("acme", "search", weight=2.0, priority=3)


@pytest.mark.parametrize(
    ("fields", "field", "part"),
    [
        (KeyFields(models=("a*b",)), "models", "`*` only at its end"),
        (KeyFields(models=("",)), "models", "no model"),
        (KeyFields(models=("a\0",)), "models", "no model"),
        (KeyFields(models=tuple(map(str, range(1001)))), "models", "at most 1000"),
        (KeyFields(endpoints=("v1",)), "endpoints", "write it like /v1/embeddings"),
        (KeyFields(endpoints=("/v1/../admin",)), "endpoints", "no path"),
        (KeyFields(endpoints=("/v1/%2e",)), "endpoints", "no path"),
        (KeyFields(endpoints=("/",)), "endpoints", "no path"),
        (KeyFields(limits=("requests=many/minute",)), "limits", "no amount"),
        (KeyFields(limits=("requests=1/minute", "requests=2/minute")), "limits", "name="),
        (KeyFields(name="x" * 129), "name", "at most 128"),
        (KeyFields(name="a\nb"), "name", "printable"),
        (KeyFields(weight=2.5), "weight", "above its team's 2.0"),
        (KeyFields(weight=float("nan")), "weight", "0.001 to 1000"),
        (KeyFields(weight=0.0), "weight", "0.001 to 1000"),
        (KeyFields(priority=4), "priority", "above its team's 3"),
        (KeyFields(priority=-101), "priority", "-100 to 100"),
        (KeyFields(expires=NOW), "expires", "not in the future"),
        (KeyFields(expires=NOW * 1e9), "expires", "seconds since the epoch"),
        (KeyFields(expires=float("inf")), "expires", "seconds since the epoch"),
        (KeyFields(admin=True), "admin", "cannot administer"),
    ],
)
def test_refusals(fields: KeyFields, field: str, part: str) -> None:
    with pytest.raises(BadRequest, match=field) as refused:
        key_with(key(0, org="acme", team="search"), fields, TEAM, NOW)
    assert refused.value.param == field
    assert part in refused.value.message


def test_a_key_is_not_taken_for_a_name_and_not_repeated() -> None:
    with pytest.raises(BadRequest) as refused:
        key_with(key(), KeyFields(name="sk-ps-hush"), None, NOW)
    assert "hush" not in refused.value.message


def test_a_key_of_the_operators_has_the_default_share() -> None:
    assert key_with(key(), KeyFields(weight=0.5, priority=-1, admin=True), None, NOW).scopes.admin
    with pytest.raises(BadRequest):
        key_with(key(), KeyFields(weight=1.5), None, NOW)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "a b", "a\n", "é", "a" * 64, "a%2fb", "*"])
def test_names(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        checked_name("org", name)
    assert refused.value.param == "org"


@given(st.lists(st.text(max_size=8), max_size=3).map(tuple), st.floats(), st.integers())
def test_whatever_comes_is_taken_or_refused(texts: tuple[str, ...], number: float, whole: int) -> None:
    for field in ("models", "endpoints", "limits"):
        with suppress(BadRequest):
            org_with(Org("acme"), OrgFields(**{field: texts}))
    with suppress(BadRequest):
        found = team_with(Team("acme", "t"), TeamFields(weight=number, priority=whole))
        assert 0 < found.weight <= 1000
        assert -100 <= found.priority <= 100
