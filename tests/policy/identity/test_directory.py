"""Who is let in, and what a client learns that is not."""

import ast
import hmac
import inspect
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Unauthenticated
from penstock.core.tenant import Principal
from penstock.policy.identity import directory as module
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.key import LENGTH, digest
from penstock.policy.identity.resolve import Snapshot, changes, resolve
from penstock.policy.identity.tree import Key, Org, Team
from tests.policy.identity.keys import OTHER, SECRET, key, key_id, presented

NOW = 1_000_000.0


def directory(*keys: Key, orgs: tuple[Org, ...] = (), teams: tuple[Team, ...] = (), now: float = NOW) -> Directory:
    return Directory(resolve(1, orgs, teams, keys, now))


def code(found: Directory, sent: bytes, now: float = NOW) -> str:
    with pytest.raises(Unauthenticated) as refused:
        found.authenticate(sent, now)
    assert refused.value.status == 401
    return refused.value.code


def test_the_right_secret_is_let_in() -> None:
    found = directory(key(0, name="ci"), key(1))
    principal = found.authenticate(presented(0), NOW)
    assert (principal.tenant.key, principal.name) == (key_id(0), "ci")
    assert found.find(key_id(0)) == principal
    assert found.find(key_id(2)) is None
    assert len(found) == 2


@given(st.binary(max_size=LENGTH + 2))
def test_anything_else_is_not(sent: bytes) -> None:
    assert code(directory(key()), sent) == "invalid_api_key"


@given(st.integers(0, LENGTH - 1), st.integers(1, 255))
def test_one_byte_off_is_not(place: int, change: int) -> None:
    sent = bytearray(presented())
    sent[place] ^= change
    assert code(directory(key()), bytes(sent)) == "invalid_api_key"


def test_expiry_is_judged_when_the_key_is_used() -> None:
    found = directory(key(0, expires=NOW + 10))
    assert found.authenticate(presented(), NOW + 9.999)
    assert code(found, presented(), NOW + 10) == "key_expired"


def test_a_revoked_key_is_told_so() -> None:
    assert code(directory(key(0, revoked=NOW - 1)), presented()) == "key_revoked"


def test_a_rotated_key_has_two_secrets_until_the_overlap_ends() -> None:
    found = directory(key(0, previous=digest(OTHER), previous_until=NOW + 60))
    assert found.authenticate(presented(), NOW)
    assert found.authenticate(presented(0, OTHER), NOW + 59.9)
    assert code(found, presented(0, OTHER), NOW + 60) == "key_expired"
    assert found.authenticate(presented(), NOW + 60)


def test_without_the_secret_nothing_is_told_of_a_key() -> None:
    """Whether it exists, expired, was revoked or rotated: the answer is the same, to the letter."""
    keys = (key(0), key(1, expires=NOW - 1), key(2, revoked=NOW - 1), key(3, previous=digest(OTHER)))
    found = directory(*keys)
    answers = set()
    for number in range(5):  # the last is no key
        with pytest.raises(Unauthenticated) as refused:
            found.authenticate(presented(number, "x" * 40), NOW)
        answers.add((refused.value.code, refused.value.message, refused.value.retry, refused.value.param))
    assert len(answers) == 1


@pytest.mark.parametrize("deleted", ["org", "team"])
def test_a_key_ends_with_its_organisation_and_its_team(deleted: str) -> None:
    org = Org("acme", deleted=NOW if deleted == "org" else 0)
    team = Team("acme", "search", deleted=NOW if deleted == "team" else 0)
    found = directory(key(0, org="acme", team="search"), orgs=(org,), teams=(team,))
    assert code(found, presented()) == "key_revoked"


def test_a_key_whose_tenant_is_nowhere_counts_as_revoked() -> None:
    assert code(directory(key(0, org="gone")), presented()) == "key_revoked"
    assert code(directory(key(0, org="acme", team="gone"), orgs=(Org("acme"),)), presented()) == "key_revoked"


def test_before_anything_was_read_nobody_is_let_in() -> None:
    empty = Directory()
    assert empty.version == -1
    assert code(empty, presented()) == "invalid_api_key"


def test_changes_lead_from_one_snapshot_to_the_next() -> None:
    old = resolve(1, (Org("acme"),), (), (key(0), key(1), key(2, org="acme")), NOW)
    new = resolve(2, (Org("acme", deleted=NOW),), (), (key(0), key(1, name="b"), key(2, org="acme"), key(3)), NOW)
    step = changes(old, new)
    assert {entry.id for entry in step.entries} == {key_id(1), key_id(2), key_id(3)}
    found = Directory(old)
    found.take(step)
    found.take(changes(new, Snapshot(3, new.entries[1:], new.groups)))
    assert found.version == 3
    assert code(found, presented(0)) == "invalid_api_key"
    assert code(found, presented(2)) == "key_revoked"
    assert found.authenticate(presented(1), NOW).name == "b"
    group = found.group("acme", "")
    assert group is not None
    assert not group.live


# -- timing ------------------------------------------------------------------------------------------------------------


def test_every_well_formed_key_is_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two comparisons of two digests of 32 bytes each, whatever the id and however much of the secret was right."""
    compared: list[tuple[int, int]] = []

    def watched(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(module, "compare_digest", watched)
    found = directory(key(0), key(1, previous=digest(OTHER), previous_until=NOW + 1), key(2, revoked=1.0))
    for sent in (
        presented(0),
        presented(0, f"{SECRET[:-1]}x"),
        presented(0, f"x{SECRET[1:]}"),
        presented(1, OTHER),
        presented(2),
        presented(9),
    ):
        compared.clear()
        with suppress(Unauthenticated):
            found.authenticate(sent, NOW)
        assert compared == [(32, 32), (32, 32)]


def test_nothing_secret_is_compared_in_another_way() -> None:
    """The secret and its digest meet no `==`, `in`, `startswith` or table: only slicing, SHA-256 and compare_digest."""
    tree = ast.parse(inspect.getsource(Directory.authenticate).replace("    def", "def", 1))
    secret = {"found", "entry.digest", "entry.previous"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            assert not {ast.unparse(part) for part in (node.left, *node.comparators)} & secret, ast.unparse(node)
        if isinstance(node, ast.Call):
            given = {ast.unparse(argument) for argument in node.args}
            assert not given & secret or ast.unparse(node.func) == "compare_digest", ast.unparse(node)
    assert module.compare_digest is hmac.compare_digest


def test_an_error_and_a_principal_hold_no_secret() -> None:
    found = directory(key(0, expires=NOW + 5))
    texts = [repr(found), repr(found.authenticate(presented(), NOW)), repr(found.find(key_id()))]
    for now, sent in ((NOW + 5, presented()), (NOW, presented(0, OTHER)), (NOW, presented(7))):
        with pytest.raises(Unauthenticated) as refused:
            found.authenticate(sent, now)
        texts += [str(refused.value), repr(refused.value), refused.value.message]
    assert not [text for text in texts if SECRET in text or OTHER in text]
    assert isinstance(found.find(key_id()), Principal)
