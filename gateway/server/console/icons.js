// Icons of 16 by 16, drawn here. They stand beside a word and are hidden from screen readers.

import { svg } from "./dom.js";

const PATHS = {
  active: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M5 8.2l2.1 2.1L11 6.2",
  degraded: "M8 2 1.4 13.7h13.2zM8 6.3v3.4M8 11.6v.2",
  failed: "M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3l-3.8-3.8V5.3zM5.8 5.8l4.4 4.4m0-4.4-4.4 4.4",
  disabled: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M6.4 5.6v4.8m3.2-4.8v4.8",
  deleting: "M2.5 4.5h11M6 4.5v-2h4v2M4 4.5l.6 9h6.8l.6-9M6.7 7v4.2m2.6-4.2v4.2",
  ok: "m3 8.4 3.2 3.2L13 4.8",
  no: "m4 4 8 8m0-8-8 8",
  skipped: "M4 8h8",
  plus: "M8 3v10M3 8h10",
  back: "M9.8 3.5 5.3 8l4.5 4.5",
  clock: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M8 4.5V8l2.4 1.6",
  warning: "M8 2 1.4 13.7h13.2zM8 6.3v3.4M8 11.6v.2",
  lost: "M2 5.5a9 9 0 0 1 12 0M4.3 8.2a5.6 5.6 0 0 1 7.4 0M8 11.8v.2M2 2l12 12",
  download: "M8 2v8m-3.2-3L8 10.2 11.2 7M2.5 13.5h11",
  upload: "M8 10.5v-8M4.8 5.6 8 2.4l3.2 3.2M2.5 13.5h11",
  repeat: "M13 8a5 5 0 1 1-1.6-3.7L13 5.8M13 2.4v3.4H9.6",
};

export function icon(name) {
  const path = svg("path", { d: PATHS[name] });
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, path);
}
