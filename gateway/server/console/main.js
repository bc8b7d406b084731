// The page as a whole: who is signed in, the frame around every view, and which view an address shows.
//
// Plain modules without a framework or a build step: what is read here is what runs, there is no supply chain, and a
// page of a dozen screens needs none. A view is a function `(app, parameters, signal) => {title, content}`; when another
// one takes its place, `signal` is aborted and with it everything that the view listens to.

import { Problem, Unreachable, wordsFor } from "./api.js";
import { everySecond, pause } from "./clock.js";
import { h, replace, setText } from "./dom.js";
import { clockTime, duration } from "./format.js";
import { icon } from "./icons.js";
import { Live } from "./live.js";
import { ACTIVITY, LIST, NEW, go, listen, match } from "./router.js";
import { forgetKey, keptKey, openSession } from "./session.js";
import { activityView } from "./views/activity.js";
import { addView, tilesView } from "./views/add.js";
import { deliveriesView } from "./views/deliveries.js";
import { listView } from "./views/list.js";
import { overviewView } from "./views/overview.js";
import { settingsView } from "./views/settings.js";
import { signIn, waiting } from "./views/signin.js";
import { undeliveredView } from "./views/undelivered.js";

const ROUTES = [
  [LIST, listView],
  [ACTIVITY, activityView],
  [NEW, tilesView],
  [`${NEW}/:provider`, addView],
  [`${LIST}/:id`, overviewView],
  [`${LIST}/:id/deliveries`, deliveriesView],
  [`${LIST}/:id/undelivered`, undeliveredView],
  [`${LIST}/:id/settings`, settingsView],
  [`${LIST}/:id/activity`, activityView],
];

const TRY_AGAIN_MS_MAX = 10_000;
const said = h("p", { class: "toast", role: "status" });
let hush = 0;

/** Says in passing that something was done. */
function say(words) {
  setText(said, words);
  clearTimeout(hush);
  hush = setTimeout(() => setText(said, ""), 6000);
}

class Frame {
  #app;
  #session;
  #ends = new AbortController();
  #view = new AbortController();
  #main = h("main", { id: "main", tabindex: -1 });

  constructor(session) {
    this.#session = session;
    const live = new Live(session.api);
    this.#app = { ...session, live, say };
    replace(
      document.body,
      h("a", { class: "skip", href: "#main" }, "Skip to the content"),
      h("div", { class: "frame" }, this.#sidebar(), h("div", { class: "page" }, this.#lost(), this.#main)),
      said,
    );
    if (session.can("siem:read")) live.follow(this.#ends.signal);
  }

  end() {
    this.#ends.abort();
    this.#view.abort();
  }

  #sidebar() {
    const { me, isOperator } = this.#session;
    const link = (path, text) => h("a", { href: path, class: "nav-link" }, text);
    return h(
      "header",
      { class: "sidebar" },
      h(
        "a",
        { class: "brand", href: LIST },
        h("span", { class: "mark", "aria-hidden": "true" }, "≡"),
        h("span", {}, "Audit events"),
      ),
      h(
        "nav",
        { "aria-label": "Console" },
        h("p", { class: "nav-group" }, "Settings"),
        h("p", { class: "nav-group inner" }, "Audit"),
        link(LIST, "SIEM"),
        link(ACTIVITY, "Activity"),
      ),
      h(
        "div",
        { class: "who" },
        this.#pulse(),
        h(
          "p",
          { class: "identity", title: me.id },
          h("strong", {}, me.name || me.id),
          h("span", { class: "muted" }, isOperator ? "all tenants" : me.tenant_id),
        ),
        h("button", { class: "button small", type: "button", on: { click: () => signOut() } }, "Sign out"),
      ),
    );
  }

  #pulse() {
    const { live } = this.#app;
    const pulse = h("p", { class: "pulse muted" });
    everySecond(() => {
      const age = live.heardAt
        ? `updated ${duration(Math.floor((Date.now() - live.heardAt) / 1000)).replace(/[.,]0 /, " ")} ago`
        : "connecting …";
      setText(pulse, age);
      pulse.classList.toggle("stale", live.state === "lost");
    }, this.#ends.signal);
    return pulse;
  }

  #lost() {
    const { live } = this.#app;
    const words = h("span");
    const banner = h(
      "div",
      { class: "lost", role: "alert", hidden: true },
      icon("lost"),
      words,
      h("button", { type: "button", class: "button small", on: { click: () => live.tryNow() } }, "Try now"),
    );
    const show = () => {
      banner.hidden = live.state !== "lost";
      if (!banner.hidden)
        setText(
          words,
          `The gateway does not answer. What you see is of ${clockTime(live.lostSince, "time")}; the page goes on trying.`,
        );
    };
    live.addEventListener("state", show);
    return banner;
  }

  async show({ moved }) {
    this.#view.abort();
    this.#view = new AbortController();
    const { signal } = this.#view;
    const found = match(ROUTES, location.pathname);
    if (!found) return go(LIST, { replace: true });
    const before = document.activeElement?.getAttribute("href");
    const { title, content } = await this.#make(found, signal);
    if (signal.aborted) return null;
    document.title = `${title} · SIEM · Audit event gateway`;
    replace(this.#main, content);
    this.#mark();
    this.#main.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    if (moved) this.#focus(before);
    return null;
  }

  async #make({ view, parameters }, signal) {
    if (!this.#session.can("siem:read")) return noAccess();
    try {
      return await view(this.#app, parameters, signal);
    } catch (error) {
      const isExpected = signal.aborted || error instanceof Problem || error instanceof Unreachable;
      if (!isExpected) console.error(error);
      return {
        title: "Not shown",
        content: [
          h("h1", { tabindex: -1 }, "This cannot be shown"),
          h("p", {}, wordsFor(error)),
          h("p", {}, h("a", { href: LIST }, "All destinations")),
        ],
      };
    }
  }

  #mark() {
    const path = location.pathname;
    for (const link of document.querySelectorAll(".nav-link")) {
      const isHere = link.getAttribute("href") === (path.startsWith(ACTIVITY) ? ACTIVITY : LIST);
      if (isHere) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  /** A link that is still there keeps the focus, such as a tab; else the heading gets it and is read out. */
  #focus(before) {
    const same =
      before &&
      [...this.#main.querySelectorAll("a[aria-current]")].find((link) => link.getAttribute("href") === before);
    (same || this.#main.querySelector("h1"))?.focus();
    if (!same) scrollTo(0, 0);
  }
}

function noAccess() {
  return {
    title: "No access",
    content: [
      h("h1", { tabindex: -1 }, "No access to SIEM streaming"),
      h(
        "p",
        {},
        "This key lacks the scope siem:read. SIEM streaming requires the Enterprise tier; ask whoever gave you the key.",
      ),
    ],
  };
}

let frame = null;

function signOut(words = "") {
  frame?.end();
  frame = null;
  forgetKey();
  document.title = "Sign in · Audit event gateway";
  replace(
    document.body,
    signIn(words, (key, keep) => begin(key, keep)),
    said,
  );
  document.querySelector("input")?.focus();
}

const refused = () => frame && signOut("The gateway no longer takes this key. Sign in again.");

async function begin(key, keep) {
  await enter(await openSession(key, { keep, refused }));
}

async function enter(session) {
  frame = new Frame(session);
  await frame.show({ moved: true });
}

/** With the key that the tab has kept. Only the gateway's word that it does not count any more, or the person, ends it. */
async function resume(key) {
  let isOver = false;
  for (let failures = 0; !isOver; failures += 1) {
    try {
      const session = await openSession(key, { keep: false, refused });
      if (!isOver) await enter(session);
      return;
    } catch (error) {
      if (isOver) return;
      if (error instanceof Problem && error.status === 401) return signOut();
      const wake = new AbortController();
      const leave = () => {
        isOver = true;
        wake.abort();
        signOut();
      };
      replace(document.body, waiting(wordsFor(error), { tryNow: () => wake.abort(), leave }), said);
      await pause(Math.min(1000 * 2 ** failures, TRY_AGAIN_MS_MAX), wake.signal);
    }
  }
}

listen(() => frame?.show({ moved: true }));
if (keptKey()) resume(keptKey());
else signOut();
