"""Checks one chain, file by file, line by line."""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from penstock.state.audit.files import ANCHORS, NAME, DayFile, lines_of
from penstock.state.audit.gaps import Gaps
from penstock.state.audit.line import Head, Key, Line, parse
from penstock.state.audit.report import Finding, Report, Wrong
from penstock.state.audit.writer import CHAIN

SEALED = re.compile(rb',"hash":"[0-9a-f]{64}"}')
"""The end of a line; fields may hold such bytes as well."""


class _Part(msgspec.Struct):
    file: str
    bytes: int
    sha256: str


class _Facts(msgspec.Struct):
    """Fields of the lines that the log writes about itself."""

    writer: str = ""
    file: str = ""
    after: str = ""
    parts: list[_Part] = []
    count: int = 0
    seq: int = 0
    hash: str = ""


class ChainCheck:
    """`expect` what anchors name, then `file` for each file in order, then `end`. Adds to the report."""

    def __init__(self, folder: Path, writer: str, keys: Sequence[Key], since: str, report: Report) -> None:
        self._folder = folder
        self._writer = writer
        self._keys = keys
        self._since = since
        self._report = report
        self._head = Head()
        """The last line that could be read, in the order of the numbers."""
        self._broken = 0
        """Lines that could not be read since the last one that could."""
        self._gaps = Gaps()
        self._torn: tuple[DayFile, int] | None = None
        self._last = ("", 0)
        self._expected: dict[int, list[tuple[str, str]]] = {}
        self.anchored: list[Head] = []
        """Anchors that this chain names."""

    def expect(self, named: Sequence[tuple[Head, str]]) -> None:
        """Lines that must be there, each with who says so."""
        for head, witness in named:
            self._expected.setdefault(head.seq, []).append((head.hash, witness))

    def file(self, file: DayFile) -> None:
        if self._torn is not None:
            before, number = self._torn
            self._wrong(Wrong.ALTERED, before.name, number, "its end is missing, and the chain goes on in another file")
            self._torn = None
        self._report.files += 1
        first = True
        for number, raw in lines_of(file.path):
            self._last = (file.name, number)
            if not raw.endswith(b"\n") and not _holds_a_line(raw):
                self._torn = (file, number)
                return
            line = parse(raw[:-1]) if raw.endswith(b"\n") else None
            self._report.lines += 1
            if line is None:
                self._broken += 1
                self._wrong(Wrong.ALTERED, file.name, number, "the bytes do not fit the hash of the line")
                continue
            if first:
                self._heading(file, number, line)
            first = False
            self._place(file, number, line)
            self._signature(file, number, line)
            if line.body.kind == CHAIN:
                self._own(file, number, line)

    def end(self) -> None:
        """What only shows when all files were read."""
        if self._torn is not None:
            file, number = self._torn
            self._report.notes.append(
                f"{file.name}:{number}: a line without its end, being written now or torn by a crash"
            )
        for begin, end, name, number in self._gaps.left():
            which = f"line {begin}" if end == begin + 1 else f"lines {begin} to {end - 1}"
            self._wrong(Wrong.MISSING, name, number, f"{which} of chain {self._writer} should stand before this line")
        name, number = self._last
        for seq, claims in sorted(self._expected.items()):
            for _, witness in claims:
                detail = f"{witness} names line {seq} of chain {self._writer}; "
                if not name:
                    self._wrong(Wrong.MISSING, f"{self._writer}.*", 0, detail + "the chain is gone")
                elif seq > self._head.seq:
                    self._wrong(Wrong.TRUNCATED, name, number, detail + f"the chain ends with {self._head.seq}")
                else:
                    self._wrong(Wrong.MISSING, name, 0, detail + "it is not there")
        self._report.chains += bool(name) and self._writer != ANCHORS

    def _heading(self, file: DayFile, number: int, line: Line) -> None:
        facts = _facts(line)
        if line.body.kind != CHAIN or line.body.what not in ("begun", "continued"):
            if number == 1:
                self._wrong(Wrong.MISSING, file.name, number, "the line that begins each file")
        elif (facts.writer, facts.file) != (file.writer, file.name):
            self._wrong(Wrong.REORDERED, file.name, number, f"this file was written as {facts.file}")
        before = NAME.fullmatch(facts.after)
        if self._head.seq == 0 and before is not None and before[2] < self._since:
            self._head = Head(line.body.seq - 1, line.body.prev)  # the files up to it are archived
            self._expected = {seq: claims for seq, claims in self._expected.items() if seq >= line.body.seq}

    def _place(self, file: DayFile, number: int, line: Line) -> None:
        """Whether the line stands where it was written."""
        body, head = line.body, self._head
        claims = self._expected.get(body.seq, [])
        if body.seq <= head.seq:
            if self._gaps.fill(body.seq):
                self._wrong(
                    Wrong.REORDERED, file.name, number, f"line {body.seq} of the chain stands behind line {head.seq}"
                )
            else:
                self._wrong(Wrong.DUPLICATED, file.name, number, f"line {body.seq} of the chain was here before")
                return
        else:
            skipped = body.seq - head.seq - 1
            if skipped > self._broken:
                self._gaps.add(head.seq + 1, body.seq, file.name, number)
            elif skipped == 0 and body.prev != head.hash:
                self._wrong(Wrong.FORGED, file.name, number, "it does not follow from the line before")
            self._head, self._broken = line.head, 0
        for claim in list(claims):
            if claim[0] != line.hash:
                self._wrong(Wrong.FORGED, file.name, number, f"{claim[1]} names another line {body.seq}")
            claims.remove(claim)
        if body.seq in self._expected and not claims:
            del self._expected[body.seq]

    def _signature(self, file: DayFile, number: int, line: Line) -> None:
        self._report.signatures += bool(line.mac)
        if self._keys and not any(line.signed_by(key) for key in self._keys):
            what = "signed with another key" if line.mac else "not signed"
            self._wrong(Wrong.FORGED, file.name, number, f"it is {what}")

    def _own(self, file: DayFile, number: int, line: Line) -> None:
        """What the log says about itself."""
        facts, what = _facts(line), line.body.what
        if what == "lost":
            self._report.lost += facts.count
            self._report.notes.append(f"{file.name}:{number}: {facts.count} lines could not be written before this one")
        elif what == "anchored":
            self.anchored.append(Head(facts.seq, facts.hash))
        elif what == "damaged":
            self._wrong(Wrong.ALTERED, file.name, number, "the writer found the file changed, and said so here")
        elif what == "torn":
            for part in facts.parts:
                self._kept(file, number, part)

    def _kept(self, file: DayFile, number: int, part: _Part) -> None:
        """The torn line of a crash, which lies beside."""
        path = self._folder / Path(part.file).name
        if not path.is_file():
            self._wrong(Wrong.MISSING, file.name, number, f"the torn line kept in {part.file}")
        elif sha256(path.read_bytes()).hexdigest() != part.sha256:
            self._wrong(Wrong.ALTERED, part.file, 0, "it is not the torn line that was kept")
        else:
            self._report.notes.append(f"{file.name}:{number}: a crash tore a line; {part.bytes} bytes are kept aside")

    def _wrong(self, wrong: Wrong, file: str, line: int, detail: str) -> None:
        self._report.findings.append(Finding(wrong, file, line, detail))


def _holds_a_line(raw: bytes) -> bool:
    """Whether a line without line end is more than the beginning of one: a crash leaves no whole line and then some."""
    ends = (match.end() for match in SEALED.finditer(raw))
    return any(end < len(raw) and parse(raw[:end]) is not None for end in ends)


def _facts(line: Line) -> _Facts:
    try:
        return msgspec.convert(line.body.fields, _Facts, strict=False)
    except msgspec.ValidationError:
        return _Facts()
