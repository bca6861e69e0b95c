// job.js - one job: how far it is, how fast, how long still; its end, and what it left.
import { control, fhir } from "./api.js";
import { badge, button, facts, h, show } from "./dom.js";
import { count, size, span, time } from "./format.js";
import { hasEnded, isServed, KINDS } from "./jobs.js";
import { manifest } from "./manifest.js";
import { plot } from "./plot.js";
import { trouble } from "./trouble.js";

const ASK = {
  export: ["DescribeFHIRExportJob", "ExportJobProperties"],
  import: ["DescribeFHIRImportJob", "ImportJobProperties"],
};
const PAUSE_MS = 1000;
const WINDOW_S = 6; // a rate is that of the last seconds: an import publishes what it has read in heaps

// "42% - 1200 resources - 3.4 MB - 900/s - about 12 s left" of a running export
export function readProgress(text) {
  const of = (pattern) => pattern.exec(text || "")?.[1];
  return { share: Number(of(/(\d+)%/)) || undefined, done: Number(of(/(\d+) resources/)) || 0, left: of(/about (.+) left/) };
}

function told(kind, job) {
  const report = job.JobProgressReport || {};
  return facts([
    ["Status", badge(job.JobStatus)],
    ["Submitted", time(job.SubmitTime)],
    ["Ended", time(job.EndTime)],
    ["Took", job.EndTime && span(job.EndTime - job.SubmitTime)],
    ["From", job.InputDataConfig && h("code", null, job.InputDataConfig.S3Uri)],
    ["Files", isServed(job) ? "with this server, over HTTP"
      : h("code", null, (job.OutputDataConfig || job.JobOutputDataConfig)?.S3Configuration.S3Uri)],
    ["Validation", job.ValidationLevel],
    ["On average", job.EndTime > job.SubmitTime && amount(kind, job) > 0 &&
      `${count(Math.round(amount(kind, job) / (job.EndTime - job.SubmitTime)))} resources a second`],
    ["Role", job.DataAccessRoleArn && h("code", null, job.DataAccessRoleArn)],
    ["Files read", kind === "import" && `${count(report.TotalNumberOfImportedFiles || 0)} of ` +
      `${count(report.TotalNumberOfScannedFiles || 0)}, ${size((report.TotalSizeOfScannedFilesInMB || 0) * 1e6)}`],
    ["Imported", kind === "import" && `${count(report.TotalNumberOfResourcesImported || 0)} resources`],
    ["With faults", kind === "import" && report.TotalNumberOfResourcesWithCustomerError
      ? `${count(report.TotalNumberOfResourcesWithCustomerError)} resources; the reports in S3 say which and why` : ""],
    ["Message", hasEnded(job.JobStatus) && job.Message],
    ["Id", h("code", null, job.JobId)],
  ].filter(([, value]) => value !== false));
}

function amount(kind, job) {
  if (kind === "import") return job.JobProgressReport?.TotalNumberOfResourcesImported || 0;
  return readProgress(job.Message).done;
}

function going(kind, job, rate) {
  if (hasEnded(job.JobStatus)) return null;
  if (job.JobStatus !== "IN_PROGRESS") return h("p", null, "It waits for its turn: of a data store one job of a kind runs at a time.");
  const { share, left } = kind === "export" ? readProgress(job.Message) : {};
  const bar = h("progress", { max: 100, "aria-label": "How far the job is", value: share });
  if (share === undefined) bar.removeAttribute("value");
  const report = job.JobProgressReport;
  const parts = [share !== undefined ? `${share} %` : "running", report?.TotalNumberOfScannedFiles
    ? `${count(report.TotalNumberOfImportedFiles || 0)} of ${count(report.TotalNumberOfScannedFiles)} files` : "",
    `${count(amount(kind, job))} resources`,
    rate !== undefined && `${count(Math.round(rate))} a second`,
    left ? `about ${left} left` : kind === "import" ? "the time left is not known: the API does not tell it" : ""];
  return [bar, h("p", null, parts.filter(Boolean).join(" - "))];
}

function cancelling(page, kind, box) {
  const { id, job } = page.params;
  if (kind === "import") return h("p", { class: "hint" }, "An import cannot be cancelled: HealthLake's API has no call for it.");
  return button("Cancel the job", async () => {
    try {
      await fhir(id, "DELETE", `export/${job}`, [], { name: "cancel export" });
      show(box, h("p", { role: "status" }, "It is being cancelled."));
    } catch (fault) {
      show(box, trouble(fault));
    }
  }, { class: "danger" });
}

export function page(page) {
  const { id, job: jobId } = page.params, kind = page.params.kind in ASK ? page.params.kind : "export";
  const [operation, member] = ASK[kind];
  const state = h("div"), way = h("div"), act = h("div"), said = h("div"), left = h("div"), title = h("h1", null, "Job");
  const chart = plot("Resources a second", "a second");
  const looks = []; // {now, n} of the last seconds
  let began, ended = false, refused = "";

  function measure(job) {
    const now = performance.now() / 1000, n = amount(kind, job);
    if (job.JobStatus !== "IN_PROGRESS") return undefined;
    began ??= now;
    while (looks.length > 1 && now - looks[1].now > WINDOW_S) looks.shift();
    const first = looks[0];
    looks.push({ now, n });
    if (!first || now <= first.now) return undefined;
    const rate = Math.max(0, n - first.n) / (now - first.now);
    chart.add(now - began, rate);
    return rate;
  }

  // The first Describe of a job that goes on may be answered late, since it waits for the end. A list is told at once.
  async function glance() {
    try {
      const { list, member: members } = KINDS[kind];
      const got = await control(list, { DatastoreId: id, MaxResults: 50 }, page.signal);
      const job = got[members].find((one) => one.JobId === jobId);
      if (job && !state.querySelector("dl")) draw(job);
    } catch {
      // who may not list jobs waits for the Describe
    }
  }

  function draw(job) {
    title.textContent = job.JobName || (kind === "export" ? "Export" : "Import");
    const rate = measure(job);
    show(state, told(kind, job));
    show(way, going(kind, job, rate), chart.empty ? null : chart.node);
    if (hasEnded(job.JobStatus)) return;
    if (!act.firstChild) show(act, cancelling(page, kind, said));
  }

  async function load() {
    if (ended) return;
    try {
      const job = (await control(operation, { DatastoreId: id, JobId: jobId }, page.signal))[member];
      refused = "";
      draw(job);
      ended = hasEnded(job.JobStatus);
      if (ended) {
        show(act);
        show(said);
        if (kind === "export" && job.JobStatus.startsWith("COMPLETED")) show(left, manifest(page, job));
      }
    } catch (fault) {
      if (fault.name === "AbortError") return;
      if (refused !== fault.message) show(state, trouble(fault, () => {
        refused = "";
        load();
      }));
      refused = fault.message;
    }
  }

  glance();
  page.every(PAUSE_MS, load);
  show(state, h("p", { class: "hint" }, "Asking ..."));
  return [h("p", { class: "back" }, h("a", { href: `#/store/${id}/jobs/${kind}` }, `All ${kind}s`)), title, way, act, said, state,
    left];
}
