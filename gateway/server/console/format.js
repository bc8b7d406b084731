// Numbers, dates and durations for people. Words are English; the forms of numbers and dates are those of the browser's
// locale, and times are local with UTC in the tooltip.

import { h, setText } from "./dom.js";

const locales = navigator.languages;
const whole = new Intl.NumberFormat(locales);
const tenths = new Intl.NumberFormat(locales, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(locales, { style: "percent", maximumFractionDigits: 1 });
const dateAndTime = new Intl.DateTimeFormat(locales, { dateStyle: "medium", timeStyle: "medium" });
const dateAndMinute = new Intl.DateTimeFormat(locales, { dateStyle: "medium", timeStyle: "short" });
const timeOfDay = new Intl.DateTimeFormat(locales, { timeStyle: "medium" });
const minuteOfDay = new Intl.DateTimeFormat(locales, { timeStyle: "short" });

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const number = (value) => whole.format(value);
export const share = (part, all) => percent.format(all ? part / all : 0);
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let scaled = value;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? number(scaled) : tenths.format(scaled)} ${units[unit]}`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10_000) return `${tenths.format(value / 1000)} s`;
  return value < 10 ? `${tenths.format(value)} ms` : `${number(Math.round(value))} ms`;
}

/** "3.2 s", "42 s", "17 min", "3 h 20 min", "2 d 4 h". */
export function duration(seconds) {
  if (seconds < 10) return `${tenths.format(Math.max(seconds, 0))} s`;
  if (seconds < MINUTE) return `${number(Math.floor(seconds))} s`;
  if (seconds < HOUR) return `${number(Math.floor(seconds / MINUTE))} min`;
  if (seconds < DAY) return pair(seconds, HOUR, "h", MINUTE, "min");
  return pair(seconds, DAY, "d", HOUR, "h");
}

function pair(seconds, large, largeName, small, smallName) {
  const rest = Math.floor((seconds % large) / small);
  return `${number(Math.floor(seconds / large))} ${largeName}${rest ? ` ${rest} ${smallName}` : ""}`;
}

/** "0:42", "12:05", "1:02:03": what is left until something happens. */
export function countdown(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  const two = (part) => String(part).padStart(2, "0");
  const minutes = Math.floor(left / MINUTE);
  if (minutes < 60) return `${minutes}:${two(left % MINUTE)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(left % MINUTE)}`;
}

/** "just now", "42 s ago", "12 days ago". */
export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (seconds < 2) return "just now";
  if (seconds < MINUTE) return `${Math.floor(seconds)} s ago`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min ago`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)} h ago`;
  return `${count(Math.floor(seconds / DAY), "day")} ago`;
}

export const secondsUntil = (iso) => (Date.parse(iso) - Date.now()) / 1000;

const FORMS = { full: dateAndTime, minute: dateAndMinute, time: timeOfDay, short: minuteOfDay };

export const clockTime = (iso, form = "full") => FORMS[form].format(new Date(iso));

const utc = (iso) =>
  `${new Date(iso)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, "")} UTC`;

/** A moment: local in the text, UTC on hover. `text` makes another text of it, such as `ago`. */
export function time(iso, text = clockTime) {
  return iso ? setTime(h("time"), iso, text) : h("span", { class: "none" }, "–");
}

export function setTime(element, iso, text = clockTime) {
  if (element.dateTime !== iso) {
    element.dateTime = iso;
    element.title = text === clockTime ? utc(iso) : `${clockTime(iso)} · ${utc(iso)}`;
  }
  setText(element, text(iso));
  return element;
}
