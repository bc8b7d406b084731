// The gateway's HTTP API with one key. The key goes into a header, never into an address.

import { pause } from "./clock.js";

const TRIES = 3; // of a request that only reads
const READ_TIMEOUT_MS = 20_000;
const MAY_PASS = new Set([502, 503, 504]);

/** What the gateway answered instead: a problem document (RFC 9457). `errors` are of single fields or lines. */
export class Problem extends Error {
  constructor(status, { title, detail, errors } = {}, retryAfterS = null) {
    super(detail || title || `The gateway answered ${status}.`);
    this.status = status;
    this.errors = Array.isArray(errors) ? errors : [];
    this.retryAfterS = retryAfterS;
  }
}

/** No answer at all. */
export class Unreachable extends Error {
  constructor() {
    super("The gateway does not answer.");
  }
}

/** One sentence for a person, whatever was thrown. */
export function wordsFor(error) {
  if (!(error instanceof Problem) || error.errors.length === 0) return error.message;
  const [first] = error.errors;
  const place = first.field ?? (first.line ? `line ${first.line}` : "");
  const more = error.errors.length > 1 ? ` (and ${error.errors.length - 1} more)` : "";
  return `${error.message} ${place ? `${place}: ` : ""}${first.message}${more}`;
}

export class Api {
  #key;
  #refused;

  /** `refused` is called when the gateway no longer takes the key. */
  constructor(key, refused = () => {}) {
    this.#key = key;
    this.#refused = refused;
  }

  get = async (path, signal) => JSON.parse(await this.#read(path, signal));
  post = (path, json, signal) => this.#json("POST", path, json, signal);
  /** The same, where the numbers of events are shown: one that JavaScript would spell in another way keeps its own. */
  getExact = async (path, signal) => JSON.parse(await this.#read(path, signal), exactNumber);
  put = (path, json) => this.#json("PUT", path, json);
  delete = (path, json) => this.#json("DELETE", path, json);

  /** Posts lines of NDJSON. */
  async postLines(path, lines, signal) {
    const answer = await this.open("POST", path, { body: lines, type: "application/x-ndjson", signal });
    return answer.json();
  }

  /** Saves what the path answers as a file. */
  async download(path, name) {
    const answer = await this.open("GET", path);
    const address = URL.createObjectURL(await answer.blob());
    const link = document.createElement("a");
    Object.assign(link, { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  /** The response, once its head is there. Throws Problem and Unreachable. */
  async open(method, path, { body, type, signal } = {}) {
    const headers = { "X-API-Key": this.#key };
    if (type) headers["Content-Type"] = type;
    let answer;
    try {
      answer = await fetch(path, { method, headers, body, signal, cache: "no-store", credentials: "omit" });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Unreachable();
    }
    if (answer.ok) return answer;
    const retryAfterS = Number(answer.headers.get("Retry-After")) || null;
    const problem = new Problem(answer.status, await answer.json().catch(() => ({})), retryAfterS);
    if (answer.status === 401) this.#refused(problem);
    throw problem;
  }

  async #json(method, path, json, signal) {
    const body = json === undefined ? undefined : JSON.stringify(json);
    const answer = await this.open(method, path, { body, type: body && "application/json", signal });
    return answer.status === 204 ? null : answer.json();
  }

  async #read(path, signal) {
    for (let attempt = 1; ; attempt += 1) {
      const timeout = AbortSignal.timeout(READ_TIMEOUT_MS);
      try {
        const answer = await this.open("GET", path, { signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
        return await answer.text();
      } catch (error) {
        const passes = error instanceof Unreachable || MAY_PASS.has(error.status);
        if (signal?.aborted) throw error;
        if (timeout.aborted) throw new Unreachable();
        if (!passes || attempt === TRIES) throw error;
        await pause(error.retryAfterS ? Math.min(error.retryAfterS, 5) * 1000 : 300 * attempt, signal);
      }
    }
  }
}

function exactNumber(_name, value, context) {
  const isOther = typeof value === "number" && context?.source !== undefined && context.source !== String(value);
  return isOther && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

export const SIEM = "/v1/audit/siem";
export const pathOf = (id, rest = "") => `${SIEM}/${encodeURIComponent(id)}${rest}`;
