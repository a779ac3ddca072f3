"""Contract -> a file for Locust. Pure but for reading the file beside it."""

import base64
import json
import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path

from penstock.bench.sample import Planned
from penstock.bench.traffic.plan import Planner
from penstock.bench.traffic.workload import Closed, Replay, Workload
from penstock.core.errors import ConfigError

TEMPLATE = Path(__file__).with_name("locustfile.py")
PLACE = 'PLAN = ""\n'


def locustfile(planner: Planner, workload: Workload, url: str) -> str:
    """The text of a file that `locust -f` runs. Raises ConfigError for what it cannot send as `bench run` does."""
    check(workload)
    warmup = _requests(planner.warmup())
    stages = [
        {"label": plan.stage.label, "concurrency": plan.stage.concurrency, "requests": _requests(plan.requests)}
        for plan in planner.stages()
        if isinstance(plan.stage, Closed)
    ]
    plan = json.dumps({"url": url, "gap": workload.gap, "warmup": warmup, "stages": stages}, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(plan.encode(), 9)).decode()
    lines = "\n".join(textwrap.wrap(packed, 116))
    return TEMPLATE.read_text().replace(PLACE, f'PLAN = """\n{lines}\n"""\n', 1)


def check(workload: Workload) -> None:
    """Raises ConfigError that names the field."""
    if not any(isinstance(stage, Closed) for stage in workload.stages):
        raise ConfigError("workload.stages: none is a closed loop, and Locust has no other; add {loop: closed, ...}")
    for number, stage in enumerate(workload.stages):
        if isinstance(stage, Replay):
            raise ConfigError(f"workload.stages[{number}].loop: Locust's file replays no trace; leave {stage.file} out")
    if not workload.stream:
        raise ConfigError("workload.stream: false gives no first token for Locust to tell; set it to true")
    for number, kind in enumerate(workload.kinds):
        for field, value, least in (("turns", kind.turns, 1), ("cancel_share", kind.cancel_share, 0)):
            if value > least:
                raise ConfigError(
                    f"workload.kinds[{number}].{field}: {value} cannot be sent by Locust's file; set it to {least}"
                )
        if kind.tenant:
            raise ConfigError(
                f"workload.kinds[{number}].tenant: Locust's file sends one key, not {kind.tenant!r}'s; leave it out"
            )


def _requests(planned: Sequence[Planned]) -> list[tuple[str, str]]:
    return [(each.path, each.body.decode()) for each in planned]
