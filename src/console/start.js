// start.js - forms that start an export or an import.
import { capabilities, control, fhir, session } from "./api.js";
import { button, field, h, input, select, show } from "./dom.js";
import { trouble } from "./trouble.js";

const role = () => input({ name: "role", required: true, value: `arn:aws:iam::${session.server.accountId}:role/any` });
const ROLE_HINT = "In whose name S3 is asked. Without --roles and --sts-endpoint the server takes any.";

function formOf(page, title, parts, send, action) {
  const told = h("div"), go = h("button", { type: "submit", class: "main" }, action);
  return [h("h1", null, title), h("form", { class: "narrow", onsubmit: async (event) => {
    event.preventDefault();
    go.disabled = true;
    show(told);
    try {
      location.hash = await send();
    } catch (fault) {
      go.disabled = false;
      show(told, trouble(fault));
    }
  } }, parts, told, h("p", null, go, " ", button("Cancel", () => history.back(), { class: "quiet" })))];
}

// ---- export ----

function instant(text) {
  if (!text) return "";
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : date.toISOString();
}

export function exporting(page) {
  const id = page.params.id;
  const where = ["served", "s3"].map((value, i) => h("input", { type: "radio", name: "where", value, checked: i === 0,
    id: `where-${value}` }));
  const level = select([["", "the whole data store"], ["Patient/", "patients and what belongs to them"]], "");
  const types = input({ list: "types", placeholder: "Patient,Observation" }), known = h("datalist", { id: "types" });
  const since = h("input", { type: "datetime-local", step: "1" });
  const name = input({ maxlength: 64 }), uri = input({ placeholder: "s3://output/nightly" }), arn = role();
  const key = input({ value: "alias/any" });
  const s3 = h("fieldset", { hidden: true, disabled: true }, h("legend", null, "Into S3"), field("Place", uri,
    "s3://BUCKET/PREFIX; the job makes a folder of its own there."), field("Role", arn, ROLE_HINT),
  field("KMS key", key), field("Name of the job", name, "May be left out."));
  const isS3 = () => where[1].checked;
  for (const one of where)
    one.addEventListener("change", () => {
      s3.hidden = s3.disabled = !isS3();
      uri.required = isS3();
    });
  capabilities(id, page.signal).then((all) => show(known, all.resource.map((one) => h("option", { value: one.type }))))
    .catch(() => {}); // a list to choose from is a help, not a need

  async function send() {
    const pairs = [["_type", types.value.replace(/\s/g, "")], ["_since", instant(since.value)]].filter(([, v]) => v);
    const path = `${level.value}$export`, headers = { Prefer: "respond-async" };
    if (!isS3()) {
      const { headers: told } = await fhir(id, "GET", path, pairs, { headers, name: "start export", raw: true });
      return `#/store/${id}/job/export/${told.get("Content-Location").split("/").pop()}`;
    }
    const body = { DataAccessRoleArn: arn.value.trim(), JobName: name.value.trim() || undefined,
      OutputDataConfig: { S3Configuration: { S3Uri: uri.value.trim(), KmsKeyId: key.value.trim() } } };
    if (!pairs.length && !level.value) {
      const made = await control("StartFHIRExportJob", { DatastoreId: id, ClientToken: crypto.randomUUID?.(), ...body });
      return `#/store/${id}/job/export/${made.JobId}`;
    }
    const { text } = await fhir(id, "POST", path, pairs, { headers, body, name: "start export" });
    return `#/store/${id}/job/export/${JSON.parse(text).jobId}`;
  }

  return formOf(page, "Start an export", [
    h("fieldset", null, h("legend", null, "Where the files go"),
      h("div", { class: "check" }, where[0], h("label", { for: "where-served" }, "This server keeps them, to be downloaded over HTTP")),
      h("div", { class: "check" }, where[1], h("label", { for: "where-s3" }, "Into S3, as HealthLake's exports"))),
    s3,
    field("What", level),
    field("Types", types, "Divided by commas; none: all types."), known,
    field("Changed since", since, "In the time of this browser. None: from the beginning."),
  ], send, "Start the export");
}

// ---- import ----

export function importing(page) {
  const id = page.params.id;
  const from = input({ required: true, placeholder: "s3://input/patients/" }), to = input({ required: true,
    placeholder: "s3://output/imports" });
  const name = input({ maxlength: 64 }), arn = role(), key = input({ value: "alias/any", required: true });
  const level = select([["", "strict (as usual)"], "structure-only", "minimal"], "");

  async function send() {
    const made = await control("StartFHIRImportJob", { DatastoreId: id, ClientToken: crypto.randomUUID?.(),
      JobName: name.value.trim() || undefined, DataAccessRoleArn: arn.value.trim(), ValidationLevel: level.value || undefined,
      InputDataConfig: { S3Uri: from.value.trim() },
      JobOutputDataConfig: { S3Configuration: { S3Uri: to.value.trim(), KmsKeyId: key.value.trim() } } });
    return `#/store/${id}/job/import/${made.JobId}`;
  }

  return formOf(page, "Start an import", [
    field("From", from, "An NDJSON object, or all objects below a prefix: plain, .gz or .zst."),
    field("Reports go to", to, "What could not be imported is told there, line by line."),
    field("Role", arn, ROLE_HINT), field("KMS key", key), field("Validation", level),
    field("Name of the job", name, "May be left out."),
  ], send, "Start the import");
}
