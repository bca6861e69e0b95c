"""Waiting for an end as SDKs do it by default: asking once, and again only after a minute or two."""
import contextlib
import http.client
import json
import os
import threading
import time

import botocore.exceptions
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fhirlake import FINAL, SANITIZED, Server, patient, wait

pytestmark = [pytest.mark.sanitize, pytest.mark.threads]
SLOW = ("--preload-patients", "3000" if SANITIZED else "30000")  # a creation that takes longer than anybody waits here


def once(client, name, **what):
    """The waiter as it comes, but for the pause after the first question: there must be none."""
    waiter = client.get_waiter(name)
    assert waiter.config.delay >= 60, "the default"
    waiter.config.max_attempts = 1
    waiter.wait(**what)


def test_default_waiters_create_import_export_and_delete_within_ten_seconds(server, client):
    """Three times over, so that a question which waited out its time instead of hearing the end would show."""
    server.put_object("s3://input/wait/p.ndjson", "\n".join(patient(i) for i in range(200)))
    began = time.monotonic()
    for _ in range(3):
        store = client.create_fhir_datastore(DatastoreTypeVersion="R4")["DatastoreId"]
        client.get_waiter("fhir_datastore_active").wait(DatastoreId=store)
        job = server.start_import(store, "s3://input/wait/")
        client.get_waiter("fhir_import_job_completed").wait(DatastoreId=store, JobId=job)
        job = server.start_export(store)
        client.get_waiter("fhir_export_job_completed").wait(DatastoreId=store, JobId=job)
        client.delete_fhir_datastore(DatastoreId=store)
        client.get_waiter("fhir_datastore_deleted").wait(DatastoreId=store)
    assert time.monotonic() - began < (60 if SANITIZED else 10)


def test_the_first_question_is_answered_by_the_end(server, client):
    server.put_object("s3://input/once/p.ndjson", "\n".join(patient(i) for i in range(200)))
    for _ in range(2):
        store = client.create_fhir_datastore(DatastoreTypeVersion="R4")["DatastoreId"]
        once(client, "fhir_datastore_active", DatastoreId=store)
        once(client, "fhir_import_job_completed", DatastoreId=store, JobId=server.start_import(store, "s3://input/once/"))
        once(client, "fhir_export_job_completed", DatastoreId=store, JobId=server.start_export(store))
        client.delete_fhir_datastore(DatastoreId=store)
        once(client, "fhir_datastore_deleted", DatastoreId=store)


def test_a_failure_is_an_end_too(server, client):
    store = server.create_store()
    server.put_object("s3://input/none/readme.txt", "no ndjson here")
    with pytest.raises(botocore.exceptions.WaiterError, match="FAILED|failure"):
        once(client, "fhir_import_job_completed", DatastoreId=store, JobId=server.start_import(store, "s3://input/none/"))


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
    began = time.monotonic()
    for _ in range(50):
        assert status(slow, slow.creating, client) == "CREATING"
        time.sleep(0.01)
    assert time.monotonic() - began < 25, "50 times 2 s is 100 s"


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
            body = json.dumps({"DatastoreId": store}).encode()
            signed = AWSRequest("POST", server.url + "/", data=body, headers={
                "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "HealthLake.DescribeFHIRDatastore"})
            SigV4Auth(Credentials(*server.keys()), "healthlake", "us-east-1").add_auth(signed)
            connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
            connection.request("POST", "/", body, dict(signed.headers.items()))
            connection.close()
        wait(lambda: sockets() <= own and server.log_text().count("op=DescribeFHIRDatastore") == len(stores), {True})
        assert status(server, stores[0]) in ("CREATING", "ACTIVE")


def test_quotas_count_a_question_once():
    """Ten a second are allowed: ten that waited, and ten more as soon as they are answered."""
    with Server(None, "--quotas", "healthlake", *SLOW) as server:
        client = server.client()
        store = client.create_fhir_datastore(DatastoreTypeVersion="R4",
                                             PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(status(server, store, c)))
                   for c in [server.client() for _ in range(10)]]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for _ in range(9):
            answers.append(status(server, store, client))
        assert answers == ["CREATING"] * 19


def test_a_stop_answers_who_waits():
    with Server(None, *SLOW) as server:
        client = server.client()
        store = client.create_fhir_datastore(DatastoreTypeVersion="R4",
                                             PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(status(server, store, c)))
                   for c in [server.client() for _ in range(4)]]
        for t in threads:
            t.start()
        time.sleep(1)  # they are there
        assert server.stop() == 0
        for t in threads:
            t.join()
        assert answers == ["CREATING"] * 4
        server.start()


def test_a_cancelled_export_has_ended(server, client):
    store = server.create_store(PreloadDataConfig={"PreloadDataType": "SYNTHEA"})
    jobs = [server.start_export(store, client=client) for _ in range(8)]
    told = []
    asker = threading.Thread(target=lambda: told.append(
        server.client().describe_fhir_export_job(DatastoreId=store, JobId=jobs[-1])["ExportJobProperties"]["JobStatus"]))
    asker.start()
    answer = server.fhir(store).delete(f"export/{jobs[-1]}")
    asker.join()
    if answer.status == 202:
        assert server.wait_export(store, jobs[-1])["JobStatus"] in FINAL
    assert told[0] in FINAL, told
