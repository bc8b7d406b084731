// The form of a destination, made from the provider's own description: a new provider needs no change here.

import {
  choiceControl,
  linesControl,
  listControl,
  numberControl,
  pairsControl,
  switchControl,
  textControl,
} from "./controls.js";
import { Credential } from "./credential.js";
import { h, replace } from "./dom.js";

const FILTER = [
  ["actions", "Only these actions", "attestation.*, key.rotate"],
  ["exclude_actions", "Never these actions", "*.read"],
  ["services", "Only these services", "trust-registry"],
  ["outcomes", "Only these outcomes", "FAILURE"],
  ["actor_types", "Only these actor types", "USER, API_KEY"],
];

/** `destination` is null for a new one. `element` holds the fields; the form around it is the caller's. */
export class DestinationForm {
  #provider;
  #known;
  #controls = [];
  #credentials = [];
  #enabled;
  #faults = h("div", { class: "faults", role: "alert", tabindex: -1, hidden: true });

  constructor({ provider, destination = null, isOperator = false, filterHint = null }) {
    this.#provider = provider;
    this.#known = destination;
    this.#enabled = destination?.enabled;
    const options = provider.fields.filter((each) => each.where === "option");
    this.enabled = this.#add(
      switchControl({
        name: "enabled",
        label: "Enabled",
        value: destination?.enabled ?? true,
        help: "While it is off, events are not kept for it: that time becomes a gap.",
      }),
    );
    const basics = [
      this.#add(
        textControl({
          name: "name",
          label: "Name",
          value: destination?.name,
          placeholder: `${provider.label} destination`,
          help: "What people call it here.",
        }),
      ),
      this.#add(
        textControl({
          name: "endpoint",
          label: "Endpoint URL",
          value: destination?.endpoint,
          placeholder: provider.example_endpoint,
          help: provider.endpoint_help,
          required: true,
          mode: "url",
        }),
      ),
      !destination && isOperator
        ? this.#add(
            textControl({
              name: "tenant_id",
              label: "Tenant",
              help: "Whose events it receives. Empty: those of all tenants.",
            }),
          )
        : null,
    ];
    this.element = h(
      "div",
      { class: "stack" },
      this.#faults,
      basics.filter(Boolean).map((control) => control.element),
      h(
        "fieldset",
        { class: "stack" },
        h("legend", {}, "Credentials"),
        h("p", { class: "help" }, provider.credentials_help),
        this.#credentialFields((each) => !isForFew(each)),
      ),
      this.enabled.element,
      h(
        "details",
        { class: "fold" },
        h("summary", {}, "Advanced options"),
        h(
          "div",
          { class: "stack" },
          options.map((each) => this.#add(optionControl(each, destination?.options[each.name])).element),
          this.#credentialFields(isForFew),
          this.#add(
            switchControl({
              name: "ordered",
              label: "Keep the order",
              value: destination?.ordered ?? false,
              help: "One request at a time, so that events arrive in the order in which they were accepted. Slower.",
            }),
          ).element,
        ),
      ),
      h(
        "details",
        { class: "fold", open: FILTER.some(([name]) => destination?.filter[name]?.length) },
        h("summary", {}, "Filter"),
        h(
          "div",
          { class: "stack" },
          h(
            "p",
            { class: "help" },
            "Empty: all events. Several patterns are separated by commas; * stands for anything.",
          ),
          FILTER.map(
            ([name, label, placeholder]) =>
              this.#add(listControl({ name: `filter.${name}`, label, placeholder, value: destination?.filter[name] }))
                .element,
          ),
          filterHint,
        ),
      ),
    );
  }

  #add(control) {
    this.#controls.push(control);
    return control;
  }

  #credentialFields(fits) {
    return this.#provider.fields
      .filter((each) => each.where === "credential" && fits(each))
      .map((each) => {
        const credential = new Credential(each, this.#known);
        this.#credentials.push(credential);
        return credential.element;
      });
  }

  /** What to send: everything for a new destination, else what is different from before. */
  content() {
    const values = { ...this.#plain(), filter: this.filter(), options: this.#options() };
    for (const credential of this.#credentials) Object.assign(values, credential.content());
    if (!this.#known) return { provider: this.#provider.name, ...values };
    return Object.fromEntries(Object.entries(values).filter(([name, value]) => this.#differs(name, value)));
  }

  #differs(name, value) {
    if (name === "enabled") return value !== this.#enabled;
    if (name === "options") return Object.keys(value).length > 0;
    if (name === "filter")
      return FILTER.some(([part]) => String(value[part]) !== String(this.#known.filter[part] ?? []));
    return !(name in this.#known) || this.#known[name] !== value;
  }

  /** The switch was moved elsewhere: here too, unless it had been moved here. */
  follow({ enabled }) {
    if (this.enabled.value() === this.#enabled) this.enabled.input.checked = enabled;
    this.#enabled = enabled;
  }

  #plain() {
    const plain = this.#controls.filter((control) => !control.name.includes("."));
    return Object.fromEntries(
      plain.map((control) => [control.name, control.value()]).filter(([, value]) => value !== "" || this.#known),
    );
  }

  filter() {
    const parts = this.#controls.filter((control) => control.name.startsWith("filter."));
    return Object.fromEntries(parts.map((control) => [control.name.slice(7), control.value()]));
  }

  /** The options that were changed; null takes one away. */
  #options() {
    const changed = {};
    for (const each of this.#provider.fields.filter((field) => field.where === "option")) {
      const control = this.#controls.find((candidate) => candidate.name === `options.${each.name}`);
      const value = emptied(control.value());
      const before = valueBefore(each, this.#known?.options[each.name]);
      if (JSON.stringify(value) !== JSON.stringify(before)) changed[each.name] = value;
    }
    return changed;
  }

  /** Marks what this page can see to be wrong, and says whether that is nothing. */
  check() {
    const wrong = this.#all()
      .map((control) => ({ field: control.name, message: control.check() }))
      .filter(({ message }) => message);
    this.showErrors(wrong, wrong.length ? "Some fields need attention." : "");
    return wrong.length === 0;
  }

  /** Shows the gateway's errors at their fields, and those without one above all. */
  showErrors(errors, summary) {
    const controls = this.#all();
    controls.forEach((control) => control.fail(null));
    const items = errors.map(({ field, message }) => {
      const control = controls.find((candidate) => field === candidate.name || field?.startsWith(`${candidate.name}.`));
      control?.fail(message);
      const fold = control?.element.closest("details");
      if (fold) fold.open = true;
      const jump = () => control.input.focus();
      return h(
        "li",
        {},
        control ? h("button", { type: "button", class: "link", on: { click: jump } }, control.label) : field,
        `: ${message}`,
      );
    });
    this.#faults.hidden = !summary;
    replace(this.#faults, h("p", {}, summary), items.length ? h("ul", {}, items) : null);
    if (summary)
      (controls.find((control) => control.input.getAttribute("aria-invalid"))?.input ?? this.#faults).focus();
  }

  #all() {
    return [...this.#controls, ...this.#credentials.map((credential) => credential.control).filter(Boolean)].sort(
      (a, b) => (a.element.compareDocumentPosition(b.element) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1),
    );
  }
}

/** A certificate of one's own, for example: few have one, and it takes a lot of room. */
const isForFew = ({ multiline, required }) => multiline && !required;

const emptied = (value) =>
  value === "" || value === null || (typeof value === "object" && Object.keys(value).length === 0) ? null : value;

/** What the control of an untouched option gives. A choice that is the default shows as such. */
function valueBefore({ type, multiline, default: preset }, stored) {
  if (type === "enum" && stored === preset) return null;
  if (multiline && stored) return stored.replace(/\r\n?/g, "\n").trim();
  return stored ?? (type === "boolean" ? (preset ?? false) : null);
}

function optionControl(field, stored) {
  const { label, help, required, pattern, choices, default: preset } = field;
  const spelled = preset === null || preset === undefined ? undefined : String(preset);
  const shared = { name: `options.${field.name}`, label, help, required };
  const value = stored ?? undefined;
  switch (field.type) {
    case "integer":
      return numberControl({ ...shared, value, placeholder: spelled });
    case "boolean":
      return switchControl({ ...shared, value: value ?? preset ?? false });
    case "enum":
      return choiceControl({ ...shared, value, choices, preset });
    case "array":
      return listControl({ ...shared, value });
    case "object":
      return pairsControl({ ...shared, value });
    default:
      if (field.multiline) return linesControl({ ...shared, value });
      return textControl({ ...shared, value, pattern, placeholder: spelled });
  }
}
