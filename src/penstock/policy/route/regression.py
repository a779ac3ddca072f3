"""Online linear regression: recursive least squares with forgetting, in plain floats."""

from collections.abc import Sequence

_START = 100.0
"""Initial covariance: how little the initial weights are believed."""
_MOST = 1e4
"""Covariance is not let grow beyond this while inputs stay the same, or one new input would throw the weights."""
_OUTLIER = 4.0
"""Errors count up to this many times the usual error, and a quarter of the mean."""
_FEW = 8
"""Until so many samples no error is an outlier."""


class Regression:
    """y from x, learnt one sample at a time in O(k^2). Answers lie between nothing and twice what was ever seen."""

    def __init__(self, inputs: int, forgetting: float) -> None:
        self._forgetting = forgetting
        self._weights = [0.0] * inputs
        self._spread = [[_START if i == j else 0.0 for j in range(inputs)] for i in range(inputs)]
        self._usual_error = 0.0
        self._mean = 0.0
        self._most = 0.0
        self.samples = 0

    @property
    def mean(self) -> float:
        """Of what was seen of late."""
        return self._mean

    def slope(self, place: int) -> float:
        """By how much y grows with the input in that place."""
        return self._weights[place]

    @property
    def settled(self) -> bool:
        """Enough samples for a line: twice as many as inputs."""
        return self.samples >= 2 * len(self._weights)

    def learn(self, x: Sequence[float], y: float) -> None:
        """Takes one sample. Nonsense (infinite, no number, a negative `y`) is not learnt."""
        if not 0.0 <= y < 1e6 or not all(-1e6 < v < 1e6 for v in x):
            return
        error = y - sum(w * v for w, v in zip(self._weights, x, strict=True))
        if self.samples >= _FEW:
            limit = _OUTLIER * self._usual_error + 0.25 * self._mean + 1e-6
            error = min(limit, max(-limit, error))
        self._usual_error += (abs(error) - self._usual_error) / min(self.samples + 1, 32)
        self._mean += (y - self._mean) / min(self.samples + 1, 32)
        self._most = max(self._most * 0.999, min(y, 4 * self._mean))
        self.samples += 1
        along = [sum(p * v for p, v in zip(row, x, strict=True)) for row in self._spread]
        scale = self._forgetting + sum(v * a for v, a in zip(x, along, strict=True))
        self._weights = [w + a / scale * error for w, a in zip(self._weights, along, strict=True)]
        keep = 1.0 / self._forgetting if max(row[i] for i, row in enumerate(self._spread)) < _MOST else 1.0
        self._spread = [
            [(p - a * b / scale) * keep for p, b in zip(row, along, strict=True)]
            for row, a in zip(self._spread, along, strict=True)
        ]

    def predict(self, x: Sequence[float]) -> float | None:
        """Expected y, None before the first sample; the mean until there are twice as many samples as inputs."""
        if not self.samples:
            return None
        if not self.settled:
            return self._mean
        y = sum(w * v for w, v in zip(self._weights, x, strict=True))
        return min(2.0 * self._most, max(0.0, y))
