"""A report before it is HTML or Markdown: what it says, in order."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

Row: TypeAlias = Sequence[str]


class Table(msgspec.Struct, frozen=True):
    """Rows of text; the first cell of each names it. What follows a line feed in a cell stands below it, smaller."""

    title: str
    header: Row
    rows: Sequence[Row]
    note: str = ""
    words: bool = False
    """Text rather than numbers: to the left, and broken into lines."""
    folded: bool = False
    """Closed until asked for."""


class Plot(msgspec.Struct, frozen=True):
    """A drawing in two sizes, and what it shows in words."""

    title: str
    desc: str
    wide: str
    narrow: str
    """For a phone, and for half a page of paper."""
    full: bool = False
    """As wide as the page; else two stand side by side."""


class Plots(msgspec.Struct, frozen=True):
    title: str
    plots: Sequence[Plot]
    note: str = ""


class Card(msgspec.Struct, frozen=True):
    """One figure, large."""

    label: str
    value: str
    sure: str
    """Its interval, or why it has none."""
    good: bool | None = None
    """Whether it meets its objective; None: there is none."""


class Cards(msgspec.Struct, frozen=True):
    title: str
    cards: Sequence[Card]
    note: str = ""


class Listing(msgspec.Struct, frozen=True):
    """Text as it is written, closed until asked for."""

    title: str
    text: str


Block: TypeAlias = Table | Plots | Cards | Listing


class Document(msgspec.Struct, frozen=True):
    title: str
    about: str
    """One line below the title."""
    verdict: str
    good: bool | None
    """True: as it should be; False: not; None: open."""
    notes: Sequence[str]
    blocks: Sequence[Block]
