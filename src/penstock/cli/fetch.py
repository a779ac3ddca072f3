"""The models that a config needs, fetched before its engines start."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from penstock.config.schema import Config, LlamaCpp
from penstock.engines.models.progress import Progress
from penstock.engines.models.store import Store

Draw = Callable[[str], AbstractContextManager[Progress]]
"""Model name -> something that draws its download."""


def store() -> Store:
    """The cache of this user's environment."""
    return Store(os.environ)


def fetch(config: Config, draw: Draw) -> dict[str, Path]:
    """Engine name -> model file, for every engine that runs its model here. Raises ConfigError, ModelError."""
    paths: dict[str, Path] = {}
    for engine in config.engines:
        if isinstance(engine, LlamaCpp):
            with draw(engine.alias or engine.name) as progress:
                paths[engine.name] = store().pull(engine.model, progress)
    return paths
