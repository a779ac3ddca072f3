"""Who may ask the admin listener."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.admin.guard import is_ours

TOKEN = "s3cret-token"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "127.8.9.1", "[::1]:8081", "a.localhost", "localhost."],
)
def test_loopback_is_ours(client, host):
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8081",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "notlocalhost",
        "10.0.0.1",
        "[fe80::1]",
        "localhost:x",
        "[",
        "",
        "127.0.0.1/evil",
    ],
)
@pytest.mark.parametrize("path", ["/", "/healthz", "/admin/requests", "/console/console.js"])
def test_a_rebound_name_is_refused(client, host, path):
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "misdirected_request"


def test_the_bound_name_is_ours_and_no_other():
    assert is_ours("box.example:8081", "box.example")
    assert is_ours("10.1.2.3:8081", "10.1.2.3")
    assert not is_ours("10.1.2.4", "10.1.2.3")


@given(st.ip_addresses(v=4).map(str))
def test_bound_to_all_addresses_any_address_is_ours_but_no_name(address):
    assert is_ours(address, "0.0.0.0")
    assert not is_ours(f"{address}.example", "0.0.0.0")


@given(st.text(max_size=20))
def test_any_host_text_gets_a_verdict(host):
    assert is_ours(host, "127.0.0.1") in (True, False)


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/admin/about", "/admin/engines", "/admin/live"])
def test_token_is_asked_of_every_figure(connect, path):
    with connect(token=TOKEN) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_admin_token"
            assert "Bearer" in answer.headers["www-authenticate"]
        assert client.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get(path, headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
        assert client.get(path, headers={"x-penstock-admin-token": TOKEN}).status_code == 200


def test_the_page_loads_without_the_token_so_that_it_can_ask(connect):
    with connect(token=TOKEN) as client:
        for path in ("/healthz", "/", "/console/console.js"):
            assert client.get(path).status_code == 200
        assert client.post("/v1/chat/completions", json={}).status_code == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:9999", "null"])
def test_another_site_may_not_write(client, origin):
    answer = client.post("/v1/chat/completions", json={}, headers={"origin": origin})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "cross_origin"


def test_a_form_may_not_write(client):
    answer = client.post("/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "content-type"
