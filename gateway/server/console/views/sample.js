import { h } from "../dom.js";

const SAMPLE = {
  id: "evt_abc123",
  timestamp: "2026-06-30T12:34:56.789Z",
  tenant_id: "tenant-uuid",
  actor_type: "USER",
  actor_id: "user-uuid",
  action: "attestation.mint",
  resource_type: "attestation",
  resource_id: "attestation-uuid",
  service: "trust-registry",
  outcome: "SUCCESS",
  metadata: { issuer_id: "issuer-uuid", subject: "user:12345", claim: "email_verified" },
  integrity_hash: "sha256:abc123...",
};

/** What a SIEM will receive, so that rules can be written before the first event comes. */
export function sampleEvent() {
  return h(
    "section",
    { class: "card stack" },
    h("h2", {}, "What an event looks like"),
    h(
      "p",
      { class: "muted" },
      "Each one arrives as the producer wrote it, byte for byte, in the envelope of the provider. An event may arrive twice: deduplicate by id.",
    ),
    h(
      "pre",
      { class: "code", tabindex: 0, role: "region", "aria-label": "Sample event" },
      JSON.stringify(SAMPLE, null, 2),
    ),
  );
}
