"""A llama.cpp child as a member of the fleet."""

from collections.abc import Callable
from pathlib import Path

from penstock.config.schema import LlamaCpp
from penstock.core.endpoint import Endpoint, EngineState


class LlamaCppMember:
    def __init__(self, settings: LlamaCpp, model_path: Path, on_change: Callable[[], None]) -> None:
        self.name = settings.name

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.name, "llamacpp", EngineState.FAILED)

    def describe(self) -> dict[str, object]:
        return {}

    async def run(self) -> None: ...
