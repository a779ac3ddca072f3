"""Workload -> requests. Same workload, same traces, same counter of tokens: same bytes, same due times."""

import json
from bisect import bisect
from collections.abc import Iterator, Mapping
from itertools import accumulate
from random import Random

import msgspec

from penstock.bench.sample import Planned
from penstock.bench.traffic.arrivals import arrivals
from penstock.bench.traffic.blocks import Blocks
from penstock.bench.traffic.documents import Documents
from penstock.bench.traffic.prompts import Prompts, popularity
from penstock.bench.traffic.replay import Cut, cut, said
from penstock.bench.traffic.traces.trace import Trace
from penstock.bench.traffic.workload import Closed, Kind, Open, Replay, Stage, Workload

PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


class StagePlan(msgspec.Struct):
    """One stage: what to send. `due` counts from the beginning of the stage."""

    stage: Stage
    requests: list[Planned]
    seconds: float = 0.0
    """That the timetable covers."""
    notes: list[str] = []

    @property
    def places(self) -> int:
        """Clients of a closed loop; 0: requests have a timetable."""
        match self.stage:
            case Closed(concurrency=clients):
                return clients
            case _:
                return 0


class Planner:
    """Makes the plan of a workload. `traces`: by number of the stage that replays them. Raises CannotCount where
    prompts cannot be made as long as is asked for."""

    def __init__(
        self, workload: Workload, model: str, prompts: Prompts, traces: Mapping[int, Trace] | None = None
    ) -> None:
        self._workload = workload
        self._model = workload.model or model
        self._prompts = prompts
        self._traces = traces or {}
        self._weights = list(accumulate(kind.weight for kind in workload.kinds))
        self._named = {kind.name: kind for kind in workload.kinds}
        self._prefixes: dict[tuple[str, int], str] = {}
        self._documents = Documents(prompts, workload.seed)
        self._marks = 0

    def warmup(self) -> list[Planned]:
        """Requests that are not counted, one after the other; of prompts that nothing else repeats."""
        rng = Random(f"{self._workload.seed} warmup")
        return list(self._some(self._workload.warmup, rng))

    def stages(self) -> Iterator[StagePlan]:
        """Stage by stage: the first can be sent while the next is made."""
        for number, stage in enumerate(self._workload.stages):
            rng = Random(f"{self._workload.seed} {number}")
            match stage:
                case Closed():
                    yield StagePlan(stage, list(self._some(stage.requests, rng)))
                case Open():
                    moments = list(arrivals(stage.arrivals, stage.seconds, stage.cv, rng))
                    planned = list(self._some(len(moments), rng))
                    for request, due in zip(planned, moments, strict=True):
                        request.due = due
                    yield StagePlan(stage, planned, seconds=stage.seconds)
                case Replay():
                    yield self._replay(stage, self._traces[number], rng)

    def _some(self, count: int, rng: Random) -> Iterator[Planned]:
        for _ in range(count):
            kind = self._kind(rng)
            self._marks += 1
            given, wanted = kind.input.draw(rng), kind.output.draw(rng)
            text, given = self._text(kind, given, rng)
            yield self._request(kind, text, (given, wanted), rng)

    def _kind(self, rng: Random) -> Kind:
        return self._workload.kinds[bisect(self._weights, rng.random() * self._weights[-1])]

    def _replay(self, stage: Replay, trace: Trace, rng: Random) -> StagePlan:
        blocks = Blocks(self._prompts, self._workload.seed, stage.block)
        planned: list[Planned] = []
        found = Cut()
        for row in trace.rows:
            kind = self._named.get(row.model) or self._kind(rng)
            self._marks += 1
            given, wanted = cut(row, stage, found)
            if row.blocks:
                text = blocks.text(row.blocks, given, rng, self._marks)
            else:
                asked = given
                text, given = self._text(kind, given, rng)
                found.lengthened += given > asked
            request = self._request(kind, text, (given, wanted), rng)
            request.due = row.at / stage.speed
            request.tenant = kind.tenant or row.tenant
            planned.append(request)
        return StagePlan(stage, planned, planned[-1].due or 0.0, said(stage, trace, found))

    def _text(self, kind: Kind, given: int, rng: Random) -> tuple[str, int]:
        """(prompt, its tokens): longer than `given` where what is shared would leave no room."""
        parts = [self._prefix(kind, rng), *self._documents.texts(kind.name, kind.context, rng)]
        beginning = " ".join(filter(None, parts))
        if not beginning:
            return self._prompts.text(given, rng, self._marks), given
        given = max(given, kind.prefix.tokens + kind.context.tokens + 1)
        return self._prompts.extend(beginning, given, rng, self._marks), given

    def _request(self, kind: Kind, text: str, tokens: tuple[int, int], rng: Random) -> Planned:
        given, wanted = tokens
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
