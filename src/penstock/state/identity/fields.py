"""What people may say of an organisation, a team or a key, checked once for the command line and the admin API.

A field left out keeps its value, or its default in something new.
"""

import math
from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from penstock.config.rule import NAME, is_pattern, parse_rules
from penstock.core.errors import BadRequest, ConfigError
from penstock.core.limit import Level
from penstock.core.tenant import Scopes
from penstock.policy.identity.tree import Key, Org, Team

MOST = 1000
"""Entries of one list."""
LONGEST_NAME = 128
FARTHEST = 32_503_680_000.0
"""The year 3000, in seconds since the epoch: what is later was meant in milliseconds."""
T = TypeVar("T", Org, Team, Key)


class OrgFields(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`models` and `endpoints` bound everything below; `limits` are lines such as `total_tokens=10000/minute`."""

    models: tuple[str, ...] | UnsetType = UNSET
    endpoints: tuple[str, ...] | UnsetType = UNSET
    limits: tuple[str, ...] | UnsetType = UNSET


class TeamFields(OrgFields, forbid_unknown_fields=True, omit_defaults=True):
    """The above, and the team's share."""

    weight: float | UnsetType = UNSET
    priority: int | UnsetType = UNSET


class KeyFields(OrgFields, forbid_unknown_fields=True, omit_defaults=True):
    """The above for a key, which may lower its team's weight and priority; null takes the team's."""

    name: str | UnsetType = UNSET
    admin: bool | UnsetType = UNSET
    weight: float | UnsetType | None = UNSET
    priority: int | UnsetType | None = UNSET
    expires: float | UnsetType = UNSET
    """Seconds since the epoch; 0: never."""


def org_with(org: Org, fields: OrgFields) -> Org:
    """`org` with the fields that are set. Raises BadRequest."""
    return _with(org, fields, Level.ORG)


def team_with(team: Team, fields: TeamFields) -> Team:
    """As above."""
    found = _with(team, fields, Level.TEAM)
    weight = found.weight if fields.weight is UNSET else _weight(fields.weight)
    priority = found.priority if fields.priority is UNSET else _priority(fields.priority)
    return msgspec.structs.replace(found, weight=weight, priority=priority)


def key_with(key: Key, fields: KeyFields, team: Team | None, now: float) -> Key:
    """As above; `team` is the key's."""
    found = _with(key, fields, Level.KEY)
    most = team if team is not None else Team("", "")
    if fields.name is not UNSET:
        found = msgspec.structs.replace(found, name=_title(fields.name))
    if fields.weight is not UNSET:
        weight = None if fields.weight is None else _weight(fields.weight)
        _at_most("weight", weight, most.weight)
        found = msgspec.structs.replace(found, weight=weight)
    if fields.priority is not UNSET:
        priority = None if fields.priority is None else _priority(fields.priority)
        _at_most("priority", priority, most.priority)
        found = msgspec.structs.replace(found, priority=priority)
    if fields.expires is not UNSET:
        found = msgspec.structs.replace(found, expires=_expires(fields.expires, now))
    if fields.admin is not UNSET:
        if fields.admin and key.org:
            raise BadRequest(
                f"admin: a key of {key.org!r} cannot administer the platform; leave org and team out.", param="admin"
            )
        found = msgspec.structs.replace(found, scopes=msgspec.structs.replace(found.scopes, admin=fields.admin))
    return found


def checked_name(field: str, name: str) -> str:
    """The name of an organisation or a team. Raises BadRequest."""
    if NAME.fullmatch(name) is None:
        raise BadRequest(
            f"{field}: {name!r:.80} is no name; use up to 63 letters, digits, . _ - and begin with a letter or digit.",
            param=field,
        )
    return name


def _with(old: T, fields: OrgFields, level: Level) -> T:
    scopes = old.scopes
    models = scopes.models if fields.models is UNSET else checked_models(fields.models)
    endpoints = scopes.endpoints if fields.endpoints is UNSET else checked_endpoints(fields.endpoints)
    rules = old.rules
    if fields.limits is not UNSET:
        try:
            rules = parse_rules("limits", _few("limits", fields.limits), level)
        except ConfigError as error:
            raise BadRequest(str(error), param="limits") from None
    return msgspec.structs.replace(old, scopes=Scopes(models, endpoints, scopes.admin), rules=rules)


def checked_models(values: Iterable[str]) -> tuple[str, ...]:
    """Names of models, each with `*` at its end at most. Raises BadRequest."""
    found = _few("models", values)
    for value in found:
        if not is_pattern(value):
            raise BadRequest(
                f"models: {value!r:.80} is no model; write a name, with `*` only at its end.", param="models"
            )
    return found


def checked_endpoints(values: Iterable[str]) -> tuple[str, ...]:
    """Paths without query, dots or escapes; a `/` at the end is dropped. Raises BadRequest."""
    found = tuple(value.rstrip("/") for value in _few("endpoints", values))
    for value in found:
        plain = value.isascii() and value.isprintable() and len(value) <= 256 and not set(value) & set("%\\?#* ")
        if not value.startswith("/") or not plain or "//" in value or "/." in value:
            raise BadRequest(
                f"endpoints: {value!r:.80} is no path; write it like /v1/embeddings, which stands for all below it.",
                param="endpoints",
            )
    return found


def _few(field: str, values: Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(values))
    if len(found) > MOST:
        raise BadRequest(f"{field}: {len(found)} entries; give at most {MOST}.", param=field)
    return found


def _title(name: str) -> str:
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise BadRequest(f"name: {name!r:.80} must be at most {LONGEST_NAME} printable characters.", param="name")
    if name.startswith("sk-"):
        raise BadRequest("name: *** looks like a key; names are shown and logged, keys never.", param="name")
    return name


def _weight(weight: float) -> float:
    if not 0.001 <= weight <= 1000:
        raise BadRequest(f"weight: {weight} is out of bounds; use 0.001 to 1000.", param="weight")
    return weight


def _priority(priority: int) -> int:
    if not -100 <= priority <= 100:
        raise BadRequest(f"priority: {priority} is out of bounds; use -100 to 100.", param="priority")
    return priority


def _at_most(field: str, value: float | None, most: float) -> None:
    if value is not None and value > most:
        raise BadRequest(f"{field}: {value} is above its team's {most}; a key may only lower it.", param=field)


def _expires(expires: float, now: float) -> float:
    if expires and not (math.isfinite(expires) and now < expires <= FARTHEST):
        raise BadRequest(
            f"expires: {expires} is not in the future; give seconds since the epoch, or 0 for never.", param="expires"
        )
    return expires
