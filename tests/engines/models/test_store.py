"""The store: pulls, checks, refusals, two processes at once."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import ConfigError, ModelError
from penstock.core.registry import Registry
from penstock.engines.models.progress import Progress, Silent
from penstock.engines.models.reference import Reference
from penstock.engines.models.source import Source
from penstock.engines.models.sources import sources
from penstock.engines.models.store import Store, cache_folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", sources({}), clock=lambda: 0.0)


@pytest.fixture
def reference(server: Any) -> str:
    return f"{server.url}/Some%20Model.Q4.gguf#sha256={server.sha256}"


def test_a_pull_is_kept_and_found_again(store: Store, server: Any, reference: str, heard: Any) -> None:
    assert store.find(reference) is None
    model = store.pull(reference, heard)
    assert model.path.name == "Some Model.Q4.gguf"
    assert model.path.read_bytes() == server.body
    assert model.name.startswith("some-model.q4-")
    assert (model.manifest.sha256, model.manifest.size) == (server.sha256, len(server.body))
    assert model.manifest.pulled_at == "1970-01-01T00:00:00+00:00"
    assert store.list() == [model]
    assert store.pull(reference, heard) == store.find(reference) == store.verify(model.name) == model
    assert len(server.seen) == 1
    assert sorted(path.name for path in model.path.parent.iterdir()) == [
        ".lock",
        "Some Model.Q4.gguf",
        "manifest.json",
    ]


@pytest.mark.parametrize("damage", ["short", "changed", "touched-and-changed"])
def test_damage_is_refused_with_both_digests_and_a_pull_mends_it(
    store: Store, server: Any, reference: str, heard: Any, damage: str
) -> None:
    model = store.pull(reference, heard)
    stat = model.path.stat()
    wrong = server.body[:-1] if damage == "short" else b"x" + server.body[1:]
    model.path.write_bytes(wrong)
    if damage == "changed":
        os.utime(model.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert store.find(reference) == model  # the quick check cannot see this; `verify` does
    else:
        with pytest.raises(ModelError, match=server.sha256):
            store.find(reference)
    with pytest.raises(ModelError, match="damaged") as caught:
        store.verify(reference)
    assert hashlib.sha256(wrong).hexdigest() in str(caught.value)
    assert server.sha256 in str(caught.value)
    if damage != "changed":
        assert store.pull(reference, heard).path.read_bytes() == server.body
        assert any("fetching it again" in message for message in heard.messages)


def test_a_touched_file_is_read_once_and_then_trusted(store: Store, reference: str) -> None:
    model = store.pull(reference, Silent())
    os.utime(model.path, ns=(1, 1))
    again = store.find(reference)
    assert again is not None
    assert again.manifest.mtime_ns == 1
    assert store.find(reference) == again


def test_a_missing_file_is_told_by_verify(store: Store, reference: str) -> None:
    with pytest.raises(ModelError, match="models pull"):
        store.verify(reference)
    store.pull(reference, Silent()).path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        store.verify(reference)


def test_wrong_content_never_enters_the_store(store: Store, server: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ab" * 32):
        store.pull(f"{server.url}/a.gguf#sha256={'ab' * 32}", Silent())
    assert store.list() == []
    assert not list(tmp_path.rglob("*.gguf*"))


def test_a_source_that_lies_is_caught_by_the_store(tmp_path: Path) -> None:
    class Liar:
        def fetch(self, reference: Reference, into: Path, progress: Progress) -> None:
            into.write_bytes(b"something else")

    entries: dict[str, Source] = {"file": Liar()}
    store = Store(tmp_path, Registry("model source", entries))
    with pytest.raises(ModelError, match="expected sha256 " + "ab" * 32):
        store.pull(f"file:/a.gguf#sha256={'ab' * 32}", Silent())
    assert store.list() == []
    with pytest.raises(ConfigError, match="unknown model source 'hf'; known: file"):
        store.pull("hf:org/repo/a.gguf", Silent())


def test_a_broken_manifest_only_costs_a_pull(store: Store, reference: str, server: Any) -> None:
    model = store.pull(reference, Silent())
    (model.path.parent / "manifest.json").write_text('{"reference": "file:/etc/../x"}')
    assert store.list() == []
    assert store.pull(reference, Silent()).path.read_bytes() == server.body


PULL = """
import sys
from pathlib import Path
from penstock.engines.models.progress import Silent
from penstock.engines.models.sources import sources
from penstock.engines.models.store import Store
print(Store(Path(sys.argv[1]), sources({})).pull(sys.argv[2], Silent()).manifest.sha256)
"""


def test_processes_that_pull_at_once_share_one_download(server: Any, reference: str, tmp_path: Path) -> None:
    server.slowly_s = 0.01
    command = [sys.executable, "-c", PULL, str(tmp_path), reference]
    pullers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [puller.communicate(timeout=30)[0].strip() for puller in pullers]
    assert answers == [server.sha256] * 3
    assert len(server.seen) == 1


def test_the_cache_folder_is_chosen_by_the_environment(tmp_path: Path) -> None:
    home = Path("/home/u")
    assert cache_folder({"PENSTOCK_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, home) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b"}, home) == Path("/b/penstock")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}, home) == Path("/home/u/.cache/penstock")
    assert cache_folder({}, home) == Path("/home/u/.cache/penstock")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="PENSTOCK_CACHE"):
        Store(tmp_path / "file", sources({})).pull("file:/a.gguf", Silent())
