"""Where what survives a restart is kept: the data folder, and the limits and bills in it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from penstock.config.rule import parse_rules
from penstock.config.section import Seconds, Section
from penstock.core.limit import Level, Rule

Lines = tuple[str, ...]


class State(Section, frozen=True):
    """Where what survives a restart is kept."""

    folder: Annotated[
        str,
        Meta(
            description="Data folder; empty: `$PENSTOCK_DATA`, else `$XDG_DATA_HOME/penstock`, "
            "else `~/.local/share/penstock`"
        ),
    ] = ""
    url: Annotated[
        str,
        Meta(
            description="Database of tenants, keys, limits and ledger: `postgresql://user@host/name`; "
            "empty: SQLite files in the folder"
        ),
    ] = ""


class RateLimits(Section, frozen=True):
    """Limits and budgets, a line each: `total_tokens=10000/minute`, `spend=5/day,shadow`, `concurrent_requests=8`."""

    store: Annotated[
        str,
        Meta(description="Where counts are kept: `memory:`, `redis://host:port/0`, or another URL; empty: `state.url`"),
    ] = ""
    wait: Annotated[
        float, Meta(ge=0, le=10, description="Seconds a request may wait for the store when its share is used up")
    ] = 0.05
    headers: Annotated[bool, Meta(description="Tell in `x-ratelimit-*` response headers what is left")] = True
    all: Annotated[Lines, Meta(description="Limits on everybody together")] = ()
    org: Annotated[Lines, Meta(description="Limits on each organisation")] = ()
    team: Annotated[Lines, Meta(description="Limits on each team")] = ()
    key: Annotated[Lines, Meta(description="Limits on each key")] = ()

    def rules(self) -> tuple[Rule, ...]:
        """All of them. Raises ConfigError with the field, the line and the fix."""
        return (
            *parse_rules("rate_limits.all", self.all, Level.ALL),
            *parse_rules("rate_limits.org", self.org, Level.ORG),
            *parse_rules("rate_limits.team", self.team, Level.TEAM),
            *parse_rules("rate_limits.key", self.key, Level.KEY),
        )


class Ledger(Section, frozen=True):
    """What was used, by whom, and what it cost."""

    enabled: Annotated[bool, Meta(description="Write every finished request to the ledger")] = False
    prices: Annotated[str, Meta(description="Path of the price book; empty: nothing has a price")] = ""
    on_full: Annotated[
        Literal["refuse", "drop"],
        Meta(description="When the disk is full: `refuse` new requests, or answer them and count what was not written"),
    ] = "refuse"
    sync: Annotated[Seconds, Meta(description="Seconds between two writes of the journal through to the disk")] = 1.0


def data_folder(folder: str, environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Path:
    """The data folder that the config, the environment or custom says."""
    if folder:
        return Path(folder).expanduser().absolute()
    if chosen := environ.get("PENSTOCK_DATA"):
        return Path(chosen).absolute()
    base = environ.get("XDG_DATA_HOME", "")
    # A relative XDG_DATA_HOME is to be ignored (XDG Base Directory Specification).
    shared = Path(base) if base.startswith("/") else (home or Path.home()) / ".local" / "share"
    return shared / "penstock"
