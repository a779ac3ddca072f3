"""A quantile of the last few values, exact over what it keeps."""

from bisect import bisect_left, insort
from collections import deque
from math import ceil


class Recent:
    """The last `size` values, in order of age and of size. Adding costs a search and a short move; old ones fall out,
    so that what was learned of yesterday's engine is forgotten."""

    def __init__(self, size: int) -> None:
        self._by_age: deque[float] = deque()
        self._sorted: list[float] = []
        self._size = size

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        """Takes a value in, and the oldest out when full."""
        if len(self._by_age) == self._size:
            del self._sorted[bisect_left(self._sorted, self._by_age.popleft())]
        self._by_age.append(value)
        insort(self._sorted, value)

    def quantile(self, q: float) -> float:
        """The smallest value that at least a share `q` of the values does not exceed. Raises ValueError when empty."""
        if not self._sorted:
            raise ValueError("no values")
        return self._sorted[max(0, ceil(q * len(self._sorted) - 1e-9) - 1)]
