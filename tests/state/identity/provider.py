"""An identity provider with real keys."""

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from penstock.config.oidc import ALGORITHMS, Oidc
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.resolve import resolve
from penstock.policy.identity.tree import Org, Team
from penstock.state.identity.jwks import public_keys
from penstock.state.identity.jwt import Tokens

ISSUER = "https://id.example"
AUDIENCE = "penstock"
NOW = 1_800_000_000.0


class Provider:
    """Signs tokens with an RSA, an EC and an Ed25519 key."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.small = rsa.generate_private_key(65537, 1024)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()
        self.jwks = [
            {**RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True), "kid": "rsa", "use": "sig"},
            {**ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True), "kid": "ec", "alg": "ES256"},
            {**OKPAlgorithm.to_jwk(self.ed.public_key(), as_dict=True), "kid": "ed"},
        ]

    @property
    def document(self) -> bytes:
        return json.dumps({"keys": self.jwks}).encode()

    def token(
        self, kid: str | None = "rsa", algorithm: str = "RS256", key: Any = None, head: Any = None, **claims: Any
    ) -> bytes:
        """A token that is right but for what `claims` say; a claim of None is left out."""
        signer = key if key is not None else {"rsa": self.rsa, "ec": self.ec, "ed": self.ed}.get(kid or "rsa", self.rsa)
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 600, "iat": NOW - 1, **claims}
        headers = {**({"kid": kid} if kid is not None else {}), **(head or {})}
        found = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(found, signer, algorithm, headers=headers).encode()


def oidc(**fields: Any) -> Oidc:
    settings = {"issuer": ISSUER, "audience": (AUDIENCE,), "jwks": "keys.json", "algorithms": ALGORITHMS, **fields}
    return Oidc(**settings)


def tokens(provider: Provider, orgs: tuple[Org, ...] = (), teams: tuple[Team, ...] = (), **fields: Any) -> Tokens:
    """What a worker holds."""
    settings = oidc(**fields)
    found = Tokens(settings, Directory(resolve(1, orgs, teams, (), NOW)))
    found.take(public_keys(provider.document, settings.algorithms))
    return found
