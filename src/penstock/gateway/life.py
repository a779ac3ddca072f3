"""Runs the life of a request without a Task.

Most lives wait once, for the answer. A Task would cost two extra trips through the event loop and context machinery
that nothing here uses: a life is never cancelled, its waits are ended from outside.
"""

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Wait(Generic[T]):
    """What a life awaits: a result that somebody sets once. The life goes on inside `set`."""

    __slots__ = ("_done", "_result", "_resume")

    def __init__(self) -> None:
        self._done = False
        self._result: T | None = None
        self._resume: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        return self._done

    def set(self, result: T) -> None:
        """Sets the result; later calls change nothing."""
        if not self._done:
            self._done = True
            self._result = result
            if self._resume is not None:
                self._resume()

    def then(self, resume: Callable[[], None]) -> None:
        self._resume = resume

    def __await__(self) -> Generator["Wait[T]", None, T]:
        if not self._done:
            yield self
        return self._result  # type: ignore[return-value]  # set before the life goes on


class Life:
    """Drives a coroutine that awaits only `Wait`s. The coroutine must not raise."""

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Wait[Any], None, None]) -> None:
        self._coroutine = coroutine
        self._step()

    def _step(self) -> None:
        try:
            self._coroutine.send(None).then(self._step)
        except StopIteration:
            return
