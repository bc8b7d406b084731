// What the gateway says about all destinations, as it changes: server-sent events, read with fetch because EventSource
// could carry the key only in the address.

import { Problem, SIEM, Unreachable, pathOf } from "./api.js";
import { pause } from "./clock.js";

const SILENCE_MS = 12_000; // the gateway speaks every 5 s
const PAUSE_MS = 500;
const PAUSE_MS_MAX = 10_000;
const GATHER_MS = 50; // changes in which many destinations are told of at once

/** `state` is "connecting", "live" or "lost". Events: "change" (a destination, or which there are) and "state". */
export class Live extends EventTarget {
  destinations = new Map();
  isLoaded = false;
  state = "connecting";
  heardAt = 0;
  lostSince = 0;
  #api;
  #wake = new AbortController();
  #isGathering = false;

  constructor(api) {
    super();
    this.#api = api;
  }

  /** Follows the gateway until `signal` is aborted. */
  async follow(signal) {
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#listen(signal, () => (failures = 0));
      } catch (error) {
        if (signal.aborted || error.status === 401 || error.status === 403) return;
        failures += 1;
        const wait = this.#waitFor(error, failures);
        if (await this.#poll(error, signal)) failures = 0;
        else if (failures > 1 || !isBreak(error)) this.#lose();
        await this.#rest(wait, signal);
      }
    }
  }

  /** Do not wait for the next try. */
  tryNow() {
    this.#wake.abort();
  }

  put(destination) {
    this.destinations.set(destination.id, { ...destination, heard_ms: Date.now() });
    this.#gather();
  }

  /** What a destination is at this moment: what was heard may be a second old, too old to decide about its events. */
  async now(id) {
    this.put(await this.#api.get(pathOf(id)));
    return this.destinations.get(id);
  }

  remove(id) {
    if (this.destinations.delete(id)) this.#gather();
  }

  /** Resolves once it is known which destinations there are. */
  async loaded() {
    while (!this.isLoaded) await new Promise((resolve) => this.addEventListener("change", resolve, { once: true }));
  }

  // -- inside

  async #listen(signal, heard) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MS);
    try {
      const answer = await this.#api.open("GET", `${SIEM}/stream`, {
        signal: AbortSignal.any([signal, silence.signal]),
      });
      for await (const { event, data } of messages(answer.body)) {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE_MS);
        heard();
        this.#hear(event, data);
      }
    } finally {
      clearTimeout(timer);
    }
    throw new Error("the stream ended");
  }

  #hear(event, data) {
    this.heardAt = Date.now();
    this.#be("live");
    if (event === "snapshot") this.#fill(data.data);
    else if (event === "destination") this.put(data);
    else if (event === "removed") this.remove(data.id);
  }

  #fill(destinations) {
    this.destinations = new Map(
      destinations.map((destination) => [destination.id, { ...destination, heard_ms: Date.now() }]),
    );
    this.isLoaded = true;
    this.#tell("change");
  }

  /** All streams are taken: ask for the list instead, which is as good, only not at once. */
  async #poll(error, signal) {
    if (!(error instanceof Problem) || error.status !== 503) return false;
    try {
      const page = await this.#api.get(`${SIEM}?limit=1000`, signal);
      this.#hear("snapshot", page);
      return true;
    } catch {
      return false;
    }
  }

  #gather() {
    if (this.#isGathering) return;
    this.#isGathering = true;
    setTimeout(() => {
      this.#isGathering = false;
      this.#tell("change");
    }, GATHER_MS);
  }

  #waitFor(error, failures) {
    if (error.retryAfterS) return Math.min(error.retryAfterS * 1000, PAUSE_MS_MAX);
    return Math.min(PAUSE_MS * 2 ** (failures - 1), PAUSE_MS_MAX) * (0.5 + Math.random() / 2);
  }

  async #rest(ms, signal) {
    this.#wake = new AbortController();
    await pause(ms, AbortSignal.any([signal, this.#wake.signal]));
  }

  #lose() {
    if (this.state !== "lost") this.lostSince = this.heardAt || Date.now();
    this.#be("lost");
  }

  #be(state) {
    if (this.state === state) return;
    this.state = state;
    this.#tell("state");
  }

  #tell(what) {
    this.dispatchEvent(new Event(what));
  }
}

/** A stream that ended or broke off may be back at once; no answer and silence are another matter. */
function isBreak(error) {
  return !(error instanceof Unreachable) && error.name !== "AbortError";
}

/** The messages of an event stream: `event` and the JSON of `data`. */
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split(/\r?\n\r?\n/);
    text = blocks.pop();
    for (const block of blocks) {
      const message = readMessage(block);
      if (message) yield message;
    }
  }
}

function readMessage(block) {
  let event = "message";
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5));
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}
