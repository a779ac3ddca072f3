"""Whatever is sent as a credential, nothing that is shown, raised or logged has it in it."""

import base64
import logging
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.config.oidc import check_oidc
from penstock.core.errors import PenstockError, RequestError
from penstock.gateway.admin.admins import Admins
from penstock.gateway.admin.answers import error_body
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.key import ALPHABET, ID_CHARS, SECRET_CHARS, digest, written
from penstock.policy.identity.resolve import changes, resolve
from penstock.policy.identity.tree import Key
from penstock.state.identity.callers import Callers
from penstock.state.identity.open import open_store
from penstock.state.identity.rows import key_row
from penstock.state.identity.store import Issued
from tests.state.identity.provider import NOW, Provider, oidc, tokens

letters = st.text(ALPHABET, min_size=SECRET_CHARS, max_size=SECRET_CHARS)
ids = st.text(ALPHABET, min_size=ID_CHARS, max_size=ID_CHARS)


def shown(value: object) -> str:
    """All ways in which a value may end up in front of somebody."""
    texts = [repr(value), str(value), f"{value}"]
    if isinstance(value, msgspec.Struct) and not isinstance(value, Issued):
        texts += [msgspec.json.encode(value).decode(), repr(msgspec.to_builtins(value))]
    if isinstance(value, RequestError):
        texts += [msgspec.json.encode(error_body(value)).decode(), repr(vars(value))]
    return "\n".join(texts)


def outcome(call: Any, *arguments: Any) -> object:
    try:
        return call(*arguments)
    except PenstockError as error:
        logging.getLogger("penstock.test").warning("%s %r", error, error)
        return error


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    secret=letters, key_id=ids, wrong=letters, cut=st.integers(0, SECRET_CHARS), now=st.sampled_from([NOW, NOW + 1e9])
)
def test_no_credential_is_shown(
    provider: Provider, caplog: pytest.LogCaptureFixture, secret: str, key_id: str, wrong: str, cut: int, now: float
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    key = Key(key_id, digest(secret), name="ci", expires=NOW + 10, previous=digest(wrong), previous_until=NOW)
    snapshot = resolve(1, (), (), (key, Key("b" * ID_CHARS, digest(secret), revoked=NOW)), NOW)
    directory = Directory(snapshot)
    callers = Callers((f"plain-{secret}",), directory, tokens(provider))
    admins = Admins(f"token-{secret}", callers, lambda: now)
    whole = written(key_id, secret)
    token = provider.token(sub=secret, exp=NOW + 10).decode()
    signature = token.rpartition(".")[2]
    seen: list[object] = [key, snapshot, directory, callers, admins, whole, Issued(key, whole), key_row(key, now)]
    seen.append(changes(resolve(0, (), (), (), NOW), snapshot))
    presented = [whole.reveal(), written(key_id, wrong).reveal(), written("c" * ID_CHARS, secret).reveal()]
    presented += [f"plain-{secret}", f"token-{secret}", secret, whole.reveal()[: 20 + cut], f"{token}x"]
    for credential in presented:
        for sent in (f"Bearer {credential}", f"Basic {credential}", credential):
            seen.append(outcome(callers.authenticate, sent.encode(), None, now))
        seen.append(outcome(callers.authenticate, None, credential.encode(), now))
        seen.append(outcome(admins.admit, credential))
    for url in (f"mysql://u:{secret}@h/d", f"sqlite{secret}", f"redis://{secret}"):
        seen.append(outcome(open_store, url))
    seen.append(outcome(check_oidc, "auth.oidc", oidc(jwks=f"https://u:{secret}@h/keys")))
    text = "\n".join(map(shown, seen)) + caplog.text
    for hidden in (secret, wrong, signature, base64.b64encode(secret.encode()).decode()):
        assert hidden not in text


def test_the_search_would_find_one() -> None:
    assert "hush" in shown(Key("a", b"", name="hush"))
    assert "hush" in shown(outcome(open_store, "hush:x"))
