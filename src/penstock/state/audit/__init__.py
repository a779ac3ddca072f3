"""The audit log: append-only chains of lines, each bound to the one before by SHA-256, anchored together.

One process writes one chain. `AuditLog` is what supervisor and workers hold; `verify` reads the folder and names
every line that is altered, missing, reordered, duplicated, truncated or forged.
"""

from penstock.state.audit.line import Body, Head, Key, Line
from penstock.state.audit.log import AuditFailed, AuditLog, Exchange
from penstock.state.audit.report import Finding, Report, Wrong
from penstock.state.audit.verify import verify

__all__ = ["AuditFailed", "AuditLog", "Body", "Exchange", "Finding", "Head", "Key", "Line", "Report", "Wrong", "verify"]
