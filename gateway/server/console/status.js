// What a destination's state is called, how it looks, and which of two is worse off.

import { h } from "./dom.js";
import { icon } from "./icons.js";

const STATES = {
  failed: { word: "Failed", rank: 0 },
  degraded: { word: "Degraded", rank: 1 },
  disabled: { word: "Disabled", rank: 2 },
  deleting: { word: "Deleting", rank: 3 },
  active: { word: "Active", rank: 4 },
};

function stateOf(destination) {
  if (destination.deleting) return "deleting";
  return destination.enabled ? destination.status : "disabled";
}

/** Icon and word; the colour only repeats them. */
export function statusBadge(destination) {
  const state = stateOf(destination);
  return h(
    "span",
    { class: `status status-${state}` },
    icon(state in STATES ? state : "degraded"),
    STATES[state]?.word ?? state,
  );
}

/** That there is something to know of its connection; what, stands in the tooltip and in the destination's own screens. */
export function warningBadge({ warnings }) {
  if (!warnings?.length) return null;
  return h("span", { class: "caution", title: warnings.join("\n") }, icon("warning"), "Warning");
}

/** For `sort`: failed first; then what loses events soonest, lags most, and by name. */
export function worstFirst(a, b) {
  const rank = (one) => STATES[stateOf(one)]?.rank ?? 1;
  const risk = (one) => (one.health.events_at_risk_at ? Date.parse(one.health.events_at_risk_at) : Infinity);
  const lag = (one) => Math.round(one.health.lag_seconds / 60);
  return (
    rank(a) - rank(b) ||
    compare(risk(a), risk(b)) ||
    lag(b) - lag(a) ||
    a.name.localeCompare(b.name) ||
    compare(a.id, b.id)
  );
}

function compare(a, b) {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** In seconds, now. What waits grows older between two messages; nothing waiting is null. */
export function lagOf({ health, heard_ms: heard }) {
  return health.pending_events ? health.lag_seconds + (Date.now() - heard) / 1000 : null;
}

export function hostOf(endpoint) {
  try {
    return new URL(endpoint).host;
  } catch {
    return endpoint;
  }
}
