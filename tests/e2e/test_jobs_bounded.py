"""What callers can make jobs, files and data stores cost: every amount has an end, and is told when it is reached."""
import concurrent.futures
import contextlib
import gzip
import json
import os
import random
import resource
import shutil
import signal
import subprocess

import pytest
from botocore.exceptions import ClientError

from fhirlake import KEY, ROLE, SANITIZED, Server, patient, read_ndjson, wait


@pytest.fixture(scope="module")
def server():
    with Server() as s:
        yield s


# ---- keys ----

def test_objects_in_folders_as_deep_as_a_key_can_be_keep_nobody_from_listing_above(server):
    store = server.create_store()
    server.put_object("s3://deep/a.ndjson", patient("a"))
    assert server.import_all(store, "s3://deep/")["JobStatus"] == "COMPLETED"
    for depth in (130, 400):
        done = server.export_all(store, "s3://deep/" + "a/" * depth)
        assert done["JobStatus"] == "COMPLETED", done
    done = server.import_all(store, "s3://deep/")
    assert done["JobStatus"] == "COMPLETED" and done["JobProgressReport"]["TotalNumberOfScannedFiles"] == 3


@pytest.mark.parametrize("path, limit", [
    ("a/" * 480, "1024 bytes"), ("n" * 256, "255 bytes"), ("n" * 255 + "/" + "n" * 300 + "/x", "255 bytes")])
def test_places_whose_keys_could_not_be_written_are_refused_at_the_start(server, path, limit):
    store = server.create_store()
    server.put_object("s3://deep2/a.ndjson", patient("a"))
    for start in (lambda: server.start_export(store, "s3://deep2/" + path),
                  lambda: server.start_import(store, "s3://deep2/a.ndjson", "s3://deep2/" + path)):
        with pytest.raises(ClientError) as refused:
            start()
        assert refused.value.response["Error"]["Code"] == "ValidationException"
        assert limit in refused.value.response["Error"]["Message"]


# ---- what is left of a deleted data store ----

def of_files(folder, what):
    """(path, what is asked of it) of all that is there; what goes meanwhile is not."""
    for p in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            yield p, what(p)


def files_with(server, word):
    return sorted(str(p.relative_to(server.data)) for p, has in of_files(
        server.data, lambda p: p.is_file() and word.encode() in p.read_bytes()) if has)


@pytest.mark.files
def test_nothing_that_a_caller_wrote_is_left_of_a_deleted_data_store():
    word = "Zqsecretname"
    with Server() as server:
        client, store = server.client(), server.create_store()
        fhir = server.fhir(store)
        fhir.put("Patient/p", {"resourceType": "Patient", "id": "p", "name": [{"family": word}]})
        kick_offs = [
            fhir.get(f"$export?_typeFilter=Patient%3Fname%3D{word}", Prefer="respond-async"),
            fhir.get(f"$export?_typeFilter=Patient%3Fname%3D{word}&_tag=http%3A%2F%2Fx%7C{word}", Prefer="respond-async"),
            fhir.get(f"Patient/$export?_nonsense={word}", Prefer="respond-async, handling=lenient"),
            fhir.post("Patient/$export", {"resourceType": "Parameters", "parameter": [
                {"name": "_typeFilter", "valueString": f"Patient?name={word}"}]}, Prefer="respond-async"),
            fhir.post(f"$export?_typeFilter=Patient%3Fname%3D{word}", {
                "DataAccessRoleArn": ROLE, "ClientToken": f"token-{word}", "OutputDataConfig": {
                    "S3Configuration": {"S3Uri": "s3://out/rest", "KmsKeyId": KEY}}}, Prefer="respond-async"),
        ]
        assert {a.status for a in kick_offs} == {202}, [a.body for a in kick_offs]
        jobs = [a.headers["Content-Location"].rsplit("/", 1)[1] for a in kick_offs]
        for job in jobs[:-1]:
            assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"
        assert any(f.startswith("system/") for f in files_with(server, word))
        fhir.delete(f"export/{jobs[0]}")  # one whose files are gone already, and the last one runs or waits
        client.delete_fhir_datastore(DatastoreId=store)
        wait(lambda: client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"DELETED"})
        left = [f for f in files_with(server, word) if not f.startswith("objects/out/")]  # the caller's own bucket
        assert left == [] and word not in server.log_text()
        for job in jobs:
            told = client.describe_fhir_export_job(DatastoreId=store, JobId=job)["ExportJobProperties"]
            assert told["JobStatus"] in ("COMPLETED", "FAILED")
        server.stop()
        assert [f for f in files_with(server, word) if not f.startswith("objects/out/")] == []
        server.start()
        assert len(server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]) == len(jobs)


# ---- work in the background ----

def status_of(client, store):
    return client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"]


def statuses(client, stores):
    """Of several, at once: a Describe of one that is not ready waits for it."""
    found, page = {}, {}
    while not found or "NextToken" in page:
        page = client.list_fhir_datastores(**{k: v for k, v in page.items() if k == "NextToken"})
        found.update((d["DatastoreId"], d["DatastoreStatus"]) for d in page["DatastorePropertiesList"])
    return {found[s] for s in stores}


def test_data_stores_that_are_being_filled_keep_nobody_waiting():
    with Server(None, "--preload-patients", "1000000") as server:  # takes for ever
        client, ready = server.client(), server.create_store()
        server.put_object("s3://input/a.ndjson", patient("a"))
        slow = [client.create_fhir_datastore(DatastoreTypeVersion="R4", PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
                for _ in range(12)]
        assert server.import_all(ready, "s3://input/")["JobStatus"] == "COMPLETED"
        assert server.export_all(ready)["JobStatus"] == "COMPLETED"
        assert status_of(client, server.create_store()) == "ACTIVE"
        client.delete_fhir_datastore(DatastoreId=ready)
        wait(lambda: status_of(client, ready), {"DELETED"})
        assert statuses(client, slow) == {"CREATING"}
        assert server.stop() == 0  # and they do not hold the end up either
        server.options = ["--preload-patients", "1"]
        server.start()
        client = server.client()
        for s in slow:
            assert wait(lambda: status_of(client, s), {"ACTIVE", "CREATE_FAILED"}) == "ACTIVE"


def test_any_number_of_data_stores_under_way_are_taken_up_after_a_kill():
    with Server(None, "--preload-patients", "1000000") as server:
        client = server.client()
        slow = [client.create_fhir_datastore(DatastoreTypeVersion="R4", PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
                for _ in range(300)]
        server.kill()
        server.options = ["--preload-patients", "1", "--max-datastores", "10"]  # fewer than there are
        server.start()
        client = server.client()

        def active():
            found = client.list_fhir_datastores(Filter={"DatastoreStatus": "ACTIVE"}, MaxResults=100)
            return [d["DatastoreId"] for d in found["DatastorePropertiesList"]]

        wait(lambda: len(active()) >= 10, {True})
        with pytest.raises(ClientError) as refused:
            client.create_fhir_datastore(DatastoreTypeVersion="R4")
        assert refused.value.response["Error"]["Code"] == "ThrottlingException"
        gone = active()[:3]
        for s in gone:
            client.delete_fhir_datastore(DatastoreId=s)
        for s in gone:
            wait(lambda: status_of(client, s), {"DELETED"})
        assert statuses(client, slow) <= {"CREATING", "ACTIVE", "DELETED"}


# ---- open data stores ----

def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))


def use_many(server, n, n_uses):
    """Every one can be written, read and searched, whichever was used before, by several callers at a time."""
    client = server.client()
    stores = [client.create_fhir_datastore(DatastoreTypeVersion="R4")["DatastoreId"] for _ in range(n)]
    for s in stores:
        wait(lambda: status_of(client, s), {"ACTIVE"})
    most = 0

    def use(turn):
        store = stores[turn % n] if turn < n else random.Random(turn).choice(stores)
        fhir = server.fhir(store)
        made = fhir.put(f"Patient/p{turn}", {"resourceType": "Patient", "id": f"p{turn}", "name": [{"family": f"n{turn}"}]})
        read = fhir.get(f"Patient/p{turn}")
        found = fhir.get(f"Patient?name=n{turn}")
        assert (made.status, read.status, len(found.json["entry"])) == (201, 200, 1), turn
        return store, turn

    written = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in pool.map(use, range(n_uses)):
            written.append(done)
            most = max(most, len(os.listdir(f"/proc/{server.process.pid}/fd")))
    assert most < 1024
    return stores, written


def check_all_written(server, written):
    for store, turn in written:
        assert server.fhir(store).get(f"Patient/p{turn}").status == 200


def test_more_data_stores_than_descriptors_allow_open_are_all_usable():
    with Server(None, "--core-dumps", "yes", before=few_descriptors) as server:  # its descriptors are looked at
        assert "descriptors limit=1024" in server.log_text()
        stores, written = use_many(server, 40, 120)
        server.put_object("s3://input/a.ndjson", patient("a"))
        jobs = [(s, server.start_import(s, "s3://input/a.ndjson")) for s in stores[:20]]  # each holds its own
        for s, job in jobs:
            assert server.wait_import(s, job)["JobStatus"] == "COMPLETED"
        server.kill()
        server.start()
        check_all_written(server, written)
        client = server.client()
        for s in stores[:5]:
            client.delete_fhir_datastore(DatastoreId=s)
        for s in stores[:5]:
            wait(lambda: status_of(client, s), {"DELETED"})
        assert server.fhir(stores[0]).get("Patient/p0").status == 404


@pytest.mark.long
def test_a_thousand_data_stores_are_all_usable_with_1024_descriptors():
    with Server(None, "--core-dumps", "yes", before=few_descriptors) as server:
        _, written = use_many(server, 1000, 1500)
        server.kill()
        server.start()
        check_all_written(server, written[::10])


# ---- what others on the machine can see ----

def open_modes(server):
    """Files and folders that others than the owner may use, of what is made below the data folder."""
    return sorted(f"{p.relative_to(server.data)} {mode & 0o777:o}" for p, mode in of_files(server.data, lambda p: p.stat().st_mode)
                  if mode & 0o077)


@pytest.mark.files
def test_everything_that_is_written_is_its_owners_alone():
    with Server(before=lambda: os.umask(0)) as server:
        store = server.create_store()
        fhir = server.fhir(store)
        fhir.put("Patient/a", {"resourceType": "Patient", "id": "a"})
        server.put_object("s3://input/b.ndjson", patient("b"))
        os.chmod(server.objects / "input", 0o700), os.chmod(server.objects / "input/b.ndjson", 0o600)  # the test's own
        server.import_all(store, "s3://input/")
        server.export_all(store)
        job = fhir.get("$export", Prefer="respond-async").headers["Content-Location"].rsplit("/", 1)[1]
        server.wait_export(store, job)
        assert any(p.suffix == ".sst" for p in server.data.rglob("*"))
        assert open_modes(server) == []


@pytest.mark.files
def test_folders_of_before_that_others_could_enter_are_closed_and_told():
    with Server() as server:
        server.create_store()
        server.stop()
        for name, mode in (("", 0o1777), ("system", 0o755), ("stores", 0o750), ("jobs", 0o707), ("exports", 0o711)):
            os.chmod(server.data / name, mode)
        server.start()
        assert [oct(os.stat(server.data / n).st_mode & 0o777) for n in ("system", "stores", "jobs", "exports")] == ["0o700"] * 4
        told = [line for line in server.log_text().splitlines() if "folder_mode" in line]
        assert len(told) == 5 and "folder=data mode=1777" in told[0] and "folder=stores mode=0750" in told[2]
        server.stop()
        os.chmod(server.data, 0o700)
        before = server.log_text()
        server.start()
        assert "folder_mode" not in server.log_text()[len(before):]


def cored(*options):
    """Did a crash leave a core file, where the machine makes them?"""
    server = Server(None, *options, before=lambda: resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)))
    try:
        server.start()
        server.process.send_signal(signal.SIGSTOP)  # it ends under our eyes alone, not those of who freezes servers now and then
        os.kill(server.process.pid, signal.SIGSEGV)
        os.kill(server.process.pid, signal.SIGCONT)
        return os.WCOREDUMP(os.waitpid(server.process.pid, 0)[1])
    finally:
        server.process.returncode = -signal.SIGSEGV
        server._gone()
        shutil.rmtree(server.data)
        server.log_path.unlink()


@pytest.mark.skipif(SANITIZED, reason="the sanitizer ends the process itself")
def test_a_crash_leaves_no_core_file_unless_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not cored("--core-dumps", "yes"):
        pytest.skip("no core files are made here")
    assert list(tmp_path.iterdir()) != []
    for p in tmp_path.iterdir():
        p.unlink()
    assert not cored() and list(tmp_path.iterdir()) == []


# ---- files that are kept for download ----

def kick_off(fhir, path="$export"):
    return fhir.get(path, Prefer="respond-async")


def kept_bytes(server):
    return sum(n for _, n in of_files(server.data / "exports", lambda p: p.stat().st_size if p.is_file() else 0))


def fill_with(fhir, n_bytes):
    for i in range(n_bytes // 1_000_000):
        fhir.put(f"Basic/b{i}", {"resourceType": "Basic", "id": f"b{i}", "code": {"text": "x" * 1_000_000}})


def ended(server, store, answer):
    return server.wait_export(store, answer.headers["Content-Location"].rsplit("/", 1)[1])["JobStatus"]


def check_refusal(answer, words):
    assert answer.status == 429 and 1 <= int(answer.headers["Retry-After"]) <= 3600
    assert answer.json["issue"][0]["code"] == "throttled" and words in answer.text


def test_a_data_store_keeps_a_dozen_copies_of_itself_and_no_more_also_after_a_kill():
    with Server() as server:
        store, other = server.create_store(), server.create_store()
        fhir = server.fhir(store)
        fill_with(fhir, 2_000_000)
        taken = [a for a in (kick_off(fhir, path) for path in ["$export", "$export?_type=Basic"] * 15) if a.status == 202]
        states = [ended(server, store, a) for a in taken]  # what was taken on, when nobody knew its size, may fail
        assert states.count("COMPLETED") == 12 and set(states) <= {"COMPLETED", "FAILED"}
        assert kept_bytes(server) < 13 * 2_010_000
        check_refusal(kick_off(fhir), "kept or on their way")
        assert kick_off(server.fhir(other)).status == 202
        server.kill()
        server.start()
        fhir = server.fhir(store)
        check_refusal(kick_off(fhir), "kept or on their way")
        check_refusal(fhir.post("$export", {"resourceType": "Parameters"}, Prefer="respond-async"), "kept or on their way")
        first = taken[states.index("COMPLETED")].headers["Content-Location"].split("/r4/")[1]
        assert fhir.delete(first).status == 202
        again = kick_off(fhir)
        assert again.status == 202 and ended(server, store, again) == "COMPLETED"
        s3 = server.export_all(store)  # into the caller's own place
        assert s3["JobStatus"] == "COMPLETED"


def test_numbers_of_kept_exports_end_per_data_store_and_per_caller():
    with Server(None, "--max-served-exports", "3", "--max-served-exports-caller", "5") as server:
        stores = [server.create_store() for _ in range(3)]
        taken = {s: [kick_off(server.fhir(s)).status for _ in range(5)] for s in stores}
        assert taken[stores[0]] == [202] * 3 + [429] * 2
        assert taken[stores[1]] == [202] * 2 + [429] * 3  # the caller's five are taken
        assert taken[stores[2]] == [429] * 5
        check_refusal(kick_off(server.fhir(stores[0])), "3 exports of this data store")
        check_refusal(kick_off(server.fhir(stores[2])), "5 of your exports")


def test_a_disk_that_is_nearly_full_takes_no_files_of_exports():
    with Server(None, "--min-free-mib", str(1 << 29)) as server:  # more than there is
        store = server.create_store()
        fhir = server.fhir(store)
        assert fhir.put("Patient/a", {"resourceType": "Patient", "id": "a"}).status == 201  # data go on
        check_refusal(kick_off(fhir), "disk is nearly full")
        assert kept_bytes(server) == 0
        assert server.export_all(store)["JobStatus"] == "COMPLETED"


# ---- input that is made to fill disks ----

def zstd(data):
    return subprocess.run(["zstd", "-q", "-19", "--long=27", "-c"], input=data, capture_output=True, check=True).stdout


BOMBS = {  # name: (file, level, lines, folder in which its lines stand)
    "bytes.ndjson.gz": (lambda: gzip.compress(b"x\n" * 1_000_000, 9), "strict", 1_000_000, "FAILURE"),
    "objects.ndjson.gz": (lambda: gzip.compress(b"{}\n" * 300_000, 9), "strict", 300_000, "FAILURE"),
    "members.ndjson.gz": (lambda: gzip.compress(b"[]\n" * 1000, 9) * 300, "strict", 300_000, "FAILURE"),
    "frames.ndjson.zst": (lambda: zstd(b"1\n" * 300_000) * 3, "strict", 900_000, "FAILURE"),
    "faults.ndjson.zst": (lambda: zstd(b'{"resourceType":"Patient","id":"a","q":1,"w":2,"e":3}\n' * 100_000), "minimal",
                          100_000, "SUCCESS_WITH_SEARCH_VALIDATION_FAILURES"),
    "again.ndjson.zst": (lambda: zstd(b'{"resourceType":"Patient","id":"a"}\n' * 200_000), "strict", 200_000, "SUCCESS"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_outcomes_of_a_small_file_with_very_many_lines_stay_small_and_are_counted(server, name):
    make, level, n, folder = BOMBS[name]
    data, store = make(), server.create_store()
    server.put_object(f"s3://bombs/{name}", data)
    done = server.import_all(store, f"s3://bombs/{name}", output_uri=f"s3://bombed/{name}", ValidationLevel=level)
    report = done["JobProgressReport"]
    good = 0 if folder == "FAILURE" else n
    assert report["TotalNumberOfResourcesScanned"] == n and report["TotalNumberOfResourcesImported"] == good
    assert report["TotalNumberOfResourcesWithCustomerError"] == n - good
    assert done["JobStatus"] == ("COMPLETED" if good else "COMPLETED_WITH_ERRORS")
    out = server.folder(done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    assert size < (600 << 10) + 200 * len(data), f"{size} bytes of {len(data)}"
    lines = read_ndjson(next((out / folder).rglob("*.ndjson")))
    written, last = len(lines) - 1, json.loads(lines[-1])
    told = last["UpdateResourceResponse"]["jsonBlob"]["issue"][0]
    assert told["code"] == "incomplete" and told["diagnostics"].startswith(f"{n - written} more lines")
    assert last["lineId"] == written + 1 and json.loads(lines[-2])["lineId"] == written
    assert f"{n - written} lines of the outcome are not written" in done["Message"]
    manifest = json.loads((out / "Manifest.json").read_text())
    assert n - written in manifest.values()


def test_a_thousand_fold_file_is_unreadable_and_its_neighbours_are_read(server):
    store = server.create_store()
    server.put_object("s3://ratio/a.ndjson", patient("a"))
    server.put_object("s3://ratio/b.ndjson.zst", zstd((patient("b") + "\n").encode() + b" " * (80 << 20) + b"\n"))
    server.put_object("s3://ratio/c.ndjson", patient("c"))
    done = server.import_all(store, "s3://ratio/")
    report = done["JobProgressReport"]
    assert (report["TotalNumberOfImportedFiles"], report["TotalNumberOfFilesReadWithCustomerError"]) == (2, 1)
    out = server.folder(done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
    assert "unpacks to more than 1000 times its size" in (out / "FAILURE/b.ndjson").read_text()


def test_an_import_that_is_killed_among_lines_that_are_too_many_counts_them_all():
    n = 1_500_000
    with Server() as server:
        store = server.create_store()
        server.put_object("s3://input/x.ndjson.gz", gzip.compress(b"x\n" * n, 9))
        job = server.start_import(store, "s3://input/")

        def scanned():
            told = server.client().describe_fhir_import_job(DatastoreId=store, JobId=job)["ImportJobProperties"]
            return told.get("JobProgressReport", {}).get("TotalNumberOfResourcesScanned", 0)

        for share in (0.2, 0.5, 0.8):
            wait(lambda: scanned() >= n * share, {True})
            server.kill()
            server.start()
        done = server.wait_import(store, job)
        assert done["JobProgressReport"]["TotalNumberOfResourcesWithCustomerError"] == n
        out = server.folder(done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
        lines = read_ndjson(out / "FAILURE/x.ndjson")
        assert [json.loads(line)["lineId"] for line in lines] == list(range(1, len(lines) + 1))
        left = f"{n - len(lines) + 1} more lines"
        assert left in lines[-1].decode()


def test_an_import_leaves_part_of_the_disk_to_the_data_stores():
    with Server(None, "--min-free-mib", str(1 << 29)) as server:
        store = server.create_store()
        server.put_object("s3://input/a.ndjson", patient("a"))
        done = server.import_all(store, "s3://input/")
        assert done["JobStatus"] == "FAILED" and "MiB free" in done["Message"]
        assert server.fhir(store).get("Patient/a").status == 404
        assert server.fhir(store).put("Patient/b", {"resourceType": "Patient", "id": "b"}).status == 201


def test_a_byte_order_mark_is_passed_over_at_the_start_of_a_file_only(server):
    store, bom = server.create_store(), b"\xef\xbb\xbf"
    server.put_object("s3://marks/a.ndjson", bom + patient("a").encode() + b"\n" + bom + patient("no").encode())
    server.put_object("s3://marks/b.ndjson.gz", gzip.compress(bom + patient("b").encode()))
    done = server.import_all(store, "s3://marks/")
    assert done["JobProgressReport"]["TotalNumberOfResourcesImported"] == 2
    fhir = server.fhir(store)
    assert [fhir.get(f"Patient/{i}").status for i in ("a", "b", "no")] == [200, 200, 404]


# ---- lists that grow ----

def test_the_number_of_data_stores_is_kept_right_over_deletions_and_restarts():
    with Server(None, "--max-datastores", "3") as server:
        def full(client):
            with pytest.raises(ClientError) as refused:
                client.create_fhir_datastore(DatastoreTypeVersion="R4")
            assert refused.value.response["Error"]["Code"] == "ThrottlingException"
            assert "3 data stores" in refused.value.response["Error"]["Message"]

        client = server.client()
        for _ in range(3):
            stores = [server.create_store() for _ in range(3)]
            full(client)
            server.kill()
            server.start()
            client = server.client()
            full(client)
            for s in stores:
                client.delete_fhir_datastore(DatastoreId=s)
            for s in stores:
                wait(lambda: status_of(client, s), {"DELETED"})
        listed = client.list_fhir_datastores(MaxResults=2)
        ids = [d["DatastoreId"] for d in listed["DatastorePropertiesList"]]
        while "NextToken" in listed:
            listed = client.list_fhir_datastores(MaxResults=2, NextToken=listed["NextToken"])
            ids += [d["DatastoreId"] for d in listed["DatastorePropertiesList"]]
        assert len(ids) == len(set(ids)) == 9
        assert client.list_fhir_datastores(Filter={"DatastoreStatus": "ACTIVE"})["DatastorePropertiesList"] == []
