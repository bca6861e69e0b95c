"""The console in front of a data store with 100,000 jobs, in Chromium: how long until the list stands there, the next page, what a filter
finds, and how large the page becomes. Needs what the tests of the console need: `./dev test e2e/test_console` brings it."""
import json
import os
import pathlib
import shutil
import subprocess

JOBS = 100_000


def console(bench, row, spread, program, planter):
    from fhirlake import ROOT, Server
    folder = pathlib.Path(os.environ.get("FHIRLAKE_BROWSER", ROOT / ".deps" / "browser"))
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium or not shutil.which("node") or not (folder / "node_modules" / "playwright-core").is_dir():
        raise SystemExit("bench: no Chromium, node or playwright-core here: ./dev test e2e/test_console brings them")
    data = bench.work / "console"
    with Server(data) as server:
        store = server.create_store()
    subprocess.run([planter, data, store, str(JOBS)], check=True)
    with Server(data) as server:
        key, secret = server.keys()
        order = {"browser": chromium, "url": server.url, "key": key, "secret": secret, "store": store, "runs": bench.args.runs,
                 "pages": 20, "patience_s": 60}
        done = subprocess.run(["node", str(ROOT / "bench" / "console_jobs.mjs"), str(folder), json.dumps(order)], stdout=subprocess.PIPE,
                              text=True, check=True)
    told = json.loads(done.stdout)
    row("console, first contentful paint, ms", spread(told["painted"]), "of the sign-in, with nothing kept from before")
    row("  a page of one line", spread(told["bare"]), "in turns")
    for name, title in (("list", "the list stands there"), ("next", "the next page"), ("failed", "a filter: one job of a thousand"),
                        ("needle", "a filter: the oldest job's name"), ("nothing", "a filter: a name of none")):
        row(f"console, {JOBS:,} jobs, ms: {title}", spread(told[name]), "in the browser, from the act to the frame that is painted")
    row("console: elements of the page, at most", f"{max(told['nodes']):,}", f"20 pages on and back, {bench.args.runs} times")
    shutil.rmtree(data)
