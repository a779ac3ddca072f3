"""The timeline's feed lives as long as the listener, however late it comes."""

import time

import anyio
import pytest

from penstock.gateway.admin import app
from penstock.gateway.admin.state import Totals
from penstock.gateway.admin.timeline import Timeline
from tests.gateway.admin.conftest import FakeState


class Slow(FakeState):
    """A reading that takes longer than the time between two."""

    def totals(self) -> Totals:
        time.sleep(3 * app.TICK_S)
        return super().totals()


@pytest.mark.anyio
async def test_readings_that_come_too_late_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "TICK_S", 0.001)
    state = Slow()
    async with anyio.create_task_group() as group:
        group.start_soon(app.feed, Timeline(), state)
        with anyio.fail_after(10):
            while state.seconds < 50:  # noqa: ASYNC110 - the fake has no event
                await anyio.sleep(0.001)
        group.cancel_scope.cancel()
