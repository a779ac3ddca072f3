"""What workers hear of an engine's cache, whatever order its events come in and whatever of them is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.endpoint import Endpoint, EngineState
from penstock.engines.kv_batches import Batch, Cleared, Event, Order
from penstock.gateway.caches import follow
from penstock.gateway.caches.fleet import Caches
from penstock.gateway.caches.follow import Follower
from penstock.gateway.caches.news import Cached
from penstock.policy.route.precise import PreciseIndex
from tests.engines.cache import EngineCache

pytestmark = pytest.mark.anyio
SIZE = 4


class Scripted:
    """Events that are put in; `numbered` as KvEvents numbers batches."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self.last = -1
        self.opened = 0

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event = await self.queue.get()
        if isinstance(event, Exception):
            raise event
        self.last += 1
        return event

    @asynccontextmanager
    async def open(self, publisher: str = "", replay: str = "") -> AsyncIterator["Scripted"]:
        self.opened += 1
        self.last = -1
        yield self


class Worker:
    """A worker's index of one engine, and what it was told besides."""

    def __init__(self) -> None:
        self.index = PreciseIndex()
        self.told: list[Cached] = []

    def take(self, news: Cached) -> None:
        self.told.append(news)
        if news.void:
            self.index.cleared(1)
        self.index.removed(1, news.removed)
        self.index.stored(1, news.stored)

    def has(self, entries: set[int]) -> bool:
        return self.index.held(1) == len(entries) and all(self.index.lookup([entry]) for entry in entries)


async def settle(source: Scripted) -> None:
    """Until all that was put in is taken, and told."""
    while not source.queue.empty():  # noqa: ASYNC110 - no news of it
        await asyncio.sleep(0.001)
    await asyncio.sleep(2 * follow.TELL_S)


LIVES = st.lists(
    st.one_of(
        st.tuples(st.just("compute"), st.lists(st.integers(0, 2), min_size=SIZE, max_size=20)),
        st.tuples(st.just("evict"), st.integers(0, 99)),
        st.tuples(st.just("reset"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=25,
)


class Play:
    """An engine that publishes, a follower that misses some of it, and a worker that hears."""

    def __init__(self, *, replays: bool) -> None:
        self.cache, self.worker, self.source = EngineCache(SIZE), Worker(), Scripted()
        self.follower = Follower("e", self.source.open, self.worker.take)
        self._replays = replays
        self._order = Order()
        self._memory: list[Batch] = []
        self._at = 0.0

    def happen(self, what: str, argument: list[int] | int) -> Batch:
        """One change of the cache, and the batch that tells of it."""
        if what == "compute" and isinstance(argument, list):
            events = self.cache.compute(argument)
        elif what == "evict" and isinstance(argument, int):
            events = self.cache.evict(argument)
        elif what == "restart":
            self.cache.reset()
            self._memory.clear()
            events = self.cache.compute([1] * SIZE)  # it has to speak for anybody to notice
        else:
            events = self.cache.all_gone()
        self._at += 1.0
        self._memory.append(Batch(len(self._memory), self._at, tuple(events)))
        return self._memory[-1]

    def hear(self, batch: Batch) -> None:
        """As KvEvents does."""
        order, put = self._order, self.source.queue.put_nowait
        missing = order.missing(batch)
        if order.restarted(batch):
            put(Cleared())
        if missing and self._replays:
            for event in order.replayed([old for old in self._memory if old.number >= order.expected]):
                put(event)
        for event in order.live(batch):
            put(event)

    async def check(self) -> None:
        await settle(self.source)
        if self.follower.whole:
            assert self.worker.has(self.cache.entries)
        newcomer = Worker()
        for news in self.follower.snapshot():
            newcomer.take(news)
        assert newcomer.index.held(1) == self.worker.index.held(1)


@settings(deadline=None, max_examples=40)
@given(life=LIVES, lost=st.sets(st.integers(0, 24)), replays=st.booleans(), looks=st.sets(st.integers(0, 24)))
def test_what_is_told_is_what_is_cached(
    life: list[tuple[str, list[int] | int]], lost: set[int], replays: bool, looks: set[int]
) -> None:
    """Batches get lost, publishers restart: a worker that is told it knows all knows what is there."""

    async def live() -> None:
        play = Play(replays=replays)
        running = asyncio.ensure_future(play.follower.run())
        for step, (what, argument) in enumerate(life):
            batch = play.happen(what, argument)
            if step in lost and what != "restart":
                continue
            play.hear(batch)
            if step in looks:
                await play.check()
        if life:
            play.hear(play.happen("evict", 0))
        await play.check()
        if replays and play.worker.told and play.follower.events:
            assert play.follower.whole, "a replay brings all that was lost"
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(live())


@pytest.fixture
async def followed() -> AsyncIterator[tuple[Scripted, Worker, Follower]]:
    source, worker = Scripted(), Worker()
    follower = Follower("e", source.open, worker.take)
    running = asyncio.ensure_future(follower.run())
    yield source, worker, follower
    running.cancel()
    await asyncio.wait([running])


Followed = tuple[Scripted, Worker, Follower]


async def test_what_comes_together_is_told_together(followed: Followed) -> None:
    source, worker, _ = followed
    await settle(source)
    worker.told.clear()
    cache = EngineCache(SIZE)
    for number in range(20):
        for event in cache.compute([number] * SIZE):
            source.queue.put_nowait(event)
    await settle(source)
    assert len(worker.told) == 1
    assert len(worker.told[0].stored) == 20


async def test_what_came_and_left_meanwhile_is_not_told(followed: Followed) -> None:
    source, worker, _ = followed
    cache = EngineCache(SIZE)
    for event in (*cache.compute([1] * SIZE), *cache.evict(0)):
        source.queue.put_nowait(event)
    await settle(source)
    assert not any(news.stored for news in worker.told)


async def test_much_is_told_in_parts(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MOST_TOLD", 3)
    source, worker, follower = followed
    cache = EngineCache(SIZE)
    for event in cache.compute(list(range(10 * SIZE))):
        source.queue.put_nowait(event)
    await settle(source)
    assert worker.has(cache.entries)
    parts = follower.snapshot()
    assert [len(news.stored) for news in parts] == [3, 3, 3, 1]
    assert [news.void for news in parts] == [True, False, False, False]


async def test_a_source_that_fails_is_opened_again_and_nothing_is_believed_meanwhile(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "AGAIN_S", 0.2)
    source, worker, follower = followed
    cache = EngineCache(SIZE)
    for event in cache.compute([1] * SIZE):
        source.queue.put_nowait(event)
    await settle(source)
    assert worker.has(cache.entries)
    source.queue.put_nowait(OSError("gone"))
    await settle(source)
    assert follower.describe()["error"] == "gone"
    async with asyncio.timeout(30):
        while source.opened < 2:  # noqa: ASYNC110 - no news of it
            await asyncio.sleep(0.01)
    await settle(source)
    assert worker.has(set())
    assert not follower.whole


def ready(name: str, address: str = "tcp://h:1", state: EngineState = EngineState.READY) -> Endpoint:
    return Endpoint(name, "http", state, "http://h", kv_events=address)


async def test_engines_are_followed_while_they_are_ready() -> None:
    opened: list[str] = []
    sources: dict[str, Scripted] = {}

    def open_source(publisher: str, replay: str) -> object:
        opened.append(publisher)
        sources[publisher] = Scripted()
        return sources[publisher].open()

    told: list[Cached] = []
    opener: Callable[..., object] = open_source
    caches = Caches(opener, told.append)  # type: ignore[arg-type]
    caches.follow([ready("a"), ready("b", ""), ready("c", state=EngineState.UNREACHABLE)])
    await asyncio.sleep(0.05)
    assert opened == ["tcp://h:1"]
    assert caches.describe("b") is caches.describe("c") is None
    caches.follow([ready("a")])
    await asyncio.sleep(0.02)
    assert opened == ["tcp://h:1"], "the same engine at the same address goes on"
    for event in EngineCache(SIZE).compute([1] * SIZE):
        sources["tcp://h:1"].queue.put_nowait(event)
    await settle(sources["tcp://h:1"])
    assert [news.engine for news in told][-1] == "a"
    described = caches.describe("a")
    assert described is not None
    assert (described["events"], described["blocks"], described["whole"], described["last_number"]) == (1, 1, True, 0)
    assert sum(len(news.stored) for news in caches.snapshot()) == 1
    caches.follow([ready("a", state=EngineState.UNREACHABLE)])
    caches.follow([ready("a")])
    await asyncio.sleep(0.05)
    assert opened == ["tcp://h:1"] * 2, "it may have restarted"
    caches.follow([ready("a", "tcp://h:2")])
    await asyncio.sleep(0.05)
    assert opened[-1] == "tcp://h:2"
    assert told[-1].void, "what the old address told counts no more"
    await caches.close()
    assert caches.snapshot() == []
