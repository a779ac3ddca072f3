"""Law 10. A config that fails to load changes nothing."""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from penstock.config import Loaded, load
from penstock.core.errors import ConfigError
from penstock.gateway.supervisor import Supervisor
from tests.gateway.fuzzing import QUICK

GOOD: dict[str, Any] = {
    "listen": {"port": 0},
    "admin": {"port": 0},
    "engines": [{"kind": "http", "name": "a", "url": "http://127.0.0.1:9/v1", "models": ["m"]}],
    "timeouts": {"drain": 1.0},
}
"""What is running."""

FIELDS = st.sampled_from(
    (
        *("listen", "listen.port", "listen.host", "listen.tls", "admin.port", "admin.token", "workers", "engines"),
        *("engines.0.kind", "engines.0.url", "engines.0.name", "timeouts.drain", "timeouts.head", "log.access"),
        *("auth.keys", "no.such"),
    )
)
VALUES = st.sampled_from(
    (
        *(None, -1, 0, 99_999, 1e400, "", "x", "0.0.0.0", "${NOT_SET}", "/no/such/folder/file", [], ["k"], {}),
        *({"x": 1}, {"certificate": "/no/such", "key": "/no/such"}, True, "llamacpp", "ftp://x"),
    )
)
EDITS = st.lists(st.tuples(FIELDS, VALUES), min_size=1, max_size=3)


def edited(document: Mapping[str, Any], edits: list[tuple[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    for path, value in edits:
        node: Any = whole
        *parents, last = path.split(".")
        for part in parents:
            node = node[int(part)] if isinstance(node, list) and part.isdigit() and node else node
            node = node.setdefault(part, {}) if isinstance(node, dict) else node
        if isinstance(node, dict):
            node[last] = value
    return whole


class Running:
    """A supervisor as it stands while it serves, without the processes: nothing of it may change."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "penstock.yaml"
        self.path.write_text(yaml.safe_dump(GOOD))
        self.loaded = load(self.path, {})
        self.supervisor = Supervisor(self.loaded.config, {}, self._reload, lambda banner: None, lambda secret: None)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.supervisor._listener = self.listener

    def _reload(self) -> tuple[Loaded, dict[str, Path]]:
        return load(self.path, {}), {}

    def state(self) -> dict[str, Any]:
        """Everything the supervisor and its platform hold, one level deep; only the count of failures may grow."""
        held = vars(self.supervisor) | {f"platform.{name}": v for name, v in vars(self.supervisor.platform).items()}
        del held["_reloading"], held["platform.reload_failures"]
        return {name: list(v) if isinstance(v, list) else v for name, v in held.items()} | {
            "fd": self.listener.fileno()
        }

    def reload(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8", errors="surrogatepass")
        before, failures = self.state(), self.supervisor.platform.reload_failures
        uvloop.run(self.supervisor._take_new_config())
        assert self.state() == before
        assert self.supervisor.platform.reload_failures == failures + 1, "and it is told"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    running = Running(tmp_path_factory.mktemp("law10"))
    yield running
    running.listener.close()


@settings(QUICK, max_examples=150, suppress_health_check=list(HealthCheck))
@given(edits=EDITS)
def test_a_document_with_a_wrong_value_changes_nothing(running: Running, edits: list[tuple[str, Any]]) -> None:
    text = yaml.safe_dump(edited(GOOD, edits))
    running.path.write_text(text)
    try:
        load(running.path, {})
    except ConfigError:
        running.reload(text)
    else:
        assume(False)


@settings(QUICK, max_examples=100, suppress_health_check=list(HealthCheck))
@given(text=st.text(max_size=60) | st.text("{}[]:-,'\"&*!|>\n ab", max_size=40))
def test_a_document_that_is_none_changes_nothing(running: Running, text: str) -> None:
    running.path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        load(running.path, {})
    except ConfigError:
        running.reload(text)
    else:
        assume(False)


@pytest.mark.parametrize("fault", ["busy port", "admin moved", "no certificate", "no log folder"])
def test_a_config_that_loads_but_cannot_be_served_changes_nothing(running: Running, fault: str) -> None:
    """These pass every check of the document; the machine refuses them."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        edits: dict[str, list[tuple[str, Any]]] = {
            "busy port": [("listen.port", busy.getsockname()[1])],
            "admin moved": [("admin.port", 1), ("timeouts.drain", 2.0)],
            "no certificate": [("listen.tls", {"certificate": "/no/such", "key": "/no/such"})],
            "no log folder": [("log.access", "/no/such/folder/log")],
        }
        document = edited(GOOD, edits[fault])
        running.path.write_text(yaml.safe_dump(document))
        assert load(running.path, {}).config != running.loaded.config
        running.reload(yaml.safe_dump(document))


def test_a_document_that_is_gone_changes_nothing(running: Running) -> None:
    before = running.state()
    running.path.unlink()
    asyncio.run(running.supervisor._take_new_config())
    assert running.state() == before
