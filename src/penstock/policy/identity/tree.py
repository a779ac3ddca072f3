"""The tree of tenants as it is stored: organisations -> teams -> keys. Times are seconds since the epoch; 0: never."""

import msgspec

from penstock.core.limit import Rule
from penstock.core.tenant import Scopes
from penstock.policy.identity.key import NO_DIGEST


class Org(msgspec.Struct, frozen=True, omit_defaults=True):
    """An organisation. Its scopes bound those of its teams and keys; its rules count all of their use."""

    name: str
    scopes: Scopes = Scopes()
    rules: tuple[Rule, ...] = ()
    created: float = 0.0
    deleted: float = 0.0


class Team(msgspec.Struct, frozen=True, omit_defaults=True):
    """A team of an organisation: what shares are given to."""

    org: str
    name: str
    scopes: Scopes = Scopes()
    rules: tuple[Rule, ...] = ()
    weight: float = 1.0
    priority: int = 0
    created: float = 0.0
    deleted: float = 0.0


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key, without its secret. `org` and `team` may be empty: a key of the operators."""

    id: str
    digest: bytes
    """SHA-256 of the secret."""
    org: str = ""
    team: str = ""
    name: str = ""
    scopes: Scopes = Scopes()
    rules: tuple[Rule, ...] = ()
    weight: float | None = None
    """Lowers the team's weight for this key; None leaves it."""
    priority: int | None = None
    expires: float = 0.0
    created: float = 0.0
    revoked: float = 0.0
    rotated: float = 0.0
    previous: bytes = NO_DIGEST
    """SHA-256 of the secret before the last rotation."""
    previous_until: float = 0.0
    """The old secret is right until then."""
