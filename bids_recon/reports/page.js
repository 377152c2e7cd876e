// Tables that sort and filter, and the gallery; all of it without a server.
"use strict";

/** Whether a text holds all words of what somebody looks for. */
function holds(text, wanted) {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => text.toLowerCase().includes(word));
}

for (const box of document.querySelectorAll(".sortable")) {
  const body = box.querySelector("tbody"), heads = [...box.querySelectorAll("th")];
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "Show rows that hold…";
  filter.setAttribute("aria-label", filter.placeholder);
  box.prepend(filter);
  filter.addEventListener("input", () => {
    for (const row of body.rows) row.hidden = !holds(row.textContent, filter.value);
  });
  const value = (row, column) => {
    const text = row.cells[column].textContent, number = parseFloat(text);
    return isNaN(number) ? text : number;
  };
  const sortBy = (head, column) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    [...body.rows].sort((one, two) => {
      const a = value(one, column), b = value(two, column);
      if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
    }).forEach((row) => body.append(row));
  };
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    head.addEventListener("click", () => sortBy(head, column));
    head.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sortBy(head, column);
    });
  });
}

/** A new element: its tag, properties and children. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A path as it stands in an address. */
function address(...pieces) {
  return pieces.join("/").split("/").map(encodeURIComponent).join("/");
}

/** Whether what a letter is typed into needs the arrows for itself. */
function isTyped(element) {
  return element.matches("input, select, textarea");
}

class Gallery {
  constructor(box) {
    this.data = JSON.parse(box.querySelector("script").textContent);
    this.cards = box.querySelector(".cards");
    this.box = box;
    this.page = 0;
    this.hidden = new Set();
    this.dialog = this.makeDialog();
    box.querySelector(".sample")?.remove();
    this.cards.before(this.makeControls());
    this.cards.after(this.pager = make("div", { className: "controls" }));
    this.update();
  }

  get columns() {
    return this.data.columns.map((_, index) => index).filter((index) => !this.hidden.has(index));
  }

  makeControls() {
    const { columns, metrics } = this.data;
    const controls = make("div", { className: "controls" });
    const changed = () => { this.page = 0; this.update(); };
    const select = (label, options) => {
      const box = make("select", { onchange: changed }, ...options.map((text, value) => make("option", { value, text })));
      controls.append(make("label", {}, `${label} `, box));
      return box;
    };
    this.wanted = make("input", { type: "search", placeholder: "Image or run holds…", oninput: changed });
    this.wanted.setAttribute("aria-label", this.wanted.placeholder);
    controls.append(this.wanted);
    const orders = ["trial", "image name", ...(metrics.length ? ["score, best first", "score, worst first"] : [])];
    this.order = select("Sort by", orders);
    if (metrics.length) this.metric = select("Score:", metrics.map((metric) => metric.words));
    if (columns.length > 1) {
      this.of = select("of", columns.map((column) => column.name));
      const checks = columns.map((column, index) => {
        const check = make("input", { type: "checkbox", checked: true });
        check.onchange = () => {
          check.checked ? this.hidden.delete(index) : this.hidden.add(index);
          changed();
        };
        return make("label", {}, check, ` ${column.name}`);
      });
      controls.append(make("fieldset", {}, make("legend", { textContent: "Show:" }), ...checks));
    }
    return controls;
  }

  /** The trials to be shown, in the order that was asked for. */
  chosen() {
    const columns = this.columns;
    const rows = this.data.rows.filter((row) =>
      holds(`${row.stimulus} ${row.place}`, this.wanted.value) && columns.some((column) => row.made[column]));
    const order = this.order.selectedIndex;
    if (order === 0) return rows;
    if (order === 1) return rows.sort((a, b) => a.stimulus.localeCompare(b.stimulus));
    const column = this.of ? this.of.selectedIndex : 0, metric = this.metric.selectedIndex;
    const lower = this.data.metrics[metric].better === "lower";
    const sign = (order === 2) === lower ? 1 : -1;
    const score = (row) => row.made[column]?.scores[metric] ?? null;
    return rows.sort((a, b) => {
      const one = score(a), two = score(b);
      if (one === null || two === null) return (one === null) - (two === null);
      return sign * (one - two);
    });
  }

  update() {
    this.rows = this.chosen();
    const perPage = Math.max(12, Math.floor(240 / (this.columns.length + 1)));
    this.perPage = perPage;
    const pages = Math.max(1, Math.ceil(this.rows.length / perPage));
    this.page = Math.min(this.page, pages - 1);
    const first = this.page * perPage, shown = this.rows.slice(first, first + perPage);
    this.cards.classList.toggle("narrow", this.columns.length === 1);
    this.cards.replaceChildren(...shown.map((row, index) => this.card(row, first + index)));
    const go = (text, label, page) => {
      const button = make("button", { type: "button", textContent: text, disabled: page < 0 || page >= pages || page === this.page });
      button.setAttribute("aria-label", label);
      button.onclick = () => { this.page = page; this.update(); this.box.scrollIntoView(); };
      return button;
    };
    const last = Math.min(first + perPage, this.rows.length);
    const said = make("span", {}, `${shown.length ? first + 1 : 0} to ${last} of ${this.rows.length} trials`);
    said.setAttribute("role", "status");
    this.pager.replaceChildren(
      go("« First", "First page", 0), go("‹ Before", "Page before", this.page - 1), said,
      go("Next ›", "Next page", this.page + 1), go("Last »", "Last page", pages - 1));
  }

  /** The score that a caption gives: the one that is sorted by. */
  caption(row, column) {
    const metric = this.metric ? this.metric.selectedIndex : -1;
    const score = row.made[column].scores[metric] ?? null;
    const name = this.data.columns.length > 1 ? this.data.columns[column].name : "reconstructed";
    return score === null ? name : `${name}: ${score.toFixed(2)}`;
  }

  picture(path, words, smooth) {
    return make("img", { loading: "lazy", decoding: "async", src: path, alt: words, className: smooth ? "smooth" : "" });
  }

  seen(row) {
    const image = row.seen
      ? this.picture(address(this.data.seen, row.seen), `seen: ${row.stimulus}`, row.seen.endsWith(".jpg"))
      : make("div", { className: "none", textContent: "no image" });
    return make("figure", {}, image, make("figcaption", { textContent: "seen" }));
  }

  figures(row, sample, wrap) {
    return this.columns.map((column) => {
      const made = row.made[column];
      if (!made) return make("figure", {}, make("div", { className: "none", textContent: "not made" }), make("figcaption", { textContent: this.data.columns[column].name }));
      const file = made.images[Math.min(sample, made.images.length - 1)];
      const path = address(this.data.columns[column].folder, file);
      const words = `reconstructed by ${this.data.columns[column].name}: ${row.stimulus}`;
      return make("figure", {}, wrap(path, this.picture(path, words, false)), make("figcaption", { textContent: this.caption(row, column) }));
    });
  }

  card(row, index) {
    const link = (path, image) => {
      const element = make("a", { href: path }, image);
      element.onclick = (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        this.open(index);
      };
      return element;
    };
    const strip = make("div", { className: "strip" }, this.seen(row), ...this.figures(row, 0, link));
    return make("li", {}, make("p", { className: "title", textContent: `${row.trial}. ${row.stimulus}`, title: row.place }), strip);
  }

  makeDialog() {
    const dialog = make("dialog", { className: "large" });
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || isTyped(event.target)) return;
      event.preventDefault();
      this.open(this.at + step);
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => {
      this.page = Math.floor(this.at / this.perPage);
      this.update();
      this.cards.children[this.at % this.perPage]?.querySelector("a")?.focus();
    });
    document.body.append(dialog);
    return dialog;
  }

  /** Show one trial large, with all of its scores. */
  open(index) {
    if (index < 0 || index >= this.rows.length) return;
    this.at = index;
    const row = this.rows[index], columns = this.columns;
    const button = (text, action, disabled = false) => make("button", { type: "button", textContent: text, onclick: action, disabled });
    const bar = make("div", { className: "bar" },
      make("strong", { textContent: `Trial ${row.trial}: ${row.stimulus}` }),
      button("‹ Before", () => this.open(index - 1), index === 0),
      button("Next ›", () => this.open(index + 1), index === this.rows.length - 1),
      button("Close", () => this.dialog.close()));
    const plain = (path, image) => make("a", { href: path }, image);
    const samples = Math.max(...columns.map((column) => row.made[column]?.images.length ?? 0));
    const strips = [...Array(samples).keys()].map((sample) => make("div", { className: columns.length > 2 ? "strip many" : "strip" },
      ...(sample === 0 ? [this.seen(row)] : []), ...this.figures(row, sample, plain)));
    const { metrics } = this.data;
    const heads = ["Recipe", ...metrics.map((metric) => `${metric.words} ${metric.better === "lower" ? "↓" : "↑"}`)];
    const lines = columns.filter((column) => row.made[column]).map((column) => make("tr", {},
      make("td", { textContent: this.data.columns[column].name }),
      ...metrics.map((_, place) => {
        const score = row.made[column].scores[place] ?? null;
        return make("td", { textContent: score === null ? "n/a" : score.toFixed(3) });
      })));
    const table = make("table", {},
      make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { textContent: text })))),
      make("tbody", {}, ...lines));
    this.dialog.replaceChildren(bar, make("p", { className: "caption", textContent: row.place }), ...strips,
      make("div", { className: "wide" }, table), make("p", { className: "caption", textContent: "Arrows: trial before and next. Esc: close." }));
    this.dialog.setAttribute("aria-label", `Trial ${row.trial}, large`);
    if (!this.dialog.open) this.dialog.showModal();
  }
}

for (const box of document.querySelectorAll(".gallery")) new Gallery(box);
