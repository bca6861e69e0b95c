// search.js - the FHIR browser's search: the type's parameters are offered as the CapabilityStatement has them, the page's
// address holds the question, and next and previous follow the links of the Bundle.
import { capabilities, fhir, linked } from "./api.js";
import { button, field, h, input, select, show, table } from "./dom.js";
import { count, time } from "./format.js";
import { pager } from "./pager.js";
import { summary } from "./summary.js";
import { trouble } from "./trouble.js";

const COUNT = "50";
const HINTS = {
  date: "2024, 2024-05-31, ge2024-01-01, lt2025", token: "code, system|code, |code", string: "begins with; :exact, :contains",
  reference: "Patient/ID; a chain is name.parameter", quantity: "5.4|http://unitsofmeasure.org|mg, gt100", number: "gt5",
  uri: "the whole url", composite: "one$other", special: "see the CapabilityStatement",
};
const OF_ALL = [["_id", "token"], ["_lastUpdated", "date"], ["_tag", "token"], ["_profile", "uri"], ["_security", "token"],
  ["_source", "uri"]];
const OF_RESULT = [["_sort", "a parameter, or -parameter for the latest first"], ["_include", "Observation:subject"],
  ["_revinclude", "Provenance:target"], ["_count", "matches on a page, at most 1000"], ["_summary", "true, text, data, count"],
  ["_total", "accurate, estimate, none"], ["_elements", "names, divided by commas"], ["_has", "use _has:Type:reference:parameter"]];

function offered(resource) {
  const own = (resource.searchParam || []).map((one) => [one.name, one.type, one.documentation]);
  const names = new Set(own.map(([name]) => name));
  return [...own, ...OF_ALL.filter(([name]) => !names.has(name))];
}

// One criterion: a name, which may have a modifier, and a value.
function criterion(list, kinds, name, value) {
  const what = input({ list, value: name || "", placeholder: "parameter", "aria-label": "Parameter", class: "param" });
  const is = input({ value: value || "", placeholder: "value", "aria-label": "Value", class: "grow" });
  const hint = h("span", { class: "hint" });
  const tell = () => show(hint, HINTS[kinds.get(what.value.split(/[:.]/)[0])] || kinds.get(what.value) || "");
  what.addEventListener("input", tell);
  tell();
  const node = h("div", { class: "criterion" }, what, is, button("Remove", () => node.remove(), { class: "quiet",
    "aria-label": "Remove this criterion" }), hint);
  return { node, pair: () => (node.isConnected && what.value.trim() ? [what.value.trim(), is.value] : null) };
}

function form(page, types, type, pairs) {
  const id = page.params.id, resource = types.find((one) => one.type === type), all = offered(resource || {});
  const kinds = new Map([...all.map(([name, kind]) => [name, kind]), ...OF_RESULT]);
  const choose = select(types.map((one) => one.type), type, { id: "type" });
  choose.addEventListener("change", () => {
    location.hash = `#/store/${id}/r4/${choose.value}`;
  });
  const list = h("datalist", { id: "params" }, [...all, ...OF_RESULT].map(([name, kind, told]) =>
    h("option", { value: name }, told ? `${kind}: ${told}`.slice(0, 100) : kind)));
  const rows = h("div", { class: "criteria" }), criteria = [];
  const add = (name, value) => {
    const one = criterion("params", kinds, name, value);
    criteria.push(one);
    rows.append(one.node);
    return one;
  };
  for (const [name, value] of pairs.length ? pairs : [["", ""]]) add(name, value);
  const direct = input({ placeholder: "id", "aria-label": "Id of a resource", size: 24 });
  return [
    h("form", { class: "search", onsubmit: (event) => {
      event.preventDefault();
      const query = new URLSearchParams(criteria.map((one) => one.pair()).filter(Boolean));
      const to = `#/store/${id}/r4/${type}${query.size ? `?${query}` : ""}`;
      if (location.hash === to) page.refresh();
      else location.hash = to;
    } }, h("div", { class: "line" }, field("Type", choose)), rows, list,
    h("div", { class: "line" }, h("button", { type: "submit", class: "main" }, "Search"),
      button("Add a criterion", () => add().node.querySelector("input").focus(), { class: "quiet" }))),
    h("form", { class: "line", onsubmit: (event) => {
      event.preventDefault();
      if (direct.value.trim()) location.hash = `#/store/${id}/r4/${type}/${encodeURIComponent(direct.value.trim())}`;
    } }, h("label", null, `Read ${type}/ `, direct), h("button", { type: "submit", class: "quiet" }, "Read")),
  ];
}

const row = (id) => ({ resource, search }) => [
  h("a", { href: `#/store/${id}/r4/${resource.resourceType}/${resource.id}` }, `${resource.resourceType}/${resource.id}`),
  summary(resource), time(resource.meta?.lastUpdated), search?.mode === "include" ? "included" : "",
];

function results(page, type, pairs) {
  const id = page.params.id, box = h("div", { class: "results" });
  const asked = pairs.some(([name]) => name === "_count") ? pairs : [...pairs, ["_count", COUNT]];

  function draw(items, { bundle }) {
    const outcomes = items.filter((one) => one.resource?.resourceType === "OperationOutcome" || one.search?.mode === "outcome");
    const found = items.filter((one) => !outcomes.includes(one) && one.resource);
    const words = outcomes.flatMap((one) => one.resource.issue || []).map((one) => one.diagnostics || one.details?.text);
    return [
      words.length ? h("div", { class: "notice" }, words.map((one) => h("p", null, one))) : null,
      h("p", null, bundle.total === undefined ? `${count(found.length)} on this page` : `${count(bundle.total)} in all`),
      found.length ? table("Resources", ["Resource", "What it is", "Updated", ""], found.map(row(id)))
        : h("p", { class: "empty" }, bundle.total ? "The page holds the total alone." : "Nothing is found. Ask for less, or for " +
          "another type: the overview of the data store says what it holds."),
    ];
  }

  const pages = pager({
    page, box, start: { path: type, pairs: asked }, draw,
    async ask(to) {
      const bundle = JSON.parse((await fhir(id, "GET", to.path, to.pairs, { signal: page.signal, name: "search" })).text);
      const next = (bundle.link || []).find((one) => one.relation === "next");
      return { items: bundle.entry || [], bundle, next: next && linked(id, next.url) };
    },
    refused: (fault) => trouble(fault, () => pages.again()),
  });
  pages.first();
  return box;
}

export function page(page) {
  const { id } = page.params, box = h("div", null, h("p", { class: "hint" }, "Asking what can be searched ..."));
  const type = page.params.type || "Patient", pairs = [...page.query];

  async function load() {
    try {
      const types = (await capabilities(id, page.signal)).resource;
      if (!types.some((one) => one.type === type)) throw Object.assign(new Error(`FHIR R4 has no type ${type}.`), { status: 400 });
      show(box, form(page, types, type, pairs), results(page, type, pairs));
    } catch (fault) {
      show(box, trouble(fault, load));
    }
  }

  load();
  return [h("h1", null, type), box];
}
