"""Giants: lines of more than 8 MiB are worked on one at a time. Their memory is that of one, and a crash loses none."""
import base64
import hashlib
import json
import os

import pytest

import postgres
from fhirlake import FINAL, SANITIZED, Server, wait

MIB = 1 << 20
SIZE = 40 * MIB  # of a line
NAMES = [f"g{i}" for i in range(5)]


def data(name):
    """Base64 that no packing makes smaller."""
    block = b"".join(hashlib.sha512(name.encode() + bytes([i, k])).digest() for i in range(256) for k in range(48))  # 768 KiB
    return base64.b64encode(block) * (SIZE // MIB)


def line(name):
    return b'{"resourceType":"Binary","id":"%s","contentType":"application/pdf","data":"%s"}\n' % (name.encode(), data(name))


def put_files(server):
    """The first three have a file each, the others are in one, with small lines around them."""
    for name in NAMES[:3]:
        server.put_object(f"s3://input/giants/{name}.ndjson", line(name))
    small = [b'{"resourceType":"Binary","id":"s%d","contentType":"a/b","data":"AAAA"}\n' % i for i in range(3)]
    server.put_object("s3://input/giants/some.ndjson", small[0] + line(NAMES[3]) + small[1] + line(NAMES[4]) + small[2])


def check_export(server, store):
    """All of it is there, whole, as version 1."""
    job = server.export_all(store)
    assert job["JobStatus"] == "COMPLETED", job
    folder = server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    found = {}
    for path in folder.rglob("Binary*.ndjson"):
        for text in path.open("rb"):
            resource = json.loads(text)
            assert resource["meta"]["versionId"] == "1" and resource["id"] not in found
            found[resource["id"]] = resource["data"]
    assert set(found) == set(NAMES) | {"s0", "s1", "s2"}
    for name in NAMES:
        assert found[name].encode() == data(name)


@pytest.fixture
def server():
    with Server(None, "--core-dumps", "yes", "--export-reuse", "no") as s:  # its peak is reset from outside
        put_files(s)
        yield s


class Peak:
    """Of the memory of a server over what it had before."""

    def __init__(self, server):
        self.pid = server.process.pid
        self.before = self.mib("VmRSS")
        with open(f"/proc/{self.pid}/clear_refs", "w") as file:
            file.write("5")

    def mib(self, what):
        status = open(f"/proc/{self.pid}/status").read()
        return int(status.split(f"{what}:")[1].split()[0]) / 1024

    def over(self):
        return self.mib("VmHWM") - self.before


def test_an_import_holds_one_twice_and_an_export_holds_it_once(server):
    store = server.create_store()
    peak = Peak(server)
    job = server.import_all(store, "s3://input/giants/")
    assert job["JobStatus"] == "COMPLETED", job
    of_import, peak = peak.over(), Peak(server)
    check_export(server, store)
    of_export = peak.over()
    print(f"import {of_import:.0f} MiB, export {of_export:.0f} MiB")
    if not SANITIZED:
        assert of_import < 2.75 * SIZE / MIB
        assert of_export < 1.75 * SIZE / MIB


def test_two_imports_and_an_export_at_a_time_wait_for_one_another(server):
    first, second = server.create_store(), server.create_store()
    assert server.import_all(first, "s3://input/giants/")["JobStatus"] == "COMPLETED"
    peak = Peak(server)
    jobs = [server.start_import(first, "s3://input/giants/"), server.start_import(second, "s3://input/giants/")]
    export = server.start_export(first)
    assert server.wait_import(first, jobs[0])["JobStatus"] == "COMPLETED"
    assert server.wait_import(second, jobs[1])["JobStatus"] == "COMPLETED"
    assert server.wait_export(first, export)["JobStatus"] == "COMPLETED"
    of_all = peak.over()
    print(f"all {of_all:.0f} MiB")
    if not SANITIZED:
        assert of_all < 2.75 * SIZE / MIB
    check_export(server, second)


def test_an_import_that_is_killed_with_one_in_hand_goes_on_there(server):
    store = server.create_store()
    job = server.start_import(store, "s3://input/giants/")
    staging = server.data / "stores" / store / "staging"

    def is_written():
        if postgres.ON:
            return postgres.asks(server.data, "select 1 from pg_stat_activity where query like 'copy parts(%' and state = 'active' and "
                                              "datname = current_database()") != []
        # its file is begun when all of it is in memory
        return staging.exists() and any(name.endswith("-v.sst") for name in os.listdir(staging))

    def is_over():
        """By a list, which waits for no end."""
        found = server.client().list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"]
        return found[0]["JobStatus"] in FINAL

    for _ in range(3):
        wait(lambda: is_written() or is_over(), {True}, pause=0.001)
        server.kill()
        server.start()
    done = server.wait_import(store, job)
    assert done["JobStatus"] == "COMPLETED", done
    progress = done["JobProgressReport"]
    assert progress["TotalNumberOfScannedFiles"] == 4 and progress["TotalNumberOfResourcesImported"] == 8
    check_export(server, store)
