"""`penstock picker` as its users run it."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HTTP = [{"kind": "http", "name": "far", "url": "http://127.0.0.1:9"}]


def run(folder: Path, engines: list[dict[str, Any]], *options: str) -> subprocess.CompletedProcess[str]:
    config = folder / "penstock.yaml"
    config.write_text(json.dumps({"engines": engines}))
    return subprocess.run(
        [sys.executable, "-m", "penstock", "picker", "-c", str(config), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("engines", "options", "said"),
    [
        ([{"kind": "llamacpp"}], [], "kind http, dns, file or kubernetes"),
        (HTTP, ["--objective", "batch=low"], "NAME=PRIORITY"),
        (HTTP, ["--host", "192.0.2.1"], "192.0.2.1"),
    ],
)
def test_bad_input_ends_with_one_line_and_2(
    tmp_path: Path, engines: list[dict[str, Any]], options: list[str], said: str
) -> None:
    ran = run(tmp_path, engines, "--port", "0", *options)
    assert ran.returncode == 2
    last = ran.stderr.strip().rpartition("\n")[2]
    assert last.startswith("penstock: ")
    assert said in last


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run(tmp_path, HTTP, "--port", str(port))
    assert ran.returncode == 2
    assert f"127.0.0.1:{port}" in ran.stderr
    assert "choose another" in ran.stderr
