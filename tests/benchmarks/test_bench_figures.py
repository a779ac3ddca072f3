"""Percentiles, CPU accounting, ratios and bars."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import bars as bars_module
from benchmarks.bars import Bar, Malformed, read_bars
from benchmarks.gateway import figures, report
from benchmarks.gateway.cpu import Meter, cpu_seconds, rss_bytes, tree
from benchmarks.gateway.stats import median, percentile


def test_percentile_is_an_observed_value() -> None:
    values = [float(each) for each in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1) == 100
    assert percentile([7.0], 0.01) == 7
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_cpu_of_a_tree_counts_a_busy_grandchild() -> None:
    spin = "import time; e = time.process_time() + .3\nwhile time.process_time() < e: pass\ntime.sleep(60)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {spin!r}]).wait()"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        meter = Meter(process.pid)
        until = time.monotonic() + 8
        while meter.spent().total < 0.3 and time.monotonic() < until:
            time.sleep(0.05)
        spent = meter.spent()
        assert 0.3 <= spent.total < 1.5
        assert spent.busiest_pid in tree(process.pid)[1:]
        assert rss_bytes(process.pid) > 1_000_000
    finally:
        for pid in reversed(tree(process.pid)):
            os.kill(pid, 9)
        process.wait()
    assert tree(process.pid) == [process.pid]
    assert cpu_seconds(process.pid) == 0.0


def test_own_cpu_clock_agrees_with_the_process_clock() -> None:
    assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.05)


@pytest.mark.parametrize(
    ("bar", "holds"),
    [
        (Bar("a", 3.5, 3.5, "ratio"), True),
        (Bar("a", 1, 1, "ratio", strict=True), False),
        (Bar("a", 0.99, 1, "ratio", strict=True), True),
        (Bar("a", 120, 100, "ratio", "higher"), True),
        (Bar("a", 99, 100, "ratio", "higher"), False),
        (Bar("a", None, 100, "ratio"), False),
    ],
)
def test_bar_holds(bar: Bar, holds: bool) -> None:
    assert bar.holds is holds
    assert bar.as_json()["holds"] is holds


def _raw() -> dict[str, object]:
    def row(number: int, name: str, unary: float, chunk: float) -> dict[str, object]:
        rates = {"open_rate": 1000.0, "open_p50_ms": unary / 100, "open_p99_ms": unary / 10}
        return {"round": number, "gateway": name, "unary_us": unary, "chunk_us": chunk, **rates}

    def streams(name: str, p99: float, dropped: int) -> dict[str, object]:
        return {
            "round": 0, "gateway": name, "streams": 1000, "asked": 1000, "dropped": dropped, "itl_p99_ms": p99,
            "rss_worker_mb": 60.0, "paced_chunk_us": 9.0,
        }  # fmt: skip

    rounds = [row(0, "direct", 0, 0)]
    rounds += [row(each, "penstock", 20 + each, 11) for each in range(3)]
    rounds += [row(each, "nginx", 10, 9) for each in range(3)]
    return {
        "when": "now", "quick": False, "versions": {}, "absent": {"litellm": "not installed: pip"},
        "machine": {"cpu": "x", "cores": 2, "kernel": "6", "python": "3.11"},
        "checkout": {"import_time_s": 0.1, "direct_core_dependencies": 10},
        "starts": {"penstock": {"start_s": 0.5}, "nginx": {"start_s": 0.1}},
        "rounds": rounds, "streams": [streams("direct", 21, 0), streams("penstock", 25, 1)],
    }  # fmt: skip


def test_bars_of_a_run() -> None:
    found = {bar.name: bar for bar in figures.bars(_raw())}
    assert len(found) == 11
    assert found["unary_vs_nginx"].value == pytest.approx(2.1)
    assert found["unary_vs_nginx"].holds
    assert found["itl_p99_added_1000_streams"].value == 4
    assert not found["streams_dropped"].holds
    assert found["unary_litellm_over_penstock"].value is None
    assert "not installed: pip" in found["unary_litellm_over_penstock"].why
    assert figures.figures(_raw())["penstock"]["added_p99_ms"] == pytest.approx(2.1)


def test_report_is_rendered_from_raw(tmp_path: Path) -> None:
    report.save_raw(_raw(), tmp_path)
    doc = report.write(report.load_raw(tmp_path), tmp_path)
    assert json.loads((tmp_path / "latest.json").read_text()) == doc
    assert len(read_bars(tmp_path / "latest.json")) == 11
    assert "| penstock" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")


def test_bars_table_fails_only_for_a_malformed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    bad = Bar("late", 9, 1, "ms", why="known").as_json()
    (tmp_path / "a" / "latest.json").write_text(json.dumps({"bars": [bad]}))
    assert bars_module.main(tmp_path) == 0
    assert "MISSED" in capsys.readouterr().out
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "latest.json").write_text('{"bars": [{"name": "x"}]}')
    assert bars_module.main(tmp_path) == 1
    with pytest.raises(Malformed, match=r"latest\.json"):
        read_bars(tmp_path / "b" / "latest.json")
