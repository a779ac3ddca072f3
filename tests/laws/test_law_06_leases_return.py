"""Law 6. Leases return: after the last request ends, everything in flight is zero."""

import pytest
from hypothesis import given, settings

from penstock.core.clock import monotonic
from penstock.telemetry.catalogue import ENGINE_LOAD, PROCESS
from penstock.telemetry.meter import CONNECTIONS, IN_FLIGHT
from tests.gateway.fuzzing import QUICK, in_one_world
from tests.gateway.world import World
from tests.laws.traffic import TRAFFIC, Play, Stage, perform


def gauges(world: World) -> dict[str, float]:
    """The gauges as the supervisor would read them."""
    shown = {}
    for sheet, labels, row in world.series.rows():
        if sheet.name == ENGINE_LOAD.name:
            shown[labels[0]] = row[0]
        elif sheet.name == PROCESS.name:
            shown |= {"requests": row[IN_FLIGHT], "connections": row[CONNECTIONS]}
    return shown


@pytest.mark.timeout(120)
def test_nothing_stays_in_flight_after_the_last_request() -> None:
    def body(play) -> None:  # type: ignore[no-untyped-def]
        @settings(QUICK, max_examples=100)
        @given(plays=TRAFFIC)
        def example(plays: list[Play]) -> None:
            async def run(world: World) -> None:
                stage = Stage()
                for engine in world.engines:
                    engine.script = stage.script
                await perform(world, plays)
                await world.quiet()
                await world.until(lambda: not world.app.connections and not any(gauges(world).values()))
                await world.until(lambda: set(gauges(world)) >= {"engine1", "engine2", "requests", "connections"})

            play(run)

        example()

    options = {"timeouts": {"first_byte": 0.05, "stall": 0.05, "body": 0.3}}
    in_one_world(lambda: World(engines=2, **options), body)


@pytest.mark.anyio
async def test_leases_are_seen_while_they_are_held_and_return_when_an_engine_leaves_the_fleet() -> None:
    async with World(engines=1, timeouts={"first_byte": 5.0}) as world:
        world.engine.script = lambda seen, wire: wire.gone()
        client = await world.client()
        from_client = b"POST /v1/a HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\n{}"
        await client.send(from_client)
        await world.until(lambda: gauges(world).get("engine1") == 1)
        world.app.fleet.update((), monotonic())
        client.leave()
        await world.quiet()
        await world.until(lambda: not any(gauges(world).values()))
