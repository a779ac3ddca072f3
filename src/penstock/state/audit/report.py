"""What a check of the log says."""

from enum import StrEnum

import msgspec


class Wrong(StrEnum):
    """What can be wrong with a line, a file or a chain."""

    ALTERED = "altered"
    """The bytes are not those that were written, or no line at all."""
    MISSING = "missing"
    """Numbers are left out; or a file that another names is not there."""
    REORDERED = "reordered"
    """A line, or a file, stands where another was written."""
    DUPLICATED = "duplicated"
    """Its number was there before."""
    TRUNCATED = "truncated"
    """A chain ends before the line that an anchor names."""
    FORGED = "forged"
    """Whole in itself, and yet not what this log wrote."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong. Any of them means that the log cannot be trusted there."""

    wrong: Wrong
    file: str
    line: int
    """From 1; 0 for the file as a whole."""
    detail: str


class Report(msgspec.Struct):
    """The result of a check."""

    chains: int = 0
    files: int = 0
    lines: int = 0
    signatures: int = 0
    """Lines that have one."""
    anchors: int = 0
    lost: int = 0
    """Lines that the log itself says it could not write."""
    findings: list[Finding] = []
    notes: list[str] = []
    """What a reader should know and is no sign of tampering."""

    @property
    def ok(self) -> bool:
        return not self.findings
