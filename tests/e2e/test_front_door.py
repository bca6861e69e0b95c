"""Everything before a caller is known, over raw sockets: what is refused, in which words, and what it may cost."""
import contextlib
import hashlib
import http.client
import json
import pathlib
import re
import select
import socket
import threading
import time

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fhirlake import SANITIZED, Server, run, wait

pytestmark = [pytest.mark.sanitize, pytest.mark.once]
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


def address(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def answers(data):
    """The answers that stand in what a connection sent: (status, headers, body) of each."""
    got = []
    while True:
        head, gap, data = data.partition(b"\r\n\r\n")
        if not gap:
            return got
        lines = head.decode("latin1").split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        got.append((int(lines[0].split()[1]), headers, data[:length]))
        data = data[length:]


def talk(server, data, timeout=30, stay=False):
    """Bytes out, the answers that come until the server ends the connection, or until the first when `stay`."""
    got = b""
    with socket.create_connection(address(server), timeout=timeout) as s:
        s.sendall(data)
        while not (stay and answers(got)):
            try:
                part = s.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            got += part
    return answers(got)


@pytest.fixture(scope="module")
def open_server():
    with Server(None, "--auth", "none") as s:
        yield s


# ---- heads that can be read in two ways ----

LEN = b"Content-Length: %d\r\n" % len(HEALTH)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HEADERS = {
    "length-and-coding": LEN + CHUNKED, "coding-and-length": CHUNKED + LEN,
    "two-lengths": b"Content-Length: 4\r\nContent-Length: 40\r\n",
    "two-lengths-alike": b"Content-Length: 4\r\nContent-Length: 4\r\n",
    "lengths-in-one": b"Content-Length: 4, 4\r\n", "plus-length": b"Content-Length: +4\r\n",
    "hex-length": b"Content-Length: 0x4\r\n", "no-length": b"Content-Length:\r\n",
    "length-with-blank": b"Content-Length: 4 0\r\n", "length-twice-by-case": b"content-length: 4\r\nCONTENT-LENGTH: 5\r\n",
    "two-codings": CHUNKED + b"Transfer-Encoding: identity\r\n", "two-codings-alike": CHUNKED + CHUNKED,
    "codings-in-one": b"Transfer-Encoding: gzip, chunked\r\n", "coding-identity": b"Transfer-Encoding: identity\r\n",
    "coding-in-capitals": b"Transfer-Encoding: Chunked\r\n", "coding-quoted": b'Transfer-Encoding: "chunked"\r\n',
    "coding-unknown": b"Transfer-Encoding: xchunked\r\n", "no-coding": b"Transfer-Encoding:\r\n",
    "two-hosts": b"Host: b\r\n", "two-authorizations": b"Authorization: a\r\nAuthorization: b\r\n",
    "two-dates": b"X-Amz-Date: 20260101T000000Z\r\nx-amz-date: 20260101T000000Z\r\n",
    "two-targets": b"X-Amz-Target: HealthLake.A\r\nX-Amz-Target: HealthLake.B\r\n",
    "two-tokens": b"X-Amz-Security-Token: a\r\nX-Amz-Security-Token: b\r\n",
    "two-hashes": b"X-Amz-Content-Sha256: a\r\nX-Amz-Content-Sha256: b\r\n",
    "two-types": b"Content-Type: a/b\r\nContent-Type: c/d\r\n", "two-origins": b"Origin: null\r\nOrigin: http://a\r\n",
    "blank-before-colon": b"Content-Length : 0\r\n", "tab-before-colon": b"Content-Length\t: 0\r\n",
    "blank-in-name": b"Content Length: 0\r\n", "no-name": b": x\r\n", "name-in-brackets": b"(x): y\r\n",
    "eight-bit-name": b"X-\xe9: y\r\n", "control-in-name": b"X-\x01: y\r\n", "nul-in-name": b"X-\x00: y\r\n",
    "no-colon": b"X-A\r\n", "nul-in-value": b"X-A: b\x00c\r\n", "nul-at-end": b"X-A: b\x00\r\n",
    "bare-cr": b"X-A: b\rX-B: c\r\n", "two-crs": b"X-A: b\r\r\n", "delete-in-value": b"X-A: b\x7f\r\n",
    "bell-in-value": b"X-A: \x07\r\n", "escape-in-value": b"X-A: \x1b[0m\r\n", "bare-lf": b"X-A: b\nX-B: c\r\n",
    "bare-lf-first": b"X-A: b\n", "obs-fold": b"X-A: b\r\n c\r\n", "obs-fold-tab": b"X-A: b\r\n\tc\r\n",
    "obs-fold-first": b" X-A: b\r\n", "obs-fold-of-a-length": b"Content-Length:\r\n 0\r\n",
}
LINES = {
    "absolute-form": b"GET http://a/health HTTP/1.1", "absolute-form-of-another": b"GET http://b/health HTTP/1.1",
    "asterisk": b"OPTIONS * HTTP/1.1", "authority": b"CONNECT a:80 HTTP/1.1", "no-slash": b"GET health HTTP/1.1",
    "http-1.2": b"GET /health HTTP/1.2", "http-1.9": b"GET /health HTTP/1.9", "http-2": b"GET /health HTTP/2.0",
    "http-0.9": b"GET /health HTTP/0.9", "http-in-small": b"GET /health http/1.1", "no-version": b"GET /health",
    "blank-behind": b"GET /health HTTP/1.1 ", "two-blanks": b"GET  /health HTTP/1.1",
    "two-blanks-more": b"GET /health  HTTP/1.1", "tab": b"GET\t/health HTTP/1.1", "blank-in-target": b"GET /hea lth HTTP/1.1",
    "fragment": b"GET /health#a HTTP/1.1", "control-in-target": b"GET /hea\x01lth HTTP/1.1",
    "nul-in-target": b"GET /health\x00 HTTP/1.1", "cr-in-target": b"GET /health\rx HTTP/1.1",
    "method-no-token": b"G{}T /health HTTP/1.1", "method-eight-bit": b"G\xe9T /health HTTP/1.1",
    "dot-segment": b"GET /./health HTTP/1.1", "dot-dot-segment": b"GET /x/../health HTTP/1.1",
    "dot-at-end": b"GET /health/. HTTP/1.1", "dot-dot-at-end": b"GET /health/.. HTTP/1.1",
    "escaped-dot": b"GET /%2e/health HTTP/1.1", "escaped-dot-dot": b"GET /x/%2e%2E/health HTTP/1.1",
    "half-escaped-dot-dot": b"GET /x/.%2e/health HTTP/1.1", "escaped-slash": b"GET /x%2f..%2Fhealth HTTP/1.1",
    "dots-before-a-query": b"GET /health/..?a=b HTTP/1.1",
}
HOSTS = {"no-host": b"", "empty-host": b"Host:\r\n", "two-in-one": b"Host: a, b\r\n", "path": b"Host: a/b\r\n",
         "user": b"Host: u@a\r\n", "fragment": b"Host: a#\r\n", "quote": b'Host: a"b\r\n', "blank": b"Host: a b\r\n",
         "port": b"Host: a:b\r\n", "two-ports": b"Host: a:1:2\r\n", "bracket": b"Host: [::1\r\n", "query": b"Host: a?b\r\n"}


def refused(server, data):
    """One answer at most, 400 or 505, and then the end: what stands behind is never a request."""
    got = talk(server, data + HEALTH)
    assert len(got) <= 1, [g[0] for g in got]
    for status, headers, _ in got:
        assert status in (400, 505) and headers["connection"] == "close", (status, headers)
    return got


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("line", [b"GET /health HTTP/1.1", b"POST / HTTP/1.1"], ids=["get", "post"])
def test_a_head_that_can_be_read_in_two_ways_is_refused(open_server, line, header):
    refused(open_server, line + b"\r\nHost: a\r\n" + header + b"\r\n")
    refused(open_server, line + b"\r\nAccept: x/y\r\n" + header + b"Host: a\r\n\r\n")


@pytest.mark.parametrize("blank", [b" ", b"\t", b" \t  "], ids=["one", "tab", "many"])
@pytest.mark.parametrize("header", [b"Content-Length: 4", b"Transfer-Encoding: chunked"], ids=["length", "coding"])
@pytest.mark.parametrize("line", [b"GET /health HTTP/1.1", b"POST /x HTTP/1.1"], ids=["get", "post"])
def test_blanks_behind_a_framing_are_refused_or_are_none(open_server, line, header, blank):
    """libmicrohttpd refuses them before 1.0 and takes them off from then on, as RFC 9110 5.5 has it: never a third reading."""
    def statuses(blank):
        body = b"4\r\nGET \r\n0\r\n\r\n" if b"chunked" in header else b"GET "
        last = HEALTH.replace(b"Host: a", b"Host: a\r\nConnection: close")
        got = talk(open_server, line + b"\r\nHost: localhost\r\n" + header + blank + b"\r\n\r\n" + body + last)
        return [g[0] for g in got]

    plain = statuses(b"")
    assert plain and plain[0] != 400
    assert statuses(blank) in ([400], plain)


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_request_line_that_can_be_read_in_two_ways_is_refused(open_server, line):
    refused(open_server, line + b"\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_a_host_that_is_none_is_refused(open_server, host):
    refused(open_server, b"GET /health HTTP/1.1\r\n" + host + b"\r\n")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\n", b"\n\r\n"], ids=["lf-lf", "crlf-lf", "lf-crlf"])
def test_a_head_whose_lines_end_in_lf_alone_is_refused(open_server, end):
    refused(open_server, b"GET /health HTTP/1.1\r\nHost: a" + end)
    refused(open_server, b"GET /health HTTP/1.1\nHost: a\r\n\r\n")


@pytest.mark.parametrize("piece", [1, 7], ids=["bytes", "sevens"])
def test_how_a_head_arrives_makes_no_difference(open_server, piece):
    """What stands between the lines is judged by where they stand, so they must stand there however they came."""
    for data, status in ((HEALTH, 200), (HEALTH.replace(b"Host: a", b"Host:  \t a\r\nX-Empty:\r\nX-Blank: "), 200),
                         (HEALTH.replace(b"Host: a", b"Host: a\r\nX: b\nY: c"), 400)):
        with socket.create_connection(address(open_server), timeout=30) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(data), piece):
                s.sendall(data[at:at + piece])
            assert [a[0] for a in answers(s.recv(65536))] == [status], data


@pytest.mark.parametrize("body", [
    b"0\r\n\r\n", b"4\r\nabcd\r\n0\r\n\r\n", b"4\nabcd\n0\n\n", b"4;x=\n\r\nabcd\r\n0\r\n\r\n", b"4 \r\nabcd\r\n0\r\n\r\n",
    b"0x4\r\nabcd\r\n0\r\n\r\n", b"4\r\nabcdXX0\r\n\r\n", b"0\r\nContent-Length: 40\r\n\r\n", b"-4\r\nabcd\r\n0\r\n\r\n",
    b"0004\r\nabcd\r\n00\r\n\r\n", b"0\n\r\n", b"0\r\nX: y\n\n"], ids=range(12))
def test_nothing_behind_a_chunked_body_is_a_request(open_server, body):
    """How its lines are read is the library's affair; so the connection ends with it, whatever they are."""
    for place in (b"/", b"/x"):  # a body is read at one, and not at the other
        got = talk(open_server, b"POST " + place + b" HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED + b"\r\n" + body + HEALTH)
        assert [g[0] for g in got] in ([], [400], [404])
        assert all(h["connection"] == "close" for _, h, _ in got)


def test_a_refusal_is_in_the_callers_protocol_and_in_the_log(open_server):
    bad = b" HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
    for line, kind in ((b"POST /", "application/x-amz-json-1.0"), (b"GET /datastore/x/r4/Patient", "application/fhir+json"),
                       (b"GET /health", "application/json"), (b"GET /nowhere", "application/json")):
        [(status, headers, body)] = talk(open_server, line + bad)
        value = json.loads(body)
        assert status == 400 and headers["content-type"].startswith(kind)
        text = (value["issue"][0]["details"]["text"] if kind.endswith("fhir+json") else value["message"])
        assert text == "More than one Host header"
        line = f'op=door status=400 error=malformed .* request_id={headers["x-amzn-requestid"]}'
        wait(lambda: bool(re.search(line, open_server.log_text())), {True})
    assert value == {"message": "More than one Host header"}
    assert headers.get("x-amzn-errortype") is None


def test_what_is_clean_is_taken(open_server):
    """Letters of every kind where they are allowed, keep-alive, HTTP/1.0, an empty line in front."""
    for data, n in ((HEALTH + HEALTH, 2), (b"\r\n" + HEALTH, 1), (HEALTH.replace(b"Host: a", b"hOsT:\ta-b_c.d:1"), 1),
                    (HEALTH.replace(b"Host: a", b"Host: [::1]:8080\r\nX-!#$%&'*+.^_`|~9: \xc3\xa4 \t b\r\nX:"), 1),
                    (HEALTH.replace(b"health", b"health?a=%2e%2e/../%00&b=..&c=\xc3\xa4"), 1),
                    (b"GET /health HTTP/1.0\r\n\r\n", 1), (b"GET //health HTTP/1.1\r\nHost: a\r\n\r\n", 1)):
        with socket.create_connection(address(open_server), timeout=30) as s:
            s.sendall(data)
            got = b""
            while len(answers(got)) < n:
                got += s.recv(65536) or pytest.fail(repr((data, got)))
            assert [a[0] for a in answers(got)] == [200] * n, data


# ---- too many connections ----

def dial(server, last=1):
    """A connection from 127.0.0.`last`; its patience ends before an idle connection does by itself."""
    return socket.create_connection(address(server), timeout=20, source_address=(f"127.0.0.{last}", 0))


def ask(s, line):
    s.sendall(line + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    got = b""
    while not answers(got):
        got += s.recv(65536) or pytest.fail("no answer")
    return answers(got)[0]


def test_one_address_cannot_keep_the_others_out_and_a_monitor_is_always_answered():
    with Server(None, "--auth", "none", "--max-connections", "12", "--max-connections-per-address", "4") as server:
        held = [dial(server) for _ in range(4)]
        for s in held:
            s.sendall(b"GET /health HTTP/1.1\r\nHost:")
        silent = [dial(server) for _ in range(30)]
        for line, kind in ((b"POST /", "ServiceUnavailableException"), (b"GET /datastore/x/r4/Patient", "transient"),
                           (b"GET /metrics", None), (b"POST /health", None)):
            with dial(server) as s:
                status, headers, body = ask(s, line)
            value = json.loads(body)
            assert status == 503 and headers["retry-after"] == "1" and headers["connection"] == "close"
            assert kind == (value["issue"][0]["code"] if "issue" in value else value.get("__type"))
        with dial(server) as s:
            assert ask(s, b"GET /health")[0] == 200
        other = dial(server, 2)  # it stays, so that no place of its address is free only in a moment
        assert ask(other, b"GET /health")[0] == 200
        assert ask(other, b"GET /metrics")[0] == 404, "the places of another address"
        held += [other] + [dial(server, last) for last in (2, 2, 2, 3, 3, 3, 3)]
        for s in held[4:]:
            s.sendall(b"GET /health HTTP/1.1\r\nHost:")
        for last in (1, 2, 3, 4):
            with dial(server, last) as s:
                assert ask(s, b"GET /health")[0] == 200

            def metrics(last=last):
                with dial(server, last) as s:
                    status = ask(s, b"GET /metrics")[0]
                for i in range(len(held) if status == 404 else 0):  # who had a place had his time: the machine is starved
                    held[i].close()
                    held[i] = dial(server, 1 + i // 4)
                    held[i].sendall(b"GET /health HTTP/1.1\r\nHost:")
                return status
            wait(metrics, {503})  # what was dialled last may be counted a moment later
        for s in held + silent:
            s.close()


def test_a_connection_that_waits_makes_place_for_one_that_asks():
    with Server(None, "--auth", "none", "--max-connections", "8") as server:
        waiting = [dial(server) for _ in range(8)]
        for s in waiting:
            assert ask(s, b"GET /metrics")[0] == 404
            if s is waiting[0]:
                time.sleep(0.5)  # it waits from a moment after its answer was read here
        with dial(server) as s:
            assert ask(s, b"GET /metrics")[0] == 404
        assert waiting[0].recv(1) == b"", "the one that waited longest was ended"
        for s in waiting:
            s.close()


# ---- refusals that a client can read while it still sends ----

def post(server, path, body, chunked=False, expect=False):
    """As http.client does it: all is sent before anything is read."""
    c = http.client.HTTPConnection(*address(server), timeout=60)
    headers = {"Content-Type": "application/fhir+json", **({"Expect": "100-continue"} if expect else {})}
    if chunked:
        c.request("POST", path, (body[i:i + 65536] for i in range(0, len(body), 65536)), headers, encode_chunked=True)
    else:
        c.request("POST", path, body, headers)
    a = c.getresponse()
    got = a.status, a.headers, a.read()
    c.close()
    return got


@pytest.mark.parametrize("expect", [False, True], ids=["", "expect"])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("path, megabytes", [("r4/Patient", 6), ("r4/Patient", 30), ("r4", 21), ("r4", 60), ("/", 2), ("/", 30)])
def test_a_client_that_sends_all_before_it_reads_can_read_the_413(open_server, path, megabytes, chunked, expect):
    path = path if path == "/" else "/datastore/" + "0" * 32 + "/" + path
    status, headers, body = post(open_server, path, b" " * (megabytes << 20), chunked, expect)
    assert status == 413 and headers["Connection"] == "close", body[:500]
    value = json.loads(body)
    assert ("Request Entity Too Large" if "issue" in value else "larger than 1 MiB") in json.dumps(value)


def test_what_goes_on_behind_a_refusal_is_cut():
    """Behind the answer, and in a chunked body that is too large, so much is read and no more."""
    with Server(None, "--auth", "none") as server:
        for head, piece in ((b"Content-Length: 100000000000\r\n\r\n", bytes(65536)),
                            (CHUNKED + b"\r\n", b"10000\r\n" + bytes(65536) + b"\r\n")):
            with socket.create_connection(address(server), timeout=60) as s:
                s.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + head)
                sent = 0
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    while sent < 200 << 20:
                        s.sendall(piece)
                        sent += 65536
                assert sent > 60 << 20


@pytest.mark.parametrize("head, status", [
    (b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (8 << 20), 431),
    (b"GET /health?" + b"x" * (8 << 20), 414),
    (b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 2000000, 431),
    (b"POST / HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED + b"\r\nzz\r\n" + bytes(8 << 20), 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 9000000\r\n\r\n" + bytes(9000000), 400),
], ids=["header", "target", "headers", "chunk", "ambiguous"])
def test_other_refusals_can_be_read_as_well(open_server, head, status):
    for _ in range(3):
        assert [a[0] for a in talk(open_server, head)] == [status]


# ---- bodies of nobody known yet ----

def head_for(server, path, length, hashed=None, keys=None, method="POST", spoil=None, unsigned=False, **more):
    """The head of a signed request whose body has `length` bytes; hashed: what it is said to hash to."""
    headers = {"Content-Type": "application/fhir+json", **({"X-Amz-Content-SHA256": hashed} if hashed else {})}
    request = AWSRequest(method, server.url + path, data=b"x" if length else b"", headers=headers)
    if not unsigned:
        SigV4Auth(Credentials(*(keys or server.keys())), more.get("service", "healthlake"),
                  more.get("region", "us-east-1")).add_auth(request)
    lines = dict(request.headers.items())
    for name, change in (spoil or {}).items():
        lines[name] = change(lines.get(name))
    lines = {k: v for k, v in lines.items() if v is not None}
    lines.setdefault("Host", server.url.removeprefix("http://"))
    return (f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
            + f"Content-Length: {length}\r\n\r\n").encode()


def large(megabytes, **more):
    """A patient of so many megabytes; a string of FHIR has at most one."""
    return {"resourceType": "Patient", **more, "name": [{"family": "x" * 1000000}] * megabytes}


STORE = "/datastore/" + "0" * 32 + "/r4"
HASH = hashlib.sha256(b"another body").hexdigest()
NOBODY = {
    "no signature": dict(unsigned=True), "a bearer": dict(spoil={"Authorization": lambda v: "Bearer abc"}),
    "half a signature": dict(spoil={"Authorization": lambda v: v.split(", Signature")[0]}),
    "an unknown key": dict(keys=("AKIANOBODYNOBODY1234", "x" * 40)), "another region": dict(region="eu-west-1"),
    "another service": dict(service="s3"), "a token": dict(spoil={"X-Amz-Security-Token": lambda v: "abc"}),
    "an old date": dict(spoil={"X-Amz-Date": lambda v: v[:9] + "000000Z" if v[9:11] > "01" else v[:9] + "120000Z"}),
    "a header that is not signed": dict(spoil={"X-Amz-Target": lambda v: "HealthLake.X"}),
    "the host not signed": dict(spoil={"Authorization": lambda v: v.replace(";host", "")}),
    "a hash and a wrong secret": dict(hashed=HASH, wrong_secret=True),
    "a hash that is none": dict(hashed="STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
    "a payload that is not covered": dict(hashed="UNSIGNED-PAYLOAD"),
    "a hash, and a header changed": dict(hashed=HASH, spoil={"Content-Type": lambda v: "text/plain"}),
}


@pytest.mark.parametrize("case", NOBODY.values(), ids=NOBODY)
@pytest.mark.parametrize("path", ["/", STORE, STORE + "/Patient"], ids=["control", "bundle", "resource"])
def test_who_is_not_a_caller_by_his_head_need_not_send_a_body(server, case, path):
    """The answer comes before the first byte of it."""
    case = dict(case)
    if case.pop("wrong_secret", False):
        case["keys"] = (server.keys()[0], "wrong")
    [(status, headers, body)] = talk(server, head_for(server, path, 1 << 20, **case))
    assert headers["connection"] == "close" and headers["x-amzn-requestid"]
    if path == "/":
        assert status in (400, 403) and json.loads(body)["__type"].endswith(("Exception", "Signature"))
    else:
        assert status == 401 and json.loads(body)["issue"][0]["code"] in ("login", "expired")


def test_a_body_for_no_place_is_not_read(server):
    for path, status in (("/datastore/x/r4", 404), (STORE.replace("0", "A"), 404), ("/datastore/" + "0" * 32, 404),
                         ("/datastore/" + "0" * 32 + "/r5/Patient", 404), ("/nowhere", 404), ("/health", 404)):
        [(got, headers, _)] = talk(server, head_for(server, path, 1 << 20))
        assert (got, headers["connection"]) == (status, "close"), path


def test_a_body_is_what_the_head_said_it_is(server):
    """With the hash in the head the caller is known before the body; the body is compared with it at the end."""
    store = server.create_store()
    path = f"/datastore/{store}/r4/Patient"
    good = json.dumps(large(3)).encode()
    said = hashlib.sha256(good).hexdigest()
    for body, status in ((good, 201), (good[:-1] + b" ", 401), (good.replace(b"xxx", b"yyy", 1), 401)):
        got = talk(server, head_for(server, path, len(body), hashed=said) + body, stay=True)
        assert [a[0] for a in got] == [status]
    assert b"X-Amz-Content-Sha256" in got[0][2]


def rss(server, what="VmRSS"):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", text)[1]) << 10


def bundle(megabytes):
    entry = {"request": {"method": "POST", "url": "Patient"}, "resource": large(1)}
    return json.dumps({"resourceType": "Bundle", "type": "batch", "entry": [entry] * megabytes}).encode()


def test_who_cannot_sign_holds_little_memory_and_keeps_no_honest_client_out():
    """A key's id is no secret: with it and a forged signature a body is read to its end before that is seen. Honest
    clients that do not say a hash (boto3, curl) send theirs meanwhile, from the same address."""
    with Server() as server:
        store = server.create_store()
        base = f"/datastore/{store}/r4"
        fhir = server.fhir(store)
        fhir.post("", bundle(3))  # what the server keeps once it has worked
        before = rss(server)
        held = []
        for _ in range(40):
            s = socket.create_connection(address(server), timeout=60)
            s.sendall(head_for(server, base, 20 << 20, keys=(server.keys()[0], "forged")))
            for _ in range(19):
                s.sendall(bytes(1 << 20))
            held.append(s)
        if not SANITIZED:
            assert rss(server) - before < 48 << 20, "40 connections, 760 MiB sent"
        assert not [p for p in server.data.iterdir() if p.name.startswith("body")]
        assert fhir.put("Patient/large", large(5, id="large")).status == 201
        done = fhir.post("", bundle(20))
        assert done.status == 200 and {e["response"]["status"] for e in done.json["entry"]} == {"201"}
        assert server.client().list_fhir_datastores()["DatastorePropertiesList"]
        for s in held:
            s.close()


@pytest.mark.parametrize("hashed", [False, True], ids=["", "hashed"])
def test_many_large_bodies_at_once(server, hashed):
    store = server.create_store()
    fhir = server.fhir(store)
    body = json.dumps(large(4)).encode()
    more = {"X_Amz_Content_SHA256": hashlib.sha256(body).hexdigest()} if hashed else {}
    got = []
    threads = [threading.Thread(target=lambda: got.append(fhir.post("Patient", body, **more).status)) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [201] * 12


# ---- without signatures: pages of others, in a browser on this machine ----

def plain(server, method, path, headers, body=None):
    """(status, headers, body) of a request with these headers and no others."""
    c = http.client.HTTPConnection(*address(server), timeout=30)
    c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        c.putheader(name, value)
    if body is not None:
        c.putheader("Content-Length", str(len(body)))
    c.endheaders(body)
    a = c.getresponse()
    got = a.status, a.headers, a.read()
    c.close()
    return got


@pytest.fixture(scope="module")
def secret_store(open_server):
    store = open_server.create_store(open_server.client("k", "s"))
    assert open_server.fhir(store, signed=False).put("Patient/p", {
        "resourceType": "Patient", "id": "p", "name": [{"family": "Secretname"}]}).status == 201
    return f"/datastore/{store}/r4"


def refused_everywhere(server, base, headers, status):
    """Read, written, searched, asked of the control plane: nothing is told, nothing changes."""
    for method, path, body in (("GET", "/Patient/p", None), ("HEAD", "/Patient/p", None), ("GET", "/Patient?_id=p", None),
                               ("GET", "/metadata", None), ("GET", "/$export", None), ("DELETE", "/Patient/p", None),
                               ("POST", "/Patient", b'{"resourceType":"Patient","id":"q"}'),
                               ("PUT", "/Patient/q", b'{"resourceType":"Patient","id":"q"}'),
                               ("POST", "", b'{"resourceType":"Bundle","type":"batch"}'), ("POST", "/Patient/_search", b"_count=1")):
        got = plain(server, method, base + path, headers, body)
        assert got[0] == status and b"Secretname" not in got[2], (method, path, headers)
        assert got[2] == b"" if method == "HEAD" else json.loads(got[2])["issue"][0]["code"] == "forbidden"
    for target in ("ListFHIRDatastores", "CreateFHIRDatastore"):
        got = plain(server, "POST", "/", {**headers, "X-Amz-Target": f"HealthLake.{target}",
                                          "Content-Type": "application/x-amz-json-1.0"}, b'{"DatastoreTypeVersion":"R4"}')
        assert got[0] == status and json.loads(got[2])["__type"] == "AccessDeniedException"
    assert plain(server, "GET", base + "/Patient/p", {"Host": "localhost"})[0] == 200
    assert plain(server, "GET", base + "/Patient/q", {"Host": "localhost"})[0] == 404


@pytest.mark.parametrize("host", [
    "attacker.example", "attacker.example:PORT", "localhost.attacker.example", "127.0.0.1.attacker.example", "localhosts",
    "127.0.0.1.:PORT", "127.1", "127.0.0.256", "128.0.0.1", "0.0.0.0:PORT", "10.0.0.1", "[::2]", "[::ffff:127.0.0.1]",
    "2130706433", "0x7f.0.0.1"])
def test_another_name_for_this_machine_is_not_answered(open_server, secret_store, host):
    port = address(open_server)[1]
    refused_everywhere(open_server, secret_store, {"Host": host.replace("PORT", str(port))}, 421)


@pytest.mark.parametrize("headers", [
    {"Origin": "http://attacker.example"}, {"Origin": "null"}, {"Origin": "http://localhost"}, {"Origin": ""},
    {"Origin": "https://localhost:PORT"}, {"Origin": "http://127.0.0.1:PORT"}, {"Origin": "http://localhost:PORT.attacker.example"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "anything"},
    {"Origin": "http://localhost:PORT", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://attacker.example", "Content-Type": "text/plain"},
    {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/x-www-form-urlencoded"},
    {"Sec-Fetch-Site": "cross-site", "Content-Type": "multipart/form-data; boundary=x"},
], ids=str)
def test_a_page_of_another_place_is_refused(open_server, secret_store, headers):
    """Forms, pictures and plain texts are sent to other places without asking; what a browser says of them is looked at."""
    port = str(address(open_server)[1])
    headers = {k: v.replace("PORT", port) for k, v in headers.items()}
    refused_everywhere(open_server, secret_store, {"Host": f"localhost:{port}", **headers}, 403)


def test_our_own_names_and_pages_are_answered(open_server, secret_store):
    port = address(open_server)[1]
    for host in ("localhost", f"localhost:{port}", "LOCALHOST:1", "127.0.0.1", f"127.9.8.7:{port}", "[::1]", f"[::1]:{port}"):
        for more in ({}, {"Origin": f"http://{host}"}, {"Origin": f"HTTP://{host.upper()}", "Sec-Fetch-Site": "same-origin"},
                     {"Sec-Fetch-Site": "none"}):
            got = plain(open_server, "GET", secret_store + "/Patient/p", {"Host": host, **more})
            assert got[0] == 200, (host, more)
            assert "Access-Control-Allow-Origin" not in got[1]


def test_no_other_origin_is_given_leave(open_server, secret_store):
    for path in (secret_store + "/Patient/p", "/", "/health"):
        for host in ("localhost", "attacker.example"):
            got = plain(open_server, "OPTIONS", path, {"Host": host, "Origin": "http://attacker.example",
                                                       "Access-Control-Request-Method": "PUT"})
            assert got[0] >= 400 and not [h for h in got[1] if h.lower().startswith("access-control")]


def test_the_public_url_is_ours_as_well():
    with Server(None, "--auth", "none", "--public-url", "https://fhir.example:8443/base") as server:
        headers = {"X-Amz-Target": "HealthLake.ListFHIRDatastores", "Content-Type": "application/x-amz-json-1.0"}
        for host, origin, status in (("fhir.example", None, 200), ("FHIR.example:8443", "https://fhir.example:8443", 200),
                                     ("fhir.example", "https://fhir.example", 403), ("fhir.example", "https://fhir.example:8443.x", 403),
                                     ("x.fhir.example", None, 421), ("fhir.example.x", None, 421), ("localhost", None, 200)):
            got = plain(server, "POST", "/", {**headers, "Host": host, **({"Origin": origin} if origin else {})}, b"{}")
            assert got[0] == status, (host, origin)


def test_with_signatures_a_page_of_another_place_cannot_sign(server):
    """So what the browser says of it does not matter; clients behind proxies send their own Host."""
    fhir = server.fhir(server.create_store())
    assert fhir.get("Patient", Origin="http://attacker.example", Sec_Fetch_Site="cross-site").status == 200


def test_plain_http_beyond_loopback_is_refused_until_it_is_wanted(tmp_path):
    """Without the option the start ends with what to do instead, and nothing is made. (With it, that it starts is for
    the options' own tests: nothing here listens beyond loopback.)"""
    for listen in ("0.0.0.0:0", "[::]:0"):
        for data, options in (("a", []), ("b", ["--plain-http", "no"]), ("c", ["--public-url", "https://fhir.example"])):
            done = run("serve", "--listen", listen, "--data", tmp_path / data, *options)
            assert done.returncode == 2 and done.stdout == ""
            assert "--plain-http yes" in done.stderr and "reverse proxy" in done.stderr
            assert not (tmp_path / data).exists()


def test_who_does_not_read_his_answers_holds_little_memory_and_keeps_no_one_out():
    """Pages of 16 MiB: what has no room in memory waits in files without a name, what has none there is refused, and
    all that was promised arrives whole."""
    with Server() as server:
        store = server.create_store()
        fhir = server.fhir(store)
        for i in range(4):
            assert fhir.put(f"Patient/large{i}", large(4, id=f"large{i}")).status == 201
        path = f"/datastore/{store}/r4/Patient?_count=1000"
        whole = fhir.get("Patient?_count=1000")
        assert whole.status == 200 and len(whole.json["entry"]) == 4
        before, held, stop = rss(server), [], threading.Event()
        began = {}

        def sip():
            """Little, yet what keeps a reader from being ended for his slowness, however long the others take and however late this
            one is: 8 KiB are asked for in each second, and a window is some 4 KiB here."""
            while not stop.wait(0.02):
                got, now = dict(held), time.monotonic()
                late = [s for s in got if len(got[s]) < (now - began[s]) * (40 << 10)]
                for s in select.select(late, [], [], 0)[0]:
                    with contextlib.suppress(OSError):  # one that was ended all the same
                        got[s] += s.recv(16 << 10)

        sipping = threading.Thread(target=sip, daemon=True)
        sipping.start()
        kinds = []
        while len(kinds) < 80 or (429 not in kinds and len(kinds) < 240):  # who is ended all the same makes place
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(60)
            s.connect(address(server))
            s.sendall(head_for(server, path, 0, method="GET"))
            got = bytearray(s.recv(600))
            kinds.append(int(got.split()[1]))
            began[s] = time.monotonic()
            held.append((s, got))
        assert set(kinds) == {200, 429} and kinds.count(200) > 40
        assert b"Retry-After: 1" in held[kinds.index(429)][1]
        if not SANITIZED:
            assert rss(server) - before < 400 << 20, "128 MiB of one address and what making them takes, not 1,200"
        assert fhir.get("Patient/large0?_elements=gender").status == 200
        assert server.client().list_fhir_datastores()["DatastorePropertiesList"]
        stop.set()
        sipping.join()
        for s, got in held[:2] + held[kinds.index(429) - 2:kinds.index(429)]:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            length = int(re.search(rb"Content-Length: (\d+)", got)[1]) + got.index(b"\r\n\r\n") + 4
            while len(got) < length and (part := s.recv(1 << 20)):
                got += part
            assert len(json.loads(got.partition(b"\r\n\r\n")[2])["entry"]) == 4
        for s, _ in held:
            s.close()
        wait(lambda: fhir.get("Patient?_count=1000").status, [200])


def test_large_answers_that_are_made_at_once_hold_little_memory_and_come_in_turn():
    """Before an answer is whole nobody counts it: few are large at a time, and fewer of one caller; some wait for their
    turn, the others are told to come again. Whatever they are: searches, histories, Bundles."""
    with Server() as server:
        store = server.create_store()
        fhir = server.fhir(store)
        assert fhir.put("Patient/large0", large(4, id="large0")).status == 201
        for i in range(1, 4):
            assert fhir.put(f"Patient/large{i}", large(4, id=f"large{i}")).status == 201
            assert fhir.put("Patient/large0", large(4, id="large0")).status == 200
        path = f"/datastore/{store}/r4/"
        bundle = json.dumps({"resourceType": "Bundle", "type": "batch", "entry": [
            {"request": {"method": "GET", "url": f"Patient/large{i}"}} for i in range(4)]}).encode()
        asked = [("GET", "Patient?_count=1000", b""), ("GET", "Patient?_sort=_id&_pretty=true", b""),
                 ("GET", "Patient/_history", b""), ("POST", "", bundle)]
        before, kinds = rss(server), []

        def ask(method, query, body):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.settimeout(120)
                s.connect(address(server))
                hashed = hashlib.sha256(body).hexdigest() if body else None
                s.sendall(head_for(server, path + query, len(body), hashed, method=method) + body)
                kinds.append(int(s.recv(600).split()[1]))
                over.wait(120)

        over = threading.Event()
        threads = [threading.Thread(target=ask, args=asked[i % len(asked)]) for i in range(80)]
        for t in threads:
            t.start()
        wait(lambda: len(kinds), {len(threads)})
        most = rss(server, "VmHWM") - before
        over.set()
        for t in threads:
            t.join()
        assert set(kinds) <= {200, 429, 504} and kinds.count(200) >= 4
        if not SANITIZED:
            assert most < 900 << 20, "4 large ones, 12 that wait, 128 MiB that are made; not 40 large ones"
        for method, query, body in asked * 3:  # the places came back
            answer = fhir.call(method, query, body or None)
            assert answer.status == 200 and answer.json["entry"]
