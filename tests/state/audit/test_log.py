"""What processes write: chains that go on, torn lines, files that change under them, disks that are full."""

import multiprocessing
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import msgspec
import pytest

from penstock.config.audit import Audit
from penstock.core.errors import ConfigError
from penstock.state.audit import AuditFailed, AuditLog, Key, Line, Wrong, verify
from penstock.state.audit.anchors import anchors, stored_anchor
from penstock.state.audit.files import tail_of
from penstock.state.audit.line import parse
from tests.state.audit.world import DAY, METADATA, NOON, Clock, exchange, key_file, opened


def lines(folder: Path, writer: str = "worker-0") -> list[Line]:
    """The chain, file by file."""
    found = []
    for path in sorted(folder.glob(f"{writer}.*jsonl")):
        for raw in path.read_bytes().splitlines():
            line = parse(raw)
            assert line is not None, raw
            found.append(line)
    return found


def told(folder: Path, writer: str = "worker-0") -> list[str]:
    return [line.body.what for line in lines(folder, writer)]


def newest(folder: Path, writer: str = "worker-0") -> Path:
    return max(folder.glob(f"{writer}.*.jsonl"))


def test_a_line_says_who_did_what(tmp_path: Path) -> None:
    with opened(tmp_path, "supervisor") as log:
        log.action("acme/search/k_1", "limits.changed", {"rule": "tpm", "limit": [10, 20]})
    raw = newest(tmp_path, "supervisor-0").read_bytes().splitlines()[2]
    fields = msgspec.json.decode(raw)
    assert list(fields) == ["seq", "time", "kind", "actor", "what", "fields", "prev", "hash"]
    assert (fields["seq"], fields["kind"], fields["actor"]) == (3, "admin", "acme/search/k_1")
    assert (fields["what"], fields["fields"]) == ("limits.changed", {"rule": "tpm", "limit": [10, 20]})
    assert fields["prev"] == msgspec.json.decode(newest(tmp_path, "supervisor-0").read_bytes().splitlines()[1])["hash"]


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    with opened(folder) as log:
        log.requests([exchange(1)])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert newest(folder).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("level", "expected"), [("off", 0), ("metadata", 1), ("content", 1)])
def test_requests_as_configured(tmp_path: Path, level: str, expected: int) -> None:
    with opened(tmp_path, settings=msgspec.convert({"requests": level}, Audit)) as log:
        log.requests([exchange(1)])
    found = [line.body for line in lines(tmp_path) if line.body.kind == "request"]
    assert len(found) == expected
    for body in found:
        assert (body.actor, body.what) == ("acme/search/k_1", "POST /v1/chat/completions")
        assert body.fields["record"]["id"] == "req-1"
        assert ("request" in body.fields) == (level == "content")
        if level == "content":
            assert (body.fields["request"], body.fields["answer"]) == ({"model": "m"}, {"id": 1})


def test_a_chain_goes_on_over_restarts_and_days(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(3):
        with opened(tmp_path, clock=clock) as log:
            log.requests([exchange(1)])
            clock.now += DAY
            log.requests([exchange(2), exchange(3)])
    assert [line.body.seq for line in lines(tmp_path)] == [*range(1, len(lines(tmp_path)) + 1)]
    assert [path.name for path in sorted(tmp_path.glob("*.jsonl"))] == [
        f"worker-0.2023-11-{day}.jsonl" for day in (14, 15, 16, 17)
    ]
    day = ["continued", *["POST /v1/chat/completions"] * 2, "closed", "opened", "POST /v1/chat/completions"]
    assert told(tmp_path) == ["begun", "opened", day[-1], *day, *day, *day[:4]]
    assert verify(tmp_path).ok


def test_a_clock_that_runs_back_stays_in_the_file(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as log:
        clock.now -= 3 * DAY
        log.requests([exchange(1)])
    with opened(tmp_path, clock=clock) as log:
        log.requests([exchange(1)])
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    assert verify(tmp_path).ok


def test_each_process_has_a_chain_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as two:
        assert (one.name, two.name) == ("worker-0", "worker-1")
        with opened(tmp_path, "supervisor") as boss:
            assert boss.name == "supervisor-0"
    with opened(tmp_path) as again:
        assert again.name == "worker-0"


# -- crashes -----------------------------------------------------------------------------------------------------------


def work(folder: Path, begun: Event) -> None:
    """Writes as fast as it can, for at most some thousand lines."""
    log = AuditLog(folder, "worker", METADATA)
    log.open()
    for number in range(0, 20_000, 50):
        log.requests([exchange(number + index) for index in range(50)])
        begun.set()
    time.sleep(60)


def test_a_killed_process_leaves_a_whole_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for round_ in range(5):
        begun = context.Event()
        process = context.Process(target=work, args=(tmp_path, begun), daemon=True)
        process.start()
        assert begun.wait(30)
        time.sleep(0.01 * round_)
        process.kill()
        process.join()
        process.close()
    with opened(tmp_path, clock=Clock(time.time())) as log:
        log.requests([exchange(1)])
    report = verify(tmp_path)
    assert report.ok, report.findings
    assert told(tmp_path).count("opened") == 6


@pytest.mark.parametrize("length", [1, 100, 10_000])
def test_a_torn_line_is_kept_aside_and_written_down(tmp_path: Path, length: int) -> None:
    with opened(tmp_path) as log:
        log.requests([exchange(1)])
    torn = b'{"seq":5,"time":1,' + b"x" * length
    with newest(tmp_path).open("ab") as file:
        file.write(torn)
    report = verify(tmp_path)
    assert report.ok
    assert f"{newest(tmp_path).name}:5: a line without its end" in report.notes[0]
    with opened(tmp_path) as log:
        log.requests([exchange(2)])
    (kept,) = tmp_path.glob("*.torn")
    assert kept.read_bytes() == torn
    assert told(tmp_path)[4:] == ["torn", "opened", "POST /v1/chat/completions", "closed"]
    report = verify(tmp_path)
    assert report.ok
    assert f"{len(torn)} bytes are kept aside" in report.notes[0]
    kept.write_bytes(b"else")
    assert [finding.wrong for finding in verify(tmp_path).findings] == [Wrong.ALTERED]
    kept.unlink()
    assert [finding.wrong for finding in verify(tmp_path).findings] == [Wrong.MISSING]


def test_a_crash_while_a_torn_line_is_put_aside_loses_nothing(tmp_path: Path) -> None:
    """The file was cut, and the line about it was not written, or torn itself."""
    with opened(tmp_path):
        pass
    path = newest(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"torn")
    with opened(tmp_path):
        pass
    path.write_bytes(whole + b'{"seq":4')
    with opened(tmp_path):
        pass
    parts = next(line.body.fields["parts"] for line in lines(tmp_path) if line.body.what == "torn")
    assert [part["bytes"] for part in parts] in ([4, 8], [8, 4])
    assert verify(tmp_path).ok


def test_a_new_file_without_a_line_is_begun_again(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock):
        pass
    for left in (b"", b'{"seq":'):
        clock.now += DAY
        (tmp_path / f"worker-0.{'2023-11-15' if not left else '2023-11-16'}.jsonl").write_bytes(left)
        with opened(tmp_path, clock=clock):
            pass
    assert told(tmp_path)[3:] == ["continued", "opened", "closed", "continued", "torn", "opened", "closed"]
    assert verify(tmp_path).ok


# -- somebody else's hands ---------------------------------------------------------------------------------------------


def test_a_file_that_changes_under_the_writer_is_noticed_by_it(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.requests([exchange(1)])
        path = newest(tmp_path)
        data = path.read_bytes()
        path.write_bytes(data[: data.rindex(b"\n", 0, -1) + 1])
        log.requests([exchange(2)])
        assert told(tmp_path)[-2:] == ["damaged", "POST /v1/chat/completions"]
        assert {f.wrong for f in verify(tmp_path).findings} == {Wrong.MISSING, Wrong.ALTERED}
        path.unlink()
        log.requests([exchange(3)])
        assert told(tmp_path)[:2] == ["continued", "damaged"]
        assert Wrong.MISSING in {f.wrong for f in verify(tmp_path).findings}


def test_a_damaged_end_is_not_taken_for_a_torn_line(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.requests([exchange(1)])
    path = newest(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:-40] + b"x" + data[-39:])
    assert tail_of(path).size == len(data)
    with opened(tmp_path) as log:
        log.requests([exchange(2)])
    assert not list(tmp_path.glob("*.torn"))
    report = verify(tmp_path)
    assert [(finding.wrong, finding.line) for finding in report.findings] == [(Wrong.ALTERED, 4), (Wrong.ALTERED, 5)]
    assert "said so here" in report.findings[1].detail


# -- a full disk -------------------------------------------------------------------------------------------------------


@contextmanager
def full(path: Path, room: int) -> Iterator[None]:
    """Files may be at most `room` bytes larger than `path` is: the system takes part of a batch, then refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.requests([exchange(0)])
        with full(newest(tmp_path), 600):
            log.requests([exchange(number) for number in range(1, 5)])
            assert log.refusing
            log.requests([exchange(5)])
            log.requests([])
            assert log.refusing
        log.requests([])
        assert (log.refusing, log.lost) == (False, 0)
    ids = [line.body.fields["record"]["id"] for line in lines(tmp_path) if line.body.kind == "request"]
    assert ids == [f"req-{number}" for number in range(6)]
    assert verify(tmp_path).notes == ["there is no anchor: a chain that was cut short or removed is not noticed"]


def test_a_full_disk_counts_what_it_loses(tmp_path: Path) -> None:
    with opened(tmp_path, settings=Audit(requests="metadata", when_full="count")) as log:
        with full(newest(tmp_path), 100):
            log.requests([exchange(number) for number in range(4)])
            log.requests([exchange(4)] * 5)
            assert not log.refusing
            log.action("admin", "reload", {})
        assert log.lost == 10
        log.requests([exchange(5)])
        log.requests([exchange(6)])
    lost = [line.body.fields for line in lines(tmp_path) if line.body.what == "lost"]
    assert [fields["count"] for fields in lost] == [10]
    assert "File too large" in lost[0]["why"]
    report = verify(tmp_path)
    assert (report.ok, report.lost) == (True, 10)


def test_an_action_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, "supervisor") as log:
        with full(newest(tmp_path, "supervisor-0"), 10), pytest.raises(AuditFailed, match="nothing was done"):
            log.action("admin", "key.revoked", {"id": "k_1"})
        log.action("admin", "key.revoked", {"id": "k_2"})
    assert told(tmp_path, "supervisor-0") == ["begun", "opened", "key.revoked", "closed"]
    assert verify(tmp_path).ok


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditFailed, match=r"cannot write the audit log in .*file"), opened(tmp_path / "file"):
        pass


# -- anchors and keys --------------------------------------------------------------------------------------------------


def test_anchors_are_due_daily_for_new_chains_and_after_actions(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, "supervisor", clock=clock) as boss:
        first = boss.anchor()
        assert first is not None
        assert (first.line.body.what, list(first.heads)) == ("daily", ["supervisor-0"])
        assert boss.anchor() is None
        with opened(tmp_path, clock=clock):
            second = boss.anchor()
            assert second is not None
            assert (second.line.body.what, sorted(second.heads)) == ("chain", ["supervisor-0", "worker-0"])
        boss.action("admin", "drain", {})
        third = boss.anchor()
        assert third is not None
        assert third.line.body.what == "action"
        clock.now += DAY
        assert boss.anchor() is not None
        assert boss.anchor() is None
    with opened(tmp_path, "supervisor", clock=clock) as boss:
        assert boss.anchor() is None
    assert [anchor.line.body.what for anchor in anchors(tmp_path)] == ["daily", "chain", "action", "daily"]
    assert stored_anchor(third.line.hash, tmp_path).heads == third.heads
    assert verify(tmp_path).ok


def test_an_anchor_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    with pytest.raises(ConfigError, match="the log was cut or replaced"):
        stored_anchor("a" * 64, tmp_path)
    with pytest.raises(ConfigError, match="give a file or 64 hex digits"):
        stored_anchor("nowhere", tmp_path)
    with pytest.raises(ConfigError, match="does not hold the line of an anchor"):
        stored_anchor(str(tmp_path / "file"), tmp_path)


def test_a_key_must_be_a_secret(tmp_path: Path) -> None:
    path = Path(key_file(tmp_path))
    Key.read(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="everybody may read"):
        Key.read(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(ConfigError, match="holds 5 bytes; 32 are the least"):
        Key.read(path)
    with pytest.raises(ConfigError, match="cannot read"):
        Key.read(tmp_path / "none")


def test_a_change_of_keys_needs_both(tmp_path: Path) -> None:
    names = [key_file(tmp_path, name) for name in ("old", "new")]
    folder = tmp_path / "audit"
    for name in names:
        with opened(folder, settings=Audit(requests="metadata", key_file=name)) as log:
            log.requests([exchange(1)])
    both = [Key.read(Path(name)) for name in names]
    assert verify(folder, keys=both).ok
    assert {finding.wrong for finding in verify(folder, keys=both[:1]).findings} == {Wrong.FORGED}
    assert any("no key was given" in note for note in verify(folder).notes)


def test_times_are_those_of_the_clock(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.requests([exchange(1)])
    assert all(NOON < line.body.time < NOON + 1 for line in lines(tmp_path))
