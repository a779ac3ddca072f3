"""Engines that read prompts for others: what tests of two legs share."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.gateway.world import SSE_HEAD, Script, ScriptedEngine, Seen, Wire, World, chunked, response

PATH = "/v1/chat/completions"
BLOCKS = {
    "do_remote_prefill": True,
    "do_remote_decode": False,
    "remote_engine_id": "p-0",
    "remote_block_ids": [[7, 8, 9]],
    "remote_request_id": "r",
    "remote_host": "127.0.0.1",
    "remote_port": 5600,
    "tp_size": 1,
}
READ = {"prompt_tokens": 1500, "completion_tokens": 1, "total_tokens": 1501}
"""What the first leg's engine says it used: nobody is charged for it."""
WROTE = {"prompt_tokens": 1500, "completion_tokens": 5, "total_tokens": 1505}


def long_chat(word: str = "sea", **fields: Any) -> bytes:
    """A request of about 1,500 tokens."""
    content = f"Tell me of the {word}. " * (6000 // len(f"Tell me of the {word}. "))
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **fields}).encode()


def answers(document: object, status: str = "200 OK") -> Script:
    async def script(seen: Seen, wire: Wire) -> None:
        await wire.send(response(json.dumps(document).encode(), "Content-Type: application/json", status=status))

    return script


def told(blocks: object) -> dict[str, object]:
    """A first leg's whole answer."""
    return {"choices": [{"message": {"content": "O"}}], "usage": READ, "kv_transfer_params": blocks}


reads = answers(told(BLOCKS))


async def writes(seen: Seen, wire: Wire) -> None:
    """An engine that answers, streamed or not, and tells what it used."""
    if json.loads(seen.body).get("stream"):
        events = [b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % word for word in (b"Once", b" more")]
        usage = b'data: {"choices":[],"usage":%b}\n\n' % json.dumps(WROTE).encode()
        await wire.trickle(SSE_HEAD, chunked(*events, usage, b"data: [DONE]\n\n"))
        return
    await answers({"choices": [{"message": {"content": "Once more"}}], "usage": WROTE})(seen, wire)


async def hangs(seen: Seen, wire: Wire) -> None:
    await wire.gone()


async def resets(seen: Seen, wire: Wire) -> None:
    wire.reset()


async def closes(seen: Seen, wire: Wire) -> None:
    wire.close()


async def resets_midway(seen: Seen, wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
    await asyncio.sleep(0.01)
    wire.reset()


def two_legged(decoders: int = 1, prefillers: int = 1, **options: Any) -> World:
    """Engines that answer come first, those that read for them last. All do well."""
    facts = {
        f"engine{number}": {"role": "decode" if number <= decoders else "prefill"}
        for number in range(1, decoders + prefillers + 1)
    }
    options.setdefault("resilience", {"slow_start": 0})
    world = World(decoders + prefillers, facts=facts, **options)
    for engine in world.engines[:decoders]:
        engine.script = writes
    for engine in world.engines[decoders:]:
        engine.script = reads
    return world


def prefiller(world: World) -> ScriptedEngine:
    return world.engines[-1]


def bodies(engine: ScriptedEngine) -> list[dict[str, Any]]:
    """What an engine was asked."""
    return [json.loads(seen.body) for seen in engine.seen]
