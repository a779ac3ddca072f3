"""The access log takes every Record, and nothing it writes to can hold up or break the data path."""

import contextlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.core.errors import ConfigError
from penstock.core.record import Outcome, Record
from penstock.telemetry import accesslog
from penstock.telemetry.accesslog import JsonLog, NoLog, open_log


def record(number: int, path: str = "/v1/a") -> Record:
    return Record(f"r{number}", 1.5, path=path, outcome=Outcome.SUCCESS)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_line_per_record_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = open_log(str(path))
    for number in range(1000):
        log.write(record(number, path='/v1/"\n\u2028'))
    log.flush()
    log.close()
    lines = path.read_text("utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["id"] for line in lines] == [f"r{number}" for number in range(1000)]
    assert json.loads(lines[0]) == {"id": "r0", "time": 1.5, "path": '/v1/"\n\u2028', "outcome": "success"}
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0, "not for everybody's eyes"
    assert log.lost == 0


def test_several_workers_share_a_file(tmp_path: Path) -> None:
    """Each log writes whole lines and appends, so lines of two never mix."""
    path = tmp_path / "log"
    logs = [open_log(str(path)) for _ in range(4)]
    for number in range(500):
        for log in logs:
            log.write(record(number, path="/v1/" + "x" * 100))
            log.flush()
    for log in logs:
        log.close()
    ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert sorted(ids) == sorted(f"r{number}" for number in range(500) for _ in range(4))


def test_a_log_that_was_there_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log = open_log(str(path))
    log.write(record(1))
    log.close()
    assert path.read_text().startswith("before\n{")


def test_a_full_disk_loses_lines_and_counts_them() -> None:
    log = open_log("/dev/full")
    for number in range(10):
        log.write(record(number))
    log.flush()
    until(lambda: log.lost == 10)
    log.close()


def test_a_closed_pipe_loses_lines_and_counts_them() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = JsonLog(writing, owned=True)
    log.write(record(1))
    log.flush()
    until(lambda: log.lost == 1)
    log.write(record(2))
    log.flush()
    until(lambda: log.lost == 2)
    log.close()


def full(pipe: int) -> int:
    """Fills a pipe to the brim, so that the next write to it waits; returns how many bytes that took."""
    os.set_blocking(pipe, False)
    stuffed = 0
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                stuffed += os.write(pipe, b" " * size)
    os.set_blocking(pipe, True)
    return stuffed


def test_a_pipe_nobody_reads_delays_nobody_and_loses_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog, "MOST_WAITING", 200_000)
    reading, writing = os.pipe()
    stuffed = full(writing)
    log = JsonLog(writing, owned=True)
    begun = time.monotonic()
    for number in range(20_000):
        log.write(record(number))
        if number % 100 == 0:
            log.flush()
    assert time.monotonic() - begun < 2.0
    assert log.dropped > 10_000
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.extend(iter(lambda: os.read(reading, 1 << 16), b"")))
    reader.start()
    log.close()  # what waits goes out once somebody reads
    reader.join(10)
    os.close(reading)
    ids = [json.loads(line)["id"] for line in b"".join(got)[stuffed:].splitlines()]
    assert ids == [f"r{number}" for number in range(len(ids))], "none lost from the middle"
    assert len(ids) + log.lost == 20_000


def test_a_log_that_cannot_be_opened_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^log\.access: cannot open .*: No such file or directory$"):
        open_log(str(tmp_path / "no" / "log"))


def test_off_is_off() -> None:
    log = open_log("off")
    assert isinstance(log, NoLog)
    log.write(record(1))
    log.flush()
    log.close()
    assert log.lost == 0
