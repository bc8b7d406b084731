import { SIEM } from "../api.js";
import { h, replace, replaceWhenChanged, setText } from "../dom.js";
import { count, number } from "../format.js";
import { icon } from "../icons.js";
import { NEW } from "../router.js";
import { worstFirst } from "../status.js";
import { providerTiles } from "./add.js";
import { warning } from "./detail.js";
import { Row } from "./row.js";
import { sampleEvent } from "./sample.js";

const STATS_EVERY_MS = 60_000;
const ACTIONS_NAMED = 5;
const SEARCH_FROM = 9; // so many destinations are more than one sees at a glance

/** All destinations, worst first. */
export async function listView(app, _parameters, signal) {
  const [{ data: providers }] = await Promise.all([app.api.get(`${SIEM}/providers`, signal), app.live.loaded()]);
  const body = h("div");
  const summary = h("p", { class: "lead", role: "status" });
  const list = new List(app, new Map(providers.map(({ name, label }) => [name, label])), signal);
  const show = () => {
    const destinations = [...app.live.destinations.values()].sort(worstFirst);
    setText(summary, inShort(destinations));
    summary.hidden = destinations.length === 0;
    if (destinations.length) list.show(destinations);
    replaceWhenChanged(body, destinations.length > 0, () =>
      destinations.length ? list.element : empty(app, providers),
    );
  };
  app.live.addEventListener("change", show, { signal });
  show();
  const add = app.can("siem:write")
    ? h("a", { class: "button primary", href: NEW }, icon("plus"), "Add destination")
    : null;
  return {
    title: "Destinations",
    content: [
      h("p", { class: "crumbs muted" }, "Settings › Audit › SIEM"),
      h("div", { class: "head" }, h("h1", { tabindex: -1 }, "SIEM destinations"), add),
      summary,
      body,
    ],
  };
}

function inShort(destinations) {
  const bad = destinations.filter(({ enabled, status }) => enabled && status !== "active").length;
  const off = destinations.filter(({ enabled }) => !enabled).length;
  if (!bad && !off)
    return destinations.length === 1
      ? "The destination is delivering."
      : `All ${number(destinations.length)} destinations are delivering.`;
  return `${count(destinations.length, "destination")}: ${[bad ? `${number(bad)} not delivering` : "", off ? `${number(off)} disabled` : ""].filter(Boolean).join(", ")}.`;
}

/** Actions of events that every filter leaves out. */
function filteredOut(actions) {
  const named = actions.slice(0, ACTIONS_NAMED).map(({ action }) => action);
  const more = actions.length - named.length;
  return `No destination's filter lets these actions through: ${named.join(", ")}${more ? ` and ${number(more)} more` : ""}.`;
}

function empty(app, providers) {
  return h(
    "div",
    { class: "stack" },
    h(
      "section",
      { class: "card stack" },
      h("h2", {}, "No destination yet"),
      h(
        "p",
        {},
        "Every audit event can be streamed to your SIEM as it happens. Until a destination is there, nothing is sent and nothing is kept for one.",
      ),
      providerTiles(providers, app.can("siem:write")),
      app.can("siem:write")
        ? null
        : h("p", { class: "muted" }, "This key may look, not change. Adding a destination takes the scope siem:write."),
    ),
    sampleEvent(),
  );
}

class List {
  element;
  #rows = new Map();
  #list = h("ul", { class: "rows" });
  #app;
  #labels;
  #signal;
  #stats = new Map();
  #unreached = h("div", { class: "stack warnings" });
  #search;
  #destinations = [];

  constructor(app, labels, signal) {
    this.#app = app;
    this.#labels = labels;
    this.#signal = signal;
    const names = ["Destination", "Status", "Pending", "Lag", "Last 24 hours", "Last success", "Enabled"];
    this.#search = h("input", {
      type: "search",
      "aria-label": "Find a destination",
      placeholder: "Find by name, provider or host",
      on: { input: () => this.#arrange() },
    });
    this.element = h(
      "div",
      {},
      this.#unreached,
      h("div", { class: "search" }, this.#search),
      h(
        "div",
        { class: "row row-head muted", "aria-hidden": "true" },
        names.map((name) => h("span", {}, name)),
      ),
      this.#list,
    );
    this.#fetchStats();
    const timer = setInterval(() => this.#fetchStats(), STATS_EVERY_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  show(destinations) {
    this.#destinations = destinations;
    for (const destination of destinations) {
      if (!this.#rows.has(destination.id))
        this.#rows.set(
          destination.id,
          new Row(this.#app, this.#labels.get(destination.provider) ?? destination.provider, this.#signal),
        );
      this.#rows.get(destination.id).show(destination, this.#stats.get(destination.id));
    }
    this.#search.parentElement.hidden = destinations.length < SEARCH_FROM;
    this.#arrange();
  }

  /** Rows move only when the order changes, and the one with the focus keeps it. */
  #arrange() {
    const wanted = this.#search.value.trim().toLowerCase();
    const fits = ({ name, provider, endpoint, tenant_id: tenant }) =>
      `${name} ${provider} ${endpoint} ${tenant}`.toLowerCase().includes(wanted);
    const elements = this.#destinations.filter(fits).map(({ id }) => this.#rows.get(id).element);
    const now = [...this.#list.children];
    if (now.length === elements.length && now.every((element, index) => element === elements[index])) return;
    const focused = this.#list.contains(document.activeElement) ? document.activeElement : null;
    replace(this.#list, elements.length ? elements : h("li", { class: "muted none-found" }, "None fits."));
    focused?.focus();
  }

  async #fetchStats() {
    try {
      const { data, unreached_actions: unreached } = await this.#app.api.get(`${SIEM}/stats?window=24h`, this.#signal);
      this.#stats = new Map(data.map((each) => [each.id, each]));
      replaceWhenChanged(this.#unreached, unreached, () => (unreached.length ? warning(filteredOut(unreached)) : null));
      this.show(this.#destinations);
    } catch {
      // The figures stay as they are; whether the gateway answers is shown for the whole page.
    }
  }
}
