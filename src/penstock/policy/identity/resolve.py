"""The tree -> what workers look up: each key with everything that holds for it, resolved once and not per request.

Scopes narrow on the way down: what an organisation may not use, none of its keys may. Rules add up: a request counts
under its organisation's, its team's and its key's. Weight and priority are the team's, and a key may only lower them.
"""

from collections.abc import Sequence

import msgspec

from penstock.core.limit import Level, Rule
from penstock.core.tenant import Principal, Scopes, Tenant
from penstock.policy.identity.access import common_endpoints, common_models
from penstock.policy.identity.key import NO_DIGEST
from penstock.policy.identity.tree import Key, Org, Team

TOLD_FOR_S = 30 * 86_400.0
"""A key that expired or was revoked is still told so for this long; later it is unknown."""


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """An organisation, or one of its teams, with what holds for whoever is in it."""

    org: str = ""
    team: str = ""
    scopes: Scopes = Scopes()
    rules: tuple[Rule, ...] = ()
    weight: float = 1.0
    priority: int = 0
    live: bool = True
    """Neither it nor its organisation was deleted."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key as workers hold it."""

    id: str
    digest: bytes
    principal: Principal
    previous: bytes = NO_DIGEST
    previous_until: float = 0.0
    revoked: bool = False
    """It, its team or its organisation was taken away."""


class Snapshot(msgspec.Struct, frozen=True):
    """All of it, at one version of the store."""

    version: int = 0
    entries: tuple[Entry, ...] = ()
    groups: tuple[Group, ...] = ()


class Changes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What leads from one Snapshot to another. Crosses process boundaries."""

    version: int
    entries: tuple[Entry, ...] = ()
    """New, or not as they were."""
    gone: tuple[str, ...] = ()
    """Ids of keys."""
    groups: tuple[Group, ...] | None = None
    """All of them, when one changed."""


def resolve(version: int, orgs: Sequence[Org], teams: Sequence[Team], keys: Sequence[Key], now: float) -> Snapshot:
    """The snapshot at `now`. A key whose organisation or team is not there counts as revoked."""
    groups = {("", ""): Group()}
    for org in orgs:
        groups[org.name, ""] = _org_group(org)
    for team in teams:
        above = groups.get((team.org, ""))
        if above is not None:
            groups[team.org, team.name] = _team_group(above, team)
    lost = Group(live=False)
    entries = [_entry(key, groups.get((key.org, key.team), lost)) for key in keys if not _forgotten(key, now)]
    del groups["", ""]
    return Snapshot(version, tuple(entries), tuple(groups.values()))


def changes(old: Snapshot, new: Snapshot) -> Changes:
    """What a holder of `old` needs to hold `new`."""
    before = {entry.id: entry for entry in old.entries}
    fresh = tuple(entry for entry in new.entries if before.get(entry.id) != entry)
    gone = tuple(before.keys() - {entry.id for entry in new.entries})
    return Changes(new.version, fresh, gone, new.groups if new.groups != old.groups else None)


def _forgotten(key: Key, now: float) -> bool:
    ends = [end for end in (key.revoked, key.expires) if end]
    return bool(ends) and min(ends) + TOLD_FOR_S < now


def _org_group(org: Org) -> Group:
    return Group(org.name, "", _narrowed(Scopes(), org.scopes), _at(org.rules, Level.ORG), live=not org.deleted)


def _team_group(above: Group, team: Team) -> Group:
    return Group(
        team.org,
        team.name,
        _narrowed(above.scopes, team.scopes),
        above.rules + _at(team.rules, Level.TEAM),
        team.weight,
        team.priority,
        above.live and not team.deleted,
    )


def _entry(key: Key, group: Group) -> Entry:
    scopes = _narrowed(group.scopes, key.scopes)
    # An admin's reach is the whole platform, so nobody inside an organisation has it, whatever the store says.
    scopes = msgspec.structs.replace(scopes, admin=key.scopes.admin and not key.org)
    principal = Principal(
        Tenant(key.org, key.team, key.id),
        key.name,
        scopes,
        group.weight if key.weight is None else min(group.weight, key.weight),
        group.priority if key.priority is None else min(group.priority, key.priority),
        key.expires,
        group.rules + _at(key.rules, Level.KEY),
    )
    revoked = bool(key.revoked) or not group.live
    return Entry(key.id, key.digest, principal, key.previous, key.previous_until, revoked)


def _narrowed(outer: Scopes, inner: Scopes) -> Scopes:
    return Scopes(common_models(outer.models, inner.models), common_endpoints(outer.endpoints, inner.endpoints))


def _at(rules: tuple[Rule, ...], level: Level) -> tuple[Rule, ...]:
    """Rules count for the subject they are written at."""
    return tuple(msgspec.structs.replace(rule, level=level) for rule in rules)
