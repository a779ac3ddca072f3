"""Who sends: which credential a request shows, and whether the gateway knows it."""

from collections import OrderedDict
from hashlib import sha256

import httpx
from starlette.datastructures import Headers

from penstock.core.clock import monotonic
from penstock.core.errors import Unauthenticated

KNOWN_S = 60.0
"""A credential that the gateway took is not asked about again for so long."""
MOST = 10_000
TIMEOUT_S = 5.0


def owner_of(headers: Headers) -> str:
    """A digest that stands for the credential of a request; the same for all that show none."""
    shown = headers.get("authorization", "") or headers.get("x-api-key", "")
    return sha256(b"penstock queue owner\0" + shown.encode("latin-1")).hexdigest()


class Callers:
    """Asks the gateway, with the caller's own credential, before anything of the caller is kept."""

    def __init__(self, gateway: str) -> None:
        self._client = httpx.AsyncClient(base_url=gateway, timeout=TIMEOUT_S, trust_env=False)
        self._known: OrderedDict[str, float] = OrderedDict()

    async def close(self) -> None:
        await self._client.aclose()

    async def admit(self, headers: Headers) -> str:
        """The owner. Raises Unauthenticated when the gateway does.

        A gateway that is away or full says nothing: the request is accepted, and judged when it runs.
        """
        owner, now = owner_of(headers), monotonic()
        if self._known.get(owner, 0.0) > now:
            return owner
        shown = {name: headers[name] for name in ("authorization", "x-api-key") if name in headers}
        try:
            answer = await self._client.get("/v1/models", headers=shown | {"x-request-id": f"queue-{owner[:16]}"})
        except httpx.TransportError:
            return owner
        if answer.status_code in (401, 403):
            raise Unauthenticated("the gateway does not know this key")
        if answer.status_code == 200:
            self._known[owner] = now + KNOWN_S
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        return owner

    async def needed(self) -> bool | None:
        """Whether the gateway asks for a credential; None when it does not answer."""
        try:
            return (await self._client.get("/v1/models")).status_code in (401, 403)
        except httpx.TransportError:
            return None
