"""The admin API of tenants and keys: who may use it, what it answers, and what does not get through."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.types import Message

from penstock.core.errors import RequestError
from penstock.gateway.admin.admins import OPERATOR, Admins
from penstock.gateway.admin.answers import on_http, on_refusal
from penstock.gateway.admin.guard import SECURITY_HEADERS, Guard
from penstock.gateway.admin.settings import AdminSettings
from penstock.gateway.admin.tenants import LONGEST_BODY, Tenants
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.resolve import Snapshot, changes
from penstock.state.identity.callers import Callers
from penstock.state.identity.open import open_store
from penstock.state.identity.store import Store

NOW = 1_000_000.0
TOKEN = "an-admin-token-of-ours"


class World:
    """The routes over a store in a file, the door in front, and what they told."""

    def __init__(self, path: Path, token: str = TOKEN) -> None:
        self.now = NOW
        self.store: Store = open_store(f"sqlite:{path}")
        self.directory = Directory()
        self.snapshot = Snapshot(-1)
        self.stale = True
        self.told: list[tuple[str, str, dict[str, object]]] = []
        admins = Admins(token, Callers((), self.directory), lambda: self.now)
        tenants = Tenants(self.store, admins, self.changed, self.tell, lambda: self.now)
        self.app = Starlette(
            routes=tenants.routes(),
            middleware=[Middleware(Guard, settings=AdminSettings())],
            exception_handlers={RequestError: on_refusal, HTTPException: on_http},
        )
        self.client = TestClient(self.app, base_url="http://127.0.0.1:8081")

    def changed(self) -> None:
        self.stale = True

    def tell(self, who: Any, action: str, row: dict[str, object]) -> None:
        self.told.append((who.tenant.key, action, row))

    def ask(self, method: str, path: str, body: Any = None, credential: str | None = TOKEN) -> Any:
        if self.stale:
            self.client.portal.call(self.follow)  # type: ignore[union-attr]
        headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return self.client.request(method, path, content=content, headers=headers)

    async def follow(self) -> None:
        snapshot = await self.store.snapshot(self.now)
        self.directory.take(changes(self.snapshot, snapshot))
        self.snapshot, self.stale = snapshot, False

    def made(self, path: str, **body: Any) -> Any:
        answer = self.ask("POST", path, body)
        assert answer.status_code == 201, answer.text
        return answer.json()


@contextmanager
def open_world(path: Path, token: str = TOKEN) -> Iterator[World]:
    found = World(path, token)
    with found.client:
        yield found
        found.client.portal.call(found.store.close)  # type: ignore[union-attr]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path / "identity.db") as found:
        yield found


def refused(answer: Any, status: int, code: str, param: str | None = None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    message: str = error["message"]
    return message


# -- what it does ------------------------------------------------------------------------------------------------------


def test_a_tree_from_nothing(world: World) -> None:
    org = world.made("/admin/orgs", name="acme", models=["llama-*"], limits=["spend=100/month"])
    assert org == {
        "name": "acme",
        "models": ["llama-*"],
        "endpoints": [],
        "limits": ["spend=100/month"],
        "created": NOW,
        "deleted": 0.0,
    }
    team = world.made("/admin/orgs/acme/teams", name="search", weight=2, priority=1)
    assert (team["org"], team["name"], team["weight"], team["priority"]) == ("acme", "search", 2.0, 1)
    made = world.made("/admin/keys", org="acme", team="search", name="ci", limits=["requests=5/second"])
    assert set(made) == {"key", "secret"}
    assert made["key"]["state"] == "active"
    assert world.ask("GET", f"/admin/keys/{made['key']['id']}").json() == made["key"]
    world.ask("GET", "/admin/orgs")  # the directory follows
    assert world.directory.authenticate(made["secret"].encode(), NOW).tenant.team == "search"
    assert [(who, action) for who, action, _ in world.told] == [
        ("admin.token", "org.create"),
        ("admin.token", "team.create"),
        ("admin.token", "key.create"),
    ]


def test_changes_set_what_is_sent(world: World) -> None:
    world.made("/admin/orgs", name="acme", models=["a"])
    world.made("/admin/orgs/acme/teams", name="t")
    key = world.made("/admin/keys", org="acme", team="t", weight=0.5)["key"]
    assert world.ask("PATCH", "/admin/orgs/acme", {"limits": ["requests=1/minute"]}).json()["models"] == ["a"]
    assert world.ask("PATCH", "/admin/orgs/acme/teams/t", {"weight": 3}).json()["weight"] == 3.0
    changed = world.ask("PATCH", f"/admin/keys/{key['id']}", {"weight": None, "name": "x"}).json()
    assert (changed["weight"], changed["name"]) == (None, "x")
    assert world.ask("PATCH", "/admin/orgs/acme", b"").json()["limits"] == ["requests=1/minute"]


def test_a_secret_is_shown_once(world: World) -> None:
    made = world.made("/admin/keys", name="ci")
    key_id = made["key"]["id"]
    rotated = world.ask("POST", f"/admin/keys/{key_id}/rotate", {"overlap_s": 60}).json()
    assert rotated["secret"] != made["secret"]
    assert rotated["key"]["previous_until"] == NOW + 60
    answers = [world.ask("GET", path) for path in ("/admin/keys", f"/admin/keys/{key_id}")]
    answers.append(world.ask("PATCH", f"/admin/keys/{key_id}", {"name": "z"}))
    answers.append(world.ask("DELETE", f"/admin/keys/{key_id}"))
    shown = "".join(answer.text for answer in answers) + repr(world.told)
    for secret in (made["secret"], rotated["secret"]):
        assert secret not in shown
        assert secret.rpartition("-")[2] not in shown
    assert "digest" not in shown
    assert answers[-1].json()["state"] == "revoked"
    assert answers[0].headers["cache-control"] == "no-store"


def test_deleting_ends_keys(world: World) -> None:
    world.made("/admin/orgs", name="acme")
    world.made("/admin/orgs/acme/teams", name="t")
    key_id = world.made("/admin/keys", org="acme", team="t")["key"]["id"]
    assert world.ask("DELETE", "/admin/orgs/acme/teams/t").json()["deleted"] == NOW
    assert world.ask("GET", f"/admin/keys/{key_id}").json()["state"] == "revoked"
    assert world.ask("DELETE", "/admin/orgs/acme").json()["deleted"] == NOW
    refused(world.ask("POST", "/admin/orgs/acme/teams", {"name": "u"}), 404, "not_found", "org")
    refused(world.ask("POST", "/admin/orgs", {"name": "acme"}), 409, "already_exists", "org")
    refused(world.ask("POST", f"/admin/keys/{key_id}/rotate"), 409, "key_revoked", "key")


def test_pages(world: World) -> None:
    for name in ("a", "b", "c"):
        world.made("/admin/orgs", name=name)
    first = world.ask("GET", "/admin/orgs?limit=2").json()
    assert ([org["name"] for org in first["orgs"]], first["next"]) == (["a", "b"], "b")
    rest = {"orgs": [world.ask("GET", "/admin/orgs/c").json()], "next": None}
    assert world.ask("GET", "/admin/orgs?limit=2&after=b").json() == rest
    world.made("/admin/orgs/a/teams", name="t")
    ids = {world.made("/admin/keys", org=org)["key"]["id"] for org in ("a", "a", "b")}
    world.made("/admin/keys", org="a", team="t")
    assert {key["id"] for key in world.ask("GET", "/admin/keys").json()["keys"]} > ids
    assert len(world.ask("GET", "/admin/keys?org=a").json()["keys"]) == 3
    assert len(world.ask("GET", "/admin/keys?org=a&team=t").json()["keys"]) == 1
    assert [team["name"] for team in world.ask("GET", "/admin/orgs/a/teams").json()["teams"]] == ["t"]
    for limit in ("0", "1001", "x", "-1"):
        refused(world.ask("GET", f"/admin/keys?limit={limit}"), 400, "invalid_request", "limit")


def test_a_state_is_told_by_the_clock(world: World) -> None:
    key_id = world.made("/admin/keys", expires=NOW + 10)["key"]["id"]
    world.now = NOW + 10
    assert world.ask("GET", f"/admin/keys/{key_id}").json()["state"] == "expired"


# -- who may -----------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/admin/orgs"),
    ("POST", "/admin/orgs"),
    ("GET", "/admin/orgs/acme"),
    ("PATCH", "/admin/orgs/acme"),
    ("DELETE", "/admin/orgs/acme"),
    ("GET", "/admin/orgs/acme/teams"),
    ("POST", "/admin/orgs/acme/teams"),
    ("GET", "/admin/orgs/acme/teams/t"),
    ("PATCH", "/admin/orgs/acme/teams/t"),
    ("DELETE", "/admin/orgs/acme/teams/t"),
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys"),
    ("GET", "/admin/keys/x"),
    ("PATCH", "/admin/keys/x"),
    ("DELETE", "/admin/keys/x"),
    ("POST", "/admin/keys/x/rotate"),
    ("HEAD", "/admin/keys"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_asks_for_an_administrator(world: World, method: str, path: str) -> None:
    plain = world.made("/admin/keys")["secret"]
    told = len(world.told)
    for credential in (None, "", "wrong", f"{TOKEN}x", TOKEN[:-1], "sk-ps-aaaaaaaaaaaa-" + "b" * 40):
        answer = world.ask(method, path, {}, credential)
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["www-authenticate"]
    assert world.ask(method, path, {}, plain).status_code == 403
    assert len(world.told) == told
    assert set(SECURITY_HEADERS) <= set(answer.headers)


def test_no_token_and_no_key_is_nobody(tmp_path: Path) -> None:
    """On loopback too, where the other admin routes are open."""
    with open_world(tmp_path / "identity.db", token="") as world:
        for credential in (None, "", "x"):
            assert world.ask("GET", "/admin/keys", None, credential).status_code == 401


def test_an_admin_key_administers_until_it_ends(world: World) -> None:
    made = world.made("/admin/keys", name="ops", admin=True)
    assert world.ask("POST", "/admin/orgs", {"name": "acme"}, made["secret"]).status_code == 201
    assert world.told[-1][:2] == (made["key"]["id"], "org.create")
    world.ask("DELETE", f"/admin/keys/{made['key']['id']}")
    refused(world.ask("GET", "/admin/orgs", None, made["secret"]), 401, "key_revoked")


def test_a_key_of_an_organisation_never_administers(world: World) -> None:
    world.made("/admin/orgs", name="acme")
    body = {"org": "acme", "admin": True}
    refused(world.ask("POST", "/admin/keys", body), 400, "invalid_request", "admin")
    made = world.made("/admin/keys", org="acme")
    refused(world.ask("PATCH", f"/admin/keys/{made['key']['id']}", {"admin": True}), 400, "invalid_request", "admin")
    refused(world.ask("GET", "/admin/keys", None, made["secret"]), 403, "admin_not_allowed")


def test_the_operator_is_no_key() -> None:
    assert OPERATOR.scopes.admin
    assert "." in OPERATOR.tenant.key  # an id of the store has none


# -- what does not get through -----------------------------------------------------------------------------------------

SQL = [
    "'; DROP TABLE identity_key; --",
    "' OR '1'='1",
    '" OR 1=1 --',
    "a' UNION SELECT body FROM identity_key --",
    "%",
    "_",
]


@pytest.mark.parametrize("text", SQL)
def test_statements_in_places_for_names(world: World, text: str) -> None:
    world.made("/admin/orgs", name="acme")
    made = world.made("/admin/keys", org="acme")
    refused(world.ask("POST", "/admin/orgs", {"name": text}), 400, "invalid_request", "org")
    refused(world.ask("POST", "/admin/orgs/acme/teams", {"name": text}), 400, "invalid_request", "team")
    refused(world.ask("POST", "/admin/keys", {"org": text}), 404, "not_found", "org")
    refused(world.ask("POST", "/admin/keys", {"org": "acme", "team": text}), 404, "not_found", "team")
    for query in ({"org": text}, {"org": "acme", "team": text}, {"after": f"zz{text}"}):
        assert world.client.get("/admin/keys", params=query, headers=bearer()).json()["keys"] == []
    for method in ("GET", "PATCH", "DELETE"):
        for path in (f"/admin/keys/{text}", f"/admin/orgs/{text}", f"/admin/orgs/acme/teams/{text}"):
            assert world.client.request(method, path, headers=bearer()).status_code == 404
    assert world.ask("PATCH", f"/admin/keys/{made['key']['id']}", {"name": text}).json()["name"] == text
    assert len(world.ask("GET", "/admin/keys").json()["keys"]) == 1


def bearer() -> dict[str, str]:
    return {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "path",
    [
        "/admin/orgs/acme/../globex",
        "/admin/orgs/./globex",
        "/admin/orgs/acme/teams/../../globex",
        "/admin/orgs/acme%2f..%2fglobex",
        "/admin//orgs/globex",
        "/admin/orgs//globex",
        "/admin/orgs/globex/",
        "/admin/orgs/globex\0",
        "/admin/orgs/globex ",
        "/admin/orgs/GLOBEX",
        "/admin/orgs/globex;x",
        "/admin/keys/../orgs/globex",
        "/admin/orgs/",
        "/admin/ORGS/globex",
    ],
)
def test_paths_that_mean_another_place_lead_nowhere(world: World, path: str) -> None:
    """Sent straight to the application, since every client tidies paths."""
    world.made("/admin/orgs", name="acme")
    world.made("/admin/orgs", name="globex")
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:8081"), (b"authorization", f"Bearer {TOKEN}".encode())]
    scope = {"type": "http", "method": "DELETE", "path": path, "raw_path": path.encode(), "query_string": b""}
    world.client.portal.call(world.app, {**scope, "headers": headers, "root_path": ""}, receive, send)  # type: ignore[union-attr]
    # A redirect would lead to the place as it is written, and is followed by nobody with another method.
    assert sent[0]["status"] in (404, 405, 307)
    assert world.ask("GET", "/admin/orgs/globex").json()["deleted"] == 0.0


@pytest.mark.parametrize(
    ("body", "param", "part"),
    [
        (b"{", None, "no JSON"),
        (b"\xff", None, "no JSON"),
        (b"[]", None, "expected"),
        ({"nmae": "x"}, None, "fields: models, endpoints, limits, name"),
        ({"weight": "2"}, "weight", "Expected `float | null`"),
        ({"models": "all"}, "models", "Expected `array`"),
        ({"models": [5]}, "models", "Expected `str`"),
        ({"models": None}, "models", "Expected `array`"),
        ({"limits": ["tokens=5"]}, "limits", "known: requests"),
        ({"expires": "tomorrow"}, "expires", "Expected `float`"),
        ({"admin": 1}, "admin", "Expected `bool`"),
        ({"id": "aaaaaaaaaaaa"}, None, "unknown field `id`"),
        ({"digest": "x"}, None, "unknown field"),
    ],
)
def test_bodies_are_checked_and_refusals_name_field_and_fix(
    world: World, body: Any, param: str | None, part: str
) -> None:
    message = refused(world.ask("POST", "/admin/keys", body), 400, "invalid_request", param)
    assert part.lower() in message.lower()


def test_a_large_body_is_not_read_to_its_end(world: World) -> None:
    refused(world.ask("POST", "/admin/keys", b" " * (LONGEST_BODY + 1)), 413, "request_too_large")


def test_a_wrong_method_names_the_right_ones(world: World) -> None:
    answer = world.ask("PUT", "/admin/keys")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_a_page_of_another_origin_may_not_write(world: World) -> None:
    headers = {**bearer(), "origin": "https://evil.example"}
    answer = world.client.post("/admin/keys", content=b"{}", headers=headers)
    refused(answer, 403, "cross_origin")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["org", "team", "name", "models", "endpoints", "limits", "weight", "priority", "expires", "x"]),
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=9) | st.lists(st.text(max_size=5)),
        max_size=4,
    )
)
def test_any_body_is_taken_or_refused(world: World, body: dict[str, Any]) -> None:
    answer = world.ask("POST", "/admin/keys", body)
    assert answer.status_code in (201, 400, 404), answer.text


def test_a_store_that_fails_is_told_and_nothing_of_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def spoil() -> None:
        async with world.store._transaction(write=True) as query:
            await query("DROP TABLE identity_key", ())

    world.client.portal.call(spoil)  # type: ignore[union-attr]
    world.stale = False
    message = refused(world.ask("GET", "/admin/keys"), 503, "identity_unavailable")
    assert "no such table" in message


def test_nothing_secret_reaches_a_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = world.made("/admin/keys", admin=True)
    world.ask("GET", "/admin/keys", None, made["secret"])
    rotated = world.ask("POST", f"/admin/keys/{made['key']['id']}/rotate", {}, made["secret"]).json()
    world.ask("GET", "/admin/keys", None, made["secret"])
    for secret in (made["secret"], rotated["secret"], TOKEN):
        assert secret not in caplog.text
