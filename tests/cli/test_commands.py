"""The other commands, and what they have in common."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import penstock
from penstock.cli import checks
from penstock.cli.fetch import store
from penstock.config import load
from tests.cli.conftest import Gateway, Run


def test_version(run: Run) -> None:
    assert run("--version").out == f"penstock {penstock.__version__}\n"


def test_help_lists_the_commands(run: Run) -> None:
    ran = run()
    assert ran.out == run("--help").out
    assert all(name in ran.out for name in ("up", "chat", "models", "explain", "doctor", "completion"))


@pytest.mark.parametrize(
    "arguments", [("-c", "import penstock"), ("-m", "penstock", "--version"), ("-m", "penstock", "-h")]
)
def test_starts_are_fast(arguments: tuple[str, ...]) -> None:
    """Under 0.3 s of CPU: the best of three, since other work shares the cores."""
    spent = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(spent) < 0.3


def test_help_imports_no_command() -> None:
    code = "import sys, penstock.cli; print([m for m in ('httpx', 'rich', 'uvloop', 'yaml') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("chta",), "unknown command 'chta'; did you mean 'chat'?"),
        (("zzz",), "known: up, chat"),
        (("--zzz",), "--zzz"),
        (("models", "pul"), "pul"),
        (("models", "pull", "smolm2"), "MODEL: 'smolm2' is not a known model"),
        (("models", "verify", "smolm2"), "MODEL: 'smolm2' is not a known model"),
        (("explain", "listen.prot"), "the config has no 'listen.prot'"),
        (("explain", "--set", "listen.prot=1"), "did you mean 'port'?"),
        (("completion", "csh"), "csh"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: tuple[str, ...], part: str) -> None:
    assert part in run(*arguments).refusal


def test_explain(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s" * 30)
    Path("penstock.yaml").write_text("auth: {keys: ['${SECRET}']}\nadmin: {token: plain-token}")
    ran = run("explain", "--set", "workers=2")
    lines = {line.split()[0]: line.split(None, 2)[1:] for line in ran.out.splitlines()}
    assert lines["workers"] == ["2", "--set workers"]
    assert lines["auth.keys.0"] == ["***", "penstock.yaml (${SECRET})"]
    assert lines["admin.token"] == ["***", "penstock.yaml"]
    assert "s" * 30 not in ran.out
    found = json.loads(run("explain", "--json", "listen").out)
    assert found[1] == {
        "field": "listen.port",
        "value": 8080,
        "origin": "default",
        "doc": "TCP port; 0 lets the system choose one",
    }


def test_explain_schema(run: Run) -> None:
    assert json.loads(run("explain", "--schema").out)["title"] == "penstock.yaml"


def test_models(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF" + bytes(1000))
    listed = json.loads(run("models", "list", "--json").out)
    assert [(row["name"], row["path"]) for row in listed] == [("smollm2-135m-instruct", None)]
    assert "not here" in run("models", "list").out
    assert run("models", "verify").err.startswith("no model is here yet")
    assert run("models", "verify", "smollm2-135m-instruct").code == 1

    pulled = json.loads(run("models", "pull", f"file:{file}", "--json").out)
    assert pulled["size"] == 1004
    assert run("models", "pull", f"file:{file}").out.endswith(f"{pulled['path']}\n")
    assert json.loads(run("models", "verify", "--json").out) == [
        {"name": pulled["name"], "ok": True, "sha256": pulled["sha256"], "error": None}
    ]

    Path(pulled["path"]).chmod(0o644)
    Path(pulled["path"]).write_bytes(b"GGUF" + bytes(999) + b"x")
    ran = run("models", "verify")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert pulled["sha256"] in ran.err
    assert json.loads(run("models", "verify", pulled["name"], "--json").out)[0]["ok"] is False


def test_a_model_that_cannot_be_fetched(run: Run) -> None:
    assert "/nowhere/m.gguf" in run("models", "pull", "file:/nowhere/m.gguf").refusal


def test_doctor_on_a_config_that_is_fine(run: Run, gateway: Gateway) -> None:
    engine = f"engines=[{{kind: http, name: far, url: {gateway.url}/v1}}]"
    ran = run("doctor", "--json", "--set", engine, "--set", "listen.port=0", "--set", "admin.port=0")
    found = {check["name"]: check for check in json.loads(ran.out)}
    assert found["config"]["level"] == found["engine far"]["level"] == "ok"
    assert found["listen port"]["level"] == "ok"
    assert all(check["fix"] for check in found.values() if check["level"] != "ok")
    assert ran.code == any(check["level"] == "fail" for check in found.values())


def test_doctor_names_what_fails_and_the_fix(run: Run) -> None:
    Path("penstock.yaml").write_text("engines: [{kind: http, name: far, url: http://127.0.0.1:1}]\nadmin: {port: 0}")
    with socket.create_server(("127.0.0.1", 0)) as held:
        ran = run("doctor", "--set", f"listen.port={held.getsockname()[1]}")
    assert ran.code == 1
    assert "fail  listen port" in ran.out
    assert "fail  engine far" in ran.out
    assert ran.out.count("fix: ") >= 2
    Path("penstock.yaml").write_text("workers: 0")
    ran = run("doctor")
    assert ran.code == 1
    assert "workers: expected int >= 1; found 0" in ran.out


def test_doctor_knows_a_running_penstock(gateway: Gateway) -> None:
    port = gateway.url.rpartition(":")[2]
    with socket.create_server(("127.0.0.1", 0)) as held:
        config = load(None, {}, (f"admin.port={port}", f"listen.port={held.getsockname()[1]}")).config
        found = list(checks.addresses(config))
    assert [(check.level, check.message.partition(" is ")[2]) for check in found] == [
        ("ok", "held by a running Penstock"),
        ("ok", "held by a running Penstock"),
    ]


def test_doctor_on_missing_models_and_cores(run: Run, tmp_path: Path) -> None:
    assert run("--version").code == 0  # the cache is empty from here on
    config = load(None, {}, ("workers=256",)).config
    model, disk = checks.models(config, store(), tmp_path / "cache")
    assert (model.level, model.fix) == ("warn", "penstock models pull smollm2-135m-instruct")
    assert disk.level in ("ok", "warn")
    assert [check.level for check in checks.cores(config)] == ["warn"]
    assert [check.name for check in checks.files(config)] == ["open files"]
    wrong = load(None, {}, ("engines.0.model=nonsense",)).config
    assert next(checks.models(wrong, store(), tmp_path)).level == "fail"


def complete(words: str, index: int) -> list[str]:
    env = {**os.environ, "_PENSTOCK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    ran = subprocess.run([sys.executable, "-m", "penstock"], env=env, capture_output=True, text=True, check=False)
    return [line.partition(",")[2] for line in ran.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["zsh", "fish", "bash"])
def test_completion_scripts(run: Run, shell: str) -> None:
    assert "_PENSTOCK_COMPLETE" in run("completion", shell).out


@pytest.mark.parametrize(
    ("words", "index", "wanted"),
    [
        ("penstock ch", 1, "chat"),
        ("penstock chat --model smol", 3, "smollm2-135m-instruct"),
        ("penstock models pull smol", 3, "smollm2-135m-instruct"),
        ("penstock explain listen.p", 2, "listen.port"),
        ("penstock up --set timeouts.h", 3, "timeouts.head="),
    ],
)
def test_completion(words: str, index: int, wanted: str) -> None:
    assert wanted in complete(words, index)
