// health.js - is the server there, and how fast does it answer: what it says of itself, what all callers asked of it, and what
// this tab has seen.
import { asked, health, numbers, session } from "./api.js";
import { badge, command, facts, h, show, table } from "./dom.js";
import { count, span } from "./format.js";
import { failures, operations, requests, within } from "./numbers.js";
import { plot } from "./plot.js";
import { trouble } from "./trouble.js";

const PAUSE_MS = 2000;

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

function seen() {
  const names = new Map();
  for (const one of asked) names.set(one.name, [...(names.get(one.name) || []), one]);
  return [...names].sort((a, b) => b[1].length - a[1].length).map(([name, all]) => {
    const ms = all.map((one) => one.ms).sort((a, b) => a - b), bad = all.filter((one) => one.status === 0 || one.status >= 400);
    return [name, count(all.length), bad.length ? `${bad.length} (${[...new Set(bad.map((one) => one.status || "no answer"))]
      .join(", ")})` : "0", span(at(ms, 0.5) / 1000), span(at(ms, 0.95) / 1000), span(ms[ms.length - 1] / 1000)];
  });
}

const bound = (seconds) => (seconds === undefined ? "" : seconds === Infinity ? "longer" : span(seconds));

function ofAll(text) {
  const all = operations(text).filter((one) => requests(one)).sort((a, b) => requests(b) - requests(a)), bad = failures(text);
  return [
    all.length ? table("Requests of all callers", ["Operation", "Requests#", "Good#", "Caller's faults#", "Throttled#", "Server's faults#",
      "Half within#", "19 of 20 within#"], all.map((one) => [one.name, count(requests(one)), count(one.success), count(one.user_error),
      count(one.throttled), count(one.server_error), bound(within(one, 0.5)), bound(within(one, 0.95))]))
      : h("p", { class: "empty" }, "Nobody has asked for anything yet."),
    bad.length ? table("Refused callers", ["How they signed", "Why they were refused", "Times#"],
      bad.map((one) => [one.labels.scheme, one.labels.reason, count(one.value)])) : null,
  ];
}

export function page(page) {
  const state = h("div"), log = h("div"), whole = h("div"), chart = h("div"), began = performance.now();
  const answers = plot("Time of an answer to GET /health", "ms"), rate = plot("Requests of all callers a second", "a second");
  let before, refused = "";

  async function look() {
    const asking = performance.now();
    try {
      const told = await health(page.signal);
      answers.add((asking - began) / 1000, performance.now() - asking);
      show(chart, answers.empty ? null : answers.node);
      show(state, facts([
        ["Server", badge(told.status)], ["Version", told.version], ["Node", told.node],
        ["Database", told.database && badge(told.database)], ["Region", session.server.region],
        ["Signatures", session.server.auth === "none" ? "none are asked for: every program of this machine may do everything"
          : "each request is signed"],
      ]));
    } catch (fault) {
      if (fault.name !== "AbortError") show(state, trouble(fault));
    }
  }

  async function lookAtAll() {
    try {
      const text = await numbers(page.signal), now = performance.now();
      const n = operations(text).reduce((sum, one) => sum + requests(one), 0);
      if (before) rate.add((now - began) / 1000, Math.max(0, n - before.n) / ((now - before.now) / 1000));
      before = { n, now };
      show(whole, rate.empty ? null : rate.node, ofAll(text));
    } catch (fault) {
      if (fault.name === "AbortError" || fault.message === refused) return;
      refused = fault.message;
      show(whole, h("p", null, fault.message));
    }
  }

  page.every(PAUSE_MS, async () => {
    await look();
    // who may not see them is told once
    if (!refused) await lookAtAll();
    show(log, table("What this tab asked", ["Asked", "Times#", "Refused#", "Half within#", "19 of 20 within#", "Longest#"], seen()));
  });

  return [
    h("h1", null, "Health"), state, chart,
    h("section", null, h("h2", null, "Requests of all callers"), h("p", { class: "hint" }, "Since this process began. Times are ",
      "bounds of a histogram; a Describe of a job that goes on may wait 2 s for its end."), whole),
    h("section", null, h("h2", null, "What this tab asked"), h("p", { class: "hint" }, "Its last 500 requests, with the way there ",
      "and back."), log),
    h("section", null, h("h2", null, "More numbers"),
      h("p", null, "Jobs, data stores, disks, memory, events, the audit log: they are on a port of their own, for Prometheus and for a ",
        "look from the server's machine. Whoever runs the server turns it on:"),
      command("fhirlake serve --health-listen 127.0.0.1:9464\ncurl -s http://127.0.0.1:9464/metrics"),
      h("p", { class: "hint" }, "docs/operations.md says what each of them means; docs/grafana has a dashboard of them.")),
  ];
}
