"""Baselines are never lost: what was altered, taken away or put in between is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.contract.baseline import Broken, appended, check, lines, packed, unpacked
from tests.bench.samples import runs

SET = runs(1, 2)


def made(count: int) -> tuple[bytes, dict[str, bytes]]:
    index, files = b"", {}
    for number in range(count):
        data = packed(runs(number, 1))
        name, line = appended(index, "2026-11-27", data)
        files[name] = data
        index += line
    return index, files


INDEX, FILES = made(3)


def test_a_set_comes_back_as_it_was_and_the_same_set_gives_the_same_bytes() -> None:
    assert unpacked(packed(SET)) == SET
    assert packed(SET) == packed(runs(1, 2))
    with pytest.raises(Broken, match="not a set"):
        unpacked(b"nothing of the kind")


def test_names_count_up() -> None:
    assert list(FILES) == [f"000{number}-2026-11-27.json.gz" for number in (1, 2, 3)]
    check(lines(INDEX), FILES)


@given(st.integers(0, len(INDEX) - 2), st.integers(1, 255))
def test_a_changed_byte_of_the_index_is_found(at: int, by: int) -> None:
    changed = bytearray(INDEX)
    changed[at] = (changed[at] + by) % 256
    with pytest.raises(Broken):
        check(lines(bytes(changed)), FILES)


@given(st.data())
def test_a_changed_byte_of_a_baseline_is_found(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    changed = bytearray(FILES[name])
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Broken, match="was changed"):
        check(lines(INDEX), FILES | {name: bytes(changed)})


def test_a_baseline_that_is_gone_and_a_line_that_is_gone() -> None:
    with pytest.raises(Broken, match="never removed"):
        check(lines(INDEX), {name: data for name, data in FILES.items() if "0002" not in name})
    first, _, third = INDEX.splitlines(keepends=True)
    with pytest.raises(Broken, match="does not follow"):
        lines(first + third)
