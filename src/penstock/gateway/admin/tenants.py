"""The routes that keep the tree: organisations, teams and keys.

Each asks for an administrator, on loopback too: a key made here works wherever the API listens. A secret is in the
answer that made it, and in no other.
"""

import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.core.clock import type_of_clock, wall
from penstock.core.errors import BadRequest, TooLarge
from penstock.core.tenant import Principal
from penstock.gateway.admin.admins import Admins
from penstock.gateway.admin.answers import answer
from penstock.gateway.admin.guard import TOKEN_HEADER, bearer
from penstock.gateway.admin.routes import parse_limit
from penstock.state.identity.fields import KeyFields, OrgFields, TeamFields
from penstock.state.identity.rows import Row, key_row, org_row, team_row
from penstock.state.identity.store import Issued, Store

LONGEST_BODY = 64 * 1024
PLACE = re.compile(r"(.*) - at `\$\.?([^`]*)`")
Told = Callable[[Principal, str, Row], None]
"""Who did what to which organisation, team or key, as it is now; for the audit log."""
Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class _NewOrg(OrgFields, forbid_unknown_fields=True, kw_only=True):
    name: str


class _NewTeam(TeamFields, forbid_unknown_fields=True, kw_only=True):
    name: str


class _NewKey(KeyFields, forbid_unknown_fields=True, kw_only=True):
    org: str = ""
    team: str = ""


class _Rotation(msgspec.Struct, forbid_unknown_fields=True):
    overlap_s: float = 0.0


class Tenants:
    """CRUD over a Store. `changed` is called after each write, so that workers hear of it at once."""

    def __init__(
        self,
        store: Store,
        admins: Admins,
        changed: Callable[[], None],
        told: Told = lambda who, action, row: None,
        clock: type_of_clock = wall,
    ) -> None:
        self._store = store
        self._admins = admins
        self._changed = changed
        self._told = told
        self._clock = clock

    def routes(self) -> list[Route]:
        org, team, key = "/admin/orgs/{org}", "/admin/orgs/{org}/teams/{team}", "/admin/keys/{id}"
        return [
            self._route("/admin/orgs", GET=self.orgs, POST=self.create_org),
            self._route(org, GET=self.org, PATCH=self.change_org, DELETE=self.delete_org),
            self._route(f"{org}/teams", GET=self.teams, POST=self.create_team),
            self._route(team, GET=self.team, PATCH=self.change_team, DELETE=self.delete_team),
            self._route("/admin/keys", GET=self.keys, POST=self.create_key),
            self._route(key, GET=self.key, PATCH=self.change_key, DELETE=self.revoke_key),
            self._route(f"{key}/rotate", POST=self.rotate_key),
        ]

    # -- organisations ----------------------------------------------------------------------------------------------

    async def orgs(self, request: Request) -> Response:
        """A page of organisations, by name."""
        limit, after = _page(request)
        return _listed("orgs", [org_row(org) for org in await self._store.orgs(limit, after)], limit, "name")

    async def org(self, request: Request) -> Response:
        """One."""
        return answer(org_row(await self._store.org(request.path_params["org"])))

    async def create_org(self, request: Request) -> Response:
        """A new one: `{"name", "models", "endpoints", "limits"}`, all but the name optional."""
        fields = await _decode(request, _NewOrg)
        made = await self._store.create_org(fields.name, fields, self._clock())
        return self._wrote(request, "org.create", org_row(made), 201)

    async def change_org(self, request: Request) -> Response:
        """Sets the fields that are sent."""
        changed = await self._store.change_org(request.path_params["org"], await _decode(request, OrgFields))
        return self._wrote(request, "org.change", org_row(changed))

    async def delete_org(self, request: Request) -> Response:
        """Ends it, its teams and its keys."""
        deleted = await self._store.delete_org(request.path_params["org"], self._clock())
        return self._wrote(request, "org.delete", org_row(deleted))

    # -- teams ------------------------------------------------------------------------------------------------------

    async def teams(self, request: Request) -> Response:
        """A page of an organisation's teams, by name."""
        limit, after = _page(request)
        teams = await self._store.teams(request.path_params["org"], limit, after)
        return _listed("teams", [team_row(team) for team in teams], limit, "name")

    async def team(self, request: Request) -> Response:
        """One."""
        return answer(team_row(await self._store.team(*_team(request))))

    async def create_team(self, request: Request) -> Response:
        """A new one: what an organisation has, and `weight` and `priority`."""
        fields = await _decode(request, _NewTeam)
        made = await self._store.create_team(request.path_params["org"], fields.name, fields, self._clock())
        return self._wrote(request, "team.create", team_row(made), 201)

    async def change_team(self, request: Request) -> Response:
        """Sets the fields that are sent."""
        changed = await self._store.change_team(*_team(request), await _decode(request, TeamFields))
        return self._wrote(request, "team.change", team_row(changed))

    async def delete_team(self, request: Request) -> Response:
        """Ends it and its keys."""
        deleted = await self._store.delete_team(*_team(request), self._clock())
        return self._wrote(request, "team.delete", team_row(deleted))

    # -- keys -------------------------------------------------------------------------------------------------------

    async def keys(self, request: Request) -> Response:
        """A page of keys, by id; `?org=` and `?team=` choose."""
        limit, after = _page(request)
        query = request.query_params
        keys = await self._store.keys(limit, after, query.get("org"), query.get("team"))
        now = self._clock()
        return _listed("keys", [key_row(key, now) for key in keys], limit, "id")

    async def key(self, request: Request) -> Response:
        """One."""
        return answer(key_row(await self._store.key(request.path_params["id"]), self._clock()))

    async def create_key(self, request: Request) -> Response:
        """A new one, with its secret."""
        fields = await _decode(request, _NewKey)
        return self._issued(
            request, "key.create", await self._store.create_key(fields.org, fields.team, fields, self._clock()), 201
        )

    async def change_key(self, request: Request) -> Response:
        """Sets the fields that are sent."""
        fields = await _decode(request, KeyFields)
        changed = await self._store.change_key(request.path_params["id"], fields, self._clock())
        return self._wrote(request, "key.change", key_row(changed, self._clock()))

    async def rotate_key(self, request: Request) -> Response:
        """A new secret; `{"overlap_s"}` says how long the old one stays right."""
        overlap_s = (await _decode(request, _Rotation)).overlap_s
        issued = await self._store.rotate_key(request.path_params["id"], overlap_s, self._clock())
        return self._issued(request, "key.rotate", issued, 200)

    async def revoke_key(self, request: Request) -> Response:
        """Ends it."""
        revoked = await self._store.revoke_key(request.path_params["id"], self._clock())
        return self._wrote(request, "key.revoke", key_row(revoked, self._clock()))

    # ---------------------------------------------------------------------------------------------------------------

    def _route(self, path: str, **handlers: Handler) -> Route:
        async def admitted(request: Request) -> Response:
            headers = request.headers
            request.state.admin = self._admins.admit(headers.get(TOKEN_HEADER) or bearer(headers))
            return await handlers["GET" if request.method == "HEAD" else request.method](request)

        return Route(path, admitted, methods=list(handlers))

    def _wrote(self, request: Request, action: str, row: Row, status: int = 200) -> Response:
        self._changed()
        self._told(request.state.admin, action, row)
        return answer(row, status)

    def _issued(self, request: Request, action: str, issued: Issued, status: int) -> Response:
        row = key_row(issued.key, self._clock())
        self._changed()
        self._told(request.state.admin, action, row)
        return answer({"key": row, "secret": issued.secret.reveal()}, status)


def _team(request: Request) -> tuple[str, str]:
    return request.path_params["org"], request.path_params["team"]


def _page(request: Request) -> tuple[int, str]:
    return parse_limit(request), request.query_params.get("after", "")


def _listed(noun: str, rows: list[Row], limit: int, by: str) -> Response:
    """`next` is the `after` of the page behind this one, null when this is the last."""
    return answer({noun: rows, "next": rows[-1][by] if len(rows) == limit else None})


async def _decode(request: Request, kind: type[T]) -> T:
    """The body as a `kind`; an empty one is `{}`. Raises BadRequest that names the field, or TooLarge."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            raise TooLarge(f"The body has more than {LONGEST_BODY} bytes; send less at once.")
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        found = PLACE.fullmatch(str(error))
        why, field = (found[1], found[2].partition("[")[0]) if found else (str(error), "")
        known = ", ".join(name for name in kind.__struct_fields__)  # type: ignore[attr-defined]
        raise BadRequest(f"{field or 'body'}: {why}; fields: {known}.", param=field or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("The body is no JSON; send an object.") from None
