// resource.js - one resource, or a version of it: as a tree, and as its JSON. What looks like a reference leads on. Its
// narrative is shown as the text that it is: nothing of a resource is ever read as HTML.
import { fhir } from "./api.js";
import { announce, button, h, show } from "./dom.js";
import { time } from "./format.js";
import { lineText, lines, Num, parse, plain } from "./json.js";
import { summary, target } from "./summary.js";
import { trouble } from "./trouble.js";

const OPEN_MOST = 200; // members that are open at once
const LINES_MOST = 5000; // lines of JSON that are shown at once

function leaf(store, name, value) {
  const text = value instanceof Num ? value.text : value === null ? "null" : String(value);
  const to = name === "reference" && typeof value === "string" && target(store, value);
  return to ? h("a", { href: to }, text) : h("span", { class: typeof value === "string" ? "text" : "other" }, text);
}

const isLeaf = (value) => !(value instanceof Map) && !Array.isArray(value);

// A branch is filled when it is opened first.
function branch(store, name, value, room) {
  if (isLeaf(value)) return h("li", null, h("span", { class: "name" }, name), " ", leaf(store, name, value));
  const members = Array.isArray(value) ? value.map((one, i) => [String(i), one]) : [...value];
  const open = room.left >= members.length;
  if (open) room.left -= members.length;
  const list = h("ul", null);
  const fill = () => list.firstChild || show(list, members.map(([n, v]) => branch(store, n, v, room)));
  const node = h("details", { open }, h("summary", null, h("span", { class: "name" }, name),
    h("span", { class: "hint" }, Array.isArray(value) ? ` ${members.length}` : "")), list);
  if (open) fill();
  node.addEventListener("toggle", () => node.open && fill());
  return h("li", null, node);
}

function tree(store, resource) {
  const room = { left: OPEN_MOST };
  return h("ul", { class: "tree" }, [...resource].map(([name, value]) => branch(store, name, value, room)));
}

export function jsonLine(store, line) {
  const text = lineText(line), to = line.name === "reference" && line.value !== undefined && target(store, line.value);
  if (!to) return `${text}\n`;
  const quoted = JSON.stringify(line.value), at = text.lastIndexOf(quoted);
  return [text.slice(0, at), h("a", { href: to }, quoted), `${text.slice(at + quoted.length)}\n`];
}

function json(store, resource) {
  const all = lines(resource), box = h("pre", { class: "json", tabindex: "0", "aria-label": "JSON" });
  let shown = 0;
  const more = button("", () => put(), { class: "quiet" });
  function put() {
    for (const line of all.slice(shown, shown + LINES_MOST)) box.append(...[jsonLine(store, line)].flat());
    shown += LINES_MOST;
    more.hidden = shown >= all.length;
    more.textContent = `${all.length - shown} more lines`;
  }
  put();
  return [button("Copy", async (event) => {
    await navigator.clipboard?.writeText(all.map(lineText).join("\n"));
    event.target.textContent = "Copied";
    announce("Copied");
  }, { class: "quiet" }), box, more];
}

export function tabsOf({ id, type, rid }, at) {
  const base = `#/store/${id}/r4/${type}/${rid}`;
  const all = [["", "Resource"], ["/_history", "History"], ...(type === "Patient" ? [["/timeline", "Timeline"]] : [])];
  return h("nav", { class: "tabs", "aria-label": "Views of the resource" }, all.map(([tail, text]) =>
    h("a", { href: base + tail, "aria-current": tail === at && "page" }, text)));
}

export function page(page) {
  const { id, type, rid, vid } = page.params, box = h("div", null, h("p", { class: "hint" }, "Reading ..."));

  async function load() {
    try {
      const { text, headers } = await fhir(id, "GET", `${type}/${rid}${vid ? `/_history/${vid}` : ""}`, [], { signal: page.signal,
        name: "read" });
      const resource = parse(text), body = h("div"), seen = plain(resource);
      const views = { Tree: () => tree(id, resource), JSON: () => json(id, resource) };
      const chosen = (name) => {
        show(body, views[name]());
        for (const one of picks.children) one.setAttribute("aria-pressed", String(one.textContent === name));
      };
      const picks = h("div", { class: "picks", role: "group", "aria-label": "How it is shown" },
        Object.keys(views).map((name) => button(name, () => chosen(name))));
      chosen("Tree");
      show(box, h("p", null, summary(seen)),
        h("p", { class: "hint" }, `Version ${seen.meta?.versionId ?? headers.get("ETag") ?? "?"}, ${time(seen.meta?.lastUpdated)}`),
        picks, body);
    } catch (fault) {
      show(box, trouble(fault, load));
    }
  }

  load();
  return [h("p", { class: "back" }, h("a", { href: `#/store/${id}/r4/${type}` }, `All ${type}`)),
    h("h1", null, `${type}/${rid}${vid ? ` as of version ${vid}` : ""}`), tabsOf(page.params, vid ? null : ""), box];
}
