// console_walk.mjs - a person's way through the console, in a real browser: from signing in to an export that is whole and a
// resource that is read. It fails where the way ends; what it saw is written as JSON to standard output.
//
//   node console_walk.mjs FOLDER ORDER      FOLDER has playwright-core and axe-core in node_modules
//   ORDER  JSON: {browser, url, open, key, secret, limited: {key, secret, store}, place, shots}; open: url of a server without
//          signatures; place: for an export into S3
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [folder, order] = [process.argv[2], JSON.parse(process.argv[3])];
const { chromium } = createRequire(`${folder}/`)("playwright-core");
const AXE = readFileSync(`${folder}/node_modules/axe-core/axe.min.js`, "utf8");
const seen = { axe: [], errors: [], asked: 0, leaks: [], rows: [], shots: 0 };

const browser = await chromium.launch({ executablePath: order.browser, args: ["--no-sandbox", "--disable-dev-shm-usage",
  "--host-resolver-rules=MAP elsewhere.test 127.0.0.1"] });
const context = await browser.newContext({ viewport: { width: 1200, height: 850 }, acceptDownloads: true,
  ignoreHTTPSErrors: true });
const page = await context.newPage();
context.setDefaultTimeout(120000); // machines that are starved
page.on("pageerror", (fault) => seen.errors.push(fault.message));
page.on("console", (line) => {
  // a refusal that the page shows is told by the browser, too
  if (line.type() === "error" && !line.text().startsWith("Failed to load resource")) seen.errors.push(line.text());
});
page.on("request", (request) => {
  seen.asked++;
  const sent = request.url() + JSON.stringify(request.headers()) + (request.postData() || "");
  if (sent.includes(order.secret) || sent.includes(encodeURIComponent(order.secret))) seen.leaks.push(request.url());
  if (!request.url().startsWith(order.url)) seen.leaks.push(`elsewhere: ${request.url()}`);
});

// what a page looks like, and what axe-core has against it; the browser's own tools are not bound by the page's policy
async function look(name) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  for (const one of violations)
    seen.axe.push({ page: name, impact: one.impact, id: one.id, where: one.nodes.slice(0, 3).map((node) => node.html) });
  if (order.shots) await page.screenshot({ path: `${order.shots}/${String(++seen.shots).padStart(2, "0")}-${name}.png` });
}

const link = (name) => page.getByRole("link", { name, exact: true }).first().click();
const press = (name) => page.getByRole("button", { name, exact: true }).first().click();
const fill = (label, text) => page.getByLabel(label, { exact: true }).first().fill(text);
const head = (text) => page.locator("h1", { hasText: text }).waitFor();

async function signIn(key, secret) {
  await fill("Access key ID", key);
  await fill("Secret access key", secret);
  await press("Sign in");
}

// ---- signing in ----

await page.goto(`${order.url}/`);
await head("Sign in");
seen.at = page.url();
await look("sign-in");
await signIn(order.key, "not-the-secret");
await page.getByText("The secret key, the session token or the region").waitFor();
await look("wrong-secret");
// as a credentials file has it, by the keyboard alone
await page.getByLabel("Access key ID").focus();
await page.evaluate((text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text", text);
  document.activeElement.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}, `[default]\naws_access_key_id = ${order.key}\naws_secret_access_key = ${order.secret}\n`);
await page.keyboard.press("Enter");
await head("Data stores");
await page.locator(".empty, main table").first().waitFor();
await look("stores");

// ---- a data store, filled ----

await link("Create a data store");
await fill("Name", "clinic north");
await fill("Tags", "team=cardiology\nplain");
await look("create");
await press("Create");
await head("clinic north");
await page.getByText("It holds no resource").waitFor();
await page.getByRole("cell", { name: "cardiology" }).waitFor();
await press("Remove the tag plain");
await page.getByRole("cell", { name: "plain", exact: true }).waitFor({ state: "detached" });
const store = /#\/store\/([0-9a-f]{32})/.exec(page.url())[1];
await link("Import");
await fill("From", "s3://input/clinic/");
await fill("Reports go to", "s3://output/imports");
await fill("Name of the job", "the first import");
await look("import");
await press("Start the import");
await head("the first import");
await page.getByText("COMPLETED", { exact: true }).waitFor();
await look("imported");
await link("Overview");
await page.locator(".bars").waitFor();
seen.bars = await page.locator(".bars th").allTextContents();
await look("overview");

// ---- an export, whole ----

await link("Export");
await press("Start the export");
await head("Export");
await page.getByText("Is it whole?").waitFor();
await press("Check all files");
await page.locator(".verdict", { hasText: "Whole:" }).waitFor();
seen.verdict = await page.locator(".verdict").textContent();
await look("exported");
// one byte is another on its way
await page.route(/\/files\/Patient\//, async (route) => {
  const answer = await route.fetch(), body = await answer.body();
  body[20] ^= 1;
  await route.fulfill({ response: answer, body });
});
await press("Check all files");
await page.locator(".trouble", { hasText: "files are not what the manifest says" }).waitFor();
seen.damaged = await page.locator(".trouble li").allTextContents();
await page.unroute(/\/files\/Patient\//);
const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: /^Save Patient/ }).click()]);
seen.saved = readFileSync(await saved.path(), "utf8").trim().split("\n").length;
await link("Export");
await page.getByLabel("Into S3").check();
await fill("Place", order.place);
await fill("Name of the job", "into S3");
await fill("Types", "Patient");
await look("export-s3");
await press("Start the export");
await head("into S3");
seen.command = await page.locator(".command pre", { hasText: "fhirlake verify" }).textContent();
await link("Jobs");
await page.getByRole("link", { name: "into S3" }).waitFor();
await look("jobs");

// ---- resources ----

await link("FHIR");
await page.locator(".results table").waitFor();
seen.rows.push(await page.locator(".results tbody tr").count());
await press("Next");
await page.getByText("Page 2").waitFor();
seen.rows.push(await page.locator(".results tbody tr").count());
await press("Previous");
await page.getByText("Page 1").waitFor();
await fill("Parameter", "name");
await fill("Value", "Marker");
await press("Search");
await page.getByRole("link", { name: "Patient/marked" }).waitFor();
await look("search");
await fill("Parameter", "nonsense");
await press("Search");
await page.locator(".notice").waitFor();
seen.notice = await page.locator(".notice").textContent();
// a second version, signed by the console's own module
await page.evaluate(async (id) => {
  const { fhir } = await import("/console/api.js");
  const resource = JSON.parse((await fhir(id, "GET", "Patient/marked")).text);
  await fhir(id, "PUT", "Patient/marked", [], { body: { ...resource, gender: "other" } });
}, store);
await page.evaluate((id) => { location.hash = `#/store/${id}/r4/Observation/seen`; }, store);
await page.locator(".tree").waitFor();
seen.decimal = await page.locator(".tree").getByText("1.50", { exact: true }).count();
await page.locator(".tree").getByRole("link", { name: "Patient/marked" }).click();
await head("Patient/marked");
await page.locator(".tree").waitFor();
await look("resource");
await press("JSON");
await page.locator("pre.json").waitFor();
seen.json = await page.locator("pre.json").textContent();
await look("json");
await link("History");
await page.locator("pre.diff ins").first().waitFor();
seen.come = await page.locator("pre.diff ins").allTextContents();
seen.gone = await page.locator("pre.diff del").allTextContents();
await look("history");
await link("Timeline");
await page.locator(".timeline").first().waitFor();
seen.timeline = await page.locator(".timeline li").allTextContents();
await look("timeline");
seen.run = await page.evaluate(() => ({ ran: globalThis.ran === undefined, made: document.querySelectorAll("main img, main script," +
  " main iframe, main b").length, kept: localStorage.length + sessionStorage.length + document.cookie.length }));
const errors = seen.errors.length;
seen.html = await page.evaluate(() => {
  try {
    document.createElement("div").innerHTML = "<b>x</b>";
    return "taken";
  } catch (fault) {
    return fault.name;
  }
});
seen.errors.splice(errors); // the browser tells of that one

// ---- the dark, a phone, health ----

await link("Health");
await page.getByRole("region", { name: "Requests of all callers" }).getByRole("cell", { name: "StartFHIRImportJob" }).waitFor();
await page.getByRole("region", { name: "What this tab asked" }).getByRole("cell", { name: "StartFHIRImportJob" }).waitFor();
await page.emulateMedia({ colorScheme: "dark" });
await look("health-dark");
await page.setViewportSize({ width: 375, height: 740 });
seen.wide = [];
for (const hash of ["/stores", `/store/${store}`, `/store/${store}/jobs`, `/store/${store}/r4`, `/store/${store}/r4/Patient/marked`]) {
  await page.evaluate((to) => { location.hash = `#${to}`; }, hash);
  await page.locator(".bars, main table, .tree").first().waitFor();
  seen.wide.push(await page.evaluate(() => document.documentElement.scrollWidth));
}
await look("phone");

// ---- deleted, by its name alone ----

await page.setViewportSize({ width: 1200, height: 850 });
await page.emulateMedia({ colorScheme: "light" });
await link("Overview");
await press("Delete ...");
await fill("Type clinic north to go on", "something else");
await press("Delete it");
await page.getByText("That is not its name").waitFor();
await look("delete");
await fill("Type clinic north to go on", "clinic north");
await press("Delete it");
await page.locator(".badge", { hasText: /DELET/ }).waitFor();

// ---- without rights ----

await press("Sign out");
await head("Sign in");
await signIn(order.limited.key, order.limited.secret);
await head("Data stores");
await page.locator(".trouble", { hasText: "healthlake:ListFHIRDatastores" }).waitFor();
seen.lack = await page.locator(".trouble").textContent();
await look("without-rights");
await fill("Open a data store by its id", order.limited.store);
await press("Open");
await page.locator(".facts .badge").waitFor();

// ---- where a browser lends nothing to sign with; and where nobody signs ----

const [port, other] = [new URL(order.url).port, await context.newPage()];
await other.goto(`http://elsewhere.test:${port}/console/`);
await other.getByText("This address cannot be used to sign in").waitFor();
seen.unsafe = await other.locator("main").textContent();
// an hour ahead: the first signature is too new, the second one is made by the server's clock
const late = await context.newPage();
await late.addInitScript(() => {
  const now = Date.now;
  Date.now = () => now() + 3600000;
});
await late.goto(`${order.url}/console/#/store/%E0`);
await late.getByLabel("Access key ID").fill(order.key);
await late.getByLabel("Secret access key").fill(order.secret);
await late.keyboard.press("Enter");
await late.locator("h1", { hasText: "Nothing to show" }).waitFor();
await late.keyboard.press("Tab");
seen.lost = await late.locator("main").textContent();
await late.locator("main").getByRole("link", { name: "Data stores" }).click();
await late.locator("main table").waitFor();
await other.goto(`${order.open}/console/`);
await other.locator("h1", { hasText: "Data stores" }).waitFor();
await other.locator(".empty").waitFor();
seen.open = await other.locator("#who").textContent();
await browser.close();
console.log(JSON.stringify(seen));
