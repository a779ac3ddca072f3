"""Tenants and keys as people see them, in the admin API and on the command line: without digests."""

from penstock.config.rule import rule_text
from penstock.policy.identity.tree import Key, Org, Team

Row = dict[str, object]


def org_row(org: Org) -> Row:
    """Times in seconds since the epoch; `deleted` is 0 while it is there."""
    return {"name": org.name, **_bounds(org), "created": org.created, "deleted": org.deleted}


def team_row(team: Team) -> Row:
    """As above, with the team's share."""
    shares = {"weight": team.weight, "priority": team.priority}
    place = {"org": team.org, "name": team.name}
    return {**place, **_bounds(team), **shares, "created": team.created, "deleted": team.deleted}


def key_row(key: Key, now: float) -> Row:
    """As above. `state` is `active`, `expired` or `revoked`; a weight or priority of null is the team's."""
    return {
        "id": key.id,
        "org": key.org,
        "team": key.team,
        "name": key.name,
        "state": "revoked" if key.revoked else "expired" if key.expires and now >= key.expires else "active",
        "admin": key.scopes.admin,
        **_bounds(key),
        "weight": key.weight,
        "priority": key.priority,
        "expires": key.expires,
        "created": key.created,
        "rotated": key.rotated,
        "previous_until": key.previous_until,
        "revoked": key.revoked,
    }


def _bounds(of: Org | Team | Key) -> Row:
    limits = [rule_text(rule) for rule in of.rules]
    return {"models": list(of.scopes.models), "endpoints": list(of.scopes.endpoints), "limits": limits}
