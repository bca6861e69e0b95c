// sigv4.js - AWS Signature Version 4, made in the browser with WebCrypto. The secret key stays in this tab.
// Source: AWS General Reference, "Signature Version 4 signing process".

const text = new TextEncoder();
const SERVICE = "healthlake";

export const hex = (buffer) => Array.from(new Uint8Array(buffer), (b) => b.toString(16).padStart(2, "0")).join("");

export async function sha256(data) {
  return hex(await crypto.subtle.digest("SHA-256", typeof data === "string" ? text.encode(data) : data));
}

async function hmac(key, data) {
  const raw = typeof key === "string" ? text.encode(key) : key;
  const made = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return crypto.subtle.sign("HMAC", made, text.encode(data));
}

// Percent-encoded as AWS does it: all but letters, digits and -._~
export function encode(value) {
  const whole = String(value);
  return encodeURIComponent(whole.toWellFormed ? whole.toWellFormed() : whole)
    .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

// Pairs of name and value as the query that is sent and signed: encoded, then sorted.
export function queryOf(pairs) {
  return pairs.map(([name, value]) => [encode(name), encode(value)])
    .sort((a, b) => (a[0] === b[0] ? (a[1] < b[1] ? -1 : 1) : a[0] < b[0] ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`).join("&");
}

function stampOf(now) {
  return new Date(now).toISOString().replace(/[-:]|\.\d+/g, "");
}

async function signatureOf(request, headers, names, hash, stamp, who) {
  // the path on the wire is encoded once more, segment by segment
  const path = request.path.split("/").map(encode).join("/");
  const canonical = [request.method, path, request.query,
    ...names.map((name) => `${name}:${headers[name].trim().replace(/ +/g, " ")}`), "", names.join(";"), hash].join("\n");
  const scope = scopeOf(stamp, who);
  const toSign = ["AWS4-HMAC-SHA256", stamp, scope, await sha256(canonical)].join("\n");
  let key = `AWS4${who.secret}`;
  for (const part of scope.split("/")) key = await hmac(key, part);
  return hex(await hmac(key, toSign));
}

const scopeOf = (stamp, who) => `${stamp.slice(0, 8)}/${who.region}/${SERVICE}/aws4_request`;

// The headers that sign request {method, path, query, headers, body}. host is the browser's to send.
//   who  {key, secret, token, region}      now  milliseconds
export async function sign(request, who, now) {
  const stamp = stampOf(now), hash = await sha256(request.body || "");
  const headers = { ...request.headers, host: location.host, "x-amz-date": stamp, "x-amz-content-sha256": hash };
  if (who.token) headers["x-amz-security-token"] = who.token;
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  const names = Object.keys(lower).sort();
  const signature = await signatureOf(request, lower, names, hash, stamp, who);
  delete headers.host;
  headers.Authorization = `AWS4-HMAC-SHA256 Credential=${who.key}/${scopeOf(stamp, who)}, ` +
    `SignedHeaders=${names.join(";")}, Signature=${signature}`;
  return headers;
}

// The path and query of a GET that whoever has it may do for so many seconds: for a download by the browser itself.
export async function presign(path, who, now, seconds) {
  const stamp = stampOf(now);
  const pairs = [["X-Amz-Algorithm", "AWS4-HMAC-SHA256"], ["X-Amz-Credential", `${who.key}/${scopeOf(stamp, who)}`],
    ["X-Amz-Date", stamp], ["X-Amz-Expires", seconds], ["X-Amz-SignedHeaders", "host"]];
  if (who.token) pairs.push(["X-Amz-Security-Token", who.token]);
  const query = queryOf(pairs);
  const empty = await sha256("");
  const signature = await signatureOf({ method: "GET", path, query }, { host: location.host }, ["host"], empty, stamp, who);
  return `${path}?${query}&X-Amz-Signature=${signature}`;
}
