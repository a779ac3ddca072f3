"""Keeps one vLLM alive."""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.core.clock import monotonic
from penstock.core.errors import ConfigError, ModelError
from penstock.engines.process.probe import Probe
from penstock.engines.process.status import Patience
from penstock.engines.process.supervise import Hopeless, OnChange, Supervised
from penstock.engines.vllm import installed
from penstock.engines.vllm.child import VllmChild
from penstock.engines.vllm.drain import unfinished
from penstock.engines.vllm.events import with_events
from penstock.engines.vllm.flags import command_line, lora_enabled
from penstock.engines.vllm.settings import VllmSettings

PATIENCE = Patience(probe_interval_s=5.0, probe_timeout_s=10.0)
"""Starting takes a minute or more, so a busy vLLM is given longer before it counts as hung than llama.cpp is."""
DRAIN_INTERVAL_S = 0.1


class VllmProcess(Supervised[VllmChild]):
    """One managed vLLM. `run` until cancelled, or `start` and later `stop`."""

    noun = "vLLM"

    def __init__(
        self,
        settings: VllmSettings,
        on_change: OnChange,
        environ: Mapping[str, str],
        cache: Path | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        """`cache`: the folder that keeps what an installed version answered; None asks it at every first start."""
        super().__init__(
            settings.name,
            settings.startup_timeout_s,
            on_change,
            msgspec.structs.replace(patience, stop_timeout_s=settings.stop_timeout_s),
        )
        self._settings = settings
        self._environ = environment(settings, environ)
        self._cache = cache
        self._installed: installed.Installed | None = None
        self._port = 0

    async def spawn(self) -> VllmChild:
        # Another free port each time: the last one may have been taken meanwhile.
        self._port = free_port()
        try:
            if self._installed is None:
                self._installed = await installed.find(self._settings.executable, self._environ, self._cache)
            settings, addresses = with_events(self._settings, self._installed.flags)
            arguments = command_line(settings, self._port, self._installed.flags)
        except ConfigError as error:
            raise Hopeless(str(error)) from error
        self._change(self._status.state, version=self._installed.version, **addresses)
        command = [self._installed.executable, *arguments]
        return await VllmChild.spawn(command, self._settings.stop_timeout_s, self._environ, self._log_line)

    async def begin(self, child: VllmChild) -> str:
        await child.started()
        return f"http://127.0.0.1:{self._port}"

    async def greet(self, probe: Probe) -> dict[str, bytes]:
        models = await probe.models()
        if self._settings.alias not in models:
            raise ModelError(f"vLLM does not list {self._settings.alias!r} among its models: {', '.join(models)}")
        await probe.warm_up(self._settings.alias)
        return models

    def gave_up(self, child: VllmChild) -> ModelError | Hopeless:
        return Hopeless(child.epitaph()) if child.misunderstood else ModelError(child.epitaph())

    async def drain(self, probe: Probe) -> None:
        """Until it has no request left, or `drain_timeout_s` have passed. A vLLM that does not tell gets them all."""
        deadline = monotonic() + self._settings.drain_timeout_s
        while (now := monotonic()) < deadline and unfinished(await probe.metrics(), now) != 0:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_INTERVAL_S)


def environment(settings: VllmSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables vLLM starts with. It reports no usage unless the user says so."""
    ours = {"VLLM_NO_USAGE_STATS": "1"}
    if lora_enabled(settings) and settings.runtime_adapters:
        ours["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    return {**ours, **environ, **settings.environment}


def free_port() -> int:
    """A port that nothing listens on now. vLLM cannot be asked which one it took, so it is told one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
