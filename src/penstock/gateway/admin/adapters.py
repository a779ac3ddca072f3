"""The write routes for LoRA adapters: an engine is told to load or unload one while it runs."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.core.errors import BadRequest
from penstock.gateway.admin.answers import answer
from penstock.gateway.admin.state import AdminState

LONGEST_BODY = 64 * 1024


class _Load(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    path: str
    replace: bool = False


class Adapters:
    """GET, POST and DELETE on the adapters of one engine."""

    def __init__(self, state: AdminState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        return [
            Route("/admin/engines/{engine}/adapters", self.list, methods=["GET"]),
            Route("/admin/engines/{engine}/adapters", self.load, methods=["POST"]),
            Route("/admin/engines/{engine}/adapters/{name:path}", self.unload, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """The adapters an engine has now."""
        return answer({"adapters": await self._state.adapters(request.path_params["engine"])})

    async def load(self, request: Request) -> Response:
        """Loads `{"name", "path"}`; returns when requests may name it."""
        body = await request.body()
        if len(body) > LONGEST_BODY:
            raise BadRequest(f"The body has {len(body)} bytes; an adapter is a name and a path.")
        try:
            wanted = msgspec.json.decode(body, type=_Load)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadRequest(f'Send {{"name": ..., "path": ...}}: {error}') from None
        if not wanted.name or not wanted.path:
            raise BadRequest("name and path must not be empty.", param="name" if not wanted.name else "path")
        engine = request.path_params["engine"]
        await self._state.load_adapter(engine, wanted.name, wanted.path, replace=wanted.replace)
        return answer({"adapters": await self._state.adapters(engine)})

    async def unload(self, request: Request) -> Response:
        """Takes one away; requests that name it get a 404 from then on."""
        engine = request.path_params["engine"]
        await self._state.unload_adapter(engine, request.path_params["name"])
        return answer({"adapters": await self._state.adapters(engine)})
