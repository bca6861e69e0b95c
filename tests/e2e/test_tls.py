"""HTTPS: who is served, what is refused before and behind the handshake, and how a certificate is changed."""
import gzip
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import pytest
from cryptography import x509

from fhirlake import Server, patient, run, wait
from pki import Authority, pem_key, weak_key, write
from test_front_door import HEADERS, HEALTH, HOSTS, LINES, answers
from test_start import refused

pytestmark = [pytest.mark.once, pytest.mark.sanitize, pytest.mark.filterwarnings("ignore:ssl.TLSVersion")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    folder.chmod(0o700)
    return Authority(folder)


def tls_server(authority, *options, file="server", **more):
    certificate, key = authority.issue(file)
    server = Server(None, "--tls-certificate", str(certificate), "--tls-key", str(key), *options, **more)
    server.ca = str(authority.ca)
    return server


@pytest.fixture(scope="module")
def server(authority):
    with tls_server(authority) as s:
        yield s


def address(server):
    host, port = server.url.split("//")[1].split(":")
    return host, int(port)


def context(server, **version):
    c = ssl.create_default_context(cafile=server.ca)
    for name, value in version.items():
        setattr(c, name, value)
    return c


def dial(server, tls=None, timeout=60):
    s = socket.create_connection(address(server), timeout=timeout)
    try:
        return (tls or context(server)).wrap_socket(s, server_hostname="localhost")
    except BaseException:
        s.close()
        raise


def read_all(s):
    got = b""
    while True:
        try:
            part = s.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return got
        if not part:
            return got
        got += part


def ask(s, line=b"GET /health", more=b""):
    s.sendall(line + b" HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n")
    got = b""
    while True:
        got += s.recv(65536) or pytest.fail("no answer")
        head, gap, body = got.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if gap and len(body) == int(length[1]):
            return answers(got)[0]


# ---- clients ----

def test_real_clients_over_tls(server):
    client = server.client()
    store = server.create_store(client)
    about = client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
    assert about["DatastoreEndpoint"] == f"{server.url}/datastore/{store}/r4/"
    fhir = server.fhir(store)
    made = fhir.post("Patient", patient("a"))
    assert made.status == 201 and made.headers["Location"].startswith(f"{server.url}/datastore/{store}/r4/Patient/")
    for i in range(3):
        fhir.put(f"Patient/{i}", patient(i))
    page = fhir.get("Patient?_count=2").json
    links = {link["relation"]: link["url"] for link in page["link"]}
    assert all(url.startswith("https://") for url in links.values())
    assert fhir.get(links["next"]).status == 200
    assert all(e["fullUrl"].startswith("https://") for e in page["entry"])
    assert fhir.get("metadata").json["implementation"]["url"].startswith("https://")
    # jobs to a bucket are no other than over plain HTTP
    job = server.export_all(store)
    assert job["JobStatus"] == "COMPLETED", job
    with pytest.raises(botocore.exceptions.SSLError):
        stranger = tls_twin(server)
        stranger.client().list_fhir_datastores()


def tls_twin(server):
    """A client of the same server that knows no authority."""
    twin = Server(server.data)
    twin.url = server.url
    return twin


def test_curl_and_presigned_addresses_over_tls(server, tmp_path):
    key, secret = server.keys()
    store = server.create_store()
    server.fhir(store).put("Patient/a", patient("a"))
    url = f"{server.url}/datastore/{store}/r4/Patient/a"
    told = subprocess.run(["curl", "-sS", "--cacert", server.ca, "--aws-sigv4", "aws:amz:us-east-1:healthlake", "--user",
                           f"{key}:{secret}", "-i", url], capture_output=True, text=True)
    assert told.returncode == 0 and " 200 " in told.stdout.split("\n")[0] and '"Patient"' in told.stdout, told
    request = botocore.awsrequest.AWSRequest("GET", url)
    botocore.auth.SigV4QueryAuth(botocore.credentials.Credentials(key, secret), "healthlake", "us-east-1",
                                 expires=60).add_auth(request)
    answer = urllib.request.urlopen(request.url, context=context(server))
    assert json.load(answer)["id"] == "a"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request.url.replace("Patient/a", "Patient/b"), context=context(server))


def test_files_of_an_export_over_tls(server):
    """Larger than any piece that is read or sent; in parts, whole, and packed."""
    store = server.create_store()
    fhir = server.fhir(store)
    lines = [json.dumps({"resourceType": "Patient", "id": f"p{i}", "name": [{"family": "x" * 900 + str(i)}]})
             for i in range(2000)]
    server.put_object("s3://tls-in/Patient.ndjson", "\n".join(lines))
    assert server.import_all(store, "s3://tls-in/")["JobStatus"] == "COMPLETED"
    begun = fhir.get("$export", Prefer="respond-async", Accept="application/fhir+json")
    assert begun.status == 202, begun.body
    status = begun.headers["Content-Location"]
    assert status.startswith("https://")
    wait(lambda: fhir.get(status).status, {200})
    manifest = fhir.get(status).json
    assert manifest["request"].startswith("https://")
    [url] = [o["url"] for o in manifest["output"] if o["type"] == "Patient"]
    assert url.startswith(f"{server.url}/")
    whole = fhir.get(url, Accept_Encoding="identity")
    assert whole.status == 200 and len(whole.body) > 1800000 and len(whole.body.split(b"\n")) == 2001
    assert len({json.loads(line)["id"] for line in whole.body.split()}) == 2000
    part = fhir.get(url, Range="bytes=70000-1500000")
    assert part.status == 206 and part.body == whole.body[70000:1500001]
    packed = fhir.get(url, Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(packed.body) == whole.body
    # who leaves in the middle takes nothing along
    for _ in range(3):
        with dial(server) as s:
            ask(s)
    assert fhir.get(url, Range="bytes=-100").body == whole.body[-100:]


def test_large_bodies_and_answers_over_tls(server):
    store = server.create_store()
    fhir = server.fhir(store)
    big = {"resourceType": "Patient", "name": [{"family": "y" * 1000000}] * 3}
    assert fhir.put("Patient/big", {**big, "id": "big"}).status == 201
    assert fhir.get("Patient/big").json["name"] == big["name"]
    entry = {"request": {"method": "POST", "url": "Patient"}, "resource": big}
    done = fhir.post("", {"resourceType": "Bundle", "type": "batch", "entry": [entry] * 5})
    assert [e["response"]["status"][:3] for e in done.json["entry"]] == ["201"] * 5
    assert len(fhir.get("Patient?_count=10").body) > 18000000
    for chunked in (False, True):
        c = http.client.HTTPSConnection(*address(server), timeout=60, context=context(server))
        body = b" " * (8 << 20)
        pieces = (body[i:i + 65536] for i in range(0, len(body), 65536))
        c.request("POST", "/", pieces if chunked else body, {"Content-Type": "application/x-amz-json-1.0"},
                  encode_chunked=chunked)
        assert c.getresponse().status in (400, 403, 413)
        c.close()


def test_answers_over_tls_say_that_it_is_the_only_way(server):
    with dial(server) as s:
        for line, status in ((b"GET /health", 200), (b"GET /nowhere", 404), (b"GET /datastore/x/r4/Patient", 401)):
            got = ask(s, line)
            assert got[0] == status and got[1]["strict-transport-security"] == "max-age=31536000"
    with Server() as plain:
        with urllib.request.urlopen(f"{plain.url}/health") as answer:
            assert answer.headers["Strict-Transport-Security"] is None


# ---- which TLS ----

def test_versions_and_ciphers(server):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with dial(server, context(server, minimum_version=version, maximum_version=version)) as s:
            assert s.version() == version.name.replace("_", ".") and ask(s)[0] == 200
            assert re.search("GCM|CHACHA20", s.cipher()[0]), s.cipher()
            assert s.selected_alpn_protocol() is None
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        old = context(server, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=version)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match="(?i)alert.protocol.version"):
            dial(server, old)
    for ciphers in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "AES256-SHA", "DHE-RSA-AES128-GCM-SHA256"):
        weak = context(server, maximum_version=ssl.TLSVersion.TLSv1_2)
        weak.set_ciphers(ciphers + ":@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            dial(server, weak)


def test_plain_http_on_the_port_of_tls_is_told_so(server):
    for line in (b"GET /health", b"POST /"):
        with socket.create_connection(address(server), timeout=60) as s:
            s.sendall(line + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n" + b" " * 300000)
            [(status, headers, body)] = answers(read_all(s))
        assert status == 400 and headers["connection"] == "close"
        assert "https://" in json.loads(body)["message"]
    twin = tls_twin(server)
    twin.url = server.url.replace("https", "http")
    with pytest.raises(botocore.exceptions.ClientError, match="https://"):
        twin.client().list_fhir_datastores()


def test_failed_handshakes_are_counted_in_few_lines(authority):
    def lines(server):
        return re.findall(r"tls_handshake failed=(\d+) peer=127.0.0.1 why=(.*)", server.log_text())

    with tls_server(authority) as server:
        began = time.monotonic()
        for _ in range(40):
            with socket.create_connection(address(server), timeout=60) as s:
                s.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")  # a ClientHello of one byte
                read_all(s)
        wait(lambda: sum(int(n) for n, _ in lines(server)), {40})
        assert len(lines(server)) <= 2 + time.monotonic() - began  # one a second, however long it takes
        # who knocks and goes, and who shakes hands and goes, has not failed
        socket.create_connection(address(server)).close()
        dial(server).close()
        with socket.create_connection(address(server), timeout=60) as s:
            s.sendall(HEALTH)
            read_all(s)
        wait(lambda: sum(int(n) for n, _ in lines(server)), {41})
        assert "plain HTTP" in lines(server)[-1][1]
        with dial(server) as s:
            assert ask(s)[0] == 200


def test_a_handshake_that_goes_on_for_too_long_is_ended(authority):
    """It has the time of a head, from the connection on, however it is spent."""
    with tls_server(authority) as server:
        hello = ssl.MemoryBIO()
        c = context(server).wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            c.do_handshake()
        first = hello.read()
        held = [socket.create_connection(address(server), timeout=60) for _ in range(3)]
        held[1].sendall(first[:20])
        held[2].sendall(first)  # and never the next message
        done = dial(server)     # and no head
        for s in held + [done]:
            read_all(s)  # ends
            s.close()
        wait(lambda: sum(int(n) for n in re.findall(r"tls_handshake failed=(\d+)", server.log_text())), {2})
        assert "it took too long" in server.log_text()


# ---- framing ----

def talk(server, data):
    with dial(server) as s:
        s.sendall(data)
        return answers(read_all(s))


def test_heads_that_can_be_read_in_two_ways_are_refused_over_tls_as_well(authority):
    """The same heads as over plain HTTP, in one record and cut into records."""
    with tls_server(authority, "--auth", "none") as server:
        heads = [line + b"\r\nHost: a\r\n" + header + b"\r\n" for line in (b"GET /health HTTP/1.1", b"POST / HTTP/1.1")
                 for header in HEADERS.values()]
        heads += [line + b"\r\nHost: a\r\n\r\n" for line in LINES.values()]
        heads += [b"GET /health HTTP/1.1\r\n" + host + b"\r\n" for host in HOSTS.values()]
        heads += [b"GET /health HTTP/1.1\r\nHost: a" + end for end in (b"\n\n", b"\r\n\n", b"\n\r\n")]
        for head in heads:
            got = talk(server, head + HEALTH)
            assert [g[0] for g in got] in ([], [400], [505]), (head, got)
            with dial(server) as s:
                for piece in (head[:7], head[7:23], head[23:] + HEALTH):
                    s.sendall(piece)
                assert [g[0] for g in answers(read_all(s))] in ([], [400], [505]), head
        for body in (b"0\r\n\r\n", b"4\nabcd\n0\n\n", b"4\r\nabcd\r\n0\r\n\r\n"):
            got = talk(server, b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + body + HEALTH)
            assert [g[0] for g in got] in ([], [400], [404])


def test_requests_one_behind_the_other_in_one_record_are_all_answered(server):
    last = HEALTH.replace(b"Host: a", b"Host: a\r\nConnection: close")
    assert [a[0] for a in talk(server, HEALTH * 50 + last)] == [200] * 51
    with dial(server) as s:
        for at in range(0, len(HEALTH), 5):
            s.sendall(HEALTH[at:at + 5])
        s.sendall(last)
        assert [a[0] for a in answers(read_all(s))] == [200, 200]


# ---- another certificate ----

def serial(s):
    return x509.load_der_x509_certificate(s.getpeercert(binary_form=True)).serial_number


def shown(server):
    with dial(server) as s:
        return serial(s)


def certificates_in_log(server):
    return server.log_text().count("info tls_certificate")


def test_a_certificate_is_changed_under_live_connections(authority):
    with tls_server(authority, "--auth", "none", file="changing") as server:
        before = shown(server)
        held = [dial(server) for _ in range(24)]
        asked = [0] * len(held)
        failed, stop = [], threading.Event()

        def watched(work):
            try:
                work()
            except BaseException as e:  # told below; pytest.fail() is no Exception
                failed.append(e)

        def go_on(keep):
            """Requests without end: over one connection, or a new one each."""
            s = dial(server)
            while not stop.is_set():
                assert ask(s)[0] == 200
                if not keep:
                    s.close()
                    s = dial(server)
            s.close()

        def hold():
            """One held connection after the other, since the server ends who is idle for long."""
            while not stop.is_set():
                for i, s in enumerate(held):
                    assert ask(s)[0] == 200 and serial(s) == before
                    asked[i] += 1

        threads = [threading.Thread(target=watched, args=(work,))
                   for work in (hold, *(lambda keep=keep: go_on(keep) for keep in (True, False, True, False)))]
        for t in threads:
            t.start()
        seen = {before}
        try:
            for i in range(3):
                told = certificates_in_log(server)
                certificate, _ = authority.issue("changing")
                new = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
                wait(lambda: shown(server) == new, {True})
                wait(lambda: certificates_in_log(server) > told, {True})
                assert new not in seen
                seen.add(new)
            was = list(asked)  # the next answer may have been under way, the one after it was not
            wait(lambda: bool(failed) or all(now > then + 1 for now, then in zip(asked, was)), {True})
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not failed, failed
        for s in held:
            s.close()


def test_files_that_are_links_and_sighup(authority, tmp_path):
    """As Kubernetes has it: the files are links into a folder that is a link, and that link is changed."""
    def turn(name):
        folder = tmp_path / name
        folder.mkdir(mode=0o700)
        certificate, key = authority.make()
        write(folder / "tls.crt", authority.pem(certificate))
        write(folder / "tls.key", pem_key(key))
        (tmp_path / "..new").symlink_to(name)
        (tmp_path / "..new").rename(tmp_path / "..data")
        return certificate.serial_number

    first = turn("one")
    for file in ("tls.crt", "tls.key"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    server = Server(None, "--tls-certificate", str(tmp_path / "tls.crt"), "--tls-key", str(tmp_path / "tls.key"))
    server.ca = str(authority.ca)
    with server:
        assert shown(server) == first
        for name in ("two", "three"):
            new = turn(name)
            wait(lambda: shown(server) == new, {True})
        told = certificates_in_log(server)
        os.kill(server.process.pid, signal.SIGHUP)
        wait(lambda: certificates_in_log(server) > told, {True})
        assert shown(server) == new


def test_a_broken_new_certificate_is_told_and_the_old_one_is_shown_on(authority):
    with tls_server(authority, file="breaking") as server:
        before, folder = shown(server), authority.folder
        certificate, key = (folder / "breaking.pem"), (folder / "breaking.key")
        good = certificate.read_bytes(), key.read_bytes()
        expired, same = authority.make(days=(-20, -10))
        other, other_key = authority.make()
        for files, told in (((b"none", None), "no certificate in PEM"), ((b"", None), "no certificate in PEM"),
                            ((authority.pem(other), None), "not the key of the certificate"),
                            ((authority.pem(expired), pem_key(same)), "expired"),
                            ((None, b"none"), "no private key"),
                            ((None, pem_key(other_key, b"password")), "password")):
            for path, new, old in ((certificate, files[0], good[0]), (key, files[1], good[1])):
                write(path, old if new is None else new)
            wait(lambda: told in server.log_text(), {True})
            assert shown(server) == before
        write(key, good[1]).chmod(0o644)
        write(certificate, authority.pem(other))
        folder.chmod(0o755)
        os.kill(server.process.pid, signal.SIGHUP)
        wait(lambda: f"chmod 600 {key}" in server.log_text(), {True})
        folder.chmod(0o700)
        assert shown(server) == before
        write(key, pem_key(other_key))
        wait(lambda: shown(server) == other.serial_number, {True})
        for secret in (good[1], pem_key(other_key), pem_key(same)):
            assert secret.split(b"\n")[1].decode() not in server.log_text()


# ---- what does not start ----

def test_what_cannot_be_shown_does_not_start(authority, tmp_path):
    tmp_path.chmod(0o700)
    good, key = authority.make()
    files = {}

    def put(name, data):
        files[name] = str(write(tmp_path / name, data))
        return files[name]

    key_file, cert_file = put("key", pem_key(key)), put("cert", authority.pem(good))
    cases = [
        (cert_file, put("other", pem_key(authority.make()[1])), "not the key of the certificate"),
        (put("none", b"nothing"), key_file, "no certificate in PEM form"),
        (cert_file, files["none"], "no private key in PEM form"),
        (key_file, key_file, "no certificate in PEM form"),
        (cert_file, put("locked", pem_key(key, b"secret")), "password"),
        (str(tmp_path / "missing"), key_file, "No such file"), (cert_file, str(tmp_path / "missing"), "No such file"),
    ]
    for what, told in ((dict(days=(-9, -3)), "expired at"), (dict(days=(3, 9)), "does not hold before"),
                       (dict(kind="client"), "not one for servers"), (dict(key=weak_key()), "weak")):
        certificate, own = authority.make(**what)
        cases.append((put(told[:4] + "c", authority.pem(certificate)), put(told[:4] + "k", pem_key(own)), told))
    for certificate, key_path, told in cases:
        line = refused(tmp_path, "--tls-certificate", certificate, "--tls-key", key_path)
        assert told in line and "--tls-" in line, line
    pathlib.Path(key_file).chmod(0o640)
    tmp_path.chmod(0o755)
    line = refused(tmp_path, "--tls-certificate", cert_file, "--tls-key", key_file)
    assert f"chmod 600 {key_file}" in line and "--tls-key" in line
    pathlib.Path(key_file).chmod(0o600)
    for ca, told in ((key_file, "no certificate in PEM form"), (cert_file, "not an authority's"), (files["none"], "no certificate")):
        line = refused(tmp_path, "--tls-certificate", cert_file, "--tls-key", key_file, "--tls-client-ca", ca)
        assert told in line and "--tls-client-ca" in line, line


@pytest.mark.parametrize("options, told", [
    (["--tls-certificate", "x"], "--tls-key is not given"), (["--tls-key", "x"], "--tls-certificate is not given"),
    (["--tls", "self-signed", "--tls-key", "x"], "--tls self-signed"), (["--tls", "yes"], "--tls takes one of self-signed"),
    (["--tls-client-ca", "x"], "--tls-client-ca needs TLS"), (["--tls-client-crl", "x"], "--tls-client-crl needs --tls-client-ca"), (["--health-listen", "x"], "--health-listen takes HOST:PORT"),
    (["--health-listen", "0.0.0.0:0"], "--plain-http yes"), (["--listen", "0.0.0.0:0"], "--tls-certificate"),
    (["--listen", "0.0.0.0:0", "--auth", "none", "--tls", "self-signed"], "--auth none"),
])
def test_options_that_do_not_go_together(options, told):
    got = run("serve", *options)
    assert got.returncode == 2 and told in got.stderr, got


def test_beyond_loopback_with_tls(authority):
    with tls_server(authority, "--listen", "0.0.0.0:0") as server:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        assert server.client().list_fhir_datastores()["DatastorePropertiesList"] == []
        assert "plain http" not in server.log_text()


# ---- a certificate of the server's own ----

def test_a_first_try_with_a_certificate_of_the_servers_own(tmp_path):
    data = tmp_path / "data"
    seen = []
    for options in ([], [], ["--public-url", "https://lake.example:8443"], ["--public-url", "https://lake.example:8443"]):
        with Server(data, "--tls", "self-signed", *options) as server:
            certificate = re.search(r"certificate for AWS_CA_BUNDLE and curl --cacert in ([^;)]+)", server.ready_line)[1]
            server.ca = certificate
            seen.append(shown(server))
            names = x509.load_pem_x509_certificate(pathlib.Path(certificate).read_bytes()).extensions.get_extension_for_class(
                x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.DNSName) == ["localhost"] + (["lake.example"] if options else [])
            assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
            server.url = server.url.replace("127.0.0.1", "localhost")
            store = server.create_store()
            assert run("export", "--endpoint", server.url, "--credentials", data / "credentials", "--datastore", store,
                       "--output", "s3://out/x", env={"AWS_CA_BUNDLE": certificate}).returncode == 0
            unknown = run("export", "--endpoint", server.url, "--credentials", data / "credentials", "--datastore", store,
                          "--output", "s3://out/x")
            assert unknown.returncode == 1 and unknown.stderr.endswith(
                ": AWS_CA_BUNDLE=FILE names the authority of its certificate\n"), unknown.stderr
            told = subprocess.run(["curl", "-sS", "-i", "--cacert", certificate, f"{server.url}/health"], capture_output=True,
                                  text=True)
            assert '"status":"ok"' in told.stdout and "strict-transport" not in told.stdout.lower(), told
    assert seen[0] == seen[1] != seen[2] == seen[3], "it is made once, and anew for another name"
    key = data / "tls" / "key.pem"
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    key.write_text("broken")
    with Server(data, "--tls", "self-signed") as server:
        server.ca = certificate
        assert shown(server) not in seen


# ---- certificates of callers ----

def test_callers_with_certificates(authority, tmp_path):
    tmp_path.chmod(0o700)
    clients, foreign = Authority(tmp_path, "clients"), Authority(tmp_path, "foreigners")
    ways = {
        "right": clients.issue("right", kind="client", names=[x509.UniformResourceIdentifier("spiffe://lake/a")]),
        "dns": clients.issue("dns", kind="client", names=[x509.DNSName("a.example")]),
        "subject": clients.issue("subject", kind=None, common="alice"),
        "none": None, "foreign": foreign.issue("foreign", kind="client"),
        "expired": clients.issue("expired", kind="client", days=(-20, -2)),
        "early": clients.issue("early", kind="client", days=(2, 20)),
        "server": clients.issue("server", kind="server"), "weak": clients.issue("weak", kind="client", key=weak_key()),
    }
    why = {"none": "with a client certificate only", "foreign": "not of an authority", "expired": "has expired",
           "early": "does not hold yet", "server": "not one for clients", "weak": "a weak key"}
    with tls_server(authority, "--tls-client-ca", str(clients.ca), "--health-listen", "127.0.0.1:0", file="strict") as server:
        for way, files in ways.items():
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                c = context(server, minimum_version=version, maximum_version=version)
                if way == "weak":
                    c.set_ciphers("DEFAULT:@SECLEVEL=0")
                if files:
                    c.load_cert_chain(*files)
                with dial(server, c) as s:
                    status, headers, body = ask(s)
                    assert status == (403 if way in why else 200), (way, body)
                    if way not in why:
                        assert ask(s)[0] == 200 and ask(s, b"GET /datastore/x/r4/Patient")[0] == 401
                        continue
                    assert why[way] in json.loads(body)["message"] and headers["connection"] == "close"
                with dial(server, c) as s:
                    status, _, body = ask(s, b"GET /datastore/x/r4/Patient")
                    assert status == 403 and why[way] in json.loads(body)["issue"][0]["details"]["text"]
                with dial(server, c) as s:
                    status, headers, body = ask(s, b"POST /", b"Content-Length: 1000000\r\n")
                    assert status == 403 and headers["x-amzn-errortype"] == "AccessDeniedException"
        assert "error=certificate" in server.log_text()
        good = [str(f) for f in ways["right"]]
        assert server.client(client_cert=tuple(good)).list_fhir_datastores()["DatastorePropertiesList"] == []
        with pytest.raises(botocore.exceptions.ClientError, match="client certificate"):
            server.client().list_fhir_datastores()
        monitors = re.search(r"health and metrics on (http://[^;)\s]+)", server.ready_line)[1]
        assert json.load(urllib.request.urlopen(f"{monitors}/health"))["status"] == "ok"
    clients.ca.chmod(0o666)
    line = refused(tmp_path, "--tls-certificate", str(authority.folder / "strict.pem"), "--tls-key",
                   str(authority.folder / "strict.key"), "--tls-client-ca", str(clients.ca))
    assert "chmod 600" in line and "--tls-client-ca" in line


# ---- a port for monitors ----

def test_a_port_for_monitors_knows_monitors_alone(authority):
    with tls_server(authority, "--health-listen", "127.0.0.1:0", "--auth", "none") as server:
        monitors = re.search(r"health and metrics on http://([^;)\s]+)", server.ready_line)[1]
        host, port = monitors.split(":")

        def plain(data):
            with socket.create_connection((host, int(port)), timeout=60) as s:
                s.sendall(data)
                return answers(read_all(s))

        end = b" HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n"
        [(status, headers, body)] = plain(b"GET /health" + end)
        assert status == 200 and json.loads(body)["status"] == "ok" and "strict-transport-security" not in headers
        assert plain(b"HEAD /health" + end)[0][0] == 200
        for line in (b"GET /", b"GET /datastore/x/r4/metadata", b"GET /health/x", b"GET /healthy"):
            assert plain(line + end.replace(b"x.example", b"localhost"))[0][0] == 404, line
        assert plain(b"DELETE /health" + end)[0][0] == 405
        for body in (b"{}", b" " * 5000000):
            got = plain(b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: HealthLake.ListFHIRDatastores\r\n"
                        b"Content-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert [g[0] for g in got] == [404]
        assert plain(b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")[0][0] == 400
        for i in range(40):
            [(status, _, _)] = plain(b"GET /health" + end)
            assert status == 200
        again = Server(None, "--health-listen", monitors)
        with pytest.raises(AssertionError, match="--health-listen: address"):
            again.start()
        again.log_path.unlink()


def test_with_no_signatures_the_origin_of_a_page_is_https(authority):
    with tls_server(authority, "--auth", "none") as server:
        host = server.url.split("//")[1]
        store = server.create_store(server.client("any", "any"))
        for origin, status in ((f"https://{host}", 200), (f"http://{host}", 403), ("https://x.example", 403)):
            request = urllib.request.Request(f"{server.url}/datastore/{store}/r4/Patient", headers={"Origin": origin})
            try:
                got = urllib.request.urlopen(request, context=context(server)).status
            except urllib.error.HTTPError as e:
                got = e.code
            assert got == status, origin
