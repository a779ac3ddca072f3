"""Engines listed in a file that somebody else writes."""

import asyncio
import logging
from pathlib import Path

import msgspec
import yaml

from penstock.core.errors import ConfigError
from penstock.engines.discovery.found import Announcer, Found, OnFound, base_url, name_of

log = logging.getLogger("penstock.discovery")


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One engine in the file, written as a mapping."""

    url: str
    name: str = ""
    labels: dict[str, str] = {}


class FileSource:
    """A list of URLs, or of mappings with `url`, `name` and `labels`; YAML, which JSON is too.

    A file that cannot be read, or holds anything else, changes nothing. It should be replaced in one step (written
    beside, then renamed); one that is seen half written is read again at the next look.
    """

    def __init__(self, name: str, path: Path, interval_s: float = 1.0) -> None:
        self.problem = ""
        self._name = name
        self._path = path
        self._interval_s = interval_s
        self._seen: tuple[int, ...] | None = None

    async def run(self, on_change: OnFound) -> None:
        announcer = Announcer(on_change)
        while True:
            try:
                found = await asyncio.to_thread(self._look)
                if found is not None:
                    announcer.tell(found)
                    self._say("")
            except ConfigError as error:
                self._say(str(error))
            await asyncio.sleep(self._interval_s)

    def _look(self) -> list[Found] | None:
        """What the file says; None when it is as it was. Raises ConfigError."""
        try:
            state = self._path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen == self._seen:
                return None
            text = self._path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            self._seen = None
            raise ConfigError(f"{self._path} cannot be read: {error}") from error
        self._seen = seen
        return read_list(self._name, str(self._path), text)

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("engines of %s: %s; what was known stays", self._name, problem)
        self.problem = problem


def read_list(prefix: str, place: str, text: str) -> list[Found]:
    """The engines that a text lists. Raises ConfigError, naming `place` and the entry."""
    try:
        entries = msgspec.convert(yaml.safe_load(text), list[str | Listed])
    except yaml.YAMLError as error:
        raise ConfigError(f"{place} is neither YAML nor JSON: {' '.join(str(error).split())[:300]}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{place} must hold a list of URLs, or of mappings with `url` and `name`: {error}") from error
    found = [_found(prefix, place, entry) for entry in entries]
    names = [one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{place} names {twice!r} twice")
    return found


def _found(prefix: str, place: str, entry: str | Listed) -> Found:
    listed = Listed(entry) if isinstance(entry, str) else entry
    try:
        url = base_url(listed.url)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    name = f"{prefix}-{listed.name}" if prefix and listed.name else listed.name
    return Found(name or name_of(prefix, url), url, listed.labels)
