// Controls of forms. Each is `{name, element, value(), fail(message)}`; `name` is the one that the gateway uses in errors.

import { h, newId, setText } from "./dom.js";

/** Label, control, help and error belong together, for the eye and for screen readers. */
function field({ name, label, help, required, input, extra = null, read }) {
  const id = newId(name);
  input.id = id;
  input.required = Boolean(required);
  const explained = explain(input, id, help);
  const element = h(
    "div",
    { class: "field" },
    h("label", { for: id }, label, required ? h("span", { class: "muted" }, " (required)") : null),
    h("div", { class: "control" }, input, extra),
    explained.elements,
  );
  return { name, label, element, input, fail: explained.fail, value: read };
}

/** What stands below a control and describes it: what is wrong with it, and help. */
function explain(input, id, help) {
  const helpId = `${id}-help`;
  const faultId = `${id}-fault`;
  const fault = h("p", { class: "fault", id: faultId, hidden: true });
  input.setAttribute("aria-describedby", help ? `${helpId} ${faultId}` : faultId);
  const fail = (message) => {
    setText(fault, message ?? "");
    fault.hidden = !message;
    input.toggleAttribute("aria-invalid", Boolean(message));
    if (message) input.setAttribute("aria-invalid", "true");
  };
  input.addEventListener("input", () => fail(null));
  return { fail, elements: [fault, help ? h("p", { class: "help", id: helpId }, help) : null] };
}

export function textControl({ value = "", placeholder, pattern, help, mode, ...rest }) {
  const input = h("input", {
    type: "text",
    value,
    placeholder,
    inputmode: mode,
    autocomplete: "off",
    spellcheck: "false",
  });
  const control = field({ ...rest, help, input, read: () => input.value.trim() });
  control.check = () => {
    const text = input.value.trim();
    if (!text) return rest.required ? "A value is required." : null;
    return fits(pattern, text) ? null : `This does not have the right form. ${help ?? ""}`;
  };
  return control;
}

/** The pattern is the gateway's; one that this browser cannot read is left to the gateway. */
function fits(pattern, text) {
  if (!pattern) return true;
  try {
    return new RegExp(`^(?:${pattern})$`, "u").test(text);
  } catch {
    return true;
  }
}

/** Text of several lines, such as certificates. A secret is seen while it is pasted, and never again. */
export function linesControl({ value = "", ...rest }) {
  const input = h("textarea", { rows: 4, class: "mono", value, autocomplete: "off", spellcheck: "false" });
  const control = field({ ...rest, input, read: () => input.value.trim() });
  control.check = () => (rest.required && !input.value.trim() ? "A value is required." : null);
  return control;
}

export function secretControl(rest) {
  const input = h("input", { type: "password", autocomplete: "new-password", spellcheck: "false" });
  const toggle = h(
    "button",
    { type: "button", class: "button small", "aria-pressed": "false", "aria-label": `Show ${rest.label}` },
    "Show",
  );
  toggle.addEventListener("click", () => {
    const isShown = input.type === "password";
    input.type = isShown ? "text" : "password";
    toggle.setAttribute("aria-pressed", String(isShown));
  });
  const control = field({ ...rest, input, extra: toggle, read: () => input.value.trim() });
  control.check = () => (rest.required && !input.value.trim() ? "A value is required." : null);
  return control;
}

export function numberControl({ value, placeholder, ...rest }) {
  const input = h("input", { type: "number", step: 1, value: value ?? "", placeholder, autocomplete: "off" });
  const control = field({ ...rest, input, read: () => (input.value === "" ? null : Number(input.value)) });
  control.check = () =>
    input.validity.badInput || input.validity.stepMismatch ? "This must be a whole number." : null;
  return control;
}

/** Nothing chosen is null: the gateway's own choice. */
export function choiceControl({ value, choices, preset, ...rest }) {
  const none = h("option", { value: "" }, preset ? `${preset} (default)` : "Default");
  const options = choices.filter((choice) => choice !== preset).map((choice) => h("option", { value: choice }, choice));
  const input = h("select", {}, none, options);
  input.value = value && value !== preset ? value : "";
  return { ...field({ ...rest, input, read: () => input.value || null }), check: () => null };
}

export function switchControl({ name, label, help, value }) {
  const input = h("input", { type: "checkbox", role: "switch", class: "switch", checked: value });
  const explained = explain(input, newId("switch"), help);
  const element = h("div", { class: "field" }, h("label", { class: "switch-label" }, input, label), explained.elements);
  return { name, label, element, input, value: () => input.checked, check: () => null, fail: explained.fail };
}

/** A list of texts, separated by commas or lines. */
export function listControl({ value = [], placeholder, ...rest }) {
  const input = h("input", {
    type: "text",
    value: value.join(", "),
    placeholder,
    autocomplete: "off",
    spellcheck: "false",
  });
  const read = () =>
    input.value
      .split(",")
      .map((item) => item.trim())
      .filter(Boolean);
  return { ...field({ ...rest, input, read }), check: () => null };
}

/** An object with text in it, one "Name: value" on each line. */
export function pairsControl({ value = {}, help, ...rest }) {
  const input = h("textarea", { rows: 3, spellcheck: "false", placeholder: "Name: value" });
  input.value = Object.entries(value)
    .map(([name, text]) => `${name}: ${text}`)
    .join("\n");
  const lines = () => input.value.split("\n").filter((line) => line.trim());
  const read = () =>
    Object.fromEntries(
      lines().map((line) => [line.slice(0, line.indexOf(":")).trim(), line.slice(line.indexOf(":") + 1).trim()]),
    );
  const control = field({ ...rest, help: `${help ?? ""} One on each line, as Name: value.`.trim(), input, read });
  control.check = () => (lines().every((line) => line.indexOf(":") > 0) ? null : "Each line must be Name: value.");
  return control;
}
