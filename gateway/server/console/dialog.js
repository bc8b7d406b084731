// Questions before something that cannot be taken back.

import { wordsFor } from "./api.js";
import { h, newId, setText } from "./dom.js";

let isAsking = false; // a second click does not ask twice

/**
 * Asks, and on yes runs `act`, whose error is shown in the dialog. Resolves to what `act` gave, or null for no.
 * `isReady` says whether the button may be pressed, and is asked again whenever something in the dialog changes.
 */
export function ask({ title, body, yes, isDangerous = false, isReady = () => true, act }) {
  return new Promise((resolve) => {
    const heading = newId("dialog");
    const fault = h("p", { class: "fault", role: "alert" });
    const confirm = h("button", { type: "submit", class: isDangerous ? "button danger" : "button primary" }, yes);
    const cancel = h("button", { type: "button", class: "button", on: { click: () => dialog.close() } }, "Cancel");
    const form = h(
      "form",
      { method: "dialog", class: "stack" },
      h("h2", { id: heading }, title),
      body,
      fault,
      h("div", { class: "actions" }, confirm, cancel),
    );
    const dialog = h("dialog", { "aria-labelledby": heading }, form);
    let result = null;
    const check = () => (confirm.disabled = !isReady());
    form.addEventListener("input", check);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      confirm.disabled = true;
      setText(fault, "");
      try {
        result = (await act()) ?? true;
        dialog.close();
      } catch (error) {
        setText(fault, wordsFor(error));
        check();
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    check();
    dialog.showModal();
  });
}

/** Asks `question(app, destination)` about what the destination is now, not when it was last heard of. */
export async function askAbout(app, id, question) {
  if (isAsking) return;
  isAsking = true;
  try {
    await question(app, await app.live.now(id));
  } catch (error) {
    app.say(wordsFor(error));
  } finally {
    isAsking = false;
  }
}
