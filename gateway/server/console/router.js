// Addresses of the page, and moving between them without loading it anew.

export const LIST = "/console/settings/audit/siem";
export const ACTIVITY = "/console/settings/audit/activity";
export const NEW = `${LIST}/new`;
export const addressOf = (id, tab = "") => `${LIST}/${encodeURIComponent(id)}${tab && `/${tab}`}`;

/** The first route whose pattern fits, as `{view, parameters}`; a part `:name` stands for anything. */
export function match(routes, path) {
  const parts = path.replace(/\/+$/, "").split("/");
  for (const [pattern, view] of routes) {
    const wanted = pattern.split("/");
    if (wanted.length !== parts.length) continue;
    const fits = wanted.every((part, index) => part.startsWith(":") || part === parts[index]);
    if (!fits) continue;
    const named = wanted.flatMap((part, index) =>
      part.startsWith(":") ? [[part.slice(1), decode(parts[index])]] : [],
    );
    return { view, parameters: Object.fromEntries(named) };
  }
  return null;
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Calls `show` for every move: links of the page, back and forward. */
export function listen(show) {
  addEventListener("popstate", show);
  addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[href^='/console/']");
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain || event.defaultPrevented) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });
}

export function go(path, { replace = false } = {}) {
  if (path === location.pathname && !replace) return;
  history[replace ? "replaceState" : "pushState"](null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
}
