"""The tree of tenants, written by people and read in whole by supervisors.

Nothing is ever taken out: what was deleted or revoked stays, marked, since bills and logs name it. Times are seconds
since the epoch, and come from the caller. Methods raise BadRequest, NotFound and Conflict for what people get wrong,
Unavailable when the database does not answer, and ConfigError when it can never answer.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from penstock.core.errors import BadRequest, Conflict, NotFound
from penstock.policy.identity.key import ALPHABET, ID_CHARS, NO_DIGEST, SECRET_CHARS, Secret, digest, written
from penstock.policy.identity.resolve import Snapshot, resolve
from penstock.policy.identity.tree import Key, Org, Team
from penstock.state.identity.database import Database, Query, Row, unavailable
from penstock.state.identity.fields import (
    KeyFields,
    OrgFields,
    TeamFields,
    checked_name,
    key_with,
    org_with,
    team_with,
)
from penstock.state.identity.schema import prepare

LONGEST_OVERLAP_S = 90 * 86_400.0
T = TypeVar("T")


class Issued(msgspec.Struct, frozen=True):
    """A key and its secret, the only time it is known."""

    key: Key
    secret: Secret


class Store:
    """Organisations, teams and keys in one Database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ready = False

    async def close(self) -> None:
        await self._database.close()

    # -- for supervisors --------------------------------------------------------------------------------------------

    async def version(self) -> int:
        """Grows with every write: cheap to ask for, once a second."""
        async with self._transaction() as query:
            return await _version(query)

    async def snapshot(self, now: float) -> Snapshot:
        """All that workers need, at one version."""
        async with self._transaction() as query:
            version = await _version(query)
            orgs = [_read(row, Org) for row in await query("SELECT body FROM identity_org ORDER BY name", ())]
            teams = [_read(row, Team) for row in await query("SELECT body FROM identity_team ORDER BY org, name", ())]
            keys = [_read(row, Key) for row in await query("SELECT body FROM identity_key ORDER BY id", ())]
        return resolve(version, orgs, teams, keys, now)

    # -- organisations ----------------------------------------------------------------------------------------------

    async def org(self, name: str) -> Org:
        async with self._transaction() as query:
            return await _org(query, name)

    async def orgs(self, limit: int, after: str = "") -> list[Org]:
        """At most `limit`, by name, those behind `after`."""
        async with self._transaction() as query:
            rows = await query("SELECT body FROM identity_org WHERE name > ? ORDER BY name LIMIT ?", (after, limit))
        return [_read(row, Org) for row in rows]

    async def create_org(self, name: str, fields: OrgFields, now: float) -> Org:
        made = org_with(Org(checked_name("org", name), created=now), fields)
        async with self._transaction(write=True) as query:
            if await query("SELECT name FROM identity_org WHERE name = ?", (name,)):
                raise Conflict(f"org: {name!r} is there already, or was; choose another name.", param="org")
            await query("INSERT INTO identity_org VALUES (?, ?)", (name, _text(made)))
        return made

    async def change_org(self, name: str, fields: OrgFields) -> Org:
        async with self._transaction(write=True) as query:
            changed = org_with(_alive("org", await _org(query, name)), fields)
            await _put_org(query, changed)
        return changed

    async def delete_org(self, name: str, now: float) -> Org:
        """Its teams and keys end with it. Doing it again changes nothing."""
        async with self._transaction(write=True) as query:
            found = await _org(query, name)
            if not found.deleted:
                found = msgspec.structs.replace(found, deleted=now)
                await _put_org(query, found)
                rows = await query("SELECT body FROM identity_team WHERE org = ?", (name,))
                for team in [_read(row, Team) for row in rows]:
                    if not team.deleted:
                        await _put_team(query, msgspec.structs.replace(team, deleted=now))
                await _revoke_all(query, await query("SELECT body FROM identity_key WHERE org = ?", (name,)), now)
        return found

    # -- teams ------------------------------------------------------------------------------------------------------

    async def team(self, org: str, name: str) -> Team:
        async with self._transaction() as query:
            return await _team(query, org, name)

    async def teams(self, org: str, limit: int, after: str = "") -> list[Team]:
        """Those of one organisation, by name."""
        async with self._transaction() as query:
            await _org(query, org)
            rows = await query(
                "SELECT body FROM identity_team WHERE org = ? AND name > ? ORDER BY name LIMIT ?", (org, after, limit)
            )
        return [_read(row, Team) for row in rows]

    async def create_team(self, org: str, name: str, fields: TeamFields, now: float) -> Team:
        made = team_with(Team(org, checked_name("team", name), created=now), fields)
        async with self._transaction(write=True) as query:
            _alive("org", await _org(query, org))
            if await query("SELECT name FROM identity_team WHERE org = ? AND name = ?", (org, name)):
                raise Conflict(f"team: {org}/{name} is there already, or was; choose another name.", param="team")
            await query("INSERT INTO identity_team VALUES (?, ?, ?)", (org, name, _text(made)))
        return made

    async def change_team(self, org: str, name: str, fields: TeamFields) -> Team:
        async with self._transaction(write=True) as query:
            _alive("org", await _org(query, org))
            changed = team_with(_alive("team", await _team(query, org, name)), fields)
            await _put_team(query, changed)
        return changed

    async def delete_team(self, org: str, name: str, now: float) -> Team:
        """Its keys end with it. Doing it again changes nothing."""
        async with self._transaction(write=True) as query:
            found = await _team(query, org, name)
            if not found.deleted:
                found = msgspec.structs.replace(found, deleted=now)
                await _put_team(query, found)
                rows = await query("SELECT body FROM identity_key WHERE org = ? AND team = ?", (org, name))
                await _revoke_all(query, rows, now)
        return found

    # -- keys -------------------------------------------------------------------------------------------------------

    async def key(self, key_id: str) -> Key:
        async with self._transaction() as query:
            return await _key(query, key_id)

    async def keys(self, limit: int, after: str = "", org: str | None = None, team: str | None = None) -> list[Key]:
        """Those of all, of one organisation, or of one team of it, by id; revoked ones too."""
        statement, values = "SELECT body FROM identity_key WHERE id > ?", [after]
        for column, value in (("org", org), ("team", team)):
            if value is not None:
                statement += f" AND {column} = ?"
                values.append(value)
        async with self._transaction() as query:
            rows = await query(f"{statement} ORDER BY id LIMIT ?", (*values, limit))
        return [_read(row, Key) for row in rows]

    async def create_key(self, org: str, team: str, fields: KeyFields, now: float) -> Issued:
        """A new key; its secret is in the answer and nowhere else."""
        async with self._transaction(write=True) as query:
            return await _issue(query, org, team, fields, now)

    async def change_key(self, key_id: str, fields: KeyFields, now: float) -> Key:
        async with self._transaction(write=True) as query:
            found = _unrevoked(await _key(query, key_id))
            changed = key_with(found, fields, await _team_of(query, found.org, found.team), now)
            await _put_key(query, changed)
        return changed

    async def rotate_key(self, key_id: str, overlap_s: float, now: float) -> Issued:
        """A new secret for the key. The one before is right for another `overlap_s` seconds, older ones no more."""
        if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
            raise BadRequest(f"overlap: {overlap_s} s is out of bounds; use 0 to 90 days.", param="overlap")
        fresh = _drawn(SECRET_CHARS)
        async with self._transaction(write=True) as query:
            found = _unrevoked(await _key(query, key_id))
            changed = msgspec.structs.replace(
                found, digest=digest(fresh), previous=found.digest, previous_until=now + overlap_s, rotated=now
            )
            await _put_key(query, changed)
        return Issued(changed, written(key_id, fresh))

    async def revoke_key(self, key_id: str, now: float) -> Key:
        """Ends the key, and an overlap with it. Doing it again changes nothing."""
        async with self._transaction(write=True) as query:
            found = await _key(query, key_id)
            if not found.revoked:
                found = _revoked(found, now)
                await _put_key(query, found)
        return found

    async def first_admin_key(self, now: float) -> Issued | None:
        """An admin key when there is none that works, so that somebody can begin; else None.

        Of replicas that start together only one makes it.
        """
        async with self._transaction(write=True) as query:
            for row in await query("SELECT body FROM identity_key WHERE org = ''", ()):
                key = _read(row, Key)
                if key.scopes.admin and not key.revoked and not (key.expires and key.expires <= now):
                    return None
            return await _issue(query, "", "", KeyFields(name="first admin", admin=True), now)

    @asynccontextmanager
    async def _transaction(self, *, write: bool = False) -> AsyncIterator[Query]:
        if not self._ready:
            await prepare(self._database)
            self._ready = True
        async with self._database.transaction(write=write) as query:
            if write:
                await query("UPDATE identity_state SET version = version + 1", ())
            yield query


async def _version(query: Query) -> int:
    ((version,),) = await query("SELECT version FROM identity_state", ())
    assert isinstance(version, int)
    return version


async def _org(query: Query, name: str) -> Org:
    rows = await query("SELECT body FROM identity_org WHERE name = ?", (name,))
    return _only(rows, Org, "org", name)


async def _team(query: Query, org: str, name: str) -> Team:
    rows = await query("SELECT body FROM identity_team WHERE org = ? AND name = ?", (org, name))
    return _only(rows, Team, "team", f"{org}/{name}")


async def _key(query: Query, key_id: str) -> Key:
    rows = await query("SELECT body FROM identity_key WHERE id = ?", (key_id,))
    return _only(rows, Key, "key", key_id)


async def _team_of(query: Query, org: str, team: str) -> Team | None:
    """The team that a key is in, None when it is in none. Raises for one that is not there any more."""
    if team and not org:
        raise BadRequest(f"org: team {team!r:.80} needs its organisation; give org too.", param="org")
    if org:
        _alive("org", await _org(query, org))
    return _alive("team", await _team(query, org, team)) if team else None


async def _issue(query: Query, org: str, team: str, fields: KeyFields, now: float) -> Issued:
    above = await _team_of(query, org, team)
    key_id, secret = _drawn(ID_CHARS), _drawn(SECRET_CHARS)
    made = key_with(Key(key_id, digest(secret), org, team, created=now), fields, above, now)
    await query("INSERT INTO identity_key VALUES (?, ?, ?, ?)", (key_id, org, team, _text(made)))
    return Issued(made, written(key_id, secret))


async def _revoke_all(query: Query, rows: Sequence[Row], now: float) -> None:
    for key in [_read(row, Key) for row in rows]:
        if not key.revoked:
            await _put_key(query, _revoked(key, now))


def _revoked(key: Key, now: float) -> Key:
    return msgspec.structs.replace(key, revoked=now, previous=NO_DIGEST, previous_until=0.0)


async def _put_org(query: Query, org: Org) -> None:
    await query("UPDATE identity_org SET body = ? WHERE name = ?", (_text(org), org.name))


async def _put_team(query: Query, team: Team) -> None:
    await query("UPDATE identity_team SET body = ? WHERE org = ? AND name = ?", (_text(team), team.org, team.name))


async def _put_key(query: Query, key: Key) -> None:
    await query("UPDATE identity_key SET body = ? WHERE id = ?", (_text(key), key.id))


def _drawn(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(count))


def _text(value: Org | Team | Key) -> str:
    return msgspec.json.encode(value).decode()


def _read(row: Row, kind: type[T]) -> T:
    assert isinstance(row[0], str)
    try:
        return msgspec.json.decode(row[0], type=kind)
    except msgspec.MsgspecError as error:
        raise unavailable(f"a row cannot be read, was it written by a newer Penstock? {error}") from None


def _only(rows: Sequence[Row], kind: type[T], field: str, name: str) -> T:
    if not rows:
        raise NotFound(f"{field}: {name!r:.140} is not there.", param=field)
    return _read(rows[0], kind)


A = TypeVar("A", Org, Team)


def _alive(field: str, found: A) -> A:
    if found.deleted:
        raise NotFound(f"{field}: {found.name!r} was deleted; create another.", param=field)
    return found


def _unrevoked(key: Key) -> Key:
    if key.revoked:
        raise Conflict(f"key: {key.id} was revoked, for good; create another.", code="key_revoked", param="key")
    return key
