import { pathOf } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes, milliseconds, number, time } from "../format.js";
import { icon } from "../icons.js";
import { detail, refresher } from "./detail.js";

const DECISIONS = {
  delivered: ["ok", "Delivered"],
  awaiting_ack: ["clock", "Waiting for acknowledgement"],
  partial: ["warning", "Delivered in part"],
  retry: ["repeat", "To be sent again"],
  throttled: ["clock", "Throttled, to be sent again"],
  split: ["repeat", "Divided, to be sent again"],
  misconfigured: ["no", "Refused: settings"],
  prepare: ["clock", "Prepared, to be sent again"],
};

const COLUMNS = ["Time", "Result", "Answer", "Events", "Size", "Took"];

/** The newest attempts, with what the provider answered. */
export async function deliveriesView(app, { id }, signal) {
  const body = h("tbody");
  const none = h("p", { class: "muted" }, "No attempt since the gateway was started.");
  const table = h(
    "div",
    { class: "scroll stacked", tabindex: 0, role: "region", "aria-label": "Attempts" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          COLUMNS.map((name, index) => h("th", { scope: "col", class: index > 2 ? "figure" : null }, name)),
        ),
      ),
      body,
    ),
  );
  const { fault, refresh } = refresher(async () => {
    const { data } = await app.api.get(pathOf(id, "/attempts?limit=100"), signal);
    none.hidden = data.length > 0;
    table.hidden = data.length === 0;
    replace(body, data.map(row));
  }, signal);
  const content = h("section", { class: "card stack" }, h("h2", {}, "Newest attempts"), fault, none, table);
  return detail(app, id, "deliveries", signal, { content, update: refresh });
}

function row({ time: at, events, bytes: size, duration_ms: took, response_code: code, decision, message }) {
  const [sign, words] = DECISIONS[decision] ?? ["skipped", decision];
  const isBad = sign === "no" || sign === "warning" || sign === "repeat";
  const cells = [
    ["moment", time(at)],
    ["", h("span", { class: `verdict ${isBad ? "verdict-bad" : ""}` }, icon(sign), words)],
    ["words", h("span", {}, code ? h("strong", {}, code) : null, code && message ? " " : null, message)],
    ["figure", number(events)],
    ["figure", bytes(size)],
    ["figure", milliseconds(took)],
  ];
  return h(
    "tr",
    {},
    cells.map(([style, content], index) => h("td", { class: style || null, "data-label": COLUMNS[index] }, content)),
  );
}
