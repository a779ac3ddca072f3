"""What the routes of limits, costs and fairness answer, switched on and off."""

import pytest
from starlette.testclient import TestClient

from penstock.core.errors import Unavailable
from penstock.gateway.admin.state import COST_GROUPS, Costs, Fairness, Limits
from tests.gateway.admin.conftest import FakeState

OFF = [
    ("/admin/limits", "limits", "rate_limits"),
    ("/admin/cost", "costs", "ledger.enabled: true"),
    ("/admin/fairness", "tenants", "auth.tenants: true"),
]


@pytest.mark.parametrize(("path", "noun", "field"), OFF)
def test_what_is_off_is_an_empty_list_and_how_to_switch_it_on(
    client: TestClient, path: str, noun: str, field: str
) -> None:
    body = client.get(path).json()
    assert (body["enabled"], body[noun]) == (False, [])
    assert field in body["how"]


def use(subject: str, part: float, rule: str = "requests_per_minute") -> dict[str, object]:
    return {"subject": subject, "rule": rule, "part": part}


def test_the_fullest_limits_come_first_and_all_are_counted(client: TestClient, state: FakeState) -> None:
    rows = [use("b", 0.2), use("a", 0.2), use("c", 1.25), use("d", 0.0), use("a", 0.2, "another")]
    state.kept_limits = Limits(rows, "")
    body = client.get("/admin/limits?limit=4").json()
    assert [(row["subject"], row["rule"]) for row in body["limits"]] == [
        ("c", "requests_per_minute"),
        ("a", "another"),
        ("a", "requests_per_minute"),
        ("b", "requests_per_minute"),
    ]
    assert (body["enabled"], body["how"], body["total"]) == (True, None, 5)
    assert body["store"] == {"answers": True, "problem": ""}


def test_a_store_of_limits_that_is_away_is_said(client: TestClient, state: FakeState) -> None:
    state.kept_limits = Limits([], "no answer within 0.5 s")
    assert client.get("/admin/limits").json()["store"] == {"answers": False, "problem": "no answer within 0.5 s"}


def test_costs_are_asked_by_group_and_days(client: TestClient, state: FakeState) -> None:
    row = {"org": "acme", "currency": "USD", "requests": 1, "cost": "0.000000001"}
    state.kept_costs = Costs([row], "the disk is full")
    body = client.get("/admin/cost?by=org&days=7").json()
    assert body == {
        "enabled": True,
        "how": None,
        "by": "org",
        "days": 7,
        "problem": "the disk is full",
        "total": 1,
        "costs": [row],
    }
    client.get("/admin/cost")
    for by in COST_GROUPS:
        assert client.get(f"/admin/cost?by={by}&days=366").status_code == 200
    assert state.asked_costs == [("org", 7), ("day", 30), *((by, 366) for by in COST_GROUPS)]


def test_the_dearest_come_first_and_days_stay_in_order(client: TestClient, state: FakeState) -> None:
    costs = [("0.9", 1), ("10", 1), ("0.000000001", 1), ("0", 1), ("0", 7)]
    state.kept_costs = Costs([{"name": n, "cost": c, "requests": r} for n, (c, r) in enumerate(costs)], "")
    body = client.get("/admin/cost?by=key&limit=4").json()
    assert ([row["name"] for row in body["costs"]], body["total"]) == ([1, 0, 2, 4], 5)
    assert [row["name"] for row in client.get("/admin/cost?by=day&limit=4").json()["costs"]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("query", "param"),
    [("days=0", "days"), ("days=367", "days"), ("days=-1", "days"), ("days=x", "days"), ("days=", "days"),
     ("by=engine", "by"), ("by=", "by"), ("by=day;DROP TABLE ledger_charges", "by")],
)  # fmt: skip
def test_what_cannot_be_asked_names_the_field(client: TestClient, state: FakeState, query: str, param: str) -> None:
    answer = client.get(f"/admin/cost?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert state.asked_costs == []


def test_a_ledger_that_is_away_is_a_503(client: TestClient, state: FakeState) -> None:
    state.broken = Unavailable("The ledger cannot be read: gone", code="ledger_unavailable")
    answer = client.get("/admin/cost")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "ledger_unavailable"


def test_fairness_has_its_index_and_a_row_per_tenant(client: TestClient, state: FakeState) -> None:
    row = {"tenant": "acme/search", "weight": 2.0, "waiting": 3, "share": 0.5, "wait_p50_s": 0.1, "wait_p95_s": None}
    state.kept_fairness = Fairness(60.0, 0.97, [row])
    body = client.get("/admin/fairness").json()
    assert body == {"enabled": True, "how": None, "window_s": 60.0, "index": 0.97, "tenants": [row]}


@pytest.mark.parametrize("path", [path for path, _, _ in OFF])
def test_the_guard_stands_before_them(connect, path: str) -> None:
    with connect(token="letmein-letmein") as client:
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"authorization": "Bearer letmein-letmein"}).status_code == 200
        assert client.get(path, headers={"host": "evil.example"}).status_code == 421
