"""Journals: what is appended is read back, whatever happens to the process and the disk."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.state.ledger.entries import MOST_BYTES, Closed, Opened
from penstock.state.ledger.follow import LATE_S, Place, follow, writers
from penstock.state.ledger.journal import RESERVE, Journal
from penstock.state.ledger.segment import START, abandoned, read
from tests.state.ledger.dying import killed_at_line
from tests.state.ledger.entries import closed, everything, opened

SMALL = 8 * 1024


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jnl"))


def test_entries_come_back_in_order_over_many_segments(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SMALL)
    written: list[Opened | Closed] = []
    for _ in range(300):
        number = journal.number()
        for entry in (opened(number), closed(number)):
            written.append(entry)
            assert journal.opened(entry) if isinstance(entry, Opened) else journal.closed(entry)
        journal.prepare()
    assert len(segments(tmp_path)) > 5
    assert everything(tmp_path) == {journal.writer: written}, "a live journal is read too"
    journal.close()
    assert everything(tmp_path, most_bytes=2 * MOST_BYTES) == {journal.writer: written}, "and in small parts"


def test_a_journal_is_over_when_its_writer_is_gone(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SMALL)
    journal.closed(closed(1))
    ((writer, numbers),) = writers(tmp_path).items()
    assert not follow(tmp_path, writer, numbers, Place(), 1 << 20).over
    journal.close()
    part = follow(tmp_path, writer, numbers, Place(), 1 << 20)
    assert part.over
    assert part.done == segments(tmp_path)


def test_a_reader_goes_on_from_where_it_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SMALL)
    place = Place()
    for number in range(1, 200):
        journal.closed(closed(number))
        part = follow(tmp_path, journal.writer, writers(tmp_path)[journal.writer], place, 1 << 20)
        assert part.entries == [closed(number)]
        place = part.place
    journal.close()


def test_long_and_broken_names_are_cut_and_never_lost(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SMALL)
    assert journal.closed(closed(1, "r" * 10_000, model="ä" * 5_000))
    assert journal.closed(closed(2, "\ud800"))
    assert journal.closed(closed(3, tokens=(2**80, 0, 2**64, -(2**70))))
    journal.close()
    (found,) = everything(tmp_path).values()
    assert [entry.number for entry in found] == [1, 2, 3]
    assert found[0].request_id.startswith("rrr")
    assert found[0].model.startswith("ää")
    assert isinstance(found[2], Closed)
    assert (found[2].input, found[2].output, found[2].reasoning) == (2**53, 2**53, 0)


def test_room_is_kept_for_the_end_of_every_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no further segment to be had, what was let in while there was room can be closed."""
    journal = Journal(tmp_path, 64 * 1024)
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    running = []
    while journal.has_room:
        number = journal.number()
        assert journal.opened(opened(number, "r" * 90))
        running.append(number)
    assert len(running) > 64
    for number in running:
        assert journal.closed(closed(number, "r" * 90, model="m" * 300))
    assert journal.dropped == 0
    journal.close()
    (found,) = everything(tmp_path).values()
    assert len(found) == 2 * len(running)


def no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_said_and_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, SMALL)
    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", no_space)
        written = sum(journal.closed(closed(number)) for number in range(1, 400))
        assert journal.dropped == 399 - written > 0
        assert not journal.has_room
        journal.prepare()
        assert journal.problem == "No space left on device"
        assert not list(tmp_path.glob("*.new")), "nothing half made is left"
    journal.prepare()
    assert journal.has_room
    assert not journal.problem
    assert journal.closed(closed(1000))
    journal.close()
    (found,) = everything(tmp_path).values()
    assert len(found) == written + 1


LIMITED = """
import resource, sys
from pathlib import Path
from penstock.state.ledger.journal import Journal
from tests.state.ledger.entries import closed
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
journal = Journal(Path(sys.argv[1]), 64 * 1024)
print(journal.has_room, journal.closed(closed(1)), journal.dropped, journal.problem)
"""


def test_a_real_limit_on_file_sizes_is_an_error_and_no_signal(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.split(maxsplit=3)[:3] == ["False", "False", "1"]
    assert "File too large" in ran.stdout
    assert not segments(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "penstock-test", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_really_fills_up_keeps_what_was_acknowledged(small_disk: Path) -> None:
    journal = Journal(small_disk, 64 * 1024)
    kept = []
    for number in range(1, 5_000):
        if journal.closed(closed(number)):
            kept.append(number)
        journal.prepare()
    assert journal.dropped
    assert journal.problem == "No space left on device"
    (found,) = everything(small_disk).values()
    assert [entry.number for entry in found] == kept
    segments(small_disk)[0].unlink()
    journal.prepare()
    assert journal.has_room, "room on the disk is found again"
    journal.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"state\.folder: cannot make .*file/journal"):
        Journal(tmp_path / "file" / "journal")


def test_half_made_segments_of_the_dead_are_swept(tmp_path: Path) -> None:
    old, young = tmp_path / "a-b-00000001.new", tmp_path / "a-c-00000001.new"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    assert LATE_S < 1_000_000
    assert writers(tmp_path) == {}
    assert not old.exists()
    assert young.exists()


def image(path: Path) -> bytearray:
    return bytearray(path.read_bytes())


def readable(path: Path, data: bytes) -> tuple[list[bytes], bool]:
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert abandoned(descriptor)
        reading = read(descriptor, START, 1 << 20)
        return reading.payloads, reading.damaged
    finally:
        os.close(descriptor)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), count=st.integers(0, 30))
def test_a_crash_inside_an_append_shows_nothing_of_it(
    data: st.DataObject, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The process dies after any part of the copy: whatever lies behind the committed end is not read."""
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, SMALL)
    for number in range(count):
        journal.closed(closed(number))
    current = segments(folder)[0]
    before = image(current)
    committed = int.from_bytes(before[:8], "little")
    journal.closed(closed(count))
    after = image(current)
    journal.close()
    end = int.from_bytes(after[:8], "little")
    torn = bytearray(before)
    for at in data.draw(st.sets(st.integers(committed, end - 1))):
        torn[at] = after[at]
    torn[8:16] = data.draw(st.sampled_from([before[8:16], after[8:16]]))
    payloads, damaged = readable(folder / "image", bytes(torn))
    assert len(payloads) == count
    assert not damaged


@settings(max_examples=300, deadline=None)
@given(data=st.data(), count=st.integers(1, 30))
def test_after_a_loss_of_power_only_true_entries_are_read(
    data: st.DataObject, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any bytes of the file may be old or wrong: entries are a beginning of the true ones, or it is damaged."""
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, SMALL)
    for number in range(count):
        journal.closed(closed(number))
    whole = image(segments(folder)[0])
    journal.close()
    true, _ = readable(folder / "image", bytes(whole))
    assert len(true) == count
    end = int.from_bytes(whole[:8], "little")
    for at in data.draw(st.sets(st.integers(0, end - 1), max_size=8)):
        whole[at] = data.draw(st.sampled_from([0, whole[at], whole[at] ^ 0x40]))
    cut = data.draw(st.integers(0, len(whole)))
    payloads, damaged = readable(folder / "image", bytes(whole[:cut]))
    assert payloads == true[: len(payloads)]
    if len(payloads) < count and int.from_bytes(whole[:8], "little") >= end:
        assert damaged, "a loss is never silent while the header tells of it"


def test_a_damaged_segment_is_told_and_the_next_one_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SMALL)
    total = 150
    for number in range(1, total):
        journal.closed(closed(number))
        journal.prepare()
    journal.close()
    first = segments(tmp_path)[0]
    data = image(first)
    data[4000] ^= 1
    first.write_bytes(data)
    part = follow(tmp_path, journal.writer, writers(tmp_path)[journal.writer], Place(), 1 << 20)
    assert part.damaged == [first]
    assert part.over
    numbers = [entry.number for entry in part.entries]
    assert numbers[0] == 1
    assert numbers[-1] == total - 1
    assert 0 < len(numbers) < total - 1


def test_the_reserve_covers_the_longest_entry() -> None:
    assert RESERVE >= MOST_BYTES + 8


def test_a_writer_killed_at_any_line_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    """Every line of an append, of the change to the next segment and of making one."""
    line, ended = 0, False
    while not ended:
        line += 1
        folder = tmp_path / str(line)
        read_end, write_end = os.pipe()

        def work(folder: Path = folder, acknowledge: int = write_end) -> None:
            journal = Journal(folder, 1024)
            for number in range(1, 15):
                if journal.closed(closed(number)):
                    os.write(acknowledge, bytes([number]))
                if number % 3 == 0:
                    journal.prepare()

        ended = killed_at_line(line, work)
        os.close(write_end)
        acknowledged = list(os.read(read_end, 100))
        os.close(read_end)
        found = [entry.number for entries in everything(folder).values() for entry in entries]
        assert found[: len(acknowledged)] == acknowledged
        assert len(found) <= len(acknowledged) + 1, "at most the one that was being written"
    assert len(acknowledged) == 14
    assert line > 300
