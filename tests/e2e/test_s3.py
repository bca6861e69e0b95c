"""Jobs against an S3 endpoint: moto with signature and policy checks on, and a proxy that spoils its answers. With --long
all of it that asks for no particular rights also meets MinIO, where `./dev minio` built it."""
import hashlib
import http.client
import ipaddress
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.exceptions import ClientError
from cryptography import x509

import postgres
from fhirlake import (KEY, ROLE, Server, assert_same_resources, exact, patient, read_ndjson, run,
                      wait, wait_job, without_version)
from pki import Authority
from s3_peer import ACCOUNT, Peer, roles_file

pytestmark = pytest.mark.once

PROBE = ".healthlake_write_access_check_file.temp"


# ---- what stands before the peer ----

class Proxy:
    """Between fhirlake and the peer, Host and all passed on as they are, so that signatures hold.
    spoil(method, path) may answer (status, code) instead of the peer."""

    def __init__(self, port, context=None):
        proxy = self
        self.spoil = lambda method, path: None
        self.before = lambda method, path: None  # may wait
        self.spoilt = []
        self.lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def any(self):
                if self.headers.get("Expect", "").lower() == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.before(self.command, self.path)
                with proxy.lock:
                    proxy.is_copy = "x-amz-copy-source" in self.headers  # of the call that spoil() is asked about
                    fault = proxy.spoil(self.command, self.path)
                    if fault:
                        proxy.spoilt.append((self.command, self.path))
                if fault:
                    status, name = fault
                    text = f"<Error><Code>{name}</Code><Message>no</Message></Error>".encode()
                    self.answer(status, {"Content-Type": "application/xml"}, text)
                    return
                up = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                up.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("expect", "connection"):
                        up.putheader(name, value)
                up.endheaders(body or None)
                got = up.getresponse()
                data = got.read()
                self.answer(got.status, dict(got.getheaders()), data)
                up.close()

            def answer(self, status, headers, data):
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", len(data)) if self.command == "HEAD" else len(data)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = any

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module", params=["moto", pytest.param("minio", marks=pytest.mark.long)])
def peer(request):
    p = Peer(request.param)
    yield p
    p.stop()


@pytest.fixture(scope="module")
def server(peer):
    with Server(None, *peer.options(), env=peer.env()) as s:
        yield s


@pytest.fixture
def proxied(peer):
    """A server whose S3 is the peer behind a proxy: (server, proxy)."""
    proxy = Proxy(peer.port)
    try:
        with Server(None, *peer.options(proxy.url), env=peer.env()) as s:
            yield s, proxy
    finally:
        proxy.stop()


def uri(peer, key):
    return f"s3://{peer.bucket}/{key}"


def refused(call, *args, **more):
    """(error code, message) of a call that must fail."""
    with pytest.raises(ClientError) as info:
        call(*args, **more)
    return info.value.response["Error"]["Code"], info.value.response["Error"]["Message"]


def assert_no_jobs(client, store):
    assert client.list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"] == []
    assert client.list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"] == []


def filled(server, peer, name, n=50):
    """A data store with n patients, imported from the bucket."""
    store = server.create_store()
    peer.put(f"in-{name}/p.ndjson", [patient(f"{name}-{i}").encode() for i in range(n)])
    done = server.import_all(store, uri(peer, f"in-{name}/"), output_uri=uri(peer, f"log-{name}"),
                             role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    return store


def test_objects_are_looked_at_by_lists_and_one_by_one_where_a_list_leaves_them_out(proxied, peer):
    server, proxy = proxied
    store = filled(server, peer, "looked")
    asked = []
    proxy.before = lambda method, path: asked.append((method, path))

    def export(name):
        asked.clear()
        job = server.export_all(store, uri(peer, f"looked/{name}/"), role=peer.role, key=peer.kms_key)
        heads = [path for method, path in asked if method == "HEAD" and ".ndjson" in path]
        lists = [path for method, path in asked if method == "GET" and "list-type=2" in path]
        return job, heads, lists

    job, heads, lists = export("list")
    assert (job["JobStatus"], heads, len(lists)) == ("COMPLETED", [], 1)
    proxy.spoil = lambda method, path: (403, "AccessDenied") if "list-type=2" in path else None
    job, heads, lists = export("denied")
    assert job["JobStatus"] == "COMPLETED" and heads and len(lists) == 1

    def replace(method, path):  # the object becomes another one just before it is looked at
        asked.append((method, path))
        if "list-type=2" in path:
            for name in peer.names("looked/other/"):
                if name.endswith(".ndjson"):
                    peer.s3.put_object(Bucket=peer.bucket, Key=name, Body=b"x")

    proxy.spoil = lambda method, path: None
    proxy.before = replace
    job, heads, _ = export("other")
    assert job["JobStatus"] == "FAILED" and heads and "another size" in job["Message"], job


# ---- over TLS ----

def parts_of(hostile):
    """What came as parts since the last script: (framed?, bytes on the wire)."""
    return [("x-amz-trailer" in one["headers"], one["length"]) for one in hostile.ask("/_log")["log"]
            if "partNumber=" in one["query"]]


@pytest.fixture
def over_tls(hostile):
    if hostile.tls_url is None:
        pytest.skip("no openssl to make a certificate with")
    return hostile


LARGE = 9 << 20  # bytes of a resource that no object of a PUT holds: it goes out in parts


def large_binary():
    return json.dumps({"resourceType": "Binary", "id": "large", "contentType": "text/plain", "data": "QUJD" * (LARGE // 4)},
                      separators=(",", ":"))


@pytest.mark.parametrize("refuses", [False, True])
def test_parts_over_tls_are_followed_by_their_checksum_or_signed_where_that_is_refused(over_tls, tmp_path, refuses):
    line = large_binary()
    with Server(tmp_path / "data") as plain:
        store = plain.create_store()
        plain.put_object("s3://input/l/b.ndjson", line.encode() + b"\n")
        done = plain.import_all(store, "s3://input/l/", output_uri="s3://output/l")
        assert done["JobStatus"] == "COMPLETED", done
    with Server(tmp_path / "data", *over_tls.options(tmp_path, over_tls.tls_url),
                env={"SSL_CERT_FILE": over_tls.ca}) as server:
        over_tls.ask("/_script", [])
        if refuses:  # whatever comes: before the parts are the check of the place and the upload's begin, and a mark for other nodes
            before = 4 if postgres.ON else 3
            over_tls.ask("/_script", [{"do": "ok"}] * before + [{"do": "fail", "status": 501, "code": "NotImplemented"}])
        done = server.export_all(store, "s3://bucket/x")
        assert done["JobStatus"] == "COMPLETED", done
        folder = done["OutputDataConfig"]["S3Configuration"]["S3Uri"].removeprefix("s3://bucket/")
        parts = parts_of(over_tls)
        told = server.log_text().count("s3_signed_after_all")
        manifest = json.loads(over_tls.get(folder + "manifest.json"))
        (item,) = manifest["output"]
        data = over_tls.get(item["url"].removeprefix("s3://bucket/"))
    assert hashlib.sha256(data).hexdigest() == item["sha256"] and len(data) == item["bytes"] > LARGE
    assert json.loads(data)["data"] == json.loads(line)["data"]
    framed = [one for one, _ in parts]
    assert framed == ([True] + [False] * (len(parts) - 1) if refuses else [True] * len(parts)) and len(parts) > 1, parts
    assert told == (1 if refuses else 0)


def test_an_export_over_tls_is_the_one_over_plain_http(peer, over_tls):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(over_tls.ca, over_tls.ca.replace("cert.pem", "key.pem"))
    proxy = Proxy(peer.port, context)
    try:
        with Server(None, *peer.options(proxy.url), env={**peer.env(), "SSL_CERT_FILE": over_tls.ca}) as server:
            store = filled(server, peer, "tls", 300)
            done = server.export_all(store, uri(peer, "tls"), role=peer.role, key=peer.kms_key)
            assert done["JobStatus"] == "COMPLETED", done
            _, resources = peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
            assert len(resources) == 300
    finally:
        proxy.stop()


@pytest.mark.parametrize("kind", ["export", "import"])
def test_a_stop_waits_for_no_peer_that_is_asked_before_a_job_exists(over_tls, tmp_path, kind):
    """What is waited for longer than a minute ends the process by a signal."""
    hostile = over_tls
    with Server(tmp_path / "data", *hostile.options(tmp_path, hostile.tls_url), env={"SSL_CERT_FILE": hostile.ca}) as server:
        store = server.create_store()
        hostile.ask("/_script", [{"do": "stall", "seconds": 600}] * 50)
        start = [server.start_export, store, "s3://bucket/x"] if kind == "export" else [
            server.start_import, store, "s3://bucket/in/", "s3://bucket/x"]
        told = []
        thread = threading.Thread(target=lambda: told.append(refused(*start)))
        thread.start()
        wait(lambda: len(hostile.ask("/_log")["log"]) > 0, {True})
        assert server.stop() == 0
        thread.join()
        assert told[0][0] == "ThrottlingException" and "stopping" in told[0][1], told
        hostile.ask("/_script", [])
        server.start()
        assert_no_jobs(server.client(), store)


@pytest.mark.parametrize("what, why", [
    ({"names": [x509.DNSName("example.com")]}, "not for this host"),
    ({"names": [x509.DNSName("*.0.0.1")]}, "not for this host"),
    ({"days": (-20, -1)}, "expired"), ({"days": (1, 20)}, "does not hold yet"),
    ({"kind": "client", "names": [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]}, "not one for servers"),
    (None, "no authority"),
], ids=str)
def test_a_certificate_that_is_not_taken_is_told_with_its_reason_and_nothing_is_asked(tmp_path, what, why):
    trusted, other = Authority(tmp_path, "trusted"), Authority(tmp_path, "other")
    certificate, key = (other if what is None else trusted).issue("peer", **(what or {}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as peer:
        def shake_hands():
            while True:
                try:
                    heard.append(context.wrap_socket(peer.accept()[0], server_side=True).recv(1))
                except ssl.SSLError:
                    pass
                except OSError:
                    return

        threading.Thread(target=shake_hands, daemon=True).start()
        roles = roles_file(tmp_path, {"arn": ROLE, "allow": ["s3://bucket/*"],
                                      "credentials": {"accessKeyId": "a", "secretAccessKey": "b"}})
        with Server(tmp_path / "data", "--s3-endpoint", f"https://127.0.0.1:{peer.getsockname()[1]}", "--roles", roles,
                    env={"SSL_CERT_FILE": str(trusted.ca)}) as server:
            name, text = refused(server.start_export, server.create_store(), "s3://bucket/x")
    assert name == "FailedDependencyException" and "certificate is not taken" in text and why in text, text
    assert not any(heard)


# ---- what works ----

def test_data_goes_from_bucket_to_bucket_under_the_key(peer, server, generated):
    store = server.create_store()
    lines = []
    for path in sorted(generated.glob("*.ndjson")):
        part = read_ndjson(path)
        lines += part
        peer.put(f"in/all/{path.stem[0]}/{path.name}", part)
    done = server.import_all(store, uri(peer, "in/all/"), output_uri=uri(peer, "logs"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    assert done["JobProgressReport"]["TotalNumberOfResourcesImported"] == len(lines)
    logs = peer.names("logs/")
    assert [n for n in logs if n.endswith("/Manifest.json")]
    peer.assert_under_key(logs)

    done = server.export_all(store, uri(peer, "out"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    _, exported = peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    assert_same_resources(exported, lines)
    assert not [n for n in peer.names() if n.endswith(PROBE)], "the probe is taken away again"


def test_verify_reads_an_export_from_the_bucket(peer, server):
    peer.put("verify-in/p.ndjson", [patient(i).encode() for i in range(30)])
    store = server.create_store()
    assert server.import_all(store, uri(peer, "verify-in"), output_uri=uri(peer, "verify-done"), role=peer.role,
                             key=peer.kms_key)["JobStatus"] == "COMPLETED"
    done = server.export_all(store, uri(peer, "verify-out"), role=peer.role, key=peer.kms_key)
    folder = done["OutputDataConfig"]["S3Configuration"]["S3Uri"]
    where = ["verify", folder, "--quiet", "--s3-endpoint", peer.url, "--region", peer.region]
    good = run(*where, "--against", server.url, "--credentials", server.data / "credentials", env=peer.env())
    assert good.returncode == 0 and "verified: 1 files, 30 resources" in good.stdout, good.stdout + good.stderr
    assert run(*where).returncode == 3, "without keys"
    name = next(n for n in peer.names(folder.removeprefix(f"s3://{peer.bucket}/")) if n.endswith(".ndjson"))
    peer.s3.put_object(Bucket=peer.bucket, Key=name, Body=peer.get(name).replace(b'"Patient"', b'"Person"', 1))
    peer.s3.put_object(Bucket=peer.bucket, Key=folder.removeprefix(f"s3://{peer.bucket}/") + "x.txt", Body=b"x")
    bad = run(*where, env=peer.env())
    assert bad.returncode == 1 and "line 1 is no Patient" in bad.stdout and "x.txt: is not in the manifest" in bad.stdout


def test_keys_that_need_encoding_are_read_and_written(peer, server):
    store = server.create_store()
    wanted = {}
    for i, name in enumerate(["a b", "plus+and=and&", "größe", "per%20cent", "tilde~(1)!'*"]):
        line = patient(f"odd-{i}").encode()
        wanted["Patient", f"odd-{i}"] = line
        peer.put(f"odd/{name}/{name}.ndjson", [line])
    done = server.import_all(store, uri(peer, "odd/"), output_uri=uri(peer, "odd-log"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    done = server.export_all(store, uri(peer, "odd-out/a+b=c"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    _, exported = peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    assert exported.keys() == wanted.keys()
    assert all(without_version(exact(exported[k])) == exact(wanted[k]) for k in wanted)


# ---- what is refused at submit: no job exists, nothing is written ----

@pytest.mark.parametrize("who", ["closed", "reader"])  # moto lends keys for a role that is not there
def test_a_role_that_may_not_is_denied_at_submit(peer, server, who):
    peer.needs_policies()
    role = {"closed": peer.closed, "reader": peer.reader}[who]
    client = server.client()
    store = server.create_store()
    peer.put("denied/p.ndjson", [patient(1).encode()])
    for start in (lambda: server.start_export(store, uri(peer, f"denied-{who}"), role=role, key=peer.kms_key),
                  lambda: server.start_import(store, uri(peer, "denied/"), uri(peer, f"denied-{who}"), role=role,
                                              key=peer.kms_key)):
        name, text = refused(start)
        assert name == "AccessDeniedException", text
    assert_no_jobs(client, store)
    assert peer.names(f"denied-{who}") == []


def test_a_role_that_may_not_touch_another_bucket_is_denied(peer, server):
    peer.needs_policies()
    store = server.create_store()
    assert refused(server.start_export, store, "s3://other-bucket/x", role=peer.role, key=peer.kms_key)[0] \
        == "AccessDeniedException"
    assert_no_jobs(server.client(), store)


def test_a_missing_bucket_or_input_is_a_fault_of_the_request(peer, server):
    client = server.client()
    store = server.create_store()
    name, text = refused(server.start_export, store, "s3://no-such-bucket/x", role=peer.role, key=peer.kms_key)
    assert name == "ValidationException" and "bucket" in text, text
    for place in ("s3://no-such-bucket/x", uri(peer, "nothing-below-here/")):
        name, text = refused(server.start_import, store, place, uri(peer, "missing"), role=peer.role, key=peer.kms_key)
        assert name == "ValidationException", text
    assert_no_jobs(client, store)


def test_a_token_of_a_refused_job_is_still_free(peer, server):
    """A refusal leaves no trace: the same ClientToken starts the job once the request is right."""
    peer.needs_policies()
    store = server.create_store()
    assert refused(server.start_export, store, uri(peer, "token"), role=peer.reader, key=peer.kms_key,
                   ClientToken="tok-1")[0] == "AccessDeniedException"
    job = server.start_export(store, uri(peer, "token"), role=peer.role, key=peer.kms_key, ClientToken="tok-1")
    assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"


def test_nothing_of_the_credentials_is_logged(peer, server):
    text = server.log_text()
    assert peer.own_secret not in text and server.keys()[1] not in text
    assert "X-Amz-Security-Token" not in text and "Signature=" not in text


# ---- faults of the endpoint ----

def test_slow_down_and_500_are_retried(peer, proxied):
    server, proxy = proxied
    store = filled(server, peer, "slow")
    faults = [(503, "SlowDown"), (500, "InternalError"), (503, "SlowDown")]
    proxy.spoil = lambda method, path: faults.pop() if faults and method == "PUT" and ".ndjson" in path else None
    done = server.export_all(store, uri(peer, "slow-out"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    assert len(proxy.spoilt) == 3
    _, exported = peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    assert len(exported) == 50


def of_several_types(server, peer, name):
    """A data store with a resource of each of six types."""
    store = server.create_store()
    kinds = ("Organization", "Location", "Practitioner", "Device", "Medication", "Basic")
    lines = [json.dumps({"resourceType": kind, "id": f"{kind.lower()}-1"} |
                        ({"code": {"text": "x"}} if kind == "Basic" else {})).encode() for kind in kinds]
    peer.put(f"in-{name}/all.ndjson", lines)
    done = server.import_all(store, uri(peer, f"in-{name}/"), output_uri=uri(peer, f"log-{name}"),
                             role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    return store, {(kind, f"{kind.lower()}-1") for kind in kinds}


def test_a_range_whose_object_does_not_arrive_is_written_again(peer, proxied):
    server, proxy = proxied
    store, ids = of_several_types(server, peer, "again")
    faults = [(503, "SlowDown")] * 7  # more than one PUT is tried
    proxy.spoil = lambda method, path: faults.pop() if faults and method == "PUT" and "/Device-" in path else None
    done = server.export_all(store, uri(peer, "again-out"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    assert faults == [] and "export_retry" in server.log_text()
    assert set(peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])[1]) == ids


def reused(manifest):
    return {item["type"] for item in manifest["output"] if item.get("reused")}


def test_an_export_copies_what_no_change_touched_within_the_bucket(peer, proxied):
    """One range of fifty is checked instead, by chance: so few are counted with some play."""
    server, proxy = proxied
    store, ids = of_several_types(server, peer, "reuse")

    def export():
        done = server.export_all(store, uri(peer, "reuse-out"), role=peer.role, key=peer.kms_key)
        assert done["JobStatus"] == "COMPLETED", done
        folder = done["OutputDataConfig"]["S3Configuration"]["S3Uri"]
        manifest, resources = peer.read_export(folder)
        assert set(resources) == ids
        return folder.removeprefix(f"s3://{peer.bucket}/"), manifest, resources

    first_folder, first, resources = export()
    folder, second, again = export()
    assert reused(first) == set() and len(reused(second)) >= 3
    assert again == resources
    for member in "contentDigest", "countPerType", "bytes", "count", "sha256":
        assert first[member] == second[member], member
    # one object is another one by now, one is gone, one resource has changed, one copy is refused
    by_type = {item["type"]: item["url"].removeprefix(f"s3://{peer.bucket}/") for item in second["output"]}
    peer.s3.put_object(Bucket=peer.bucket, Key=by_type["Location"], Body=peer.get(by_type["Location"])[:-1] + b" ")
    peer.s3.delete_object(Bucket=peer.bucket, Key=by_type["Practitioner"])
    assert server.fhir(store).put("Basic/basic-1", {"resourceType": "Basic", "id": "basic-1",
                                                    "code": {"text": "y"}}).status == 200
    faults = [(403, "AccessDenied")]
    # of an object that is checked, which is written, it would be the export's end
    proxy.spoil = lambda method, path: faults.pop() if faults and proxy.is_copy and not any(
        f"/{one}-" in path for one in ("Location", "Practitioner", "Basic")) else None
    _, third, now = export()
    assert not reused(third) & {"Location", "Practitioner", "Basic"} and reused(third)
    assert faults == [] and now.keys() == resources.keys()
    assert {key for key in now if now[key] != resources[key]} == {("Basic", "basic-1")}


@pytest.mark.long
def test_over_tls_a_certificate_that_nobody_vouches_for_is_refused_and_one_of_ssl_cert_file_is_taken():
    peer = Peer("minio", "--tls")
    try:
        with Server(None, *peer.options(), env=peer.env()) as server:
            store = filled(server, peer, "tls")
            for _ in range(2):  # the second by copies
                done = server.export_all(store, uri(peer, "tls-out"), role=peer.role, key=peer.kms_key)
                assert done["JobStatus"] == "COMPLETED", done
                _, exported = peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
                assert len(exported) == 50
        with Server(None, *peer.options(), env=peer.env() | {"SSL_CERT_FILE": ""}) as server:
            name, _ = refused(server.start_export, server.create_store(), uri(peer, "tls-no"), role=peer.role, key=peer.kms_key)
            assert name == "FailedDependencyException" and peer.names("tls-no") == []
    finally:
        peer.stop()


def test_objects_go_side_by_side(peer, proxied):
    server, proxy = proxied
    store, ids = of_several_types(server, peer, "side")
    together = threading.Barrier(5)  # more than there are workers
    left = [None] * 5

    def meet(method, path):
        if method == "PUT" and ".ndjson" in path and left:
            left.pop()
            together.wait(60)

    proxy.before = meet
    done = server.export_all(store, uri(peer, "side-out"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED" and not together.broken, done
    assert set(peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])[1]) == ids


def test_a_kill_while_objects_are_on_their_way_loses_none(peer, proxied):
    server, proxy = proxied
    store, ids = of_several_types(server, peer, "killed")
    held, on = threading.Semaphore(0), threading.Event()

    def hold(method, path):
        if method == "PUT" and ".ndjson" in path and not on.is_set():
            held.release()
            on.wait(60)

    proxy.before = hold
    job = server.client().start_fhir_export_job(
        DatastoreId=store, DataAccessRoleArn=peer.role,
        OutputDataConfig={"S3Configuration": {"S3Uri": uri(peer, "killed-out"), "KmsKeyId": peer.kms_key}})["JobId"]
    for _ in range(4):
        assert held.acquire(timeout=60)
    server.kill()
    on.set()
    server.start()
    done = wait_job(lambda: server.client().describe_fhir_export_job(DatastoreId=store, JobId=job)["ExportJobProperties"])
    assert done["JobStatus"] == "COMPLETED", done
    assert set(peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])[1]) == ids


def test_credentials_that_expire_in_a_job_are_renewed(peer, proxied):
    server, proxy = proxied
    store = filled(server, peer, "renew")
    faults = [(400, "ExpiredToken")]
    proxy.spoil = lambda method, path: faults.pop() if faults and method == "PUT" and ".ndjson" in path else None
    done = server.export_all(store, uri(peer, "renew-out"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    assert len(proxy.spoilt) == 1
    peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])


@pytest.mark.parametrize("what", ["data", "manifest"])
def test_a_role_that_loses_its_right_fails_the_job_and_says_so(peer, proxied, what):
    server, proxy = proxied
    store = filled(server, peer, f"lost-{what}")
    part = {"data": ".ndjson", "manifest": "manifest.json"}[what]
    proxy.spoil = lambda method, path: (403, "AccessDenied") if method == "PUT" and part in path else None
    done = server.export_all(store, uri(peer, f"lost-{what}-out"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "FAILED", done
    assert done["EndTime"] and done["Message"], done
    assert not [n for n in peer.names(f"lost-{what}-out") if n.endswith("manifest.json")], "no manifest, no export"
    failed = server.client().list_fhir_export_jobs(DatastoreId=store, JobStatus="FAILED")["ExportJobPropertiesList"]
    assert [j["JobId"] for j in failed] == [done["JobId"]]
    proxy.spoil = lambda method, path: None  # the right is back: the next job is unharmed
    done = server.export_all(store, uri(peer, f"lost-{what}-again"), role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    assert len(peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])[1]) == 50


def test_an_import_of_a_file_that_may_not_be_read_does_not_say_completed(peer, proxied):
    server, proxy = proxied
    store = server.create_store()
    peer.put("lost-in/p.ndjson", [patient(f"li-{i}").encode() for i in range(50)])
    proxy.spoil = lambda method, path: (403, "AccessDenied") if method == "GET" and "p.ndjson" in path else None
    done = server.import_all(store, uri(peer, "lost-in/"), output_uri=uri(peer, "lost-in-log"), role=peer.role,
                             key=peer.kms_key)
    # a file that cannot be read costs only itself; whether the job is then FAILED or finished with
    # errors, it does not say that all is well, and nothing of the file is in the store
    assert done["JobStatus"] in ("FAILED", "COMPLETED_WITH_ERRORS"), done
    assert done["JobProgressReport"]["TotalNumberOfResourcesImported"] == 0


def test_an_endpoint_that_is_gone_is_a_failed_dependency(peer):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{s.getsockname()[1]}"  # bound, never listening: refused at once
        with Server(None, *peer.options(gone), env=peer.env()) as server:
            store = server.create_store()
            name, text = refused(server.start_export, store, uri(peer, "gone"), role=peer.role, key=peer.kms_key)
            assert name == "FailedDependencyException", text
            assert_no_jobs(server.client(), store)


@pytest.mark.parametrize("status, fault, name", [
    (500, "InternalError", "FailedDependencyException"), (500, "KMS.InternalFailureException", "FailedDependencyException"),
    (400, "ExpiredToken", "FailedDependencyException"), (400, "BadDigest", "FailedDependencyException"),
    (400, "KMS.DisabledException", "ValidationException"), (404, "NoSuchBucket", "ValidationException"),
    (403, "AccessDenied", "AccessDeniedException"),
], ids=str)
def test_what_s3_says_at_the_start_of_a_job_is_told_by_whose_fault_it_is(peer, proxied, status, fault, name):
    server, proxy = proxied
    store = server.create_store()
    peer.put("fault-in/p.ndjson", [patient("p").encode()])
    proxy.spoil = lambda method, path: (status, fault)
    told = refused(server.start_export, store, uri(peer, "fault"), role=peer.role, key=peer.kms_key)
    assert told[0] == name, told
    if status != 400:  # an import begins with a HEAD, whose answer has no code
        told = refused(server.start_import, store, uri(peer, "fault-in/"), output_uri=uri(peer, "fault"), role=peer.role,
                       key=peer.kms_key)
        assert told[0] == name, told
    assert_no_jobs(server.client(), store)


# ---- the roles file ----

def test_roles_file_with_credentials_for_the_endpoint(peer, tmp_path):
    keys = {"accessKeyId": peer.own_key, "secretAccessKey": peer.own_secret}
    bad = {"accessKeyId": peer.own_key, "secretAccessKey": "x" * 40}
    base = f"arn:aws:iam::{ACCOUNT}:role/"
    path = roles_file(tmp_path,
                      {"arn": base + "good", "allow": [uri(peer, "roles/*")], "kmsKeys": [peer.kms_key], "credentials": keys},
                      {"arn": base + "stale", "allow": [uri(peer, "roles/*")], "credentials": bad})
    with Server(None, "--s3-endpoint", peer.url, "--roles", path, "--account-id", ACCOUNT) as server:
        client = server.client()
        store = server.create_store()
        for role, place, key in [("good", uri(peer, "elsewhere/x"), peer.kms_key), ("good", uri(peer, "roles/x"), KEY),
                                 ("stale", uri(peer, "roles/x"), peer.kms_key), ("none", uri(peer, "roles/x"), peer.kms_key)]:
            name, text = refused(server.start_export, store, place, role=base + role, key=key)
            assert name == "AccessDeniedException", (role, place, text)
        assert_no_jobs(client, store)
        done = server.export_all(store, uri(peer, "roles/x"), role=base + "good", key=peer.kms_key)
        assert done["JobStatus"] == "COMPLETED", done
        peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
        assert peer.own_secret not in server.log_text()


def test_roles_file_over_the_directory_store(tmp_path):
    path = roles_file(tmp_path, {"arn": ROLE, "allow": ["s3://input/a/*", "s3://out/*"], "kmsKeys": [KEY]})
    with Server(None, "--roles", path) as server:
        client = server.client()
        store = server.create_store()
        server.put_object("s3://input/a/p.ndjson", patient(1))
        server.put_object("s3://input/b/p.ndjson", patient(2))
        before = sorted(str(p) for p in server.objects.rglob("*"))
        other = ROLE + "-2"
        tries = [lambda: server.start_export(store, "s3://input/b/x"),
                 lambda: server.start_export(store, "s3://out/x", role=other),
                 lambda: server.start_export(store, "s3://out/x", key=KEY[:-1] + "6"),
                 lambda: server.start_import(store, "s3://input/b/", "s3://out/x"),
                 lambda: server.start_import(store, "s3://input/", "s3://out/x"),
                 lambda: server.start_import(store, "s3://input/a/", "s3://input/b/x")]
        for start in tries:
            name, text = refused(start)
            assert name == "AccessDeniedException", text
        assert_no_jobs(client, store)
        assert sorted(str(p) for p in server.objects.rglob("*")) == before, "a refusal writes nothing"
        assert server.import_all(store, "s3://input/a/", output_uri="s3://out/log")["JobStatus"] == "COMPLETED"
        assert server.export_all(store, "s3://out/x")["JobStatus"] == "COMPLETED"


def test_the_directory_store_says_that_it_checks_no_roles_and_encrypts_nothing(tmp_path):
    with Server() as server:
        for text in ("encryption=none", "any well-formed DataAccessRoleArn"):
            wait(lambda: text in server.log_text(), {True})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"roles": 1}', '{"roles": [{"arn": "x", "allow": []}]}',
                                  '{"roles": [{"arn": "%s", "allow": ["http://b/x"]}]}' % ROLE,
                                  '{"roles": [{"arn": "%s", "allwo": ["s3://b/x"]}]}' % ROLE])
def test_a_broken_roles_file_is_told_at_start(tmp_path, text):
    path = tmp_path / "roles.json"
    path.write_text(text)
    server = Server(tmp_path / "data", "--roles", str(path))
    with pytest.raises(AssertionError):
        server.start()
    assert "role" in server.log_text(), server.log_text()


@pytest.mark.parametrize("options, word", [
    (["--s3-endpoint", "http://127.0.0.1:1"], "roles file"),
    (["--s3-endpoint", "http://127.0.0.1:1", "--sts-endpoint", "http://127.0.0.1:1"], "--s3-credentials"),
    (["--s3-endpoint", "ftp://127.0.0.1:1", "--roles", "none"], "S3 endpoint"),
    (["--s3-endpoint", "http://127.0.0.1:1", "--sts-endpoint", "ftp://127.0.0.1:1", "--roles", "GOOD"], "STS endpoint"),
    (["--s3-endpoint", "ftp://127.0.0.1:1", "--roles", "GOOD"], "S3 endpoint"),
])
def test_an_endpoint_without_what_it_needs_is_told_at_start(tmp_path, options, word):
    roles = tmp_path / "roles.json"
    roles.write_text(json.dumps({"roles": [{"arn": ROLE, "allow": ["s3://b/*"]}]}))
    roles.chmod(0o600)
    keys = {"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "s"} if "GOOD" in options else {}
    server = Server(tmp_path / "data", *[str(roles) if o == "GOOD" else o for o in options], env=keys)
    with pytest.raises(AssertionError):
        server.start()
    assert word in server.log_text(), server.log_text()
    # what is at fault is named, and nothing else
    assert "--roles" not in server.log_text() or word == "roles file", server.log_text()
