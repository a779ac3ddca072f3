"""Who asks: organisation -> team -> key, and what a key may do."""

import msgspec

from penstock.core.limit import Rule


class Tenant(msgspec.Struct, frozen=True):
    """The path of one caller in the tree of tenants. A level that it has none of is empty."""

    org: str = ""
    team: str = ""
    key: str = ""
    """Public id of the key, never its secret."""


class Scopes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a key may be used for. An empty tuple allows all of its kind."""

    models: tuple[str, ...] = ()
    """Model names; a `*` at the end stands for any rest."""
    endpoints: tuple[str, ...] = ()
    """Path prefixes, such as `/v1/embeddings`."""
    admin: bool = False
    """May use the admin API."""


class Principal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A caller that was let in."""

    tenant: Tenant
    name: str = ""
    """What people call the key."""
    scopes: Scopes = Scopes()
    weight: float = 1.0
    """Its team's share of a busy fleet, relative to the other teams'."""
    priority: int = 0
    expires: float = 0.0
    """Seconds since the epoch; 0: never."""
    rules: tuple[Rule, ...] = ()
    """Limits of its own, on every level above it as well."""
