"""Runs a contract against a server, as often as it asks for."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Sequence

import msgspec

from penstock.bench.client.crew import Crew
from penstock.bench.client.probe import Probe, fingerprint
from penstock.bench.client.run import Progress, Runner
from penstock.bench.client.settings import Patience, Server
from penstock.bench.client.traces import opened
from penstock.bench.contract.contract import Contract, RunSet
from penstock.bench.meters import meters
from penstock.bench.sample import Run
from penstock.bench.traffic.plan import Planner
from penstock.bench.traffic.prompts import Prompts
from penstock.bench.traffic.workload import Kind
from penstock.bench.watch import Watch
from penstock.core.clock import monotonic, wall
from penstock.core.errors import ConfigError, PenstockError
from penstock.core.tasks import Tasks


class Beside(msgspec.Struct, frozen=True):
    """What is watched during a run."""

    metrics: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()


class Session:
    """One contract, one server."""

    def __init__(
        self, contract: Contract, server: Server, *, processes: int, patience: Patience, beside: Beside,
        labels: dict[str, str], tell: Callable[[Progress], None],
    ) -> None:  # fmt: skip
        require_keys(contract.workload.kinds, server)
        stages, self._traces = opened(contract.workload.stages)
        workload = msgspec.structs.replace(contract.workload, stages=stages)
        self._contract = msgspec.structs.replace(contract, workload=workload)
        self._server = server
        self._processes = processes
        self._patience = patience
        self._beside = beside
        self._tell = tell
        self._probe = Probe(server)
        try:
            self._model, self._prompts = model_and_prompts(contract, self._probe)
            self.fingerprint = fingerprint(server, self._probe, self._model, labels)
        except PenstockError:
            self.close()
            raise
        self._runner: Runner | None = None
        self.stopped = False
        """No run begins any more."""
        self._meters = meters() if server.local else []

    def close(self) -> None:
        """Lets go of the connection by which the server counts tokens."""
        self._probe.close()

    def stop(self) -> None:
        """Ends the run under way, and those that come; what it measured is kept."""
        self.stopped = True
        if self._runner is not None:
            self._runner.stop()

    def empty(self) -> RunSet:
        """A set without runs."""
        made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return RunSet(self._contract, self.fingerprint, [], made)

    async def run(self, number: int) -> Run:
        """One run. The seed differs from run to run, so that no cache of the server's knows a prompt from the run
        before; the same number gives the same bytes again."""
        workload = msgspec.structs.replace(self._contract.workload, seed=self._contract.workload.seed + number)
        planner = Planner(workload, self._model, self._prompts, self._traces)
        began, began_at = monotonic(), wall()
        watch, tasks = Watch(began, self._beside.metrics, self._beside.pids, self._meters), Tasks()
        async with Crew(self._processes) as crew:
            self._runner = Runner(crew, self._server, self._patience, self._tell, began)
            if self.stopped:
                self._runner.stop()
            tasks.spawn(watch.run())
            try:
                await self._runner.warm(planner.warmup())
                done = await self._runner.run(planner.stages(), len(workload.stages), workload.gap)
            finally:
                await tasks.cancel()
                watch.meter()  # so that its readings reach to the end
        notes = [] if self._prompts.counted else ["The server has no /tokenize: prompts are as many words as tokens."]
        notes += done.notes
        return Run(
            self._contract.name, began_at, workload.seed, msgspec.to_builtins(workload), self.fingerprint,
            done.stages, done.client, done.samples, watch.series, notes,
            stopped=done.stopped,
        )  # fmt: skip


def require_keys(kinds: Sequence[Kind], server: Server) -> None:
    """That tenants are told apart where keys are given at all. Raises ConfigError."""
    for number, kind in enumerate(kinds):
        if server.keys and kind.tenant and not server.own_key(kind.tenant):
            raise ConfigError(
                f"workload.kinds[{number}].tenant: there is no key for {kind.tenant!r}; give one with "
                f"--key {kind.tenant}=VARIABLE"
            )


def model_and_prompts(contract: Contract, probe: Probe) -> tuple[str, Prompts]:
    """The model that is meant, and prompts as long as the server counts. Raises ConfigError or NoServer."""
    served = probe.models()
    wanted = contract.workload.model
    if wanted and served and wanted not in served:
        raise ConfigError(f"workload.model: the server does not list {wanted!r}; it has {', '.join(served)}")
    if not wanted and not served:
        raise ConfigError("workload.model: the server lists no model; name one")
    for number, kind in enumerate(contract.workload.kinds):
        if kind.model and served and kind.model not in served:
            raise ConfigError(
                f"workload.kinds[{number}].model: the server does not list {kind.model!r}; it has {', '.join(served)}"
            )
    model = wanted or served[0]
    return model, Prompts(probe.counter(model))


def _never(_sets: Sequence[RunSet]) -> bool:
    return False


async def in_turn(
    sessions: Sequence[Session],
    runs: int,
    told: Callable[[int, int, Run], None],
    first: int = 0,
    enough: Callable[[Sequence[RunSet]], bool] = _never,
) -> list[RunSet]:
    """`runs` of each, one after the other and again (ABAB...), so that what changes slowly changes for all. `first`:
    number of the first run, which its prompts depend on. `enough`: asked when each has one more, ends it.

    After `Session.stop` the sets are what there is: they may be empty, and are `stopped`. Of several servers only whole
    rounds are in them."""
    sets = [session.empty() for session in sessions]
    for number in range(first, first + runs):
        made: list[Run] = []
        for which, session in enumerate(sessions):
            if session.stopped:
                break
            made.append(await session.run(number))
            told(which, number, made[-1])
            await asyncio.sleep(0)
        if _worth_keeping(made, len(sessions)):
            for each, run in zip(sets, made, strict=True):
                each.runs.append(run)
        if any(session.stopped for session in sessions) or enough(sets):
            break
    for each in sets:
        whole = sum(not run.stopped for run in each.runs)
        each.stopped = whole < runs and any(session.stopped for session in sessions)
    return sets


def _worth_keeping(made: Sequence[Run], servers: int) -> bool:
    """Whether a round is: whole, or all that the only server has told."""
    if servers == 1:
        return bool(made) and (not made[0].stopped or bool(made[0].samples))
    return len(made) == servers and not any(run.stopped for run in made)
