"""LoRA adapters of a running vLLM: list, load, unload.

vLLM lists an adapter as a model whose `parent` is the base model. It takes `/v1/load_lora_adapter` and
`/v1/unload_lora_adapter` when it was started with `--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1. A load
makes vLLM read any folder it is told: these paths are for operators and never for clients of the gateway.
"""

from collections.abc import Mapping

import httpx
import msgspec

from penstock.core.errors import ModelError

CLIENT_PATHS_TO_REFUSE = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
"""Paths a gateway must not relay: whoever may call them decides what the engine loads."""


class AdapterError(ModelError):
    """An adapter could not be listed, loaded or unloaded."""


class AdapterUpdatesOff(AdapterError):
    """The engine was not started so that adapters can change."""


class AdapterExists(AdapterError):
    """The name is taken, by an adapter or by the base model."""


class AdapterNotFound(AdapterError):
    """The engine has no adapter of that name, or finds none in that folder."""


class AdapterRefused(AdapterError):
    """The engine does not take it: wrong rank, wrong modules, not an adapter, LoRA off."""


class AdapterEngineAway(AdapterError):
    """The engine does not answer, or not as vLLM does."""


class Adapter(msgspec.Struct, frozen=True):
    """One adapter that an engine has."""

    name: str
    """Model name that clients use."""
    base: str
    """The model it adapts."""
    path: str = ""
    """Where the engine read it; empty when it does not tell."""


class _Entry(msgspec.Struct):
    id: str
    parent: str | None = None
    root: str | None = None


class _Models(msgspec.Struct):
    data: list[msgspec.Raw]


class _Fault(msgspec.Struct):
    message: str = ""


class _Said(msgspec.Struct):
    """An error of vLLM; older ones have the message at the top."""

    error: _Fault | None = None
    message: str = ""


def adapters_of(models: Mapping[str, bytes]) -> dict[str, Adapter]:
    """Those of an engine's models, as `/v1/models` describes them, that are adapters: the ones with a parent."""
    found = {}
    for name, entry in models.items():
        try:
            read = msgspec.json.decode(entry, type=_Entry)
        except msgspec.MsgspecError:
            continue  # an engine that describes its models otherwise has none
        if read.parent:
            found[name] = Adapter(name, read.parent, read.root or "")
    return found


class Adapters:
    """The adapters of one engine. `client` is the caller's, and outlives this."""

    def __init__(self, client: httpx.AsyncClient, url: str, api_key: str = "", timeout_s: float = 120.0) -> None:
        """`url` without `/v1`. Reading an adapter takes seconds; while a vLLM compiles for it, more."""
        self._client = client
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s

    async def list(self) -> dict[str, Adapter]:
        """What the engine has now, by name. Raises AdapterEngineAway."""
        answer = await self._send("GET", "/v1/models")
        if answer.status_code != 200:
            raise AdapterEngineAway(f"{self._url}/v1/models was answered {answer.status_code}")
        try:
            entries = msgspec.json.decode(answer.content, type=_Models).data
            return adapters_of({msgspec.json.decode(entry, type=_Entry).id: bytes(entry) for entry in entries})
        except msgspec.MsgspecError as error:
            raise AdapterEngineAway(f"{self._url}/v1/models cannot be read: {error}") from error

    async def load(self, name: str, path: str, *, replace: bool = False) -> None:
        """Loads the adapter in folder `path`, as the engine sees folders, or a hub's name.

        Returns when requests may name it. `replace` puts it in the place of one with the same name. Raises
        AdapterExists, AdapterNotFound, AdapterRefused, AdapterUpdatesOff, AdapterEngineAway.
        """
        body: dict[str, str | bool] = {"lora_name": name, "lora_path": path}
        if replace:
            body["load_inplace"] = True
        answer = await self._send("POST", "/v1/load_lora_adapter", body)
        if answer.status_code == 200:
            return
        reason = f"adapter {name!r} cannot be loaded from {path}: {self._reason(answer)}"
        if answer.status_code == 404:
            raise AdapterNotFound(reason)
        if answer.status_code == 400 and await self._taken(name):
            raise AdapterExists(f"{self._url} has a model {name!r} already: {self._reason(answer)}")
        raise AdapterRefused(reason)

    async def unload(self, name: str) -> None:
        """Takes the adapter away; requests that name it get a 404 from then on.

        Raises AdapterNotFound, AdapterRefused, AdapterUpdatesOff, AdapterEngineAway.
        """
        answer = await self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        if answer.status_code == 200:
            return
        reason = f"adapter {name!r} cannot be unloaded: {self._reason(answer)}"
        if answer.status_code == 404:
            raise AdapterNotFound(reason)
        raise AdapterRefused(reason)

    async def _taken(self, name: str) -> bool:
        answer = await self._send("GET", "/v1/models")
        try:
            entries = msgspec.json.decode(answer.content, type=_Models).data
            return any(msgspec.json.decode(entry, type=_Entry).id == name for entry in entries)
        except msgspec.MsgspecError:
            return False

    async def _send(self, method: str, path: str, body: Mapping[str, str | bool] | None = None) -> httpx.Response:
        try:
            answer = await self._client.request(
                method, self._url + path, json=body, headers=self._headers, timeout=self._timeout_s
            )
        except httpx.HTTPError as error:
            raise AdapterEngineAway(f"{self._url} does not answer: {error or type(error).__name__}") from error
        if method == "POST" and answer.status_code in (404, 405) and not _message(answer):
            raise AdapterUpdatesOff(
                f"{self._url} takes no adapters at run time; start vLLM with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
            )
        return answer

    def _reason(self, answer: httpx.Response) -> str:
        return _message(answer) or f"status {answer.status_code}: {answer.text[:300]}"


def _message(answer: httpx.Response) -> str:
    """What vLLM says of an error; empty when it was not vLLM's own handler that answered."""
    try:
        said = msgspec.json.decode(answer.content, type=_Said)
    except msgspec.MsgspecError:
        return ""
    return (said.error.message if said.error else said.message)[:600]
