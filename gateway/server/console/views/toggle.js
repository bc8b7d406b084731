// Switching a destination on and off.

import { pathOf } from "../api.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { count } from "../format.js";

/** The switch *Enabled*, or a word for a key that may not write. `update(destination)` keeps it in step. */
export function enabledSwitch(app) {
  if (!app.can("siem:write")) {
    const word = h("span");
    return { element: word, update: ({ enabled }) => (word.textContent = enabled ? "Yes" : "No") };
  }
  let shown = null;
  const button = h("button", { type: "button", role: "switch", class: "switch" });
  button.addEventListener("click", () => change(app, shown, !shown.enabled));
  const update = (destination) => {
    shown = destination;
    button.setAttribute("aria-checked", String(destination.enabled));
    button.setAttribute("aria-label", `Enabled: ${destination.name}`);
    button.disabled = destination.deleting;
  };
  return { element: button, update };
}

/** Enabling is done at once and also starts a failed one again; disabling asks first, since events are not kept then. */
export async function change(app, destination, enabled) {
  const act = async () => {
    app.live.put(await app.api.put(pathOf(destination.id), { enabled }));
    app.say(`${destination.name} is ${enabled ? "enabled" : "disabled"}.`);
  };
  if (enabled) {
    try {
      return await act();
    } catch (error) {
      return app.say(error.message);
    }
  }
  const { pending_events: pending } = destination.health;
  return ask({
    title: `Disable ${destination.name}?`,
    body: h(
      "p",
      {},
      "While it is disabled, events are not kept for it: that time becomes a gap, and only a backfill closes it.",
      pending ? ` ${count(pending, "event")} that it has not got yet become part of the gap.` : "",
    ),
    yes: "Disable",
    act,
  });
}
