// jobs.js - the jobs of a data store, exports or imports: a page of the list at a time, looked at again as they go on.
import { control } from "./api.js";
import { badge, field, h, input, select, table } from "./dom.js";
import { count, span, time } from "./format.js";
import { pager } from "./pager.js";
import { trouble } from "./trouble.js";

const PAGE = 100;
const STATES = ["SUBMITTED", "QUEUED", "IN_PROGRESS", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCEL_SUBMITTED",
  "CANCEL_IN_PROGRESS", "CANCEL_COMPLETED", "CANCEL_FAILED"];
export const KINDS = {
  export: { name: "Exports", list: "ListFHIRExportJobs", member: "ExportJobPropertiesList" },
  import: { name: "Imports", list: "ListFHIRImportJobs", member: "ImportJobPropertiesList" },
};

// The files of such an export are with the server, not in S3.
export const isServed = (job) => job.OutputDataConfig?.S3Configuration?.S3Uri.startsWith("s3://served.invalid/");

export const hasEnded = (status) => !/^(SUBMITTED|QUEUED|IN_PROGRESS|CANCEL_SUBMITTED|CANCEL_IN_PROGRESS)$/.test(status);

function progress(kind, job) {
  const report = job.JobProgressReport;
  if (kind === "import") return `${count(report?.TotalNumberOfResourcesImported || 0)} resources`;
  return hasEnded(job.JobStatus) ? "" : job.Message || "";
}

const row = (kind) => (job) => [
  h("a", { href: `#/store/${job.DatastoreId}/job/${kind}/${job.JobId}` }, job.JobName || job.JobId),
  badge(job.JobStatus), time(job.SubmitTime), job.EndTime ? span(job.EndTime - job.SubmitTime) : "", progress(kind, job),
];

export function list(page) {
  const id = page.params.id, kind = page.params.kind in KINDS ? page.params.kind : "export", of = KINDS[kind];
  const box = h("div"), status = select([["", "any"], ...STATES], ""), name = input({ type: "search" });

  const pages = pager({
    page, box,
    async ask(token) {
      const got = await control(of.list, { DatastoreId: id, MaxResults: PAGE, NextToken: token,
        JobStatus: status.value || undefined, JobName: name.value.trim() || undefined }, page.signal);
      return { items: got[of.member], next: got.NextToken };
    },
    draw: (items) => (items.length ? table(of.name, ["Job", "Status", "Submitted", "Took", "Progress"], items.map(row(kind)))
      : h("p", { class: "empty" }, `No ${kind} is known here${status.value || name.value ? " that the filter means" : ""}. `,
        h("a", { href: `#/store/${id}/${kind}` }, `Start an ${kind}`), ".")),
    refused: (fault) => trouble(fault, () => pages.again()),
  });
  status.addEventListener("change", () => pages.first());
  name.addEventListener("change", () => pages.first());
  page.every(3000, () => pages.again(true));
  return [
    h("div", { class: "head" }, h("h1", null, of.name),
      h("a", { class: "button main", href: `#/store/${id}/${kind}` }, `Start an ${kind}`)),
    h("nav", { class: "tabs", "aria-label": "Kinds of jobs" }, Object.entries(KINDS).map(([key, one]) =>
      h("a", { href: `#/store/${id}/jobs/${key}`, "aria-current": key === kind && "page" }, one.name))),
    h("div", { class: "line" }, field("Status", status), field("Name", name)),
    box,
  ];
}
