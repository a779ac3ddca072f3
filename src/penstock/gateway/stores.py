"""What a replica keeps between its workers and the stores: who may ask, what was billed. One per supervisor."""

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Mapping

from penstock.config.schema import Config
from penstock.config.state import data_folder
from penstock.core.clock import wall
from penstock.core.endpoint import Endpoint
from penstock.core.errors import ConfigError
from penstock.core.tasks import Tasks
from penstock.gateway.control import Identity, ProviderKeys, Start
from penstock.gateway.crew import Hand
from penstock.gateway.uses import Costs
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.resolve import Changes, Snapshot, changes
from penstock.policy.limit.broker import Broker
from penstock.policy.limit.messages import Grants, Wants
from penstock.state.audit.log import AuditLog
from penstock.state.identity.callers import Callers
from penstock.state.identity.follow import Follower
from penstock.state.identity.jwks import PublicKey, follow_keys
from penstock.state.identity.jwt import Tokens
from penstock.state.identity.open import identity_url, open_store
from penstock.state.identity.store import Store
from penstock.state.ledger.prices import load_book
from penstock.state.ledger.shipper import Shipper
from penstock.state.ledger.stores import store_of
from penstock.state.limits.keeper import Keeper
from penstock.state.limits.stores import open_store as open_limits
from penstock.telemetry.catalogue import LIMIT_STORE, SHIPPING, STATE

log = logging.getLogger("penstock.stores")

Rows = dict[tuple[str, tuple[str, ...]], list[float]]
"""(sheet, label values) -> numbers."""

LEASE_S = 3.0
"""How long a replica may hold a part of a limit: short against the shortest window that counts, a minute."""
ANCHOR_S = 60.0
"""Between two looks at whether the audit log is due to be anchored."""
CLOSE_S = 5.0
"""How long a stopping replica waits until its ledger is shipped; what is left is shipped at the next start."""


class Stores:
    """Opened before the workers are, closed after them. `hands`: the workers alive."""

    def __init__(self, config: Config, hands: Callable[[], Iterable[Hand]]) -> None:
        self._config = config
        self._hands = hands
        self._tasks = Tasks()
        self._follower: Follower | None = None
        self._provider: tuple[PublicKey, ...] = ()
        self.folder = data_folder(config.state.folder)
        self.first_key = ""
        """The secret of the first admin key, if it was made now: to be shown once."""
        self.tenants: Store | None = None
        """Organisations, teams and keys; None when they are not used."""
        self.shipper: Shipper | None = None
        self.audit: AuditLog | None = None
        self.costs: Costs | None = None
        self.keeper: Keeper | None = None
        """Of limits; None when nobody can have one."""
        directory = Directory() if config.auth.tenants else None
        self._directory = directory
        self._tokens = Tokens(config.auth.oidc, directory or Directory()) if config.auth.oidc is not None else None
        self.callers = Callers(config.auth.keys, directory, self._tokens)
        """As the workers have them."""

    def check(self, config: Config) -> None:
        """Raises ConfigError when `config` changes what only a restart can change."""
        old = self._config
        for field, was, wanted in (
            ("state", old.state, config.state),
            ("auth.tenants", old.auth.tenants, config.auth.tenants),
            ("auth.oidc", old.auth.oidc, config.auth.oidc),
            ("ledger", old.ledger, config.ledger),
            ("audit", old.audit, config.audit),
            ("rate_limits.store", old.rate_limits.store, config.rate_limits.store),
        ):
            if was != wanted:
                raise ConfigError(f"{field}: it changes only with a restart")
        if self.keeper is None and config.rate_limits.rules():
            raise ConfigError("rate_limits: the first limits need a restart; others may come and go without one")

    async def open(self) -> None:
        """Opens what the config uses. Raises ConfigError, AuditFailed or Unavailable when it cannot be used."""
        config = self._config
        if config.audit.enabled:
            self.audit = AuditLog(self.folder / "audit", "supervisor", config.audit)
            self.audit.open()
            self.audited("start", {})
            self._tasks.spawn(self._anchor())
        if config.auth.tenants:
            self.tenants = open_store(identity_url(config.state))
            issued = await self.tenants.first_admin_key(wall())
            if issued is not None:
                self.first_key = issued.secret.reveal()
            self._follower = Follower(self.tenants, self._identity_changed)
            await self._follower.read()
            self._tasks.spawn(self._follower.run())
        if config.auth.oidc is not None:
            oidc = config.auth.oidc
            self._tasks.spawn(follow_keys(oidc.jwks, oidc.algorithms, oidc.refresh, self._provider_changed))
        if config.rate_limits.rules() or config.auth.tenants:
            url = config.rate_limits.store or config.state.url or "sqlite:"
            holder = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
            self.keeper = Keeper(Broker(holder, LEASE_S), open_limits(url, self.folder), self._granted)
            self._tasks.spawn(self.keeper.run())
        if config.ledger.enabled:
            store = store_of(config.state.url, self.folder)
            prices = config.ledger.prices
            self.shipper = Shipper(self.folder, lambda: store, lambda: load_book(prices), sync_s=config.ledger.sync)
            self.costs = Costs(store_of(config.state.url, self.folder))
            self._tasks.spawn(self.shipper.run())

    def start(self, config: Config, endpoints: tuple[Endpoint, ...]) -> Start:
        """What a new worker is told first."""
        follower = self._follower
        identity = changes(Snapshot(-1), follower.snapshot) if follower is not None else None
        return Start(config, endpoints, identity, self._provider)

    def heard(self, hand: Hand, wants: Wants) -> None:
        """What a worker wants of its limits."""
        if self.keeper is not None:
            self.keeper.heard(hand.process.pid, wants)

    def left(self, hand: Hand) -> None:
        """A worker has ended."""
        if self.keeper is not None:
            self.keeper.left(hand.process.pid)

    def hurry(self) -> None:
        """Tenants were changed through this process."""
        if self._follower is not None:
            self._follower.hurry()

    @property
    def problem(self) -> str:
        """Why a store cannot be used now, for people; empty while all can."""
        parts = [
            self._follower.error if self._follower is not None else "",
            self.keeper.problem if self.keeper is not None else "",
            self.shipper.shipping.problem if self.shipper is not None else "",
        ]
        return "; ".join(part for part in parts if part)

    def audited(self, what: str, fields: Mapping[str, object], who: str = "supervisor") -> None:
        """Writes an action into the audit log. Raises AuditFailed when it must not be done then."""
        if self.audit is not None:
            self.audit.action(who, what, fields)

    async def rows(self) -> Rows:
        """What is to be told of the stores in metrics."""
        rows: Rows = {(STATE.name, ()): [float(bool(self.problem))]}
        if self.shipper is not None:
            entries, seconds = await asyncio.to_thread(self.shipper.lag)
            of = self.shipper.shipping
            rows[SHIPPING.name, ()] = [entries, seconds, of.shipped, of.interrupted, of.damaged, of.failures]
        if self.keeper is not None:
            rows[LIMIT_STORE.name, ()] = [float(not self.keeper.problem), self.keeper.failures]
        return rows

    async def _anchor(self) -> None:
        while self.audit is not None:
            await asyncio.to_thread(self.audit.anchor)
            await asyncio.sleep(ANCHOR_S)

    async def close(self) -> None:
        """After the workers have ended."""
        await self._tasks.cancel()
        if self.keeper is not None:
            await self.keeper.close()
        if self.costs is not None:
            await self.costs.close()
        if self.shipper is not None:
            await self.shipper.finish(CLOSE_S)
            self.shipper.close()
        if self.tenants is not None:
            await self.tenants.close()
        if self.audit is not None:
            self.audited("stop", {})
            self.audit.anchor("stop")
            self.audit.close()

    def _granted(self, worker: int, grants: Grants) -> None:
        for hand in self._hands():
            if hand.process.pid == worker:
                hand.send(grants)

    def _identity_changed(self, step: Changes) -> None:
        if self._directory is not None:
            self._directory.take(step)
        for hand in self._hands():
            hand.send(Identity(step))

    def _provider_changed(self, keys: tuple[PublicKey, ...]) -> None:
        self._provider = keys
        if self._tokens is not None:
            self._tokens.take(keys)
        for hand in self._hands():
            hand.send(ProviderKeys(keys))
