"""Hostile and broken requests over a raw socket: each gets a clear answer or a closed connection, changes
nothing, and /health answers afterwards."""
import json
import random
import re
import socket
import urllib.request

import pytest

from fhirlake import KEY, ROLE, Server

pytestmark = [pytest.mark.sanitize, pytest.mark.threads, pytest.mark.once]
TYPE = b"Content-Type: application/x-amz-json-1.0\r\n"


@pytest.fixture(scope="module")
def open_server():
    """Without signatures, so that what is wrong is seen by the rooms behind the door."""
    with Server(None, "--auth", "none") as s:
        s.store = s.create_store(s.client("k", "s"))
        yield s


@pytest.fixture(autouse=True)
def nothing_changes(open_server):
    """After each test the server is well, and has the one store and no job."""
    yield
    with urllib.request.urlopen(open_server.url + "/health", timeout=30) as answer:
        assert json.loads(answer.read())["status"] == "ok"
    client = open_server.client("k", "s")
    assert [s["DatastoreId"] for s in client.list_fhir_datastores()["DatastorePropertiesList"]] == [open_server.store]
    assert client.list_fhir_export_jobs(DatastoreId=open_server.store)["ExportJobPropertiesList"] == []
    assert client.list_fhir_import_jobs(DatastoreId=open_server.store)["ImportJobPropertiesList"] == []


def talk(server, data, close_early=False, timeout=20):
    """Bytes out, bytes back until the server closes or the first answer is whole."""
    host, port = server.url.removeprefix("http://").split(":")
    got = b""
    with socket.create_connection((host, int(port)), timeout=timeout) as s:
        try:
            s.sendall(data)
            if close_early:
                return b""
            while not whole(got):
                part = s.recv(65536)
                if not part:
                    break
                got += part
        except (ConnectionResetError, BrokenPipeError):
            pass  # a refusal may close before it has read all
    return got


def whole(got):
    head, gap, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: (\d+)", head)
    return bool(gap) and (length is None or len(body) >= int(length[1]))


def status(answer):
    match = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
    return int(match[1]) if match else 0


def told(answer):
    """(status, __type) of an answer in AWS's protocol."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-amzn-requestid" in head.lower(), answer[:300]
    value = json.loads(body)
    assert value["message"], value
    return status(answer), value["__type"]


def post(body, target=b"HealthLake.CreateFHIRDatastore", headers=TYPE, length=None):
    named = b"X-Amz-Target: " + target + b"\r\n" if target is not None else b""
    return (b"POST / HTTP/1.1\r\nHost: localhost\r\n" + headers + named
            + b"Content-Length: " + str(len(body) if length is None else length).encode() + b"\r\n\r\n" + body)


# ---- HTTP ----

@pytest.mark.parametrize("data", [
    b"", b"\r\n", b"GET", b"GET /health", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Le",
    post(b'{"DatastoreTypeVersion":', length=5000), post(b"", length=100),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
], ids=range(8))
def test_half_a_request_and_a_hang_up(open_server, data):
    for _ in range(20):
        talk(open_server, data, close_early=True)


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    b"nonsense\r\n\r\n", b"POST / HTTP/9.9\r\nHost: localhost\r\n\r\n", b"GET /health HTTP/1.1\r\n\r\n",
    post(b"{}", headers=TYPE + b"X: " + b"x" * 100000 + b"\r\n"),
    post(b"{}", headers=TYPE + b"".join(b"X-%d: y\r\n" % i for i in range(1000))),
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    post(b"{}").replace(b"Content-Length: 2", b"Content-Length: -2"),
    post(b"{}").replace(b"Content-Length: 2", b"Content-Length: two"),
    post(b"{}").replace(b"Content-Length: 2", b"Content-Length: 99999999999999999999999"),
    post(b"{}").replace(b"Content-Length: 2", b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n"),
], ids=["tls", "words", "version", "no-host", "long-header", "many-headers", "long-target", "negative", "word-length",
        "huge-length", "bad-chunk"])
def test_what_is_not_http_is_refused_or_cut(open_server, data):
    answer = talk(open_server, data)
    assert answer == b"" or 400 <= status(answer) < 600, answer[:200]


def test_a_body_over_the_limit_is_refused_before_it_is_read(open_server):
    answer = talk(open_server, post(b"", length=2 << 20))
    assert told(answer) == (413, "RequestEntityTooLargeException")


def test_a_chunked_body_over_the_limit_is_refused(open_server):
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    data = (b"POST / HTTP/1.1\r\nHost: localhost\r\n" + TYPE + b"X-Amz-Target: HealthLake.ListFHIRDatastores\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40 + b"0\r\n\r\n")
    answer = talk(open_server, data)
    assert answer == b"" or status(answer) == 413, answer[:200]


def test_a_body_longer_than_it_said_is_not_taken(open_server):
    """The rest is a request of its own, and no good one; the first is judged by what it said."""
    answer = talk(open_server, post(b'{"DatastoreTypeVersion":"R4"}', length=10))
    assert told(answer) == (400, "SerializationException")


def test_idle_connections_do_not_keep_others_out(open_server):
    host, port = open_server.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(200)]
    try:
        for s in idle[::2]:
            s.sendall(b"POST / HTTP/1.1\r\nHost:")
        assert status(talk(open_server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 200
    finally:
        for s in idle:
            s.close()


# ---- AWS JSON ----

@pytest.mark.parametrize("body", [
    b"{", b"[]", b"1", b'"x"', b"null", b"{]", b'{"DatastoreTypeVersion":"R4",}', b'{"DatastoreTypeVersion":"R4"}x',
    b"{'DatastoreTypeVersion':'R4'}", b'{"DatastoreTypeVersion":"R4","DatastoreTypeVersion":"R4"}',
    b'{"DatastoreTypeVersion":"R4","DatastoreName":"\xff\xfe"}', b'{"DatastoreTypeVersion":"R4","DatastoreName":"\\ud800"}',
    b'{"DatastoreTypeVersion":"R4","x":NaN}', b"\xef\xbb\xbf\xef\xbb\xbf{}", b"\x00" * 100, b"[" * 100000,
    b'{"DatastoreTypeVersion":"R4","x":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"a":' * 20000,
], ids=range(18))
def test_broken_json(open_server, body):
    assert told(talk(open_server, post(body))) == (400, "SerializationException")


@pytest.mark.parametrize("members", [
    {}, {"DatastoreTypeVersion": None}, {"DatastoreTypeVersion": "R5"}, {"DatastoreTypeVersion": 4},
    {"DatastoreTypeVersion": ["R4"]}, {"DatastoreTypeVersion": "R4", "Tags": {}},
    {"DatastoreTypeVersion": "R4", "Tags": [{"Key": "a"}]}, {"DatastoreTypeVersion": "R4", "DatastoreName": ""},
    {"DatastoreTypeVersion": "R4", "DatastoreName": "x" * 257}, {"DatastoreTypeVersion": "R4", "DatastoreName": "a\nb\u0000"},
    {"DatastoreTypeVersion": "R4", "SseConfiguration": {"KmsEncryptionConfig": {"CmkType": "MINE"}}},
], ids=range(11))
def test_wrong_members(open_server, members):
    code, name = told(talk(open_server, post(json.dumps(members).encode())))
    assert code == 400 and name in ("ValidationException", "SerializationException")


def test_unknown_operations_types_and_places(open_server):
    body = b'{"DatastoreTypeVersion":"R4"}'
    for target in (None, b"", b"HealthLake.", b"HealthLake.Nothing", b"CreateFHIRDatastore", b"S3.CreateFHIRDatastore",
                   b"HealthLake.CreateFHIRDatastore.x", b"x" * 10000):
        assert told(talk(open_server, post(body, target))) == (404, "UnknownOperationException"), target
    for kind in (b"", b"Content-Type: application/json\r\n", b"Content-Type: application/x-amz-json-1.1\r\n",
                 b"Content-Type: \r\n"):
        assert told(talk(open_server, post(body, headers=kind))) == (415, "UnsupportedMediaTypeException"), kind
    for line in (b"PUT / ", b"DELETE / ", b"BREW / ", b"POST /x ", b"POST //../ ", b"GET /%00 ", b"GET / "):
        assert 400 <= status(talk(open_server, line + post(body).split(b" ", 2)[2])) < 500, line


@pytest.mark.parametrize("change", [
    {"DatastoreId": "../../etc/pass,wd"}, {"DatastoreId": "0" * 33}, {"DataAccessRoleArn": "arn:aws:iam::1:role/x"},
    {"DataAccessRoleArn": "arn:aws:s3:::bucket"}, {"uri": "s3://"}, {"uri": "s3://b"}, {"uri": "file:///etc"},
    {"uri": "s3://bucket/../../../tmp/x"}, {"uri": "s3://bucket/a/./b"}, {"uri": "s3://bucket/a//b"},
    {"uri": "s3://bucket/a\u0000b"}, {"uri": "s3://../x"}, {"key": "no key"}, {"key": "k\nx"}, {"ClientToken": "\u0000"},
], ids=range(15))
def test_malformed_ids_arns_uris_keys_and_tokens(open_server, change):
    change = dict(change)
    s3 = {"S3Uri": change.pop("uri", "s3://bucket/x"), "KmsKeyId": change.pop("key", KEY)}
    request = {"DatastoreId": open_server.store, "DataAccessRoleArn": ROLE, "OutputDataConfig": {"S3Configuration": s3},
               **change}
    answer = told(talk(open_server, post(json.dumps(request).encode(), b"HealthLake.StartFHIRExportJob")))
    assert answer == (400, "ValidationException")
    assert not list(open_server.objects.rglob("x"))


def test_five_hundred_damaged_requests(open_server):
    """A good request with some bytes changed, dropped, doubled or cut: an answer or a closed door."""
    rng = random.Random(7)
    good = post(json.dumps({"DatastoreId": open_server.store}).encode(), b"HealthLake.DescribeFHIRDatastore")
    for _ in range(500):
        data = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(data))
            what = rng.randrange(4)
            if what == 0:
                data[at] = rng.randrange(256)
            elif what == 1:
                del data[at:at + rng.randint(1, 20)]
            elif what == 2:
                data[at:at] = data[at:at + rng.randint(1, 200)]
            else:
                data[at:at] = rng.randbytes(rng.randint(1, 20))
            if not data:
                break
        host, port = open_server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=0.5) as s:
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)  # "that was all": half a request ends here
                answer = s.recv(65536)
            except (ConnectionResetError, TimeoutError):  # a body that never comes is held for the idle time, 30 s
                answer = b""
        assert answer == b"" or status(answer) and (status(answer) < 500 or status(answer) == 505), (bytes(data), answer)
