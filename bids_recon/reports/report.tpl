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
</body>
</html>
