"""Callers with a JSON Web Token of an identity provider (OpenID Connect), instead of a key."""

from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from penstock.config.section import Seconds, Section
from penstock.core.errors import ConfigError

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Signatures with a private key (RFC 7518, RFC 8037). `none` is not, nor HMAC, whose secret would be the public key."""
Claim = Annotated[str, Meta(max_length=256, description="Name of a claim, or a path such as `realm_access.roles`")]


class Oidc(Section, frozen=True):
    """Whose tokens are let in, and what their claims say. A claim that is named here and missing refuses the token."""

    issuer: Annotated[str, Meta(min_length=1, max_length=1024, description="Must be the token's `iss`, to the letter")]
    audience: Annotated[
        tuple[str, ...], Meta(min_length=1, max_length=32, description="One of these must be in the token's `aud`")
    ]
    jwks: Annotated[
        str, Meta(min_length=1, description="The provider's public keys: path of a JWKS file, or its `https://` URL")
    ]
    algorithms: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Signatures that count; never `none`, never HMAC")
    ] = ("RS256", "ES256")
    leeway: Annotated[float, Meta(ge=0, le=300, description="Seconds by which clocks may differ")] = 30.0
    refresh: Annotated[Seconds, Meta(description="Seconds between two readings of the keys")] = 300.0
    key_claim: Annotated[Claim, Meta(min_length=1, description="Who the caller is: one count per value")] = "sub"
    name_claim: Annotated[Claim, Meta(description="What people call the caller; may be missing in a token")] = ""
    org_claim: Annotated[Claim, Meta(description="Its organisation; empty takes `org`")] = ""
    org: Annotated[str, Meta(description="Organisation of all callers, where no claim says it")] = ""
    team_claim: Annotated[Claim, Meta(description="Its team; empty takes `team`")] = ""
    team: Annotated[str, Meta(description="Team of all callers, where no claim says it")] = ""
    models_claim: Annotated[Claim, Meta(description="Models it may use, a list or words; empty leaves the team's")] = ""
    endpoints_claim: Annotated[Claim, Meta(description="Path prefixes, likewise")] = ""
    admin_claim: Annotated[Claim, Meta(description="Claim that makes an administrator; empty makes none")] = ""
    admin_value: Annotated[str, Meta(description="The value, or one of the values, it must have")] = ""


def check_oidc(field: str, oidc: Oidc) -> None:
    """Raises ConfigError with the field, the value and the fix."""
    for name in oidc.algorithms:
        if name not in ALGORITHMS:
            raise ConfigError(f"{field}.algorithms: {name!r:.40} is not allowed; known: {', '.join(ALGORITHMS)}")
    if not all(oidc.audience):
        raise ConfigError(f"{field}.audience: an empty name fits any token; name this gateway as the provider does")
    if "://" in oidc.jwks and not _is_https(oidc.jwks):
        raise ConfigError(f"{field}.jwks: keys are read from a file or over https:// alone, without a user or password")
    if bool(oidc.admin_claim) != bool(oidc.admin_value):
        raise ConfigError(f"{field}.admin_value: admin_claim and admin_value go together; set both or neither")
    if (oidc.team or oidc.team_claim) and not (oidc.org or oidc.org_claim):
        raise ConfigError(f"{field}.org: a team is a team of an organisation; set org or org_claim")


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
