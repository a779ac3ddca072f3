"""A fleet that is not there, small enough to see whole."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from starlette.testclient import TestClient

from penstock.gateway.admin.app import create_admin
from penstock.gateway.admin.settings import AdminSettings
from penstock.gateway.admin.state import Buckets, Costs, Fairness, Limits, Totals


class FakeState:
    """Answers from its attributes; `broken` makes every answer raise it."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.broken: Exception | None = None
        self.asked_limits: list[int] = []
        self.asked_types: list[int] = []
        self.kept_limits: Limits | None = None
        self.kept_costs: Costs | None = None
        self.kept_fairness: Fairness | None = None
        self.asked_costs: list[tuple[str, int]] = []
        self.seconds = 0

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken

    async def metrics(self) -> bytes:
        self._check()
        return b"penstock_requests_total 3\n"

    def ready(self) -> tuple[bool, list[str]]:
        self._check()
        return not self.reasons, self.reasons

    def engines(self) -> list[dict[str, object]]:
        self._check()
        return [{"name": "local", "state": "ready", "models": ["tiny"], "last_error": None}]

    async def requests(self, limit: int) -> list[dict[str, object]]:
        self._check()
        self.asked_limits.append(limit)
        return [{"id": f"r{index}", "ttft_s": float("nan")} for index in range(min(limit, 3))]

    async def why(self, request_id: str) -> dict[str, object] | None:
        self._check()
        return {"id": request_id, "decisions": []} if request_id == "r0" else None

    async def health(self) -> list[dict[str, object]]:
        self._check()
        return [{"local": {"weight": 1.0, "breaker": "closed"}}]

    async def memory(self, types: int) -> list[dict[str, object]]:
        self._check()
        self.asked_types.append(types)
        return [{"worker": 7, "types": []}]

    async def live(self) -> list[dict[str, object]]:
        self._check()
        return [{"id": "r9", "age_s": 1.5}]

    def limits(self) -> Limits | None:
        self._check()
        return self.kept_limits

    async def costs(self, by: str, days: int) -> Costs | None:
        self._check()
        self.asked_costs.append((by, days))
        return self.kept_costs

    async def fairness(self) -> Fairness | None:
        self._check()
        return self.kept_fairness

    def totals(self) -> Totals:
        self._check()
        self.seconds += 1
        n = self.seconds
        return Totals(
            requests=n,
            errors=0,
            events=10 * n,
            input_tokens=n,
            output_tokens=n,
            in_flight=2,
            connections=2,
            ttft=Buckets((0.1, 0.2), (0, n, 0)),
            itl=Buckets((0.01,), (n, 0)),
        )

    def about(self) -> dict[str, object]:
        self._check()
        return {"version": "0.1.0", "api": "http://127.0.0.1:8080", "open": True}


type_of_connect = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture
def state() -> FakeState:
    return FakeState()


@pytest.fixture
def connect(state: FakeState) -> type_of_connect:
    @contextmanager
    def _connect(base: str = "http://127.0.0.1:8081", **settings: str) -> Iterator[TestClient]:
        with TestClient(create_admin(state, AdminSettings(**settings)), base_url=base) as client:
            yield client

    return _connect


@pytest.fixture
def client(connect: type_of_connect) -> Iterator[TestClient]:
    with connect() as client:
        yield client
