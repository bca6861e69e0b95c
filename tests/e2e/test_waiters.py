"""Waiting for an end as SDKs do it by default: asking once, and again only after a minute or two."""
import concurrent.futures
import contextlib
import datetime
import http.client
import json
import os
import re
import threading
import time
import types

import botocore.exceptions
import botocore.waiter
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fhirlake import FINAL, SANITIZED, Server, patient, wait

pytestmark = [pytest.mark.sanitize, pytest.mark.threads]
SLOW = ("--preload-patients", "100000" if SANITIZED else "1000000")  # a creation that takes for ever
HELD_S = 2  # a question is answered by then, with or without an end


@pytest.fixture
def unheard(server, monkeypatch):
    """How many questions were held until their time was over, although an end came well before, or were not held at all: one thing is
    asked about at a time. A waiter pauses behind an answer that is none, for a minute or two: here for no longer than it takes to be held again. That
    need not be, unless the machine stands still for seconds."""
    pauses, n_lines = [], len(server.log_text().splitlines())

    def pause(seconds):
        assert seconds >= 60, "the default"
        pauses.append(seconds)
        time.sleep(6)

    def when(line):
        return datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00"))

    def count():
        n, n_held, lines = 0, 0, server.log_text().splitlines()[n_lines:]
        ends = [when(x) for x in lines if re.search(r" info (job|datastore) .*status=(ACTIVE|DELETED|COMPLETED|FAILED)", x)]
        for line in lines:
            held = re.search(r" op=Describe\w+ status=200 .* us=(\d+) ", line)
            if held and int(held[1]) > HELD_S * .9e6:
                begun = when(line) - datetime.timedelta(microseconds=int(held[1]))
                n += any(begun < end < when(line) - datetime.timedelta(seconds=1.5) for end in ends)
                n_held += 1
        return n + max(0, len(pauses) - n_held)
    monkeypatch.setattr(botocore.waiter, "time", types.SimpleNamespace(sleep=pause))
    return count


def test_default_waiters_hear_of_every_end_at_once(server, client, unheard):
    """Three times over, so that a question which waited out its time instead of hearing the end would show."""
    server.put_object("s3://input/wait/p.ndjson", "\n".join(patient(i) for i in range(200)))
    for _ in range(3):
        store = client.create_fhir_datastore(DatastoreTypeVersion="R4")["DatastoreId"]
        client.get_waiter("fhir_datastore_active").wait(DatastoreId=store)
        job = server.start_import(store, "s3://input/wait/")
        client.get_waiter("fhir_import_job_completed").wait(DatastoreId=store, JobId=job)
        job = server.start_export(store)
        client.get_waiter("fhir_export_job_completed").wait(DatastoreId=store, JobId=job)
        client.delete_fhir_datastore(DatastoreId=store)
        client.get_waiter("fhir_datastore_deleted").wait(DatastoreId=store)
    assert unheard() == 0


def test_a_failure_is_an_end_too(server, client, unheard):
    store = server.create_store()
    server.put_object("s3://input/none/readme.txt", "no ndjson here")
    with pytest.raises(botocore.exceptions.WaiterError, match="FAILED|failure"):
        client.get_waiter("fhir_import_job_completed").wait(DatastoreId=store, JobId=server.start_import(store, "s3://input/none/"))
    assert unheard() == 0


@pytest.fixture(scope="module")
def slow():
    with Server(None, *SLOW) as s:
        s.creating = s.client().create_fhir_datastore(
            DatastoreTypeVersion="R4", PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
        yield s


def status(server, store, client=None):
    shown = (client or server.client()).describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
    return shown["DatastoreStatus"]


def test_what_takes_long_is_answered_as_it_is(slow):
    """The first question after a moment, the next ones at once: who asks ten times a second sees what goes on."""
    client = slow.client()
    assert status(slow, slow.creating, client) == "CREATING"
    took = []
    for _ in range(50):
        began = time.monotonic()
        assert status(slow, slow.creating, client) == "CREATING"
        took.append(time.monotonic() - began)
        time.sleep(0.01)
    # most of them; a machine may stand still now and then
    assert sorted(took)[25] < HELD_S * .9, took


def test_many_who_wait_keep_nobody_out_and_are_all_answered(slow):
    keys = slow.keys()
    answers = []

    def ask():
        answers.append(status(slow, slow.creating, slow.client(*keys)))

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for t in threads:
        t.start()
    assert slow.client().list_fhir_datastores()["DatastorePropertiesList"]
    for t in threads:
        t.join()
    assert answers == ["CREATING"] * 100


def test_who_hangs_up_while_waiting_leaves_nothing():
    with Server(None, *SLOW) as server:
        def sockets():  # of TCP: a database is connected to in another way
            with open(f"/proc/{server.process.pid}/net/tcp") as table:
                tcp = {f"socket:[{line.split()[9]}]" for line in table}
            links = []
            for fd in os.listdir(f"/proc/{server.process.pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    links.append(os.readlink(f"/proc/{server.process.pid}/fd/{fd}"))
            return sum(link in tcp for link in links)

        own = sockets()  # those that listen
        client = server.client()
        stores = [client.create_fhir_datastore(DatastoreTypeVersion="R4", PreloadDataConfig={"PreloadDataType": "SYNTHEA"})
                  ["DatastoreId"] for _ in range(12)]
        client.close()
        wait(lambda: sockets() <= own, {True})
        for store in stores:
            question(server, store).close()
        wait(lambda: sockets() <= own and server.log_text().count("op=DescribeFHIRDatastore") == len(stores), {True})
        assert status(server, stores[0]) in ("CREATING", "ACTIVE")


def test_quotas_count_a_question_once(tmp_path):
    """Twenty are allowed, and one more every three seconds: ten that wait, and nine more as soon as they are answered. Were those
    that waited counted again, it would be too many for half a minute."""
    rates = tmp_path / "rates"
    rates.write_text("[caller]\nDescribeFHIRDatastore = 20/min\n")
    with Server(None, "--quotas", str(rates), *SLOW) as server:
        client = server.client()
        store = client.create_fhir_datastore(DatastoreTypeVersion="R4",
                                             PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
        with concurrent.futures.ThreadPoolExecutor(10) as threads:
            answers = list(threads.map(lambda c: status(server, store, c), [server.client() for _ in range(10)]))
        for _ in range(9):
            answers.append(status(server, store, client))
        assert answers == ["CREATING"] * 19


def question(server, store):
    """A connection that has asked for a data store's status, and whose answer nobody has read."""
    body = json.dumps({"DatastoreId": store}).encode()
    signed = AWSRequest("POST", server.url + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "HealthLake.DescribeFHIRDatastore"})
    SigV4Auth(Credentials(*server.keys()), "healthlake", "us-east-1").add_auth(signed)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/", body, dict(signed.headers.items()))
    return connection


def unread(server):
    """Connections to the server with bytes that it has not read yet."""
    port = f":{int(server.url.rsplit(':', 1)[1]):04X}"
    with open(f"/proc/{server.process.pid}/net/tcp") as table:
        rows = [line.split() for line in list(table)[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" and not row[4].endswith(":00000000") for row in rows)


def test_a_stop_answers_who_waits():
    with Server(None, *SLOW) as server:
        store = server.client().create_fhir_datastore(DatastoreTypeVersion="R4",
                                                      PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
        waiting = [question(server, store) for _ in range(4)]
        wait(lambda: unread(server), {0})
        assert server.stop() == 0
        for connection in waiting:
            answer = connection.getresponse()
            assert answer.status == 200
            assert json.loads(answer.read())["DatastoreProperties"]["DatastoreStatus"] == "CREATING"
            connection.close()
        server.start()


def test_a_cancelled_export_has_ended(server, client):
    """Who waits for its end hears of it, when it was cancelled well before he had waited long enough."""
    store = server.create_store(PreloadDataConfig={"PreloadDataType": "SYNTHEA"})
    fhir, other = server.fhir(store), server.client()
    for _ in range(20):
        jobs = [server.start_export(store, client=client) for _ in range(8)]
        told = []

        def ask(job=jobs[-1]):
            began = time.time()
            status = other.describe_fhir_export_job(DatastoreId=store, JobId=job)["ExportJobProperties"]["JobStatus"]
            told.append((began, status))
        asker = threading.Thread(target=ask)
        asker.start()
        answer = fhir.delete(f"export/{jobs[-1]}")
        asker.join()
        [(began, status)] = told
        last = server.wait_export(store, jobs[-1])
        if answer.status == 202 and last["EndTime"].timestamp() - began < HELD_S / 2:
            assert status in FINAL and last["JobStatus"] in FINAL
            return
        assert answer.status in (202, 409), answer.body
        for job in jobs:
            assert server.wait_export(store, job)["JobStatus"] in FINAL
    raise AssertionError("no export was cancelled in time")
