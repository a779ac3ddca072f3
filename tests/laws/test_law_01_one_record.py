"""Law 1. Every accepted request ends exactly once, with one Record and one outcome."""

from collections import Counter

import pytest
from hypothesis import given, settings

from penstock.core.clock import monotonic
from penstock.core.record import Outcome
from penstock.telemetry.catalogue import REQUESTS
from tests.gateway.fuzzing import QUICK, in_one_world
from tests.gateway.world import World
from tests.laws.traffic import TRAFFIC, Play, Stage, perform

HASTY = {"timeouts": {"first_byte": 0.05, "stall": 0.05, "body": 0.3}}


@pytest.mark.timeout(120)
def test_every_request_has_one_record_and_one_outcome() -> None:
    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=120)
        @given(plays=TRAFFIC)
        def example(plays: list[Play]) -> None:
            async def run(world: World) -> None:
                stage = Stage()
                for engine in world.engines:
                    engine.script = stage.script
                before = len(world.records)
                counted = total(world)
                seats = await perform(world, plays)
                await world.quiet()
                await world.until(lambda: not world.app.connections)
                records = world.records[before:]
                assert all(isinstance(record.outcome, Outcome) for record in records)
                by_id = Counter(record.id for record in records)
                assert max(by_id.values(), default=1) == 1, "a second Record"
                assert stage.attempts.keys() <= by_id.keys(), "an engine worked for a request without a Record"
                found = {record.id: record for record in records}
                for seat in seats:
                    for number, (status, _) in seat.answered.items():
                        assert found[number].status == status
                    if seat.play.client == "stay" and not seat.broken:
                        assert set(seat.ids) == seat.answered.keys() <= by_id.keys()
                for number, deeds in stage.attempts.items():
                    assert len(found[number].attempts) >= len(deeds), "every try is in the Record"
                assert total(world) == counted + len(records), "the metrics count what the Records tell"

            play(run)

        example()

    in_one_world(lambda: World(engines=2, **HASTY), body)


def total(world: World) -> float:
    """Requests counted, as the supervisor reads them after a sweep."""
    world.app.sweep(monotonic())
    return sum(row[0] for sheet, _, row in world.series.rows() if sheet.name == REQUESTS.name)
