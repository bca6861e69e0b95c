// dom.js - elements of a page. Text goes in as text, and nothing is ever read as HTML: there is no other way to put
// something on a page here, and the page's policy (trusted types) refuses the usual ones.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  put(node, children);
  return node;
}

function put(node, children) {
  for (const child of children) {
    if (child === undefined || child === null || child === false) continue;
    if (Array.isArray(child)) put(node, child);
    else node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

// h("a", {href: "#/", onclick: f}, "text", node, [more])
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function s(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

// What a node holds from now on.
export function show(node, ...children) {
  node.replaceChildren();
  put(node, children);
  return node;
}

let ids = 0;

// A field of a form with its label, and a line that says what it is for.
export function field(label, control, hint) {
  control.id ||= `f${++ids}`;
  const told = hint && h("p", { class: "hint", id: `${control.id}-hint` }, hint);
  if (told) control.setAttribute("aria-describedby", told.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, told);
}

export function input(props) {
  return h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...props });
}

export function select(options, value, props) {
  return h("select", props, options.map((one) => {
    const [key, text] = Array.isArray(one) ? one : [one, one];
    return h("option", { value: key, selected: key === value }, text);
  }));
}

export function button(text, onclick, props) {
  return h("button", { type: "button", onclick, ...props }, text);
}

// A table in a box that scrolls by itself on a narrow screen. rows: arrays of cells; a cell is text or a node.
export function table(caption, heads, rows, props) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", props,
      h("caption", { class: "unseen" }, caption),
      h("thead", null, h("tr", null, heads.map((head) => (head ? h("th", { scope: "col",
        class: head.endsWith("#") && "num" }, head.replace(/#$/, "")) : h("td"))))),
      h("tbody", null, rows.map((row) => h("tr", null, row.map((cell, i) =>
        h("td", { class: heads[i]?.endsWith("#") && "num" }, cell)))))));
}

// Names and values, as what an API says of one thing.
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

// A text to be typed elsewhere, with a button that copies it.
export function command(text) {
  const copy = button("Copy", async () => {
    await navigator.clipboard?.writeText(text);
    copy.textContent = "Copied";
  }, { class: "quiet" });
  return h("div", { class: "command" }, h("pre", { tabindex: "0" }, text), copy);
}

export function badge(status) {
  const bad = /FAIL|ERROR|lost/.test(status), good = /^(COMPLETED|ACTIVE|ok|reached)$/.test(status);
  return h("span", { class: `badge ${bad ? "bad" : good ? "good" : "going"}` }, status);
}

// What is said to who does not see the page change.
export function announce(text) {
  document.getElementById("announce").textContent = text;
}
