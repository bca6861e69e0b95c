// stores.js - the data stores: a page of the list at a time, and a new one.
import { control, session } from "./api.js";
import { badge, button, field, h, input, select, show, table } from "./dom.js";
import { time } from "./format.js";
import { pager } from "./pager.js";
import { trouble } from "./trouble.js";

const PAGE = 100;

// Who may not list data stores may know one by its id.
function byId() {
  const id = input({ name: "id", placeholder: "32 hexadecimal digits", pattern: "[0-9a-f]{32}", required: true });
  return h("form", { class: "line", onsubmit: (event) => {
    event.preventDefault();
    location.hash = `#/store/${id.value.trim()}`;
  } }, field("Open a data store by its id", id), h("button", { type: "submit" }, "Open"));
}

const row = (one) => [
  h("a", { href: `#/store/${one.DatastoreId}` }, one.DatastoreName || one.DatastoreId),
  badge(one.DatastoreStatus), time(one.CreatedAt), h("code", null, one.DatastoreId),
];

export function list(page) {
  const box = h("div");
  const states = select([["", "all"], "ACTIVE", "CREATING", "DELETING", "DELETED", "CREATE_FAILED"], "", { id: "status" });

  const pages = pager({
    page, box,
    async ask(token) {
      const filter = states.value ? { DatastoreStatus: states.value } : undefined;
      const got = await control("ListFHIRDatastores", { MaxResults: PAGE, NextToken: token, Filter: filter }, page.signal);
      return { items: got.DatastorePropertiesList, next: got.NextToken };
    },
    draw: (items) => (items.length ? table("Data stores", ["Name", "Status", "Created", "Id"], items.map(row))
      : h("p", { class: "empty" }, "There is no data store yet. ", h("a", { href: "#/stores/new" }, "Create one"),
        "; it can be filled with patients that nobody is.")),
    refused: (fault) => [trouble(fault, () => pages.again()), byId()],
  });
  states.addEventListener("change", () => pages.first());
  page.every(3000, () => pages.again(true));
  return [
    h("div", { class: "head" }, h("h1", null, "Data stores"),
      h("a", { class: "button main", href: "#/stores/new" }, "Create a data store")),
    h("div", { class: "line" }, h("label", { for: "status" }, "Status"), states),
    box,
  ];
}

export function create() {
  const name = input({ name: "name", maxlength: 256 });
  const preload = h("input", { type: "checkbox", name: "preload" });
  const tags = h("textarea", { rows: 2, name: "tags", placeholder: "team=cardiology" });
  const told = h("div"), send = h("button", { type: "submit", class: "main" }, "Create");

  async function submit(event) {
    event.preventDefault();
    const given = tags.value.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
      const at = line.indexOf("=");
      return { Key: at < 0 ? line : line.slice(0, at), Value: at < 0 ? "" : line.slice(at + 1) };
    });
    send.disabled = true;
    try {
      const made = await control("CreateFHIRDatastore", {
        DatastoreTypeVersion: "R4", ClientToken: crypto.randomUUID?.(), DatastoreName: name.value.trim() || undefined,
        PreloadDataConfig: preload.checked ? { PreloadDataType: "SYNTHEA" } : undefined,
        Tags: given.length ? given : undefined });
      location.hash = `#/store/${made.DatastoreId}`;
    } catch (fault) {
      send.disabled = false;
      show(told, trouble(fault));
    }
  }

  return [
    h("h1", null, "Create a data store"),
    h("form", { class: "narrow", onsubmit: submit },
      field("Name", name, "Letters, digits, spaces and _.:/=+-%@; may be left out."),
      h("div", { class: "field check" }, preload, h("label", { for: (preload.id = "preload") },
        "Fill it with synthetic patients (SYNTHEA)")),
      field("Tags", tags, "One a line, as name=value."),
      h("p", { class: "hint" }, `It is FHIR R4, in ${session.server.region}. Encryption, backup and identity providers are set `,
        "with the AWS CLI (create-fhir-datastore)."),
      told, h("p", null, send, " ", button("Cancel", () => history.back(), { class: "quiet" }))),
  ];
}
