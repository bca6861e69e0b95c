// pager.js - a list of any length, one page of it on the screen: next by the token or link that the server gave, back by
// those that were used before.
import { button, h, show } from "./dom.js";

// The server looks at so much for one answer and no more. So a page of what is rare may be empty, and go on: then the next
// one is asked for, until there is something to show. A list that took several answers is not looked at again by itself.
//
// ask(token) -> {items, next, ...}; draw(items, got) -> node; refused(fault) -> nodes
export function pager({ page, box, ask, draw, refused, start }) {
  const behind = []; // tokens of the pages before this one
  let token = start, drawn = "", turn = 0, far = false;

  function bar(got) {
    const back = button("Previous", () => {
      token = behind.pop();
      load();
    }, { disabled: !behind.length });
    const on = button("Next", () => {
      behind.push(token);
      token = got.next;
      load();
    }, { disabled: !got.next });
    return behind.length || got.next
      ? h("nav", { class: "pager", "aria-label": "Pages" }, back, h("span", null, `Page ${behind.length + 1}`), on) : null;
  }

  async function load(quiet) {
    if (quiet && far) return;
    const mine = ++turn, past = () => mine !== turn || page.signal.aborted;
    if (!quiet) box.setAttribute("aria-busy", "true");
    try {
      let got = await ask(token);
      for (far = false; !past() && !got.items.length && got.next; got = await ask(got.next)) {
        if (!far) show(box, h("p", { class: "hint", role: "status" }, "Looking further ..."));
        far = true;
        drawn = "";
      }
      if (past()) return;
      // what is as it was stays, with what the person has selected of it
      const now = JSON.stringify(got.items) + (got.next ? "+" : "");
      if (!quiet || now !== drawn) {
        const held = box.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        show(box, draw(got.items, got), bar(got));
        if (held) [...box.querySelectorAll("a")].find((a) => a.getAttribute("href") === held)?.focus();
      }
      drawn = now;
    } catch (fault) {
      if (fault.name === "AbortError" || mine !== turn) return;
      // a look that nobody asked for leaves what is there, unless nothing is
      const now = `!${fault.message}`;
      if (!quiet || (drawn !== now && (!drawn || drawn.startsWith("!")))) {
        show(box, refused(fault));
        drawn = now;
      }
    } finally {
      if (mine === turn) box.removeAttribute("aria-busy");
    }
  }

  return {
    again: load,
    first() {
      behind.length = 0;
      token = start;
      return load();
    },
  };
}
