// history.js - the versions of a resource, and what changed between two of them.
import { fhir, linked } from "./api.js";
import { badge, h, show, table } from "./dom.js";
import { time } from "./format.js";
import { diff, lineText, lines, parse, plain } from "./json.js";
import { pager } from "./pager.js";
import { tabsOf } from "./resource.js";
import { trouble } from "./trouble.js";

const AROUND = 3; // lines that are the same, shown around a change

const linesOf = (version) => (version?.resource ? lines(version.resource).map(lineText) : []);

function difference(older, newer) {
  const all = diff(linesOf(older), linesOf(newer));
  const near = all.map((_, i) => all.slice(Math.max(0, i - AROUND), i + AROUND + 1).some((one) => one.sign !== " "));
  const box = h("pre", { class: "diff", tabindex: "0", "aria-label": "What changed" });
  let gap = false;
  all.forEach((one, i) => {
    if (!near[i]) {
      if (!gap) box.append(h("span", { class: "gap" }, "...\n"));
      gap = true;
      return;
    }
    gap = false;
    box.append(one.sign === " " ? `  ${one.text}\n` : h(one.sign === "+" ? "ins" : "del", null, `${one.sign} ${one.text}\n`));
  });
  return all.some((one) => one.sign !== " ") ? box : h("p", { class: "hint" }, "They say the same.");
}

const NAMES = { POST: "created", PUT: "written", PATCH: "patched", DELETE: "deleted" };

function versionOf(entry) {
  const at = plain(entry), resource = entry.get("resource");
  const vid = at.resource?.meta?.versionId || /"?([^"]*)"?$/.exec((at.response?.etag || "").replace(/^W\//, ""))?.[1] || "?";
  return { vid, resource, method: at.request?.method || "", when: at.response?.lastModified || at.resource?.meta?.lastUpdated };
}

export function page(page) {
  const { id, type, rid } = page.params, box = h("div"), changes = h("section", { "aria-live": "polite" });

  function choose(versions) {
    const pick = (name, chosen) => versions.map((version, i) => {
      const radio = h("input", { type: "radio", name, value: i, checked: i === chosen,
        "aria-label": `${name} version ${version.vid}` });
      radio.addEventListener("change", compare);
      return radio;
    });
    const olds = pick("older", Math.min(1, versions.length - 1)), news = pick("newer", 0);
    const at = (radios) => versions[radios.findIndex((one) => one.checked)];
    function compare() {
      const older = at(olds), newer = at(news);
      show(changes, h("h2", null, `From version ${older.vid} to ${newer.vid}`), difference(older, newer));
    }
    if (versions.length > 1) compare();
    else show(changes, h("p", { class: "hint" }, "There is one version on this page, so there is nothing to compare it with."));
    return table("Versions", ["From", "To", "Version", "When", "What", ""], versions.map((version, i) => [olds[i], news[i],
      version.resource ? h("a", { href: `#/store/${id}/r4/${type}/${rid}/_history/${version.vid}` }, version.vid) : version.vid,
      time(version.when), badge(NAMES[version.method] || version.method), i === 0 ? "newest here" : ""]));
  }

  const pages = pager({
    page, box, start: { path: `${type}/${rid}/_history`, pairs: [["_count", "50"]] },
    async ask(to) {
      const bundle = parse((await fhir(id, "GET", to.path, to.pairs, { signal: page.signal, name: "history" })).text);
      const next = plain(bundle.get("link") || []).find((one) => one.relation === "next");
      return { items: (bundle.get("entry") || []).map(versionOf), next: next && linked(id, next.url) };
    },
    draw: choose,
    refused: (fault) => trouble(fault, () => pages.again()),
  });
  pages.first();
  return [h("p", { class: "back" }, h("a", { href: `#/store/${id}/r4/${type}` }, `All ${type}`)), h("h1", null, `${type}/${rid}`),
    tabsOf(page.params, "/_history"), box, changes];
}
