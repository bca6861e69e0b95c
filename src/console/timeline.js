// timeline.js - what is known of a patient, by time: $everything, page by page, sorted here by the moment that each resource
// tells of.
import { fhir, linked } from "./api.js";
import { button, field, h, select, show } from "./dom.js";
import { count } from "./format.js";
import { tabsOf } from "./resource.js";
import { summary, when } from "./summary.js";
import { trouble } from "./trouble.js";

const STEP = 2000; // resources that are asked for before the person is asked whether to go on
const SHOWN = 200; // rows at a time

export function page(page) {
  const { id, rid } = page.params, box = h("div"), told = h("p", { role: "status" }), filter = h("div", { class: "line" });
  const all = [];
  let to = { path: `Patient/${rid}/$everything`, pairs: [["_count", "500"]] }, shown = SHOWN, type = "";

  function draw() {
    const types = [...new Set(all.map((one) => one.type))].sort();
    const pick = select([["", "all types"], ...types], type);
    pick.addEventListener("change", () => {
      type = pick.value;
      shown = SHOWN;
      draw();
    });
    show(filter, field("Show", pick));
    const meant = all.filter((one) => !type || one.type === type).sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
    const years = new Map();
    for (const one of meant.slice(0, shown)) {
      const year = one.at.slice(0, 4) || "Without a date";
      years.set(year, [...(years.get(year) || []), one]);
    }
    show(box, [...years].map(([year, ones]) => h("section", null, h("h2", null, year), h("ol", { class: "timeline" },
      ones.map((one) => h("li", null, h("time", null, one.at.slice(0, 16).replace("T", " ")), " ",
        h("a", { href: `#/store/${id}/r4/${one.type}/${one.id}` }, one.type), " ", one.text))))),
    meant.length > shown ? button(`Show more (${count(meant.length - shown)} are older)`, () => {
      shown += SHOWN;
      draw();
    }) : null);
  }

  async function load() {
    const until = all.length + STEP;
    try {
      while (to && all.length < until) {
        const bundle = JSON.parse((await fhir(id, "GET", to.path, to.pairs, { signal: page.signal, name: "$everything" })).text);
        for (const { resource } of bundle.entry || [])
          if (resource) all.push({ type: resource.resourceType, id: resource.id, at: when(resource), text: summary(resource) });
        const next = (bundle.link || []).find((one) => one.relation === "next");
        to = next && linked(id, next.url);
        show(told, `${count(all.length)} of ${bundle.total === undefined ? "some" : count(bundle.total)} resources`);
      }
      show(told, `${count(all.length)} resources`, to ? [", and there are more. ", button("Get more", load, { class: "quiet" })] : ".");
      draw();
    } catch (fault) {
      show(told, trouble(fault, load));
    }
  }

  load();
  return [h("p", { class: "back" }, h("a", { href: `#/store/${id}/r4/Patient` }, "All Patient")), h("h1", null, `Patient/${rid}`),
    tabsOf(page.params, "/timeline"), told, filter, box];
}
