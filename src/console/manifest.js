// manifest.js - what an export left: its files, and the proof that they are what the manifest says.
//
// Files that this server keeps are fetched and compared here: bytes, lines, SHA-256. Those in S3 are not this page's to
// read; for them the command stands here that proves the same, and more.
import { download, fhir, linked } from "./api.js";
import { button, command, facts, h, show, table } from "./dom.js";
import { count, size, time, word } from "./format.js";
import { isServed } from "./jobs.js";
import { sha256 } from "./sigv4.js";
import { trouble } from "./trouble.js";

const PAGE = 200; // files on the screen at a time
const CHECKED_MOST = 512e6; // bytes of a file that a tab takes into memory

const nameOf = (file) => decodeURIComponent(file.url.replace(/^.*\/files\//, "").replace(/^s3:\/\/[^/]*\//, ""));

async function check(id, file, signal) {
  const to = linked(id, file.url);
  if (file.bytes > CHECKED_MOST) return "too large for a browser; use the command below";
  const { answer } = await fhir(id, "GET", to.path, to.pairs, { signal, raw: true, name: "check a file",
    headers: { Accept: "application/fhir+ndjson" } });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  let rows = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) rows++;
  // in files by Patient each block has a head that is no resource
  const counted = rows - (file.blocks || 0);
  if (file.bytes !== undefined && bytes.length !== file.bytes) return `has ${bytes.length} bytes, not ${file.bytes}`;
  if (!file.blocks && counted !== file.count) return `has ${counted} lines, not ${file.count}`;
  if (file.sha256 && globalThis.crypto?.subtle && (await sha256(bytes)) !== file.sha256) return "has another SHA-256";
  return "";
}

function verdict(box, n, faults, all) {
  show(box, faults.length
    ? h("div", { class: "trouble", role: "alert" }, h("h2", null, `${faults.length} of ${n} files are not what the manifest says`),
      h("ul", null, faults.slice(0, 50).map(([name, why]) => h("li", null, h("code", null, name), ` ${why}`))),
      h("p", null, "Do not use this export: start another one, and tell whoever runs the server."))
    : h("p", { class: "verdict", role: "status" }, n === all ? `Whole: ${count(n)} files have the bytes, lines and SHA-256 that ` +
      "the manifest says." : `${count(n)} of ${count(all)} files checked ...`));
}

function proof(page, job, files, folder) {
  const box = h("div"), id = page.params.id;
  const at = location.origin;
  const cli = isServed(job)
    ? "Over HTTP it is checked here. An export into S3 can be compared with the data store itself, too: fhirlake verify --help."
    : [h("p", null, "These files are in S3, which this page does not read. On a machine that may read them:"),
      command(`fhirlake verify ${word(folder)} --against ${word(at)} --credentials fhirlake-data/credentials`),
      h("p", { class: "hint" }, "If s3:// is a directory of the server, add --objects with that directory.")];
  async function run() {
    const faults = [];
    let n = 0;
    try {
      for (const file of files) {
        const why = await check(id, file, page.signal);
        if (why) faults.push([nameOf(file), why]);
        verdict(box, ++n, faults, files.length);
      }
    } catch (fault) {
      show(box, trouble(fault, run));
    }
  }
  return h("section", null, h("h2", null, "Is it whole?"),
    isServed(job) ? h("p", null, button("Check all files", run), " ", h("span", { class: "hint" },
      `fetches ${size(files.reduce((sum, file) => sum + (file.bytes || 0), 0))}`)) : null, box, cli);
}

async function save(id, file) {
  const to = linked(id, file.url);
  h("a", { href: await download(`/datastore/${id}/r4/${to.path}`), download: nameOf(file).split("/").pop() }).click();
}

function filesOf(page, job, files) {
  const box = h("div"), id = page.params.id;
  let from = 0;
  const row = (file) => [file.type || file.kind || "", h("code", null, nameOf(file)), count(file.count || 0),
    file.bytes === undefined ? "" : size(file.bytes), h("code", { class: "whole", title: file.sha256 }, (file.sha256 || "").slice(0, 12)),
    file.reused ? "copied" : "written",
    isServed(job) ? button("Save", () => save(id, file), { class: "quiet", "aria-label": `Save ${nameOf(file)}` }) : ""];
  function draw() {
    const shown = files.slice(from, from + PAGE);
    const move = (by) => () => {
      from += by;
      draw();
    };
    show(box, table("Files of the export", ["Type", "File", "Resources#", "Size#", "SHA-256", "How", ""], shown.map(row)),
      files.length > PAGE ? h("nav", { class: "pager", "aria-label": "Pages of files" },
        button("Previous", move(-PAGE), { disabled: from === 0 }),
        h("span", null, `${count(from + 1)} to ${count(from + shown.length)} of ${count(files.length)}`),
        button("Next", move(PAGE), { disabled: from + PAGE >= files.length })) : null);
  }
  draw();
  return box;
}

async function all(id, jobId, signal) {
  const files = [];
  let whole, to = { path: `export/${jobId}`, pairs: [] };
  while (to) {
    const part = JSON.parse((await fhir(id, "GET", to.path, to.pairs, { signal, name: "manifest",
      headers: { Accept: "application/json" } })).text);
    whole ??= part;
    for (const [member, kind] of [["output", ""], ["deleted", "deleted"], ["error", "error"]])
      for (const file of part[member] || []) files.push({ ...file, kind });
    const next = (part.link || []).find((link) => link.relation === "next");
    to = next && linked(id, next.url);
  }
  return { whole, files };
}

export function manifest(page, job) {
  const box = h("section", null, h("h2", null, "Files"), h("p", { class: "hint" }, "Asking for the manifest ..."));
  async function load() {
    try {
      const { whole, files } = await all(page.params.id, page.params.job, page.signal);
      const digest = whole.contentDigest;
      show(box, h("h2", null, "Files"),
        facts([["As of", time(whole.transactionTime)], ["Files", count(files.length)],
          ["Resources", count(files.reduce((sum, file) => sum + (file.kind ? 0 : file.count || 0), 0))],
          ["Size", size(files.reduce((sum, file) => sum + (file.bytes || 0), 0))],
          ["Digest of the content", digest && h("code", null, typeof digest === "string" ? digest : JSON.stringify(digest))]]),
        filesOf(page, job, files), proof(page, job, files, job.OutputDataConfig.S3Configuration.S3Uri));
    } catch (fault) {
      show(box, h("h2", null, "Files"), trouble(fault, load));
    }
  }
  load();
  return box;
}
