import { pathOf } from "../api.js";
import { h, replaceWhenChanged } from "../dom.js";
import { time } from "../format.js";
import { addressOf } from "../router.js";
import { detail, refresher } from "./detail.js";

const VERBS = {
  created: "Created",
  updated: "Changed",
  enabled: "Enabled",
  disabled: "Disabled",
  deleted: "Deleted",
  degraded: "Became degraded",
  failed: "Failed",
  recovered: "Recovered",
  revoked: "Revoked",
};

const REFRESH_MS = 5000;

/** Who changed what: of one destination, or of everything that the key may see. */
export async function activityView(app, { id = null }, signal) {
  const list = h("ol", { class: "activity" });
  const more = h("button", { type: "button", class: "button", hidden: true, on: { click: () => load(next) } }, "Older");
  const none = h("p", { class: "muted", hidden: true }, "Nothing was changed yet.");
  let next = null;
  let isWhole = true;
  const load = async (cursor) => {
    const query = `?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
    const page = await app.api.get((id ? pathOf(id, "/activity") : "/v1/audit/activity") + query, signal);
    const items = () => page.data.map((entry) => item(app, entry, !id));
    if (cursor) list.append(...items());
    else replaceWhenChanged(list, page.data, items);
    isWhole = !cursor;
    next = page.next_cursor;
    more.hidden = !next;
    none.hidden = list.childElementCount > 0;
  };
  const { fault, refresh } = refresher(() => load(null), signal);
  const content = h("section", { class: "card stack" }, h("h2", {}, "Who changed what"), fault, none, list, more);
  const timer = setInterval(() => isWhole && refresh(), REFRESH_MS); // what the gateway itself did is written a moment later
  signal.addEventListener("abort", () => clearInterval(timer));
  await refresh();
  if (!id) {
    return {
      title: "Activity",
      content: [
        h("p", { class: "crumbs muted" }, "Settings › Audit › Activity"),
        h("h1", { tabindex: -1 }, "Activity"),
        content,
      ],
    };
  }
  return detail(app, id, "activity", signal, { content });
}

function item(
  app,
  { at, action, destination_id: id, destination_name: name, tenant_id: tenant, actor, changes },
  isNamed,
) {
  const isKey = action.startsWith("key.");
  const verb = VERBS[action.split(".").at(-1)] ?? action;
  const target =
    isNamed && name
      ? [" ", app.live.destinations.has(id) ? h("a", { href: addressOf(id) }, name) : h("strong", {}, name)]
      : null;
  return h(
    "li",
    {},
    h(
      "div",
      { class: "entry" },
      h("span", {}, h("strong", {}, isKey ? `API key ${verb.toLowerCase()}` : verb), target),
      h("span", { class: "muted" }, by(actor), app.isOperator && isNamed ? ` · ${tenant}` : ""),
      time(at),
    ),
    changes?.length
      ? h(
          "ul",
          { class: "changes" },
          changes.map((change) => h("li", {}, h("code", {}, change.field), ": ", ...fromTo(change))),
        )
      : null,
  );
}

function by(actor) {
  return actor?.key_id ? `by ${actor.key_name || actor.key_id}` : "by the gateway";
}

function fromTo({ from, to }) {
  if (from === "***" || to === "***") return [to === null ? "taken away" : from === null ? "set" : "replaced"];
  if (from === null || from === undefined) return [spell(to)];
  return [h("del", {}, spell(from)), " → ", to === null || to === undefined ? "nothing" : h("ins", {}, spell(to))];
}

const spell = (value) => (typeof value === "string" ? value || "empty" : JSON.stringify(value));
