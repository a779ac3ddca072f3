"""Numbers that were skipped and may still turn up. Pure."""

from bisect import bisect_right


class Gaps:
    """Ranges of sequence numbers, with the place where each was noticed."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._gaps: list[tuple[int, int, str, int]] = []

    def add(self, begin: int, end: int, file: str, line: int) -> None:
        """Numbers from `begin` to below `end`, above all that were added before."""
        self._begins.append(begin)
        self._gaps.append((begin, end, file, line))

    def fill(self, number: int) -> bool:
        """Whether the number was one of them; it is no more."""
        at = bisect_right(self._begins, number) - 1
        if at < 0 or number >= self._gaps[at][1]:
            return False
        begin, end, file, line = self._gaps[at]
        left = [(begin, number, file, line), (number + 1, end, file, line)]
        self._gaps[at : at + 1] = [gap for gap in left if gap[0] < gap[1]]
        self._begins[at : at + 1] = [gap[0] for gap in left if gap[0] < gap[1]]
        return True

    def left(self) -> list[tuple[int, int, str, int]]:
        """(begin, end, file, line) of what never turned up."""
        return self._gaps
