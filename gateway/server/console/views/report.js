import { h } from "../dom.js";
import { milliseconds } from "../format.js";
import { icon } from "../icons.js";

const STEPS = {
  dns: "Find the address",
  connect: "Connect",
  tls: "Secure connection (TLS)",
  authentication: "Authentication",
  write: "Write",
  acknowledged: "Acknowledged",
};
const VERDICTS = new Map([
  [true, ["ok", "done"]],
  [false, ["no", "failed"]],
  [null, ["skipped", "not reached"]],
]);

/** What a test found, step by step: how far it came, what the provider answered, and what to do. */
export function testReport({ ok, status_code: code, latency_ms: latency, message, steps = [], advice }) {
  return h(
    "section",
    { class: `report ${ok ? "good" : "bad"}`, "aria-label": "Test result" },
    h(
      "h2",
      {},
      h(
        "span",
        { class: ok ? "status status-active" : "status status-failed" },
        icon(ok ? "active" : "failed"),
        ok ? "The test event arrived" : "The test event did not arrive",
      ),
    ),
    h("ol", { class: "steps" }, steps.map(step)),
    h(
      "dl",
      { class: "facts" },
      code ? [h("dt", {}, "Answer"), h("dd", {}, `Status ${code}`)] : null,
      message ? [h("dt", {}, "What came back"), h("dd", { class: "quote" }, message)] : null,
      h("dt", {}, "Time taken"),
      h("dd", {}, milliseconds(latency)),
    ),
    advice ? h("p", { class: "advice" }, h("strong", {}, "What to do: "), advice) : null,
  );
}

function step({ name, ok, detail, ms }) {
  const [sign, word] = VERDICTS.get(ok) ?? VERDICTS.get(null);
  return h(
    "li",
    { class: `step step-${sign}` },
    icon(sign),
    h("span", {}, h("strong", {}, STEPS[name] ?? name), h("span", { class: "hidden-word" }, `: ${word}`)),
    h("span", { class: "muted" }, detail),
    h("span", { class: "muted step-ms" }, ms === null || ms === undefined ? "" : milliseconds(ms)),
  );
}
