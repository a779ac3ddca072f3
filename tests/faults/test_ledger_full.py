"""The disk of the ledger is full: what was chosen for it happens, and it ends when there is room again."""

import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.gateway.billing import Billing
from penstock.state.ledger.entries import Closed, Opened
from penstock.state.ledger.journal import Journal
from tests.faults.upstream import Upstream
from tests.faults.world import CHAT, Gateway, gateway
from tests.state.ledger.entries import everything

pytestmark = pytest.mark.anyio
SEGMENT_BYTES = 64 * 1024


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow to a journal's size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SEGMENT_BYTES - 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
async def engine() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def ask(gate: Gateway) -> tuple[int, str]:
    """Status, and the code of an error."""
    async with gate.http() as http:
        answer = await http.post("/v1/chat/completions", json=CHAT)
        return answer.status_code, answer.json().get("error", {}).get("code", "")


async def test_requests_are_refused_until_they_can_be_written_down(tmp_path: Path, engine: Upstream) -> None:
    with full_disk():
        billing = Billing(Journal(tmp_path, SEGMENT_BYTES), refuse=True)
    async with gateway(engine, billing=billing) as gate:
        with full_disk():
            assert await ask(gate) == (503, "ledger_full")
            gate.app.sweep(0.0)
            assert await ask(gate) == (503, "ledger_full")
        assert not engine.calls
        gate.app.sweep(0.0)
        assert await ask(gate) == (200, "")
        assert gate.counted("ledger") == [0]
    billing.shut()
    ((opened, closed),) = everything(tmp_path).values()
    assert isinstance(opened, Opened)
    assert isinstance(closed, Closed)
    assert (closed.outcome, closed.input, closed.output) == ("success", 3, 2)


async def test_or_they_are_answered_and_what_was_not_written_is_counted(tmp_path: Path, engine: Upstream) -> None:
    with full_disk():
        billing = Billing(Journal(tmp_path, SEGMENT_BYTES), refuse=False)
    async with gateway(engine, billing=billing) as gate:
        with full_disk():
            assert [await ask(gate) for _ in range(3)] == [(200, "")] * 3
            assert gate.counted("ledger") == [6], "each was opened and closed"
        gate.app.sweep(0.0)
        assert await ask(gate) == (200, "")
        assert gate.counted("ledger") == [6]
    billing.shut()
    (entries,) = everything(tmp_path).values()
    assert len(entries) == 2
