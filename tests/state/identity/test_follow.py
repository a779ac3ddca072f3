"""A supervisor hears of every write, its own and others', and goes on without the store."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.core.errors import Unauthenticated
from penstock.policy.identity.directory import Directory
from penstock.policy.identity.resolve import Changes
from penstock.state.identity import sqlite as module
from penstock.state.identity.fields import KeyFields
from penstock.state.identity.follow import Follower
from penstock.state.identity.open import open_store

NOW = 1_000_000.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.mark.anyio
async def test_workers_follow_what_another_process_writes(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'identity.db'}"
    ours, theirs = open_store(url), open_store(url)
    directory = Directory()
    steps: list[Changes] = []

    def take(step: Changes) -> None:
        steps.append(step)
        directory.take(step)

    follower = Follower(ours, take, interval_s=0.01, clock=lambda: NOW)
    running = asyncio.ensure_future(follower.run())
    issued = await theirs.create_key("", "", KeyFields(name="ci"), NOW)
    await until(lambda: len(directory))
    credential = issued.secret.reveal().encode()
    assert directory.authenticate(credential, NOW).name == "ci"
    assert Directory(follower.snapshot).authenticate(credential, NOW).name == "ci"
    await asyncio.sleep(0.05)
    seen = len(steps)
    await asyncio.sleep(0.05)
    assert len(steps) == seen, "nothing changed, and workers were told"
    await theirs.revoke_key(issued.key.id, NOW)
    await until(lambda: len(steps) > seen)
    with pytest.raises(Unauthenticated, match="revoked"):
        directory.authenticate(credential, NOW)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await ours.close()
    await theirs.close()


@pytest.mark.anyio
async def test_its_own_writes_are_followed_at_once(tmp_path: Path) -> None:
    store = open_store(f"sqlite:{tmp_path / 'identity.db'}")
    steps: list[Changes] = []
    follower = Follower(store, steps.append, interval_s=3600.0)
    running = asyncio.ensure_future(follower.run())
    await until(lambda: steps)
    await store.create_key("", "", KeyFields(), NOW)
    follower.hurry()
    await until(lambda: len(steps) == 2)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await store.close()


@pytest.mark.anyio
async def test_a_store_that_fails_leaves_the_last_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    path = tmp_path / "identity.db"
    store = open_store(f"sqlite:{path}")
    issued = await store.create_key("", "", KeyFields(), NOW)
    steps: list[Changes] = []
    follower = Follower(store, steps.append, interval_s=0.01, clock=lambda: NOW)
    await follower.read()
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE identity_state RENAME TO gone")
    running = asyncio.ensure_future(follower.run())
    await until(lambda: follower.error)
    await asyncio.sleep(0.1)
    assert caplog.text.count("keys stay as they were") == 1
    assert Directory(follower.snapshot).find(issued.key.id) is not None
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE gone RENAME TO identity_state")
    await until(lambda: not follower.error)
    assert len(steps) == 1
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await store.close()
    other.close()
