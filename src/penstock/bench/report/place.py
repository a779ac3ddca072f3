"""Where labels of points go, so that they lie on nothing else."""

from collections.abc import Sequence

from penstock.bench.report.svg import FONT, Box, Point, width_of

AWAY = 9.0


def places(anchors: Sequence[tuple[Point, str]], taken: Sequence[Point], area: Box) -> list[tuple[Point, str]]:
    """For each (point, words) a (position, text anchor): above, right, below or left of it, nearer before farther,
    where it hits the fewest points and labels. `taken`: points that are to stay visible."""
    found: list[tuple[Point, str]] = []
    boxes: list[Box] = []
    for (x, y), words in anchors:
        best: tuple[float, Point, str, Box] | None = None
        for rank, (at, anchor) in enumerate(_candidates(x, y)):
            box = box_of(at, anchor, words)
            cost = rank + 1000 * _outside(box, area) + 100 * sum(_meet(box, other) for other in boxes)
            cost += 20 * sum(_holds(box, point) for point in taken)
            if best is None or cost < best[0]:
                best = cost, at, anchor, box
        assert best is not None
        found.append((best[1], best[2]))
        boxes.append(best[3])
    return found


def _candidates(x: float, y: float) -> list[tuple[Point, str]]:
    near: list[tuple[Point, str]] = []
    for away in (AWAY, 2.2 * AWAY, 3.6 * AWAY):
        near += [
            ((x, y - away), "middle"),
            ((x - away, y + 4 - away / 2), "end"),
            ((x + away, y + 4 + away / 2), "start"),
            ((x + away, y + 4 - away / 2), "start"),
            ((x - away, y + 4 + away / 2), "end"),
            ((x, y + away + FONT - 3), "middle"),
        ]
    return near


def box_of(at: Point, anchor: str, words: str) -> Box:
    width = width_of(words)
    left = at[0] - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * width
    return Box(left - 1, at[1] - FONT + 2, left + width + 1, at[1] + 3)


def _outside(box: Box, area: Box) -> bool:
    return box.left < area.left or box.right > area.right or box.top < area.top or box.bottom > area.bottom


def _meet(one: Box, other: Box) -> bool:
    return one.left < other.right and other.left < one.right and one.top < other.bottom and other.top < one.bottom


def _holds(box: Box, point: Point) -> bool:
    return box.left <= point[0] <= box.right and box.top <= point[1] <= box.bottom
