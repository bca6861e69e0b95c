"""$erase, $purge and $bulk-delete: what goes is in no answer, in no file of the data folder and no row of the database, and
does not come back by a restore; everything else answers as before. A plain list of what there is, kept here, says what must
be left."""
import contextlib
import json
import os
import pathlib
import random
import re
import threading
import time

import pytest

import postgres
from bulk import backing_up, export
from fhirlake import FINAL, LONG, Server, ask_control, run, wait

pytestmark = pytest.mark.sanitize
BACKUP = {"Status": "ENABLED", "BackupType": "CONTINUOUS"}


def job_of(answer):
    assert answer.status == 202, answer.body
    if answer.json.get("resourceType") == "OperationOutcome":
        issue = answer.json["issue"][0]
        assert (issue["severity"], issue["code"]) == ("information", "informational")
        return answer.text.removeprefix("Purge job started successfully. Job ID: ")
    assert answer.json["jobStatus"] == "SUBMITTED"
    return answer.json["jobId"]


def ended(fhir, name, job, timeout=120):
    got = {}

    def probe():
        answer = fhir.get(f"${name}/{job}")
        if answer.status == 429:
            return None
        assert answer.status == 200, answer.body
        got.update(answer.json)
        return got["status"]

    wait(probe, FINAL, timeout)
    return got


def done(fhir, path, name):
    """Start it, and wait for its end."""
    job = job_of(fhir.post(path, None, content_type=None))
    status = ended(fhir, name, job)
    assert status["status"] == "COMPLETED", status
    assert set(status["summary"]) == {"resources", "versions"}
    assert status["jobId"] == job and fhir.base.split("/")[-2] == status["datastoreId"]
    return status


def shows_progress(fhir, type_, n):
    """A soft deletion of so many: was it seen on its way? What it tells never goes back."""
    job = job_of(fhir.post(f"{type_}/$bulk-delete", None, content_type=None))
    seen = [0]
    while True:
        answer = fhir.get(f"$bulk-delete/{job}")
        assert answer.status in (200, 429), answer.body
        if answer.status == 200:
            status = answer.json
            assert ("progress" in status) == (status["status"] == "IN_PROGRESS") and ("summary" in status) == (status["status"] in FINAL)
            if status["status"] in FINAL:
                assert status["summary"] == {"resources": n, "versions": 0}
                return any(0 < x < n for x in seen)
            if "progress" in status:
                assert seen[-1] <= status["progress"]["resources"] <= n
                seen.append(status["progress"]["resources"])


def patient(name, **more):
    return {"resourceType": "Patient", "id": name, "name": [{"family": f"Mark{name}"}], **more}


def observation(name, of, text):
    return {"resourceType": "Observation", "id": name, "status": "final", "code": {"text": text},
            "subject": {"reference": f"Patient/{of}"}}


def put(fhir, resource):
    answer = fhir.put(f"{resource['resourceType']}/{resource['id']}", resource)
    assert answer.status in (200, 201), answer.body
    return answer


def found(fhir, query):
    ids, url = set(), query
    while url:
        page = fhir.get(url).json
        ids |= {f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in page.get("entry", [])}
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    return ids


def files_with(data, *texts):
    """Every file of the data folder that has one of the texts, as they stand, and every row of its database. The audit log
    and the objects of the tests' own S3 are no part of a data store."""
    hits = postgres.rows_with(data, *texts) if postgres.ON else []
    for folder, _, names in os.walk(data):  # which passes over folders that have gone
        for path in (pathlib.Path(folder, name) for name in names):
            short = path.relative_to(data)
            with contextlib.suppress(FileNotFoundError):  # compaction took it
                raw = path.read_bytes() if path.is_file() and "objects" not in short.parts else b""
                hits += [f"{short}: {t}" for t in texts if t.encode() in raw]
    return hits


def checked(data):
    if postgres.ON:
        return  # a database has its own tools
    out = run("check", "--quiet", data)
    assert out.returncode == 0, out.stdout + out.stderr


@pytest.fixture
def alone(tmp_path):
    with Server(tmp_path / "data") as server:
        yield server


def test_a_purged_patient_is_nowhere(alone):
    server = alone
    store = server.create_store()
    fhir = server.fhir(store)
    lines = [json.dumps(patient(f"imp{i}")) for i in range(40)] + [
        json.dumps(observation(f"io{i}", f"imp{i % 40}", f"secret-imp{i % 40}-text")) for i in range(200)]
    server.put_object("s3://input/x/all.ndjson", "\n".join(lines))
    assert server.import_all(store, "s3://input/x/")["JobStatus"] == "COMPLETED"
    for who in ("gone", "stays"):
        for n in range(3):
            put(fhir, patient(who, gender="male" if n else "female"))
        for n in range(5):
            put(fhir, observation(f"{who}-o{n}", who, f"secret-{who}-text"))
    assert fhir.delete("Observation/gone-o1").status in (200, 204)
    put(fhir, observation("was-gone", "gone", "secret-gone-text"))
    put(fhir, observation("was-gone", "stays", "now-of-stays"))
    put(fhir, {"resourceType": "AuditEvent", "id": "ae", "type": {"code": "x"}, "recorded": "2026-01-01T00:00:00Z",
               "agent": [{"requestor": True}], "source": {"observer": {"display": "x"}},
               "entity": [{"what": {"reference": "Patient/gone"}}]})
    job = export(fhir)
    job.wait()
    # what an export asks for may name a patient, too
    named = fhir.get("$export?_type=Patient&_typeFilter=Patient%3Ffamily%3DMarkgone", Prefer="respond-async")
    assert named.status == 202
    named = named.headers["Content-Location"].split("/")[-1]
    wait(lambda: fhir.get(f"export/{named}").status, {200})
    assert files_with(server.data, "secret-gone-text"), "the test could not be true"
    patients, observations = found(fhir, "Patient?_count=1000"), found(fhir, "Observation?_count=1000")
    status = done(fhir, "Patient/gone/$purge", "purge")
    # the Patient with 3 versions, 5 Observations of which one was deleted, and one version of somebody else's
    assert status["summary"] == {"resources": 6, "versions": 10}
    assert "S3" in status["message"]
    assert fhir.get("Patient/gone").status == 404 and fhir.get("Patient/gone/_history").status == 404
    assert fhir.get("Patient/gone/_history/1").status == 404
    assert fhir.get("Observation/gone-o1").status == 404
    assert found(fhir, "Patient?_count=1000") == patients - {"Patient/gone"}
    left = observations - {f"Observation/gone-o{n}" for n in range(5)}
    assert found(fhir, "Observation?_count=1000") == left
    assert found(fhir, "Observation?subject=Patient/gone&_count=1000") == set()
    assert fhir.get("Observation?_summary=count").json["total"] == len(left)
    # its older version was of the patient, and it is somebody else's now
    assert fhir.get("Observation/was-gone").json["code"]["text"] == "now-of-stays"
    assert fhir.get("Observation/was-gone/_history/1").status == 404
    history = fhir.get("Observation/was-gone/_history").json["entry"]
    assert [e["resource"]["meta"]["versionId"] for e in history] == ["2"]
    log = fhir.get("_history?_count=1000").json["entry"]
    assert not [e for e in log if "gone" in e["fullUrl"] and "was-gone" not in e["fullUrl"]]
    assert fhir.get("AuditEvent/ae").status == 200
    # files that were served
    for one in (job.url.split("/")[-1], named):
        assert fhir.get(f"export/{one}").status in (404, 410)
    new = export(fhir)
    new.wait()
    assert set(new.resources()) == left | {
        "AuditEvent/ae"} | (patients - {"Patient/gone"})
    # the id is free
    assert put(fhir, patient("gone")).json["meta"]["versionId"] == "1"
    done(fhir, "Patient/gone/$erase?deleteAuditEvent=true", "erase")
    done(fhir, "Patient/imp7/$purge", "purge")
    assert fhir.get("AuditEvent/ae").status == 404
    assert files_with(server.data, "secret-gone-text", "Markgone", "secret-imp7-", "Markimp7\"", "gone-o") == []
    server.stop()
    checked(server.data)
    server.start()


def test_what_is_asked_for_is_checked(server):
    store = server.create_store()
    fhir = server.fhir(store)
    put(fhir, patient("p"))
    put(fhir, patient("p", gender="male"))

    def refused(path, status, says, **more):
        answer = fhir.post(path, None, content_type=None, **more)
        assert answer.status == status and says in answer.text, (path, answer.status, answer.text)

    refused("Patient/p/$erase?foo=1", 400, "$erase has no parameter foo")
    refused("Patient/p/$erase?isHardDelete=true", 400, "no parameter isHardDelete")
    refused("Patient/p/$erase?deleteAuditEvent=yes", 400, "deleteAuditEvent must be true or false")
    refused("Patient/p/_history/1/$erase?deleteAuditEvent=true", 400, "no parameter deleteAuditEvent")
    refused("Patient/$bulk-delete?isHardDelete=1", 400, "isHardDelete must be true or false")
    refused("Patient/$bulk-delete?_since=2020-01-01&end=2021-01-01", 400, "_since is not given together")
    refused("Patient/$bulk-delete?start=2022-01-01&end=2021-01-01", 400, "start must not be later than end")
    refused("Patient/$bulk-delete?_since=soon", 400, "_since must be a date")
    refused("Patient/$bulk-delete?start=2020&start=2021", 400, "start is given more than once")
    refused("Patient/none/$erase", 404, "")
    refused("Patient/none/$purge", 404, "")
    refused("Patient/p/_history/9/$erase", 404, "no such version")
    refused("Patient/p/_history/2/$erase", 409, "is the current one")
    refused("AuditEvent/$bulk-delete", 400, "deleteAuditEvent=true")
    refused("Observation/p/$purge", 404, "")
    assert fhir.get("Patient/p/$erase").status == 405
    for name in ("erase", "purge", "bulk-delete"):
        assert fhir.get(f"${name}/{'0' * 32}").status == 404
    job = job_of(fhir.post("Patient/p/_history/1/$erase", None, content_type=None))
    assert ended(fhir, "erase", job)["status"] == "COMPLETED"
    assert fhir.get(f"$purge/{job}").status == 404
    assert fhir.get("Patient/p/_history/1").status == 404 and fhir.get("Patient/p").json["meta"]["versionId"] == "2"
    assert server.fhir(server.create_store()).get(f"$erase/{job}").status == 404


def test_bulk_delete_soft_and_hard_within_a_span(alone):
    server = alone
    store = server.create_store()
    fhir = server.fhir(store)
    for n in range(10):
        old = put(fhir, observation(f"old{n}", "p", f"secret-old{n}")).json["meta"]["lastUpdated"]
    wait(lambda: put(fhir, patient("between")).json["meta"]["lastUpdated"] > old, {True})
    cut = fhir.get("Patient/between").json["meta"]["lastUpdated"]
    wait(lambda: put(fhir, patient("between")).json["meta"]["lastUpdated"] > cut, {True})
    for n in range(10):
        put(fhir, observation(f"new{n}", "p", f"secret-new{n}"))
    assert done(fhir, "Observation/$bulk-delete?end=1969", "bulk-delete")["summary"] == {"resources": 0, "versions": 0}
    assert len(found(fhir, "Observation?_count=100")) == 20
    assert done(fhir, f"Observation/$bulk-delete?end={cut}", "bulk-delete")["summary"] == {"resources": 10, "versions": 0}
    assert found(fhir, "Observation?_count=100") == {f"Observation/new{n}" for n in range(10)}
    assert fhir.get("Observation/old3").status == 410
    assert fhir.get("Observation/old3/_history/1").json["code"]["text"] == "secret-old3"
    hard = done(fhir, f"Observation/$bulk-delete?isHardDelete=true&_since={cut}", "bulk-delete")
    # the deletions of the others are later than the cut, too
    assert hard["summary"] == {"resources": 20, "versions": 30}
    assert found(fhir, "Observation?_count=100") == set()
    assert fhir.get("Observation/new3").status == 404 == fhir.get("Observation/old3/_history/1").status
    assert fhir.get("Observation/_history").json.get("entry", []) == []
    assert fhir.get("Patient/between").status == 200
    assert files_with(server.data, "secret-old", "secret-new") == []
    server.stop()
    checked(server.data)
    server.start()


def test_a_soft_deletion_of_many_shows_how_far_it_is(alone):
    for n in (300 << i for i in range(8)):  # who asked too late asks for what takes longer
        alone.put_object("s3://input/many/all.ndjson", "\n".join(json.dumps(observation(f"m{i}", "p", "x")) for i in range(n)))
        store = alone.create_store()
        assert alone.import_all(store, "s3://input/many/")["JobStatus"] == "COMPLETED"
        if shows_progress(alone.fhir(store), "Observation", n):
            return
    raise AssertionError("no progress was seen")


@pytest.mark.files
def test_a_restore_does_not_bring_it_back(alone):
    server = alone
    _, _, made = ask_control(server.url, server.keys(), "CreateFHIRDatastore",
                             {"DatastoreTypeVersion": "R4", "BackupConfiguration": BACKUP})
    store = made["DatastoreId"]
    client = server.client()

    def ready(name):
        wait(lambda: client.describe_fhir_datastore(DatastoreId=name)["DatastoreProperties"]["DatastoreStatus"],
             {"ACTIVE"})

    ready(store)
    fhir = server.fhir(store)
    put(fhir, patient("a"))
    put(fhir, patient("b"))
    put(fhir, patient("b", gender="male"))
    time.sleep(0.01)
    at = time.time()
    time.sleep(0.01)
    put(fhir, patient("c"))
    done(fhir, "Patient/a/$erase", "erase")
    status, code, answer = ask_control(server.url, server.keys(), "RestoreFHIRDatastore", {
        "SourceDatastoreId": store,
        "RestoreConfiguration": {"ContinuousBackupRestoreConfiguration": {"RestorePointTime": at}}})
    assert status == 200, (code, answer)
    ready(answer["DatastoreId"])
    back = server.fhir(answer["DatastoreId"])
    assert found(back, "Patient") == {"Patient/b"}
    assert back.get("Patient/a").status == 404 and back.get("Patient/b/_history/1").status == 200
    assert files_with(server.data, "Marka") == []
    server.stop()
    checked(server.data)
    server.start()


@pytest.mark.files
def test_what_a_restore_left_behind_an_erased_version_is_erased_too(alone):
    """The restore goes back to an instant at which a version was the newest that was erased since. There is nothing then as of
    now; an older version is in the history."""
    server = alone
    _, _, made = ask_control(server.url, server.keys(), "CreateFHIRDatastore",
                             {"DatastoreTypeVersion": "R4", "BackupConfiguration": BACKUP})
    store, client = made["DatastoreId"], server.client()

    def ready(name):
        wait(lambda: client.describe_fhir_datastore(DatastoreId=name)["DatastoreProperties"]["DatastoreStatus"],
             {"ACTIVE"})
        return server.fhir(name)

    fhir = ready(store)
    both = [patient("d", active=True), observation("od", "d", "Markd-of-observation"),
            {"resourceType": "Basic", "id": "b", "code": {"text": "Markd-of-basic"}}]
    for resource in both:
        put(fhir, resource)
        put(fhir, {**resource, "language": "de"})
    time.sleep(0.01)
    at = time.time()
    time.sleep(0.01)
    for resource in both:
        put(fhir, {**resource, "language": "fr"})
        done(fhir, f"{resource['resourceType']}/{resource['id']}/_history/2/$erase", "erase")
    status, code, answer = ask_control(server.url, server.keys(), "RestoreFHIRDatastore", {
        "SourceDatastoreId": store,
        "RestoreConfiguration": {"ContinuousBackupRestoreConfiguration": {"RestorePointTime": at}}})
    assert status == 200, (code, answer)
    back = ready(answer["DatastoreId"])
    paths = [f"{r['resourceType']}/{r['id']}" for r in both]
    for path in paths:
        assert back.get(path).status == 404 and back.get(f"{path}/_history/1").status == 200
    done(back, "Patient/d/$purge", "purge")
    done(back, "Basic/$bulk-delete?isHardDelete=true", "bulk-delete")
    assert [back.get(f"{path}/_history/1").status for path in paths] == [404, 404, 404]
    assert files_with(server.data / "stores" / answer["DatastoreId"], "Markd") == []
    assert [fhir.get(path).status for path in paths] == [200, 200, 200]
    server.stop()
    checked(server.data)
    server.start()


def test_kills_while_purging(tmp_path):
    """Whenever the process ends, the job is completed by the next one, and nothing half done is seen."""
    kills = 50 if LONG else 10
    rnd = random.Random(5)
    with Server(tmp_path / "data") as server:
        store = server.create_store()
        lines = [json.dumps(patient(f"p{i}")) for i in range(kills + 2)] + [
            json.dumps(observation(f"o{i}-{k}", f"p{i}", f"secret-p{i}-{k}")) for i in range(kills + 2) for k in range(60)]
        server.put_object("s3://input/x/all.ndjson", "\n".join(lines))
        assert server.import_all(store, "s3://input/x/")["JobStatus"] == "COMPLETED"
        lines = [json.dumps(patient(f"{one}{i}")) for one in "xyz" for i in range(kills)]
        for n in range(2):
            server.put_object(f"s3://input/more{n}/all.ndjson", "\n".join(lines))
            assert server.import_all(store, f"s3://input/more{n}/")["JobStatus"] == "COMPLETED"
        for i in range(kills):
            fhir = server.fhir(store)
            job = job_of(fhir.post(f"Patient/p{i}/$purge", None, content_type=None))
            more = [job_of(fhir.post(f"Patient/{one}{i}/$erase", None, content_type=None)) for one in "xyz"]
            time.sleep(rnd.random() * 0.4)  # the moment of the kill is what is tried, no result depends on it
            server.kill()
            server.start()
            fhir = server.fhir(store)
            told = [ended(fhir, "purge", job)] + [ended(fhir, "erase", one) for one in more]
            assert [t["status"] for t in told] == ["COMPLETED"] * 4
            # each job's own, and each resource once, however often the work began anew
            assert [t["summary"] for t in told] == [{"resources": 61, "versions": 61}] + [
                {"resources": 1, "versions": 2}] * 3
            assert fhir.get(f"Patient/p{i}").status == 404
            assert fhir.get(f"Observation?subject=Patient/p{i}&_summary=count").json["total"] == 0
        assert fhir.get("Observation?_summary=count").json["total"] == 120
        assert len(found(fhir, "Observation?_count=1000")) == 120
        assert files_with(server.data, *[f"secret-p{i}-" for i in range(kills)], "Markx", "Marky", "Markz") == []
        server.stop()
        checked(server.data)
        server.start()


def test_it_waits_for_jobs_before_it_and_keeps_later_ones(alone):
    server = alone
    store = server.create_store()
    fhir = server.fhir(store)
    lines = [json.dumps(patient(f"p{i}")) for i in range(3000)]
    server.put_object("s3://input/x/all.ndjson", "\n".join(lines))
    assert server.import_all(store, "s3://input/x/")["JobStatus"] == "COMPLETED"
    first = server.start_export(store)
    erase = job_of(fhir.post("Patient/p5/$erase", None, content_type=None))
    second = server.start_export(store)
    third = server.start_import(store, "s3://input/x/")
    before, after = server.wait_export(store, first), server.wait_export(store, second)
    assert ended(fhir, "erase", erase)["status"] == "COMPLETED"
    assert server.wait_import(store, third)["JobStatus"] == "COMPLETED"

    def exported(job):
        folder = server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"])
        return sum(len(p.read_bytes().splitlines()) for p in folder.rglob("*.ndjson"))

    assert (exported(before), exported(after)) == (3000, 2999)
    # the import brought it again, as a new resource
    assert fhir.get("Patient/p5").json["meta"]["versionId"] == "1"
    assert fhir.get("Patient/p6").json["meta"]["versionId"] == "2"


@pytest.mark.files
def test_it_waits_for_the_snapshot_of_a_backup(alone):
    server = alone
    fhir = server.fhir(server.create_store())
    put(fhir, patient("p"))
    with backing_up(server):
        job = job_of(fhir.post("Patient/p/$erase", None, content_type=None))
        wait(lambda: fhir.get("Patient/p").status, {404})
        for _ in range(5):
            assert fhir.get(f"$erase/{job}").json["status"] != "COMPLETED"
    assert ended(fhir, "erase", job)["status"] == "COMPLETED"


def test_erasures_that_wait_are_done_with_one_rewrite(tmp_path):
    """One that runs is held at its end; of those behind it the first does the work of all, up to a job of another kind."""
    with Server(tmp_path / "data", "--audit", str(tmp_path / "audit")) as server:
        store = server.create_store()
        fhir = server.fhir(store)
        lines = [json.dumps(patient(f"p{i}")) for i in range(100)]
        server.put_object("s3://input/x/all.ndjson", "\n".join(lines))
        assert server.import_all(store, "s3://input/x/")["JobStatus"] == "COMPLETED"
        with backing_up(server):
            held = job_of(fhir.post("Patient/p0/$erase", None, content_type=None))
            wait(lambda: fhir.get("Patient/p0").status, {404})
            names = [job_of(fhir.post(f"Patient/p{i}/$erase", None, content_type=None)) for i in range(1, 10)]
            hard = job_of(fhir.post("Observation/$bulk-delete?isHardDelete=true", None, content_type=None))
            exported = server.start_export(store)
            last = job_of(fhir.post("Patient/p10/$erase", None, content_type=None))
        first = ended(fhir, "erase", names[-1])
        # whoever is done first, nothing of any of them is there
        assert files_with(server.data, *[f"Markp{i}\"" for i in range(10)]) == []
        told = [first] + [ended(fhir, "erase", job) for job in [held, *names, last]] + [ended(fhir, "bulk-delete", hard)]
        assert {t["status"] for t in told} == {"COMPLETED"}
        assert all("S3" in t["message"] for t in told)
        assert [t["summary"] for t in told] == [{"resources": 1, "versions": 1}] * 12 + [{"resources": 0, "versions": 0}]
        folder = server.folder(server.wait_export(store, exported)["OutputDataConfig"]["S3Configuration"]["S3Uri"])
        assert sum(len(p.read_bytes().splitlines()) for p in folder.rglob("*.ndjson")) == 90
        assert files_with(server.data, "Markp10\"") == []
        assert fhir.get("Patient?_summary=count").json["total"] == 89
        server.stop()
        # a job's line comes behind its end. The one that was held may have seen some of those behind it
        wrote = re.findall(r" erased job=(\w+) .*jobs=(\d+)", server.log_text())
        assert len(wrote) in (2, 3) and sum(int(n) for _, n in wrote) == 12
        assert wrote[0][0] == held and wrote[-1] == (last, "1")
        lines = [json.loads(line) for p in (tmp_path / "audit").glob("audit-*.jsonl") for line in p.read_text().splitlines()]
        ends = json.dumps([r for r in lines if r.get("eventName") == "EraseJobEnded"])
        assert all(job in ends for job in [held, *names, hard, last])
        checked(server.data)
        server.start()


@pytest.mark.files
def test_what_a_failed_erasure_left_is_finished_by_the_next_one(alone):
    server = alone
    store = server.create_store()
    fhir = server.fhir(store)
    put(fhir, patient("p3"))
    put(fhir, patient("p4"))
    # open files go on; what looks at the folder fails
    folder = server.data / "stores" / store
    folder.rename(server.data / "away")
    failed = ended(fhir, "erase", job_of(fhir.post("Patient/p3/$erase", None, content_type=None)))
    assert failed["status"] == "FAILED"
    assert "next erasure in this data store takes it off the disk" in failed["message"]
    assert failed["summary"] == {"resources": 1, "versions": 1}
    assert fhir.get("Patient/p3").status == 404
    (server.data / "away").rename(folder)
    assert files_with(server.data, "Markp3\"") != []
    done(fhir, "Patient/p4/$erase", "erase")
    assert files_with(server.data, "Markp3\"", "Markp4\"") == []
    server.stop()
    checked(server.data)
    server.start()


def test_the_audit_log_says_who_erased_what(tmp_path):
    folder = tmp_path / "audit"
    with Server(tmp_path / "data", "--audit", str(folder)) as server:
        store = server.create_store()
        fhir = server.fhir(store)
        put(fhir, patient("p"))
        put(fhir, patient("q"))
        first = done(fhir, "Patient/p/$erase", "erase")["jobId"]
        second = done(fhir, "Patient/q/$purge", "purge")["jobId"]
        assert fhir.post("Patient/none/$erase", None, content_type=None).status == 404
    lines = [json.loads(line) for path in folder.glob("audit-*.jsonl") for line in path.read_text().splitlines()]
    told = [(r["eventName"], r["requestParameters"].get("resourceId"), r["requestParameters"].get("jobId")) for r in lines
            if r.get("requestParameters")]
    # which job is whose
    assert ("DeleteResource", "p", first) in told and ("StartFHIRBulkDeleteJob", "q", second) in told
    assert ("DeleteResource", "none", None) in told
    assert [r for r in lines if r.get("eventName") == "DescribeFHIRBulkDeleteJob"]
    ends = json.dumps([r for r in lines if r.get("eventName") == "EraseJobEnded"])
    assert first in ends and second in ends and "COMPLETED" in ends
    assert "Markp" not in json.dumps(lines)


def test_a_data_store_is_deleted_while_erasures_wait(alone):
    server, client = alone, alone.client()
    store = server.create_store()
    fhir = server.fhir(store)
    lines = [json.dumps(patient(f"p{i}")) for i in range(2000)]
    server.put_object("s3://input/x/all.ndjson", "\n".join(lines))
    assert server.import_all(store, "s3://input/x/")["JobStatus"] == "COMPLETED"
    with backing_up(server):
        job_of(fhir.post("Patient/p0/$erase", None, content_type=None))
        server.start_export(store)
        for i in range(1, 5):
            job_of(fhir.post(f"Patient/p{i}/$erase", None, content_type=None))
        client.delete_fhir_datastore(DatastoreId=store)
        wait(lambda: client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"DELETED"})
    assert files_with(server.data, "Markp4") == []
    other = server.fhir(server.create_store())
    put(other, patient("p"))
    done(other, "Patient/p/$erase", "erase")


def test_it_ends_while_others_read_and_write_without_a_pause(alone):
    server = alone
    fhir = server.fhir(server.create_store())
    for i in range(20):
        put(fhir, patient(f"p{i}"))
    halt = threading.Event()
    wrong = []

    def busy(n):
        mine = server.fhir(fhir.base.split("/")[-2])
        while not halt.is_set():
            if mine.put(f"Patient/busy{n}", patient(f"busy{n}")).status not in (200, 201):
                wrong.append("write")
            if mine.get("Patient/p19").status != 200 or mine.get("Patient?_count=3").status != 200:
                wrong.append("read")

    threads = [threading.Thread(target=busy, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    try:
        for i in range(3):
            done(fhir, f"Patient/p{i}/$erase", "erase")
            assert files_with(server.data, f"Markp{i}\"") == []
    finally:
        halt.set()
        for t in threads:
            t.join()
    assert wrong == []
    assert found(fhir, "Patient?_count=100") == {f"Patient/p{i}" for i in range(3, 20)} | {
        f"Patient/busy{n}" for n in range(4)}
