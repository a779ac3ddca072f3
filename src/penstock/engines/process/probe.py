"""The HTTP questions a supervisor asks its child."""

from types import TracebackType

import httpx
import msgspec

from penstock.core.errors import ModelError


class _Entry(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[msgspec.Raw]


class Probe:
    """Asks one address. An async context manager."""

    def __init__(self, address: str, timeout_s: float, noun: str) -> None:
        self._noun = noun
        # Loopback: neither proxies nor certificates of the environment apply.
        self._client = httpx.AsyncClient(base_url=address, timeout=timeout_s, trust_env=False, verify=False)

    async def __aenter__(self) -> "Probe":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def healthy(self) -> bool:
        """Whether `/health` answers 200 in time."""
        try:
            return (await self._client.get("/health")).status_code == 200
        except httpx.HTTPError:
            return False

    async def warm_up(self, model: str) -> None:
        """One token, so that the first client does not pay for first-use work. Raises ModelError.

        A model without a chat template refuses the request (4xx), which is an answer as well.
        """
        body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
        try:
            answer = await self._client.post("/v1/chat/completions", json=body, timeout=None)
        except httpx.HTTPError as error:
            raise ModelError(f"the warm-up request failed: {error or type(error).__name__}") from error
        if answer.status_code >= 500:
            raise ModelError(f"the warm-up request was answered {answer.status_code}: {answer.text[:300]}")

    async def models(self) -> dict[str, bytes]:
        """Model id -> its entry of `/v1/models`. Raises ModelError."""
        try:
            answer = await self._client.get("/v1/models")
            entries = msgspec.json.decode(answer.content, type=_Models).data
            return {msgspec.json.decode(entry, type=_Entry).id: bytes(entry) for entry in entries}
        except (httpx.HTTPError, msgspec.MsgspecError) as error:
            raise ModelError(f"/v1/models of {self._noun} cannot be read: {error}") from error

    async def metrics(self) -> str:
        """The text of `/metrics`; empty when there is none in time."""
        try:
            answer = await self._client.get("/metrics")
        except httpx.HTTPError:
            return ""
        return answer.text if answer.status_code == 200 else ""
