"""What a process writes its part of the audit log with."""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from penstock.config.audit import Audit
from penstock.core.clock import type_of_clock, wall
from penstock.core.errors import PenstockError
from penstock.core.record import Record
from penstock.state.audit.anchors import Anchor, anchor_now, anchors, due
from penstock.state.audit.content import Content
from penstock.state.audit.line import Chain, Key
from penstock.state.audit.lock import claim
from penstock.state.audit.redact import Redactor
from penstock.state.audit.writer import ACTOR, CHAIN, ChainWriter

log = logging.getLogger("penstock.audit")

ADMIN = "admin"
REQUEST = "request"
MOST_WAITING = 10_000
"""Requests kept while the log cannot be written and requests are refused: those that were under way."""


class AuditFailed(PenstockError):
    """The audit log cannot be written, and the config says that nothing may happen without it."""


class Exchange(msgspec.Struct):
    """A finished request on its way into the log."""

    record: Record
    actor: str
    """`org/team/key` of the caller; `-` for a caller without a key."""
    request: bytes = b""
    """Its body. This and the answer are looked at only for `audit.requests: content`."""
    answer: bytes = b""
    """What the client got: JSON, or a stream of events."""


class Entry(msgspec.Struct, omit_defaults=True):
    """Fields of a line about a request."""

    record: Record
    request: Any = None
    answer: Any = None


class AuditLog:
    """One chain of the folder, held by this process until `close`. Safe to call from several threads.

    `role`: `supervisor` or `worker`; the chain is the first of that role which nobody holds.
    """

    def __init__(self, folder: Path, role: str, settings: Audit, clock: type_of_clock = wall) -> None:
        self._folder = folder
        self._role = role
        self._settings = settings
        self._clock = clock
        self._key = Key.read(Path(settings.key_file)) if settings.key_file else None
        redactor = Redactor(settings.redact, settings.patterns)
        self._content = Content(redactor, settings.content_bytes) if settings.requests == "content" else None
        self._mutex = threading.Lock()
        self._lock = -1
        self._writer: ChainWriter | None = None
        self._waiting: list[Exchange] = []
        self._unwritten = 0
        """Lost, and not yet written down as such."""
        self._since = 0.0
        self._why = ""
        self._last: Anchor | None = None
        self._acted = False
        """Something was written with `action` that no anchor covers."""
        self.name = ""
        """Of the chain, e.g. `worker-0`."""
        self.lost = 0
        """Lines that were never written."""

    def open(self) -> None:
        """Claims a chain and writes that this process has it. Raises AuditFailed, ConfigError."""
        try:
            self.name, self._lock = claim(self._folder, self._role)
            self._writer = ChainWriter(self._folder, self.name, self._key)
            self._append(lambda chain, now: chain.add(now, CHAIN, ACTOR, "opened", {"pid": os.getpid()}), sync=True)
        except OSError as error:
            self._release()
            raise AuditFailed(f"cannot write the audit log in {self._folder}: {error.strerror}") from error

    @property
    def refusing(self) -> bool:
        """Whether new requests must be refused: the log cannot be written, and `audit.when_full` is `refuse`.

        Call `requests` with none now and then: that is what tries again.
        """
        return bool(self._why) and self._settings.when_full == "refuse" and self._settings.requests != "off"

    def action(self, actor: str, what: str, fields: Mapping[str, object]) -> None:
        """One admin action, on the disk when this returns; log it before it is done. Blocks for some milliseconds.

        Raises AuditFailed when it cannot be written; with `when_full: count` it is counted as lost instead.
        """
        with self._mutex:
            try:
                self._append(lambda chain, now: chain.add(now, ADMIN, actor, what, fields), sync=True)
            except OSError as error:
                self._failed(error)
                if self._settings.when_full == "refuse":
                    raise AuditFailed(f"the audit log cannot be written: {error.strerror}; nothing was done") from None
                self._lose(1)
            else:
                self._acted = True

    def requests(self, exchanges: Sequence[Exchange]) -> None:
        """A batch of finished requests, in one write. Never raises; see `refusing` and `lost`."""
        if self._settings.requests == "off":
            return
        with self._mutex:
            if self._waiting:
                self._waiting.extend(exchanges)
                exchanges = self._waiting
            elif not exchanges and not self._why:
                return
            try:
                self._append(lambda chain, now: self._enter(chain, now, exchanges))
            except OSError as error:
                self._failed(error)
                self._keep(exchanges)
            else:
                self._waiting = []

    def anchor(self, why: str = "") -> Anchor | None:
        """Anchors all chains of the folder when that is due, or `why` says so; for the supervisor, every minute or so.

        Due: on a new day, for a new chain, and after an admin action. Blocks until the disk has it. Its hash goes to
        the log of the process as well, which is elsewhere. A failure is logged, and tried again with the next call.
        """
        now = self._clock()
        with self._mutex:
            try:
                if self._last is None:
                    self._last = next(reversed(anchors(self._folder)), None)
                why = why or due(self._folder, self._last, now) or ("action" if self._acted else "")
                if not why:
                    return None
                made = anchor_now(self._folder, why, self._key, now)
                self._last, self._acted = made, False
                facts = {"seq": made.line.body.seq, "hash": made.line.hash}
                self._append(lambda chain, at: chain.add(at, CHAIN, ACTOR, "anchored", facts), sync=True)
            except OSError as error:
                log.error("the audit log cannot be anchored: %s", error.strerror)
                return None
        log.info("audit anchor %d: %s", made.line.body.seq, made.line.hash)
        return made

    def close(self) -> None:
        """Writes that this process is done, and lets the chain go."""
        with self._mutex:
            if self._writer is not None:
                try:
                    self._append(lambda chain, now: chain.add(now, CHAIN, ACTOR, "closed", {}), sync=True)
                except OSError as error:
                    log.error("the audit log ends without a last line: %s", error.strerror)
            self._release()

    # -- how ---------------------------------------------------------------------------------------------------------

    def _append(self, add: Callable[[Chain, float], None], *, sync: bool = False) -> None:
        assert self._writer is not None, "the audit log is not open"
        now = self._clock()
        chain = self._writer.begin(now)
        if self._unwritten:
            facts = {"count": self._unwritten, "since": self._since, "why": self._why}
            chain.add(now, CHAIN, ACTOR, "lost", facts)
        add(chain, now)
        self._writer.commit(sync=sync)
        if self._why:
            log.warning("the audit log can be written again; %d lines are lost", self._unwritten)
        self._unwritten, self._why = 0, ""

    def _enter(self, chain: Chain, now: float, exchanges: Sequence[Exchange]) -> None:
        content = self._content
        for exchange in exchanges:
            record = exchange.record
            entry = Entry(record)
            if content is not None:
                entry.request, entry.answer = content.of(exchange.request), content.of(exchange.answer)
            chain.add(now, REQUEST, exchange.actor, f"{record.method} {record.path}", entry)

    def _keep(self, exchanges: Sequence[Exchange]) -> None:
        """What could not be written: kept to try again where requests are refused meanwhile, counted otherwise."""
        keep = MOST_WAITING if self._settings.when_full == "refuse" else 0
        self._lose(max(0, len(exchanges) - keep))
        self._waiting = list(exchanges[:keep])

    def _lose(self, count: int) -> None:
        self._unwritten += count
        self.lost += count

    def _failed(self, error: OSError) -> None:
        if not self._why:
            self._why, self._since = error.strerror or str(error), self._clock()
            log.error("the audit log cannot be written: %s", self._why)

    def _release(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
