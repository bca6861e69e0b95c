// numbers.js - what a server counts, read from Prometheus' text format: requests by operation and outcome, and their times.

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export function samples(text) {
  return text.split("\n").map((line) => LINE.exec(line)).filter(Boolean).map(([, name, labels, value]) => ({ name,
    labels: Object.fromEntries([...(labels || "").matchAll(LABEL)].map((one) => [one[1], one[2]])), value: Number(value) }));
}

// By operation: {name, success, user_error, server_error, throttled, buckets: [[seconds, requests that took no longer]]}
export function operations(text) {
  const all = new Map();
  const of = (name) => all.get(name) || all.set(name, { name, success: 0, user_error: 0, server_error: 0, throttled: 0,
    buckets: [] }).get(name);
  for (const { name, labels, value } of samples(text)) {
    if (name === "fhirlake_requests_total") of(labels.operation)[labels.outcome] += value;
    else if (name === "fhirlake_request_duration_seconds_bucket")
      of(labels.operation).buckets.push([labels.le === "+Inf" ? Infinity : Number(labels.le), value]);
  }
  return [...all.values()];
}

export const failures = (text) => samples(text).filter((one) => one.name === "fhirlake_auth_failures_total" && one.value > 0);

export const requests = (one) => one.success + one.user_error + one.server_error + one.throttled;

// The bound below which this share of the requests were: a histogram knows no more.
export function within(one, share) {
  const most = Math.max(0, ...one.buckets.map((bucket) => bucket[1]));
  if (!most) return undefined;
  return Math.min(...one.buckets.filter((bucket) => bucket[1] >= most * share).map((bucket) => bucket[0]));
}
