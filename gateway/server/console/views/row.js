import { sparkline } from "../chart.js";
import { everySecond } from "../clock.js";
import { breakable, h, replaceWhenChanged, setText } from "../dom.js";
import { ago, count, duration, number, setTime, time } from "../format.js";
import { addressOf } from "../router.js";
import { hostOf, lagOf, statusBadge, warningBadge } from "../status.js";
import { enabledSwitch } from "./toggle.js";

/** One destination of the list. It stays the same element while what it shows changes. */
export class Row {
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
  #stats;
  #isOperator;

  constructor(app, label, signal) {
    this.#label = label;
    this.#isOperator = app.isOperator;
    this.#toggle = enabledSwitch(app);
    const cell = (name, ...content) =>
      h(
        "div",
        { class: `cell cell-${name.split(" ")[0].toLowerCase()}` },
        h("span", { class: "cell-label muted" }, name),
        content,
      );
    this.element = h(
      "li",
      { class: "row" },
      h("div", { class: "cell cell-name" }, this.#title, this.#under),
      h("div", { class: "cell cell-status" }, this.#status, this.#reason, this.#risk),
      cell("Pending", this.#pending),
      cell("Lag", this.#lag),
      cell("24 hours", this.#spark),
      cell("Success", this.#success),
      cell("Enabled", this.#toggle.element),
    );
    everySecond(() => this.#shown && this.#showTimes(), signal);
  }

  show(destination, stats) {
    if (destination === this.#shown && stats === this.#stats) return;
    this.#stats = stats;
    this.#shown = destination;
    const { health } = destination;
    setText(this.#title, destination.name);
    this.#title.setAttribute("href", addressOf(destination.id));
    const tenant = this.#isOperator
      ? ` · ${destination.tenant_id === "*" ? "all tenants" : destination.tenant_id}`
      : "";
    replaceWhenChanged(this.#under, [destination.endpoint], () => [
      this.#label + tenant,
      h("br"),
      breakable(hostOf(destination.endpoint)),
    ]);
    replaceWhenChanged(
      this.#status,
      [destination.status, destination.enabled, destination.deleting, destination.status_since, destination.warnings],
      () => [
        statusBadge(destination),
        warningBadge(destination),
        destination.status_since
          ? h("span", { class: "muted since" }, "since ", time(destination.status_since, ago))
          : null,
      ],
    );
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
    replaceWhenChanged(this.#success, health.last_success_at, () =>
      health.last_success_at ? time(health.last_success_at, ago) : "never",
    );
    for (const [place, at] of [
      [this.#success, health.last_success_at],
      [this.#status, since],
    ]) {
      const element = place.querySelector("time");
      if (element) setTime(element, at, ago);
    }
    const risk = health.events_at_risk_at;
    this.#risk.hidden = !risk;
    if (risk)
      setText(this.#risk, `First event lost in ${duration((Date.parse(risk) - Date.now()) / 1000)} if nothing changes`);
  }
}

function spark({ delivered, failed }) {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  return sparkline(
    delivered,
    failed,
    `${count(sum(delivered), "event")} delivered, ${number(sum(failed))} failed in 24 hours`,
  );
}
