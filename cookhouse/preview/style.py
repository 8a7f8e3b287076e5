"""Looks of the contact sheet."""

CSS = """
:root{--low:#0a7d4b;--moderate:#b25e00;--high:#b3261e;--ink:#1b1c1e;--soft:#63666b;--line:#dddfe3;--paper:#fff;--ground:#f3f4f6}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:14px/1.45 system-ui,"Segoe UI","DejaVu Sans",sans-serif}
header{padding:20px 28px 4px}
h1{font-size:21px;margin:0 0 4px}
header p{margin:2px 0;color:var(--soft)}
.legend .chip{margin-right:6px}
main{padding:8px 28px;display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}
article{grid-column:1/-1;background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:12px 16px 14px}
article.small{grid-column:auto}
article h2{font-size:15px;font-weight:600;margin:0;overflow-wrap:anywhere}
article h2 b{color:var(--soft);font-weight:600;margin-right:4px}
.facts{list-style:none;margin:2px 0 10px;padding:0;color:var(--soft);font-size:12.5px}
.facts li{display:inline}
.facts li+li:before{content:" · "}
.body{display:grid;grid-template-columns:minmax(0,7fr) minmax(0,4fr);gap:18px;align-items:start}
.pictures{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:12px;align-items:start}
article.small .body{grid-template-columns:minmax(0,1fr) minmax(0,1fr)}
article.small .pictures{grid-template-columns:1fr}
article.one .body{grid-template-columns:minmax(0,1fr) minmax(0,1fr)}
article.one .pictures{grid-template-columns:1fr}
article.strip .body{grid-template-columns:1fr}
article.strip .pictures{grid-template-columns:repeat(auto-fill,minmax(130px,1fr));gap:8px}
.group{display:grid;grid-template-columns:repeat(var(--n),minmax(0,1fr));gap:4px 6px;border:2px solid #3355a0;
border-radius:6px;padding:4px 6px 5px}
.group h3{grid-column:1/-1;margin:0;font-size:12px;font-weight:600;color:#3355a0}
figure{margin:0;min-width:0}
.page{position:relative;border:1px solid var(--line);background:#fff;line-height:0}
.page img{width:100%;height:auto}
.page svg{position:absolute;inset:0;width:100%;height:100%}
figcaption{color:var(--soft);font-size:12px;padding-top:3px}
rect{fill:transparent;stroke:currentColor}
rect.low{color:var(--low)}rect.moderate{color:var(--moderate)}rect.high{color:var(--high)}
.chip{display:inline-block;border-radius:10px;padding:0 8px;font-size:12px;line-height:18px;color:#fff;background:#5a6270;
white-space:nowrap}
.chip.low{background:var(--low)}.chip.moderate{background:var(--moderate)}.chip.high{background:var(--high)}
.chip.assistant{background:#3355a0}.chip.thought{background:#7a5aa6}
.line{padding:5px 0;border-top:1px solid var(--line)}
.line:first-child{border-top:0;padding-top:0}
.line small{color:var(--soft);margin-left:6px}
.line p{margin:2px 0 0;overflow-wrap:anywhere;white-space:pre-wrap}
#frames{position:fixed;top:14px;right:86px;z-index:2;margin:4px}
label[for=frames]{position:fixed;top:14px;right:28px;z-index:2;font-size:13px}
#frames:not(:checked)~main svg{display:none}
section{padding:4px 28px 28px}
section h2{font-size:16px}
table{border-collapse:collapse;background:var(--paper);width:100%}
td,th{border:1px solid var(--line);padding:4px 8px;text-align:left;vertical-align:top;font-size:13px;overflow-wrap:anywhere}
td.number{text-align:right}
@media(max-width:900px){main{grid-template-columns:1fr}.body,article.small .body{grid-template-columns:1fr}}
@media(prefers-color-scheme:dark){:root{--ink:#e8e9eb;--soft:#a2a6ad;--line:#3a3d42;--paper:#1f2124;--ground:#151618;
--low:#2aa56d;--moderate:#d98324;--high:#e0564d}}
"""
