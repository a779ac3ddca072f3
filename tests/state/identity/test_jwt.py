"""Tokens that are let in, and every way in which one is not."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config.oidc import ALGORITHMS, Oidc, check_oidc
from penstock.core.errors import ConfigError, Unauthenticated
from penstock.core.limit import Level, Measure, Rule
from penstock.core.tenant import Scopes
from penstock.policy.identity.access import model_allowed, path_allowed
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.resolve import Changes, Group
from penstock.policy.identity.tree import Org, Team
from penstock.state.identity.jwks import public_keys
from penstock.state.identity.jwt import LONGEST_TOKEN, MOST_REMEMBERED, Tokens
from tests.state.identity.provider import AUDIENCE, ISSUER, NOW, Provider, oidc, tokens

ACME = Org("acme", Scopes(("llama-*",)), (Rule("a", Measure.REQUESTS, 5, window_s=60.0),))
SEARCH = Team("acme", "search", weight=2.0, priority=1)


def refusal(found: Tokens, token: bytes, now: float = NOW) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as refused:
        found.authenticate(token, now)
    assert token.decode("latin-1") not in f"{refused.value}{refused.value!r}" or len(token) < 3
    return refused.value


@pytest.mark.parametrize(
    ("kid", "algorithm"), [("rsa", "RS256"), ("rsa", "RS512"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")]
)
def test_tokens_of_each_kind_of_key(provider: Provider, kid: str, algorithm: str) -> None:
    principal = tokens(provider).authenticate(provider.token(kid, algorithm), NOW)
    assert principal.tenant.key == "jwt:alice"
    assert principal.expires == NOW + 600
    assert not principal.scopes.admin


def test_claims_say_who_and_the_tree_says_what(provider: Provider) -> None:
    found = tokens(provider, (ACME,), (SEARCH,), org_claim="org", team_claim="app.team", name_claim="https://x/name")
    claims = {"org": "acme", "app": {"team": "search"}, "https://x/name": "Alice"}
    principal = found.authenticate(provider.token(**claims), NOW)
    assert (principal.tenant.org, principal.tenant.team, principal.name) == ("acme", "search", "Alice")
    assert (principal.weight, principal.priority, principal.scopes.models) == (2.0, 1, ("llama-*",))
    assert [rule.level for rule in principal.rules] == [Level.ORG]


def test_models_and_endpoints_narrow_what_the_tree_allows(provider: Provider) -> None:
    found = tokens(provider, (ACME,), org="acme", models_claim="models", endpoints_claim="scope")

    def scopes(models: Any, scope: Any) -> Scopes:
        return found.authenticate(provider.token(models=models, scope=scope), NOW).scopes

    wide = scopes(["*"], "/v1/embeddings /v1/audio")
    assert (wide.models, wide.endpoints) == (("llama-*",), ("/v1/embeddings", "/v1/audio"))
    for nothing in ([], ["gpt-4"], ""):
        assert not model_allowed(scopes(nothing, "/v1/x"), "llama-3")
        assert not model_allowed(scopes(nothing, "/v1/x"), "gpt-4")
    assert not path_allowed(scopes(["llama-3"], []), b"/v1/x")


@pytest.mark.parametrize(
    ("claims", "part"),
    [
        ({"org": None}, "'org' is missing"),
        ({"org": 5}, "'org' is missing"),
        ({"org": ""}, "'org' is missing"),
        ({"org": "nobody"}, "not known here"),
        ({"org": "acme", "models": None}, "'models' is missing"),
        ({"org": "acme", "models": [1]}, "no list of texts"),
        ({"org": "acme", "models": ["a*b"]}, "do not fit"),
        ({"org": "acme", "models": [], "sub": "a\nb"}, "'sub' is missing"),
        ({"org": "acme", "models": [], "sub": "x" * 129}, "'sub' is missing"),
        ({"org": "acme", "models": [], "sub": None}, "'sub' is missing"),
    ],
)
def test_claims_that_do_not_fit_refuse_the_token(provider: Provider, claims: dict[str, Any], part: str) -> None:
    found = tokens(provider, (ACME,), org_claim="org", models_claim="models")
    assert part in refusal(found, provider.token(**claims)).message


@pytest.mark.parametrize(
    ("value", "admin"),
    [("ops", True), (["x", "ops"], True), ("x ops", True), ("opsx", False), ([], False), (None, False)],
)
def test_an_administrator_is_who_the_configured_claim_says(provider: Provider, value: Any, admin: bool) -> None:
    found = tokens(provider, admin_claim="roles", admin_value="ops")
    assert found.authenticate(provider.token(roles=value), NOW).scopes.admin == admin
    assert not tokens(provider).authenticate(provider.token(roles=value), NOW).scopes.admin


def test_a_subject_cannot_take_the_place_of_a_key(provider: Provider) -> None:
    assert ":" in tokens(provider).authenticate(provider.token(sub="abcdefghijkl"), NOW).tenant.key


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "right"), [(NOW + 599, True), (NOW + 629, True), (NOW + 630, False), (NOW + 9e9, False)]
)
def test_a_token_ends_at_exp_and_leeway_remembered_or_not(provider: Provider, now: float, right: bool) -> None:
    token, found = provider.token(), tokens(provider, leeway=30.0)
    found.authenticate(token, NOW)
    for each in (found, tokens(provider, leeway=30.0)):
        if right:
            assert each.authenticate(token, now)
        else:
            assert refusal(each, token, now).code == "key_expired"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_does_not_begin_early(provider: Provider, claim: str) -> None:
    found = tokens(provider, leeway=30.0)
    assert found.authenticate(provider.token(**{claim: NOW + 30}), NOW)
    assert "not valid yet" in refusal(found, provider.token(**{claim: NOW + 31})).message


@pytest.mark.parametrize("value", ["soon", True, [], {}, -1, "1e400"])
def test_a_time_that_is_none_refuses_the_token(provider: Provider, value: Any) -> None:
    for claim in ("exp", "nbf", "iat"):
        token = provider.token(**{claim: value})
        assert refusal(tokens(provider), token).code == "invalid_api_key"


def test_an_end_beyond_all_numbers_is_none(provider: Provider) -> None:
    for number in ("1e400", "Infinity", "NaN", "9" * 400):
        token = raw({"alg": "RS256", "kid": "rsa"}, f'{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"a","exp":{number}}}')
        assert refusal(tokens(provider), signed(provider, token)).status == 401


# -- signatures --------------------------------------------------------------------------------------------------------


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def raw(head: dict[str, Any], body: str) -> bytes:
    return b64(json.dumps(head).encode()) + b"." + b64(body.encode())


def signed(provider: Provider, unsigned: bytes) -> bytes:
    return unsigned + b"." + b64(jwt.get_algorithm_by_name("RS256").sign(unsigned, provider.rsa))


CLAIMS = json.dumps({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 600})


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_no_signature_is_none(provider: Provider, algorithm: str) -> None:
    for tail in (b".", b".AA"):
        token = raw({"alg": algorithm, "kid": "rsa"}, CLAIMS) + tail
        assert refusal(tokens(provider), token).code == "invalid_api_key"


@pytest.mark.parametrize("kid", ["rsa", "ec"])
def test_a_public_key_is_no_hmac_secret(provider: Provider, kid: str) -> None:
    """CVE-2015-9235 and those after it: the verifier must not let the token choose how its key is used."""
    public = (provider.rsa if kid == "rsa" else provider.ec).public_key()
    jwk = next(each for each in provider.jwks if each["kid"] == kid)
    secrets = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk).encode(),
    ]
    for secret in secrets:
        for name, function in (("HS256", hashlib.sha256), ("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
            unsigned = raw({"alg": name, "kid": kid}, CLAIMS)
            token = unsigned + b"." + b64(hmac.new(secret, unsigned, function).digest())
            assert refusal(tokens(provider), token).code == "invalid_api_key"


def test_an_algorithm_outside_the_list_is_refused_though_the_key_could(provider: Provider) -> None:
    narrow = tokens(provider, algorithms=("RS256",))
    assert narrow.authenticate(provider.token(), NOW)
    for kid, algorithm in (("rsa", "RS512"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")):
        refusal(narrow, provider.token(kid, algorithm))


def test_a_key_is_used_for_its_own_algorithm_alone(provider: Provider) -> None:
    """The EC key of the set says ES256; the head of a token says something else."""
    other = ec.generate_private_key(ec.SECP384R1())
    refusal(tokens(provider), provider.token("ec", "ES384", key=other))
    refusal(tokens(provider), provider.token("ec", "RS256", key=provider.rsa))


@pytest.mark.parametrize("kid", ["other", "", None, "../rsa", "rsa\0", "' OR 1=1 --"])
def test_an_unknown_key_id_is_refused(provider: Provider, kid: str | None) -> None:
    refusal(tokens(provider), provider.token(kid))


@pytest.mark.parametrize("head", [{"kid": 5}, {"kid": ["rsa"]}, {"kid": {}}, {"crit": ["x"]}, {"b64": False}])
def test_heads_that_are_none(provider: Provider, head: dict[str, Any]) -> None:
    refusal(tokens(provider), signed(provider, raw({"alg": "RS256", "kid": "rsa", **head}, CLAIMS)))


def test_keys_in_the_head_are_not_looked_at(provider: Provider) -> None:
    mine = rsa.generate_private_key(65537, 2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(mine.public_key(), as_dict=True)
    for head in ({"jwk": public}, {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/c"}):
        refusal(tokens(provider), provider.token("rsa", key=mine, head=head))


def test_the_only_key_of_a_set_needs_no_name(provider: Provider) -> None:
    lone = {name: value for name, value in provider.jwks[0].items() if name != "kid"}
    found = Tokens(oidc(), Directory())
    found.take(public_keys(json.dumps({"keys": [lone]}).encode(), ALGORITHMS))
    assert found.authenticate(provider.token(None), NOW)
    refusal(found, provider.token("rsa"))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://id.example/"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"aud": "other"},
        {"aud": ["other", "penstock2"]},
        {"aud": None},
        {"aud": []},
        {"aud": {"penstock": 1}},
        {"exp": None},
    ],
)
def test_a_token_for_somebody_else(provider: Provider, claims: dict[str, Any]) -> None:
    if isinstance(claims.get("iss"), list):
        token = signed(provider, raw({"alg": "RS256", "kid": "rsa"}, json.dumps({**json.loads(CLAIMS), **claims})))
    else:
        token = provider.token(**claims)
    assert refusal(tokens(provider), token).code == "invalid_api_key"


def test_one_audience_of_several_is_enough(provider: Provider) -> None:
    assert tokens(provider, audience=("a", AUDIENCE)).authenticate(provider.token(aud=["x", AUDIENCE]), NOW)


@settings(max_examples=200)
@given(st.data())
def test_a_changed_byte_is_refused(provider: Provider, data: st.DataObject) -> None:
    token = bytearray(provider.token())
    place = data.draw(st.integers(0, len(token) - 1))
    token[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != token[place]))
    try:
        principal = tokens(provider).authenticate(bytes(token), NOW)
    except Unauthenticated:
        return
    # Base64 has spare bits in its last character: the same signature, written in another way.
    padded = [
        base64.urlsafe_b64decode(each + b"==")
        for each in (bytes(token).split(b".")[2], provider.token().split(b".")[2])
    ]
    assert padded[0] == padded[1]
    assert principal.tenant.key == "jwt:alice"


@given(st.one_of(st.binary(max_size=60), st.lists(st.binary(max_size=20), min_size=3, max_size=3).map(b".".join)))
def test_any_bytes_get_a_refusal(provider: Provider, token: bytes) -> None:
    refusal(tokens(provider), token)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    )
)
def test_any_json_signed_by_the_provider_gets_a_verdict(provider: Provider, body: Any) -> None:
    found = tokens(provider, models_claim="models", admin_claim="admin", admin_value="x")
    refusal(found, signed(provider, raw({"alg": "RS256", "kid": "rsa"}, json.dumps(body))))


def test_a_long_token_is_not_looked_at(provider: Provider) -> None:
    assert refusal(tokens(provider), provider.token(x="y" * LONGEST_TOKEN)).code == "invalid_api_key"
    deep = b64(b"[" * 5000)
    refusal(tokens(provider), deep + b"." + deep[:100] + b".AA")


# -- what is remembered ------------------------------------------------------------------------------------------------


def test_tokens_are_remembered_without_being_kept(provider: Provider) -> None:
    found, token = tokens(provider), provider.token()
    first = found.authenticate(token, NOW)
    assert found.authenticate(token, NOW) is first
    assert token not in found._right
    assert all(len(key) == 32 for key in found._right)


def test_memory_is_bounded(provider: Provider) -> None:
    found = tokens(provider)
    found._right.update({number.to_bytes(32, "big"): (NOW + 1, None) for number in range(MOST_REMEMBERED)})  # type: ignore[misc]
    found.authenticate(provider.token(), NOW)
    assert len(found._right) == MOST_REMEMBERED


def test_new_keys_and_a_changed_tree_are_heeded_at_once(provider: Provider) -> None:
    directory = Directory()
    directory.take(Changes(1, groups=(Group("acme"),)))
    found = Tokens(oidc(org="acme"), directory)
    keys = public_keys(provider.document, ALGORITHMS)
    token = provider.token()
    refusal(found, token)
    found.take(keys)
    assert found.authenticate(token, NOW)
    directory.take(Changes(2, groups=(Group("acme", live=False),)))
    assert refusal(found, token).code == "key_revoked"
    directory.take(Changes(3, groups=(Group("acme"),)))
    assert found.authenticate(token, NOW)
    found.take(tuple(key for key in keys if key.kid != "rsa"))
    refusal(found, token)
    found.take(())
    refusal(found, provider.token("ec", "ES256"))


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"algorithms": ("HS256",)}, "auth.oidc.algorithms: 'HS256' is not allowed; known: RS256"),
        ({"algorithms": ("none",)}, "'none' is not allowed"),
        ({"audience": ("",)}, "auth.oidc.audience"),
        ({"jwks": "http://id.example/keys"}, "over https:// alone"),
        ({"jwks": "https://user:hush@id.example/keys"}, "over https:// alone"),
        ({"admin_claim": "roles"}, "go together"),
        ({"admin_value": "ops"}, "go together"),
        ({"team": "search"}, "set org or org_claim"),
    ],
)
def test_settings_that_do_not_hold(fields: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_oidc("auth.oidc", oidc(**fields))
    assert part in str(refused.value)


def test_settings_that_do() -> None:
    for jwks in ("/etc/penstock/keys.json", "https://id.example/keys"):
        check_oidc("auth.oidc", Oidc(ISSUER, (AUDIENCE,), jwks))


def test_without_the_extra_the_fix_is_named() -> None:
    code = (
        "import sys; sys.modules['jwt'] = None\n"
        "from penstock.config.oidc import Oidc; from penstock.policy.identity.directory import Directory\n"
        "from penstock.state.identity.jwt import Tokens\n"
        "Tokens(Oidc('i', ('a',), 'k'), Directory())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'penstock[oidc]'" in ran.stderr
