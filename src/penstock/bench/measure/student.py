"""Student's t distribution: the few numbers that a comparison of runs needs."""

from math import exp, lgamma, log, log1p, sqrt

TERMS = 300
"""Of the continued fraction; it converges in far fewer."""
TINY = 1e-300


def p_value(t: float, freedom: float) -> float:
    """Probability of a value at least as far from 0 as `t`, on either side.

    By the incomplete beta function: DLMF 8.17(i) and its continued fraction 8.17.22, evaluated by Lentz's method.
    """
    if freedom <= 0:
        raise ValueError(f"{freedom} degrees of freedom; there must be more than 0")
    return _beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def critical(level: float, freedom: float) -> float:
    """What |t| stays below with probability `level`."""
    low, high = 0.0, 1.0
    while p_value(high, freedom) > 1 - level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if p_value(middle, freedom) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    c, d = 1.0, 1 / max(TINY, 1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, TERMS):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            d = 1 / (d if abs(d) > TINY else TINY)
            c = 1 + step / c
            c = c if abs(c) > TINY else TINY
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * fraction


def welch(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """(difference of means b - a, its standard error, degrees of freedom by Welch and Satterthwaite)."""
    mean_a, part_a = _mean_and_part(a)
    mean_b, part_b = _mean_and_part(b)
    error = sqrt(part_a + part_b)
    below = part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1)
    freedom = (part_a + part_b) ** 2 / below if below else float(len(a) + len(b) - 2)
    return mean_b - mean_a, error, freedom


def paired(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """As `welch`, for values measured in pairs: what changed slowly meanwhile falls out."""
    mean, part = _mean_and_part([y - x for x, y in zip(a, b, strict=True)])
    return mean, sqrt(part), len(a) - 1.0


def _mean_and_part(values: list[float]) -> tuple[float, float]:
    """Mean, and variance of the mean."""
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
