import { Problem, Unreachable, pathOf, wordsFor } from "../api.js";
import { pause } from "../clock.js";
import { h, replace, setText } from "../dom.js";
import { count, number, share } from "../format.js";
import { icon } from "../icons.js";

const PIECE_BYTES = 512 * 1024;

/** An audit export from a file, for this destination alone. */
export function backfill(app, id, signal) {
  const file = h("input", {
    type: "file",
    accept: ".ndjson,.jsonl,.json,application/x-ndjson",
    required: true,
    "aria-label": "File of an audit export",
  });
  const start = h("button", { type: "submit", class: "button" }, icon("upload"), "Send");
  const stop = h("button", { type: "button", class: "button", hidden: true }, "Stop");
  const bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Sent" });
  const words = h("p", { role: "status" });
  const refused = h("ul", { class: "refused" });
  const submit = async (event) => {
    event.preventDefault();
    const chosen = file.files[0];
    if (!chosen) return;
    const stopped = new AbortController();
    stop.onclick = () => stopped.abort();
    start.disabled = true;
    stop.hidden = bar.hidden = false;
    replace(refused);
    const show = (sent) => {
      bar.value = chosen.size ? sent.bytes / chosen.size : 1;
      setText(
        words,
        `${share(sent.bytes, chosen.size)} sent: ${count(sent.accepted, "event")} accepted, ${number(sent.rejected)} rejected.`,
      );
    };
    try {
      const sent = await upload(
        app,
        pathOf(id, "/backfill"),
        chosen,
        AbortSignal.any([signal, stopped.signal]),
        show,
        (line) => refused.append(h("li", {}, line)),
      );
      setText(words, `Done: ${count(sent.accepted, "event")} accepted, ${number(sent.rejected)} rejected.`);
    } catch (error) {
      setText(
        words,
        stopped.signal.aborted ? `Stopped. ${words.textContent}` : `${wordsFor(error)} ${words.textContent}`,
      );
    } finally {
      start.disabled = false;
      stop.hidden = bar.hidden = true;
    }
  };
  return h(
    "section",
    { class: "card stack" },
    h("h2", {}, "Backfill"),
    h(
      "p",
      { class: "muted" },
      "Closes a gap: send an audit export (NDJSON, of any length) to this destination alone. It passes the filter and counts in the books like all other events.",
    ),
    h("form", { class: "actions", on: { submit } }, file, start, stop),
    bar,
    words,
    refused,
  );
}

/** Sends a file in pieces that end with a line, one after the other: what was answered is on the gateway's disk. */
async function upload(app, path, file, signal, show, refuse) {
  const sent = { bytes: 0, lines: 0, accepted: 0, rejected: 0 };
  show(sent);
  for await (const piece of pieces(file)) {
    const answer = await send(app, path, piece, signal);
    for (const { line, message } of answer.errors ?? []) {
      if (sent.rejected < 20) refuse(`${line ? `Line ${number(sent.lines + line)}: ` : ""}${message}`);
      sent.rejected += 1;
    }
    sent.rejected += Math.max(0, answer.rejected - (answer.errors?.length ?? 0));
    sent.accepted += answer.accepted;
    sent.lines += newlines(piece);
    sent.bytes += piece.length;
    show(sent);
  }
  return sent;
}

/** Only what was refused as a whole for a while (429, 503) is sent again; so nothing is sent twice. */
async function send(app, path, piece, signal) {
  for (;;) {
    try {
      return await app.api.postLines(path, piece, signal);
    } catch (error) {
      if (error instanceof Problem && error.status === 400 && error.errors.length)
        return { accepted: 0, rejected: error.errors.length, errors: error.errors };
      if (error instanceof Unreachable || !(error.status === 429 || error.status === 503)) throw error;
      await pause((error.retryAfterS ?? 1) * 1000, signal);
      signal.throwIfAborted();
    }
  }
}

const NEWLINE = 10;

function newlines(piece) {
  let found = 0;
  for (const byte of piece) if (byte === NEWLINE) found += 1;
  return found;
}

async function* pieces(file) {
  let rest = new Uint8Array();
  for (let start = 0; start < file.size; start += PIECE_BYTES) {
    const read = new Uint8Array(await file.slice(start, start + PIECE_BYTES).arrayBuffer());
    const bytes = new Uint8Array(rest.length + read.length);
    bytes.set(rest);
    bytes.set(read, rest.length);
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    if (end) yield bytes.subarray(0, end);
    rest = bytes.slice(end);
  }
  if (rest.length) yield rest;
}
