"""The style sheet of pages. Colours tell apart for the colour-blind (after Okabe and Ito), on white and on black."""

STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#566270;--paper:#fff;--card:#f6f8fa;--rule:#dde3e9;--shade:#8fa3b5;
--bad:#b3261e;--good:#1b6e45;--c0:#0072b2;--c1:#d55e00;--c2:#007f5f;--c3:#a8327d;--c4:#8a6d00;--c5:#5f6b78}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6ebf0;--dim:#9aa7b4;--paper:#11161b;--card:#192027;
--rule:#2c3640;--shade:#7d92a6;--bad:#ff8a80;--good:#6fd3a0;--c0:#56b4e9;--c1:#ff9248;--c2:#3fd0a4;--c3:#e58fc0;
--c4:#e6c54a;
--c5:#a9b5c1}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:77rem;padding:1.2rem 1rem 3rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
h1{font-size:1.6rem;line-height:1.2;margin:0;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2rem 0 .5rem;padding-bottom:.2rem;border-bottom:2px solid var(--rule)}
p{margin:.3rem 0;max-width:80ch;overflow-wrap:anywhere}.dim{color:var(--dim)}
.verdict{display:inline-block;margin:.7rem 0 .3rem;padding:.25rem .7rem;border-radius:6px;border:2px solid var(--dim);
font-weight:600}
.verdict.good{border-color:var(--good);color:var(--good)}.verdict.bad{border-color:var(--bad);color:var(--bad)}
.cards{display:grid;gap:.6rem;grid-template-columns:repeat(auto-fit,minmax(12.5rem,1fr));margin:.6rem 0}
.card{background:var(--card);border-radius:8px;padding:.6rem .8rem;border-left:4px solid var(--rule)}
.card.good{border-left-color:var(--good)}.card.bad{border-left-color:var(--bad)}
.card b{display:block;font-size:1.45rem;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums;
white-space:nowrap}
.card span{display:block;color:var(--dim);font-size:.82rem}.card .mark{color:inherit;display:inline;font-weight:600}
.card.good .mark{color:var(--good)}.card.bad .mark{color:var(--bad)}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap;font-size:.93rem}
th,td{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;
font-weight:400}
thead th{color:var(--dim);font-weight:500;vertical-align:bottom;font-size:.87rem}
tbody th,thead th:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}tbody th{font-weight:600}
td small{display:block;color:var(--dim);font-size:.8rem}
.words th,.words td{text-align:left;white-space:normal;overflow-wrap:break-word;position:static}
.words tbody th{font-weight:500;min-width:8rem}
.plots{display:grid;gap:1rem;grid-template-columns:1fr 1fr}
figure{margin:0;padding:.6rem .6rem .3rem;background:var(--card);border-radius:8px;min-width:0}
figure.full{grid-column:1/-1}figcaption{font-weight:600;padding:.1rem .3rem .4rem}
svg{width:100%;height:auto;display:block;font-family:inherit}.narrow{display:none}
details{margin:1rem 0}summary{cursor:pointer;font-weight:600;font-size:1.02rem}
pre{background:var(--card);padding:.8rem;border-radius:8px;overflow-x:auto;
font:.85rem/1.45 ui-monospace,Menlo,Consolas,monospace}
.grid{stroke:var(--rule);stroke-width:1;fill:none}.axis{stroke:var(--dim);stroke-width:1;fill:none}
text{font-size:12px;fill:var(--dim)}.label,.legend,.name{fill:var(--ink)}.name{font-weight:500}
.name,.slo-name{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.head{fill:var(--ink);font-weight:700}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
.dot{fill:var(--c);stroke:var(--card);stroke-width:1}
.whisker{stroke:var(--c);stroke-width:1.5;fill:none;opacity:.75}.band{fill:var(--c);opacity:.13;stroke:none}
.shade0{fill:var(--shade);opacity:.2}.shade1{fill:var(--shade);opacity:.11}.margin{fill:var(--shade);opacity:.22}
.spot{stroke:var(--c5);stroke-width:3;stroke-linecap:round;opacity:.45;fill:none}
.cross{stroke:var(--bad);stroke-width:1.8;fill:none}
.slo{stroke:var(--ink);stroke-width:1.2;stroke-dasharray:1 3;stroke-linecap:round;fill:none}
.slo-name{fill:var(--ink);font-style:italic}
@media(max-width:68rem){.plots .wide{display:none}.plots .narrow{display:block}.full .wide{display:block}
.full .narrow{display:none}}
@media(max-width:45rem){.plots{grid-template-columns:1fr}.full .wide{display:none}.full .narrow{display:block}
body{padding:.9rem .8rem 2rem}.cards{grid-template-columns:1fr 1fr}.card{padding:.5rem .6rem}
.card b{font-size:1.25rem}
figure{padding:.4rem .2rem .2rem}figcaption{padding-left:.5rem}}
@media screen and (max-width:45rem){.many thead{display:none}
.many tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--rule)}
.many th,.many td{display:block;border:0;padding:.1rem 0}
.many td:not(:empty)::before{content:attr(data-name) ": ";color:var(--dim)}}
@page{size:A4;margin:14mm}
@media print{:root{color-scheme:light;--card:#fff;--paper:#fff}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{max-width:none;padding:0;font-size:10pt}.plots{display:grid;grid-template-columns:1fr 1fr;gap:.6rem}
figure,.card,tr,pre{break-inside:avoid}h2,summary,figcaption{break-after:avoid}
.card,figure{border:1px solid var(--rule)}
.plots .wide{display:none}.plots .narrow{display:block}.full .wide{display:block}.full .narrow{display:none}
.full{break-inside:avoid}section.page:not(:first-child){break-before:page}.cards{grid-template-columns:repeat(4,1fr)}
.card b{font-size:1.1rem}
.scroll{overflow:visible}table{font-size:7.5pt;white-space:normal}
thead th{font-size:7pt}td small{font-size:6.5pt;white-space:nowrap}th,td{padding:.2rem .5rem .2rem 0}
details::details-content{content-visibility:visible;display:block;height:auto}
.narrow svg{max-height:64mm}figure{padding:.25rem}figcaption{font-size:9pt;padding-bottom:.1rem}
pre{white-space:pre-wrap;font-size:7pt;columns:2;break-inside:auto}}
"""
