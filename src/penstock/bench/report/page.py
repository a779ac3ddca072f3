"""A run or a comparison as one HTML page that needs nothing else: no script, no font, no address."""

from collections.abc import Mapping, Sequence
from html import escape

from penstock.bench.contract.compare import Comparison
from penstock.bench.measure.bound import bound
from penstock.bench.measure.figures import Figures
from penstock.bench.report import plots
from penstock.bench.report.table import KINDS, compared, health_rows, resource_rows, rows_of
from penstock.bench.sample import Run

STYLE = """
:root{--ink:#1c2430;--dim:#5d6b7a;--paper:#fff;--card:#f5f7f9;--rule:#d5dce3;--bad:#b3261e;
--c0:#0b6e8a;--c1:#c2571a;--c2:#6b4ea0;--c3:#2f7d32;--c4:#a8811a;--c5:#9b2f5c}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--dim:#96a3b0;--paper:#12171c;--card:#1a2128;--rule:#303a44;
--bad:#ff8a80;--c0:#4fb6d3;--c1:#f0955a;--c2:#b39ddb;--c3:#81c784;--c4:#e0c060;--c5:#ef8bb4}}
@media(max-width:40rem){.tick,.legend,.name,.label{font-size:20px}}
@media print{:root{--card:#fff}section{break-inside:avoid}}
*{box-sizing:border-box}body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.1rem;margin:1.6em 0 .4em}
p{margin:.3em 0;max-width:70ch}.dim{color:var(--dim)}.bad{color:var(--bad);font-weight:600}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:.25em .7em;border-bottom:1px solid var(--rule);text-align:right}th:first-child,td:first-child,.words th,.words td{text-align:left}
th{color:var(--dim);font-weight:500}.plots{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr))}
figure{margin:0;padding:.5rem;background:var(--card);border-radius:6px;break-inside:avoid}
figcaption{font-weight:600;padding:.2rem .4rem}svg{width:100%;height:auto;display:block}
.grid{stroke:var(--rule);stroke-width:1;fill:none}.axis,.whisker{stroke:var(--ink);stroke-width:1.5;fill:none}
.tick,.legend,.name{font-size:12px;fill:var(--dim);text-anchor:middle}.side,.name{text-anchor:end}.legend{text-anchor:start}
.label{font-size:12px;fill:var(--ink);text-anchor:middle}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.band{opacity:.18}.shade0{fill:var(--rule);opacity:.35}.shade1{fill:var(--rule);opacity:.15}
.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}.line.c3{stroke:var(--c3)}
.line.c4{stroke:var(--c4)}.line.c5{stroke:var(--c5)}
.dot,.key,.bar,.band{stroke:none}.dot.c0,.key.c0,.bar.c0,.band.c0{fill:var(--c0)}.dot.c1,.key.c1,.band.c1{fill:var(--c1)}
.dot.c2,.key.c2,.band.c2{fill:var(--c2)}.key.c3,.dot.c3{fill:var(--c3)}.key.c4,.dot.c4{fill:var(--c4)}.key.c5,.dot.c5{fill:var(--c5)}
"""  # noqa: E501


def run_page(run: Run, stages: Sequence[Figures], kinds: Sequence[Figures] = ()) -> str:
    """`stages`: figures of every stage; `kinds`: of every class in them, where there are several."""
    parts = [
        f"<h1>{escape(run.name)}</h1>",
        f'<p class="dim">{len(run.samples)} requests in {len(run.stages)} stages, seed {run.seed}</p>',
    ]
    if run.client.invalid:
        parts.append(f'<p class="bad">Not valid: {escape(run.client.invalid)}.</p>')
    parts += [f"<p>{escape(note)}</p>" for note in run.notes]
    parts += [f'<p class="bad">{escape(each.stage)}: {escape(each.notice)}.</p>' for each in stages if each.notice]
    parts.append(_table("Figures", KINDS, [rows_of(each) for each in stages]))
    if kinds:
        parts.append(_table("By class", KINDS, [rows_of(each) for each in kinds]))
    if known := resource_rows(stages):
        parts.append(_table("Cost and energy", ("stage", "quantity", "value"), known))
    found = [(stage.stage, bound(run, stage)) for stage in stages]
    parts.append(
        _table("What bounds it", ("stage", "what", "why"), [(name, each.what, each.why) for name, each in found])
    )
    drawn = [plots.curve(stages, "ttft"), plots.curve(stages, "itl")] if len(stages) > 1 else []
    drawn += [plots.distribution(run.samples), plots.gaps(run.samples), *plots.over_time(run)]
    parts.append(_plots(drawn))
    parts.append(_table("Client", ("quantity", "value"), health_rows(run.client)))
    parts.append(_mapping("Environment", run.fingerprint))
    return _page(run.name, parts)


def comparison_page(name: str, comparison: Comparison, fingerprint: Mapping[str, str]) -> str:
    """The verdict, and every metric with its interval."""
    bad = comparison.verdict in ("worse", "not comparable")
    parts = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="{"bad" if bad else ""}">Verdict: {escape(comparison.verdict)}.</p>',
        *(f"<p>{escape(problem)}</p>" for problem in comparison.problems),
    ]
    header, rows = compared(comparison)
    parts.append(_table("Metrics", header, rows))
    if comparison.rows:
        parts.append(_plots([plots.changes(comparison)]))
    parts.append(_mapping("Environment", fingerprint))
    return _page(name, parts)


def _page(title: str, parts: Sequence[str]) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], look: str = "") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<section><h2>{escape(title)}</h2><div class="scroll"><table class="{look}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _mapping(title: str, found: Mapping[str, str]) -> str:
    return _table(title, ("name", "value"), sorted(found.items()), "words")


def _plots(drawn: Sequence[str]) -> str:
    figures = "".join(f"<figure><figcaption>{_title_of(plot)}</figcaption>{plot}</figure>" for plot in drawn)
    return f'<section><h2>Plots</h2><div class="plots">{figures}</div></section>'


def _title_of(plot: str) -> str:
    begin = plot.index('aria-label="') + len('aria-label="')
    return plot[begin : plot.index('"', begin)]
