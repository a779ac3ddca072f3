"""The tables, and the steps that lead to them.

A row holds what it is looked up by, and the rest as one JSON document of the struct in `policy/identity/tree`: a new
field needs no new column. Every write raises `version`, which is how others notice; writers take turns.
"""

from penstock.core.errors import ConfigError
from penstock.state.identity.database import Database

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE identity_org (name TEXT PRIMARY KEY, body TEXT NOT NULL)",
        "CREATE TABLE identity_team (org TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, "
        "PRIMARY KEY (org, name))",
        "CREATE TABLE identity_key (id TEXT PRIMARY KEY, org TEXT NOT NULL, team TEXT NOT NULL, body TEXT NOT NULL)",
        "CREATE INDEX identity_key_by_tenant ON identity_key (org, team)",
    ),
)
"""One tuple of statements per version of the tables, oldest first. A step that was released is never changed."""


async def prepare(database: Database) -> None:
    """Makes the tables, or brings them up to date, in one transaction. Raises ConfigError for a newer store."""
    async with database.transaction(write=True) as query:
        await query(
            "CREATE TABLE IF NOT EXISTS identity_state (one INTEGER PRIMARY KEY, tables INTEGER NOT NULL, "
            "version BIGINT NOT NULL)",
            (),
        )
        await query("INSERT INTO identity_state VALUES (1, 0, 0) ON CONFLICT (one) DO NOTHING", ())
        ((tables,),) = await query("SELECT tables FROM identity_state", ())
        assert isinstance(tables, int)
        if tables > len(STEPS):
            raise ConfigError(
                f"store: its tables are of version {tables}, this Penstock knows {len(STEPS)}; upgrade Penstock"
            )
        for step in STEPS[tables:]:
            for statement in step:
                await query(statement, ())
        if tables < len(STEPS):
            await query("UPDATE identity_state SET tables = ?", (len(STEPS),))
