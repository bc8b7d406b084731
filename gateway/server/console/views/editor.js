import { Problem, SIEM, pathOf, wordsFor } from "../api.js";
import { h, replace, setText } from "../dom.js";
import { DestinationForm } from "../form.js";
import { filterPreview } from "./preview.js";
import { testReport } from "./report.js";

/** Errors of single fields stand at these; without any, the problem's own words stand above all. */
function showProblem(form, error) {
  const errors = error instanceof Problem ? error.errors : [];
  form.showErrors(errors, errors.length ? "The gateway does not take this:" : wordsFor(error));
}

/**
 * Form, filter preview, test and save, as `{element, follow}`. Without `destination` for a new one; `saved` gets what the
 * gateway stored, `follow` is to be told of changes from elsewhere.
 */
export function destinationEditor(app, { provider, destination = null, saved, cancel = null }, signal) {
  const preview = filterPreview(app, signal);
  const form = new DestinationForm({ provider, destination, isOperator: app.isOperator, filterHint: preview.element });
  const ask = () =>
    preview.ask({ filter: form.filter(), tenant_id: destination?.tenant_id ?? form.content().tenant_id });
  const report = h("div", { "aria-live": "polite" });
  const test = h("button", { type: "button", class: "button", on: { click: () => run(test, tryOut) } }, "Test");
  const save = h("button", { type: "submit", class: "button primary" }, "Save");
  const state = h("span", { class: "muted", role: "status" });

  const tryOut = async () => {
    setText(state, "Sending one marked event …");
    replace(report);
    const result = await app.api.post(
      destination ? pathOf(destination.id, "/test") : `${SIEM}/test`,
      form.content(),
      signal,
    );
    replace(report, testReport(result));
    report.scrollIntoView({ block: "nearest" });
  };
  const store = async () => {
    setText(state, "Saving …");
    const content = form.content();
    if (!destination) saved(taken(await app.api.post(SIEM, content)));
    else saved(taken(await app.api.put(pathOf(destination.id), withRestart(content))));
  };
  // A failed destination starts again when it is told to be enabled, although it never ceased to be.
  const withRestart = (content) =>
    app.live.destinations.get(destination.id)?.status === "failed"
      ? { ...content, enabled: form.enabled.value() }
      : content;
  const taken = (stored) => {
    app.live.put(stored);
    return stored;
  };
  const run = async (button, act) => {
    if (!form.check()) return;
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      if (!signal.aborted) showProblem(form, error);
    } finally {
      button.disabled = false;
      setText(state, "");
    }
  };
  const submit = (event) => {
    event.preventDefault();
    run(save, store);
  };
  const element = h(
    "form",
    { class: "card stack editor", novalidate: true, on: { submit, input: ask } },
    form.element,
    h(
      "div",
      { class: "actions" },
      save,
      test,
      cancel ? h("a", { class: "button", href: cancel }, "Cancel") : null,
      state,
    ),
    report,
  );
  ask();
  return { element, follow: (changed) => form.follow(changed) };
}
