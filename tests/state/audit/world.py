"""Logs made as a platform makes them: a supervisor, workers, days that pass, anchors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.config.audit import Audit
from penstock.core.record import Outcome, Record
from penstock.state.audit import AuditLog, Exchange, Key

NOON = 1_700_000_000.0
DAY = 86_400.0
METADATA = Audit(requests="metadata")


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def exchange(number: int, actor: str = "acme/search/k_1") -> Exchange:
    record = Record(f"req-{number}", NOON, "POST", "/v1/chat/completions", "m", outcome=Outcome.SUCCESS, status=200)
    return Exchange(record, actor, b'{"model":"m"}', b'{"id":1}')


@contextmanager
def opened(
    folder: Path, role: str = "worker", settings: Audit = METADATA, clock: Clock | None = None
) -> Iterator[AuditLog]:
    log = AuditLog(folder, role, settings, clock or Clock())
    log.open()
    try:
        yield log
    finally:
        log.close()


def key_file(folder: Path, name: str = "key") -> str:
    path = folder / name
    path.write_text(name.ljust(64, "x"))
    path.chmod(0o600)
    return str(path)


def write_log(folder: Path, key: str = "") -> None:
    """Two workers and a supervisor over three days, a restart each day, anchored at the end of it all."""
    clock = Clock()
    settings = Audit(requests="metadata", key_file=key)
    for day in range(3):
        clock.now = NOON + day * DAY
        with opened(folder, "supervisor", settings, clock) as boss, opened(folder, "worker", settings, clock) as one:
            with opened(folder, "worker", settings, clock) as two:
                boss.action("admin", "key.created", {"id": f"k_{day}", "team": "search"})
                one.requests([exchange(number) for number in range(3)])
                two.requests([exchange(number, "-") for number in range(3, 5)])
                two.requests([exchange(9)])
            boss.anchor()
    with opened(folder, "supervisor", settings, clock) as boss:
        boss.anchor("stop")


def keys(path: str) -> list[Key]:
    return [Key.read(Path(path))] if path else []


def files(folder: Path) -> dict[str, bytes]:
    """The chains of a folder: name -> bytes."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}


def put(folder: Path, content: dict[str, bytes]) -> None:
    """Makes a folder of chains that holds this and nothing else."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, data in content.items():
        (folder / name).write_bytes(data)


Edit = Callable[[bytes], bytes]
