"""Keeps one llama.cpp child alive."""

import os
from collections.abc import Mapping

from penstock.core.errors import ModelError
from penstock.engines.llamacpp.settings import Launch, LlamaCppSettings
from penstock.engines.llamacpp.spawn import LlamaCppChild
from penstock.engines.process.probe import Probe
from penstock.engines.process.status import Patience
from penstock.engines.process.supervise import Hopeless, OnChange, Supervised


class LlamaCppProcess(Supervised[LlamaCppChild]):
    """One embedded engine. `run` until cancelled, or `start` and later `stop`."""

    noun = "llama.cpp"

    def __init__(
        self,
        settings: LlamaCppSettings,
        on_change: OnChange,
        environ: Mapping[str, str],
        cores: int,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(settings.name, settings.startup_timeout_s, on_change, patience or Patience())
        self._settings = settings
        self._environ = environ
        self._cores = cores

    async def spawn(self) -> LlamaCppChild:
        launch = Launch(self._settings, self._cores)
        return await LlamaCppChild.spawn(launch, os.getpid(), self._environ, self._log_line)

    async def begin(self, child: LlamaCppChild) -> str:
        hello = await child.hello()
        if hello.fatal:
            raise Hopeless(hello.error)
        if not hello.ready:
            raise ModelError(hello.error)
        return hello.address

    async def greet(self, probe: Probe) -> dict[str, bytes]:
        await probe.warm_up(self._settings.alias)
        return await probe.models()
