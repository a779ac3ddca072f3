"""Names to things; a wrong name is told with the right ones."""

import pytest

from penstock.core.errors import ConfigError
from penstock.core.registry import Registry


def test_a_name_finds_its_thing() -> None:
    registry = Registry("source", {"b": 2, "a": 1})
    assert (registry["a"], list(registry)) == (1, ["b", "a"])


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"^unknown source 'c'; known: a, b$"):
        Registry("source", {"b": 2, "a": 1})["c"]


def test_what_it_was_made_from_may_change() -> None:
    entries = {"a": 1}
    registry = Registry("source", entries)
    entries.clear()
    assert registry["a"] == 1
