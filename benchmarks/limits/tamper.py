"""Bytes of an audit log are changed, one at a time, at places drawn by chance: is each seen?"""

import random
import tempfile
from pathlib import Path

from benchmarks.bars import Bar
from benchmarks.limits.proof import Proof
from penstock.config.audit import Audit
from penstock.state.audit.log import AuditLog
from penstock.state.audit.verify import verify

ACTIONS = 200
CHANGES, QUICK_CHANGES = 2_000, 100
SEED = 1


def prove(*, quick: bool = False) -> Proof:
    """A log of some hundred actions, anchored; then one change at a time, taken back after each."""
    rng = random.Random(SEED)
    changes = QUICK_CHANGES if quick else CHANGES
    with tempfile.TemporaryDirectory(prefix="penstock-audit-") as name:
        folder = Path(name)
        log = AuditLog(folder, "supervisor", Audit(enabled=True))
        log.open()
        for number in range(ACTIONS):
            log.action("admin", "key.create", {"id": f"key-{number}", "org": "acme"})
        log.anchor("proof")
        log.close()
        sound = verify(folder).findings
        files = sorted(folder.glob("*.jsonl"))
        missed = []
        for _ in range(changes):
            path = rng.choice(files)
            whole = path.read_bytes()
            at, flip = rng.randrange(len(whole)), rng.randrange(1, 256)
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            if not verify(folder).findings:
                missed.append([path.name, at, flip])
            path.write_bytes(whole)
    return Proof(
        [
            Bar("audit_changes_unseen", len(missed), 0, "changes"),
            Bar("audit_untouched_log_faults", len(sound), 0, "faults"),
        ],
        {"changes": changes, "actions": ACTIONS, "seed": SEED},
        {"missed": missed},
    )
