// console_jobs.mjs - a person in front of a list of very many jobs: how long until it stands there, and how large the page is.
//
//   node console_jobs.mjs FOLDER ORDER      FOLDER has playwright-core; ORDER  JSON: {browser, url, key, secret, store, runs,
//          pages, patience_s}
import { createRequire } from "node:module";

const [folder, order] = [process.argv[2], JSON.parse(process.argv[3])];
const { chromium } = createRequire(`${folder}/`)("playwright-core");
const browser = await chromium.launch({ executablePath: order.browser, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const page = await (await browser.newContext({ viewport: { width: 1200, height: 850 } })).newPage();
page.setDefaultTimeout(120000);
const told = { list: [], next: [], failed: [], needle: [], nothing: [], nodes: [], painted: [], bare: [] };

// the first paint, of a browser that has nothing of the page: as the browser itself tells
for (let i = 0; i < 6 * order.runs; i++) {
  const fresh = await browser.newContext();
  const first = await fresh.newPage();
  if (i % 2) await first.route("**/*", (route) => route.fulfill({ contentType: "text/html", body: "<h1>One line</h1>" }));
  await first.goto(`${order.url}/console/`);
  told[i % 2 ? "bare" : "painted"].push(await first.evaluate(() => new Promise((tell) => new PerformanceObserver((seen) =>
    seen.getEntriesByName("first-contentful-paint").forEach((one) => tell(one.startTime))).observe({ type: "paint", buffered: true }))));
  await fresh.close();
}
await page.goto(`${order.url}/console/`);
for (const [label, text] of [["Access key ID", order.key], ["Secret access key", order.secret]])
  await page.getByLabel(label, { exact: true }).first().fill(text);
await page.getByRole("button", { name: "Sign in", exact: true }).first().click();
await page.locator("h1", { hasText: "Data stores" }).waitFor();

// From the act to the frame behind the one in which the page is as `done` wants it, in the browser's own time.
const until = (act, done) => page.evaluate(([act, done, patience]) => new Promise((finish, give_up) => {
  const main = document.querySelector("main") || document.body, is = new Function(`return ${done}`);
  const began = performance.now();
  setTimeout(() => give_up(new Error(`never: ${done}`)), patience);
  const seen = new MutationObserver(look);
  function look() {
    if (!is()) return;
    seen.disconnect();
    requestAnimationFrame(() => setTimeout(() => finish(performance.now() - began), 0));
  }
  seen.observe(main, { childList: true, subtree: true, attributes: true, characterData: true });
  new Function(act)();
  look();
}), [act, done, 1000 * order.patience_s]);

const ROWS = "document.querySelectorAll('main tbody tr').length";
const FIRST = "document.querySelector('main tbody tr')?.textContent";
const IDLE = "!document.querySelector('main [aria-busy]')";
const set = (query, value) => `const x = ${query}; x.value = ${JSON.stringify(value)}; x.dispatchEvent(new Event("change"))`;
const STATUS = "document.querySelector('main select')", NAME = "document.querySelector('main input[type=search]')";
const press = (name) => `[...document.querySelectorAll('main .pager button')].find((b) => b.textContent === "${name}").click()`;

for (let run = 0; run < order.runs; run++) {
  await page.evaluate(() => { location.hash = "#/stores"; });
  await page.locator("h1", { hasText: "Data stores" }).waitFor();
  told.list.push(await until(`location.hash = "#/store/${order.store}/jobs/export"`, `${ROWS} === 100 && ${IDLE}`));
  told.nodes.push(await page.evaluate(() => document.querySelectorAll("*").length));
  const first = await page.evaluate(FIRST);
  for (let i = 0; i < order.pages; i++)
    told.next.push(await until(press("Next"), `${ROWS} === 100 && ${IDLE} && document.querySelector('main .pager span').textContent === "Page ${i + 2}"`));
  told.nodes.push(await page.evaluate(() => document.querySelectorAll("*").length));
  for (let i = order.pages; i > 0; i--)
    await until(press("Previous"), `${ROWS} === 100 && ${IDLE} && document.querySelector('main .pager span').textContent === "Page ${i}"`);
  if (first !== await page.evaluate(FIRST)) throw new Error("the way back ends elsewhere");
  told.failed.push(await until(set(STATUS, "FAILED"), `${IDLE} && ${ROWS} > 0 && ${ROWS} <= 100 && ${FIRST}.includes("FAILED")`));
  await until(set(STATUS, ""), `${ROWS} === 100 && ${IDLE}`);
  told.needle.push(await until(set(NAME, "needle"), `${ROWS} === 1 && ${FIRST}.includes("needle")`));
  told.nothing.push(await until(set(NAME, "no such name"), `${IDLE} && document.querySelector("main .empty")`));
  await until(set(NAME, ""), `${ROWS} === 100 && ${IDLE}`);
  told.nodes.push(await page.evaluate(() => document.querySelectorAll("*").length));
}
console.log(JSON.stringify(told));
await browser.close();
