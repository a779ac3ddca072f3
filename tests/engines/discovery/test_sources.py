"""Static, file and DNS: names, changes, and what a broken source does to what is known."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.engines.discovery.dns import Answer, DnsSource, addresses
from penstock.engines.discovery.file import FileSource
from penstock.engines.discovery.found import Announcer, Found, base_url, name_of, url_of
from penstock.engines.discovery.static import StaticSource

Watching = Callable[[Any], AbstractAsyncContextManager[Any]]
pytestmark = pytest.mark.anyio


def test_a_name_is_the_address() -> None:
    assert name_of("pool", "http://10.0.0.5:8000") == "pool-10.0.0.5-8000"
    assert name_of("pool", url_of("http", "fd00::5", 8000)) == name_of("pool", "http://[FD00:0::5]:8000")
    assert name_of("", "https://Engine.example/a/b") == "engine.example-443-a-b"


@given(st.ip_addresses().map(str), st.integers(1, 65535))
def test_different_addresses_have_different_sound_names(host: str, port: int) -> None:
    name = name_of("p", url_of("http", host, port))
    assert name.replace(".", "").replace("-", "").isalnum()
    assert name != name_of("p", url_of("http", host, port % 65535 + 1))


def test_urls_are_bases() -> None:
    assert base_url("http://a:1/v1/") == base_url("http://a:1") == "http://a:1"
    for wrong in ("a:1", "ftp://a", "http://", "http://a?x", "http://a:99999"):
        with pytest.raises(ConfigError, match="is not the URL of an engine"):
            base_url(wrong)


def test_only_changes_are_told_and_an_address_only_once() -> None:
    told: list[tuple[Found, ...]] = []
    announcer = Announcer(told.append)
    a, b = Found("a", "http://a"), Found("b", "http://b")
    for found in ([], [b, a], [a, b, Found("c", "http://a")], [a]):
        announcer.tell(found)
    assert told == [(), (a, b), (a,)]


async def test_static_engines_are_told_once(watching: Watching) -> None:
    async with watching(StaticSource("s", ["http://a:1/v1", "http://b:2"])) as watched:
        await watched.until(lambda: watched.urls == ["http://a:1", "http://b:2"])
    assert len(watched.told) == 1


async def test_a_file_is_followed(watching: Watching, tmp_path: Path) -> None:
    path = tmp_path / "engines.yaml"
    path.write_text("- http://a:1/v1\n- {url: 'http://b:2', name: bee, labels: {zone: x}}\n")
    async with watching(FileSource("f", path, interval_s=0.02)) as watched:
        await watched.until(lambda: watched.told)
        assert watched.told[-1] == (Found("f-a-1", "http://a:1"), Found("f-bee", "http://b:2", {"zone": "x"}))
        new = tmp_path / "new"
        new.write_text(json.dumps(["http://c:3"]))
        new.rename(path)
        await watched.until(lambda: watched.urls == ["http://c:3"])
        path.write_text("[]")
        await watched.until(lambda: watched.told[-1] == ())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "neither YAML nor JSON"),
        ("urls: [http://b:1]", "must hold a list"),
        ("- {name: x}", "must hold a list"),
        ("- {url: http://b:1, weight: 1}", "must hold a list"),
        ("- b:1", "'b:1' is not the URL"),
        ("- {url: 'http://b:1', name: x}\n- {url: 'http://c:1', name: x}", "names 'f-x' twice"),
        ("", "must hold a list"),
    ],
)
async def test_a_broken_file_changes_nothing_and_is_reported(
    watching: Watching, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "engines.yaml"
    path.write_text("[http://a:1]")
    async with watching(FileSource("f", path, interval_s=0.02)) as watched:
        await watched.until(lambda: watched.urls == ["http://a:1"])
        path.write_text(text + "\n")
        await watched.until(lambda: says in watched.source.problem)
        path.unlink()
        await watched.until(lambda: "cannot be read" in watched.source.problem)
        assert watched.urls == ["http://a:1"]
        path.write_text("[http://b:1]")
        await watched.until(lambda: watched.urls == ["http://b:1"])
        assert watched.source.problem == ""


async def test_a_file_of_the_same_size_and_time_but_another_is_seen(watching: Watching, tmp_path: Path) -> None:
    path, new = tmp_path / "e", tmp_path / "n"
    for each, letter in ((path, "a"), (new, "b")):
        each.write_text(f"[http://{letter}:1]")
        os.utime(each, ns=(1, 1))
    async with watching(FileSource("f", path, interval_s=0.02)) as watched:
        await watched.until(lambda: watched.urls == ["http://a:1"])
        new.rename(path)
        await watched.until(lambda: watched.urls == ["http://b:1"])


async def test_dns_is_asked_again_and_its_failure_changes_nothing(watching: Watching) -> None:
    answers: list[Answer | OSError] = [
        Answer((("10.0.0.2", 0), ("10.0.0.1", 0), ("fd00::1", 9000))),
        OSError(-2, "Name or service not known"),
    ]
    seen: list[str] = []

    def resolve(host: str) -> Answer:
        seen.append(host)
        answer = answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    async with watching(DnsSource("d", "engines.local", 8000, interval_s=0.02, resolve=resolve)) as watched:
        everything = ["http://10.0.0.1:8000", "http://10.0.0.2:8000", "http://[fd00::1]:9000"]
        await watched.until(lambda: watched.urls == everything)
        answers.pop(0)
        await watched.until(lambda: "engines.local cannot be resolved" in watched.source.problem)
        assert watched.urls == everything
        answers[0] = Answer((("10.0.0.1", 0),))
        await watched.until(lambda: watched.urls == ["http://10.0.0.1:8000"])
        assert watched.source.problem == ""
        assert watched.told[0][0].name == watched.told[1][0].name == "d-10.0.0.1-8000"


async def test_a_short_life_of_records_shortens_the_wait(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.engines.discovery.dns.FASTEST_S", 0.01)
    count = iter(range(1, 1000))

    def resolve(_: str) -> Answer:
        return Answer(((f"10.0.0.{next(count)}", 0),), lives_s=0.0)

    async with watching(DnsSource("d", "e", 1, interval_s=60.0, resolve=resolve)) as watched:
        await watched.until(lambda: len(watched.told) > 2)


def test_the_system_s_resolver_is_asked() -> None:
    assert ("127.0.0.1", 0) in addresses("localhost").targets
    with pytest.raises(OSError):
        addresses("nowhere.invalid")
