"""A report as one HTML page that needs nothing else: no script, no font, no address."""

from collections.abc import Sequence
from html import escape

from penstock.bench.report.document import Block, Card, Cards, Document, Listing, Plot, Plots, Row, Table
from penstock.bench.report.style import STYLE


def page(document: Document) -> str:
    """The whole page. What is not tagged here is escaped."""
    look = {True: "good", False: "bad", None: ""}[document.good]
    head = [
        f"<h1>{escape(document.title)}</h1>",
        f'<p class="dim">{escape(document.about)}</p>',
        f'<p class="verdict {look}">{escape(document.verdict)}</p>',
        *(f"<p>{escape(note)}</p>" for note in document.notes),
    ]
    body = "".join(map(_block, document.blocks))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(document.title)}</title><style>{STYLE}</style></head>"
        f"<body><header>{''.join(head)}</header><main>{body}</main></body></html>\n"
    )


def _block(block: Block) -> str:
    match block:
        case Table():
            return _table(block)
        case Plots():
            figures = "".join(map(_plot, block.plots))
            return _section(block.title, f'<div class="plots">{figures}</div>{_note(block.note)}', "page")
        case Cards():
            cards = "".join(map(_card, block.cards))
            return _section(block.title, f'{_note(block.note)}<div class="cards">{cards}</div>')
        case Listing():
            return f"<details><summary>{escape(block.title)}</summary><pre>{escape(block.text)}</pre></details>"


def _section(title: str, inside: str, look: str = "") -> str:
    return f'<section class="{look}"><h2>{escape(title)}</h2>{inside}</section>'


def _note(note: str) -> str:
    return f'<p class="dim">{escape(note)}</p>' if note else ""


def _table(block: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in block.header)
    names = block.header if block.words and len(block.header) > 2 else ()
    body = "".join(f"<tr>{_row(row, names)}</tr>" for row in block.rows)
    look = ("words many" if names else "words") if block.words else ""
    inside = (
        f'<div class="scroll"><table class="{look}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{_note(block.note)}"
    )
    if block.folded:
        return f"<details><summary>{escape(block.title)}</summary>{inside}</details>"
    return _section(block.title, inside)


def _row(row: Row, names: Row) -> str:
    """`names`: of the columns, for where cells stand below one another."""
    cells = [f"<td>{_cell(cell)}</td>" for cell in row[1:]]
    if names:
        cells = [
            f'<td data-name="{escape(name)}">{_cell(cell)}</td>' for name, cell in zip(names[1:], row[1:], strict=True)
        ]
    return f'<th scope="row">{_cell(row[0])}</th>{"".join(cells)}'


def _cell(cell: str) -> str:
    large, _, small = cell.partition("\n")
    return escape(large) + (f"<small>{escape(small)}</small>" if small else "")


def _plot(plot: Plot) -> str:
    wide, narrow = (f'<div class="{size}">{drawing}</div>' for size, drawing in _sizes(plot))
    look = ' class="full"' if plot.full else ""
    return f"<figure{look}><figcaption>{escape(plot.title)}</figcaption>{wide}{narrow}</figure>"


def _sizes(plot: Plot) -> Sequence[tuple[str, str]]:
    return (("wide", plot.wide), ("narrow", plot.narrow))


def _card(card: Card) -> str:
    look = {True: "card good", False: "card bad", None: "card"}[card.good]
    sign = {True: "meets the SLO", False: "misses the SLO", None: ""}[card.good]
    mark = f'<span class="mark">{sign}</span>' if sign else ""
    return f'<div class="{look}"><span>{escape(card.label)}</span><b>{escape(card.value)}</b><span>{escape(card.sure)}</span>{mark}</div>'  # noqa: E501
