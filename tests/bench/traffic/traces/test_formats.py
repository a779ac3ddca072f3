"""Traces in the published formats, and what is no trace."""

from contextlib import suppress
from pathlib import Path
from random import Random
from typing import get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.traffic.traces.trace import AUTO, FORMATS, Trace, trace
from penstock.bench.traffic.workload import Replay
from penstock.config.audit import Audit
from penstock.core.errors import ConfigError
from penstock.core.record import Record, TokenSource
from penstock.state.audit.log import AuditLog, Exchange
from tests.bench.traffic.traces import published as p


def read(text: str, form: str = AUTO, most_s: float = 0.0) -> Trace:
    return trace(text.splitlines(keepends=True), "t", form, most_s)


@pytest.mark.parametrize(
    ("text", "form", "rows", "left_out"),
    [
        (p.AZURE_2023, "azure", [(0, 374, 44), (4.314579, 396, 109), (4.541977, 879, 55)], 0),
        (p.AZURE_2024, "azure", [(0, 2162, 5), (0.99007, 2399, 6)], 0),
        (p.BURSTGPT, "burstgpt", [(0, 472, 18), (40, 1087, 230), (180, 1360, 647)], 1),
        (p.BURSTGPT_1, "burstgpt", [(0, 472, 18)], 0),
        (p.MOONCAKE, "mooncake", [(0, 1100, 52), (3.052, 1300, 26), (3.052, 655, 9)], 0),
        (p.RECORDS, "records", [(0, 30, 6), (2.5, 20, 5)], 1),
        (p.AUDITED, "records", [(0, 30, 6), (1, 20, 5)], 0),
    ],
)
def test_a_format_is_known_by_its_first_line(
    text: str, form: str, rows: list[tuple[float, int, int]], left_out: int
) -> None:
    for found in (read(text), read("\n" + text), read(text, form)):
        assert found.form == form
        assert [(row.input_tokens, row.output_tokens) for row in found.rows] == [row[1:] for row in rows]
        assert [row.at for row in found.rows] == pytest.approx([row[0] for row in rows], abs=1e-6)
        assert found.left_out == left_out


def test_what_else_rows_say() -> None:
    assert [row.model for row in read(p.BURSTGPT).rows] == ["ChatGPT", "GPT-4", "GPT-4"]
    assert [row.blocks for row in read(p.MOONCAKE).rows] == [(46, 47, 48), (46, 47, 50), (51, 52)]
    assert [(row.model, row.tenant) for row in read(p.RECORDS).rows] == [("lora", "k1"), ("m", "k2")]
    assert [row.tenant for row in read(p.AUDITED).rows] == ["acme/search/k1", ""]


def test_a_record_as_it_is_written_is_read() -> None:
    made = Record("r", 5.0, model="m", key="k", input_tokens=7, output_tokens=3, tokens_source=TokenSource.USAGE)
    (row,) = read(msgspec.json.encode(made).decode()).rows
    assert (row.input_tokens, row.output_tokens, row.model, row.tenant) == (7, 3, "m", "k")


def test_the_audit_log_as_it_is_written_is_read(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "worker", Audit(requests="metadata"))
    log.open()
    log.action("admin", "POST /admin/reload", {"workers": 2})
    for number, actor in enumerate(("acme/search/k1", "-")):
        record = Record(f"r{number}", 5.0 + number, model="m", input_tokens=7, output_tokens=3 + number)
        log.requests([Exchange(record, actor)])
    log.close()
    (chain,) = tmp_path.glob("worker-*.jsonl")
    found = read(chain.read_text())
    assert found.form == "records"
    assert [(row.at, row.input_tokens, row.output_tokens, row.tenant) for row in found.rows] == [
        (0, 7, 3, "acme/search/k1"),
        (1, 7, 4, ""),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n", "t:2: TIMESTAMP is 'yesterday'; write it like"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10,1,1\n2024-05-10,-3,1\n", "t:3: ContextTokens is '-3'; "),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10,1\n", "t:2: GeneratedTokens is None; write every column"),
        ("Timestamp,Model,Request tokens,Response tokens\nnan,m,1,1\n", "t:2: Timestamp is 'nan'; write seconds"),
        ("Timestamp,Model,Request tokens,Response tokens\n1,m,1,many\n", "t:2: Response tokens is 'many'; write whole"),
        (p.MOONCAKE + '{"timestamp": 9, "input_length": "x", "output_length": 1}', "t:4: input_length is 'x'; "),
        (p.MOONCAKE + '\n{"timestamp": 9, "input_length": 1}', "t:5: the line is "),
        (p.MOONCAKE + "{", "t:4: not JSON: "),
        (p.RECORDS + '{"id": "r", "time": "noon"}', "t:4: time is 'noon'; Expected"),
        (p.AUDITED + '{"time": 1, "kind": "request", "fields": {}}', "t:4: fields.record is None; write the Record"),
        (p.AUDITED + '{"time": 1, "kind": "request", "fields": {"record": {"time": "x"}}}', "t:4: fields.record.time"),
        ("a,b\n1,2\n", "t:1: the line is 'a,b', of no known format; write format: azure, burstgpt"),
        ("", "t: is empty"),
        ("Timestamp,Model,Request tokens,Response tokens\n1,m,1,0\n", "t: has no request with tokens of input"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_line_field_and_value(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    assert str(error.value).startswith(told)


def test_a_format_that_is_asked_for_is_not_guessed() -> None:
    with pytest.raises(ConfigError, match=r"t:1: the header is .*it needs a column 'TIMESTAMP'"):
        read(p.BURSTGPT, "azure")


def test_every_format_can_be_named_in_a_contract() -> None:
    literal = get_args(get_type_hints(Replay, include_extras=False)["format"])
    assert set(literal) == {AUTO, *FORMATS}


@given(st.text(max_size=300))
def test_no_text_is_more_than_refused(text: str) -> None:
    for form in (AUTO, *FORMATS):
        with suppress(ConfigError):
            read(text, form)


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
    st.integers(1, 5000),
)
def test_rows_come_in_order_from_zero_whatever_order_they_were_written_in(
    rows: list[tuple[int, int, int]], random: Random, most_ms: int
) -> None:
    kept = sorted((at, a, b) for at, a, b in rows if a and b)
    random.shuffle(rows)
    text = p.mooncake([(at, a, b, ()) for at, a, b in rows])
    if not kept:
        with pytest.raises(ConfigError):
            read(text)
        return
    found = read(text)
    assert [row.at for row in found.rows] == pytest.approx([(at - kept[0][0]) / 1000 for at, _, _ in kept])
    assert found.left_out == len(rows) - len(kept)
    part = read(text, most_s=most_ms / 1000)
    assert part.rows == [row for row in found.rows if row.at < most_ms / 1000]
