import { linesControl, secretControl, textControl } from "./controls.js";
import { h, newId, replace } from "./dom.js";
import { ago, time } from "./format.js";

/** A credential is asked for, or shown as set and only then replaced. It is never read back. */
export class Credential {
  control = null;
  #field;
  #isRemoved = false;

  constructor(field, destination) {
    this.#field = field;
    this.element = h("div");
    if (destination?.credentials_set.includes(field.name))
      this.#showSet(destination.credentials_updated_at?.[field.name]);
    else this.#askFor();
  }

  content() {
    if (this.#isRemoved) return { [this.#field.name]: null };
    return this.control?.value() ? { [this.#field.name]: this.control.value() } : {};
  }

  #askFor() {
    const make = this.#field.multiline ? linesControl : this.#field.secret ? secretControl : textControl;
    this.control = make({
      name: this.#field.name,
      label: this.#field.label,
      help: this.#field.help,
      required: this.#field.required,
    });
    replace(this.element, this.control.element);
  }

  #showSet(since) {
    const id = newId("credential");
    const renew = () => {
      this.#askFor();
      this.control.input.focus();
    };
    const drop = () => {
      this.#isRemoved = true;
      replace(this.element, h("p", { class: "notice" }, `${this.#field.label} will be taken away when you save.`));
    };
    replace(
      this.element,
      h(
        "div",
        { class: "set", role: "group", "aria-labelledby": id },
        h(
          "span",
          { id },
          h("strong", {}, this.#field.label),
          " ",
          h("span", { class: "muted" }, "set ", since ? time(since, ago) : "before"),
        ),
        h("button", { type: "button", class: "button small", on: { click: renew } }, "Replace"),
        this.#field.required
          ? null
          : h("button", { type: "button", class: "button small", on: { click: drop } }, "Remove"),
      ),
    );
  }
}
