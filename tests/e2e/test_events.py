"""Events of data stores and jobs: each one comes, in its order, with its id, over stalls, failures, cuts and kills; and
nobody but the sender waits for the endpoint."""
import collections
import datetime
import http.server
import json
import random
import re
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from fhirlake import BIN, LONG, ROOT, Server, patient, wait

pytestmark = [pytest.mark.sanitize, pytest.mark.threads]
PUBLIC = "https://fhir.example/lake"


class Endpoint:
    """Keeps what it takes. `plan(n)` says what becomes of the n-th request: a status, "cut" or "stall"."""

    def __init__(self, plan=lambda n: 200, tls=None):
        self.plan, self.tried, self.taken, self.tokens = plan, [], [], set()
        self.lock, self.released = threading.Condition(), threading.Event()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with endpoint.lock:
                    what = endpoint.plan(len(endpoint.tried))
                    endpoint.tried.append(body)
                    endpoint.tokens.add(self.headers["Authorization"])
                    endpoint.lock.notify_all()
                if what == "stall":
                    endpoint.released.wait()
                if what in ("cut", "stall"):
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if what == 200:
                    with endpoint.lock:
                        endpoint.taken.append(json.loads(body))
                        endpoint.lock.notify_all()
                self.send_response(what)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # a client that was killed
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}/hook"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def wait(self, condition, timeout=120):
        with self.lock:
            assert self.lock.wait_for(condition, timeout), [e["detail-type"] for e in self.taken]

    def wait_for(self, subject, last):
        """Until the event of that type came."""
        self.wait(lambda: any(e["detail-type"] == last for e in self.about(subject)))

    def about(self, subject):
        return [e for e in self.taken if subject in (e["detail"].get("jobId"), e["detail"]["datastoreId"])
                and (("jobId" in e["detail"]) == (subject == e["detail"].get("jobId")))]

    def types(self, subject):
        return [e["detail-type"] for e in self.about(subject)]


def in_order(events):
    """Each type once, as if nothing had come twice; what comes again has the id of the first."""
    first = {}
    for e in events:
        assert first.setdefault(e["id"], e) == e
    assert len(first) == len({e["detail-type"] for e in first.values()}) == len(set(first))
    return [e["detail-type"] for e in first.values()]


def options(endpoint, *more):
    return ["--events-url", endpoint.url, "--public-url", PUBLIC, *more]


def lines(n=50):
    return "\n".join(patient(i) for i in range(n))


def test_the_life_of_a_data_store_and_its_jobs_is_told():
    with Endpoint() as endpoint, Server(None, *options(endpoint)) as server:
        client = server.client()
        store = server.create_store(DatastoreName="people")
        client.tag_resource(ResourceARN=arn(store), Tags=[{"Key": "a", "Value": "b"}])
        server.put_object("s3://input/e/p.ndjson", lines())
        server.put_object("s3://input/bad/p.ndjson", lines(3) + "\nnonsense\n")
        server.put_object("s3://input/none/readme.txt", "-")
        good, bad, none = (server.start_import(store, f"s3://input/{p}/") for p in ("e", "bad", "none"))
        submitted = [server.wait_import(store, job)["SubmitTime"] for job in (good, bad, none)][0]
        export = server.start_export(store)
        shown = server.wait_export(store, export)
        client.delete_fhir_datastore(DatastoreId=store)
        endpoint.wait_for(store, "Data Store Deleted")
        assert endpoint.types(store) == [f"Data Store {s}" for s in ("Creating", "Active", "Deleting", "Deleted")]
        for job, end in ((good, "Completed"), (bad, "Completed With Errors"), (none, "Failed")):
            types = [t.removeprefix("Import Job ") for t in endpoint.types(job)]
            assert [t for t in types if t != "Queued"] == ["Submitted", "In Progress", end]
        assert [t for t in endpoint.types(export) if not t.endswith("Queued")] == [
            f"Export Job {s}" for s in ("Submitted", "In Progress", "Completed")]
        for e in endpoint.taken:
            assert list(e) == ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"]
            assert e["version"] == "0" and e["source"] == "aws.healthlake" and e["account"] == "0" * 12
            assert e["region"] == "us-east-1" and e["resources"] == [arn(store)]
            assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", e["id"])
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", e["time"])
        assert len({e["id"] for e in endpoint.taken}) == len(endpoint.taken)
        assert endpoint.about(store)[0]["detail"] == {
            "datastoreId": store, "datastoreName": "people", "datastoreTypeVersion": "R4",
            "datastoreEndpoint": f"{PUBLIC}/datastore/{store}/r4/"}
        detail = endpoint.about(good)[-1]["detail"]
        told = datetime.datetime.fromisoformat(detail.pop("submitTime").replace("Z", "+00:00"))
        assert abs(told - submitted) < datetime.timedelta(milliseconds=1)
        assert detail == {"jobId": good, "datastoreId": store, "inputDataConfig": {"s3Uri": "s3://input/e/"}}
        assert endpoint.about(export)[-1]["detail"]["outputDataConfig"] == {
            "s3Uri": shown["OutputDataConfig"]["S3Configuration"]["S3Uri"]}
        assert endpoint.tokens == {None}


def arn(store):
    return f"arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/{store}"


def test_an_export_over_http_tells_no_place_and_a_cancel_tells_nothing():
    with Endpoint() as endpoint, Server(None, *options(endpoint)) as server:
        store = server.create_store()
        fhir = server.fhir(store)
        fhir.put("Patient/1", json.loads(patient(1)))
        place = fhir.get("$export?_type=Patient", Prefer="respond-async").headers["Content-Location"]
        job = place.rsplit("/", 1)[1]
        endpoint.wait_for(job, "Export Job Completed")
        assert set(endpoint.about(job)[-1]["detail"]) == {"jobId", "submitTime", "datastoreId"}
        assert "_type" not in json.dumps(endpoint.taken)


@pytest.mark.parametrize("kind", ["Export", "Import"])
def test_a_job_that_waits_for_another_is_told_as_queued(hostile, tmp_path, kind):
    with Endpoint() as endpoint, Server(None, *options(endpoint), *hostile.options(tmp_path)) as server:
        store = server.create_store()
        hostile.s3.put_object(Bucket="bucket", Key="in/p.ndjson", Body=lines(3))

        def start():
            if kind == "Export":
                return server.start_export(store, "s3://bucket/out")
            return server.start_import(store, "s3://bucket/in/", "s3://bucket/out")

        hostile.ask("/_hold", {"path": f"FHIR_{kind.upper()}"})
        runs = start()
        endpoint.wait_for(runs, f"{kind} Job In Progress")
        waits = start()
        endpoint.wait_for(waits, f"{kind} Job Queued")
        hostile.ask("/_hold", {})
        for job, queued in ((runs, []), (waits, ["Queued"])):
            endpoint.wait_for(job, f"{kind} Job Completed")
            assert endpoint.types(job) == [f"{kind} Job {s}" for s in ("Submitted", *queued, "In Progress", "Completed")]


def test_an_endpoint_that_stalls_holds_nothing_up_and_gets_all_in_their_order_later():
    with Endpoint() as endpoint, Server(None, *options(endpoint)) as server:
        endpoint.plan = lambda n: 200 if endpoint.released.is_set() else "stall"  # who waits for too long asks again
        store = server.create_store()
        server.put_object("s3://input/s/p.ndjson", lines())
        assert server.import_all(store, "s3://input/s/")["JobStatus"] == "COMPLETED"
        job = server.export_all(store)["JobId"]
        assert server.fhir(store).get("Patient/1").status == 200
        endpoint.wait(lambda: endpoint.tried)
        assert endpoint.taken == [] and len(set(endpoint.tried)) == 1
        endpoint.released.set()  # and is cut
        endpoint.wait_for(job, "Export Job Completed")
        assert in_order(endpoint.about(store)) == ["Data Store Creating", "Data Store Active"]
        assert endpoint.types(job)[-1] == "Export Job Completed"
        assert endpoint.tried[0] == endpoint.tried[1]


def test_what_an_endpoint_does_not_take_comes_again_with_its_id():
    plan = [503, "cut", 200, 500]
    with Endpoint(plan=lambda n: plan[n] if n < len(plan) else 200) as endpoint, \
            Server(None, *options(endpoint)) as server:
        store = server.create_store()
        endpoint.wait_for(store, "Data Store Active")
        ids = [json.loads(b)["id"] for b in endpoint.tried]
        assert ids[0] == ids[1] == ids[2] != ids[3] == ids[4]
        assert endpoint.types(store) == ["Data Store Creating", "Data Store Active"]
        text = server.log_text()
        assert text.count("state=failing") == 2 and "the endpoint answered 503" in text


def test_a_kill_loses_no_event(tmp_path):
    """The endpoint is down, so that all events wait; then the process is killed; then all come."""
    with Endpoint(plan=lambda n: 503) as endpoint:
        server = Server(tmp_path / "d", *options(endpoint)).start()
        store = server.create_store()
        server.put_object("s3://input/k/p.ndjson", lines())
        jobs = [server.import_all(store, "s3://input/k/")["JobId"], server.export_all(store)["JobId"]]
        server.kill()
    with Endpoint() as endpoint, Server(tmp_path / "d", *options(endpoint)) as server:
        endpoint.wait_for(jobs[1], "Export Job Completed")
        assert endpoint.types(store) == ["Data Store Creating", "Data Store Active"]
        for job, kind in zip(jobs, ("Import", "Export")):
            assert [t for t in endpoint.types(job) if "Queued" not in t] == [
                f"{kind} Job {s}" for s in ("Submitted", "In Progress", "Completed")]


@pytest.mark.parametrize("seed", range(6 if LONG else 2))
def test_kills_at_any_moment_lose_no_event(tmp_path, seed):
    """Jobs run, the endpoint has its moods, and the process is killed behind any of its requests. In the end each job
    that was answered has all its events, in their order."""
    rng = random.Random(seed)
    moods = [rng.choice([200, 200, 200, 503, "cut"]) for _ in range(2000)]
    started = []
    with Endpoint(plan=lambda n: moods[n]) as endpoint:
        server = Server(tmp_path / "d", *options(endpoint)).start()
        store = server.create_store()
        server.put_object("s3://input/k/p.ndjson", lines())
        for _ in range(5):
            for kind in rng.sample(["import", "export"], rng.choice([1, 2])):
                started.append((kind.title(), server.start_import(store, "s3://input/k/") if kind == "import"
                                else server.start_export(store, f"s3://out/{len(started)}")))
            before = len(endpoint.tried)
            endpoint.wait(lambda: len(endpoint.tried) >= before + rng.choice([1, 2, 4]))
            server.kill()
            server.start()
        endpoint.plan = lambda n: 200
        for kind, job in started:
            end_of = server.wait_import if kind == "Import" else server.wait_export
            assert end_of(store, job)["JobStatus"] == "COMPLETED"
        for kind, job in started:
            endpoint.wait_for(job, f"{kind} Job Completed")
        assert server.stop() == 0
        assert in_order(endpoint.about(store)) == ["Data Store Creating", "Data Store Active"]
        for kind, job in started:
            types = [t.removeprefix(f"{kind} Job ") for t in in_order(endpoint.about(job))]
            assert [t for t in types if t != "Queued"] == ["Submitted", "In Progress", "Completed"], types
            assert "Queued" not in types or types.index("Queued") == 1
    counts = collections.Counter(json.loads(b)["id"] for b in endpoint.tried)
    assert max(counts.values()) > 1, "nothing came twice: no kill or failure did anything"


def test_what_is_tried_too_often_is_a_line_of_a_file():
    refused = []

    def plan(n):
        refused.append(n)
        return 410 if len(refused) == 1 else 200

    with Endpoint(plan=plan) as endpoint, Server(None, *options(endpoint, "--events-tries", "1")) as server:
        store = server.create_store()
        endpoint.wait_for(store, "Data Store Active")
        assert endpoint.types(store) == ["Data Store Active"]
        dead = server.data / "events-dead.ndjson"
        assert dead.stat().st_mode & 0o777 == 0o600
        assert [json.loads(line)["detail-type"] for line in dead.read_text().splitlines()] == ["Data Store Creating"]
        assert dead.read_bytes() == endpoint.tried[0] + b"\n"
        wait(lambda: "state=dead" in server.log_text(), {True})


def test_events_are_counted(tmp_path):
    parser = pytest.importorskip("prometheus_client.parser", reason="no prometheus_client")
    from test_metrics import EVENTS, Watched
    moods = [503, 200]
    with Endpoint(plan=lambda n: moods[n] if n < 2 else 200) as endpoint, \
            Watched(*options(endpoint)) as server:
        server.create_store()
        wait(lambda: server.value("fhirlake_events_total", outcome="sent"), {2})
        assert server.value("fhirlake_events_total", outcome="failed") == 1
        assert server.value("fhirlake_events_total", outcome="dead") == 0
        wait(lambda: server.value("fhirlake_events_waiting"), {0})
        there = {s.name for f in parser.text_string_to_metric_families(server.ask()[2]) for s in f.samples}
        assert EVENTS <= there


def test_with_tls_a_certificate_is_checked_and_the_token_is_sent(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    for name in ("own", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / f"{name}.key",
                        "-out", tmp_path / f"{name}.crt"], check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_text((tmp_path / "own.key").read_text() + (tmp_path / "own.crt").read_text())
    token = tmp_path / "token"
    token.write_text("a-secret-word\n")
    token.chmod(0o600)
    with Endpoint(tls=both) as endpoint:
        given = options(endpoint, "--events-token-file", str(token))
        with Server(tmp_path / "d", *given, env={"SSL_CERT_FILE": str(tmp_path / "other.crt")}) as server:
            store = server.create_store()
            wait(lambda: "state=failing" in server.log_text(), {True})
            assert endpoint.tried == []
        with Server(tmp_path / "d", *given, env={"SSL_CERT_FILE": str(tmp_path / "own.crt")}) as server:
            endpoint.wait_for(store, "Data Store Active")
            assert "a-secret-word" not in server.log_text()
        assert endpoint.tokens == {"Bearer a-secret-word"}


def test_without_the_option_nothing_is_written_and_what_waits_stays(tmp_path):
    with Endpoint(plan=lambda n: 503) as endpoint:
        with Server(tmp_path / "d", *options(endpoint)) as server:
            first = server.create_store()
    with Server(tmp_path / "d") as server:
        second = server.create_store()
    with Endpoint() as endpoint, Server(tmp_path / "d", *options(endpoint)) as server:
        third = server.create_store()
        endpoint.wait_for(third, "Data Store Active")
        assert endpoint.types(first) == endpoint.types(third) == ["Data Store Creating", "Data Store Active"]
        assert endpoint.types(second) == []


@pytest.mark.parametrize("url", ["http://events.example/hook", "ftp://127.0.0.1/", "127.0.0.1:80", "https://"])
def test_a_url_that_others_could_read_refuses_the_start(tmp_path, url):
    got = subprocess.run([str(BIN), "serve", "--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0",
                          "--events-url", url], capture_output=True, text=True, timeout=60)
    assert got.returncode == 2 and "--events-url" in got.stderr, got.stderr


def test_the_documents_name_each_detail_type():
    text = (ROOT / "docs" / "operations.md").read_text()
    for word in ("Creating", "Active", "Creation Failed", "Deleting", "Deleted", "Submitted", "Queued", "In Progress",
                 "Completed", "Completed With Errors", "Failed"):
        assert word in text
