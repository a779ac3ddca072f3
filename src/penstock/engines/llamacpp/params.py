"""LlamaCppSettings -> llama.cpp's CommonParams. The one place that imports xllamacpp."""

import difflib
from typing import Any

import xllamacpp

from penstock.core.errors import ConfigError
from penstock.engines.llamacpp.settings import DEFAULT_CONTEXT_TOKENS, LlamaCppSettings
from penstock.engines.llamacpp.threads import thread_count

OWNED = {
    "model": "model",
    "model_alias": "alias",
    "n_ctx": "context_tokens",
    "n_parallel": "slots",
    "hostnames": "",
    "port": "",
    "api_keys": "",
    "api_prefix": "",
    "ssl_file_cert": "",
    "ssl_file_key": "",
}
"""Parameters that `extra` may not touch -> the setting to use instead, empty when there is none."""

_SCALARS = (bool, int, float, str)


def build(settings: LlamaCppSettings, cores: int, port: int) -> Any:
    """The parameters of the server. Raises ConfigError."""
    params = xllamacpp.CommonParams()
    params.model.path = settings.model_path
    params.model_alias = {settings.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = settings.context_tokens or DEFAULT_CONTEXT_TOKENS
    params.n_parallel = settings.slots
    # One pool of context for all slots: a single long request may use what the others leave.
    params.kv_unified = True
    params.cont_batching = True
    params.cache_prompt = True
    # Prompts that lost their slot wait in RAM instead of being computed again. MiB.
    params.cache_ram_mib = 256
    params.use_jinja = True
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.ui = False
    # Fitting layers to a GPU loads the model twice and has nothing to fit on a CPU.
    params.fit_params = False
    # Mean pooling makes /v1/embeddings work in the same server; generation is not touched by it. Embedding
    # inputs are bounded by n_ubatch (512 tokens), which also bounds how long a prompt stalls other streams.
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_batch = params.n_ubatch
    threads = thread_count(cores, settings.threads)
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    apply_extra(params, settings.extra)
    return params


def serve(params: Any) -> Any:
    """Loads the model and listens; returns once it does. Raises RuntimeError, with the reason on stderr."""
    return xllamacpp.Server(params)


def apply_extra(params: Any, extra: dict[str, str | int | float | bool]) -> None:
    """Sets each attribute by name. Raises ConfigError for an unknown name, with the nearest known one."""
    for name, value in extra.items():
        top = name.partition(".")[0]
        if top in OWNED:
            instead = f"; use `{OWNED[top]}`" if OWNED[top] else ""
            raise ConfigError(f"extra.{name}: Penstock sets this itself{instead}")
        *path, last = name.split(".")
        target = params
        for part in path:
            target = _child(target, part, name)
        _set(target, last, value, name)


def _child(target: Any, part: str, name: str) -> Any:
    known = _names(target)
    if part not in known:
        raise _unknown(name, part, known)
    return getattr(target, part)


def _set(target: Any, last: str, value: str | int | float | bool, name: str) -> None:
    known = _names(target)
    if last not in known:
        raise _unknown(name, last, known)
    current = getattr(target, last)
    numeric = isinstance(current, (int, float)) and not isinstance(current, bool)
    if isinstance(current, bool) and not isinstance(value, bool):
        raise ConfigError(f"extra.{name}: {value!r} does not fit; write true or false")
    if isinstance(value, bool) and numeric:
        raise ConfigError(f"extra.{name}: {value!r} does not fit; write a number")
    if not isinstance(current, _SCALARS) and not isinstance(value, int):
        raise ConfigError(f"extra.{name}: takes a {type(current).__name__}, which cannot be written here")
    try:
        setattr(target, last, value)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        kind = type(current).__name__
        raise ConfigError(f"extra.{name}: {value!r} does not fit; write a value of type {kind} ({error})") from error


def _names(target: Any) -> list[str]:
    return [name for name in dir(target) if not name.startswith("_")]


def _unknown(name: str, part: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(part, known, 1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"extra.{name}: llama.cpp has no parameter {part!r}{hint}")
