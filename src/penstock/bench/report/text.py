"""A report as Markdown: every table and figure of the page, and what each plot shows, in words."""

from penstock.bench.report.document import Block, Cards, Document, Listing, Plots, Table
from penstock.bench.report.table import escaped, markdown


def markdown_of(document: Document) -> str:
    """The whole report."""
    parts = [f"# {escaped(document.title)}", escaped(document.about), f"**{escaped(document.verdict)}**"]
    parts += [escaped(note) for note in document.notes]
    parts += [_block(block) for block in document.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    title = f"## {escaped(block.title)}"
    match block:
        case Table():
            rows = [[_cell(cell) for cell in row] for row in block.rows]
            found = [title, markdown(block.header, rows).rstrip(), escaped(block.note)]
        case Plots():
            found = [title, "\n".join(f"- **{escaped(plot.title)}.** {escaped(plot.desc)}" for plot in block.plots)]
        case Cards():
            signs = {True: "meets the SLO", False: "misses the SLO", None: ""}
            cards = [(card.label, card.value, card.sure, signs[card.good]) for card in block.cards]
            found = [title, escaped(block.note), markdown(("figure", "value", "interval", "objective"), cards).rstrip()]
        case Listing():
            fence = "```" if "```" not in block.text else "`````"
            found = [title, f"{fence}yaml\n{block.text.rstrip()}\n{fence}"]
    return "\n\n".join(part for part in found if part)


def _cell(cell: str) -> str:
    large, _, small = cell.partition("\n")
    return f"{large} ({small})" if small else large
