"""What `penstock doctor` looks at. Each check gives findings; each finding that is not ok names its fix."""

import importlib.metadata
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec

from penstock.cli import ports
from penstock.config.engines import Http, LlamaCpp
from penstock.config.schema import Config
from penstock.core.errors import ConfigError, ModelError
from penstock.engines.models.known import KNOWN, wanted
from penstock.engines.models.store import Store

OK, WARN, FAIL = "ok", "warn", "fail"
ROOM = 2_000_000_000
"""Bytes that should stay free beside the models."""
PROBE_S = 3.0
IMPORT_S = 60.0
BESIDE_CONNECTIONS = 256
"""File descriptors of a worker that are neither clients nor engines."""


class Check(msgspec.Struct, frozen=True):
    """One finding."""

    name: str
    level: str
    message: str
    fix: str = ""


def addresses(config: Config) -> Iterator[Check]:
    """Free, or held by a Penstock that answers on its admin port."""
    running = _is_penstock(config)
    for address in ports.wanted(config):
        where = f"{address.host}:{address.port}"
        trouble = ports.problem(address)
        if trouble is None:
            yield Check(f"{address.section} port", OK, f"{where} is free")
        elif running:
            yield Check(f"{address.section} port", OK, f"{where} is held by a running Penstock")
        else:
            said, _, fix = trouble.partition("; ")
            yield Check(f"{address.section} port", FAIL, said, fix)


def models(config: Config, store: Store, cache: Path) -> Iterator[Check]:
    """Every model of an embedded engine is here and whole, and the disk has room."""
    missing = 0
    for index, engine in enumerate(config.engines):
        if not isinstance(engine, LlamaCpp):
            continue
        name = f"model of {engine.name}"
        try:
            asked = wanted(engine.model, f"engines.{index}.model")
            if store.find(engine.model) is None:
                known = KNOWN.get(asked.name)
                missing += known.size if known else 0
                yield Check(name, WARN, f"{asked.name} is not here", f"penstock models pull {engine.model}")
                continue
            found = store.verify(engine.model)
            yield Check(name, OK, f"{found.name} is whole, {found.manifest.size / 1e6:.1f} MB")
        except ConfigError as error:
            yield Check(name, FAIL, str(error), "name a known model or a source")
        except ModelError as error:
            yield Check(name, FAIL, str(error), f"penstock models pull {engine.model}")
    yield _disk(cache, missing)


def _disk(cache: Path, missing: int) -> Check:
    folder = next(parent for parent in (cache, *cache.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:.1f} GB free for models in {cache}"
    if not os.access(folder, os.W_OK):
        return Check("disk", FAIL if missing else WARN, f"{folder} cannot be written", "set PENSTOCK_CACHE")
    # A wheel and the model taken out of it lie side by side for a moment.
    if free < 2 * missing:
        return Check("disk", FAIL, said, f"free {2 * missing / 1e9:.1f} GB, or set PENSTOCK_CACHE")
    if free < ROOM:
        return Check("disk", WARN, said, "free some space, or set PENSTOCK_CACHE")
    return Check("disk", OK, said)


def library(config: Config) -> Iterator[Check]:
    """The engine library can be imported; tried in a process of its own, since it loads native code."""
    if not any(isinstance(engine, LlamaCpp) for engine in config.engines):
        return
    fix = "pip install 'penstock[llamacpp]'"
    try:
        version = importlib.metadata.version("xllamacpp")
        subprocess.run([sys.executable, "-c", "import xllamacpp"], check=True, capture_output=True, timeout=IMPORT_S)
    except importlib.metadata.PackageNotFoundError:
        yield Check("llama.cpp", FAIL, "xllamacpp is not installed", fix)
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or b""
        last = output.decode(errors="replace").strip().rpartition("\n")[2]
        yield Check("llama.cpp", FAIL, f"xllamacpp cannot be imported: {last or error}", fix)
    else:
        yield Check("llama.cpp", OK, f"xllamacpp {version}")


def cores(config: Config) -> Iterator[Check]:
    """Workers and engine threads fit the cores this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if config.workers > count:
        yield Check("cores", WARN, f"{config.workers} workers on {count} cores", f"set workers to {count} or less")
        return
    for index, engine in enumerate(config.engines):
        if isinstance(engine, LlamaCpp) and engine.threads > count:
            fix = f"set engines.{index}.threads to 0"
            yield Check("cores", WARN, f"{engine.name}: {engine.threads} threads on {count} cores", fix)
            return
    if count == 1 and any(isinstance(engine, LlamaCpp) for engine in config.engines):
        yield Check("cores", WARN, "one core for gateway and engine", "give this machine a second core")
        return
    yield Check("cores", OK, f"{count} cores, {config.workers} worker(s)")


def files(config: Config) -> Iterator[Check]:
    """A worker may open as many files as it may have connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    engines = sum(engine.connections for engine in config.engines if isinstance(engine, Http))
    need = 2 * config.limits.connections + engines + BESIDE_CONNECTIONS
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= need:
        yield Check("open files", OK, f"{need} needed at most, {'no limit' if soft == unlimited else soft} allowed")
        return
    fits = max(1, (soft - engines - BESIDE_CONNECTIONS) // 2)
    raised = f"ulimit -n {need}, or " if hard == unlimited or hard >= need else ""
    level = WARN if soft >= 2 * BESIDE_CONNECTIONS else FAIL
    said = f"{soft} allowed, {need} needed to reach limits.connections"
    yield Check("open files", level, said, f"{raised}set limits.connections to {fits}")


def engines(config: Config) -> Iterator[Check]:
    """Every HTTP engine answers `/v1/models`."""
    for index, engine in enumerate(config.engines):
        if isinstance(engine, Http):
            yield _engine(engine, f"engines.{index}")


def _engine(engine: Http, path: str) -> Check:
    base = base_of(engine.url)
    headers = {"authorization": f"Bearer {engine.api_key}"} if engine.api_key else {}
    name = f"engine {engine.name}"
    try:
        response = httpx.get(f"{base}/v1/models", headers=headers, timeout=PROBE_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error) or type(error).__name__
        return Check(name, FAIL, f"{base} does not answer: {why}", f"start it, or correct {path}.url")
    if response.status_code in (401, 403):
        return Check(name, FAIL, f"{base} refuses the key ({response.status_code})", f"correct {path}.api_key")
    if response.status_code != 200:
        fix = f"correct {path}.url"
        return Check(name, WARN, f"{base}/v1/models answers {response.status_code}", fix)
    return Check(name, OK, f"{base} answers")


def base_of(url: str) -> str:
    """An engine's URL without its trailing `/v1`."""
    return url.rstrip("/").removesuffix("/v1")


def admin_url(config: Config) -> str:
    """Where a Penstock with this config would answer its operator, seen from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.admin.host, config.admin.host)
    place = f"[{host}]" if ":" in host else host
    return f"http://{place}:{config.admin.port}"


def _is_penstock(config: Config) -> bool:
    try:
        with httpx.Client(trust_env=False, timeout=PROBE_S) as client:
            response = client.get(f"{admin_url(config)}/healthz")
        return bool(response.json() == {"status": "ok"})
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
