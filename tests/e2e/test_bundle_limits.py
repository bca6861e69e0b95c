"""What a Bundle may not take: a place beyond the queue, and more than its time."""
import json
import signal
import socket
import time
import urllib.parse

import pytest

from fhirlake import Server

AT_WORK, WAITING = 4, 32  # of one caller in one data store: LIMIT_BUNDLES, LIMIT_BUNDLES_WAITING, workers.c
# answered by looking at every patient
SLOW = {"request": {"method": "GET", "url": "Patient?address-city:contains=nowhere&birthdate=ne1950&_summary=count"}}


def batch(*entries):
    return {"resourceType": "Bundle", "type": "batch", "entry": list(entries)}


@pytest.fixture(scope="module")
def fhir(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("limits") / "data", "--auth", "none") as server:
        fhir = server.fhir(server.create_store(server.client("any", "key")), signed=False)
        fhir.process = server.process
        people = [{"resource": {"resourceType": "Patient", "birthDate": f"19{i % 90 + 10}-01-01",
                                "address": [{"city": f"City {i}"}]},
                   "request": {"method": "POST", "url": "Patient"}} for i in range(400)]
        assert fhir.post("", batch(*people)).status == 200
        yield fhir


def read_answer(connection):
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        headers = {}
        while (line := file.readline().strip()):
            name, value = line.decode().split(":", 1)
            headers[name.lower()] = value.strip()
        return status, headers, json.loads(file.read(int(headers["content-length"])))


def test_bundles_beyond_the_queue_are_told_to_come_again(fhir):
    base = urllib.parse.urlsplit(fhir.base)
    body = json.dumps(batch(*[SLOW] * 60)).encode()
    request = (f"POST {base.path} HTTP/1.1\r\nHost: {base.netloc}\r\nContent-Type: application/fhir+json\r\n"
               f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    for _ in range(20):
        all_of_them = [socket.create_connection((base.hostname, base.port), 60) for _ in range(AT_WORK + WAITING + 12)]
        fhir.process.send_signal(signal.SIGSTOP)  # so that none is done before the last one has come
        try:
            for connection in all_of_them:
                connection.sendall(request)
        finally:
            fhir.process.send_signal(signal.SIGCONT)
        assert fhir.get("Patient?_count=1").status == 200, "single requests go on beside them"
        answers = [read_answer(connection) for connection in all_of_them]
        for connection in all_of_them:
            connection.close()
        refused = [a for a in answers if a[0] != 200]
        if refused:  # else the workers were faster than who reads requests
            break
    assert 1 <= len(refused) <= 12 + AT_WORK  # as many wait, however late the workers come
    for status, headers, outcome in refused:
        assert status == 429 and headers["retry-after"] == "1"
        assert outcome["resourceType"] == "OperationOutcome" and outcome["issue"][0]["code"] == "throttled"
    for status, _, answer in answers:
        if status == 200:
            assert [e["response"]["status"][:3] for e in answer["entry"]] == ["200"] * 60
    assert fhir.post("", batch(SLOW)).status == 200, "there is room again"


@pytest.mark.long
def test_what_a_batch_has_no_time_for_is_told_and_not_done(fhir):
    """More work than a minute's: the entries done until then stand, those behind are 504."""
    look, more = 0, 0
    while look < 0.25 and more < 40:  # a look must take a good part of a second
        people = [{"resource": {"resourceType": "Patient", "address": [{"city": "x" * 2000}] * 50},
                   "request": {"method": "POST", "url": "Patient"}} for _ in range(150)]
        assert fhir.post("", batch(*people)).status == 200
        start, more = time.monotonic(), more + 1
        assert fhir.post("", batch(*[SLOW] * 4)).status == 200
        look = (time.monotonic() - start) / 4
    first = {"resource": {"resourceType": "Basic", "code": {"text": "first"}},
             "request": {"method": "POST", "url": "Basic"}}
    start = time.monotonic()
    answer = fhir.post("", batch(first, *[SLOW] * 498, first))
    took = time.monotonic() - start
    status = [e["response"]["status"][:3] for e in answer.json["entry"]]
    assert answer.status == 200 and status[0] == "201", status[:3]
    assert status[-1] == "504" and 55 < took < 80 + 5 * look, (took, look, status[-3:])
    done = status.index("504")
    assert set(status[1:done]) == {"200"} and set(status[done:]) == {"504"}
    assert answer.json["entry"][-1]["response"]["outcome"]["issue"][0]["code"] == "timeout"
    assert fhir.get("Basic?_summary=count").json["total"] == 1, "what was told is what was done"
