"""Precise prefixes in a worker: token ids are asked of an engine first, and what engines told decides."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock.gateway import lookup
from penstock.gateway.caches.news import Cached
from penstock.gateway.why import why
from penstock.policy.route.tokens import token_chain
from penstock.telemetry.catalogue import LOOKUPS
from tests.gateway.world import Answer, ScriptedEngine, Seen, Wire, World, echo, get, post, response

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
SIZE = 16
WORDS = "Tell me of the sea. " * 40


def tokens_of(text: str) -> list[int]:
    """The tokeniser of these engines: a token per word."""
    return [sum(word.encode()) for word in text.split()]


def body(text: str = WORDS, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


async def tokenizing(seen: Seen, wire: Wire) -> None:
    """An engine with `/tokenize`."""
    if seen.target != "/tokenize":
        await echo(seen, wire)
        return
    asked = json.loads(seen.body)
    text = asked["prompt"] if "prompt" in asked else " ".join(each["content"] for each in asked["messages"])
    ids = tokens_of(text)
    await wire.send(response(json.dumps({"count": len(ids), "max_model_len": 4096, "tokens": ids}).encode()))


def asked(engine: ScriptedEngine) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for seen in engine.seen if seen.target == "/tokenize"]


class Precise(World):
    """Two engines that have told all of their caches, which are empty."""

    def __init__(self, engines: int = 2, wait_s: float = 5.0, **options: Any) -> None:
        super().__init__(engines, routing={"prefixes": "precise", "token_wait": wait_s}, **options)
        for engine in self.engines:
            engine.script = tokenizing

    async def __aenter__(self) -> "Precise":
        await super().__aenter__()
        for engine in self.engines:
            self.tell(engine.name)
        return self

    def tell(self, name: str, text: str = "", adapter: str = "") -> None:
        """The engine has this prompt in its cache."""
        stored = list(token_chain(tokens_of(text), SIZE, adapter))
        self.app.fleet.take_cached(Cached(name, stored, whole=True, block_tokens=SIZE))

    def decision(self, answer: Answer) -> dict[str, Any]:
        told: dict[str, Any] = why(self.app, answer.id)[0]["decisions"][-1]
        return told

    async def counted(self, outcome: str) -> float:
        self.app.meter.flush()
        return sum(row[0] for sheet, labels, row in self.series.rows() if (sheet, labels) == (LOOKUPS, (outcome,)))


@pytest.mark.parametrize("home", ["engine1", "engine2"])
async def test_a_prompt_goes_where_it_is_cached_whoever_sent_it_there(home: str) -> None:
    async with Precise() as world:
        world.tell(home, WORDS)
        for _ in range(3):
            answer = await world.ask(post(CHAT, body()))
            assert answer.json["engine"] == home
        decision = world.decision(answer)
        assert (decision["index"], decision["lookup"]) == ("precise", "remembered")
        assert decision["matched_tokens"] == 200 // SIZE * SIZE
        assert decision["asked"]["prompt_tokens"] == 200
        assert await world.counted("precise") == 1
        assert await world.counted("remembered") == 2
        assert sum(len(asked(engine)) for engine in world.engines) == 1, "the same prompt is asked for once"
        await world.quiet()


async def test_what_a_chats_template_is_given_is_given_to_the_tokeniser() -> None:
    async with Precise() as world:
        more = {
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "chat_template_kwargs": {"enable_thinking": False},
            "reasoning_effort": "low",
            "continue_final_message": True,
            "add_generation_prompt": False,
            "temperature": 0,
        }
        await world.ask(post(CHAT, body(**more)))
        (question,) = (each for engine in world.engines for each in asked(engine))
        assert question == {
            "model": "m",
            "messages": [{"role": "user", "content": WORDS}],
            "tools": more["tools"],
            "continue_final_message": True,
            "add_generation_prompt": False,
            "chat_template_kwargs": {"enable_thinking": False, "reasoning_effort": "low"},
        }


@pytest.mark.parametrize("ids", [False, True])
async def test_prompts_of_completions(ids: bool) -> None:
    async with Precise() as world:
        world.tell("engine2", WORDS)
        prompt = tokens_of(WORDS) if ids else WORDS
        sent = json.dumps({"model": "m", "prompt": prompt, "add_special_tokens": False}).encode()
        answer = await world.ask(post("/v1/completions", sent))
        assert answer.json["engine"] == "engine2"
        questions = [each for engine in world.engines for each in asked(engine)]
        assert questions == ([] if ids else [{"model": "m", "prompt": WORDS, "add_special_tokens": False}])


UNFIT: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"cache_salt": "mine"}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u" * 300}}]}]}),
    (CHAT, {"truncate_prompt_tokens": 9}),
    ("/v1/completions", {"prompt": [WORDS, WORDS]}),
    ("/v1/responses", {"input": WORDS}),
    ("/v1/messages", {}),
]


@pytest.mark.parametrize(("path", "more"), UNFIT)
async def test_what_ids_do_not_tell_is_guessed(path: str, more: dict[str, Any]) -> None:
    async with Precise() as world:
        answer = await world.ask(post(path, body(**more)))
        decision = world.decision(answer)
        assert (decision["index"], decision["lookup"]) == ("approximate", "unfit")
        again = await world.ask(post(path, body(**more)))
        assert again.json["engine"] == answer.json["engine"]
        assert world.decision(again)["matched_tokens"] > 0
        assert not any(asked(engine) for engine in world.engines)
        assert await world.counted("unfit") == 2


async def test_a_late_answer_costs_its_prompt_the_wait_and_serves_the_next() -> None:
    go = asyncio.Event()

    async def slow(seen: Seen, wire: Wire) -> None:
        if seen.target == "/tokenize":
            await go.wait()
        await tokenizing(seen, wire)

    async with Precise(wait_s=0.05) as world:
        for engine in world.engines:
            engine.script = slow
        world.tell("engine2", WORDS)
        answer = await world.ask(post(CHAT, body()))
        decision = world.decision(answer)
        assert (decision["index"], decision["lookup"], decision["matched_tokens"]) == ("approximate", "late", 0)
        assert world.records[-1].duration_s > 0.04
        longer = await world.ask(post(CHAT, body(WORDS + "And more.")))
        assert world.decision(longer)["lookup"] == "spared", "the engine would work for nothing"
        go.set()
        await asyncio.sleep(0.1)
        third = await world.ask(post(CHAT, body()))
        assert (third.json["engine"], world.decision(third)["lookup"]) == ("engine2", "remembered")


async def gone(seen: Seen, wire: Wire) -> None:
    if seen.target == "/tokenize":
        wire.reset()
    else:
        await echo(seen, wire)


def answers(data: bytes, status: str = "200 OK") -> Callable[[Seen, Wire], Awaitable[None]]:
    async def script(seen: Seen, wire: Wire) -> None:
        if seen.target == "/tokenize":
            await wire.send(response(data, status=status))
        else:
            await echo(seen, wire)

    return script


@pytest.mark.parametrize(
    "script",
    [
        gone,
        answers(b"{}"),
        answers(b"not json"),
        answers(b'{"tokens": [-1]}'),
        answers(b'{"tokens": [1, 2]}', status="404 Not Found"),
        answers(b""),
    ],
)
async def test_an_engine_that_cannot_tokenise_costs_nothing_but_precision(
    script: Callable[[Seen, Wire], Awaitable[None]],
) -> None:
    async with Precise() as world:
        for engine in world.engines:
            engine.script = script
        answer = await world.ask(post(CHAT, body()))
        assert answer.status == 200
        assert world.decision(answer)["lookup"] == "failed"
        assert (await world.ask(post(CHAT, body()))).json["engine"] == answer.json["engine"]
        assert await world.counted("failed") == 2
        await world.quiet()


async def test_before_an_engine_tells_anything_nothing_is_asked() -> None:
    async with Precise() as world:
        world.app.fleet.block_tokens.clear()
        assert world.decision(await world.ask(post(CHAT, body())))["lookup"] == "mute"
        assert not any(asked(engine) for engine in world.engines)


async def test_a_prompt_that_fills_no_block_is_guessed() -> None:
    async with Precise() as world:
        decision = world.decision(await world.ask(post(CHAT, body("x" * 600))))
        assert (decision["index"], decision["lookup"]) == ("approximate", "short")


async def test_short_prompts_and_those_without_a_choice_are_not_looked_up() -> None:
    async with Precise() as world:
        assert world.decision(await world.ask(post(CHAT, body("hi"))))["index"] == "none"
        assert (await world.ask(get("/v1/models", method="GET"), "GET")).status == 200
        world.show_fleet("engine2")
        await world.ask(post(CHAT, body()))
        assert not any(asked(engine) for engine in world.engines)


async def test_an_adapters_blocks_are_its_own() -> None:
    async with Precise() as world:
        world.app.fleet.update(
            tuple(
                endpoint.__class__(
                    **{
                        **{name: getattr(endpoint, name) for name in endpoint.__struct_fields__},
                        "models": {**endpoint.models, "lora": b'{"id":"lora"}'},
                        "adapters": frozenset({"lora"}),
                    }
                )
                for endpoint in world.app.fleet.endpoints
            ),
            0.0,
        )
        world.tell("engine1", WORDS)
        world.tell("engine2", WORDS, "lora")
        for model, home in (("m", "engine1"), ("lora", "engine2")):
            answer = await world.ask(post(CHAT, body(model=model)))
            assert world.decision(answer)["engine"] == home
            assert answer.json["engine"] == home


async def test_with_bounded_engines_the_ids_are_known_before_the_queue() -> None:
    async with Precise() as world:
        fleet = world.app.fleet
        fleet.update(
            tuple(
                endpoint.__class__(
                    **{
                        **{name: getattr(endpoint, name) for name in endpoint.__struct_fields__},
                        "max_in_flight": 4,
                    }
                )
                for endpoint in fleet.endpoints
            ),
            0.0,
        )
        world.tell("engine2", WORDS)
        answer = await world.ask(post(CHAT, body()))
        assert (answer.json["engine"], world.decision(answer)["index"]) == ("engine2", "precise")
        await world.quiet()


async def test_a_client_that_leaves_meanwhile_takes_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "LATE_S", 0.3)

    async def never(seen: Seen, wire: Wire) -> None:
        if seen.target == "/tokenize":
            await wire.gone()
        else:
            await echo(seen, wire)

    async with Precise(wait_s=0.2) as world:
        for engine in world.engines:
            engine.script = never
        client = await world.client()
        await client.send(post(CHAT, body()))
        await world.until(lambda: any(engine.seen for engine in world.engines))
        client.leave()
        await world.quiet()
        assert [record.outcome for record in world.records] == ["client_left"]
        assert {seen.target for engine in world.engines for seen in engine.seen} == {"/tokenize"}
        await world.until(lambda: not any(engine.open for engine in world.engines))


async def test_approximate_mode_asks_nothing() -> None:
    async with World(engines=2) as world:
        assert world.app.tokens is None
        answer = await world.ask(post(CHAT, body()))
        told = why(world.app, answer.id)[0]["decisions"][-1]
        assert (told["index"], told["lookup"]) == ("approximate", None)
        assert {seen.target for engine in world.engines for seen in engine.seen} == {CHAT}
