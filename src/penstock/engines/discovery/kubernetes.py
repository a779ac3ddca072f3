"""Engines behind a Kubernetes service: its EndpointSlices, listed once and then watched.

The pod's service account needs `list` and `watch` on `endpointslices` of the group `discovery.k8s.io`.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec

from penstock.core.clock import monotonic
from penstock.core.errors import ConfigError
from penstock.engines.discovery.found import Announcer, OnFound
from penstock.engines.discovery.slices import Change, Slice, SliceList, Status, found_in
from penstock.engines.process.backoff import restart_delay_s

log = logging.getLogger("penstock.discovery")

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WATCH_S = 240
"""The API server ends a watch after this many seconds; the next one goes on where it ended."""
QUIET_S = WATCH_S + 30
"""A watch that is silent longer has lost its connection."""
SHORT_S = 1.0
LIST_TIMEOUT_S = 30.0
RETRY_BASE_S = 0.5
RETRY_CAP_S = 30.0
GONE = 410


class KubernetesSettings(msgspec.Struct, frozen=True):
    """One service, and how to ask for it."""

    name: str
    """Goes in front of every engine's name."""
    service: str
    namespace: str = ""
    """Empty takes the pod's own."""
    port: int | str = ""
    """A number, the name of a port, or empty for the first."""
    scheme: str = "http"
    api: str = ""
    """URL of the API server; empty takes the one of the pod's environment."""
    account: Path = ACCOUNT
    """Folder with `token`, `ca.crt` and `namespace`."""


class _Expired(Exception):
    """The version we know is too old to go on from: list anew."""


class _Away(Exception):
    """The API server does not answer as it should; the message says how."""


class KubernetesSource:
    """List, then watch from the list's version; list anew when that version has expired.

    While the API server is away, what was found stays.
    """

    def __init__(
        self,
        settings: KubernetesSettings,
        environ: Mapping[str, str],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Raises ConfigError outside of a cluster."""
        self.problem = ""
        self._settings = settings
        self._transport = transport
        self._api = settings.api.rstrip("/") or _api_of(environ)
        self._slices: dict[str, Slice] = {}
        self._version = ""
        self._failures = 0

    async def run(self, on_change: OnFound) -> None:
        announcer = Announcer(on_change)
        async with self._client() as client:
            while True:
                try:
                    if not self._version:
                        await self._list(client)
                        self._tell(announcer)
                    await self._watch(client, announcer)
                except _Expired:
                    self._version = ""
                    await self._pause()
                except (_Away, httpx.HTTPError, msgspec.MsgspecError, OSError) as error:
                    await self._wait_after(error)

    async def _pause(self) -> None:
        """Not at all at first, then longer each time until a watch brings something."""
        await asyncio.sleep(restart_delay_s(self._failures, RETRY_BASE_S, RETRY_CAP_S))
        self._failures += 1

    async def _wait_after(self, error: Exception) -> None:
        problem = f"the API server cannot be asked: {error or type(error).__name__}"
        if problem != self.problem:
            log.warning("engines of %s: %s; what was known stays", self._settings.name, problem)
        self.problem = problem
        self._failures = max(self._failures, 1)
        await self._pause()

    async def _list(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(await self._path(), params=self._query(), headers=await self._headers())
        if answer.status_code != 200:
            raise _away(answer.status_code, answer.content)
        listed = msgspec.json.decode(answer.content, type=SliceList)
        self._slices = {one.metadata.name: one for one in listed.items or []}
        self._version = listed.metadata.resource_version
        self.problem = ""

    async def _watch(self, client: httpx.AsyncClient, announcer: Announcer) -> None:
        """One watch, until the server ends it."""
        query = {
            **self._query(), "watch": "1", "resourceVersion": self._version, "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        }  # fmt: skip
        timeout = httpx.Timeout(LIST_TIMEOUT_S, read=QUIET_S)
        headers = await self._headers()
        began = monotonic()
        async with client.stream("GET", await self._path(), params=query, headers=headers, timeout=timeout) as answer:
            if answer.status_code == GONE:
                raise _Expired
            if answer.status_code != 200:
                raise _away(answer.status_code, await answer.aread())
            self.problem = ""
            async for line in answer.aiter_lines():
                if line.strip():
                    self._apply(msgspec.json.decode(line, type=Change))
                    self._failures = 0
                    self._tell(announcer)
        if monotonic() - began < SHORT_S:  # a server that ends each watch at once is not asked in a tight loop
            await self._pause()

    def _apply(self, change: Change) -> None:
        if change.type == "ERROR":
            status = msgspec.json.decode(change.object, type=Status)
            if status.code == GONE:
                raise _Expired
            raise _Away(f"the watch says {status.code}: {status.message[:300]}")
        one = msgspec.json.decode(change.object, type=Slice)
        if change.type == "DELETED":
            self._slices.pop(one.metadata.name, None)
        elif change.type != "BOOKMARK":
            self._slices[one.metadata.name] = one
        self._version = one.metadata.resource_version or self._version

    def _tell(self, announcer: Announcer) -> None:
        settings = self._settings
        announcer.tell(found_in(self._slices.values(), settings.name, settings.port, settings.scheme))

    def _client(self) -> httpx.AsyncClient:
        authority = self._settings.account / "ca.crt"
        verify: ssl.SSLContext | bool = True
        if self._api.startswith("https:") and authority.is_file():
            verify = ssl.create_default_context(cafile=str(authority))
        return httpx.AsyncClient(
            base_url=self._api, verify=verify, timeout=LIST_TIMEOUT_S, trust_env=False, transport=self._transport
        )

    async def _headers(self) -> dict[str, str]:
        """The token, read anew for each request: the kubelet replaces it long before it expires."""
        token = await asyncio.to_thread(self._read, "token")
        return {"authorization": f"Bearer {token}"} if token else {}

    async def _path(self) -> str:
        namespace = self._settings.namespace or await asyncio.to_thread(self._read, "namespace") or "default"
        return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"

    def _query(self) -> dict[str, str]:
        return {"labelSelector": f"kubernetes.io/service-name={self._settings.service}"}

    def _read(self, name: str) -> str:
        try:
            return (self._settings.account / name).read_text().strip()
        except FileNotFoundError:
            return ""


def _api_of(environ: Mapping[str, str]) -> str:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError("kind: kubernetes works inside a cluster: KUBERNETES_SERVICE_HOST is not set here")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def _away(status: int, body: bytes) -> _Away:
    try:
        message = msgspec.json.decode(body, type=Status).message
    except msgspec.MsgspecError:
        message = ""
    return _Away(f"status {status}{': ' if message else ''}{message[:300]}")
