"use strict";

const find = (id) => document.getElementById(id);

// Text from viewers is only ever set as text.
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const count = (number) => (number >= 10_000
  ? new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(number)
  : new Intl.NumberFormat("en", { maximumFractionDigits: number < 10 ? 2 : 0 }).format(number));

function bytes(number) {
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  const power = number < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(number) / 3));
  const value = number / 1000 ** power;
  return `${value.toFixed(power === 0 || value >= 100 ? 0 : 1)} ${units[power]}`;
}

// Memory and files, in the units of the configuration.
function binary(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = number < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(number) / 10));
  return `${+(number / 1024 ** power).toFixed(1)} ${units[power]}`;
}

const percent = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(1)}%` : "–");

function time(seconds) {
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${+(seconds * 1000).toPrecision(2)} ms`;
  for (const [length, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * length) return `${Math.round(seconds / length)} ${name}`;
  }
  return `${+seconds.toPrecision(2)} s`;
}

// A country by its code.
function country(code) {
  try {
    return new Intl.DisplayNames(["en"], { type: "region" }).of(code);
  } catch {
    return code;
  }
}

const since = (seconds) => (seconds < 1 ? "just now" : `${time(seconds)} ago`);
const ago = (at, now) => since((now - at) / 1000);

// Columns: a title, a function from a row to text or an element, and a class.
function table(id, columns, rows, none) {
  if (rows.length === 0) {
    place(id, element("p", { className: "none", textContent: none }));
    return;
  }
  const head = columns.map(([title, , kind = ""]) => element("th", { textContent: title, className: kind, scope: "col" }));
  const body = rows.map((row) => element("tr", {}, ...columns.map(([title, show, kind = ""]) => {
    const shown = show(row);
    const cell = element("td", { className: kind }, shown === null || shown === undefined ? "–" : shown);
    // Narrow screens have no head.
    cell.dataset.title = title;
    return cell;
  })));
  place(id, element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
}

function pairs(id, rows) {
  const shown = rows.filter(([, value]) => value !== undefined && value !== null);
  place(id, element("table", {}, element("tbody", {}, ...shown.map(([name, value, bad]) => element("tr", {},
    element("th", { textContent: name, scope: "row" }),
    element("td", { className: `n${bad ? " bad" : ""}`, textContent: value }))))));
}

// Replaces what is shown, unless it is the same: that would lose a selection.
function place(id, ...children) {
  const made = element("div", {}, ...children);
  if (find(id).innerHTML !== made.innerHTML) find(id).replaceChildren(...made.childNodes);
}

function legend(curves) {
  return element("ul", { className: "legend" }, ...curves.map(([name, kind]) =>
    element("li", {}, element("i", { className: kind }), name)));
}

// The width of the plots in pixels: all are equally wide, and text keeps its shape.
let WIDTH = 600;
const HEIGHT = 150;
const LEFT = 52;
const BOTTOM = 18;

// The values at the pointer are shown below the plot, and by the browser.
function hinted(area, text) {
  area.append(svg("title", {}, text));
  const show = (shown) => () => {
    const place = area.closest("figure")?.querySelector(".value");
    if (place) place.textContent = shown;
  };
  area.addEventListener("pointerenter", show(text.replaceAll("\n", " · ")));
  area.addEventListener("pointerleave", show(""));
  return area;
}

function draw(id, label, children, curves) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, ...children);
  const figure = find(id);
  figure.replaceChildren(figure.querySelector("figcaption"), picture, ...(curves ? [legend(curves)] : []), element("p", { className: "value" }));
}

// Rounds up, so that half of it is round, too.
function rounded(value) {
  if (value <= 0) return value;
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 2, 4, 6, 8, 10].find((round) => round * unit >= value);
}

function scale(top, show) {
  const y = (value) => (HEIGHT - BOTTOM) * (1 - value / top) + 4;
  const lines = [0, 0.5, 1].flatMap((part) => [
    svg("line", { class: "axis", x1: LEFT, x2: WIDTH, y1: y(part * top), y2: y(part * top) }),
    svg("text", { x: LEFT - 6, y: y(part * top) + 4, "text-anchor": "end" }, show(part * top)),
  ]);
  return [y, lines];
}

// Curves: a name, a class, and a function from a step to a number.
function curves(id, title, steps, list, show, top) {
  // The last step has only begun.
  const usable = steps.filter((step) => step.seconds > 5 || steps.length === 1);
  const values = list.map(([, , value]) => usable.map(value));
  const highest = top ?? rounded(Math.max(...values.flat().filter(Number.isFinite), 0));
  const [y, lines] = scale(highest > 0 ? highest : 1, show);
  const x = (place) => LEFT + ((WIDTH - LEFT) * place) / Math.max(1, usable.length - 1);
  const paths = list.map(([, kind], number) => {
    const points = values[number].map((value, at) => [at, value]).filter(([, value]) => Number.isFinite(value));
    // A step without a value is a gap.
    const text = points.map(([at, value], index) => `${index > 0 && points[index - 1][0] === at - 1 ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    const one = points.length > 1 ? text : `${text}${usable.length === 1 ? `H${WIDTH}` : "h4"}`;
    return svg("path", { class: kind, d: points.length > 0 ? one : "M0 0h0.01", "stroke-dasharray": ["none", "6 3", "2 3"][number] });
  });
  const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const ends = usable.length === 0 ? [] : [
    svg("text", { x: LEFT, y: HEIGHT }, clock(usable[0].at - 1000 * usable[0].seconds)),
    svg("text", { x: WIDTH, y: HEIGHT, "text-anchor": "end" }, clock(usable.at(-1).at)),
  ];
  // What each step has, while the pointer is on it. A new picture would close that.
  if (find(id).querySelector(".step:hover")) return;
  const at = (step) => new Date(step.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const width = (WIDTH - LEFT) / Math.max(1, usable.length - 1);
  const areas = usable.map((step, number) => {
    const shown = list.map(([name, , value]) => `${name}: ${Number.isFinite(value(step)) ? show(value(step)) : "–"}`);
    const from = usable.length === 1 ? LEFT : Math.max(LEFT, x(number) - width / 2);
    const to = usable.length === 1 ? WIDTH : Math.min(WIDTH, x(number) + width / 2);
    const area = svg("rect", { class: "step", x: from, width: to - from, y: 0, height: HEIGHT - BOTTOM + 4 });
    return hinted(area, [at(step), ...shown].join("\n"));
  });
  draw(id, `${title}, from ${show(0)} to ${show(highest)}`, [...lines, ...areas, ...paths, ...ends], list);
}

function histogram(id, title, bounds, times, kind) {
  const all = times.reduce((sum, number) => sum + number, 0);
  const highest = Math.max(...times, 1);
  const [y, lines] = scale(highest, count);
  const width = (WIDTH - LEFT) / times.length;
  const bars = times.map((number, at) => {
    const bar = svg("rect", { class: kind, x: LEFT + at * width + 1, width: width - 2, y: y(number), height: y(0) - y(number) });
    const from = at > 0 ? `more than ${time(bounds[at - 1])}` : "";
    const to = at < bounds.length ? `up to ${time(bounds[at])}` : "";
    return hinted(bar, `${[from, to].filter(Boolean).join(", ")}: ${count(number)}`);
  });
  const marks = bounds.map((bound, at) => at % 3 === 1
    ? svg("text", { x: LEFT + (at + 1) * width, y: HEIGHT, "text-anchor": "middle" }, time(bound)) : "").filter(Boolean);
  const quantile = (part) => {
    let sum = 0;
    for (const [at, number] of times.entries()) {
      sum += number;
      if (all > 0 && sum >= part * all) return at < bounds.length ? `≤ ${time(bounds[at])}` : `> ${time(bounds.at(-1))}`;
    }
    return "–";
  };
  draw(id, `${title}: half ${quantile(0.5)}, 99% ${quantile(0.99)}`, [...lines, ...bars, ...marks]);
  find(id).append(element("p", { className: "legend", textContent: all > 0 ? `half ${quantile(0.5)}, 99% ${quantile(0.99)}` : "none yet" }));
}

