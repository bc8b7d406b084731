// Every element of the page is made here. Strings become text nodes and attribute values, never markup, so whatever a
// provider answers or an event holds stays text. The Content-Security-Policy is the second line, not the first.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["checked", "disabled", "hidden", "open", "required", "value"]);

/** An HTML element. `on` holds listeners; null, undefined and false leave an attribute or a child out. */
export function h(name, attributes = {}, ...children) {
  return furnish(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, name), attributes, children);
}

function furnish(element, attributes, children) {
  const { on = {}, ...others } = attributes;
  for (const [name, value] of Object.entries(others)) {
    if (PROPERTIES.has(name)) element[name] = value ?? "";
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const [type, listener] of Object.entries(on)) element.addEventListener(type, listener);
  element.append(...present(children));
  return element;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

export function replace(element, ...children) {
  element.replaceChildren(...present(children));
}

/** Touches the document only when something changes, so that a screen reader is not told the same thing each second. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Like `replace`, but only when `key` differs from the one before: focus and selection inside survive. */
export function replaceWhenChanged(element, key, make) {
  const spelled = JSON.stringify(key);
  if (element.shownKey === spelled) return;
  element.shownKey = spelled;
  replace(element, make());
}

/** A host name or address that may be broken at its dots and slashes. */
export function breakable(text) {
  return text.split(/(?<=[./])/).flatMap((part) => [part, h("wbr")]);
}

let ids = 0;

export function newId(what) {
  ids += 1;
  return `${what}-${ids}`;
}
