"""`fhirlake view` makes tables of an export, by ViewDefinitions: every row, in order, and no other."""
import concurrent.futures
import csv
import gzip
import http.server
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import threading

import pytest

from fhirlake import BIN, run, wait
from s3_peer import Peer

pytestmark = [pytest.mark.sanitize, pytest.mark.once]

OBSERVATIONS = {
    "resourceType": "ViewDefinition", "resource": "Observation", "name": "observations", "status": "draft",
    "constant": [{"name": "status", "valueCode": "final"}],
    "where": [{"path": "status = %status"}],
    "select": [{"column": [{"name": "id", "path": "getResourceKey()", "type": "string"},
                           {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
                           {"name": "value", "path": "value.ofType(Quantity).value", "type": "decimal"},
                           {"name": "unit", "path": "value.ofType(Quantity).unit", "type": "string"}]},
               {"forEachOrNull": "code.coding", "column": [{"name": "n", "path": "%rowIndex"},
                                                           {"name": "code", "path": "code", "type": "code"}]}]}
NAMES = {"resource": "Patient", "select": [
    {"column": [{"name": "id", "path": "id"}]},
    {"forEach": "name", "column": [{"name": "family", "path": "family"}, {"name": "given", "path": "given", "collection": True}]}]}


@pytest.fixture(scope="module")
def exported(server, generated):
    """One export of generated patients: its folder, and its s3:// URL."""
    for file in generated.glob("*.ndjson"):
        server.put_object(f"s3://input/people/{file.name}", file.read_bytes())
    store = server.create_store()
    assert server.import_all(store, "s3://input/people/")["JobStatus"] == "COMPLETED"
    uri = server.export_all(store, "s3://out/view")["OutputDataConfig"]["S3Configuration"]["S3Uri"]
    return server.folder(uri), uri


@pytest.fixture
def view(tmp_path):
    def write(definition, name="view.json"):
        (tmp_path / name).write_text(json.dumps(definition))
        return tmp_path / name
    return write


def resources(folder, type):
    """As an own reader finds them: the files in the order of their names."""
    for file in sorted((folder / type).glob("*.ndjson")):
        for line in file.read_text().splitlines():
            yield json.loads(line, parse_float=str)


def rows_of_observations(folder):
    for r in resources(folder, "Observation"):
        if r["status"] != "final":
            continue
        value = r.get("valueQuantity", {})
        for n, coding in list(enumerate(r["code"].get("coding", []))) or [(0, {})]:
            yield {"id": f"Observation/{r['id']}", "patient": r["subject"]["reference"], "value": value.get("value"),
                   "unit": value.get("unit"), "n": n, "code": coding.get("code")}


def rows(*args):
    done = run("view", *args, "--quiet")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return [json.loads(line, parse_float=str) for line in done.stdout.splitlines()]


def test_every_row_of_an_export_is_there_in_order(exported, view):
    folder, _ = exported
    want = list(rows_of_observations(folder))
    assert len(want) > 100 and any(row["value"] for row in want)
    assert rows("--view", view(OBSERVATIONS), "--from", folder) == want
    assert rows("--view", view(NAMES), "--from", folder) == [
        {"id": r["id"], "family": n.get("family"), "given": n.get("given", [])} for r in resources(folder, "Patient") for n in r["name"]]


def test_csv_is_what_readers_of_csv_take(exported, view):
    folder, _ = exported
    done = run("view", "--view", view(OBSERVATIONS), "--from", folder, "--format", "csv")
    assert done.returncode == 0
    want = list(rows_of_observations(folder))
    assert list(csv.DictReader(io.StringIO(done.stdout))) == [
        {k: "" if v is None else str(v) for k, v in row.items()} for row in want]
    assert done.stderr.endswith(f" resources of type Observation, {len(want)} rows\n")


@pytest.mark.threads
def test_threads_change_nothing(exported, view, tmp_path):
    folder, _ = exported
    many = tmp_path / "many"
    shutil.copytree(folder / "Observation", many)
    text = b"".join(f.read_bytes() for f in many.glob("*.ndjson"))
    # several pieces of a mebibyte in each of several files
    for n in range(3):
        (many / f"more-{n}.ndjson").write_bytes(text * (2 + (4 << 20) // len(text)))
    one, *others = (run("view", "--view", view(OBSERVATIONS), "--from", many, "--threads", n).stdout for n in (1, 2, 7))
    assert one.count("\n") > 10_000 and others == [one, one]


def test_an_export_may_be_named_as_its_job_names_it(server, exported, view):
    folder, uri = exported
    assert rows("--view", view(NAMES), "--from", uri, "--objects", server.objects) == rows("--view", view(NAMES), "--from", folder)


def test_without_a_manifest_every_file_is_read_packed_ones_too(tmp_path, view):
    files = tmp_path / "files"
    (files / "deep").mkdir(parents=True)
    one = json.dumps({"resourceType": "Patient", "id": "a", "name": [{"family": "A"}]}) + "\n"
    (files / "b.ndjson").write_text(one.replace('"a"', '"b"') + "\n" + json.dumps({"resourceType": "Group", "id": "g"}) + "\n")
    (files / "deep" / "c.ndjson.gz").write_bytes(gzip.compress(one.replace('"a"', '"c"').rstrip("\n").encode()))
    (files / "other.json").write_text(one)
    done = run("view", "--view", view(NAMES), "--from", files)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["b", "c"]
    assert "no manifest.json, so all of 2 files are read" in done.stderr and "2 resources of type Patient, 2 rows" in done.stderr


def test_an_empty_file_is_no_rows_and_an_empty_packed_one_is_a_failure(tmp_path, view):
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.ndjson").touch()
    (files / "b.ndjson.gz").write_bytes(gzip.compress(b""))
    done = run("view", "--view", view(NAMES), "--from", files)
    assert (done.returncode, done.stdout) == (0, "")
    for name in ("c.ndjson.gz", "c.ndjson.zst"):
        (files / name).touch()
        done = run("view", "--view", view(NAMES), "--from", files)
        assert done.returncode == 1 and f"{name}: compressed data is cut off: the file is empty" in done.stderr, done.stderr
        (files / name).unlink()


def test_a_file_that_the_manifest_names_must_be_there(exported, view, tmp_path):
    folder = tmp_path / exported[0].name
    shutil.copytree(exported[0], folder)
    (folder / "Patient" / "stray.ndjson").write_text('{"resourceType":"Patient","id":"stray","name":[{}]}\n')
    assert "stray" not in {row["id"] for row in rows("--view", view(NAMES), "--from", folder)}
    manifest = json.loads((folder / "manifest.json").read_text())
    name = next(i["url"] for i in manifest["output"] if i["type"] == "Patient").rsplit("/", 1)[1]
    (folder / "Patient" / name).unlink()
    out = tmp_path / "out.csv"
    done = run("view", "--view", view(NAMES), "--from", folder, "--to", out)
    assert done.returncode == 1 and name in done.stderr and "cannot be opened" in done.stderr
    assert not out.exists() and not list(tmp_path.glob("*.part*"))


def test_a_file_is_there_when_all_rows_are_in_it(exported, view, tmp_path):
    out = tmp_path / "names.csv"
    out.write_text("older")
    done = run("view", "--view", view(NAMES), "--from", exported[0], "--format=csv", "--to", out)
    assert done.returncode == 0 and done.stdout == ""
    assert out.read_text().startswith("id,family,given\n") and oct(out.stat().st_mode & 0o777) == "0o600"
    before = out.read_bytes()
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.ndjson").write_text('{"resourceType":"Patient","id":"a","name":[{"family":"Secret"}]}\n{"resourceType":"Patient",\n')
    done = run("view", "--view", view(NAMES), "--from", files, "--to", out)
    assert done.returncode == 1 and "a.ndjson, line 2: " in done.stderr and "Secret" not in done.stderr
    assert out.read_bytes() == before and not list(tmp_path.glob("*.part*"))


def test_what_is_no_file_is_written_to_and_not_replaced(exported, view, tmp_path):
    args = ["view", "--view", view(NAMES), "--from", exported[0]]
    wanted = run(*args).stdout
    os.mkfifo(tmp_path / "pipe")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "pipe").read_text)
        assert run(*args, "--to", tmp_path / "pipe").returncode == 0
        assert read.result(60) == wanted
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    (tmp_path / "file").write_text("older")
    (tmp_path / "link").symlink_to("file")
    assert run(*args, "--to", tmp_path / "link").returncode == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == wanted
    folder = run(*args, "--to", tmp_path)
    assert folder.returncode == 1 and "--to is a folder" in folder.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_nothing(end, view, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    os.mkfifo(files / "a.ndjson")  # the run waits for its lines
    process = subprocess.Popen([BIN, "view", "--view", view(NAMES), "--from", files, "--to", tmp_path / "out"], stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(end, signal.SIG_DFL))  # a shell may have it ignored
    writer = os.open(files / "a.ndjson", os.O_WRONLY)
    wait(lambda: len(list(tmp_path.glob("out.part-*"))), {1})
    process.send_signal(end)
    assert process.wait(60) == -end
    os.close(writer)
    process.stderr.close()
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("line", ['{"id":"Secret"}', "[]", "3"])
def test_a_line_that_is_no_resource_is_told(line, view, tmp_path):
    (tmp_path / "a.ndjson").write_text('{"resourceType":"Patient","id":"a"}\n{"resourceType":"Group","id":"g"}\n' + line + "\n")
    done = run("view", "--view", view(NAMES), "--from", tmp_path)
    assert done.returncode == 1 and "a.ndjson, line 3: the line is no FHIR resource" in done.stderr and "Secret" not in done.stderr


def test_a_resource_that_does_not_fit_is_named_by_its_line_and_not_by_its_content(tmp_path, view):
    files = tmp_path / "files"
    files.mkdir()
    good = '{"resourceType":"Patient","id":"a","name":[{"family":"Secret"}]}\n'
    (files / "a.ndjson").write_text(good + "\n" + good.replace('[{"family":"Secret"}]', '[{"family":"Secret"},{"family":"Hidden"}]'))
    done = run("view", "--view", view({"resource": "Patient", "select": [{"column": [{"name": "f", "path": "name.family"}]}]}), "--from", files)
    assert done.returncode == 1 and done.stdout == '{"f":"Secret"}\n'
    assert "a.ndjson, line 3: select[0].column[0]: it has 2 values for a row, and its collection is not true" in done.stderr
    assert "Secret" not in done.stderr and "Hidden" not in done.stderr


@pytest.mark.parametrize("definition, said", [
    ({"resource": "Patient", "select": [{"column": [{"name": "a", "path": "name.where("}]}]},
     "select[0].column[0].path: line 1, column 12 of the expression: the expression ends where a value should stand"),
    ({"resource": "Patent", "select": []}, "is Patient meant?"),
    ({"resource": "Patient", "select": [{"colum": []}]}, 'select[0]: "colum" is not known here'),
])
def test_a_view_that_is_none_is_refused_with_its_place(tmp_path, view, definition, said):
    done = run("view", "--view", view(definition), "--from", tmp_path)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""


def test_wrong_usage_is_told(tmp_path, view):
    for args, said in ((("--from", tmp_path), "--view FILE and --from PLACE or --datastore ID are asked for"),
                       (("--view", view(NAMES), "--from", tmp_path, "--format", "orc"), "--format takes csv, ndjson or parquet"),
                       (("--view", view(NAMES), "--from", tmp_path, "--threads", "0"), "--threads takes a number"),
                       (("--view", tmp_path / "none.json", "--from", tmp_path), "none.json")):
        done = run("view", *args)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    assert run("view", "--view", view(NAMES), "--from", tmp_path / "none").returncode == 1
    assert "no .ndjson file" in run("view", "--view", view(NAMES), "--from", os.fspath(tmp_path)).stderr
    assert "ViewDefinition" in run("view", "--help").stdout


def test_a_data_store_of_a_server_is_read_as_it_is_and_no_export_is_left(server, view, tmp_path):
    store = server.create_store()
    fhir = server.fhir(store)
    for i in range(30):
        assert fhir.put(f"Patient/p{i}", {"resourceType": "Patient", "id": f"p{i}", "name": [{"family": f"F{i}", "given": ["A", "B"][:1 + i % 2]}]}).status == 201
    assert fhir.delete("Patient/p7").status == 204
    of = ("--view", view(NAMES), "--datastore", store, "--endpoint", server.url, "--credentials", server.data / "credentials")
    assert sorted(rows(*of), key=lambda r: r["id"]) == sorted(
        ({"id": f"p{i}", "family": f"F{i}", "given": ["A", "B"][:1 + i % 2]} for i in range(30) if i != 7), key=lambda r: r["id"])
    out = tmp_path / "names.csv"
    done = run("view", *of, "--format", "csv", "--to", out)
    assert done.returncode == 0 and out.read_text().count("\n") == 30
    said, instant = done.stderr.strip().split(", as of ")
    assert said == "fhirlake view: 29 resources of type Patient, 29 rows" and instant[:2] == "20"
    jobs = server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]
    assert len(jobs) == 2
    for job in jobs:
        assert fhir.get(f"export/{job['JobId']}").status == 404
    none = run("view", "--view", view({**NAMES, "resource": "Group"}), *of[2:])
    assert none.returncode == 0 and none.stdout == "" and "0 resources of type Group, 0 rows" in none.stderr


def test_a_data_store_that_is_not_there_or_not_allowed_is_told(server, view, tmp_path):
    names, there = view(NAMES), ("--endpoint", server.url, "--credentials", server.data / "credentials")
    for args, said in ((("--datastore", "0" * 32, *there), "0" * 32), (("--datastore", "0" * 32, "--endpoint", "http://127.0.0.1:9"), "no answer from"),
                       (("--datastore", "0" * 32, "--endpoint", server.url), "")):
        done = run("view", "--view", names, *args, "--to", tmp_path / "out", env={"HOME": str(tmp_path)})
        assert done.returncode == 1 and said in done.stderr and not (tmp_path / "out").exists(), done.stderr
    for args, said in ((("--datastore", "x", "--from", tmp_path), "exclude each other"), (("--datastore", "../x"), "takes the id of a data store"),
                       (("--datastore", "x", "--objects", tmp_path), "of --from alone"), (("--from", tmp_path, "--profile", "x"), "are of --datastore")):
        done = run("view", "--view", names, *args)
        assert done.returncode == 2 and said in done.stderr, done.stderr


@pytest.mark.parametrize("fault, said", [(None, None), ("cut", "no answer from"), ("gone", "it went"), ("errors", "tells of errors"), ("none", "no manifest")])
def test_an_export_that_is_not_whole_makes_no_table(view, tmp_path, fault, said):
    """A server that answers like ours until it fails."""
    line = b'{"resourceType":"Patient","id":"a","name":[{"family":"A"}]}\n'
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, status, body=b"", length=None, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            asked.append(f"GET {self.path}")
            here = f"http://{self.headers['Host']}/datastore/0/r4/export/1"
            if "$export" in self.path:
                self.answer(202, Content_Location=here)
            elif self.path.endswith("/files/x"):
                if fault == "gone":
                    self.answer(404, b'{"resourceType":"OperationOutcome","issue":[{"details":{"text":"it went"}}]}')
                else:
                    self.answer(200, line * 3, len(line) * 3 + (fault == "cut"))
            elif asked.count(f"GET {self.path}") < 3:
                self.answer(202, X_Progress="50%")
            else:
                files = [{"type": "Patient", "url": here + "/files/x"}]
                self.answer(200, json.dumps({"output": files} if fault == "none" else {
                    "transactionTime": "2026-01-01T00:00:00Z", "output": files, "error": files if fault == "errors" else []}).encode())

        def do_DELETE(self):
            asked.append(f"DELETE {self.path}")
            self.answer(202)

        def log_message(self, *args):
            pass

    peer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=peer.serve_forever, daemon=True).start()
    try:
        done = run("view", "--view", view(NAMES), "--datastore", "0", "--endpoint", f"http://127.0.0.1:{peer.server_port}", "--to", tmp_path / "out")
    finally:
        peer.shutdown()
        peer.server_close()
    assert asked[0] == "GET /datastore/0/r4/$export?_type=Patient" and asked[-1] == "DELETE /datastore/0/r4/export/1"
    if fault is None:
        assert done.returncode == 0 and (tmp_path / "out").read_text().count("\n") == 3, done.stderr
    else:
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert sorted(p.name for p in tmp_path.iterdir()) == ["view.json"]


def test_a_hostile_expression_is_an_error_and_ends(tmp_path, view):
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.ndjson").write_text(json.dumps({"resourceType": "Patient", "id": "a" * 60 + "-"}) + "\n")
    for path in ("id.matches('(a+)+$')", "1.repeat($this + 1)", "'a'.repeat($this & 'a')"):
        done = run("view", "--view", view({"resource": "Patient", "select": [{"column": [{"name": "x", "path": path, "collection": True}]}]}),
                   "--from", files)
        assert done.returncode == 1 and ("too many steps" in done.stderr or "takes too long" in done.stderr), done.stderr


def test_objects_at_an_s3_endpoint_are_read_like_files(view):
    peer = Peer()
    try:
        for name in "ba":
            peer.put(f"view/deep/{name}.ndjson", [json.dumps({"resourceType": "Patient", "id": name, "name": [{"family": name}]}).encode()])
        done = run("view", "--view", view(NAMES), "--from", f"s3://{peer.bucket}/view", "--s3-endpoint", peer.url, "--region", peer.region,
                   "--quiet", env=peer.env())
        assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["a", "b"], done.stderr
    finally:
        peer.stop()
