import { SIEM } from "../api.js";
import { h } from "../dom.js";
import { LIST, NEW, addressOf, go } from "../router.js";
import { destinationEditor } from "./editor.js";

/** One tile for each provider that the gateway knows. */
export function providerTiles(providers, mayWrite) {
  return h(
    "ul",
    { class: "tiles" },
    providers.map(({ name, label, credentials_help: help }) => {
      const inside = [
        h("span", { class: "monogram", "aria-hidden": "true" }, monogram(label)),
        h("span", { class: "tile-name" }, label),
      ];
      return h(
        "li",
        {},
        mayWrite
          ? h("a", { class: "tile", href: `${NEW}/${encodeURIComponent(name)}`, title: help }, inside)
          : h("span", { class: "tile" }, inside),
      );
    }),
  );
}

function monogram(label) {
  const words = label.split(/\s+/).filter((word) => /^[A-Z]/i.test(word));
  return (words.length > 1 ? words[0][0] + words[1][0] : label.slice(0, 2)).toUpperCase();
}

const crumbs = h.bind(null, "p", { class: "crumbs muted" });

/** First step: which provider. */
export async function tilesView(app, _parameters, signal) {
  const { data: providers } = await app.api.get(`${SIEM}/providers`, signal);
  return {
    title: "Add destination",
    content: [
      crumbs(h("a", { href: LIST }, "SIEM destinations"), " › Add"),
      h("h1", { tabindex: -1 }, "Add destination"),
      h("p", { class: "lead" }, "Where should events be streamed to?"),
      providerTiles(providers, app.can("siem:write")),
    ],
  };
}

/** Second step: its form. */
export async function addView(app, { provider: name }, signal) {
  const { data: providers } = await app.api.get(`${SIEM}/providers`, signal);
  const provider = providers.find((each) => each.name === name);
  if (!provider || !app.can("siem:write")) return tilesView(app, {}, signal);
  const saved = (destination) => {
    app.say(`${destination.name} is saved.`);
    go(addressOf(destination.id));
  };
  const { element: editor } = destinationEditor(app, { provider, saved, cancel: LIST }, signal);
  return {
    title: `Add ${provider.label}`,
    content: [
      crumbs(h("a", { href: LIST }, "SIEM destinations"), " › ", h("a", { href: NEW }, "Add"), ` › ${provider.label}`),
      h("h1", { tabindex: -1 }, `Add ${provider.label}`),
      editor,
    ],
  };
}
