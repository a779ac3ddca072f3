"""The page on dialects shows the tables that the product reads by."""

import re
from pathlib import Path

import pytest

from penstock.wire.dialects import DIALECTS
from penstock.wire.dialects.dialect import Range, Rule

PAGE = Path(__file__).parents[3] / "docs" / "dialects.md"


def title(each: Range) -> str:
    if not each.since:
        return f"Before {each.until}" if each.until else "All versions"
    return f"From {each.since} to before {each.until}" if each.until else f"From {each.since}"


def row(rule: Rule) -> str:
    metrics = ", ".join(f"`{metric}`" for metric in dict.fromkeys(rule.formula.metrics))
    absent = rule.only or (f"before `{rule.after}` is there" if rule.after else "")
    return f"| `{rule.signal}` | {metrics} | {absent} |"


def table(each: Range) -> str:
    head = "| Signal | Metrics | May be absent |\n|---|---|---|\n"
    return f"{title(each)}:\n\n{head}" + "\n".join(row(rule) for rule in each.rules) + "\n"


@pytest.mark.parametrize("name", list(DIALECTS))
def test_the_page_has_the_tables_of_each_dialect(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    for each in DIALECTS[name].ranges:
        assert table(each) in found[1]
    rows = sum(len(each.rules) for each in DIALECTS[name].ranges)
    assert len(re.findall(r"^\| `", found[1], re.MULTILINE)) == rows
