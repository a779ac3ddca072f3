"""What each read route answers, and what it refuses."""

import time

import pytest

READS = [
    "/",
    "/console/console.js",
    "/metrics",
    "/healthz",
    "/readyz",
    "/admin/about",
    "/admin/engines",
    "/admin/live",
    "/admin/requests",
    "/admin/why/r0",
    "/admin/health",
    "/admin/memory",
    "/admin/timeline",
    "/admin/limits",
    "/admin/cost",
    "/admin/fairness",
]


@pytest.mark.parametrize("path", READS)
def test_every_read_route_answers_and_is_marked(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] in ("no-store", "no-cache")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_read_routes_refuse_writes(client, path, method):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert answer.json()["error"]["code"] == "method_not_allowed"


def test_why_tells_of_a_request_or_that_nobody_knows_it(client):
    assert client.get("/admin/why/r0").json() == {"id": "r0", "decisions": []}
    answer = client.get("/admin/why/r77")
    assert answer.status_code == 404
    assert "'r77'" in answer.json()["error"]["message"]
    assert "admin.records" in answer.json()["error"]["message"]


def test_health_has_a_row_per_worker(client):
    assert client.get("/admin/health").json() == {"workers": [{"local": {"weight": 1.0, "breaker": "closed"}}]}


def test_memory_has_a_row_per_worker_and_twenty_types_unless_asked(client, state):
    assert client.get("/admin/memory").json() == {"workers": [{"worker": 7, "types": []}]}
    client.get("/admin/memory?limit=3")
    assert state.asked_types == [20, 3]
    assert client.get("/admin/memory?limit=0").status_code == 400


def test_unknown_path_is_an_openai_error(client):
    answer = client.get("/admin/nothing")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert "/admin/nothing" in answer.json()["error"]["message"]


def test_metrics_is_the_prometheus_text_format(client):
    answer = client.get("/metrics")
    assert answer.text == "penstock_requests_total 3\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_ready_says_why_not(client, state):
    assert client.get("/readyz").json() == {"ready": True, "reasons": []}
    state.reasons = ["engine local is starting"]
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": ["engine local is starting"]}


def test_requests_passes_the_limit_and_writes_nan_as_null(client, state):
    assert client.get("/admin/requests").json()["requests"][0] == {"id": "r0", "ttft_s": None}
    assert len(client.get("/admin/requests?limit=2").json()["requests"]) == 2
    assert state.asked_limits == [50, 2]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "abc", "", "1.5", "1e2", "٣", "9" * 40])
def test_bad_limit_names_field_and_value(client, limit):
    answer = client.get("/admin/requests", params={"limit": limit})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "limit"
    assert repr(limit) in error["message"]


def test_healthz_lives_while_the_fleet_does_not(client, state):
    state.broken = TimeoutError("worker 1")
    assert client.get("/healthz").status_code == 200
    answer = client.get("/admin/live")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "worker_unavailable"


def test_a_fault_is_logged_and_not_told(client, state, caplog):
    state.broken = KeyError("secret detail")
    answer = client.get("/admin/engines")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret detail" in caplog.text


def test_timeline_is_fed_and_dated(connect, state):
    with connect() as client:
        deadline = time.monotonic() + 30
        while not (points := client.get("/admin/timeline").json()["points"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert points[0]["t"] == pytest.approx(time.time(), abs=5)
    assert points[0]["requests_s"] == pytest.approx(1 / points[0]["seconds"])
    assert points[0]["ttft_p50_s"] == pytest.approx(0.15)


def test_timeline_survives_a_bad_reading(connect, state, caplog):
    state.broken = TimeoutError("worker 1")
    with connect() as client:
        assert client.get("/admin/timeline").json()["points"] == []
    assert "missed a second" in caplog.text


def test_assets_are_revalidated_and_closed(client):
    first = client.get("/console/console.css")
    assert first.headers["content-type"] == "text/css; charset=utf-8"
    again = client.get("/console/console.css", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    for name in ("__init__.py", "..%2fadmin%2fapp.py", "../admin/app.py", ""):
        assert client.get(f"/console/{name}").status_code == 404


def test_the_page_needs_nothing_inline(client):
    page = client.get("/").text
    assert "style=" not in page
    assert "<style" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert page.count("<script") == page.count('src="/console/') - page.count("<img")
