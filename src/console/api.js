// api.js - both planes of the server, asked in the name of the person at this tab. The access key is held here, in this
// module's memory, and nowhere else: a reload or a closed tab forgets it.
import { presign, queryOf, sign } from "./sigv4.js";

export const session = { server: null, who: null };
let offset = 0; // milliseconds that the server's clock is ahead of ours

// The last answers, for the page of the server's health: {at, name, ms, status}. 0 is no answer.
export const asked = [];
const ASKED_MOST = 500;

export class Refusal extends Error {
  // status: of HTTP, 0 when no answer came; type: AWS's exception or FHIR's issue code; issues: of an OperationOutcome
  constructor(status, type, message, issues) {
    super(message);
    Object.assign(this, { status, type, issues: issues || [] });
  }
}

function note(name, began, status) {
  asked.push({ at: Date.now(), name, ms: performance.now() - began, status });
  if (asked.length > ASKED_MOST) asked.shift();
}

async function once(request, name, signal) {
  const began = performance.now();
  const target = request.path + (request.query && `?${request.query}`);
  const open = session.server?.auth === "none";
  const headers = open || !session.who ? request.headers : await sign(request, session.who, Date.now() + offset);
  let answer;
  try {
    answer = await fetch(target, { method: request.method, headers, body: request.body, signal, cache: "no-store",
      credentials: "omit", redirect: "error" });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    note(name, began, 0);
    throw new Refusal(0, "NoAnswer", "The server gave no answer.");
  }
  note(name, began, answer.status);
  return answer;
}

// A signature is good for some minutes around its time. A refused one is made once more when our clock is wrong.
async function send(request, name, signal) {
  const answer = await once(request, name, signal);
  const theirs = Date.parse(answer.headers.get("Date"));
  if ((answer.status !== 400 && answer.status !== 401 && answer.status !== 403) || Number.isNaN(theirs) ||
      Math.abs(theirs - Date.now() - offset) < 60000)
    return answer;
  offset = theirs - Date.now();
  return once(request, name, signal);
}

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function refusal(answer) {
  const text = await answer.text(), body = read(text);
  if (body?.resourceType === "OperationOutcome") {
    const issues = body.issue || [], first = issues[0] || {};
    return new Refusal(answer.status, first.code, issues.map((one) => one.diagnostics || one.details?.text || one.code)
      .join("\n"), issues);
  }
  const type = (answer.headers.get("x-amzn-errortype") || body?.__type || "").replace(/.*#/, "");
  return new Refusal(answer.status, type, body?.message || body?.Message || text.slice(0, 500) ||
    `The server answered ${answer.status}.`);
}

// An operation of the control plane.
export async function control(operation, input, signal) {
  const answer = await send({ method: "POST", path: "/", query: "", body: JSON.stringify(input || {}),
    headers: { "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": `HealthLake.${operation}` } }, operation, signal);
  if (!answer.ok) throw await refusal(answer);
  return answer.json();
}

const FHIR_JSON = "application/fhir+json";

// A request below the data store. pairs: of the query. Answers {status, headers, text, answer}; what is refused is thrown.
//   raw  text is left to the caller, who reads answer
export async function fhir(store, method, path, pairs, more) {
  const { body, headers, signal, name, raw } = more || {};
  const whole = `/datastore/${store}/r4${path ? `/${path}` : ""}`;
  const answer = await send({ method, path: whole, query: queryOf(pairs || []), body: body && JSON.stringify(body),
    headers: { Accept: FHIR_JSON, ...(body && { "Content-Type": FHIR_JSON }), ...headers } },
  name || `${method} ${path.split("/")[0].split("?")[0] || "(base)"}`, signal);
  if (!answer.ok) throw await refusal(answer);
  return { status: answer.status, headers: answer.headers, answer, text: raw ? "" : await answer.text() };
}

// What may follow a link that the server gave: its path below the data store and its pairs. Another place: null.
export function linked(store, url) {
  const target = new URL(url, location.origin), base = `/datastore/${store}/r4`;
  if (target.pathname !== base && !target.pathname.startsWith(`${base}/`)) return null;
  return { path: target.pathname.slice(base.length + 1), pairs: [...target.searchParams] };
}

// A path of this server that the browser itself may get for a minute.
export async function download(path) {
  return session.server.auth === "none" ? path : presign(path, session.who, Date.now() + offset, 60);
}

export async function health(signal) {
  const answer = await once({ method: "GET", path: "/health", query: "", headers: {} }, "health", signal);
  return answer.json();
}

// What requests of all callers come to, in Prometheus' text format. Refused to who is limited by a policy.
export async function numbers(signal) {
  const answer = await send({ method: "GET", path: "/console/metrics", query: "", headers: {} }, "numbers", signal);
  if (!answer.ok) throw await refusal(answer);
  return answer.text();
}

// ---- CapabilityStatements: one for each data store, and what is asked of them ----

const statements = new Map();

export async function capabilities(store, signal) {
  if (!statements.has(store)) {
    const { text } = await fhir(store, "GET", "metadata", [], { signal, name: "GET metadata" });
    statements.set(store, JSON.parse(text).rest[0]);
  }
  return statements.get(store);
}

export function forget() {
  session.who = null;
  statements.clear();
  asked.length = 0;
}
