"""Accounts in Redis, for several replicas: one script per batch, the server's clock, keys that expire.

Needs Redis 7 or Valkey, one server or one that others follow; a cluster is not for it, since a batch touches many keys.
What Redis has acknowledged and lost (a crash between two writes of its log, a failover) is forgotten by the limits too.
"""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING

from penstock.core.errors import ConfigError
from penstock.policy.limit.account import FORGOTTEN_US
from penstock.policy.limit.statement import Answer, Answers, Batch, Statement
from penstock.policy.limit.window import SLICES
from penstock.state.limits.store import Now, StoreAway

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX = "penstock:limit:"


class RedisStore:
    """See LimitStore. `now` is for tests: the server's clock is the one that counts."""

    def __init__(self, url: str, now: Now | None = None) -> None:
        try:
            self._client = import_module("redis.asyncio")
            self._retry = import_module("redis.asyncio.retry").Retry
            self._pause = import_module("redis.backoff").NoBackoff
            self._errors = (import_module("redis").RedisError, OSError)
            self._url = url
            self._redis = self._connection()
        except ImportError as error:
            raise ConfigError(f"limits: {url!r} needs the client of Redis: pip install 'penstock[redis]'") from error
        except ValueError as error:
            raise ConfigError(f"limits: {url!r} is no URL of Redis: {error}") from error
        self._now = now
        self._script = files(__package__).joinpath("exchange.lua").read_text(encoding="utf-8")

    async def exchange(self, batch: Batch) -> Answers:
        """See LimitStore."""
        keys = [PREFIX + statement.bucket.id for statement in batch.statements]
        clock = -1 if self._now is None else self._now()
        head = (clock, batch.holder, batch.number, batch.lease_us, FORGOTTEN_US, SLICES)
        arguments = chain(head, *map(_arguments, batch.statements))
        done = False
        try:
            script = self._redis.register_script(self._script)
            now_us, replies = await script(keys=keys, args=list(arguments))
            done = True
        except self._errors as error:
            raise StoreAway(f"Redis: {error}") from error
        finally:
            if not done:
                # Its connection may carry an answer that nobody waits for any more.
                await self._reconnect()
        return Answers(int(now_us), tuple(map(_answer, replies)))

    async def close(self) -> None:
        """See LimitStore."""
        await self._redis.aclose()

    def _connection(self) -> Redis:
        client: Redis = self._client.Redis.from_url(
            self._url, single_connection_client=False, retry=self._retry(self._pause(), 0), protocol=2
        )
        return client

    async def _reconnect(self) -> None:
        old, self._redis = self._redis, self._connection()
        await old.connection_pool.disconnect(inuse_connections=True)


def _arguments(statement: Statement) -> tuple[int | str, ...]:
    bucket = statement.bucket
    return (
        bucket.limit,
        bucket.window_us,
        "" if bucket.span is None else bucket.span.value,
        statement.amount,
        statement.spent,
        statement.since,
        statement.least,
        statement.need,
        statement.want,
        len(statement.refunds),
        *chain.from_iterable(statement.refunds),
    )


def _answer(reply: list[int]) -> Answer:
    granted, used, fair, *slices = reply
    return Answer(granted, used, fair, dict(zip(slices[::2], slices[1::2], strict=True)))
