// Charts as SVG. What failed points down, so that nothing hangs on colour; every chart has its figures as a table.

import { h, replace, setText, svg } from "./dom.js";
import { clockTime } from "./format.js";

const HEIGHT = 100; // of a plot, in its own units; a column is one unit wide

/** 24 small columns, delivered up and failed down. */
export function sparkline(delivered, failed, words) {
  const top = Math.max(1, ...delivered);
  const bottom = Math.max(1, ...failed);
  const bars = delivered.flatMap((value, index) => [
    bar(index, 20 - (18 * value) / top, (18 * value) / top, "delivered"),
    bar(index, 21, (8 * failed[index]) / bottom, "failed"),
  ]);
  const line = svg("line", {
    class: "axis",
    x1: 0,
    x2: delivered.length,
    y1: 20.5,
    y2: 20.5,
    "vector-effect": "non-scaling-stroke",
  });
  return svg(
    "svg",
    {
      class: "sparkline",
      viewBox: `0 0 ${delivered.length} 30`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": words,
    },
    bars,
    line,
  );
}

function bar(index, y, height, name) {
  return height > 0
    ? svg("rect", { class: name, x: index + 0.12, y, width: 0.76, height: Math.max(height, 0.8) })
    : null;
}

/**
 * A figure with title, legend, plot, the reading under the pointer, and a table of the same.
 * `series`: `{name, label, values, kind}` with kind "up", "down" or "line"; `times` are those of the columns.
 */
export function chart({ title, times, series, spell, form = "minute" }) {
  const up = stackTop(series, "up", times.length);
  const top = Math.max(
    ...up,
    ...series.filter(({ kind }) => kind === "line").flatMap(({ values }) => values.map((value) => value ?? 0)),
    0,
  );
  const down = Math.max(...stackTop(series, "down", times.length), 0);
  const reading = h("p", { class: "reading" });
  const summary = `${title}: ${series.map((each) => `${each.label} ${spell(inAll(each))}`).join(", ")}`;
  const plot = h(
    "div",
    {
      class: "plot",
      tabindex: 0,
      role: "img",
      "aria-label": `${summary}. Arrow keys read single values; the table below has all.`,
    },
    draw(series, times.length, top || 1, down),
  );
  const idle = `Highest ${spell(Math.max(top, down))}. Point at the chart to read it.`;
  const read = (index) => {
    plot.querySelector(".cursor")?.remove();
    if (index === null) return setText(reading, idle);
    plot.firstChild.append(svg("rect", { class: "cursor", x: index, y: 0, width: 1, height: HEIGHT }));
    setText(
      reading,
      `${clockTime(times[index], form)}: ${series.map(({ label, values }) => `${label} ${spell(values[index])}`).join(", ")}`,
    );
    return null;
  };
  followPointer(plot, times.length, read);
  read(null);
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", {}, h("strong", {}, title), legend(series)),
    h("div", { class: "scale muted" }, h("span", {}, top ? spell(top) : "")),
    plot,
    h(
      "div",
      { class: "ends muted" },
      h("span", {}, clockTime(times[0], form)),
      h("span", {}, clockTime(times.at(-1), form)),
    ),
    reading,
    table(times, series, spell, title),
  );
}

/** The highest value of a line, the sum of columns. */
function inAll({ kind, values }) {
  const known = values.map((value) => value ?? 0);
  return kind === "line" ? Math.max(0, ...known) : known.reduce((sum, value) => sum + value, 0);
}

function stackTop(series, kind, length) {
  const parts = series.filter((each) => each.kind === kind);
  return Array.from({ length }, (_, index) => parts.reduce((sum, { values }) => sum + values[index], 0));
}

function draw(series, length, top, down) {
  const zero = down ? HEIGHT * 0.72 : HEIGHT - 0.5;
  const shapes = [
    svg("line", { class: "axis", x1: 0, x2: length, y1: zero, y2: zero, "vector-effect": "non-scaling-stroke" }),
  ];
  const used = { up: new Array(length).fill(0), down: new Array(length).fill(0) };
  for (const { name, values, kind } of series) {
    if (kind === "line") shapes.push(line(values, top, zero, name));
    else
      values.forEach((value, index) => {
        if (!value) return;
        const start = used[kind][index];
        used[kind][index] += value;
        const size = kind === "up" ? ((zero - 2) * value) / top : ((HEIGHT - zero) * value) / down;
        const before = kind === "up" ? ((zero - 2) * start) / top : ((HEIGHT - zero) * start) / down;
        const y = kind === "up" ? zero - before - size : zero + before;
        shapes.push(svg("rect", { class: name, x: index + 0.1, y, width: 0.8, height: Math.max(size, 0.8) }));
      });
  }
  return svg("svg", { viewBox: `0 0 ${length} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, shapes);
}

/** Breaks where there is no value. A value that stands alone becomes a short dash. */
function line(values, top, zero, name) {
  let path = "";
  values.forEach((value, index) => {
    if (value === null || value === undefined) return;
    const y = zero - ((zero - 2) * value) / top;
    const isStart = index === 0 || values[index - 1] === null || values[index - 1] === undefined;
    path += `${isStart ? `M${index + 0.2} ${y}` : ""}L${index + 0.5} ${y}${values[index + 1] == null ? `L${index + 0.8} ${y}` : ""}`;
  });
  return svg("path", { class: `line ${name}`, d: path, "vector-effect": "non-scaling-stroke" });
}

function followPointer(plot, length, read) {
  let chosen = null;
  const choose = (index) => read((chosen = index));
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    choose(Math.max(0, Math.min(length - 1, Math.floor(((event.clientX - box.left) / box.width) * length))));
  });
  plot.addEventListener("pointerleave", () => choose(null));
  plot.addEventListener("blur", () => choose(null));
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(length - 1, (chosen ?? (step > 0 ? -1 : length)) + step)));
  });
}

function legend(series) {
  return h(
    "span",
    { class: "legend" },
    series.map(({ name, label }) =>
      h(
        "span",
        {},
        svg(
          "svg",
          { class: "key", viewBox: "0 0 10 10", "aria-hidden": "true" },
          svg("rect", { class: name, width: 10, height: 10 }),
        ),
        label,
      ),
    ),
  );
}

function table(times, series, spell, title) {
  const place = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title} as a table` });
  const fold = h("details", { class: "figures" }, h("summary", {}, "Figures"), place);
  fold.addEventListener("toggle", () => {
    if (!fold.open || place.firstChild) return;
    const rows = times.map((at, index) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, clockTime(at, "minute")),
        series.map(({ values }) => h("td", { class: "figure" }, spell(values[index]))),
      ),
    );
    replace(
      place,
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "From"),
            series.map(({ label }) => h("th", { scope: "col", class: "figure" }, label)),
          ),
        ),
        h("tbody", {}, rows),
      ),
    );
  });
  return fold;
}
