"""The look of the timeline page. Colours are variables, so that dark is one block."""

CSS = """
:root { --paper: #fbfaf7; --card: #ffffff; --ink: #23221f; --soft: #6d6a63; --line: #dedbd3; --track: #efede6;
  --done: #2f7d46; --hit: #7fb08d; --running: #b07a00; --failed: #b3362b; --stopped: #8d6f6a; --waiting: #a8a49a;
  --link: #1f5f8b; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #191917; --card: #222220; --ink: #e9e6df; --soft: #a09c93; --line: #3a3934; --track: #2d2c29;
    --done: #62b67c; --hit: #42684e; --running: #e0aa3e; --failed: #e8776b; --stopped: #b29892; --waiting: #77746c;
    --link: #7db7dd; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 48px; }
header p { margin: 4px 0; color: var(--soft); overflow-wrap: anywhere; }
h1 { font-size: 26px; margin: 0 0 6px; display: flex; gap: 12px; align-items: center; flex-wrap: wrap; }
h2 { font-size: 13px; letter-spacing: .06em; text-transform: uppercase; color: var(--soft); margin: 30px 0 10px; }
code { font: 13px/1.4 ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
a { color: var(--link); }
.chip { font-size: 12px; font-weight: 600; padding: 2px 9px; border-radius: 999px; white-space: nowrap;
  border: 1.5px solid var(--c); color: var(--c); }
.full { background: var(--c); color: var(--card); }
.done, .ok { --c: var(--done); } .hit { --c: var(--hit); } .running, .starting { --c: var(--running); }
.failed { --c: var(--failed); } .stopped, .gone, .LOST { --c: var(--stopped); } .waiting { --c: var(--waiting); }
.hit.chip { color: var(--done); } .waiting.chip { color: var(--soft); }
.graph { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px; }
svg { display: block; margin: 0 auto; } svg text { fill: var(--ink); font-family: inherit; }
svg .sub { fill: var(--soft); font-size: 11.5px; } svg .name { font-size: 13.5px; font-weight: 600; }
svg .node { fill: var(--paper); stroke: var(--line); } svg .band { fill: var(--c); }
svg .edge { fill: none; stroke: var(--waiting); stroke-width: 1.3; opacity: .75; }
details { background: var(--card); border: 1px solid var(--line); border-top: 0; }
details:first-of-type { border-top: 1px solid var(--line); border-radius: 10px 10px 0 0; }
details:last-of-type { border-radius: 0 0 10px 10px; }
summary { display: grid; grid-template-columns: 150px 118px minmax(120px, 1fr) 78px 190px; gap: 12px; align-items: center;
  padding: 9px 14px; cursor: pointer; list-style: none; }
summary::-webkit-details-marker { display: none; }
summary:hover, summary:focus-visible { background: var(--track); }
.step { font-weight: 600; overflow-wrap: anywhere; } .step small { display: block; font-weight: 400; color: var(--soft); }
.bars { position: relative; height: 16px; background: var(--track); border-radius: 4px; overflow: hidden; }
.bar { position: absolute; top: 0; bottom: 0; min-width: 3px; border-radius: 3px; background: var(--c); }
.bar.running { background: repeating-linear-gradient(-45deg, var(--c) 0 7px, transparent 7px 11px), var(--track); }
.took { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures { color: var(--soft); font-size: 13px; text-align: right; overflow-wrap: anywhere; }
.more { padding: 4px 14px 14px; border-top: 1px dashed var(--line); font-size: 14px; }
.more p { margin: 8px 0; overflow-wrap: anywhere; } .more .bad { color: var(--failed); }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
td, th { text-align: left; padding: 3px 14px 3px 0; vertical-align: top; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 500; }
.axis { display: grid; grid-template-columns: 150px 118px minmax(120px, 1fr) 78px 190px; gap: 12px; padding: 0 15px 4px;
  color: var(--soft); font-size: 12px; }
.axis span { display: flex; justify-content: space-between; }
footer { margin-top: 26px; color: var(--soft); font-size: 13px; }
@media (max-width: 720px) {
  main { padding: 18px 12px 32px; }
  summary { grid-template-columns: 1fr auto auto; gap: 4px 10px; } .axis { display: none; }
  .bars { grid-column: 1 / -1; order: 4; } .figures { grid-column: 1 / -1; order: 5; text-align: left; }
  table, tbody, tr, td { display: block; } thead { display: none; } td { padding: 1px 0; }
  tr { padding: 5px 0; border-bottom: 1px solid var(--line); }
}
"""
