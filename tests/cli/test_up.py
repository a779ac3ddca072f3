"""`penstock up`: what it hands to the supervisor, what it prints, and why it does not start."""

import ast
import json
import shlex
import socket
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from penstock.cli import banner, up
from penstock.config import Loaded
from penstock.core.errors import ConfigError
from tests.cli.conftest import Run

HTTP = "engines=[{kind: http, name: far, url: http://127.0.0.1:1}]"


class Supervisor:
    """Takes the place of the real one and keeps what it was given."""

    def __init__(self) -> None:
        self.loaded: Loaded | None = None
        self.reload: Callable[[], tuple[Loaded, dict[str, Path]]] | None = None
        self.paths: dict[str, Path] = {}

    def run(
        self,
        loaded: Loaded,
        paths: dict[str, Path],
        reload: Callable[[], tuple[Loaded, dict[str, Path]]],
        show: Callable[[up.supervisor.Banner], None],
        first_key: Callable[[str], None],
    ) -> None:
        self.loaded, self.paths, self.reload = loaded, paths, reload
        first_key("sk-ps-first")
        show(up.supervisor.Banner("http://127.0.0.1:5", "http://127.0.0.1:6", ["m"], ["far"]))


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    fake = Supervisor()
    monkeypatch.setattr(up.supervisor, "run", fake.run)
    return fake


def test_options_reach_the_config(run: Run, supervisor: Supervisor) -> None:
    Path("penstock.yaml").write_text("listen: {port: 0}\nworkers: 2")
    ran = run("up", "--set", HTTP, "--set", "admin.port=0", "--host", "127.0.0.2")
    assert ran.code == 0, ran.err
    assert supervisor.loaded is not None
    assert supervisor.loaded.config.listen.host == "127.0.0.2"
    assert supervisor.loaded.config.workers == 2
    assert supervisor.loaded.origins["listen.host"] == "--host"
    assert "http://127.0.0.1:5/v1  (open to this machine, without a key" in ran.out
    assert ran.out.count("sk-ps-first") == 1
    assert "sk-ps-first" not in ran.err


def test_an_embedded_model_is_fetched_first(run: Run, supervisor: Supervisor, tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF" + bytes(100))
    ran = run("up", "--set", "listen.port=0", "--set", "admin.port=0", "--set", f"engines.0.model=file:{model}")
    assert ran.code == 0, ran.err
    assert supervisor.paths["local"].read_bytes() == model.read_bytes()


def test_a_reload_that_fails_leaves_what_runs(run: Run, supervisor: Supervisor) -> None:
    path = Path("penstock.yaml")
    path.write_text("listen: {port: 0}\nadmin: {port: 0}\nworkers: 2\n" + f"engines: {HTTP.partition('=')[2]}\n")
    assert run("up").code == 0
    assert supervisor.loaded is not None
    assert supervisor.reload is not None
    path.write_text("workers: 0")
    with pytest.raises(ConfigError, match="workers"):
        supervisor.reload()
    assert supervisor.loaded.config.workers == 2
    path.write_text(f"workers: 3\nengines: {HTTP.partition('=')[2]}")
    assert supervisor.reload()[0].config.workers == 3


def test_a_busy_port_is_named_with_the_fix(run: Run, supervisor: Supervisor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        said = run("up", "--set", HTTP, "--port", str(port), "--admin-port", "0").refusal
        assert f"listen.port: {port} on 127.0.0.1 is in use" in said
        assert "choose --port " in said
        said = run("up", "--set", HTTP, "--admin-port", str(port), "--port", "0").refusal
        assert f"admin.port: {port} on 127.0.0.1 is in use" in said
        assert "choose --admin-port " in said
    assert supervisor.loaded is None


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--port", "70000"), "'--port': 70000"),
        (("--host", "0.0.0.0"), "listen.host: '0.0.0.0' is not loopback"),
        (("--host", "192.0.2.1", "--set", f"auth.keys.0={'k' * 20}"), "listen.host: '192.0.2.1' is no address"),
        (("--set", "listen.prot=1"), "did you mean 'port'?"),
        (("--set", "engines.0.model=smollm2", "--port", "0", "--admin-port", "0"), "engines.0.model: 'smollm2'"),
        (("extra",), "extra"),
    ],
)
def test_bad_input(run: Run, supervisor: Supervisor, arguments: tuple[str, ...], part: str) -> None:
    assert part in run("up", *arguments).refusal
    assert supervisor.loaded is None


@pytest.mark.parametrize("keys", [True, False])
def test_the_banner_can_be_pasted(keys: bool) -> None:
    model = 'it\'s "odd"'
    line = shlex.split(banner.curl("http://h/v1", model, keys=keys))
    assert json.loads(line[line.index("-d") + 1])["model"] == model
    ast.parse(banner.python("http://h/v1", model, keys=keys))
    text = click.unstyle(banner.text("http://h", "http://a", [model], keys=keys))
    assert ("PENSTOCK_API_KEY" in text) is keys
