"""./dev bench view: `fhirlake view` over generated Observations, against what yyjson alone takes to read the same lines, and
against others that make the same table: DuckDB (pip install duckdb), and SQL on FHIR's reference implementation in JavaScript
(FHIRLAKE_SOF_JS=FOLDER: the folder sof-js of a checkout of FHIR/sql-on-fhir-v2, after npm install there). Then the same tables
by $viewdefinition-run."""
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

COLUMNS = [("id", "getResourceKey()"), ("patient", "subject.getReferenceKey(Patient)"), ("code", "code.coding.first().code"),
           ("display", "code.coding.first().display"), ("value", "value.ofType(Quantity).value"), ("unit", "value.ofType(Quantity).unit"),
           ("day", "effective.ofType(dateTime)")]
VIEW = {"resourceType": "ViewDefinition", "resource": "Observation", "status": "draft", "name": "observations",
        "where": [{"path": "status = 'final'"}], "select": [{"column": [
            {"name": name, "path": path, "type": "string"} if name != "value" else
            {"name": name, "path": path, "type": "decimal", "tag": [{"name": "ansi/type", "value": "DOUBLE PRECISION"}]}
            for name, path in COLUMNS]}]}
DUCKDB = """
import duckdb, sys
duckdb.sql("SET threads = " + sys.argv[3])
duckdb.sql("SET enable_progress_bar = false")
duckdb.sql('''COPY (SELECT 'Observation/' || id AS id, subject.reference AS patient, code.coding[1].code AS code, code.coding[1].display AS display,
  valueQuantity.value AS value, valueQuantity.unit AS unit, effectiveDateTime AS day
  FROM read_json('{}', format = 'newline_delimited', columns = {{id: 'VARCHAR', status: 'VARCHAR', effectiveDateTime: 'VARCHAR',
    subject: 'STRUCT(reference VARCHAR)', code: 'STRUCT(coding STRUCT(code VARCHAR, display VARCHAR)[])',
    valueQuantity: 'STRUCT("value" DOUBLE, unit VARCHAR)'}}) WHERE status = 'final') TO '{}' ({})'''.format(*sys.argv[1:3], sys.argv[4]))
"""
JAVASCRIPT_LINES = 2_000


def spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(command, count):
    """Resources a second, and processor time of one in us."""
    before, start = spent(), time.monotonic()
    subprocess.run(command, check=True)
    return count / (time.monotonic() - start), (spent() - before) / count * 1e6


def has_duckdb():
    return subprocess.run([sys.executable, "-c", "import duckdb"], capture_output=True).returncode == 0


def javascript(folder, bench, file):
    """The same, of one thread."""
    before = spent()
    done = subprocess.run(["node", pathlib.Path(__file__).with_name("sof.mjs"), folder, bench.work / "view.json", file, str(JAVASCRIPT_LINES),
                           bench.work / "view.js.out"], check=True, capture_output=True, text=True)
    seconds, lines, _ = done.stdout.split()
    return int(lines) / float(seconds), (spent() - before) / int(lines) * 1e6


def served(bench, row, spread, count, cpu_seconds):
    """The same tables by $viewdefinition-run, read by one client; processor time is the server's."""
    server = bench.filled()
    bench.rest(server)
    fhir = server.fhir(bench.store)
    fhir.timeout = 3600
    for form in ("ndjson", "csv", "parquet"):
        rates, cpu = [], []
        for _ in range(bench.args.runs):
            before, start = sum(cpu_seconds(server.process.pid)), time.monotonic()
            answer = fhir.post(f"$viewdefinition-run?_format={form}", VIEW)
            assert answer.status == 200, answer.body
            rates.append(count / (time.monotonic() - start))
            cpu.append((sum(cpu_seconds(server.process.pid)) - before) / count * 1e6)
        row(f"$viewdefinition-run to {form}, resources/s", spread(rates), f"{len(answer.body) / 1e6:.1f} MB")
        row("  us of the server's processor a resource", spread(cpu))


def views(bench, row, spread, programs, cpu_seconds):
    folder = bench.work / "view"
    folder.mkdir()
    file = folder / "Observation.ndjson"
    file.hardlink_to(bench.data(bench.args.gb) / file.name)
    count, size = file.read_bytes().count(b"\n"), file.stat().st_size
    (bench.work / "view.json").write_text(json.dumps(VIEW))
    print(f"  {count:,} Observations, {size / 1e9:.2f} GB, a view of {len(COLUMNS)} columns")
    cpus, sof = str(len(os.sched_getaffinity(0))), os.environ.get("FHIRLAKE_SOF_JS")
    ducks = has_duckdb()
    for form, how in (("ndjson", "FORMAT json"), ("csv", "FORMAT csv"), ("parquet", "FORMAT parquet, COMPRESSION zstd")):
        rates, cpu, parse, theirs, their_cpu = [], [], [], [], []
        out, other = bench.work / f"view.{form}", bench.work / f"duckdb.{form}"
        for _ in range(bench.args.runs):
            mb_s = float(subprocess.run([programs / "bench" / "bench_parse", file], check=True, capture_output=True, text=True).stdout)
            parse.append(size / mb_s / count)
            rate, us = measured([programs / "fhirlake", "view", "--view", bench.work / "view.json", "--from", folder, "--format", form,
                                 "--to", out, "--quiet"], count)
            rates.append(rate)
            cpu.append(us)
            if ducks:
                rate, us = measured([sys.executable, "-c", DUCKDB, file, other, cpus, how], count)
                theirs.append(rate)
                their_cpu.append(us)
        row(f"view to {form}, resources/s", spread(rates), f"{out.stat().st_size / 1e6:.1f} MB")
        row(f"view to {form}, us of processor a resource", spread(cpu), "reading and writing files included")
        row("  yyjson alone, us a resource", spread(parse))
        row("  ratio", spread([c / p for c, p in zip(cpu, parse)]))
        if ducks:
            row(f"DuckDB's read_json to {form}, resources/s", spread(theirs), f"{other.stat().st_size / 1e6:.1f} MB")
            row(f"DuckDB's read_json to {form}, us of processor a resource", spread(their_cpu))
            row("  ours to theirs, processor time", spread([a / b for a, b in zip(cpu, their_cpu)]))
    if sof:
        rates, cpu = zip(*(javascript(sof, bench, file) for _ in range(bench.args.runs)))
        row("sof-js to ndjson, resources/s", spread(rates), f"one thread, the first {JAVASCRIPT_LINES:,}")
        row("sof-js to ndjson, us of processor a resource", spread(cpu))
    if not ducks or not sof:
        print("  not measured: " + ", ".join([*([] if ducks else ["DuckDB"]), *([] if sof else ["sof-js"])]) + " (bench/views.py says how)")
    served(bench, row, spread, count, cpu_seconds)
