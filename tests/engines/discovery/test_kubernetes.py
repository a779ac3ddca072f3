"""EndpointSlices from a scripted API server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.core.errors import ConfigError
from penstock.engines.discovery import kubernetes
from penstock.engines.discovery.found import Found
from penstock.engines.discovery.kubernetes import KubernetesSettings, KubernetesSource

Watching = Callable[[Any], AbstractAsyncContextManager[Any]]
pytestmark = pytest.mark.anyio
PATH = "/apis/discovery.k8s.io/v1/namespaces/serving/endpointslices"


def slice_of(name: str, version: int, *addresses: str, **ready: bool | None) -> dict[str, Any]:
    """A slice; `ready` holds the condition of addresses, dots as underscores, that have one."""
    endpoints = [
        {
            "addresses": [address],
            "conditions": {"ready": ready.get("a" + address.replace(".", "_"))},
            "targetRef": {"kind": "Pod", "name": f"pod-{address[-1]}"},
            "zone": "z",
        }
        for address in addresses
    ]
    return {
        "metadata": {"name": name, "resourceVersion": str(version)},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "metrics", "port": 9}, {"name": "http", "port": 8000}],
    }


class Lines(httpx.AsyncByteStream):
    """A watch's body: changes as they are put in; None ends it."""

    def __init__(self, queue: "asyncio.Queue[dict[str, Any] | None]") -> None:
        self._queue = queue

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (change := await self._queue.get()) is not None:
            text = json.dumps(change).encode() + b"\n"
            yield text[:20]  # a change may come in pieces
            yield text[20:]


class ApiServer(httpx.AsyncBaseTransport):
    """Answers a list with `listed`, and each watch with the next of `watches`: a status, or changes."""

    def __init__(self) -> None:
        self.listed: dict[str, Any] = {"metadata": {"resourceVersion": "10"}, "items": []}
        self.list_status = 200
        self.requests: list[httpx.Request] = []
        self.watch: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.watch_status: list[int] = []

    @property
    def watched_from(self) -> list[str]:
        queries = [request.url.params for request in self.requests]
        return [query["resourceVersion"] for query in queries if "watch" in query]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        assert request.url.path == PATH
        assert request.url.params["labelSelector"] == "kubernetes.io/service-name=vllm"
        if "watch" not in request.url.params:
            body = self.listed if self.list_status == 200 else {"code": self.list_status, "message": "not allowed"}
            return httpx.Response(self.list_status, json=body)
        if self.watch_status:
            return httpx.Response(self.watch_status.pop(0), json={"code": 410, "message": "too old"})
        return httpx.Response(200, stream=Lines(self.watch))

    def say(self, kind: str, thing: dict[str, Any]) -> None:
        self.watch.put_nowait({"type": kind, "object": thing})


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "RETRY_BASE_S", 0.01)
    monkeypatch.setattr(kubernetes, "RETRY_CAP_S", 0.05)


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
def source(server: ApiServer, tmp_path: Path) -> KubernetesSource:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("serving")
    settings = KubernetesSettings("k", "vllm", port="http", api="http://api", account=tmp_path)
    return KubernetesSource(settings, {}, server)


async def test_listed_then_watched(watching: Watching, server: ApiServer, source: KubernetesSource) -> None:
    server.listed["items"] = [slice_of("a", 5, "10.0.0.1", "10.0.0.2", a10_0_0_2=False)]
    async with watching(source) as watched:
        await watched.until(lambda: watched.told)
        assert watched.told == [(Found("k-10.0.0.1-8000", "http://10.0.0.1:8000", {"pod": "pod-1", "zone": "z"}),)]
        server.say("ADDED", slice_of("b", 11, "10.0.0.3"))
        await watched.until(lambda: watched.urls == ["http://10.0.0.1:8000", "http://10.0.0.3:8000"])
        server.say("MODIFIED", slice_of("a", 12, "10.0.0.2", a10_0_0_2=True))
        await watched.until(lambda: watched.urls == ["http://10.0.0.2:8000", "http://10.0.0.3:8000"])
        server.say("DELETED", slice_of("b", 13))
        await watched.until(lambda: watched.urls == ["http://10.0.0.2:8000"])


async def test_a_watch_that_ends_goes_on_where_it_was(
    watching: Watching, server: ApiServer, source: KubernetesSource
) -> None:
    async with watching(source) as watched:
        server.say("ADDED", slice_of("a", 20, "10.0.0.1"))
        server.say("BOOKMARK", {"metadata": {"resourceVersion": "33"}})
        server.watch.put_nowait(None)
        await watched.until(lambda: len(server.watched_from) == 2)
        assert server.watched_from == ["10", "33"]
        assert watched.urls == ["http://10.0.0.1:8000"]


@pytest.mark.parametrize("how", ["status", "event"])
async def test_an_expired_version_is_listed_anew(
    watching: Watching, server: ApiServer, source: KubernetesSource, how: str
) -> None:
    server.listed["items"] = [slice_of("a", 5, "10.0.0.1")]
    async with watching(source) as watched:
        await watched.until(lambda: len(server.watched_from) == 1)
        server.listed = {"metadata": {"resourceVersion": "50"}, "items": [slice_of("z", 49, "10.0.0.9")]}
        if how == "event":
            server.say("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
        else:
            server.watch_status = [410]
            server.watch.put_nowait(None)
        await watched.until(lambda: watched.urls == ["http://10.0.0.9:8000"])
        await watched.until(lambda: server.watched_from[-1] == "50")


async def test_an_api_server_that_is_away_changes_nothing(
    watching: Watching, server: ApiServer, source: KubernetesSource
) -> None:
    server.listed["items"] = [slice_of("a", 5, "10.0.0.1")]
    async with watching(source) as watched:
        await watched.until(lambda: watched.urls == ["http://10.0.0.1:8000"])
        server.watch_status = [500] * 3
        server.watch.put_nowait(None)
        await watched.until(lambda: "status 500" in watched.source.problem)
        await watched.until(lambda: watched.source.problem == "")
        assert watched.urls == ["http://10.0.0.1:8000"]
        server.watch.put_nowait({"type": "ERROR", "object": {"code": 500, "message": "etcd is away"}})
        await watched.until(lambda: "etcd is away" in watched.source.problem)
        await watched.until(lambda: watched.source.problem == "")
    assert len(watched.told) == 1


async def test_a_refused_list_says_so_until_it_is_not(
    watching: Watching, server: ApiServer, source: KubernetesSource
) -> None:
    server.list_status = 403
    async with watching(source) as watched:
        await watched.until(lambda: "status 403: not allowed" in watched.source.problem)
        assert watched.told == []
        server.list_status = 200
        await watched.until(lambda: watched.told == [()])


async def test_the_token_is_read_for_each_request(
    watching: Watching, server: ApiServer, source: KubernetesSource, tmp_path: Path
) -> None:
    async with watching(source) as watched:
        await watched.until(lambda: len(server.watched_from) == 1)
        (tmp_path / "token").write_text("second")
        server.watch.put_nowait(None)
        await watched.until(lambda: len(server.watched_from) == 2)
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer first", "Bearer first", "Bearer second"]


async def test_watches_that_end_at_once_are_not_asked_for_in_a_tight_loop(
    watching: Watching, server: ApiServer, source: KubernetesSource
) -> None:
    server.watch_status = [410] * 1000
    async with watching(source):
        await asyncio.sleep(0.5)
    assert len(server.watched_from) < 25


def test_outside_of_a_cluster_it_says_so() -> None:
    with pytest.raises(ConfigError, match="inside a cluster"):
        KubernetesSource(KubernetesSettings("k", "vllm"), {})
