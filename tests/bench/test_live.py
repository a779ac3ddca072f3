"""What a terminal shows of a run, and what it does not show elsewhere."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from penstock.bench.client.run import Progress
from penstock.bench.traffic.arrivals import Constant
from penstock.bench.traffic.workload import Closed, Open
from penstock.cli.bench.live import Screen, clock, line_of, picture
from penstock.cli.bench.window import Window, offered, run_left, stage_left

STAGES = (Closed(4, 100), Open(Constant(12.0), 60.0), Open(Constant(20.0), 30.0))


def progress(at: float, stage: int = 1, **more: object) -> Progress:
    """12 requests per second, 8 of them under way, 30 tokens each."""
    done = max(0, int(at * 12) - 8)
    made = Progress(stage, 3, "12/s", 720, at, int(at * 12), done, 0, done * 30, [0.1], 0.001)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def shown(window: Window, last: Progress) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(picture(last, window, STAGES, 1.0, "run 2/8, "))
    return out.getvalue()


def test_rates_are_of_the_last_ten_seconds() -> None:
    window = Window()
    for quarter in range(1, 240):
        at = quarter / 4
        window.add(progress(at, ttft=[0.1 if at < 45 else 0.3]))
    rates = window.rates()
    assert rates.done == pytest.approx(12.0, rel=0.05)
    assert rates.tokens == pytest.approx(360, rel=0.05)
    assert rates.ttft_p50 == 0.3, "what was 15 s ago is forgotten"


def test_a_new_stage_begins_anew() -> None:
    window = Window()
    window.add(progress(50.0))
    window.add(Progress(2, 3, "20/s", 600, 0.5, 10, 4, 0, 120, [0.2]))
    assert window.rates().done == pytest.approx(8.0)
    assert window.rates().ttft_p50 == 0.2


def test_the_time_that_is_left() -> None:
    assert stage_left(progress(20.0), STAGES[1]) == pytest.approx(40.0)
    assert run_left(progress(20.0), STAGES, 1.0) == pytest.approx(71.0)
    closed = Progress(0, 3, "4 at once", 100, 10.0, 29, 25)
    assert stage_left(closed, STAGES[0]) == pytest.approx(30.0)
    assert stage_left(Progress(0, 3, "4 at once", 100, 1.0, 4, 0), STAGES[0]) is None
    assert offered(progress(1.0), STAGES[1]) == pytest.approx(12.0)
    assert offered(closed, STAGES[0]) == 0.0


@given(st.floats(0, 1e6))
def test_clocks(value: float) -> None:
    text = clock(value)
    parts = [int(part) for part in text.split(":")]
    total = 0
    for part in parts:
        total = total * 60 + part
    assert total == round(value)


def test_a_terminal_is_told_all_of_it() -> None:
    window = Window()
    for quarter in range(1, 81):
        window.add(progress(quarter / 4))
    text = shown(window, progress(20.0, failed=3))
    for told in ("run 2/8, stage 2/3", "12.0/s due", "sent", "answered", "in flight", "8", "p50 100 ms", "p95 100 ms",
                 "360/s", "failed", "3", "0:40 left", "about 1:11 left", "232/720"):  # fmt: skip
        assert told in text
    assert "warm-up" in shown(Window(), Progress(-1, 0, "warm-up", 4, 0.1))


def test_markup_in_a_stage_name_is_text() -> None:
    window = Window()
    assert "[red]x[/]" in shown(window, progress(1.0, label="[red]x[/]"))


def test_elsewhere_there_is_one_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(quiet=False, stages=STAGES, runs=2) as screen:
        screen.tell(Progress(-1, 0, "warm-up", 4, 1.0, 4, 4, over=True))
        for quarter in range(1, 40):
            screen.tell(progress(quarter / 4))
        screen.tell(progress(60.0, done=720, over=True, ttft=[0.1, 0.2, 0.3]))
        screen.finished += 1
        screen.tell(progress(30.0, stage=2, over=True))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("run 1/2, stage 2/3 (12/s): 720 answered in 60.0 s, 0 failed, 12.0 req/s")
    assert "TTFT p50 200 ms p95 300 ms" in first
    assert second.startswith("run 2/2, stage 3/3")


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(quiet=True) as screen:
        screen.tell(progress(60.0, over=True))
    assert capsys.readouterr().err == ""
    assert "720" in line_of(progress(60.0, done=720), "")
