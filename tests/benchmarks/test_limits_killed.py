"""The proof of the ledger can fail: each fault of a ledger breaks the bar that is meant for it."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from benchmarks.limits.crowd import Asked, Ending
from benchmarks.limits.killed import Evidence, bars_of, figures_of, judge, raw_of
from penstock.policy.price.book import Book
from penstock.state.ledger.charge import Charge, charge_of
from penstock.state.ledger.entries import Closed

LINE: dict[str, Any] = {
    "request_id": "",
    "prompt_tokens": 10,
    "cached_tokens": 4,
    "completion_tokens": 7,
    "reasoning_tokens": 2,
    "told": True,
}
USAGE = {
    "prompt_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens": 7,
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def charge(number: int, name: str, **changes: Any) -> Charge:
    tokens = changes.pop("tokens", (10, 4, 7, 2))
    entry = Closed(number, name, 1.7e9, "acme", "red", "k", "mock", "mock", "success", 200, *tokens, "usage", True, 0.1)
    return charge_of(msgspec.structs.replace(entry, **changes), "w", Book())


def evidence() -> Evidence:
    """A whole answer; one cut by a kill, whose worker could not close it."""
    nothing = charge(2, "cut", tokens=(0, 0, 0, 0), outcome="interrupted", source="none")
    whole = charge(1, "whole")
    return Evidence(
        asked=[Asked("whole", "k", True, Ending.WHOLE, USAGE), Asked("cut", "k", True, Ending.CUT)],
        lines=[LINE | {"request_id": "whole"}, LINE | {"request_id": "cut", "told": False}],
        before=[whole, nothing],
        after=[whole, charge(2, "cut", outcome="interrupted", source="reconciled")],
        reconciled={"log": {"settled": 1, "to_settle": 0, "unsettled": 0}},
        kills=[{"at_s": 1.0, "what": "worker"}],
        damaged=0,
        left_over=0,
        seconds=2.0,
    )


def broken(seen: Evidence) -> set[str]:
    return {bar.name.removeprefix("killed.") for bar in bars_of(seen, judge(seen), 1) if not bar.holds}


def test_a_right_ledger_breaks_nothing() -> None:
    seen = evidence()
    assert broken(seen) == set()
    figures = figures_of(seen, judge(seen))
    assert figures["tokens_ledger"] == figures["tokens_engine"] != figures["tokens_ledger_before"]
    raw = raw_of(seen)
    assert (len(raw["agreed"]), len(raw["settled"])) == (1, 1)
    json.dumps([figures, raw])


def lost(seen: Evidence) -> None:
    del seen.before[0], seen.after[0]


def doubled(seen: Evidence) -> None:
    seen.before.append(charge(3, "whole"))
    seen.after.append(charge(3, "whole"))


def one_token_off(seen: Evidence) -> None:
    seen.before[0] = seen.after[0] = charge(1, "whole", tokens=(10, 4, 8, 2))


def never_settled(seen: Evidence) -> None:
    seen.after[1] = seen.before[1]


def another_pays(seen: Evidence) -> None:
    seen.before[1] = charge(2, "cut", key="other", tokens=(0, 0, 0, 0), outcome="interrupted", source="none")


def invented(seen: Evidence) -> None:
    seen.asked.append(Asked("new", "k", False, Ending.CUT))
    seen.before.append(charge(3, "new"))
    seen.after.append(charge(3, "new"))


def left_behind(seen: Evidence) -> None:
    seen.left_over = 1


OFF = {"input_tokens_off_when_reconciled", "output_tokens_off_when_reconciled"}


@pytest.mark.parametrize(
    ("fault", "bars"),
    [
        (
            lost,
            {
                "whole_answers_not_charged_once",
                "requests_at_engine_not_charged_once",
                "requests_that_differ_when_reconciled",
                *OFF,
            },
        ),
        (
            doubled,
            {
                "whole_answers_not_charged_once",
                "requests_at_engine_not_charged_once",
                "requests_charged_twice",
                *OFF,
            },
        ),
        (
            one_token_off,
            {
                "whole_answers_with_other_tokens",
                "requests_that_differ_when_reconciled",
                "output_tokens_off_when_reconciled",
            },
        ),
        (never_settled, {"requests_that_differ_when_reconciled", *OFF}),
        (another_pays, {"requests_charged_to_another_tenant"}),
        (invented, {"charges_with_tokens_no_engine_made", *OFF}),
        (left_behind, {"journals_damaged_or_left"}),
    ],
)
def test_each_fault_breaks_its_bars(fault: Callable[[Evidence], None], bars: set[str]) -> None:
    seen = evidence()
    fault(seen)
    assert broken(seen) == bars
