"""`$viewdefinition-run` of a long table: it goes out while it is made, as of the instant at which it began, and breaks visibly."""
import base64
import gzip
import http.client
import io
import json
import random
import socket
import threading
import time
import urllib.parse
import zlib

import pytest

from fhirlake import Server, SANITIZED, wait
from test_erase import done

pytestmark = pytest.mark.sanitize
RUN = "$viewdefinition-run"
GZIP = {"Accept-Encoding": "gzip"}
N = 200


def view(path="id", wide=True):
    """Rows of 60 KB, ten of a resource: no socket's buffers hold a hundredth of the table."""
    columns = [{"column": [{"name": "id", "path": path}]}]
    if wide:
        columns += [{"column": [{"name": "x", "path": "'x'.replace('x', '" + "y" * 60_000 + "')"}]},
                    {"forEach": "1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10", "column": [{"name": "n", "path": "$this"}]}]
    return {"resourceType": "ViewDefinition", "resource": "Basic", "select": columns}


def basic(i, **more):
    return {"resourceType": "Basic", "id": f"b{i}", "code": {"text": "x"}, **more}


def many(fhir, method, numbers):
    entry = [{"request": {"method": method, "url": f"Basic/b{i}"}, **({"resource": basic(i)} if method == "PUT" else {})} for i in numbers]
    assert fhir.post("", {"resourceType": "Bundle", "type": "batch", "entry": entry}).status == 200


@pytest.fixture(scope="module")
def server():
    with Server() as s:
        yield s


@pytest.fixture()
def fhir(server):
    one = server.fhir(server.create_store())
    many(one, "PUT", range(N))
    return one


def begun(fhir, body, query="", version="HTTP/1.1", **headers):
    """A request whose answer is not read yet: the connection, and the answer."""
    url = f"{fhir.base}/%24viewdefinition-run{query}"
    parts, data = urllib.parse.urlsplit(url), json.dumps(body).encode()
    headers = fhir.signed("POST", f"{fhir.base}/$viewdefinition-run{query}", {"Content-Type": "application/fhir+json", **headers}, data)
    connection = http.client.HTTPConnection(parts.netloc, timeout=300)
    if version == "HTTP/1.0":
        headers["Host"] = parts.netloc
    connection._http_vsn, connection._http_vsn_str = int(version[-1]) + 10, version
    connection.request("POST", f"{parts.path.replace('%24', '$')}{query}", data, headers)
    return connection, connection.getresponse()


def ended(server, request_id):
    """The lines of the log about a request that has ended."""
    wait(lambda: any(" request op=" in line for line in lines(server, request_id)), {True})
    return lines(server, request_id)


def lines(server, request_id):
    return [line for line in server.log_text().splitlines() if request_id in line]


def peak(server):
    status = open(f"/proc/{server.process.pid}/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def test_a_long_table_is_as_of_its_beginning_and_takes_little_memory(server, fhir):
    before = peak(server)
    connection, answer = begun(fhir, view())
    assert answer.status == 200 and answer.headers["Transfer-Encoding"] == "chunked", answer.headers
    assert answer.headers["Content-Type"] == "application/x-ndjson" and answer.headers["x-amzn-RequestId"]
    first = answer.readline()
    many(fhir, "DELETE", range(N // 2, N))
    many(fhir, "PUT", range(N, N + 50))
    time.sleep(2)  # so long that the run leaves its place in the data store, and comes back to it
    rows = [json.loads(line) for line in [first, *answer]]
    connection.close()
    assert sorted((row["id"], row["n"]) for row in rows) == sorted((f"b{i}", n) for i in range(N) for n in range(1, 11))
    assert sum(len(row["x"]) for row in rows) == N * 10 * 60_000  # 114 MiB
    assert SANITIZED or peak(server) - before < 40 << 20
    # the next one is of later
    assert len(fhir.post(RUN, view(wide=False)).body.splitlines()) == N // 2 + 50


def test_each_form_of_a_long_table_is_whole(fhir):
    plain = fhir.post(RUN, view())
    assert plain.headers["Content-Encoding"] is None and plain.headers["Vary"] == "Accept-Encoding"
    packed = fhir.post(RUN, view(), **GZIP)
    assert packed.headers["Content-Encoding"] == "gzip" and packed.headers["Transfer-Encoding"] == "chunked"
    assert gzip.decompress(packed.body) == plain.body and len(packed.body) < len(plain.body) // 50
    rows = [json.loads(line) for line in plain.body.splitlines()]
    assert fhir.post(f"{RUN}?_format=json", view()).json == rows
    csv = fhir.post(f"{RUN}?_format=csv", view()).body.decode().splitlines()
    assert csv == ["id,x,n"] + [f"{row['id']},{row['x']},{row['n']}" for row in rows]


def test_text_is_packed_for_who_takes_it_and_parquet_goes_out_by_row_groups(fhir):
    texts = {f"b{i}": base64.b64encode(random.Random(i).randbytes(600_000)).decode() for i in range(24)}
    for i, text in texts.items():
        assert fhir.put(f"Basic/{i}", basic(0, id=i, code={"text": text})).status == 200
    both = {"resourceType": "ViewDefinition", "resource": "Basic", "select": [{"column": [{"name": n, "path": p} for n, p in (("id", "id"), ("text", "code.text"))]}]}
    plain = fhir.post(RUN, both)
    packed = fhir.post(RUN, both, **GZIP)
    assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(packed.body) == plain.body
    answer = fhir.post(f"{RUN}?_format=parquet", both, **GZIP)
    assert answer.headers["Content-Encoding"] is None
    assert answer.headers["Transfer-Encoding"] == "chunked" and answer.body[:4] == b"PAR1" == answer.body[-4:]
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not here: pip install pyarrow")
    file = parquet.ParquetFile(io.BytesIO(answer.body))
    assert file.num_row_groups == 2
    assert {row["id"]: row["text"] for row in file.read().to_pylist()} == {**{f"b{i}": "x" for i in range(N)}, **texts}


def test_an_error_behind_the_first_byte_breaks_the_answer(server, fhir):
    secret = "Kowalczyk-Andersson"
    assert fhir.put("Basic/z", basic("z", id="z", identifier=[{"value": secret}, {"value": "2"}])).status == 201
    bad = view("identifier.value")
    connection, answer = begun(fhir, bad)
    assert answer.status == 200
    with pytest.raises(http.client.IncompleteRead):
        while answer.read(1 << 20):
            pass
    connection.close()
    told = ended(server, answer.headers["x-amzn-RequestId"])
    broken = [line for line in told if "answer_broken" in line]
    assert len(broken) == 1 and "viewResource.select[0].column[0]" in broken[0], told
    # by the caller's doing: no alarm
    assert " info answer_broken " in broken[0] and "error=unprocessable" in broken[0], broken
    assert not any(secret in line or "Basic/z" in line for line in told)
    # before gzip's end, too
    connection, answer = begun(fhir, bad, **GZIP)
    got = b""
    with pytest.raises(http.client.IncompleteRead):
        while True:
            got += answer.read(1000)
    unpacker = zlib.decompressobj(31)
    assert len(unpacker.decompress(got)) > 100_000_000 and not unpacker.eof
    connection.close()
    # before the first byte it is an answer
    assert fhir.post(f"{RUN}?_since={fhir.get('Basic/z').json['meta']['lastUpdated']}", bad).status == 422


def test_it_begins_though_there_is_no_row(fhir):
    ten = "(" + " | ".join(str(n) for n in range(10)) + ")"
    # all resources together take far more than 3 seconds
    slow = f"{ten}.select({ten}.select({ten}.select('x'.replace('x', '{'y' * 20_000}').indexOf('yyyyyyyyyyyyz')))).where($this >= 0).exists()"
    connection, answer = begun(fhir, {**view(wide=False), "where": [{"path": slow}]})
    assert answer.status == 200 and answer.headers["Transfer-Encoding"] == "chunked", answer.headers
    connection.sock and connection.sock.shutdown(socket.SHUT_RDWR)
    answer.close()
    connection.close()


def test_who_leaves_ends_the_run(server, fhir):
    connection, answer = begun(fhir, view())
    answer.read(1000)
    request_id = answer.headers["x-amzn-RequestId"]
    connection.sock and connection.sock.shutdown(socket.SHUT_RDWR)
    answer.close()
    connection.close()
    told = ended(server, request_id)
    assert any("answer_broken" in line and "error=cancelled" in line for line in told), told


def test_runs_wait_for_runs_and_nobody_else_does(fhir):
    """Of one caller in one data store five are made at a time; who reads none of them keeps no other request waiting."""
    runs = [begun(fhir, view()) for _ in range(5)]
    assert [answer.status for _, answer in runs] == [200] * 5
    later = []
    thread = threading.Thread(target=lambda: later.append(fhir.post(f"{RUN}?_limit=3", view())))
    thread.start()
    assert len(fhir.get("Basic?_count=20").json["entry"]) == 20 and fhir.put("Basic/new", basic(0, id="new")).status == 201
    assert later == []
    runs[2][0].sock.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert later[0].status == 200 and len(later[0].body.splitlines()) == 3
    for connection, answer in runs:
        answer.close()
        connection.close()


def test_an_erasure_waits_for_no_reader(fhir):
    """It ends a run, which may have in hand what was erased."""
    connection, answer = begun(fhir, view())
    done(fhir, f"Basic/b{N - 1}/$erase", "erase")
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()
    # what begins then is whole
    assert {json.loads(line)["id"] for line in fhir.post(RUN, view(wide=False)).body.splitlines()} == {f"b{i}" for i in range(N - 1)}


def test_a_data_store_can_be_deleted_beside_a_reader_who_waits(server, fhir):
    connection, answer = begun(fhir, view())
    answer.read(1000)
    client, store = server.client(), fhir.base.split("/")[-2]
    client.delete_fhir_datastore(DatastoreId=store)
    wait(lambda: client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"DELETED"})
    with pytest.raises(http.client.IncompleteRead):
        while answer.read(1 << 20):
            pass
    connection.close()


def test_a_stop_ends_a_run_at_once_and_its_answer_visibly():
    with Server() as server:
        fhir = server.fhir(server.create_store())
        many(fhir, "PUT", range(N))
        connection, answer = begun(fhir, view())
        answer.read(1000)
        server.process.terminate()
        with pytest.raises(http.client.IncompleteRead):
            while answer.read(1 << 20):
                pass
        connection.close()
        assert server.process.wait(60) == 0
        assert any("answer_broken" in line and "error=cancelled" in line for line in server.log_text().splitlines())
        server.start()


def test_for_http_1_0_a_table_is_whole_or_refused(fhir):
    for query, status in (("?_limit=100", 200), ("", 413)):
        connection, answer = begun(fhir, view(), query, "HTTP/1.0")
        body = answer.read()
        assert answer.status == status and int(answer.headers["Content-Length"]) == len(body)
        connection.close()
    assert b"HTTP/1.1" in body
