// store.js - one data store: what it is, how much of which type it holds, its tags, its end.
import { capabilities, control, fhir } from "./api.js";
import { badge, button, command, facts, field, h, input, show, table } from "./dom.js";
import { count, time } from "./format.js";
import { bars } from "./plot.js";
import { trouble } from "./trouble.js";

function properties(one) {
  const kms = one.SseConfiguration?.KmsEncryptionConfig, backup = one.BackupStatusInfo?.Configuration;
  return facts([
    ["Status", badge(one.DatastoreStatus)],
    ["Id", h("code", null, one.DatastoreId)],
    ["Endpoint", h("code", null, one.DatastoreEndpoint)],
    ["Created", time(one.CreatedAt)],
    ["Preloaded", one.PreloadDataConfig?.PreloadDataType],
    ["Key", kms && (kms.KmsKeyId || kms.CmkType)],
    ["Who is let in", one.IdentityProviderConfiguration?.AuthorizationStrategy],
    ["Backup", backup && `${backup.Status}, ${backup.RetentionPeriodInDays} days`],
    ["Why it failed", one.ErrorCause?.ErrorMessage],
  ]);
}

// ---- sizes ----

// One batch counts all types: a search of each that brings the total alone.
async function countAll(id, signal) {
  const types = (await capabilities(id, signal)).resource.map((one) => one.type);
  const body = { resourceType: "Bundle", type: "batch",
    entry: types.map((type) => ({ request: { method: "GET", url: `${type}?_summary=count` } })) };
  const { text } = await fhir(id, "POST", "", [], { body, signal, name: "count by type" });
  const answers = JSON.parse(text).entry || [];
  return types.map((type, i) => ({ type, n: answers[i]?.resource?.total, status: answers[i]?.response?.status }));
}

function sizes(page) {
  const id = page.params.id, box = h("div");
  async function load() {
    show(box, h("p", { class: "hint" }, "Counting ..."));
    try {
      const all = await countAll(id, page.signal);
      const some = all.filter((one) => one.n > 0).sort((a, b) => b.n - a.n), lost = all.filter((one) => one.n === undefined);
      show(box,
        some.length ? [
          h("p", null, `${count(some.reduce((sum, one) => sum + one.n, 0))} resources of ${some.length} types`),
          bars("Resources by type", some.map((one) => ({ name: one.type, value: one.n, text: count(one.n),
            href: `#/store/${id}/r4/${one.type}` }))),
        ] : h("p", { class: "empty" }, "It holds no resource. ", h("a", { href: `#/store/${id}/import` }, "Import some"), "."),
        lost.length ? h("p", { class: "hint" }, `Not counted: ${lost.map((one) => `${one.type} (${one.status || "no answer"})`)
          .slice(0, 8).join(", ")}${lost.length > 8 ? ` and ${lost.length - 8} more` : ""}.`) : null);
    } catch (fault) {
      show(box, trouble(fault, load));
    }
  }
  load();
  return h("section", null, h("div", { class: "head" }, h("h2", null, "What it holds"), button("Count again", load,
    { class: "quiet" })), box);
}

// ---- tags ----

function tags(page, arn) {
  const box = h("div"), told = h("div"), name = input({ required: true, maxlength: 128 }), value = input({ maxlength: 256 });

  async function change(operation, more) {
    show(told);
    try {
      await control(operation, { ResourceARN: arn, ...more }, page.signal);
      await load();
    } catch (fault) {
      show(told, trouble(fault));
    }
  }

  async function load() {
    try {
      const { Tags } = await control("ListTagsForResource", { ResourceARN: arn }, page.signal);
      show(box, Tags.length ? table("Tags", ["Name", "Value", ""], Tags.map((tag) => [tag.Key, tag.Value,
        button("Remove", () => change("UntagResource", { TagKeys: [tag.Key] }), { class: "quiet",
          "aria-label": `Remove the tag ${tag.Key}` })])) : h("p", { class: "hint" }, "It has no tags."));
    } catch (fault) {
      show(box, trouble(fault, load));
    }
  }

  load();
  return h("section", null, h("h2", null, "Tags"), box, h("form", { class: "line", onsubmit: (event) => {
    event.preventDefault();
    change("TagResource", { Tags: [{ Key: name.value, Value: value.value }] });
  } }, field("Name", name), field("Value", value), h("button", { type: "submit" }, "Set the tag")), told);
}

// ---- the end ----

function removal(page, one) {
  const told = h("div"), typed = input({ required: true });
  const named = one.DatastoreName || one.DatastoreId;
  const dialog = h("dialog", { "aria-labelledby": "removal" },
    h("form", { onsubmit: remove },
      h("h2", { id: "removal" }, "Delete this data store?"),
      h("p", null, "All its resources and their histories go. Exports that are in S3 stay. This cannot be undone",
        one.BackupStatusInfo ? " but by restoring its backup." : "."),
      field(`Type ${named} to go on`, typed),
      told,
      h("p", null, h("button", { type: "submit", class: "danger" }, "Delete it"), " ",
        button("Keep it", () => dialog.close(), { class: "quiet" }))));

  async function remove(event) {
    event.preventDefault();
    if (typed.value.trim() !== named) {
      show(told, h("p", { role: "alert" }, "That is not its name."));
      return;
    }
    try {
      await control("DeleteFHIRDatastore", { DatastoreId: one.DatastoreId });
      dialog.close();
      page.refresh();
    } catch (fault) {
      show(told, trouble(fault));
    }
  }

  return [button("Delete ...", () => dialog.showModal(), { class: "danger" }), dialog];
}

export function page(page) {
  const id = page.params.id, box = h("div"), title = h("h1", null, "Data store"), rest = h("div");
  let status = "";

  async function load() {
    try {
      const { DatastoreProperties: one } = await control("DescribeFHIRDatastore", { DatastoreId: id }, page.signal);
      if (one.DatastoreStatus === status) return;
      status = one.DatastoreStatus;
      title.textContent = one.DatastoreName || "Data store";
      show(box, properties(one), status === "CREATING" ? h("p", { class: "hint" }, "It is being made; this page waits for it.")
        : null);
      if (status === "ACTIVE")
        show(rest, sizes(page), tags(page, one.DatastoreArn), h("section", null, h("h2", null, "From a terminal"),
          command(`aws healthlake describe-fhir-datastore --endpoint-url ${location.origin} --datastore-id ${id}`)),
        h("section", null, h("h2", null, "The end of it"), removal(page, one)));
      else if (status === "CREATE_FAILED") show(rest, removal(page, one));
      else show(rest, status === "DELETED" ? h("p", null, h("a", { href: "#/stores" }, "To the other data stores")) : null);
    } catch (fault) {
      if (fault.name === "AbortError") return;
      status = "";
      // who may not describe it may still search it
      show(box, trouble(fault, load), h("p", null, h("a", { href: `#/store/${id}/r4` }, "Search it all the same")));
    }
  }

  page.every(4000, load);
  return [title, box, rest];
}
