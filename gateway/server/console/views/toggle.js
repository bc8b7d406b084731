// Switching a destination on and off.

import { pathOf } from "../api.js";
import { ask, askAbout } from "../dialog.js";
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
  button.addEventListener("click", () => (shown.enabled ? askAbout(app, shown.id, disable) : enable(app, shown)));
  const update = (destination) => {
    shown = destination;
    button.setAttribute("aria-checked", String(destination.enabled));
    button.setAttribute("aria-label", `Enabled: ${destination.name}`);
    button.disabled = destination.deleting;
  };
  return { element: button, update };
}

/** At once; one that has failed starts again by it too. */
export async function enable(app, destination) {
  try {
    await put(app, destination, true);
  } catch (error) {
    app.say(error.message);
  }
}

/** Asks first, since events are not kept then. */
async function disable(app, destination) {
  const { pending_events: pending } = destination.health;
  await ask({
    title: `Disable ${destination.name}?`,
    body: h(
      "p",
      {},
      "While it is disabled, events are not kept for it: that time becomes a gap, and only a backfill closes it.",
      pending ? ` ${count(pending, "event")} that it has not got yet become part of the gap.` : "",
    ),
    yes: "Disable",
    act: () => put(app, destination, false),
  });
}

async function put(app, { id, name }, enabled) {
  app.live.put(await app.api.put(pathOf(id), { enabled }));
  app.say(`${name} is ${enabled ? "enabled" : "disabled"}.`);
}
