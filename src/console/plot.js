// plot.js - bars, and a line over time. Drawn as SVG and sized by properties, since the page's policy takes no inline style.
import { h, s, show } from "./dom.js";

// rows: {name, value, text, href}
export function bars(caption, rows) {
  const most = Math.max(...rows.map((row) => row.value), 1);
  return h("table", { class: "bars" }, h("caption", { class: "unseen" }, caption),
    h("tbody", null, rows.map((row) => h("tr", null,
      h("th", { scope: "row" }, row.href ? h("a", { href: row.href }, row.name) : row.name),
      h("td", { class: "bar", "aria-hidden": "true" }, s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" },
        s("rect", { width: Math.max((row.value / most) * 100, 0.4), height: 10 }))),
      h("td", { class: "num" }, row.text)))));
}

const WIDE = 600, HIGH = 120, LEFT = 56, FOOT = 18;

// A plot that grows: add(seconds, value). unit is written beside the greatest value.
export function plot(caption, unit) {
  const points = [], told = h("figcaption", null, caption), box = h("div", { class: "plot" });
  let held = 1;

  function draw() {
    const last = points[points.length - 1], most = Math.max(...points.map((point) => point[1]));
    const from = points[0][0], wide = Math.max(last[0] - from, 1);
    const x = (at) => LEFT + ((at - from) / wide) * (WIDE - LEFT - 4), y = (value) => 6 + (1 - value / (most || 1)) * (HIGH - FOOT - 6);
    const line = points.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" ");
    show(box, s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img",
      "aria-label": `${caption}: now ${Math.round(last[1])} ${unit}, at most ${Math.round(most)} ${unit}` },
    s("line", { x1: LEFT, x2: WIDE - 4, y1: y(0), y2: y(0), class: "axis" }),
    s("line", { x1: LEFT, x2: WIDE - 4, y1: 6, y2: 6, class: "axis" }),
    s("text", { x: LEFT - 6, y: 10, class: "tick" }, short(most)), s("text", { x: LEFT - 6, y: y(0) + 4,
      class: "tick" }, "0"),
    s("text", { x: LEFT, y: HIGH - 4, class: "tick start" }, "0 s"),
    s("text", { x: WIDE - 4, y: HIGH - 4, class: "tick" }, `${Math.round(last[0] - from)} s`),
    s("polyline", { points: line, class: "line" })));
    told.textContent = `${caption}: ${short(last[1])} ${unit} now, ${short(most)} at most`;
  }

  return {
    node: h("figure", { class: "figure" }, box, told),
    // many points become half as many, so that a job of hours costs no more than one of minutes
    add(at, value) {
      if (points.length && at - points[points.length - 1][0] < held / 2) return;
      points.push([at, value]);
      if (points.length > 600) {
        points.splice(0, points.length, ...points.filter((_, i) => i % 2 === 0));
        held *= 2;
      }
      if (points.length > 1) draw();
    },
    // a line takes two points
    get empty() {
      return points.length < 2;
    },
  };
}

function short(n) {
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)}M`;
  if (n >= 1e4) return `${Math.round(n / 1e3)}k`;
  return n >= 100 ? String(Math.round(n)) : String(Math.round(n * 10) / 10);
}
