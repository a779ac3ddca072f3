"""The models that a config needs, fetched before its engines start."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from penstock.config.engines import LlamaCpp
from penstock.config.schema import Config
from penstock.engines.models.known import wanted
from penstock.engines.models.progress import Progress
from penstock.engines.models.sources import sources
from penstock.engines.models.store import Store, cache_folder

Draw = Callable[[str], AbstractContextManager[Progress]]
"""Model name -> something that draws its download."""


def cache() -> Path:
    """The cache folder of this user's environment."""
    return cache_folder(os.environ, Path.home())


def store() -> Store:
    """The models in that folder."""
    return Store(cache(), sources(os.environ))


def fetch(config: Config, draw: Draw) -> dict[str, Path]:
    """Engine name -> model file, for every engine that runs its model here. Raises ConfigError, ModelError."""
    paths: dict[str, Path] = {}
    for index, engine in enumerate(config.engines):
        if isinstance(engine, LlamaCpp):
            name = wanted(engine.model, f"engines.{index}.model").name
            with draw(name) as progress:
                paths[engine.name] = store().pull(engine.model, progress).path
    return paths
