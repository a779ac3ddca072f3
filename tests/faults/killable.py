"""A scripted engine in a process of its own: `python -m tests.faults.killable` prints its port and serves for ever."""

import asyncio

from tests.faults.upstream import Call, Upstream, delta


async def half(call: Call) -> None:
    """A stream, or a body, that is under way and stays so; `before` in the request asks for no byte at all."""
    if b"before" in call.body:
        await call.left()
    elif b'"stream"' in call.body:
        await call.sse(delta("one"), delta("two")[:30])
    else:
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
    await call.left()


async def main() -> None:
    async with Upstream(half) as upstream:
        print(upstream.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
