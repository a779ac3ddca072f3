"""From an entry of the config to the engines it stands for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from penstock.config.engines import Dns, Engine, File, Http, Kubernetes, LlamaCpp, Vllm
from penstock.core.errors import ConfigError
from penstock.engines.discovery.dns import DnsSource, Resolve
from penstock.engines.discovery.file import FileSource
from penstock.engines.discovery.kubernetes import KubernetesSettings, KubernetesSource
from penstock.engines.models.store import cache_folder
from penstock.gateway.fleet import Group, HttpMember
from penstock.gateway.found import FoundGroup
from penstock.gateway.managed import llamacpp_member, vllm_member


class Surroundings(NamedTuple):
    """What a group may need besides its settings."""

    on_change: Callable[[], None]
    environ: Mapping[str, str]
    model_paths: Mapping[str, Path]
    """Engine name -> model file, for engines that run their model here."""
    load_interval_s: float
    kv_events: bool = False
    """Whether engines that are started here publish their KV events."""


def _http(settings: Http, around: Surroundings) -> Group:
    return HttpMember(settings.name, settings.url, settings, around.on_change, around.load_interval_s)


def _llamacpp(settings: LlamaCpp, around: Surroundings) -> Group:
    path = around.model_paths[settings.name]
    return llamacpp_member(settings, path, around.on_change, around.environ, around.load_interval_s)


def _vllm(settings: Vllm, around: Surroundings) -> Group:
    cache = cache_folder(around.environ, Path.home())
    return vllm_member(
        settings, around.on_change, around.environ, cache, around.load_interval_s, kv_events=around.kv_events
    )


def _dns(settings: Dns, around: Surroundings) -> Group:
    resolve = _services(settings) if settings.srv else None
    source = DnsSource(settings.name, settings.host, settings.port, settings.interval, resolve=resolve)
    return FoundGroup(source, settings, around.on_change, around.load_interval_s)


def _services(settings: Dns) -> Resolve:
    """Raises ConfigError without the extra."""
    try:
        # An optional extra: its absence is told to the user, not thrown at them.
        from penstock.engines.discovery.srv import Services  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"engines: {settings.name}.host {settings.host!r} has SRV records, which cannot be read here ({error}); "
            "pip install 'penstock[dns]', or name a host with addresses"
        ) from None
    return Services()


def _file(settings: File, around: Surroundings) -> Group:
    source = FileSource(settings.name, Path(settings.path), settings.interval)
    return FoundGroup(source, settings, around.on_change, around.load_interval_s)


def _kubernetes(settings: Kubernetes, around: Surroundings) -> Group:
    source = KubernetesSource(
        KubernetesSettings(settings.name, settings.service, settings.namespace, settings.port), around.environ
    )
    return FoundGroup(source, settings, around.on_change, around.load_interval_s)


OPENERS: Mapping[type, Callable[[Any, Surroundings], Group]] = {
    Http: _http, LlamaCpp: _llamacpp, Vllm: _vllm, Dns: _dns, File: _file, Kubernetes: _kubernetes,
}  # fmt: skip


def open_group(settings: Engine, around: Surroundings) -> Group:
    """The group of one config entry; `run` brings it to life. Raises ConfigError for one that cannot be here."""
    return OPENERS[type(settings)](settings, around)
