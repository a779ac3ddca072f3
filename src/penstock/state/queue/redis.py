"""Redis Streams as the broker. Needs Redis 7 or newer.

Keys, each behind the prefix: `queue` (stream of ids, one consumer group), `record:KEY` (strings), `log:LOG` (stream of
pieces, entry N-0 is piece N). Durable means `appendonly yes` and `appendfsync always`: Redis then answers a write after
its fsync.
"""

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from penstock.core.clock import monotonic
from penstock.core.errors import ConfigError
from penstock.state.queue.broker import BrokerAway, BrokerSettings, Depth, Held, Kept

GROUP = "pullers"
MEGABYTE = 1 << 20
CALL_S = 5.0
"""A call that takes longer has failed. Redis may stop for as long while it loads its files."""

SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
PUSH = """
for at = 2, #KEYS do if redis.call('EXISTS', KEYS[at]) == 1 then return 1 end end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
for at = 2, #KEYS do redis.call('SET', KEYS[at], ARGV[at + 2], 'PX', ARGV[3]) end
redis.call('XADD', KEYS[1], '*', 'id', ARGV[2])
return 1
"""
"""With records: what was kept by a call whose answer got lost is not kept, nor queued, again."""
GIVE_BACK = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[1], '*', 'id', ARGV[3])
return 1
"""
DONE = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return redis.call('XDEL', KEYS[1], ARGV[2])
"""
APPEND = """
local made = redis.pcall('XADD', KEYS[1], ARGV[1], 'p', ARGV[2])
if type(made) == 'table' and made.err and not string.find(made.err, 'equal or smaller') then return made end
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""
"""A piece that is there already is not added again."""
TIDY = """
for _, told in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for at = 1, #told, 2 do consumer[told[at]] = told[at + 1] end
  if consumer.pending == 0 and (consumer.name == ARGV[2] or consumer.idle > 3600000) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
  end
end
"""
"""Forgets a consumer that leaves, and those that left without a word; never one that holds something."""


class RedisBroker:
    """One connection pool; `pull` and `pieces` block on connections of their own."""

    piece_bytes = 64 * MEGABYTE

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._queue = f"{settings.prefix}:queue"
        self._keep_ms = int(settings.keep_s * 1000)
        self._silent_ms = int(settings.silent_s * 1000)
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._looked = -settings.silent_s
        """When it last looked for ids whose holder is silent."""
        # Blocking reads may take a whole connection each; the pool grows as far as readers do.
        self._client = Redis.from_url(
            settings.url, protocol=2, socket_connect_timeout=CALL_S, socket_timeout=CALL_S, max_connections=1024
        )
        self._call: Callable[..., Awaitable[Any]] = self._client.execute_command
        self._swap = self._client.register_script(SWAP)
        self._push = self._client.register_script(PUSH)
        self._give_back = self._client.register_script(GIVE_BACK)
        self._done = self._client.register_script(DONE)
        self._append = self._client.register_script(APPEND)
        self._tidy = self._client.register_script(TIDY)

    async def open(self) -> list[str]:
        try:
            async with _calls():
                await self._make_group()
                version = (await self._client.info("server"))["redis_version"]
        except BrokerAway as error:
            raise ConfigError(f"the broker: {error}") from None
        if int(str(version).partition(".")[0]) < 7:
            raise ConfigError(f"the broker: Redis {version} is too old; 7 or newer is needed")
        return await self._doubts()

    async def close(self) -> None:
        try:
            async with _calls():
                await self._tidy(keys=[self._queue], args=[GROUP, self._name])
        except BrokerAway:
            pass
        await self._client.aclose()

    # -- records -----------------------------------------------------------------------------------------------------

    async def create(self, key: str, value: bytes) -> bool:
        async with _calls():
            return await self._ask("SET", self._record(key), value, "NX", "PX", self._keep_ms) is not None

    async def get(self, key: str) -> Kept | None:
        async with _calls():
            value = await self._ask("GET", self._record(key))
        return None if value is None else Kept(value)

    async def swap(self, key: str, old: Kept, value: bytes) -> Kept | None:
        async with _calls():
            done = await self._swap(keys=[self._record(key)], args=[old.value, value, self._keep_ms])
        return Kept(value) if done else None

    async def delete(self, key: str) -> None:
        async with _calls():
            await self._ask("DEL", self._record(key))

    # -- queue -------------------------------------------------------------------------------------------------------

    async def push(self, id_: str) -> bool:
        async with _calls():
            return bool(await self._push(keys=[self._queue], args=[self._settings.most, id_, self._keep_ms]))

    async def enqueue(self, id_: str, values: Mapping[str, bytes]) -> bool:
        keys = [self._queue, *map(self._record, values)]
        args: list[str | int | bytes] = [self._settings.most, id_, self._keep_ms, *values.values()]
        async with _calls():
            return bool(await self._push(keys=keys, args=args))

    async def pull(self, most: int, wait_s: float) -> list[Held]:
        now = monotonic()
        async with _calls():
            if now - self._looked >= self._settings.silent_s / 3:
                self._looked = now
                claim = ("XAUTOCLAIM", self._queue, GROUP, self._name, self._silent_ms, "0-0", "COUNT", most)
                if found := [_held(entry) for entry in (await self._again(*claim))[1]]:
                    self._looked = -self._settings.silent_s  # there may be more
                    return found
            read = ("XREADGROUP", "GROUP", GROUP, self._name, "COUNT", most, "BLOCK", _block_ms(wait_s))
            found = await self._again(*read, "STREAMS", self._queue, ">")
        return [_held(entry) for entry in found[0][1]] if found else []

    async def extend(self, held: Held) -> None:
        async with _calls():
            await self._client.xclaim(self._queue, GROUP, self._name, 0, [held.receipt], justid=True)

    async def give_back(self, held: Held, delay_s: float) -> None:
        async with _calls():
            await self._give_back(keys=[self._queue], args=[GROUP, held.receipt, held.id])

    async def done(self, held: Held) -> None:
        async with _calls():
            await self._done(keys=[self._queue], args=[GROUP, held.receipt])

    async def depth(self) -> Depth:
        async with _calls():
            length = await self._ask("XLEN", self._queue)
            held = (await self._again("XPENDING", self._queue, GROUP))["pending"]
            first = await self._ask("XRANGE", self._queue, "-", "+", "COUNT", 1)
        oldest = int(first[0][0].partition(b"-")[0]) / 1000 if first else None
        return Depth(max(0, length - held), held, oldest)

    # -- answers -----------------------------------------------------------------------------------------------------

    async def append(self, log: str, number: int, piece: bytes) -> None:
        async with _calls():
            await self._append(keys=[self._log(log)], args=[f"{number}-0", piece, self._keep_ms])

    async def pieces(self, log: str, after: int, wait_s: float) -> list[bytes]:
        async with _calls():
            found = await self._ask(
                "XREAD", "COUNT", 256, "BLOCK", _block_ms(wait_s), "STREAMS", self._log(log), f"{after}-0"
            )
        return [fields[b"p"] for _, fields in found[0][1]] if found else []

    async def forget(self, log: str) -> None:
        async with _calls():
            await self._ask("DEL", self._log(log))

    # -- how -----------------------------------------------------------------------------------------------------------

    async def _ask(self, *command: object) -> Any:
        return await self._call(*command)

    async def _again(self, *command: object) -> Any:
        """A command of the group, which somebody may have removed with all of Redis's data."""
        try:
            return await self._ask(*command)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self._make_group()
            return await self._ask(*command)

    async def _make_group(self) -> None:
        try:
            await self._ask("XGROUP", "CREATE", self._queue, GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _doubts(self) -> list[str]:
        try:
            async with _calls():
                told = await self._ask("CONFIG", "GET", "append*")
                policy = await self._ask("CONFIG", "GET", "maxmemory-policy")
        except BrokerAway:
            return ["Redis does not tell its settings: whether it writes to disk before it answers is unknown"]
        settings = dict(zip(told[::2], told[1::2], strict=True))
        doubts = []
        if settings.get(b"appendonly") != b"yes":
            doubts.append("Redis keeps nothing over a restart; set: appendonly yes")
        elif settings.get(b"appendfsync") != b"always":
            doubts.append("Redis answers before its disk has what it was told; set: appendfsync always")
        if b"allkeys" in policy[1]:
            doubts.append("Redis may evict requests when its memory is full; set: maxmemory-policy noeviction")
        return doubts

    def _record(self, key: str) -> str:
        return f"{self._settings.prefix}:record:{key}"

    def _log(self, log: str) -> str:
        return f"{self._settings.prefix}:log:{log}"


@asynccontextmanager
async def _calls() -> AsyncIterator[None]:
    """Failures of the broker, and nothing else, become BrokerAway."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise BrokerAway(f"Redis: {str(error) or type(error).__name__}") from error


def _held(entry: tuple[bytes, dict[bytes, bytes]]) -> Held:
    return Held(entry[1][b"id"].decode(), entry[0].decode())


def _block_ms(wait_s: float) -> int:
    """Shorter than a call may take; 0 would block for ever."""
    return max(1, int(min(wait_s, CALL_S / 2) * 1000))
