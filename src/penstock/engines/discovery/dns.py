"""Engines behind a DNS name: every address of it, or every target of its SRV records."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

import msgspec

from penstock.engines.discovery.found import Announcer, Found, OnFound, name_of, url_of

log = logging.getLogger("penstock.discovery")

FASTEST_S = 1.0
"""No answer is asked for more often than this, however short it says that it lives."""


class Answer(msgspec.Struct, frozen=True):
    """What a name stands for now."""

    targets: tuple[tuple[str, int], ...]
    """Addresses with ports; port 0 where the record has none."""
    lives_s: float | None = None
    """Time to live, where the resolver tells."""


Resolve = Callable[[str], Answer]
"""Blocking; runs in a thread. Raises OSError."""


class DnsSource:
    """Asks again every `interval_s`, sooner when the records live shorter.

    A name that does not resolve changes nothing: an engine that is gone is found out by its probes, while a DNS that
    is away must not take the whole fleet along.
    """

    def __init__(
        self, name: str, host: str, port: int, interval_s: float = 10.0, scheme: str = "http",
        resolve: Resolve | None = None,
    ) -> None:  # fmt: skip
        """`port` is used for records that tell none: all but SRV."""
        self.problem = ""
        self._name = name
        self._host = host
        self._port = port
        self._interval_s = interval_s
        self._scheme = scheme
        self._resolve = resolve or addresses

    async def run(self, on_change: OnFound) -> None:
        announcer = Announcer(on_change)
        while True:
            wait_s = self._interval_s
            try:
                answer = await asyncio.to_thread(self._resolve, self._host)
            except OSError as error:
                self._say(f"{self._host} cannot be resolved: {error.strerror or error}")
            else:
                announcer.tell(self._found(answer.targets))
                self._say("")
                if answer.lives_s is not None:
                    wait_s = min(wait_s, max(FASTEST_S, answer.lives_s))
            await asyncio.sleep(wait_s)

    def _found(self, targets: Sequence[tuple[str, int]]) -> list[Found]:
        urls = [url_of(self._scheme, host, port or self._port) for host, port in targets]
        return [Found(name_of(self._name, url), url, {"host": self._host}) for url in urls]

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("engines of %s: %s; what was known stays", self._name, problem)
        self.problem = problem


def addresses(host: str) -> Answer:
    """A and AAAA records, as the system resolves them: hosts file, search domains and all. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return Answer(tuple(dict.fromkeys((str(address[0]), 0) for *_, address in found)))
