"""From an entry of the config to the engines it stands for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from penstock.config.engines import Engine, Http, LlamaCpp
from penstock.gateway.embedded import LlamaCppMember
from penstock.gateway.fleet import Group, HttpMember


class Surroundings(NamedTuple):
    """What a group may need besides its settings."""

    on_change: Callable[[], None]
    environ: Mapping[str, str]
    model_paths: Mapping[str, Path]
    """Engine name -> model file, for engines that run their model here."""
    load_interval_s: float


def _http(settings: Http, around: Surroundings) -> Group:
    return HttpMember(settings.name, settings.url, settings, around.on_change, around.load_interval_s)


def _llamacpp(settings: LlamaCpp, around: Surroundings) -> Group:
    path = around.model_paths[settings.name]
    return LlamaCppMember(settings, path, around.on_change, around.environ, around.load_interval_s)


OPENERS: Mapping[type, Callable[[Any, Surroundings], Group]] = {Http: _http, LlamaCpp: _llamacpp}


def open_group(settings: Engine, around: Surroundings) -> Group:
    """The group of one config entry; `run` brings it to life."""
    return OPENERS[type(settings)](settings, around)
