import { SIEM, pathOf } from "../api.js";
import { ask, askAbout } from "../dialog.js";
import { h, newId, replace } from "../dom.js";
import { count } from "../format.js";
import { destinationEditor } from "./editor.js";
import { detail, knownDestination } from "./detail.js";

export async function settingsView(app, { id }, signal) {
  const { data: providers } = await app.api.get(`${SIEM}/providers`, signal);
  await knownDestination(app, id, signal);
  const place = h("div");
  let editor = null;
  const fill = () => {
    const destination = app.live.destinations.get(id);
    if (!destination) return;
    const provider = providers.find((each) => each.name === destination.provider);
    const saved = () => {
      app.say("Saved. It applies at once.");
      fill();
      place.querySelector("[type=submit]").focus();
    };
    editor = app.can("siem:write") ? destinationEditor(app, { provider, destination, saved }, signal) : null;
    replace(place, editor?.element ?? readOnly(provider, destination));
  };
  fill();
  const danger = app.can("siem:write")
    ? h(
        "section",
        { class: "card stack danger-zone" },
        h("h2", {}, "Delete"),
        h(
          "p",
          {},
          "Takes no new events, delivers what is pending, and removes the destination. Its dead letters go with it.",
        ),
        h(
          "div",
          { class: "actions" },
          h(
            "button",
            { type: "button", class: "button danger", on: { click: () => askAbout(app, id, remove) } },
            "Delete destination",
          ),
        ),
      )
    : null;
  const content = h("div", { class: "stack" }, place, danger);
  return detail(app, id, "settings", signal, { content, update: (destination) => editor?.follow(destination) });
}

function readOnly(provider, destination) {
  const fact = (name, value) => [h("dt", {}, name), h("dd", { class: "words" }, value)];
  const spell = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  const chosen = Object.entries(destination.filter).filter(([, patterns]) => patterns.length);
  return h(
    "section",
    { class: "card stack" },
    h("h2", {}, "Settings"),
    h("p", { class: "muted" }, "This key may look, not change."),
    h(
      "dl",
      { class: "facts" },
      fact("Name", destination.name),
      fact("Endpoint", destination.endpoint),
      fact("Enabled", destination.enabled ? "Yes" : "No"),
      fact(
        "Credentials set",
        destination.credentials_set
          .map((name) => provider.fields.find((field) => field.name === name)?.label ?? name)
          .join(", "),
      ),
      Object.entries(destination.options).map(([name, value]) =>
        fact(provider.fields.find((field) => field.name === name)?.label ?? name, spell(value)),
      ),
      fact(
        "Filter",
        chosen.length ? chosen.map(([name, patterns]) => `${name}: ${patterns.join(", ")}`).join("; ") : "all events",
      ),
    ),
  );
}

/** Asks what is to become of pending events, and for the name, before anything is done. */
async function remove(app, destination) {
  const {
    id,
    name,
    health: { pending_events: pending },
  } = destination;
  const typed = h("input", { type: "text", id: newId("name"), autocomplete: "off", spellcheck: "false" });
  const choice = newId("pending");
  const deliver = h("input", { type: "radio", name: choice, value: "deliver", checked: true });
  const discard = h("input", { type: "radio", name: choice, value: "discard" });
  const body = h(
    "div",
    { class: "stack" },
    pending
      ? h(
          "fieldset",
          { class: "stack" },
          h("legend", {}, `${count(pending, "event")} pending`),
          h("label", { class: "check" }, deliver, "Deliver them first, then delete"),
          h("label", { class: "check" }, discard, "Discard them and delete at once"),
        )
      : h("p", {}, "Nothing is pending."),
    h("div", { class: "field" }, h("label", { for: typed.id }, "Type ", h("strong", {}, name), " to confirm"), typed),
  );
  const act = () => app.api.delete(pathOf(id, discard.checked ? "?force=true" : "?timeout=2"));
  const left = await ask({
    title: `Delete ${name}?`,
    body,
    yes: "Delete destination",
    isDangerous: true,
    isReady: () => typed.value.trim() === name.trim(),
    act,
  });
  if (left === true) app.live.remove(id);
  else if (left) app.live.put(left);
}
