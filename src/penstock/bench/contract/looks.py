"""Two sets that grow until they can be told apart, or called the same.

Who looks again and again finds something at last, even in noise. So the looks are few, after twice as many runs each
time, and share the level (Bonferroni): with n looks each is at 1 - (1 - level) / n. What is found is as sure as in one
comparison of sets whose size was set before.
"""

from penstock.bench.contract.compare import Verdict, compare
from penstock.bench.contract.contract import RunSet

WORTH = 1.5
"""A last look takes so many times the runs of the one before, or it is that one."""


def looks(runs: int, most: int) -> tuple[int, ...]:
    """After how many runs in a set two sets are compared: `runs`, twice as many each time, and `most`."""
    found = [runs]
    while found[-1] < most:
        found.append(min(2 * found[-1], most))
    if len(found) > 2 and found[-1] < WORTH * found[-2]:
        del found[-2]
    return tuple(found)


def looked_at(before: RunSet, after: RunSet, *, looks: int) -> Verdict:
    """The verdict at one of so many looks. Notes in both sets that they share the level. What the fingerprints say may
    differ: they are compared to be told apart."""
    before.looks = after.looks = looks
    return compare(before, after, pairs=True, despite=before.fingerprint.keys() | after.fingerprint.keys()).verdict
