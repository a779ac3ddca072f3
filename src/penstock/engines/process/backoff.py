"""How long to wait before the next start. Pure."""


def restart_delay_s(failures: int, base_s: float = 0.25, cap_s: float = 30.0) -> float:
    """Seconds before the start that follows `failures` failed lives in a row (0: at once), doubling to a cap."""
    if failures <= 0:
        return 0.0
    return min(cap_s, base_s * 2.0 ** min(failures - 1, 60))


def failures_after(failures: int, healthy_s: float, forgive_after_s: float) -> int:
    """Failed lives in a row, after a life that was healthy for `healthy_s` ended.

    A life that lasted `forgive_after_s` clears what came before it.
    """
    return 1 if healthy_s >= forgive_after_s else failures + 1
