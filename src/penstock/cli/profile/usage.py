"""Two readings of a process -> what it used between them."""

import msgspec

from penstock.cli.profile.procfs import Reading


class ThreadUsage(msgspec.Struct, frozen=True):
    """Shares of one core, 0 to 1."""

    tid: int
    name: str
    user: float
    system: float


class Usage(msgspec.Struct, frozen=True):
    """What one process used. Shares of one core; more than 1 where several threads ran. Memory in bytes, at the end."""

    seconds: float
    user: float
    system: float
    threads: list[ThreadUsage]
    """The busiest first."""
    rss: int
    rss_growth: int
    pss: int | None
    files: int | None
    sockets: int | None
    most_files: int | None
    gave_way: float
    """Context switches per second because a thread waited."""
    made_way: float
    """Because another thread was to run."""


def between(before: Reading, after: Reading) -> Usage:
    """Raises ProcessLookupError when they are of two processes, one with the id of the other."""
    if before.stat.started != after.stat.started:
        raise ProcessLookupError
    seconds = max(1e-9, after.at - before.at)
    threads, gave_way, made_way = [], 0, 0
    for tid, now in after.threads.items():
        then = before.threads.get(tid)
        user, system = now.user_s, now.system_s
        gave_way += now.gave_way
        made_way += now.made_way
        if then is not None:
            user, system = user - then.user_s, system - then.system_s
            gave_way -= then.gave_way
            made_way -= then.made_way
        threads.append(ThreadUsage(tid, now.name, user / seconds, system / seconds))
    threads.sort(key=lambda thread: -(thread.user + thread.system))
    return Usage(
        seconds,
        (after.stat.user_s - before.stat.user_s) / seconds,
        (after.stat.system_s - before.stat.system_s) / seconds,
        threads,
        after.rss,
        after.rss - before.rss,
        after.pss,
        after.files,
        after.sockets,
        after.most_files,
        gave_way / seconds,
        made_way / seconds,
    )
