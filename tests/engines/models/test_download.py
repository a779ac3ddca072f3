"""The downloader against a server, a disk and a kill that misbehave."""

import hashlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.errors import ModelError
from penstock.engines.models.download import Downloader, Expected
from penstock.engines.models.partial import Origin, Partial


def plain() -> httpx.Client:
    return httpx.Client(trust_env=False, verify=False, follow_redirects=True, timeout=5.0)


def downloader(attempts: int = 6) -> Downloader:
    return Downloader(plain, sleep=lambda _: None, attempts=attempts)


def fetch(server: Any, into: Path, heard: Any, expected: Expected | None = None, attempts: int = 6) -> None:
    downloader(attempts).fetch(f"{server.url}/a.gguf", into, heard, expected)


def leave_partial(server: Any, into: Path, data: bytes, validator: str = '"v1"') -> Partial:
    partial = Partial(into)
    partial.begin(Origin(f"{server.url}/a.gguf", validator))
    partial.path.write_bytes(data)
    return partial


def ranges(server: Any) -> list[str | None]:
    return [headers.get("range") for _, _, headers in server.seen]


def only(folder: Path, name: str) -> bool:
    return [path.name for path in folder.iterdir()] == [name]


def test_a_whole_download_leaves_only_the_file(server: Any, tmp_path: Path, heard: Any) -> None:
    into = tmp_path / "a.gguf"
    fetch(server, into, heard, Expected(server.sha256, len(server.body)))
    assert into.read_bytes() == server.body
    assert only(tmp_path, "a.gguf")
    assert (heard.starts, heard.advanced, heard.finished) == ([(1 << 20, 0)], 1 << 20, 1)


def test_a_dropped_connection_is_continued(server: Any, tmp_path: Path, heard: Any) -> None:
    server.drops = 3
    fetch(server, tmp_path / "a.gguf", heard, Expected(server.sha256))
    assert (tmp_path / "a.gguf").read_bytes() == server.body
    assert ranges(server)[0] is None
    assert all(ranges(server)[1:])
    assert heard.advanced == len(server.body)


def test_a_server_without_ranges_restarts_cleanly(server: Any, tmp_path: Path, heard: Any) -> None:
    server.drops, server.ranges = 2, False
    fetch(server, tmp_path / "a.gguf", heard, Expected(server.sha256))
    assert (tmp_path / "a.gguf").read_bytes() == server.body


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Any, tmp_path: Path, heard: Any) -> None:
    leave_partial(server, tmp_path / "a.gguf", b"old" * 100, '"v0"')
    fetch(server, tmp_path / "a.gguf", heard)
    assert (tmp_path / "a.gguf").read_bytes() == server.body
    assert heard.starts == [(1 << 20, 0)]


def test_a_damaged_partial_is_found_and_fetched_anew(server: Any, tmp_path: Path, heard: Any) -> None:
    leave_partial(server, tmp_path / "a.gguf", b"x" * 1000)
    fetch(server, tmp_path / "a.gguf", heard, Expected(server.sha256))
    assert (tmp_path / "a.gguf").read_bytes() == server.body
    assert any("starting again" in message for message in heard.messages)


def test_a_partial_without_a_validator_is_continued_only_when_pinned(server: Any, tmp_path: Path, heard: Any) -> None:
    server.etag = ""
    leave_partial(server, tmp_path / "a.gguf", server.body[:1000], "")
    fetch(server, tmp_path / "a.gguf", heard)
    leave_partial(server, tmp_path / "b.gguf", server.body[:1000], "")
    fetch(server, tmp_path / "b.gguf", heard, Expected(server.sha256))
    assert ranges(server) == [None, "bytes=1000-"]
    assert (tmp_path / "b.gguf").read_bytes() == (tmp_path / "a.gguf").read_bytes() == server.body


def test_a_partial_that_is_already_whole_needs_no_byte(server: Any, tmp_path: Path, heard: Any) -> None:
    leave_partial(server, tmp_path / "a.gguf", server.body)
    fetch(server, tmp_path / "a.gguf", heard, Expected(server.sha256))
    assert heard.advanced == 0
    assert (tmp_path / "a.gguf").read_bytes() == server.body


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.integers(0, (1 << 20) + 10), drops=st.integers(0, 4), honours=st.booleans())
def test_whatever_was_kept_the_result_is_exact(
    server: Any, tmp_path: Path, heard: Any, kept: int, drops: int, honours: bool
) -> None:
    into = tmp_path / "a.gguf"
    into.unlink(missing_ok=True)
    leave_partial(server, into, (server.body + b"0123456789")[:kept])
    server.drops, server.ranges = drops, honours
    fetch(server, into, heard, Expected(server.sha256, len(server.body)))
    assert into.read_bytes() == server.body
    assert only(tmp_path, "a.gguf")


def test_wrong_content_is_refused_with_both_digests(server: Any, tmp_path: Path, heard: Any) -> None:
    with pytest.raises(ModelError) as caught:
        fetch(server, tmp_path / "a.gguf", heard, Expected("ab" * 32))
    assert "ab" * 32 in str(caught.value)
    assert server.sha256 in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_short_file_is_refused_before_it_is_fetched(server: Any, tmp_path: Path, heard: Any) -> None:
    with pytest.raises(ModelError, match=r"expected 2000000 bytes, found 1048576"):
        fetch(server, tmp_path / "a.gguf", heard, Expected(size=2_000_000))
    assert heard.advanced == 0
    assert not (tmp_path / "a.gguf").exists()


def test_a_server_that_always_ends_early_is_given_up_and_the_bytes_kept(
    server: Any, tmp_path: Path, heard: Any
) -> None:
    server.announce, server.ranges = len(server.body) + 5, False
    with pytest.raises(ModelError, match=r"cannot download .* bytes are here"):
        fetch(server, tmp_path / "a.gguf", heard, attempts=2)
    assert Partial(tmp_path / "a.gguf").size() > 0
    assert not (tmp_path / "a.gguf").exists()


def test_busy_answers_are_retried_with_growing_pauses(server: Any, tmp_path: Path, heard: Any) -> None:
    server.refusals = [503, 429, 500]
    pauses: list[float] = []
    Downloader(plain, sleep=pauses.append).fetch(f"{server.url}/a.gguf", tmp_path / "a.gguf", heard)
    assert pauses == [0.5, 1.0, 2.0]
    assert (tmp_path / "a.gguf").read_bytes() == server.body


@pytest.mark.parametrize(("status", "says"), [(404, "nothing is there"), (401, "HF_TOKEN"), (418, "check the")])
def test_a_refusal_is_final_and_hides_the_query(
    server: Any, tmp_path: Path, heard: Any, status: int, says: str
) -> None:
    server.refusals = [status]
    with pytest.raises(ModelError, match=says) as caught:
        downloader().fetch(f"{server.url}/a.gguf?signature=secret", tmp_path / "a.gguf", heard)
    assert "secret" not in str(caught.value)
    assert len(server.seen) == 1


def test_nobody_listening_is_given_up_after_the_attempts(tmp_path: Path, heard: Any) -> None:
    pauses: list[float] = []
    with pytest.raises(ModelError, match="check the network"):
        Downloader(plain, sleep=pauses.append, attempts=3).fetch(
            "http://127.0.0.1:9/a.gguf", tmp_path / "a.gguf", heard
        )
    assert len(pauses) == 2


def test_https_is_never_followed_to_http(server: Any, tmp_path: Path, heard: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": f"{server.url}/a.gguf"})

    loader = Downloader(lambda: httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True))
    with pytest.raises(ModelError, match="tampered"):
        loader.fetch("https://host/a.gguf", tmp_path / "a.gguf", heard)
    assert not server.seen


def test_too_little_space_is_told_before_the_first_byte(
    server: Any, tmp_path: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("penstock.engines.models.partial.shutil.disk_usage", lambda _: full)
    with pytest.raises(ModelError, match=r"1048576 more bytes are needed, 1000 are free"):
        fetch(server, tmp_path / "a.gguf", heard)
    assert heard.advanced == 0


FETCH = """
import sys
from pathlib import Path
from penstock.core.errors import ModelError
from penstock.engines.models.download import Downloader, Expected
from penstock.engines.models.progress import Silent
try:
    Downloader().fetch(sys.argv[1], Path(sys.argv[2]), Silent(), Expected(sys.argv[3]))
except ModelError as error:
    sys.exit(str(error))
"""


def run_fetch(server: Any, into: Path, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", FETCH, f"{server.url}/a.gguf", str(into), server.sha256]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def test_a_disk_that_fills_up_is_told_and_the_space_given_back(server: Any, tmp_path: Path) -> None:
    def cap_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    with run_fetch(server, tmp_path / "a.gguf", preexec_fn=cap_files) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "is full after" in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_no_file_and_the_next_continues(server: Any, tmp_path: Path, heard: Any) -> None:
    into = tmp_path / "a.gguf"
    server.slowly_s = 0.05
    with run_fetch(server, into) as process:
        deadline = time.monotonic() + 15
        while Partial(into).size() < 100_000:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    assert not into.exists()
    server.let_go.set()
    fetch(server, into, heard, Expected(server.sha256))
    assert heard.starts[0][1] >= 100_000
    assert hashlib.sha256(into.read_bytes()).hexdigest() == server.sha256
    assert os.listdir(tmp_path) == ["a.gguf"]
