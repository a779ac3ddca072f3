"""Checks a folder from the files alone: every chain from its first line on, then against the anchors."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from penstock.state.audit.anchors import Anchor, anchors
from penstock.state.audit.chain_check import ChainCheck
from penstock.state.audit.files import ANCHORS, DayFile, day_files, strangers
from penstock.state.audit.line import Head, Key
from penstock.state.audit.report import Report


def verify(folder: Path, *, keys: Sequence[Key] = (), anchor: Anchor | None = None, since: str = "") -> Report:
    """Reads everything once. `anchor`: one that was kept elsewhere. `since`: files of earlier days may be archived.

    Safe while the log is written: what is written meanwhile is checked as far as it was read.
    """
    report = Report()
    known = anchors(folder)
    witnesses = [*known, anchor] if anchor else known
    named: defaultdict[str, list[tuple[Head, str]]] = defaultdict(list)
    for witness in witnesses:
        for writer, head in witness.heads.items():
            named[writer].append((head, f"anchor {witness.line.body.seq}"))
    if anchor is not None:
        named[ANCHORS].append((anchor.line.head, "the anchor kept elsewhere"))
    chains: defaultdict[str, list[DayFile]] = defaultdict(list)
    for file in (*day_files(folder), *day_files(folder, ANCHORS)):
        chains[file.writer].append(file)
    # The supervisors' chains name anchors, so that of the anchors comes last.
    for writer in sorted({*chains, *named, ANCHORS}, key=lambda writer: (writer == ANCHORS, writer)):
        check = ChainCheck(folder, writer, keys, since, report)
        check.expect(named[writer])
        for file in chains[writer]:
            check.file(file)
        check.end()
        named[ANCHORS] += [(head, f"chain {writer}") for head in check.anchored]
    report.anchors = len(known)
    if not witnesses:
        report.notes.append("there is no anchor: a chain that was cut short or removed is not noticed")
    if report.signatures and not keys:
        report.notes.append("lines are signed and no key was given: a chain that was written anew is not noticed")
    report.notes += [f"{path.name} is no file of this log" for path in strangers(folder)]
    report.findings.sort(key=lambda finding: (finding.file, finding.line))
    return report
