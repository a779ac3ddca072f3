"""`penstock key` and `penstock tenant` on a store of their own."""

import datetime
import json
import time
from pathlib import Path

import pytest

from penstock.policy.identity.key import LENGTH
from tests.cli.conftest import Run

DAY = 86_400.0


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands find theirs."""
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("PENSTOCK_IDENTITY", raising=False)
    return tmp_path / "data" / "identity.db"


def test_a_tenant_from_beginning_to_end(run: Run, store: Path) -> None:
    run("tenant", "create", "acme", "--model", "llama-*", "--limit", "spend=100/month")
    made = json.loads(run("tenant", "create", "acme/search", "--weight", "2", "--priority", "1", "--json").out)
    assert (made["org"], made["name"], made["weight"], made["priority"]) == ("acme", "search", 2.0, 1)
    assert store.is_file()
    assert run("tenant", "list").out == "acme  spend=100/month\n"
    assert run("tenant", "list", "acme").out == "acme  search  2.0  1  -\n"
    assert "deleted    never" in run("tenant", "show", "acme/search").out
    changed = run("tenant", "set", "acme", "--limit", "requests=5/minute", "--limit", "spend=7/day", "--json")
    assert json.loads(changed.out)["limits"] == ["requests=5/minute", "spend=7/day"]
    cleared = json.loads(run("tenant", "set", "acme", "--limit", "", "--json").out)
    assert (cleared["limits"], cleared["models"]) == ([], ["llama-*"])
    assert run("tenant", "set", "acme/search", "--weight", "0.5").out.count("0.5") == 1
    assert run("tenant", "delete", "acme/search").out == "acme/search is deleted\n"
    assert run("tenant", "list", "acme").out == ""
    assert len(json.loads(run("tenant", "list", "acme", "--all", "--json").out)) == 1
    assert json.loads(run("tenant", "delete", "acme", "--json").out)["deleted"] > 0
    assert json.loads(run("tenant", "list", "--json").out) == []


def test_a_key_from_beginning_to_end(run: Run) -> None:
    run("tenant", "create", "acme")
    run("tenant", "create", "acme/search")
    ran = run("key", "create", "--org", "acme", "--team", "search", "--name", "ci", "--limit", "concurrent_requests=8")
    secret = ran.out.strip()
    key_id = secret.split("-")[2]
    assert ran.out == f"{secret}\n"
    assert len(secret) == LENGTH
    assert ran.err == f"This is key {key_id}. It is not shown again.\n"
    assert run("key", "list").out == f"{key_id}  active  acme  search  ci  concurrent_requests=8\n"
    rotated = json.loads(run("key", "rotate", key_id, "--json").out)
    assert rotated["secret"] != secret
    assert rotated["key"]["previous_until"] == pytest.approx(time.time() + DAY, abs=60)
    assert json.loads(run("key", "rotate", key_id, "--overlap", "0", "--json").out)["key"]["previous_until"] > 0
    shown = run("key", "show", key_id)
    assert "state           active" in shown.out
    assert secret.rpartition("-")[2] not in shown.out
    assert "name            x" in run("key", "set", key_id, "--name", "x").out
    assert run("key", "revoke", key_id).out == f"{key_id} is revoked\n"
    assert json.loads(run("key", "revoke", key_id, "--json").out)["state"] == "revoked"
    assert run("key", "list").out == ""
    assert "revoked" in run("key", "list", "--all", "--org", "acme", "--team", "search").out


def test_an_admin_key_and_back(run: Run) -> None:
    made = json.loads(run("key", "create", "--admin", "--json").out)["key"]
    assert made["admin"] is True
    assert json.loads(run("key", "set", made["id"], "--no-admin", "--json").out)["admin"] is False


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("never", 0.0),
        ("2999-01-31", datetime.datetime(2999, 1, 31, tzinfo=datetime.UTC).timestamp()),
        ("2999-01-31T12:00+01:00", datetime.datetime(2999, 1, 31, 11, tzinfo=datetime.UTC).timestamp()),
    ],
)
def test_expiry(run: Run, text: str, seconds: float) -> None:
    assert json.loads(run("key", "create", "--expires", text, "--json").out)["key"]["expires"] == seconds


def test_expiry_after_a_while(run: Run) -> None:
    made = json.loads(run("key", "create", "--expires", "30d", "--json").out)["key"]
    assert made["expires"] == pytest.approx(time.time() + 30 * DAY, abs=60)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("key", "create", "--org", "nix"), "org: 'nix' is not there"),
        (("key", "create", "--team", "x"), "needs its organisation"),
        (("key", "create", "--limit", "tokens=5/minute"), "limits: 'tokens' is not counted; known: requests"),
        (("key", "create", "--limit", "spend=5/week"), "after the / goes second, minute, hour"),
        (("key", "create", "--expires", "soon"), "--expires: 'soon' is no time"),
        (("key", "create", "--expires", "2020-01-01"), "not in the future"),
        (("key", "create", "--weight", "x"), "--weight"),
        (("key", "create", "--weight", "2"), "above its team's 1.0"),
        (("key", "create", "--model", "a*b"), "`*` only at its end"),
        (("key", "create", "--endpoint", "v1"), "write it like /v1/embeddings"),
        (("key", "create", "--org", "acme", "--admin"), "org: 'acme' is not there"),
        (("key", "show", "nix"), "key: 'nix' is not there"),
        (("key", "revoke", "'; DROP TABLE identity_key; --"), "is not there"),
        (("key", "rotate", "nix", "--overlap", "1w"), "--overlap: '1w' is no length of time"),
        (("key", "list", "--team", "x"), "give --org too"),
        (("key", "list", "--store", "mysql://u:hush@h/d"), "known: postgres, postgresql, sqlite"),
        (("key", "list", "--store", "nowhere"), "write sqlite:PATH"),
        (("key", "list", "--store", "postgresql://u:hush@/x y z=1"), "malformed"),
        (("tenant", "create", "a/b/c"), "team: 'b/c' is no name"),
        (("tenant", "create", "a b"), "is no name"),
        (("tenant", "create", "/x"), "write ORG or ORG/TEAM"),
        (("tenant", "create", "x/"), "write ORG or ORG/TEAM"),
        (("tenant", "create", "x", "--weight", "2"), "--weight: shares are given to teams"),
        (("tenant", "show", "nix"), "org: 'nix' is not there"),
        (("tenant", "list", "nix"), "org: 'nix' is not there"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: tuple[str, ...], part: str) -> None:
    refusal = run(*arguments).refusal
    assert part in refusal
    assert "hush" not in refusal


def test_a_store_that_is_away_is_one_line_too(run: Run) -> None:
    refusal = run("key", "list", "--store", "postgresql://u:hush@127.0.0.1:1/x").refusal
    assert "does not answer" in refusal
    assert "hush" not in refusal


def test_the_store_by_variable_and_option(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_IDENTITY", f"sqlite:{tmp_path / 'a.db'}")
    run("tenant", "create", "acme")
    assert run("tenant", "list").out == "acme  -\n"
    assert run("tenant", "list", "--store", f"sqlite:{tmp_path / 'b.db'}").out == ""


def test_the_config_that_is_named_says_where_the_store_is(run: Run, store: Path, tmp_path: Path) -> None:
    config = tmp_path / "elsewhere.yaml"
    config.write_text(f"state: {{folder: {tmp_path / 'other'}}}\n")
    run("tenant", "create", "acme", "-c", str(config))
    assert not store.exists()
    assert run("tenant", "list").out == ""
    assert run("tenant", "list", "--config", str(config)).out.startswith("acme")
    assert "no/such.yaml" in run("key", "list", "-c", "no/such.yaml").refusal
