"""The worker processes: started, asked, replaced, drained."""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from penstock.core.errors import PenstockError
from penstock.gateway.control import Answer, Ask, Channel, Failed, Prompts, Start, ToSupervisor, ToWorker, Up
from penstock.policy.limit.messages import Wants
from penstock.telemetry.catalogue import SHEETS
from penstock.telemetry.series import SeriesReader, create_file

START_TIMEOUT_S = 120.0
"""Far more than a start takes, about a second of CPU: where engines are loading, it may wait long for that."""
ANSWER_TIMEOUT_S = 2.0


class Hand:
    """One worker process as the supervisor holds it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: "Channel[ToSupervisor]", series: int) -> None:
        self.process = process
        self._channel = channel
        self.series = SeriesReader(series, SHEETS)
        os.close(series)
        self._up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._questions: dict[int, asyncio.Future[list[Any]]] = {}
        self._ids = itertools.count()
        self.draining = False
        self.wants: Callable[[Hand, Wants], None] = lambda hand, wants: None
        """Hears what the worker wants of its limits."""
        self.sent: Callable[[Hand, Prompts], None] = lambda hand, sent: None
        """Hears which prompts the worker has sent where."""

    @property
    def up(self) -> bool:
        return self._up.done() and not self._up.cancelled() and self._up.exception() is None

    def send(self, message: ToWorker) -> None:
        self._channel.send(message)

    async def started(self) -> None:
        """Waits until the worker takes requests. Raises PenstockError when it cannot."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._up
        except TimeoutError:
            raise PenstockError(f"it was not ready within {START_TIMEOUT_S:g} s") from None

    async def listen(self) -> None:
        """Takes the worker's messages until it is gone."""
        async for message in self._channel:
            match message:
                case Up():
                    self._settle(None)
                case Failed():
                    self._settle(PenstockError(message.reason))
                case Wants():
                    self.wants(self, message)
                case Prompts():
                    self.sent(self, message)
                case Answer():
                    question = self._questions.pop(message.id, None)
                    if question is not None and not question.done():
                        question.set_result(message.rows)
        self._settle(PenstockError("a worker ended before it was ready"))
        for question in self._questions.values():
            question.cancel()
        self._channel.close()

    def _settle(self, error: PenstockError | None) -> None:
        if not self._up.done():
            if error is None:
                self._up.set_result(None)
            else:
                self._up.set_exception(error)
                self._up.exception()  # read here: nobody may be waiting

    async def ask(self, what: str, limit: int = 0, about: str = "") -> list[Any] | None:
        """Rows from the worker; None when it does not answer in time."""
        number = next(self._ids)
        question = self._questions[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Ask(number, what, limit, about))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                rows: list[Any] = await question
                return rows
        except (TimeoutError, asyncio.CancelledError):
            if question.cancelled():
                return None
            raise
        finally:
            self._questions.pop(number, None)


async def hire(first: Callable[[], Start], listener: socket.socket) -> Hand:
    """Starts one worker process; it is ready once `started` returns. `first`: what it is told then."""
    ours, theirs = socket.socketpair()
    series = create_file()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "penstock.gateway.worker",
            str(theirs.fileno()),
            str(listener.fileno()),
            str(series),
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), listener.fileno(), series),
        )
    except OSError:
        ours.close()
        os.close(series)
        raise
    finally:
        theirs.close()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    channel: Channel[ToSupervisor] = Channel(reader, writer, ToSupervisor)
    hand = Hand(process, channel, series)
    hand.send(first())
    return hand
