"""What a server says of itself before any load: its models, its version, and how it counts tokens."""

import os
import platform
from collections.abc import Callable
from pathlib import Path
from shutil import which
from subprocess import run as run_program

import httpx

from penstock.bench.client.settings import Server
from penstock.core.errors import PenstockError

PATIENCE_S = 30.0


class NoServer(PenstockError):
    """There is no such server, or it refuses."""


class Probe:
    """Asks one server. Used before a run and never during one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        scheme = "https" if server.tls else "http"
        key = server.keys.get("") or next(iter(server.keys.values()), "")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(
            base_url=f"{scheme}://{server.host}:{server.port}{server.prefix}",
            headers=headers,
            timeout=PATIENCE_S,
            trust_env=False,
        )

    def close(self) -> None:
        self._client.close()

    def models(self) -> list[str]:
        """Names of the models it serves. Raises NoServer."""
        try:
            answer = self._client.get("/v1/models")
            if answer.status_code != 200:
                raise NoServer(f"GET /v1/models was answered {answer.status_code}: {answer.text[:200]}")
            return [str(model["id"]) for model in answer.json()["data"]]
        except httpx.HTTPError as error:
            raise NoServer(f"no server at {self._client.base_url}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise NoServer(f"GET /v1/models of {self._client.base_url} is no list of models: {error}") from error

    def counter(self, model: str) -> Callable[[str], int] | None:
        """Counts tokens as the server does, without those that it adds; None where it has no `/tokenize`."""

        def count(text: str) -> int:
            body = {"model": model, "prompt": text, "content": text, "add_special_tokens": False}
            answer = self._client.post("/tokenize", json=body)
            answer.raise_for_status()
            found = answer.json()
            return len(found["tokens"]) if "tokens" in found else int(found["count"])

        try:
            one, two = count("river stone"), count("river stone river stone")
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None
        return count if two > one > 0 else None

    def version(self) -> str:
        """What the server calls itself; empty where it does not say."""
        try:
            answer = self._client.get("/version")
            if answer.status_code == 200 and isinstance(found := answer.json(), dict) and found.get("version"):
                return str(found["version"])
            return str(self._client.get("/v1/models").headers.get("server", ""))
        except (httpx.HTTPError, ValueError):
            return ""


def fingerprint(server: Server, probe: Probe, model: str, labels: dict[str, str]) -> dict[str, str]:
    """What must agree for two runs to be compared: this machine, the server's own word, and what the user says of it
    (`labels`: engine flags, the GPU of a server elsewhere)."""
    found = {
        "client.cpu": _cpu(),
        "client.cores": str(os.cpu_count()),
        "client.python": platform.python_version(),
        "server.model": model,
    }
    if version := probe.version():
        found["server.version"] = version
    if server.local and (gpus := _gpus()):
        found["server.gpu"] = gpus
    return found | labels


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")),
        platform.machine(),
    )


def _gpus() -> str:
    program = which("nvidia-smi")
    if program is None:
        return ""
    done = run_program(
        [program, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""
