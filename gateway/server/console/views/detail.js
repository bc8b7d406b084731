// What all screens of one destination share: heading, tabs, and being told when it changes.

import { Problem, SIEM, pathOf } from "../api.js";
import { everySecond } from "../clock.js";
import { h, replace, replaceWhenChanged, setText } from "../dom.js";
import { icon } from "../icons.js";
import { LIST, addressOf, go } from "../router.js";
import { hostOf, statusBadge } from "../status.js";
import { enabledSwitch } from "./toggle.js";

const TABS = [
  ["", "Overview"],
  ["deliveries", "Deliveries"],
  ["undelivered", "Undelivered"],
  ["settings", "Settings"],
  ["activity", "Activity"],
];

/**
 * A screen of a destination. `update(destination)` is called now, at every change and, with `eachSecond`, every second.
 * Throws Problem 404 when the key does not see such a destination.
 */
export async function detail(app, id, tab, signal, { content, update = () => {}, eachSecond = () => {} }) {
  const known = await knownDestination(app, id, signal);
  const heading = h("h1", { tabindex: -1 });
  const under = h("p", { class: "muted" });
  const badge = h("div");
  const warnings = h("div", { class: "stack warnings" });
  const toggle = enabledSwitch(app);
  const labels = new Map((await app.api.get(`${SIEM}/providers`, signal)).data.map((each) => [each.name, each.label]));
  let shown = null;
  const show = () => {
    const destination = app.live.destinations.get(id);
    if (!destination) return gone(app, known);
    if (destination === shown) return null; // another one changed
    shown = destination;
    setText(heading, destination.name);
    const tenant = app.isOperator ? ` · ${destination.tenant_id === "*" ? "all tenants" : destination.tenant_id}` : "";
    setText(
      under,
      `${labels.get(destination.provider) ?? destination.provider} · ${hostOf(destination.endpoint)}${tenant}`,
    );
    replaceWhenChanged(badge, [destination.status, destination.enabled, destination.deleting], () =>
      statusBadge(destination),
    );
    replaceWhenChanged(warnings, destination.warnings ?? [], () => (destination.warnings ?? []).map(warning));
    toggle.update(destination);
    return update(destination);
  };
  app.live.addEventListener("change", show, { signal });
  show();
  everySecond(() => app.live.destinations.has(id) && eachSecond(app.live.destinations.get(id)), signal);
  return {
    title: `${known.name}: ${TABS.find(([name]) => name === tab)[1]}`,
    content: [
      h("p", { class: "crumbs muted" }, h("a", { href: LIST }, "SIEM destinations"), " › ", known.name),
      h(
        "div",
        { class: "head" },
        h("div", { class: "title" }, h("div", { class: "title-line" }, heading, badge), under),
        h("div", { class: "enabled" }, h("span", { "aria-hidden": "true" }, "Enabled"), toggle.element),
      ),
      warnings,
      tabs(id, tab),
      content,
    ],
  };
}

/** Asks for one that is too new for the last look of the stream. */
export async function knownDestination(app, id, signal) {
  await app.live.loaded();
  if (!app.live.destinations.has(id)) {
    try {
      app.live.put(await app.api.get(pathOf(id), signal));
    } catch (error) {
      if (error.status !== 404) throw error;
      throw new Problem(404, { detail: "There is no such destination, or it belongs to another tenant." });
    }
  }
  return app.live.destinations.get(id);
}

export function warning(words) {
  return h("p", { class: "notice" }, icon("warning"), h("strong", {}, "Warning: "), words);
}

function gone(app, { name }) {
  app.say(`${name} is deleted.`);
  go(LIST, { replace: true });
}

function tabs(id, current) {
  return h(
    "nav",
    { class: "tabs", "aria-label": "Of this destination" },
    TABS.map(([tab, text]) =>
      h("a", { href: addressOf(id, tab), "aria-current": tab === current ? "page" : null }, text),
    ),
  );
}

/** `refresh` runs `load`, once more when it was asked for meanwhile; `fault` shows the words of an error. */
export function refresher(load, signal) {
  const fault = h("p", { class: "fault", role: "alert", hidden: true });
  let isBusy = false;
  let isStale = false;
  const refresh = async () => {
    isStale = isBusy;
    if (isBusy) return;
    isBusy = true;
    try {
      await load();
      fault.hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      replace(fault, error.message);
      fault.hidden = false;
    } finally {
      isBusy = false;
    }
    if (isStale && !signal.aborted) await refresh();
  };
  return { fault, refresh };
}
