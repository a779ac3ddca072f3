"""NATS JetStream as the broker. Needs NATS 2.10 or newer.

Three streams on files: `PREFIX_queue` (a work queue of ids, one durable pull consumer), the key-value bucket
`PREFIX_records`, and `PREFIX_answers` (a subject per piece). Durable means `sync_interval: always`, or
three replicas on machines that do not fail together: JetStream otherwise acknowledges what its disk gets within two
minutes.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, MaxPayloadError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from penstock.core.clock import monotonic
from penstock.core.errors import ConfigError
from penstock.state.queue.broker import BrokerAway, BrokerSettings, Depth, Held, Kept

CONSUMER = "pullers"
CALL_S = 5.0
FULL = 10_077
"""JetStream's error code of a stream that has `max_msgs`."""
BATCH = 256
"""Pieces read at once."""
LOOK_S = 0.05
"""Between two looks for a piece that is not there yet."""
HEADERS = 4096
"""Bytes of a message that are not ours."""


class NatsBroker:
    """One connection. What is held is answered by the subject that came with it."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._stream = f"{settings.prefix}_queue"
        self._answers = f"{settings.prefix}_answers"
        self._subject = f"{settings.prefix}.queue"
        self._client: Client | None = None
        self._js: JetStreamContext | None = None
        self._records: KeyValue | None = None
        self._pull: JetStreamContext.PullSubscription | None = None
        self.piece_bytes = 512 * 1024

    async def open(self) -> list[str]:
        settings = self._settings
        try:
            async with asyncio.timeout(CALL_S):  # left alone, it would try for ever
                self._client = await nats.connect(
                    settings.url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_quiet,
                    pending_size=64 << 20,
                )  # fmt: skip
        except (Error, OSError, TimeoutError) as error:
            raise ConfigError(f"the broker: NATS: {str(error) or type(error).__name__}") from None
        self.piece_bytes = self._client.max_payload - HEADERS
        self._js = self._client.jetstream(timeout=CALL_S)
        try:
            async with _calls():
                await self._make()
        except BrokerAway as error:
            raise ConfigError(f"the broker: {error}") from None
        if settings.replicas >= 3:
            return []
        return ["NATS does not tell clients whether it syncs before it answers; set: jetstream {sync_interval: always}"]

    async def _make(self) -> None:
        settings, js = self._settings, self._js
        assert js is not None
        common: dict[str, Any] = {"storage": api.StorageType.FILE, "num_replicas": settings.replicas}
        await self._stream_of(
            api.StreamConfig(
                name=self._stream,
                subjects=[self._subject],
                retention=api.RetentionPolicy.WORK_QUEUE,
                max_msgs=settings.most,
                discard=api.DiscardPolicy.NEW,
                **common,
            )
        )
        await self._stream_of(
            api.StreamConfig(
                name=self._answers,
                subjects=[f"{settings.prefix}.answers.>"],
                max_age=settings.keep_s,
                max_msgs_per_subject=1,
                duplicate_window=min(2.0, settings.keep_s),
                allow_direct=True,
                **common,
            )
        )
        bucket = api.KeyValueConfig(
            bucket=f"{settings.prefix}_records", ttl=settings.keep_s, storage=api.StorageType.FILE,
            replicas=settings.replicas, direct=False,
        )  # fmt: skip
        try:
            self._records = await js.key_value(bucket.bucket)
        except NotFoundError:
            self._records = await js.create_key_value(config=bucket)
        # Deliveries are not counted here but in the job's record: those that the gateway turned away are no attempts.
        consumer = api.ConsumerConfig(
            durable_name=CONSUMER, ack_wait=settings.silent_s, max_deliver=-1, max_ack_pending=-1, max_waiting=4096
        )
        await js.add_consumer(self._stream, consumer)
        self._pull = await js.pull_subscribe_bind(CONSUMER, self._stream)

    async def _stream_of(self, config: api.StreamConfig) -> None:
        assert self._js is not None
        try:
            await self._js.update_stream(config)
        except NotFoundError:
            await self._js.add_stream(config)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    # -- records -----------------------------------------------------------------------------------------------------

    async def create(self, key: str, value: bytes) -> bool:
        async with _calls():
            try:
                await self._bucket.create(key, value)
            except KeyWrongLastSequenceError:
                return False
        return True

    async def get(self, key: str) -> Kept | None:
        async with _calls():
            try:
                entry = await self._bucket.get(key)
            except KeyNotFoundError:
                return None
        return Kept(entry.value or b"", entry.revision or 0)

    async def swap(self, key: str, old: Kept, value: bytes) -> Kept | None:
        async with _calls():
            try:
                return Kept(value, await self._bucket.update(key, value, last=old.revision))
            except KeyWrongLastSequenceError:
                return None

    async def delete(self, key: str) -> None:
        async with _calls():
            await self._bucket.purge(key)

    # -- queue -------------------------------------------------------------------------------------------------------

    async def push(self, id_: str) -> bool:
        async with _calls():
            try:
                await self._context.publish(self._subject, id_.encode(), stream=self._stream)
            except APIError as error:
                if error.err_code == FULL:
                    return False
                raise
        return True

    async def enqueue(self, id_: str, values: Mapping[str, bytes]) -> bool:
        await asyncio.gather(*(self.create(key, value) for key, value in values.items()))
        if await self.push(id_):
            return True
        await asyncio.gather(*map(self.delete, values))
        return False

    async def pull(self, most: int, wait_s: float) -> list[Held]:
        assert self._pull is not None
        async with _calls():
            try:
                messages = await self._pull.fetch(most, timeout=min(wait_s, CALL_S))
            except TimeoutError:
                if not self._connected:
                    raise
                return []
        return [Held(message.data.decode(), message.reply) for message in messages]

    async def extend(self, held: Held) -> None:
        await self._say(held, Msg.Ack.Progress)

    async def give_back(self, held: Held, delay_s: float) -> None:
        # A little chance keeps what came back together from coming again together.
        delay = int((delay_s + random.random() * min(1.0, delay_s)) * 1e9)
        await self._say(held, Msg.Ack.Nak + (b' {"delay": %d}' % delay if delay else b""))

    async def done(self, held: Held) -> None:
        await self._say(held, Msg.Ack.Ack)

    async def depth(self) -> Depth:
        async with _calls():
            consumer = await self._context.consumer_info(self._stream, CONSUMER)
            stream = (await self._context.stream_info(self._stream)).state
            oldest = None
            if stream.messages:
                try:
                    first = await self._context.get_msg(self._stream, seq=stream.first_seq)
                    oldest = first.time.timestamp() if first.time else None
                except NotFoundError:
                    pass  # it was done meanwhile
        held = consumer.num_ack_pending or 0
        return Depth(max(0, stream.messages - held), held, oldest)

    # -- answers -----------------------------------------------------------------------------------------------------

    async def append(self, log: str, number: int, piece: bytes) -> None:
        async with _calls():
            await self._context.publish(self._piece(log, number), piece, stream=self._answers)

    async def pieces(self, log: str, after: int, wait_s: float) -> list[bytes]:
        end = monotonic() + wait_s
        found: list[bytes] = []
        async with _calls():
            while len(found) < BATCH:
                try:
                    subject = self._piece(log, after + len(found) + 1)
                    found.append((await self._context.get_msg(self._answers, subject=subject, direct=True)).data or b"")
                except NotFoundError:
                    if found or monotonic() >= end:
                        break
                    await asyncio.sleep(LOOK_S)
        return found

    async def forget(self, log: str) -> None:
        async with _calls():
            await self._context.purge_stream(self._answers, subject=f"{self._settings.prefix}.answers.{log}.>")

    # -- how -----------------------------------------------------------------------------------------------------------

    def _piece(self, log: str, number: int) -> str:
        """A subject per piece, with one message at most: sending it again changes nothing."""
        return f"{self._settings.prefix}.answers.{log}.{number}"

    async def _say(self, held: Held, word: bytes) -> None:
        assert self._client is not None
        async with _calls():
            await self._client.publish(held.receipt, word)

    @property
    def _connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    @property
    def _context(self) -> JetStreamContext:
        assert self._js is not None, "the broker is not open"
        return self._js

    @property
    def _bucket(self) -> KeyValue:
        assert self._records is not None, "the broker is not open"
        return self._records


async def _quiet(error: Exception) -> None:
    """Connections that break are told by the calls that fail."""


@asynccontextmanager
async def _calls() -> AsyncIterator[None]:
    """Failures of the broker, and nothing else, become BrokerAway."""
    try:
        yield
    except MaxPayloadError:
        raise
    except (Error, OSError, TimeoutError) as error:
        raise BrokerAway(f"NATS: {str(error) or type(error).__name__}") from error
