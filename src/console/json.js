// json.js - JSON that keeps what a resource says: numbers stay the text they were (1.50 is not 1.5), members keep their
// order. Written out again in lines, and compared line by line.

export class Num {
  constructor(text) {
    this.text = text;
  }
}

const NUMBER = /-?\d+(\.\d+)?([eE][+-]?\d+)?/y;
const STRING = /"(?:[^"\\]|\\.)*"/y;
const SPACE = /[ \t\r\n]*/y;

export function parse(text) {
  let at = 0;

  function match(pattern) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (!found) throw new SyntaxError(`not JSON at character ${at}`);
    at = pattern.lastIndex;
    return found[0];
  }

  function next() {
    match(SPACE);
    return text[at];
  }

  function take(c) {
    if (next() !== c) throw new SyntaxError(`"${c}" is missing at character ${at}`);
    at++;
  }

  function list(open, close, one) {
    take(open);
    if (next() !== close)
      do one(); while (next() === "," && ++at);
    take(close);
  }

  function string() {
    next();
    return JSON.parse(match(STRING));
  }

  function value() {
    const c = next();
    if (c === "{") {
      const out = new Map();
      list("{", "}", () => {
        const name = string();
        take(":");
        out.set(name, value());
      });
      return out;
    }
    if (c === "[") {
      const out = [];
      list("[", "]", () => out.push(value()));
      return out;
    }
    if (c === '"') return string();
    for (const [word, is] of [["true", true], ["false", false], ["null", null]])
      if (text.startsWith(word, at)) {
        at += word.length;
        return is;
      }
    return new Num(match(NUMBER));
  }

  const out = value();
  if (next() !== undefined) throw new SyntaxError(`more than one value at character ${at}`);
  return out;
}

// Lines of {depth, name, text, value}: value is the string of a line that holds one.
export function lines(value) {
  const out = [];

  function add(depth, name, one, comma) {
    const before = name === undefined ? "" : `${JSON.stringify(name)}: `;
    if (one instanceof Map || Array.isArray(one)) {
      const [open, close] = Array.isArray(one) ? "[]" : "{}";
      const members = Array.isArray(one) ? one.map((v) => [undefined, v]) : [...one];
      if (!members.length) {
        out.push({ depth, text: `${before}${open}${close}${comma}` });
        return;
      }
      out.push({ depth, text: before + open });
      members.forEach(([n, v], i) => add(depth + 1, n, v, i < members.length - 1 ? "," : ""));
      out.push({ depth, text: close + comma });
    } else {
      const text = one instanceof Num ? one.text : JSON.stringify(one);
      out.push({ depth, name, text: `${before}${text}${comma}`, value: typeof one === "string" ? one : undefined });
    }
  }

  add(0, undefined, value, "");
  return out;
}

export const lineText = (line) => "  ".repeat(line.depth) + line.text;

// The value as JSON.parse() would give it: to look at, not to show.
export function plain(value) {
  if (value instanceof Num) return Number(value.text);
  if (Array.isArray(value)) return value.map(plain);
  return value instanceof Map ? Object.fromEntries([...value].map(([k, v]) => [k, plain(v)])) : value;
}

const DIFF_MOST = 4e6; // cells of the table; beyond it what lies between is shown as gone and come

// Two lists of texts as {sign, text}: " " in both, "-" in the first, "+" in the second. A longest common sequence.
export function diff(a, b) {
  let head = 0, tail = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const x = a.slice(head, a.length - tail), y = b.slice(head, b.length - tail), out = [];
  const put = (sign, text) => out.push({ sign, text });
  a.slice(0, head).forEach((text) => put(" ", text));
  if (x.length * y.length > DIFF_MOST) {
    x.forEach((text) => put("-", text));
    y.forEach((text) => put("+", text));
  } else {
    const width = y.length + 1, longest = new Uint32Array((x.length + 1) * width);
    for (let i = x.length - 1; i >= 0; i--)
      for (let j = y.length - 1; j >= 0; j--)
        longest[i * width + j] = x[i] === y[j] ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    let i = 0, j = 0;
    while (i < x.length || j < y.length) {
      if (i < x.length && j < y.length && x[i] === y[j]) {
        put(" ", x[i++]);
        j++;
      } else if (j >= y.length || (i < x.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
        put("-", x[i++]);
      } else {
        put("+", y[j++]);
      }
    }
  }
  a.slice(a.length - tail).forEach((text) => put(" ", text));
  return out;
}
