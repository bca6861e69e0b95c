// app.js - which page is shown: the part of the address behind #, a row of the table below, and the page's module, which is
// fetched when it is first needed.
//
// A page is a function of {params, query, signal, every, refresh}. It gives a node at once and fills it later. signal ends
// what it asks when another page comes; every(ms, f) calls f until then, one at a time.
import { forget, health, session } from "./api.js";
import { announce, button, h, show } from "./dom.js";
import { login, unsafe } from "./login.js";
import { trouble } from "./trouble.js";

const PAGES = [
  ["/stores", "stores.js", "list"],
  ["/stores/new", "stores.js", "create"],
  ["/store/:id", "store.js", "page"],
  ["/store/:id/jobs", "jobs.js", "list"],
  ["/store/:id/jobs/:kind", "jobs.js", "list"],
  ["/store/:id/export", "start.js", "exporting"],
  ["/store/:id/import", "start.js", "importing"],
  ["/store/:id/job/:kind/:job", "job.js", "page"],
  ["/store/:id/r4", "search.js", "page"],
  ["/store/:id/r4/:type", "search.js", "page"],
  ["/store/:id/r4/:type/:rid", "resource.js", "page"],
  ["/store/:id/r4/:type/:rid/_history", "history.js", "page"],
  ["/store/:id/r4/:type/:rid/_history/:vid", "resource.js", "page"],
  ["/store/:id/r4/:type/:rid/timeline", "timeline.js", "page"],
  ["/health", "health.js", "page"],
];

const NAV = [["/stores", "Data stores"], ["/health", "Health"]];
const OF_STORE = [["", "Overview"], ["/jobs", "Jobs"], ["/export", "Export"], ["/import", "Import"], ["/r4", "FHIR"]];

// An address that was typed may be anything: what cannot be decoded is no page.
function parts(path) {
  try {
    return path.split("/").map(decodeURIComponent);
  } catch {
    return [];
  }
}

function find(path) {
  const given = parts(path);
  for (const [pattern, module, name] of PAGES) {
    const wants = pattern.split("/");
    if (wants.length !== given.length) continue;
    const params = {};
    if (wants.every((want, i) => (want.startsWith(":") ? (params[want.slice(1)] = given[i]) !== ""
      : want === given[i])))
      return { module, name, params };
  }
  return null;
}

function link([to, text], path) {
  return h("a", { href: `#${to}`, "aria-current": path === to && "page" }, text);
}

function frame(path, params) {
  const nav = document.getElementById("nav");
  const open = session.server?.auth === "none";
  if (!open && !session.who) {
    show(nav);
    show(document.getElementById("who"));
    return;
  }
  const below = params?.id ? OF_STORE.map(([tail, text]) => [`/store/${params.id}${tail}`, text]) : [];
  const at = below.slice(1).find(([to]) => path === to || path.startsWith(`${to}/`)) ||
    (path.includes("/job/") ? below[1] : below[0]);
  show(nav, NAV.map((one) => link(one, path)),
    below.length ? h("span", { class: "nav-store" }, below.map((one) => link(one, at?.[0]))) : null);
  show(document.getElementById("who"), open ? "everybody (--auth none)" : [h("span", { class: "key" }, session.who.key), " ",
    button("Sign out", () => {
      forget();
      // the next person begins at the beginning
      if (location.hash === "#/stores") go();
      else location.hash = "#/stores";
    }, { class: "quiet" })]);
}

let leaving = new AbortController();

function page(signal, params, query) {
  return {
    params, query, signal, refresh: go,
    every(ms, work) {
      const turn = async () => {
        if (signal.aborted) return;
        if (!document.hidden) await work();
        if (!signal.aborted) setTimeout(turn, ms);
      };
      turn();
    },
  };
}

async function go() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving, main = document.getElementById("main");
  const [path, asked] = (location.hash.slice(1) || "/stores").split("?");
  const found = find(path);
  frame(path, found?.params);
  if (session.server?.auth !== "none" && !session.who) {
    show(main, login(go));
    document.title = "Sign in - fhirlake";
    main.querySelector("input")?.focus();
    return;
  }
  try {
    if (!found) throw Object.assign(new Error(`The console has no page ${path}.`), { type: "NoPage" });
    const { [found.name]: make } = await import(`./${found.module}`);
    const node = make(page(signal, found.params, new URLSearchParams(asked || "")));
    if (signal.aborted) return;
    show(main, node);
  } catch (fault) {
    show(main, h("h1", null, "Nothing to show"), trouble(fault, go), h("p", null, h("a", { href: "#/stores" }, "Data stores")));
  }
  const head = main.querySelector("h1")?.textContent || "Console";
  document.title = `${head} - fhirlake`;
  announce(head);
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

async function begin() {
  const main = document.getElementById("main");
  try {
    session.server = await (await fetch("server.json", { cache: "no-store" })).json();
  } catch {
    show(main, h("h1", null, "The server gives no answer"), h("p", null, "Is it still running? This page asks again."));
    setTimeout(begin, 2000);
    return;
  }
  if (session.server.auth !== "none" && !globalThis.crypto?.subtle) {
    show(main, unsafe());
    return;
  }
  window.addEventListener("hashchange", go);
  // what is behind # is the page, so this link is none of them
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  await go();
  health(new AbortController().signal).catch(() => {});
}

begin();
