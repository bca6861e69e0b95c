// summary.js - a resource in a line, and when it was: for lists. Everything here is text, whatever the resource says.

const DATES = ["effectiveDateTime", "effectiveInstant", "effectivePeriod", "performedDateTime", "performedPeriod",
  "occurrenceDateTime", "occurrencePeriod", "onsetDateTime", "onsetPeriod", "period", "authoredOn", "authored", "started",
  "recordedDate", "issued", "date", "created", "dateAsserted", "recorded", "sent", "start", "whenHandedOver", "billablePeriod",
  "assertedDate", "timestamp", "servicedDate"];

const text = (value) => (typeof value === "string" || typeof value === "number" ? String(value) : "");

export function concept(value) {
  const one = Array.isArray(value) ? value[0] : value;
  if (!one || typeof one !== "object") return text(one);
  return text(one.text) || text(one.coding?.[0]?.display) || text(one.coding?.[0]?.code) || text(one.display) || text(one.code);
}

function person(name) {
  const one = Array.isArray(name) ? name[0] : name;
  if (typeof one === "string") return one;
  if (!one || typeof one !== "object") return "";
  return text(one.text) || [...[].concat(one.prefix || [], one.given || []), one.family].map(text).filter(Boolean).join(" ");
}

function amount(resource) {
  const q = resource.valueQuantity;
  if (q) return `${text(q.value)} ${text(q.unit || q.code)}`.trim();
  return concept(resource.valueCodeableConcept) || text(resource.valueString) || text(resource.valueInteger) ||
    text(resource.valueDateTime);
}

export function summary(resource) {
  const name = person(resource.name), parts = [name || text(resource.title)];
  for (const member of ["code", "medicationCodeableConcept", "vaccineCode", "type", "category", "class"])
    if (parts.filter(Boolean).length < 1 || member === "code") parts.push(concept(resource[member]));
  parts.push(amount(resource));
  if (resource.birthDate) parts.push(`born ${text(resource.birthDate)}`);
  parts.push(text(resource.gender), typeof resource.status === "string" ? resource.status : "");
  return parts.filter(Boolean).slice(0, 5).join(" - ").slice(0, 160);
}

// The moment that a resource tells of: a text of FHIR, which sorts as it stands; "" is none.
export function when(resource) {
  for (const member of DATES) {
    const value = resource[member];
    if (typeof value === "string") return value;
    if (value && typeof value === "object" && typeof (value.start || value.end) === "string") return value.start || value.end;
  }
  return text(resource.birthDate);
}

// "Patient/1", "Patient/1/_history/2" or a url of this data store that leads there; null for anything else.
export function target(store, reference) {
  const ours = `${location.origin}/datastore/${store}/r4/`;
  const path = reference.startsWith(ours) ? reference.slice(ours.length) : reference;
  return /^[A-Z][A-Za-z]{1,60}\/[A-Za-z0-9.-]{1,64}(\/_history\/[A-Za-z0-9.-]{1,64})?$/.test(path)
    ? `#/store/${store}/r4/${path}` : null;
}
