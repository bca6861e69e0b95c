"""GET /metrics: Prometheus' own parser reads it, its counts are those of what was done, and nothing of it is a
patient's. Who may read it: this machine, or whoever has the token."""
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import botocore.exceptions
import pytest

from fhirlake import BIN, ROOT, Fhir, Server, patient, wait



parser = pytest.importorskip("prometheus_client.parser", reason="no prometheus_client")
pytestmark = [pytest.mark.sanitize, pytest.mark.threads]
SECRET = "0123456789abcdef-a-token"
NAME = "Zaphod"


class Watched(Server):
    """A server with a listener for a monitor, whose address stands in the ready line."""

    def __init__(self, *options, data=None, listen="127.0.0.1:0", **more):
        super().__init__(data, "--health-listen", listen, *options, **more)

    def start(self, timeout=300):
        super().start(timeout)
        self.monitor = re.search(r"health and metrics on http://([^;)\s]+)", self.ready_line)[1]
        return self

    def ask(self, method="GET", path="/metrics", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", int(self.monitor.rsplit(":", 1)[1]), timeout=60)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def families(self):
        status, headers, text = self.ask()
        assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", text
        return {f.name: f for f in parser.text_string_to_metric_families(text)}

    def value(self, name, **labels):
        """The sum of the samples with these labels."""
        return sum(s.value for f in self.families().values() for s in f.samples
                   if s.name == name and labels.items() <= s.labels.items())


@pytest.fixture(scope="module")
def watched():
    with Watched() as s:
        yield s


def by_outcome(server):
    return {(s.labels["operation"], s.labels["outcome"]): s.value
            for s in server.families()["fhirlake_requests"].samples if s.value}


def test_the_counts_are_those_of_what_was_done(watched):
    client, before = watched.client(), by_outcome(watched)
    store = client.create_fhir_datastore(DatastoreTypeVersion="R4")["DatastoreId"]
    client.get_waiter("fhir_datastore_active").wait(DatastoreId=store, WaiterConfig={"Delay": 1, "MaxAttempts": 300})
    fhir, nobody = watched.fhir(store), watched.fhir(store, signed=False)
    for i in range(7):
        assert fhir.put(f"Patient/{i}", json.loads(patient(i, name=[{"family": NAME}]))).status == 201
    for i in range(10):
        assert fhir.get(f"Patient/{i}").status == (200 if i < 7 else 404)
    assert fhir.get(f"Patient?name={NAME}").status == 200
    assert fhir.get("Patient?nonsense=1", Prefer="handling=strict").status == 400
    assert fhir.post("", {"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": "Patient/1"}}] * 5}).status == 200
    assert nobody.get("Patient/1").status == 401
    with pytest.raises(botocore.exceptions.ClientError):
        client.describe_fhir_export_job(DatastoreId=store, JobId="0" * 32)
    wrong = Fhir(fhir.base, (watched.keys()[0], "not-the-secret"))
    assert wrong.get("Patient/1").status == 401
    assert Fhir(watched.url, None).get("nowhere").status == 404
    after = by_outcome(watched)
    grown = {k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k, 0)}
    assert grown.pop(("DescribeFHIRDatastore", "success")) >= 1
    assert grown == {("CreateFHIRDatastore", "success"): 1, ("UpdateResource", "success"): 7,
                     ("ReadResource", "success"): 7, ("ReadResource", "user_error"): 3,
                     ("SearchWithGet", "success"): 1, ("SearchWithGet", "user_error"): 1,
                     ("ProcessBundle", "success"): 1, ("DescribeFHIRExportJob", "user_error"): 1,
                     ("unknown", "user_error"): 3}
    assert watched.value("fhirlake_auth_failures_total", scheme="none", reason="missing") == 1
    assert watched.value("fhirlake_auth_failures_total", scheme="sigv4", reason="signature") == 1
    families = watched.families()
    times = families["fhirlake_request_duration_seconds"].samples
    assert sum(s.value for s in times if s.name.endswith("_count")) == sum(after.values())
    assert 0 < sum(s.value for s in times if s.name.endswith("_sum")) < 600
    # nothing is a patient's, a caller's, or chosen by one
    text = watched.ask()[2]
    for secret in (NAME, store, watched.keys()[0], "nonsense", "Patient/", "127.0.0.1"):
        assert secret not in text, secret


def test_a_histogram_grows_from_bucket_to_bucket(watched):
    last = {}
    for s in watched.families()["fhirlake_request_duration_seconds"].samples:
        if s.name.endswith("_bucket"):
            at = (last.get(s.labels["operation"], (0, 0)), (float(s.labels["le"]), s.value))
            assert at[0][0] < at[1][0] and at[0][1] <= at[1][1]
            last[s.labels["operation"]] = at[1]
        elif s.name.endswith("_count"):
            assert last[s.labels["operation"]] == (float("inf"), s.value)
    assert last


def test_jobs_are_counted_with_what_they_move(watched):
    before = {k: watched.value(n, **l) for k, n, l in (
        ("ended", "fhirlake_jobs_ended_total", {"kind": "import", "status": "COMPLETED"}),
        ("in", "fhirlake_job_resources_total", {"kind": "import"}),
        ("out", "fhirlake_job_resources_total", {"kind": "export"}),
        ("bytes", "fhirlake_job_bytes_total", {"kind": "export"}))}
    store = watched.create_store()
    watched.put_object("s3://input/metrics/p.ndjson", "\n".join(patient(i) for i in range(300)))
    assert watched.import_all(store, "s3://input/metrics/")["JobStatus"] == "COMPLETED"
    job = watched.export_all(store)
    assert job["JobStatus"] == "COMPLETED"
    # an end is counted a moment behind the status
    wait(lambda: watched.value("fhirlake_jobs_ended_total", kind="import", status="COMPLETED"), {before["ended"] + 1})
    assert watched.value("fhirlake_job_resources_total", kind="import") == before["in"] + 300
    assert watched.value("fhirlake_job_resources_total", kind="export") == before["out"] + 300
    folder = watched.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    moved = sum(p.stat().st_size for p in folder.rglob("*.ndjson"))
    assert watched.value("fhirlake_job_bytes_total", kind="export") == before["bytes"] + moved
    # an entry of the queue goes when the job's thread has ended, a moment behind its last status
    wait(lambda: watched.value("fhirlake_jobs"), {0})


def test_the_file_of_an_export_counts_by_its_status(watched):
    store = watched.create_store()
    fhir = watched.fhir(store)
    fhir.put("Patient/1", {"resourceType": "Patient", "id": "1"})
    place = fhir.get("$export", Prefer="respond-async").headers["Content-Location"]
    wait(lambda: fhir.get(place).status, {200})
    url = fhir.get(place).json["output"][0]["url"]
    before = {o: watched.value("fhirlake_requests_total", operation="GetExportedFile", outcome=o)
              for o in ("success", "user_error")}
    assert fhir.get(url).status == 200
    assert fhir.get(url, Range="bytes=999999-").status == 416
    # the status of a file is known when it has gone out
    for outcome in before:
        wait(lambda: watched.value("fhirlake_requests_total", operation="GetExportedFile", outcome=outcome),
             {before[outcome] + 1})


def start_time(pid):
    """Of a process, in seconds since 1970: the kernel counts it in ticks since the machine's start."""
    with open("/proc/stat") as all_of_it, open(f"/proc/{pid}/stat") as one:
        booted = int(re.search(r"^btime (\d+)$", all_of_it.read(), re.M)[1])
        return booted + int(one.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def test_the_process_the_disk_and_the_connections_are_told(watched):
    assert watched.value("process_resident_memory_bytes") > 1 << 20
    assert 3 < watched.value("process_open_fds") < watched.value("process_max_fds")
    assert abs(watched.value("process_start_time_seconds") - start_time(watched.process.pid)) < 60
    assert watched.value("process_cpu_seconds_total") > 0
    assert watched.value("fhirlake_build_info") == 1
    assert 0 < watched.value("fhirlake_disk_free_bytes") < watched.value("fhirlake_disk_bytes")
    assert watched.fhir(watched.create_store()).get("Patient").status == 200
    assert watched.value("fhirlake_open_datastores") >= 1
    parts = urllib.parse.urlsplit(watched.url)
    with contextlib.ExitStack() as held:  # those of other tests may end meanwhile
        for _ in range(50):
            held.enter_context(socket.create_connection((parts.hostname, parts.port)))
        wait(lambda: watched.value("fhirlake_open_connections") >= 50, {True})
    wait(lambda: watched.value("fhirlake_open_connections") < 50, {True})


@pytest.mark.files
def test_the_bytes_of_the_data_folder_are_those_of_its_files(tmp_path):
    with Watched(data=tmp_path / "d") as s:
        s.create_store()
    metrics = {"stores": ("fhirlake_store_bytes", {}), "system": ("fhirlake_data_bytes", {"part": "system"})}

    def taken():
        return {part: int(subprocess.run(["du", "-sk", str(s.data / part)], capture_output=True, text=True).stdout.split()[0]) << 10
                for part in metrics}

    for _ in range(20):  # until no file comes or goes meanwhile
        with Watched(data=tmp_path / "d") as s:  # sizes are looked at again after a minute, or by another process
            before = taken()
            told = {part: s.value(name, **labels) for part, (name, labels) in metrics.items()}
            after = taken()
        if before == after:
            break
    for part in metrics:
        assert before[part] == after[part] and 0 < told[part] <= after[part] <= told[part] + 16384


def test_data_stores_are_labels_when_that_is_asked_for():
    with Watched("--metrics-per-datastore", "yes") as s:
        store, other = s.create_store(), s.create_store()
        for _ in range(3):
            s.fhir(store).get("Patient/1")
        s.fhir(other).get("Patient/1")
        s.fhir("0" * 32).get("Patient/1")
        assert s.value("fhirlake_requests_total", operation="ReadResource", datastore=store) == 3
        assert s.value("fhirlake_requests_total", operation="ReadResource", datastore=other) == 1
        # a data store that is not there is no label
        assert s.value("fhirlake_requests_total", operation="ReadResource", datastore="") == 1
        assert "0" * 32 not in s.ask()[2]


# ---- what comes with an option ----

def test_the_audit_log_is_counted_and_its_failures(tmp_path):
    log = tmp_path / "audit"
    with Watched("--audit", str(log)) as s:
        fhir = s.fhir(s.create_store())
        before, size = s.value("fhirlake_audit_records_total"), s.value("fhirlake_audit_bytes_total")
        for i in range(5):
            assert fhir.put(f"Patient/{i}", patient(i)).status == 201
        # a record of a read may come in between: --health-listen itself leaves none
        assert s.value("fhirlake_audit_records_total") >= before + 5
        assert s.value("fhirlake_audit_bytes_total") > size + 5 * 300
        assert s.value("fhirlake_audit_writable") == 1
        assert s.value("fhirlake_audit_failures_total") == s.value("fhirlake_audit_lost_records_total") == 0
        away = log.rename(tmp_path / "away")
        assert fhir.put("Patient/x", patient("x")).status == 503
        assert s.value("fhirlake_audit_failures_total") == 1 and s.value("fhirlake_audit_writable") == 0
        assert s.value("fhirlake_audit_lost_records_total") >= 1
        away.rename(log)
        wait(lambda: s.value("fhirlake_audit_writable"), {1})
        assert AUDIT <= names(s)


def test_handshakes_the_certificate_and_strangers_are_told(tmp_path):
    pki = pytest.importorskip("pki")
    folder = tmp_path / "pki"
    folder.mkdir(mode=0o700)
    authority = pki.Authority(folder)
    certificate, key = authority.issue("server", days=(-1, 30))
    with Watched("--tls-certificate", str(certificate), "--tls-key", str(key), "--tls-client-ca", str(authority.ca)) as s:
        address = urllib.parse.urlsplit(s.url)
        context = ssl.create_default_context(cafile=str(authority.ca))
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(f"{s.url}/datastore/{'0' * 32}/r4/metadata", context=context)
        assert answer.value.code == 403
        assert s.value("fhirlake_auth_failures_total", scheme="mtls", reason="certificate") == 1
        assert s.value("fhirlake_tls_handshakes_total", outcome="success") == 1
        with socket.create_connection((address.hostname, address.port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            plain.recv(100)
        wait(lambda: s.value("fhirlake_tls_handshakes_total", outcome="failure"), {1})
        left = s.value("fhirlake_tls_certificate_expiry_timestamp_seconds") - time.time()
        assert 29 * 86400 < left <= 30 * 86400
        assert TLS <= names(s)


def test_the_command_health_says_whether_a_server_is_well(watched):
    def health(*options, listen=""):
        return subprocess.run([BIN, "health", *options], capture_output=True, text=True,
                              env={**os.environ, "FHIRLAKE_HEALTH_LISTEN": listen})

    port = watched.monitor.rsplit(":", 1)[1]
    late = ("--timeout", "60")  # machines that are starved
    for well in (health(*late, listen=watched.monitor), health(*late, listen=f"0.0.0.0:{port}"), health(*late, "--endpoint", watched.url)):
        assert (well.returncode, well.stdout, well.stderr) == (0, "", "")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        none = health(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        # now somebody takes the call, and says nothing, or something else
        taken.listen()
        silent = health("--timeout", "1", listen=f"127.0.0.1:{taken.getsockname()[1]}")
        assert silent.returncode == 1 and "imeout" in silent.stderr, silent
        call, _ = taken.accept()
        call.close()

        def other():
            call, _ = taken.accept()
            call.recv(4096)
            call.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"status\":\"fine\"}"[:-1])
            call.close()

        thread = threading.Thread(target=other)
        thread.start()
        foreign = health(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        thread.join()
        assert foreign.returncode == 1 and "no fhirlake server" in foreign.stderr, foreign
    assert none.returncode == 1 and "no answer" in none.stderr
    for wrong in (health(), health("--endpoint", "ftp://x"), health("--colour", "red"), health("--timeout", "0"), health(listen="nonsense")):
        assert wrong.returncode == 2 and wrong.stderr.startswith("fhirlake health: "), wrong


def test_questions_to_identity_providers_are_counted(tmp_path):
    identity = pytest.importorskip("identity")
    idp = identity.Idp()
    try:
        with Watched("--identity-providers", str(idp.file(tmp_path / "idp"))) as s:
            store, opaque = identity.smart_store(s, idp.url), identity.smart_store(s, f"{idp.url}/opaque")

            def ask(of, token):
                return s.fhir(of, signed=False).get("Patient/p", Authorization=f"Bearer {token}").status

            def count(name, issuer, outcome):
                return s.value(f"fhirlake_{name}_total", issuer=issuer, outcome=outcome)

            idp.published = 500
            assert ask(store, idp.keys[0].token(identity.claims(s, store, iss=idp.url))) == 503
            assert (count("jwks_fetches", idp.url, "success"), count("jwks_fetches", idp.url, "failure")) == (0, 1)
            idp.published = None
            wait(lambda: ask(store, idp.keys[0].token(identity.claims(s, store, iss=idp.url))), {404})
            assert count("jwks_fetches", idp.url, "success") == 1
            assert ask(opaque, "an-opaque-token") == 401  # it is answered: not active
            assert count("introspections", f"{idp.url}/opaque", "success") == 1
            assert s.value("fhirlake_auth_failures_total", scheme="bearer", reason="provider") >= 1
            assert s.value("fhirlake_auth_failures_total", scheme="bearer", reason="signature") == 1
            assert PROVIDERS <= names(s)
    finally:
        idp.close()


# ---- who may read ----

def test_only_two_paths_are_answered_there_and_the_clients_port_has_no_metrics(watched):
    assert watched.ask(path="/health")[0] == 200
    assert json.loads(watched.ask(path="/health")[2])["status"] == "ok"
    assert watched.ask("HEAD")[0] == 200 and watched.ask("HEAD")[2] == ""
    for path in ("/", "/datastore/", f"/datastore/{'0' * 32}/r4/metadata", "/metrics/", "/metricsx"):
        assert watched.ask(path=path)[0] == 404, path
    assert watched.ask("POST", body="x")[0] == 405
    assert watched.ask("DELETE", "/health")[0] == 405
    assert Fhir(watched.url, None).get("metrics").status == 404
    assert watched.ask(Host="attacker.example")[0] == 421
    assert watched.ask(path="/health", Host="attacker.example")[0] == 200
    assert watched.ask(Host="localhost:9464")[0] == 200


def token_file(tmp_path, text=SECRET + "\n", mode=0o600):
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_who_connects_and_says_nothing_keeps_nobody_from_the_metrics(watched):
    server = watched
    url = re.search(r"health and metrics on (http://[^;)\s]+)", server.ready_line)[1]
    host, port = url.split("//")[1].split(":")
    held = []
    try:
        for _ in range(60):
            held.append(socket.create_connection((host, int(port)), timeout=60))
            held[-1].sendall(b"GET /met")
        assert [server.ask(path=path)[0] for path in ("/health", "/metrics", "/metrics")] == [200] * 3
    finally:
        for one in held:
            one.close()


def test_with_a_token_nobody_reads_without_it(tmp_path):
    with Watched("--metrics-token-file", token_file(tmp_path), "--plain-http", "yes", listen="0.0.0.0:0") as s:
        assert s.ask()[0] == 401 and s.ask()[1]["WWW-Authenticate"].startswith("Bearer")
        for wrong in ("Bearer", "Bearer ", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", f"Basic {SECRET}", SECRET):
            assert s.ask(Authorization=wrong)[0] == 401, wrong
        assert s.ask(Authorization=f"Bearer {SECRET}")[0] == 200
        assert s.ask(Authorization=f"Bearer {SECRET}", Host="fhirlake.example:9464")[0] == 200
        assert s.ask(path="/health")[0] == 200
        assert SECRET not in s.log_text()


def test_beyond_loopback_without_a_token_there_are_none():
    with Watched("--plain-http", "yes", listen="0.0.0.0:0") as s:
        status, _, text = s.ask()
        assert status == 403 and "--metrics-token-file" in text
        assert s.ask(path="/health")[0] == 200
        wait(lambda: "/metrics is refused" in s.log_text(), {True})


@pytest.mark.parametrize("text, mode, said", [
    (SECRET, 0o644, "token"), ("short\n", 0o600, "16 at least"), ("two words of a token", 0o600, "one word"),
    ("", 0o600, "16 at least")])
def test_a_token_that_is_none_refuses_the_start(tmp_path, text, mode, said):
    tmp_path.chmod(0o755)
    options = ["--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0",
               "--metrics-token-file", token_file(tmp_path, text, mode)]
    got = subprocess.run([str(BIN), "serve", *options], capture_output=True, text=True, timeout=60)
    assert got.returncode == 1 and "--metrics-token-file" in got.stderr and said in got.stderr, got.stderr
    assert not text.strip() or text.strip() not in got.stderr


def test_an_address_in_use_names_the_option(watched, tmp_path):
    got = subprocess.run([str(BIN), "serve", "--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0",
                          "--health-listen", watched.monitor], capture_output=True, text=True, timeout=60)
    assert got.returncode == 1 and "--health-listen" in got.stderr, got.stderr


# ---- the dashboard and the documents ----

EVENTS = {"fhirlake_events_total", "fhirlake_events_waiting"}  # with --events-url: test_events.py
AUDIT = {f"fhirlake_audit_{what}" for what in ("records_total", "bytes_total", "failures_total", "lost_records_total",
                                               "writable")}  # with --audit
TLS = {"fhirlake_tls_handshakes_total", "fhirlake_tls_certificate_expiry_timestamp_seconds"}
PROVIDERS = {"fhirlake_jwks_fetches_total", "fhirlake_introspections_total"}  # with --identity-providers
WITH_OPTIONS = EVENTS | AUDIT | TLS | PROVIDERS


def names(server):
    """Of all samples, those of families that come with the first use among them."""
    return {s.name for f in server.families().values() for s in f.samples}


def test_each_expression_of_the_dashboard_names_a_metric_that_there_is(watched):
    board = json.loads((ROOT / "docs" / "grafana" / "fhirlake.json").read_text())
    expressions = [t["expr"] for p in board["panels"] for t in p["targets"]]
    expressions += [v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"]
    assert len(expressions) > 10 and len({p["id"] for p in board["panels"]}) == len(board["panels"])
    there = names(watched)
    for expression in expressions:
        used = re.findall(r"\b(?:fhirlake|process)_\w+", expression)
        assert used and set(used) <= there | WITH_OPTIONS, (expression, set(used) - there)
    shown = {re.sub(r"_(bucket|sum|count)$", "", n) for e in expressions for n in re.findall(r"\b(?:fhirlake|process)_\w+", e)}
    assert shown >= {re.sub(r"_(bucket|sum|count)$", "", n) for n in there} | WITH_OPTIONS, "a dashboard of all of them"


def test_each_metric_is_in_the_documents_and_each_of_the_documents_is_there(watched):
    text = (ROOT / "docs" / "operations.md").read_text()
    told = set(re.findall(r"^\| `((?:fhirlake|process)_\w+)", text, re.M))
    base = {re.sub(r"_(bucket|sum|count)$", "", n) if "duration" in n else n for n in names(watched)}
    assert told - WITH_OPTIONS == base and WITH_OPTIONS <= told
