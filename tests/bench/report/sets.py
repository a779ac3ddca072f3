"""Sets of runs with several stages and classes, failures and engine series, made up for reports."""

import msgspec

from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.measure.figures import Slo
from penstock.bench.sample import Ending, Run, Sample, Series, Stage
from penstock.bench.traffic.arrivals import Constant
from penstock.bench.traffic.lengths import Fixed
from penstock.bench.traffic.workload import Closed, Kind, Open, Workload
from tests.bench.samples import run

KINDS = (Kind("short", Fixed(10), Fixed(5)), Kind("long", Fixed(10), Fixed(9)))
STAGES = (Closed(1, 60), Closed(4, 60), Open(Constant(2.0), 30.0))
CONTRACT = Contract("made-up", Workload(KINDS, STAGES, "tiny"), slo=Slo(ttft=0.12, tpot=0.05, share=0.9))


def staged(seed: int, slower: float = 1.0) -> Run:
    """Three stages, each slower than the one before; each fifth request of the last fails."""
    whole = run(seed, slower)
    samples: list[Sample] = []
    stages: list[Stage] = []
    begin = 0.0
    for number, stage in enumerate(STAGES):
        own = run(seed + number, slower * (1 + number)).samples
        for each in own:
            for name in ("due", "sent", "first", "last", "ended"):
                setattr(each, name, getattr(each, name) + begin)
            each.stage, each.kind = number, ("short", "long")[each.index % 2]
            if number == 2 and each.index % 5 == 0:
                each.ending, each.status, each.error = Ending.STATUS, 503, "overloaded"
        end = max(each.ended for each in own)
        places = stage.concurrency if isinstance(stage, Closed) else 0
        stages.append(Stage(stage.label, begin, end, places, 0.0 if places else 2.0))
        samples += own
        begin = end + 1
    times = [0.0, begin / 2, begin - 1]
    series = [
        Series("kv_utilisation", "engine-a", "share", times, [0.1, 0.5, 0.9]),
        Series("waiting", "engine-a", "requests", times, [0.0, 1.0, 5.0]),
        Series("running", "engine-a", "requests", times, [1.0, 4.0, 4.0]),
    ]
    return msgspec.structs.replace(whole, stages=stages, samples=samples, series=series)


def set_of(seed: int, count: int = 1, slower: float = 1.0) -> RunSet:
    fingerprint = {"client.cpu": "test", "server.model": "tiny", "engine.flags": "--fast"}
    return RunSet(CONTRACT, fingerprint, [staged(100 * seed + each, slower) for each in range(count)], "2026-11-27")
