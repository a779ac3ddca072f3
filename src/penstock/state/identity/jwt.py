"""Callers with a JSON Web Token (RFC 7519), checked as RFC 8725 asks.

A token counts when a key of the provider that its `kid` names has signed it, with an algorithm from the allow-list
that fits that key; when issuer and audience are ours; when it has an end and is inside its times. What its claims say
is then bounded by the tree of tenants, in which its organisation and team must exist. Everything else is refused.

To check a token takes some 200 microseconds, so one that was right is remembered by its SHA-256 until it ends.
"""

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from penstock.config.oidc import Oidc
from penstock.core.errors import BadRequest, ConfigError, Unauthenticated
from penstock.core.tenant import Principal, Scopes, Tenant
from penstock.policy.identity.access import NOTHING, common_endpoints, common_models
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.resolve import Group
from penstock.state.identity.fields import FARTHEST, checked_endpoints, checked_models
from penstock.state.identity.jwks import PublicKey

if TYPE_CHECKING:
    from jwt import PyJWK

LONGEST_TOKEN = 8192
LONGEST_KEY = 128
MOST_REMEMBERED = 4096
NOT_ACCEPTED = "The token was not accepted."
MALFORMED = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What parsers of hostile bytes may raise besides their own errors."""
Claims = dict[str, object]


class Tokens:
    """The provider's keys, and the tokens that were right. One per process."""

    __slots__ = ("_directory", "_keys", "_oidc", "_right", "_version")

    def __init__(self, oidc: Oidc, directory: Directory) -> None:
        try:
            import jwt  # noqa: F401, PLC0415 - an extra, and slow to import
        except ImportError:
            raise ConfigError("auth.oidc: tokens need pyjwt; run: pip install 'penstock[oidc]'") from None
        self._oidc = oidc
        self._directory = directory
        self._keys: dict[tuple[str, str], PyJWK] = {}
        self._right: dict[bytes, tuple[float, Principal]] = {}
        self._version = directory.version

    def take(self, keys: tuple[PublicKey, ...]) -> None:
        """The provider's keys as they are now; none refuses every token."""
        from jwt import PyJWK, PyJWTError  # noqa: PLC0415

        self._right.clear()
        self._keys.clear()
        for key in keys:
            for algorithm in key.algorithms:
                try:
                    made = PyJWK(msgspec.json.decode(key.jwk), algorithm)
                except (PyJWTError, *MALFORMED):
                    continue
                self._keys[key.kid, algorithm] = made

    def authenticate(self, token: bytes, now: float) -> Principal:
        """Whose token this is, at the wall clock's `now`. Raises Unauthenticated."""
        if len(token) > LONGEST_TOKEN or token.count(b".") != 2:
            raise Unauthenticated(NOT_ACCEPTED)
        if self._version != self._directory.version:
            self._right.clear()
            self._version = self._directory.version
        name = sha256(token).digest()
        known = self._right.get(name)
        if known is not None and now < known[0]:
            return known[1]
        claims = self._verified(token)
        until = self._times(claims, now)
        principal = self._principal(claims, until - self._oidc.leeway)
        if len(self._right) >= MOST_REMEMBERED:
            del self._right[next(iter(self._right))]
        self._right[name] = (until, principal)
        return principal

    def _verified(self, token: bytes) -> Claims:
        """The claims of a token that the provider signed for us."""
        import jwt  # noqa: PLC0415

        try:
            head = jwt.get_unverified_header(token)
            algorithm, kid = head["alg"], head.get("kid", "")
            key = self._keys.get((kid, algorithm))
            if key is None or algorithm not in self._oidc.algorithms:
                raise Unauthenticated(NOT_ACCEPTED)
            # The clock is a parameter here, and not one there: times are checked below.
            claims: Claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._oidc.issuer,
                audience=list(self._oidc.audience),
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError, jwt.MissingRequiredClaimError):
            # PyJWT looks at claims only after the signature: who gets here has a token of our provider.
            raise Unauthenticated("The token is not for this gateway: check its iss, aud and exp.") from None
        except (jwt.PyJWTError, *MALFORMED):
            raise Unauthenticated(NOT_ACCEPTED) from None
        return claims

    def _times(self, claims: Claims, now: float) -> float:
        """When the token ends, leeway included."""
        leeway = self._oidc.leeway
        end = _seconds("exp", claims["exp"]) + leeway
        if now >= end:
            raise Unauthenticated("The token has expired; get another.", code="key_expired")
        for claim in ("nbf", "iat"):
            if claim in claims and _seconds(claim, claims[claim]) > now + leeway:
                raise Unauthenticated(f"The token is not valid yet: see its {claim}, and both clocks.")
        return end

    def _principal(self, claims: Claims, expires: float) -> Principal:
        oidc = self._oidc
        org = _text(claims, oidc.org_claim) if oidc.org_claim else oidc.org
        team = _text(claims, oidc.team_claim) if oidc.team_claim else oidc.team
        group = self._directory.group(org, team) if org else Group()
        if group is None:
            raise Unauthenticated(
                "The token's organisation or team is not known here; create it, or correct the claim."
            )
        if not group.live:
            raise Unauthenticated("The token's organisation or team was taken away.", code="key_revoked")
        scopes = group.scopes
        try:
            if oidc.models_claim:
                models = checked_models(_words(claims, oidc.models_claim)) or NOTHING
                scopes = msgspec.structs.replace(scopes, models=common_models(scopes.models, models))
            if oidc.endpoints_claim:
                endpoints = checked_endpoints(_words(claims, oidc.endpoints_claim)) or NOTHING
                scopes = msgspec.structs.replace(scopes, endpoints=common_endpoints(scopes.endpoints, endpoints))
        except BadRequest as error:
            raise Unauthenticated(f"The token's claims do not fit: {error.message}") from None
        admin = bool(oidc.admin_claim) and oidc.admin_value in _words(claims, oidc.admin_claim, missing=())
        name = _text(claims, oidc.name_claim, missing="") if oidc.name_claim else ""
        return Principal(
            # Store ids hold no colon, so no subject can take the place of a key.
            Tenant(org, team, f"jwt:{_text(claims, oidc.key_claim)}"),
            name,
            Scopes(scopes.models, scopes.endpoints, admin),
            group.weight,
            group.priority,
            expires,
            group.rules,
        )


def _seconds(claim: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= FARTHEST:
        raise Unauthenticated(f"The token's {claim} is no time in seconds.")
    return float(value)


def _claim(claims: Claims, name: str) -> object:
    """The claim of that name, or at that path: providers nest claims, and others have dots in their names."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _text(claims: Claims, name: str, missing: str | None = None) -> str:
    found = _claim(claims, name)
    if found is None and missing is not None:
        return missing
    if not isinstance(found, str) or not 0 < len(found) <= LONGEST_KEY or not found.isprintable():
        raise Unauthenticated(
            f"The token's claim {name!r:.80} is missing, or is not text of 1 to {LONGEST_KEY} characters."
        )
    return found


def _words(claims: Claims, name: str, missing: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """A list of texts, or a text of words (as `scope` is), or a truth."""
    found = _claim(claims, name)
    if found is None and missing is not None:
        return missing
    if isinstance(found, bool):
        return ("true" if found else "false",)
    if isinstance(found, str):
        return tuple(found.split())
    if isinstance(found, list) and all(isinstance(word, str) for word in found):
        return tuple(found)
    raise Unauthenticated(f"The token's claim {name!r:.80} is missing, or is no list of texts.")
