"""Whatever is done to the bytes of a log is noticed, and a log that nobody touched is whole."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.state.audit import Key, Report, Wrong, verify
from penstock.state.audit.anchors import Anchor, anchors, read_anchor
from penstock.state.audit.line import Chain, Head, parse
from tests.state.audit.world import NOON, keys, put

PICK = st.integers(0, 10**9)


def check(folder: Path, content: dict[str, bytes], key: str = "", anchor: Anchor | None = None) -> Report:
    put(folder, content)
    return verify(folder, keys=keys(key), anchor=anchor)


def name_at(content: dict[str, bytes], pick: int) -> str:
    """A file, chosen by its share of all bytes."""
    at = pick % sum(map(len, content.values()))
    for name, data in content.items():
        if at < len(data):
            return name
        at -= len(data)
    raise AssertionError


def kinds(report: Report) -> set[Wrong]:
    return {finding.wrong for finding in report.findings}


def test_an_untouched_log_is_whole(sound: dict[str, bytes], signed: dict[str, bytes], secret: str, spot: Path) -> None:
    for content, key in ((sound, ""), (signed, ""), (signed, secret)):
        report = check(spot, content, key)
        assert report.findings == []
        assert (report.chains, report.lost, report.lines) == (3, 0, sum(data.count(b"\n") for data in content.values()))


@given(pick=PICK, bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_any_flipped_bit_is_found(
    sound: dict[str, bytes], signed: dict[str, bytes], spot: Path, pick: int, bit: int
) -> None:
    for content in (sound, signed):
        name = name_at(content, pick)
        data = bytearray(content[name])
        at = pick % len(data)
        data[at] ^= 1 << bit
        report = check(spot, content | {name: bytes(data)})
        found = [finding for finding in report.findings if finding.file == name]
        line = content[name][:at].count(b"\n") + 1
        assert Wrong.ALTERED in kinds(report)
        assert any(finding.line == line for finding in found), report.findings


def test_every_line_end_of_a_file_counts(sound: dict[str, bytes], spot: Path) -> None:
    for name, data in sound.items():
        for at in (at for at, byte in enumerate(data) if byte == 10):
            assert not check(spot, sound | {name: data[:at] + b" " + data[at + 1 :]}).ok


@given(pick=PICK, number=PICK)
@settings(max_examples=150, deadline=None)
def test_a_removed_line_is_found(sound: dict[str, bytes], spot: Path, pick: int, number: int) -> None:
    name = name_at(sound, pick)
    lines = sound[name].splitlines(keepends=True)
    gone = number % len(lines)
    body = parse(lines[gone][:-1])
    assert body is not None
    report = check(spot, sound | {name: b"".join(lines[:gone] + lines[gone + 1 :])})
    if is_tail(sound, name, [body.head.seq]):
        return
    assert kinds(report) & {Wrong.MISSING, Wrong.TRUNCATED}
    assert any(str(body.body.seq) in finding.detail or finding.file == name for finding in report.findings)


def is_tail(content: dict[str, bytes], name: str, seqs: list[int]) -> bool:
    """Whether no anchor names these lines or one after them: nothing in the folder can say that they were there."""
    writer = name.split(".")[0]
    heads = [found for raw in content["anchors.jsonl"].splitlines() if (found := read_anchor(raw))]
    if writer == "anchors":
        named = [
            line.body.fields["seq"]
            for file, data in content.items()
            for raw in data.splitlines()
            if file.startswith("supervisor") and (line := parse(raw)) and line.body.what == "anchored"
        ]
        return bool(min(seqs) > max(named))
    return min(seqs) > max(anchor.heads[writer].seq for anchor in heads if writer in anchor.heads)


@given(pick=PICK, first=PICK, second=PICK)
@settings(max_examples=150, deadline=None)
def test_swapped_lines_are_found(sound: dict[str, bytes], spot: Path, pick: int, first: int, second: int) -> None:
    name = name_at(sound, pick)
    lines = sound[name].splitlines(keepends=True)
    one, two = first % len(lines), second % len(lines)
    if one == two:
        return
    lines[one], lines[two] = lines[two], lines[one]
    assert Wrong.REORDERED in kinds(check(spot, sound | {name: b"".join(lines)}))


@given(pick=PICK, other=PICK, number=PICK, at=PICK)
@settings(max_examples=150, deadline=None)
def test_a_line_from_anywhere_that_is_inserted_is_found(
    sound: dict[str, bytes], spot: Path, pick: int, other: int, number: int, at: int
) -> None:
    """A line of the same file is a duplicate, one of another file does not belong."""
    name, source = name_at(sound, pick), name_at(sound, other)
    lines, others = sound[name].splitlines(keepends=True), sound[source].splitlines(keepends=True)
    lines.insert(at % (len(lines) + 1), others[number % len(others)])
    report = check(spot, sound | {name: b"".join(lines)})
    assert not report.ok
    if name == source:
        assert kinds(report) <= {Wrong.DUPLICATED, Wrong.REORDERED, Wrong.MISSING}


@given(pick=PICK, junk=st.binary(min_size=1, max_size=300), at=PICK)
@example(pick=0, junk=b"\n", at=0)
@settings(max_examples=150, deadline=None)
def test_inserted_bytes_are_found(sound: dict[str, bytes], spot: Path, pick: int, junk: bytes, at: int) -> None:
    name = name_at(sound, pick)
    data = sound[name]
    at %= len(data)
    assert not check(spot, sound | {name: data[:at] + junk + data[at:]}).ok


@given(pick=PICK, cut=PICK)
@settings(max_examples=200, deadline=None)
def test_a_cut_is_found_down_to_the_last_anchor(sound: dict[str, bytes], spot: Path, pick: int, cut: int) -> None:
    name = name_at(sound, pick)
    data = sound[name][: cut % len(sound[name])]
    lost = [line.body.seq for raw in sound[name].splitlines() if (line := parse(raw)) and raw + b"\n" not in data]
    report = check(spot, sound | {name: data})
    if not lost or is_tail(sound, name, lost):
        return
    assert kinds(report) & {Wrong.TRUNCATED, Wrong.MISSING, Wrong.ALTERED}


def test_every_removed_file_is_found(sound: dict[str, bytes], spot: Path) -> None:
    for name in sound:
        report = check(spot, {other: data for other, data in sound.items() if other != name})
        assert kinds(report) & {Wrong.MISSING, Wrong.TRUNCATED}, name


def test_a_removed_chain_is_found(sound: dict[str, bytes], spot: Path) -> None:
    for writer in ("supervisor-0", "worker-0", "worker-1"):
        report = check(spot, {name: data for name, data in sound.items() if not name.startswith(writer)})
        assert [(f.wrong, f.file) for f in report.findings][-1] == (Wrong.MISSING, f"{writer}.*")


def test_swapped_files_are_found(sound: dict[str, bytes], spot: Path) -> None:
    one, two, _ = (name for name in sound if name.startswith("worker-0"))
    for first, second in ((one, two), (one, one.replace("worker-0", "worker-1"))):
        report = check(spot, sound | {first: sound[second], second: sound[first]})
        assert Wrong.REORDERED in kinds(report)


# -- somebody who writes the chain anew --------------------------------------------------------------------------------


def anew(content: dict[str, bytes], writer: str, key: Key | None = None) -> dict[str, bytes]:
    """The chain of a writer with one actor changed, and every hash made to fit."""
    chain, out = Chain(Head(), key), {}
    for name, data in content.items():
        if name.startswith(writer):
            for raw in data.splitlines():
                line = parse(raw)
                assert line is not None
                body = line.body
                actor = "somebody/else" if body.kind == "request" else body.actor
                chain.add(body.time, body.kind, actor, body.what, body.fields)
            out[name] = chain.take()
    return content | out


def test_a_chain_written_anew_is_found_by_the_anchors(sound: dict[str, bytes], spot: Path) -> None:
    report = check(spot, anew(sound, "worker-0"))
    assert kinds(report) == {Wrong.FORGED}
    assert "anchor" in report.findings[0].detail


def test_a_folder_written_anew_is_found_by_an_anchor_that_was_kept(sound: dict[str, bytes], spot: Path) -> None:
    put(spot, sound)
    kept = anchors(spot)[-1]
    forged = anew(sound, "worker-0")
    heads = {}
    for name, data in forged.items():
        if name != "anchors.jsonl" and (last := parse(data.splitlines()[-1])):
            heads[name.split(".")[0]] = last.head
    chain = Chain(Head())
    for raw in sound["anchors.jsonl"].splitlines():
        line = parse(raw)
        assert line is not None
        fields = {"heads": heads} if line.body.kind == "anchor" else line.body.fields
        chain.add(line.body.time, line.body.kind, line.body.actor, line.body.what, fields)
    forged["anchors.jsonl"] = chain.take()
    assert Wrong.FORGED in kinds(check(spot, forged, anchor=kept))
    forged = {name: data for name, data in forged.items() if not name.startswith("supervisor")}
    assert Wrong.FORGED in kinds(check(spot, forged, anchor=kept))


def test_without_the_key_nobody_signs(signed: dict[str, bytes], secret: str, spot: Path) -> None:
    assert Wrong.FORGED in kinds(check(spot, anew(signed, "worker-0"), secret))
    assert Wrong.FORGED in kinds(check(spot, anew(signed, "worker-0", Key(b"another" * 8)), secret))


@given(pick=PICK)
@settings(max_examples=50, deadline=None)
def test_an_appended_line_is_found_with_a_key(signed: dict[str, bytes], secret: str, spot: Path, pick: int) -> None:
    name = name_at(signed, pick)
    writer = name.split(".")[0]
    name = max(n for n in signed if n.startswith(writer))
    last = parse(signed[name].splitlines()[-1])
    assert last is not None
    chain = Chain(last.head)
    chain.add(NOON, "request", "-", "GET /", {})
    forged = signed | {name: signed[name] + chain.take()}
    assert check(spot, forged).ok
    assert kinds(check(spot, forged, secret)) == {Wrong.FORGED}


def test_old_files_may_be_archived_when_that_is_said(sound: dict[str, bytes], spot: Path) -> None:
    days = sorted({name.split(".")[1] for name in sound if name != "anchors.jsonl"})
    for keep in days[1:]:
        left = {name: data for name, data in sound.items() if name == "anchors.jsonl" or name.split(".")[1] >= keep}
        assert not check(spot, left).ok
        assert verify(spot, since=keep).ok
        if keep != days[1]:
            assert not verify(spot, since=days[1]).ok


@pytest.mark.parametrize("name", ["worker-0", "anchors"])
def test_a_torn_tail_is_a_note(sound: dict[str, bytes], spot: Path, name: str) -> None:
    """What a crash leaves behind the last line is not a finding."""
    last = max(n for n in sound if n.startswith(name))
    line = sound[last].splitlines()[-1]
    for length in (1, 50, len(line) - 1, len(line)):
        report = check(spot, sound | {last: sound[last] + line[:length]})
        assert report.ok
        assert "torn by a crash" in " ".join(report.notes)
