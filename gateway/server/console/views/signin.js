import { Problem, wordsFor } from "../api.js";
import { h, setText } from "../dom.js";

/** While it cannot be asked whether a kept key still counts. */
export function waiting(words, { tryNow, leave }) {
  return h(
    "main",
    { class: "signin" },
    h(
      "div",
      { class: "card stack" },
      h("h1", {}, "Waiting for the gateway"),
      h("p", { role: "alert" }, words),
      h("p", { class: "muted" }, "You stay signed in, and the page goes on trying."),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "button primary", on: { click: tryNow } }, "Try now"),
        h("button", { type: "button", class: "button", on: { click: leave } }, "Sign out"),
      ),
    ),
  );
}

/** `enter(key, keep)` throws when the gateway does not take the key. */
export function signIn(words, enter) {
  const key = h("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "key-help key-fault",
    placeholder: "tl_live_…",
  });
  const keep = h("input", { type: "checkbox", checked: true });
  const fault = h("p", { class: "fault", id: "key-fault", role: "alert" }, words);
  const button = h("button", { class: "button primary", type: "submit" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    const value = key.value.trim();
    setText(fault, "");
    if (!/^[\x21-\x7e]+$/.test(value)) return setText(fault, "An API key has no spaces and no special characters.");
    button.disabled = true;
    try {
      await enter(value, keep.checked);
    } catch (error) {
      setText(
        fault,
        error instanceof Problem && error.status === 401
          ? "The gateway does not know this key. Check it, or ask for a new one."
          : wordsFor(error),
      );
      button.disabled = false;
      key.focus();
    }
    return null;
  };
  return h(
    "main",
    { class: "signin" },
    h(
      "form",
      { class: "card stack", on: { submit } },
      h("h1", {}, "Sign in"),
      h(
        "p",
        { class: "muted" },
        "Settings of the audit event gateway: where events are streamed to, and how that goes.",
      ),
      h(
        "div",
        { class: "field" },
        h("label", { for: "key" }, "API key"),
        h("div", { class: "control" }, key),
        fault,
        h(
          "p",
          { class: "help", id: "key-help" },
          "A key with the scope siem:read, and siem:write to change something. It is never stored on disk and never part of an address.",
        ),
      ),
      h("label", { class: "check" }, keep, "Stay signed in until this tab is closed"),
      button,
    ),
  );
}
