"""What the durable queue counts, and how it shows it to Prometheus."""

from penstock.state.queue.broker import Depth
from penstock.telemetry.durable import DURABLE, DURABLE_ANSWERS, DURABLE_EVENTS
from penstock.telemetry.exposition import render


class Counts:
    """Of one process. Events by name, answers by status."""

    def __init__(self) -> None:
        self._events: dict[str, float] = {}
        self._answers: dict[str, float] = {}

    def add(self, event: str) -> None:
        """One of `accepted`, `refused`, `cancelled`, `started`, `given_back`, `redelivered`, `lost`, `failed`."""
        self._events[event] = self._events.get(event, 0) + 1

    def answered(self, status: int) -> None:
        self._answers[str(status)] = self._answers.get(str(status), 0) + 1

    def of(self, event: str) -> float:
        return self._events.get(event, 0)

    def exposition(self, depth: Depth | None, now: float, running: int, window: int) -> bytes:
        """Prometheus text. Without a depth, because the broker is away, its gauges are left out."""
        nan = float("nan")
        waiting = nan if depth is None else float(depth.waiting)
        held = nan if depth is None else float(depth.held)
        oldest = nan if depth is None else max(0.0, now - depth.oldest) if depth.oldest else 0.0
        rows: dict[tuple[str, tuple[str, ...]], list[float]] = {
            (DURABLE.name, ()): [waiting, held, oldest, float(running), float(window)]
        }
        rows |= {(DURABLE_EVENTS.name, (event,)): [count] for event, count in self._events.items()}
        rows |= {(DURABLE_ANSWERS.name, (status,)): [count] for status, count in self._answers.items()}
        return render((DURABLE, DURABLE_EVENTS, DURABLE_ANSWERS), rows)
