"""The client processes of a run, and what they tell."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence

import msgspec

from penstock.bench.client.messages import LENGTH, Done, Lately, Task, Word, frame
from penstock.bench.sample import Planned
from penstock.core.errors import PenstockError


class ClientDied(PenstockError):
    """A client process ended before its part was over: what it had measured is lost, and the run with it."""


class Crew:
    """`size` processes. `async with` starts and ends them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._members: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Crew:
        command = (sys.executable, "-m", "penstock.bench.client.worker")
        # A process begins with SIGINT blocked, until it can take it as the word to stop.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(self.size):
                self._members.append(
                    await asyncio.create_subprocess_exec(
                        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 26
                    )
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self._members:
            if member.returncode is None:
                member.kill()
            await member.wait()

    @property
    def pids(self) -> list[int]:
        return [member.pid for member in self._members]

    def stop(self) -> None:
        """Ends the stage that runs, and those that come: what is under way is broken off, what was measured is kept."""
        for member in self._members:
            if member.returncode is None:
                member.send_signal(signal.SIGINT)

    async def stage(self, tasks: Sequence[Task], tell: Callable[[Sequence[Lately]], None]) -> list[Done]:
        """One stage, a task per process. `tell` is called whenever a process says how it goes. Raises ClientDied."""
        lately = [Lately(0, 0, 0, 0, [], 0.0)] * len(tasks)

        def heard(number: int, word: Lately) -> None:
            lately[number] = word
            tell(lately)
            lately[number] = msgspec.structs.replace(word, ttft=[], lag=0.0)

        async with asyncio.TaskGroup() as group:
            parts = [
                group.create_task(_part(member, task, number, heard))
                for number, (member, task) in enumerate(zip(self._members, tasks, strict=False))
            ]
        return [part.result() for part in parts]


async def _part(
    member: asyncio.subprocess.Process, task: Task, number: int, heard: Callable[[int, Lately], None]
) -> Done:
    assert member.stdin is not None
    assert member.stdout is not None
    decode = msgspec.msgpack.Decoder(Word).decode
    try:
        member.stdin.write(frame(task))
        await member.stdin.drain()
        while True:
            (size,) = LENGTH.unpack(await member.stdout.readexactly(LENGTH.size))
            word = decode(await member.stdout.readexactly(size))
            if isinstance(word, Done):
                return word
            heard(number, word)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        code = await member.wait()
        raise ClientDied(
            f"a client process ended with exit code {code} before its part of the load was over"
        ) from error


def dealt(requests: Sequence[Planned], places: int, size: int) -> list[tuple[int, list[tuple[int, Planned]]]]:
    """(places, numbered requests) for each of `size` processes, in turn; a closed loop has no more than places."""
    count = min(size, places) if places else size
    numbered = list(enumerate(requests))
    return [
        (places // count + (number < places % count) if places else 0, numbered[number::count])
        for number in range(count)
    ]
