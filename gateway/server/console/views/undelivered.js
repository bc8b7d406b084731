import { pathOf } from "../api.js";
import { ask } from "../dialog.js";
import { h, replace } from "../dom.js";
import { count, number, time } from "../format.js";
import { icon } from "../icons.js";
import { backfill } from "./backfill.js";
import { detail, refresher } from "./detail.js";

const REASONS = {
  disabled: "The destination was disabled",
  retries_exhausted: "Retries ran out",
  disk_budget: "The disk budget was used up",
  corrupt: "Damaged on disk",
  forced_delete: "Discarded at deletion",
};

/** Events that it did not get: refused ones, and gaps. */
export async function undeliveredView(app, { id }, signal) {
  const letters = new DeadLetters(app, id, signal);
  const gaps = gapList(app, id, signal);
  let known = "";
  const update = ({ health, enabled, status }) => {
    const spelled = JSON.stringify([health.dead_lettered_events, health.dropped_events, enabled, status]);
    if (spelled === known) return;
    known = spelled;
    letters.refresh();
    gaps.refresh();
  };
  const content = h(
    "div",
    { class: "stack" },
    letters.element,
    gaps.element,
    app.can("siem:write") ? backfill(app, id, signal) : null,
  );
  return detail(app, id, "undelivered", signal, { content, update });
}

const downloadButton = (app, path, name) => {
  const save = () => app.api.download(path, name).catch((error) => app.say(error.message));
  return h(
    "button",
    { type: "button", class: "button small", on: { click: save } },
    icon("download"),
    "Download NDJSON",
  );
};

class DeadLetters {
  #app;
  #id;
  #signal;
  #list = h("ul", { class: "letters" });
  #more = h("p", { class: "muted", hidden: true });
  #actions = h("div", { class: "actions" });
  #none = h(
    "p",
    { class: "muted", hidden: true },
    "None. Events that the provider refuses for good are kept here with its reason.",
  );

  constructor(app, id, signal) {
    this.#app = app;
    this.#id = id;
    this.#signal = signal;
    const { fault, refresh } = refresher(() => this.#load(), signal);
    this.refresh = refresh;
    this.element = h(
      "section",
      { class: "card stack" },
      h("div", { class: "head" }, h("h2", {}, "Dead letters"), this.#actions),
      fault,
      this.#none,
      this.#list,
      this.#more,
    );
  }

  async #load() {
    const page = await this.#app.api.getExact(pathOf(this.#id, "/dead-letters?limit=50"), this.#signal);
    const { data } = page;
    this.#none.hidden = data.length > 0;
    this.#more.hidden = !page.next_cursor;
    replace(this.#more, "These are the first 50. The download has all of them.");
    replace(this.#actions, data.length ? this.#buttons() : null);
    replace(
      this.#list,
      data.map((letter) => this.#item(letter)),
    );
  }

  #buttons() {
    const { can } = this.#app;
    return [
      downloadButton(this.#app, pathOf(this.#id, "/dead-letters?format=ndjson"), `${this.#id}-dead-letters.ndjson`),
      can("siem:write")
        ? [
            h(
              "button",
              { type: "button", class: "button small", on: { click: () => this.#replay() } },
              icon("repeat"),
              "Send all again",
            ),
            h("button", { type: "button", class: "button small", on: { click: () => this.#forget() } }, "Delete all"),
          ]
        : null,
    ];
  }

  #item({ id, event_id: eventId, time: at, code, reason, event }) {
    const again = () => this.#replay([id]);
    return h(
      "li",
      {},
      h(
        "details",
        {},
        h("summary", {}, h("code", {}, eventId), h("span", {}, h("strong", {}, code), " ", reason), time(at)),
        h(
          "pre",
          { class: "code", tabindex: 0, role: "region", "aria-label": `Event ${eventId}` },
          JSON.stringify(event, null, 2),
        ),
        this.#app.can("siem:write")
          ? h(
              "button",
              { type: "button", class: "button small", on: { click: again } },
              icon("repeat"),
              "Send this one again",
            )
          : null,
      ),
    );
  }

  async #replay(ids) {
    try {
      const { replayed } = await this.#app.api.post(
        pathOf(this.#id, "/dead-letters/replay"),
        ids && { ids },
        this.#signal,
      );
      this.#app.say(`${count(replayed, "event")} sent again.`);
    } catch (error) {
      this.#app.say(error.message);
    }
    await this.refresh();
  }

  async #forget() {
    const act = () => this.#app.api.delete(pathOf(this.#id, "/dead-letters"));
    const body = h(
      "p",
      {},
      "The events themselves are removed for good; they stay counted as dead-lettered. Download them first if they may still be wanted.",
    );
    await ask({ title: "Delete all dead letters?", body, yes: "Delete", isDangerous: true, act });
    await this.refresh();
  }
}

function gapList(app, id, signal) {
  const place = h("div", { class: "stack" });
  const actions = h("div", { class: "actions" });
  const { fault, refresh } = refresher(async () => {
    const { data } = await app.api.get(pathOf(id, "/gaps"), signal);
    replace(actions, data.length ? downloadButton(app, pathOf(id, "/gaps?format=ndjson"), `${id}-gaps.ndjson`) : null);
    replace(
      place,
      data.length
        ? gapTable(data)
        : h("p", { class: "muted" }, "None. Every event was delivered, filtered out, or is on its way."),
    );
  }, signal);
  return {
    refresh,
    element: h(
      "section",
      { class: "card stack" },
      h("div", { class: "head" }, h("h2", {}, "Gaps"), actions),
      fault,
      place,
    ),
  };
}

function gapTable(gaps) {
  const columns = ["Reason", "Events", "From", "To", "Event ids"];
  const cell = (index, style, ...content) => h("td", { class: style, "data-label": columns[index] }, content);
  return h(
    "div",
    { class: "scroll stacked", tabindex: 0, role: "region", "aria-label": "Gaps" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map((name, index) => h("th", { scope: "col", class: index === 1 ? "figure" : null }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        gaps.map((gap) =>
          h(
            "tr",
            {},
            cell(
              0,
              null,
              h(
                "span",
                {},
                REASONS[gap.reason] ?? gap.reason,
                gap.detail ? h("span", { class: "muted small-print" }, gap.detail) : null,
              ),
            ),
            cell(1, "figure", number(gap.count)),
            cell(2, "moment", time(gap.first_time)),
            cell(3, "moment", time(gap.last_time)),
            cell(
              4,
              "words",
              h(
                "span",
                {},
                gap.first_event_id
                  ? [h("code", {}, gap.first_event_id), " – ", h("code", {}, gap.last_event_id)]
                  : h("span", { class: "muted" }, "not readable"),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
