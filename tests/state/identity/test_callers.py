"""The three ways in, side by side."""

import pytest

from penstock.core.errors import Unauthenticated
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.resolve import resolve
from penstock.state.identity.callers import ANYBODY, Callers
from tests.policy.identity.keys import key, key_id, presented
from tests.state.identity.provider import NOW, Provider, tokens

PLAIN = "plain-key-from-the-config"


def callers(provider: Provider) -> Callers:
    return Callers((PLAIN,), Directory(resolve(1, (), (), (key(),), NOW)), tokens(provider))


def test_an_api_without_any_is_open() -> None:
    assert Callers().open
    assert Callers().authenticate(b"Basic whatever", None, NOW) is ANYBODY
    assert not Callers((), Directory()).open
    assert not Callers((PLAIN,)).open


def test_each_way_in(provider: Provider) -> None:
    found = callers(provider)
    plain = found.authenticate(b"Bearer " + PLAIN.encode(), None, NOW)
    assert (plain.tenant.org, plain.tenant.team, len(plain.tenant.key)) == ("", "", 8)
    assert not plain.scopes.admin
    assert found.authenticate(b"bearer   " + presented(), None, NOW).tenant.key == key_id()
    assert found.authenticate(None, presented(), NOW).tenant.key == key_id()
    assert found.authenticate(b"Bearer " + provider.token(), None, NOW).tenant.key == "jwt:alice"


@pytest.mark.parametrize("authorization", [None, b"", b"Bearer", b"Bearer ", b"Basic abc", presented(), b"Bearer x"])
def test_everything_else_is_refused(provider: Provider, authorization: bytes | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        callers(provider).authenticate(authorization, None, NOW)
    assert refused.value.code == "invalid_api_key"


def test_a_wrong_authorization_is_not_made_good_by_another_header(provider: Provider) -> None:
    with pytest.raises(Unauthenticated):
        callers(provider).authenticate(b"Bearer wrong", PLAIN.encode(), NOW)


def test_what_is_not_configured_is_no_way_in(provider: Provider) -> None:
    for credential in (presented(), provider.token()):
        with pytest.raises(Unauthenticated, match="not known here"):
            Callers((PLAIN,)).authenticate(b"Bearer " + credential, None, NOW)


def test_nothing_shows_a_plain_key(provider: Provider) -> None:
    found = callers(provider)
    principal = found.authenticate(b"Bearer " + PLAIN.encode(), None, NOW)
    assert PLAIN not in repr(principal) + repr(found) + repr(found._plain)
