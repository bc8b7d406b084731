import { pathOf } from "../api.js";
import { h, replace, replaceWhenChanged, setText } from "../dom.js";
import { ago, bytes, countdown, duration, number, secondsUntil, setTime, time } from "../format.js";
import { icon } from "../icons.js";
import { lagOf } from "../status.js";
import { detail, refresher } from "./detail.js";
import { figures } from "./figures.js";
import { enable } from "./toggle.js";

export async function overviewView(app, { id }, signal) {
  const state = new State(app);
  const facts = h("div", { class: "stack" });
  const books = h("dl", { class: "tiles-facts" });
  const ledger = refresher(
    async () => replace(books, ledgerFacts(await app.api.get(pathOf(id, "/ledger"), signal))),
    signal,
  );
  let moved = "";
  const update = (destination) => {
    state.show(destination);
    replaceWhenChanged(facts, [destination.health, destination.endpoint], () => factsOf(destination));
    const spelled = JSON.stringify(destination.health);
    if (spelled !== moved) ledger.refresh();
    moved = spelled;
  };
  const eachSecond = (destination) => {
    state.tick(destination);
    for (const element of facts.querySelectorAll("time")) setTime(element, element.dateTime, ago);
    setText(facts.querySelector(".lag"), lagWords(destination));
  };
  const content = h(
    "div",
    { class: "stack" },
    state.element,
    facts,
    figures(app, id, signal),
    h(
      "section",
      { class: "card stack" },
      h("h2", {}, "Books"),
      h("p", { class: "muted" }, "Every event that was accepted for it is in exactly one of the others."),
      ledger.fault,
      books,
    ),
  );
  return detail(app, id, "", signal, { content, update, eachSecond });
}

/** One sentence of state; what happens next, and what is lost if nothing does. */
class State {
  #sentence = h("p", { class: "sentence" });
  #since = h("p", { class: "muted" });
  #next = h("p", { class: "next" });
  #risk = h("p", { class: "risk" });
  #actions = h("div", { class: "actions" });
  #app;

  constructor(app) {
    this.#app = app;
    this.element = h(
      "section",
      { class: "card stack state", "aria-label": "State" },
      this.#sentence,
      this.#since,
      this.#next,
      this.#risk,
      this.#actions,
    );
  }

  show(destination) {
    const { status, enabled } = destination;
    this.element.className = `card stack state state-${enabled ? status : "disabled"}`;
    setText(this.#sentence, destination.status_reason);
    replaceWhenChanged(this.#since, destination.status_since, () =>
      destination.status_since ? ["Since ", time(destination.status_since), "."] : null,
    );
    replaceWhenChanged(this.#actions, [status, enabled, destination.deleting], () => this.#buttons(destination));
    this.tick(destination);
  }

  tick({ enabled, health }) {
    const next = enabled && health.next_attempt_at;
    this.#next.hidden = !next;
    if (next) {
      const left = secondsUntil(next);
      setText(this.#next, left > 0 ? `Next attempt in ${countdown(left)}` : "Trying now …");
    }
    const risk = health.events_at_risk_at;
    this.#risk.hidden = !risk;
    if (risk)
      replaceWhenChanged(this.#risk, [risk, Math.floor(secondsUntil(risk) / 60)], () => [
        icon("warning"),
        h(
          "span",
          {},
          `${firstOf(health.pending_events)} is lost in ${duration(secondsUntil(risk))}, on `,
          time(risk),
          ", if nothing changes.",
        ),
      ]);
  }

  #buttons(destination) {
    if (!this.#app.can("siem:write") || destination.deleting) return null;
    const words = !destination.enabled ? "Enable" : { failed: "Enable again", degraded: "Try now" }[destination.status];
    return words
      ? h(
          "button",
          { type: "button", class: "button primary", on: { click: () => enable(this.#app, destination) } },
          words,
        )
      : null;
  }
}

const firstOf = (pending) => (pending === 1 ? "The pending event" : `The first of ${number(pending)} pending events`);

function factsOf(destination) {
  const { health, endpoint } = destination;
  const fact = (name, ...value) => h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value));
  const error = health.last_error;
  const figures = [
    fact(
      "Pending",
      number(health.pending_events),
      h("span", { class: "muted small-print" }, bytes(health.pending_bytes)),
    ),
    fact("Lag", h("span", { class: "lag" }, lagWords(destination))),
    fact("Last success", health.last_success_at ? time(health.last_success_at, ago) : "never"),
    fact("Failures in a row", number(health.consecutive_failures)),
  ];
  const words = [
    error
      ? h(
          "div",
          { class: "fact" },
          h("dt", {}, "Last error, ", time(health.last_error_at, ago)),
          h("dd", { class: "words" }, `${error.code}: ${error.message}`),
        )
      : null,
    h("div", { class: "fact" }, h("dt", {}, "Endpoint"), h("dd", { class: "words" }, endpoint)),
  ];
  return [h("dl", { class: "tiles-facts" }, figures), h("dl", { class: "stack" }, words)];
}

function lagWords(destination) {
  const lag = lagOf(destination);
  return lag === null ? "none" : duration(lag);
}

function ledgerFacts(books) {
  const names = [
    ["accepted", "Accepted"],
    ["delivered", "Delivered"],
    ["pending", "Pending"],
    ["filtered", "Filtered out"],
    ["dead_lettered", "Dead-lettered"],
    ["dropped", "Dropped"],
  ];
  return [
    names.map(([name, label]) => h("div", { class: "fact" }, h("dt", {}, label), h("dd", {}, number(books[name])))),
    h(
      "div",
      { class: "fact" },
      h("dt", {}, "Balanced"),
      h(
        "dd",
        {},
        h(
          "span",
          { class: `status status-${books.balanced ? "active" : "failed"}` },
          icon(books.balanced ? "active" : "failed"),
          books.balanced ? "Yes" : "No",
        ),
      ),
    ),
  ];
}
