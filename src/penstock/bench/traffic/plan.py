"""Workload -> requests. Same workload, same counter of tokens: same bytes, same due times."""

import json
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from random import Random

import msgspec

from penstock.bench.sample import Planned
from penstock.bench.traffic.arrivals import arrivals
from penstock.bench.traffic.prompts import Prompts, popularity
from penstock.bench.traffic.workload import Closed, Kind, Stage, Workload

PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


class StagePlan(msgspec.Struct):
    """One stage: what to send. `due` counts from the beginning of the stage."""

    stage: Stage
    requests: list[Planned]


class Planner:
    """Makes the plan of a workload. Raises CannotCount where prompts cannot be made as long as is asked for."""

    def __init__(self, workload: Workload, model: str, prompts: Prompts) -> None:
        self._workload = workload
        self._model = workload.model or model
        self._prompts = prompts
        self._weights = list(accumulate(kind.weight for kind in workload.kinds))
        self._prefixes: dict[tuple[str, int], str] = {}
        self._marks = 0

    def warmup(self) -> list[Planned]:
        """Requests that are not counted, one after the other; of prompts that nothing else repeats."""
        rng = Random(f"{self._workload.seed} warmup")
        return list(self._some(self._workload.warmup, rng))

    def stages(self) -> Iterator[StagePlan]:
        """Stage by stage: the first can be sent while the next is made."""
        for number, stage in enumerate(self._workload.stages):
            rng = Random(f"{self._workload.seed} {number}")
            if isinstance(stage, Closed):
                yield StagePlan(stage, list(self._some(stage.requests, rng)))
            else:
                moments = list(arrivals(stage.arrivals, stage.seconds, stage.cv, rng))
                planned = list(self._some(len(moments), rng))
                for request, due in zip(planned, moments, strict=True):
                    request.due = due
                yield StagePlan(stage, planned)

    def _some(self, count: int, rng: Random) -> Iterator[Planned]:
        for _ in range(count):
            kind = self._workload.kinds[bisect(self._weights, rng.random() * self._weights[-1])]
            yield self._request(kind, rng)

    def _request(self, kind: Kind, rng: Random) -> Planned:
        self._marks += 1
        given, wanted = kind.input.draw(rng), kind.output.draw(rng)
        prefix = self._prefix(kind, rng)
        if prefix:
            given = max(given, kind.prefix.tokens + 1)
            text = self._prompts.extend(prefix, given, rng, self._marks)
        else:
            text = self._prompts.text(given, rng, self._marks)
        leaves = kind.cancel_share > 0 and rng.random() < kind.cancel_share
        turns = tuple(self._prompts.text(kind.turn_input, rng, self._marks) for _ in range(kind.turns - 1))
        return Planned(
            None,
            self._body(kind, text, wanted),
            PATHS[self._workload.api],
            kind.model or self._model,
            kind.name,
            kind.tenant,
            session=f"{kind.name}-{self._marks}" if turns else "",
            turns=turns,
            pause_s=kind.pause,
            input_tokens=given,
            output_tokens=wanted,
            cancel_after_s=kind.cancel_after if leaves else 0.0,
        )

    def _prefix(self, kind: Kind, rng: Random) -> str:
        shared = kind.prefix
        if not shared.tokens:
            return ""
        weights = popularity(shared.variants, shared.zipf)
        variant = bisect(weights, rng.random() * weights[-1])
        place = (kind.name, variant)
        if place not in self._prefixes:
            own = Random(f"{self._workload.seed} {kind.name} {variant}")
            self._prefixes[place] = self._prompts.text(shared.tokens, own, variant + 1)
        return self._prefixes[place]

    def _body(self, kind: Kind, text: str, wanted: int) -> bytes:
        workload = self._workload
        body: dict[str, object] = {"model": kind.model or self._model}
        if workload.api == "chat":
            body["messages"] = [{"role": "user", "content": text}]
        else:
            body["prompt"] = text
        body |= {"max_tokens": wanted, "temperature": workload.temperature}
        if workload.exact_output:
            body["ignore_eos"] = True
        if workload.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(body | workload.extra, separators=(",", ":")).encode()
