"""Law 2. No request is retried after its first byte reached the client."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.fuzzing import QUICK, in_one_world
from tests.gateway.world import CHAT, Truncated, World, post
from tests.laws.traffic import ANSWERS, FAULTS, TAG, Stage

DEEDS = st.lists(st.sampled_from(FAULTS + ANSWERS), min_size=1, max_size=4)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("heartbeat", [0.0, 0.01])
def test_at_most_one_attempt_reaches_the_client_and_it_is_the_last(heartbeat: float) -> None:
    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=150)
        @given(deeds=DEEDS)
        def example(deeds: list[str]) -> None:
            async def run(world: World) -> None:
                stage = Stage()
                for engine in world.engines:
                    engine.script = stage.script
                client = await world.client()
                before = len(world.records)
                await client.send(
                    post(
                        "/v1/chat/completions",
                        CHAT,
                        f"X-Do: {'|'.join(deeds)}",
                        "X-Request-ID: one",
                        "Connection: close",
                    )
                )
                raw = await client.rest()
                client.leave()
                await world.quiet()
                made = stage.attempts["one"]
                tags = {int(number) for _, number in TAG.findall(raw)}
                assert len(tags) <= 1, "two attempts' content in one answer"
                assert tags <= {len(made)}, "another attempt was made after content had reached the client"
                assert raw.count(b"HTTP/1.1 ") <= 1, "one head"
                (record,) = world.records[before:]
                assert len(record.attempts) == len(made) <= 3

            play(run)

        example()

    options = {"timeouts": {"first_byte": 0.05, "stall": 0.05}, "streaming": {"heartbeat": heartbeat}}
    in_one_world(lambda: World(engines=3, **options), body)


@pytest.mark.anyio
async def test_a_line_held_back_from_a_failed_attempt_is_forgotten() -> None:
    """The engine died inside its first line; nothing of that line may stand in the answer of the next."""
    for deed in ("stream", "500", "unary"):
        async with World(engines=2) as world:
            stage = Stage()
            for engine in world.engines:
                engine.script = stage.script
            answer = await world.ask(post("/v1/chat/completions", CHAT, f"X-Do: held line|{deed}", "X-Request-ID: one"))
            assert stage.attempts["one"] == ["held line", deed]
            assert b"tag-one-2-" in answer.body
            assert b"tag-one-1" not in answer.body


@pytest.mark.anyio
async def test_a_heartbeat_is_a_first_byte_too() -> None:
    """Once the head is out, the request is committed, though no content has come."""
    async with World(engines=2, streaming={"heartbeat": 0.02}, timeouts={"first_byte": 0.3}) as world:

        async def silent(seen: object, wire: object) -> None:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")  # type: ignore[attr-defined]
            await heard.wait()
            wire.reset()  # type: ignore[attr-defined]

        heard = asyncio.Event()
        for engine in world.engines:
            engine.script = silent
        client = await world.client()
        await client.send(post("/v1/chat/completions", CHAT))
        await client.some(b": heartbeat\n\n")
        heard.set()
        try:
            rest = await client.some(b"0\r\n\r\n")
        except Truncated:
            rest = b""
        assert b"event: error" in rest
        assert sum(len(engine.seen) for engine in world.engines) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "tries"), [("/v1/embeddings", 2), ("/v1/files", 1), ("/v1/batches", 1), ("/v1/fine_tuning/jobs", 1)]
)
async def test_what_changes_something_is_not_sent_twice(path: str, tries: int) -> None:
    """An engine that read an upload and then broke off may have kept it."""
    async with World(engines=2) as world:
        stage = Stage()
        for engine in world.engines:
            engine.script = stage.script
        answer = await world.ask(post(path, CHAT, "X-Do: close|unary", "X-Request-ID: one"))
        assert len(stage.attempts["one"]) == tries
        assert answer.status == (200 if tries == 2 else 502)
