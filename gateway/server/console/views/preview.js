import { SIEM } from "../api.js";
import { pause } from "../clock.js";
import { h, replace } from "../dom.js";
import { number, time } from "../format.js";
import { icon } from "../icons.js";

const QUIET_MS = 350;

/** "Matches n of the last m events", a moment after the last keystroke. */
export function filterPreview(app, signal) {
  const element = h("div", { class: "preview", "aria-live": "polite" });
  let latest = new AbortController();
  let asked = "";
  const ask = async ({ filter, tenant_id: tenant }) => {
    const spelled = JSON.stringify([filter, tenant]);
    if (spelled === asked) return;
    asked = spelled;
    latest.abort();
    latest = new AbortController();
    const mine = AbortSignal.any([signal, latest.signal]);
    await pause(QUIET_MS, mine);
    if (mine.aborted) return;
    try {
      show(
        element,
        await app.api.post(`${SIEM}/filter/preview`, tenant ? { filter, tenant_id: tenant } : { filter }, mine),
      );
    } catch (error) {
      if (!mine.aborted) replace(element, h("p", { class: "muted" }, `No preview: ${error.message}`));
    }
  };
  return { element, ask };
}

function show(element, { matched, of, sample }) {
  const isOpen = element.querySelector("details")?.open ?? false;
  if (!of) return replace(element, h("p", { class: "muted" }, "No events are left in the queue to try the filter on."));
  return replace(
    element,
    h("p", {}, h("strong", {}, `Matches ${number(matched)} of the last ${number(of)} events`)),
    h(
      "details",
      { class: "figures", open: isOpen },
      h("summary", {}, "Newest of them"),
      h(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": "Newest events" },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["Sent", "Time", "Action", "Service", "Outcome", "Actor"].map((name) => h("th", { scope: "col" }, name)),
            ),
          ),
          h(
            "tbody",
            {},
            sample.map((event) =>
              h(
                "tr",
                { class: event.matched ? null : "unmatched" },
                h(
                  "td",
                  {},
                  h("span", { class: "verdict" }, icon(event.matched ? "ok" : "skipped"), event.matched ? "yes" : "no"),
                ),
                h("td", {}, time(event.timestamp)),
                [event.action, event.service, event.outcome, event.actor_type].map((text) => h("td", {}, text)),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
