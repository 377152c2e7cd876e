<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta name="generator" content="NiReports: https://www.nipreps.org/" />
<title>{{ title }}</title>
<style>
:root { --line: #d5d9de; --soft: #f4f6f8; --ink: #1b1f24; --accent: #0b5394; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; color: var(--ink); }
nav { position: sticky; top: 0; z-index: 1; background: #fff; border-bottom: 1px solid var(--line); padding: .5rem 1.5rem; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; align-items: baseline; }
nav strong { margin-right: 1rem; }
nav a { color: var(--accent); text-decoration: none; }
nav a:hover { text-decoration: underline; }
main { max-width: 80rem; margin: 0 auto; padding: 0 1.5rem 3rem; }
section { scroll-margin-top: 4rem; }
h1 { font-size: 1.5rem; margin: 2.2rem 0 .4rem; border-bottom: 2px solid var(--line); padding-bottom: .2rem; }
h2 { font-size: 1.2rem; margin: 1.8rem 0 .3rem; }
h3 { font-size: 1.02rem; margin: 1.2rem 0 .3rem; }
p { max-width: 52rem; margin: .4rem 0; }
table { border-collapse: collapse; font-size: .88rem; margin: .5rem 0; }
th, td { text-align: left; padding: .28rem .7rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; font-variant-numeric: tabular-nums; }
th { font-weight: 600; border-bottom: 2px solid var(--line); }
.wide { overflow-x: auto; }
.wide td, .wide th { white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .5rem 0; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--soft); padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; white-space: pre-wrap; }
.warning, .failed { border-left: 4px solid #d98200; background: #fff7e8; padding: .5rem 1rem .5rem 1.6rem; }
p.warning, p.failed { padding-left: 1rem; }
.failed { border-color: #b3261e; background: #fdecea; }
.caption { color: #4a5158; font-size: .92rem; }
.svg-reportlet, .img-reportlet { max-width: 100%; height: auto; }
small { color: #5c636a; font-size: .75rem; }
small a { color: inherit; }
.bids-entity { font-weight: 600; }
.pictures td, .pictures th { padding: 2px 4px; border: 0; vertical-align: middle; }
.pictures img { width: 64px; height: 64px; object-fit: contain; image-rendering: pixelated; background: var(--soft); display: block; }
details { margin: .6rem 0; }
summary { cursor: pointer; font-weight: 600; }
.sortable th { cursor: pointer; user-select: none; }
.sortable th[aria-sort=ascending]::after { content: " ▲"; }
.sortable th[aria-sort=descending]::after { content: " ▼"; }
.sortable input { font: inherit; padding: .2rem .5rem; margin: .3rem 0; max-width: 100%; width: 20rem; }
.sortable th:focus-visible, .cards a:focus-visible { outline: 3px solid var(--accent); outline-offset: 1px; }
.wide svg { max-width: none; height: auto; }
object { width: 100%; height: 1.6em; display: block; }
.controls { display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center; margin: .5rem 0; font-size: .92rem; }
.controls input, .controls select, .controls button, dialog button { font: inherit; padding: .2rem .5rem; max-width: 100%; }
.controls fieldset { border: 0; padding: 0; margin: 0; display: flex; flex-wrap: wrap; gap: .2rem .9rem; }
.controls legend { float: left; margin-right: .6rem; }
.cards { list-style: none; margin: .5rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: .8rem; }
.cards > li { border: 1px solid var(--line); border-radius: 4px; padding: .4rem; max-width: 100%; }
.cards .title { font-size: .8rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
.strip { display: flex; flex-wrap: wrap; gap: .35rem; }
.strip figure { margin: 0; width: var(--side); }
.strip a { display: block; }
.strip img { width: var(--side); height: var(--side); object-fit: contain; image-rendering: pixelated; background: var(--soft); display: block; }
.strip .smooth { image-rendering: auto; }
.strip figcaption { font-size: .72rem; line-height: 1.25; overflow-wrap: anywhere; }
.strip .none { height: var(--side); display: grid; place-items: center; background: var(--soft); color: #5c636a; font-size: .72rem; }
.cards .strip { --side: 88px; }
.cards.narrow .title { max-width: calc(2 * 88px + .35rem); }
dialog.large { width: min(72rem, 96vw); max-height: 96vh; border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem 1rem; color: inherit; }
dialog.large::backdrop { background: rgb(0 0 0 / 55%); }
dialog.large .strip { --side: min(20rem, 36vw); margin: .6rem 0; }
dialog.large .strip.many { --side: min(11rem, 36vw); }
dialog.large .bar { display: flex; gap: .5rem; align-items: baseline; flex-wrap: wrap; }
dialog.large .bar strong { flex: 1 1 12rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  main { padding: 0 .8rem 2rem; }
  nav { position: static; padding: .5rem .8rem; }
  dl { grid-template-columns: 1fr; }
  dd { margin-bottom: .4rem; }
  .wide > svg { width: 36rem; }
  object { height: 4.8em; }
}
</style>
</head>
<body>
<nav><strong>{{ title }}</strong>
{% for sub_report in sections %}{% if sub_report.reportlets %}<a href="#{{ sub_report.name }}">{{ sub_report.name }}</a>
{% endif %}{% endfor %}</nav>
<main>
{% for sub_report in sections %}
{% if sub_report.reportlets %}
<section id="{{ sub_report.name }}">
<h1>{{ sub_report.name }}</h1>
{% for run_report in sub_report.reportlets %}
<div id="{{ run_report.name }}">
{% if run_report.title and not sub_report.isnested %}<h2>{{ run_report.title }}</h2>{% endif %}
{% if run_report.subtitle %}<h3>{{ run_report.subtitle }}</h3>{% endif %}
{% if run_report.description %}<p class="caption">{{ run_report.description }}</p>{% endif %}
{% for elem in run_report.components %}{% if elem[0] %}
{% if elem[1] %}<p class="caption">{{ elem[1] }}</p>{% endif %}
{{ elem[0] }}
{% endif %}{% endfor %}
</div>
{% endfor %}
</section>
{% endif %}
{% endfor %}
</main>
<script>
{% include "page.js" %}
</script>
</body>
</html>
