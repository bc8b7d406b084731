import { SIEM } from "../api.js";
import { everySecond } from "../clock.js";
import { sparkline } from "../chart.js";
import { breakable, h, replace, replaceWhenChanged, setText } from "../dom.js";
import { ago, count, duration, number, setTime, time } from "../format.js";
import { icon } from "../icons.js";
import { NEW, addressOf } from "../router.js";
import { hostOf, lagOf, statusBadge, worstFirst } from "../status.js";
import { sampleEvent } from "./sample.js";
import { providerTiles } from "./add.js";
import { enabledSwitch } from "./toggle.js";

const STATS_EVERY_MS = 60_000;
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
    replaceWhenChanged(body, destinations.length > 0, () => (destinations.length ? list.element : empty(app, providers)));
  };
  app.live.addEventListener("change", show, { signal });
  show();
  const add = app.can("siem:write") ? h("a", { class: "button primary", href: NEW }, icon("plus"), "Add destination") : null;
  return { title: "Destinations", content: [h("p", { class: "crumbs muted" }, "Settings › Audit › SIEM"), h("div", { class: "head" }, h("h1", { tabindex: -1 }, "SIEM destinations"), add), summary, body] };
}

function inShort(destinations) {
  const bad = destinations.filter(({ enabled, status }) => enabled && status !== "active").length;
  const off = destinations.filter(({ enabled }) => !enabled).length;
  if (!bad && !off) return destinations.length === 1 ? "The destination is delivering." : `All ${number(destinations.length)} destinations are delivering.`;
  return `${count(destinations.length, "destination")}: ${[bad ? `${number(bad)} not delivering` : "", off ? `${number(off)} disabled` : ""].filter(Boolean).join(", ")}.`;
}

function empty(app, providers) {
  return h("div", { class: "stack" }, h("section", { class: "card stack" }, h("h2", {}, "No destination yet"),
    h("p", {}, "Every audit event can be streamed to your SIEM as it happens. Until a destination is there, nothing is sent and nothing is kept for one."),
    providerTiles(providers, app.can("siem:write")),
    app.can("siem:write") ? null : h("p", { class: "muted" }, "This key may look, not change. Adding a destination takes the scope siem:write.")),
  sampleEvent());
}

class List {
  element;
  #rows = new Map();
  #list = h("ul", { class: "rows" });
  #app;
  #labels;
  #signal;
  #stats = new Map();
  #search;
  #destinations = [];

  constructor(app, labels, signal) {
    this.#app = app;
    this.#labels = labels;
    this.#signal = signal;
    const names = ["Destination", "Status", "Pending", "Lag", "Last 24 hours", "Last success", "Enabled"];
    this.#search = h("input", { type: "search", "aria-label": "Find a destination", placeholder: "Find by name, provider or host", on: { input: () => this.#arrange() } });
    this.element = h("div", {}, h("div", { class: "search" }, this.#search), h("div", { class: "row row-head muted", "aria-hidden": "true" }, names.map((name) => h("span", {}, name))), this.#list);
    this.#fetchStats();
    const timer = setInterval(() => this.#fetchStats(), STATS_EVERY_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  show(destinations) {
    this.#destinations = destinations;
    for (const destination of destinations) {
      if (!this.#rows.has(destination.id)) this.#rows.set(destination.id, new Row(this.#app, this.#labels.get(destination.provider) ?? destination.provider, this.#signal));
      this.#rows.get(destination.id).show(destination, this.#stats.get(destination.id));
    }
    this.#search.parentElement.hidden = destinations.length < SEARCH_FROM;
    this.#arrange();
  }

  /** Rows move only when the order changes, and the one with the focus keeps it. */
  #arrange() {
    const wanted = this.#search.value.trim().toLowerCase();
    const fits = ({ name, provider, endpoint, tenant_id: tenant }) => `${name} ${provider} ${endpoint} ${tenant}`.toLowerCase().includes(wanted);
    const elements = this.#destinations.filter(fits).map(({ id }) => this.#rows.get(id).element);
    const now = [...this.#list.children];
    if (now.length === elements.length && now.every((element, index) => element === elements[index])) return;
    const focused = this.#list.contains(document.activeElement) ? document.activeElement : null;
    replace(this.#list, elements.length ? elements : h("li", { class: "muted none-found" }, "None fits."));
    focused?.focus();
  }

  async #fetchStats() {
    try {
      const { data } = await this.#app.api.get(`${SIEM}/stats?window=24h`, this.#signal);
      this.#stats = new Map(data.map((each) => [each.id, each]));
      this.show(this.#destinations);
    } catch {
      // The figures stay as they are; whether the gateway answers is shown for the whole page.
    }
  }
}

class Row {
  #title = h("a", { class: "row-title" });
  #under = h("span", { class: "muted row-under" });
  #status = h("div", { class: "row-status" });
  #reason = h("p", { class: "reason" });
  #pending = h("span");
  #lag = h("span");
  #spark = h("div");
  #success = h("span");
  #risk = h("p", { class: "risk", hidden: true });
  #toggle;
  #label;
  #shown;
  #isOperator;

  constructor(app, label, signal) {
    this.#label = label;
    this.#isOperator = app.isOperator;
    this.#toggle = enabledSwitch(app);
    const cell = (name, ...content) => h("div", { class: `cell cell-${name.split(" ")[0].toLowerCase()}` }, h("span", { class: "cell-label muted" }, name), content);
    this.element = h("li", { class: "row" }, h("div", { class: "cell cell-name" }, this.#title, this.#under),
      h("div", { class: "cell cell-status" }, this.#status, this.#reason, this.#risk), cell("Pending", this.#pending), cell("Lag", this.#lag),
      cell("24 hours", this.#spark), cell("Success", this.#success), cell("Enabled", this.#toggle.element));
    everySecond(() => this.#shown && this.#showTimes(), signal);
  }

  show(destination, stats) {
    this.#shown = destination;
    const { health } = destination;
    setText(this.#title, destination.name);
    this.#title.setAttribute("href", addressOf(destination.id));
    const tenant = this.#isOperator ? ` · ${destination.tenant_id === "*" ? "all tenants" : destination.tenant_id}` : "";
    replaceWhenChanged(this.#under, [destination.endpoint], () => [this.#label + tenant, h("br"), breakable(hostOf(destination.endpoint))]);
    replaceWhenChanged(this.#status, [destination.status, destination.enabled, destination.deleting, destination.status_since], () =>
      [statusBadge(destination), destination.status_since ? h("span", { class: "muted since" }, "since ", time(destination.status_since, ago)) : null]);
    setText(this.#reason, destination.status_reason);
    setText(this.#pending, number(health.pending_events));
    replaceWhenChanged(this.#spark, stats ?? null, () => (stats ? spark(stats) : null));
    this.#toggle.update(destination);
    this.#showTimes();
  }

  #showTimes() {
    const { health, status_since: since } = this.#shown;
    const lag = lagOf(this.#shown);
    setText(this.#lag, lag === null ? "none" : duration(lag));
    replaceWhenChanged(this.#success, health.last_success_at, () => (health.last_success_at ? time(health.last_success_at, ago) : "never"));
    for (const [place, at] of [[this.#success, health.last_success_at], [this.#status, since]]) {
      const element = place.querySelector("time");
      if (element) setTime(element, at, ago);
    }
    const risk = health.events_at_risk_at;
    this.#risk.hidden = !risk;
    if (risk) setText(this.#risk, `First event lost in ${duration((Date.parse(risk) - Date.now()) / 1000)} if nothing changes`);
  }
}

function spark({ delivered, failed }) {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  return sparkline(delivered, failed, `${count(sum(delivered), "event")} delivered, ${number(sum(failed))} failed in 24 hours`);
}
