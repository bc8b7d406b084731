import { pathOf } from "../api.js";
import { chart } from "../chart.js";
import { h, replace } from "../dom.js";
import { milliseconds, number } from "../format.js";
import { refresher } from "./detail.js";

const WINDOWS = [
  ["1h", "1 hour"],
  ["24h", "24 hours"],
  ["7d", "7 days"],
];
const REFRESH_MS = { "1h": 10_000, "24h": 60_000, "7d": 60_000 };

/** Throughput, latency and answers over an hour, a day or a week, and kept up to date. */
export function figures(app, id, signal) {
  let window = "1h";
  const place = h("div", { class: "charts" });
  let shown = "";
  const { fault, refresh } = refresher(async () => {
    const stats = await app.api.get(pathOf(id, `/stats?window=${window}`), signal);
    const spelled = JSON.stringify(stats.points);
    if (spelled === shown || place.contains(document.activeElement) || place.querySelector("details[open], .cursor"))
      return;
    shown = spelled;
    replace(place, chartsOf(stats));
  }, signal);
  const choose = (chosen) => {
    window = chosen;
    shown = "";
    for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.window === chosen));
    replace(place);
    schedule();
  };
  const group = h(
    "div",
    { class: "segments", role: "group", "aria-label": "Time shown" },
    WINDOWS.map(([name, text]) =>
      h(
        "button",
        {
          type: "button",
          "data-window": name,
          "aria-pressed": String(name === window),
          on: { click: () => choose(name) },
        },
        text,
      ),
    ),
  );
  let timer = 0;
  const schedule = () => {
    clearInterval(timer);
    timer = setInterval(refresh, REFRESH_MS[window]);
    refresh();
  };
  schedule();
  signal.addEventListener("abort", () => clearInterval(timer));
  return h(
    "section",
    { class: "card stack" },
    h("div", { class: "head" }, h("h2", {}, "Throughput, latency, answers"), group),
    fault,
    place,
  );
}

function chartsOf({ window, points }) {
  const times = points.map(({ at }) => at);
  const form = window === "7d" ? "minute" : "short";
  const of = (name, member, label, kind) => ({ name, label, kind, values: points.map((point) => point[member]) });
  const answers = [...new Set(points.flatMap((point) => Object.keys(point.answers)))].sort();
  const isFine = (answer) => /^[23]/.test(answer);
  return [
    chart({
      title: "Throughput",
      times,
      form,
      spell: (value) => number(value ?? 0),
      series: [
        of("delivered", "delivered", "delivered", "up"),
        of("failed", "failed", "failed", "down"),
        of("dead", "dead_lettered", "dead-lettered", "down"),
        of("dropped", "dropped", "dropped", "down"),
      ],
    }),
    chart({
      title: "Latency",
      times,
      form,
      spell: milliseconds,
      series: [of("average", "latency_ms_avg", "average", "line"), of("longest", "latency_ms_max", "longest", "line")],
    }),
    answers.length
      ? chart({
          title: "Answers",
          times,
          form,
          spell: (value) => number(value ?? 0),
          series: answers.map((answer, index) => ({
            name: isFine(answer) ? "delivered" : `answer-${index % 4}`,
            label: answer,
            kind: isFine(answer) ? "up" : "down",
            values: points.map((point) => point.answers[answer] ?? 0),
          })),
        })
      : null,
  ];
}
