"""kill -9 at random moments: jobs finish, nothing is lost, nothing is doubled, outputs are the same."""
import json
import random
import time

import pytest

import postgres

from fhirlake import FINAL, LONG, Server, assert_same_resources, generate, read_export, read_ndjson, run

KILLS = 20 if not LONG else 100  # and as many of conversions: tests/unit/store/test_convert.c


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    out = tmp_path_factory.mktemp("crash") / "data"
    generate(out, patients=400 if LONG else 200, seed=5)
    return out


def outcome_files(folder):
    """Everything an import wrote, with the ids of its job taken out."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and p.name != "Manifest.json"}


def describe(server, client, kind, store, job):
    """By a list, which waits for no end as Describe does: kills shall come at random moments."""
    call = client.list_fhir_import_jobs if kind == "Import" else client.list_fhir_export_jobs
    found = [j for j in call(DatastoreId=store)[f"{kind}JobPropertiesList"] if j["JobId"] == job]
    assert len(found) == 1
    return found[0]


def killed_until_done(server, kind, store, job, rng, kills):
    """Kill and restart until the job is done; returns its description and how often it was hit."""
    hits = 0
    for _ in range(kills):
        time.sleep(rng.uniform(0.0, 0.5 if LONG else 0.25))  # most jobs take longer
        before = describe(server, server.client(), kind, store, job)
        if before["JobStatus"] in FINAL:
            break
        server.kill()
        hits += 1
        if not postgres.ON:
            checked = run("check", "--quiet", server.data)
            assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout + checked.stderr
        server.start()
    client = server.client()
    end = time.monotonic() + 300
    while True:
        now = describe(server, client, kind, store, job)
        if now["JobStatus"] in FINAL:
            return now, hits
        assert time.monotonic() < end, now
        time.sleep(0.05)


def test_imports_and_exports_survive_kill_9(population):
    rng = random.Random(11)
    files = sorted(population.glob("*.ndjson"))
    lines = [line for path in files for line in read_ndjson(path)]
    bad = b'{"resourceType":"Patient"}\nnot json\n{"resourceType":"Patient","id":"odd","gender":"who","active":1}\n'
    levels = ["strict", "minimal"]
    with Server() as server:
        for path in files:
            server.put_object(f"s3://input/pop/{path.name}", path.read_bytes())
        server.put_object("s3://input/pop/zz/bad.ndjson", bad)
        calm, wanted = {}, {}
        for level in levels:
            calm[level] = server.import_all(server.create_store(), "s3://input/pop/", ValidationLevel=level)
            assert calm[level]["JobStatus"] == "COMPLETED_WITH_ERRORS"
            wanted[level] = outcome_files(
                server.folder(calm[level]["JobOutputDataConfig"]["S3Configuration"]["S3Uri"]))
        assert "FAILURE/zz/bad.ndjson" in wanted["strict"]
        assert "SUCCESS_WITH_SEARCH_VALIDATION_FAILURES/zz/bad.ndjson" in wanted["minimal"]
        total, rounds = 0, 0
        while total < KILLS and rounds < 4 * KILLS:  # most jobs are hit, of which a few would do
            level = levels[rounds % 2]
            rounds += 1
            store = server.create_store()
            job = server.start_import(store, "s3://input/pop/", ValidationLevel=level)
            done, hits = killed_until_done(server, "Import", store, job, rng, 6)
            total += hits
            assert done["JobStatus"] == "COMPLETED_WITH_ERRORS", done
            for name, value in calm[level]["JobProgressReport"].items():
                if name != "Throughput":
                    assert done["JobProgressReport"][name] == value, name
            folder = server.folder(done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
            assert outcome_files(folder) == wanted[level]
            assert (folder / "Manifest.json").exists()
            job = server.start_export(store)
            done, hits = killed_until_done(server, "Export", store, job, rng, 6)
            total += hits
            assert done["JobStatus"] == "COMPLETED", done
            _, exported = read_export(server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
            assert {json.loads(line)["meta"]["versionId"] for line in exported.values()} == {"1"}
            assert (exported.pop(("Patient", "odd"), None) is None) == (level == "strict")
            assert_same_resources(exported, lines)
            server.client().delete_fhir_datastore(DatastoreId=store)
        assert total >= KILLS, f"only {total} kills hit a running job"


def test_a_stop_in_the_middle_is_clean_and_the_next_start_goes_on(population):
    with Server() as server:
        for path in population.glob("*.ndjson"):
            server.put_object(f"s3://input/pop/{path.name}", path.read_bytes())
        store = server.create_store()
        job = server.start_import(store, "s3://input/pop/")
        time.sleep(0.2)
        assert server.stop() == 0
        server.start()
        assert server.wait_import(store, job)["JobStatus"] == "COMPLETED"
        job = server.start_export(store)
        assert server.stop() == 0
        server.start()
        assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"


def test_creation_and_deletion_of_stores_go_on_after_kill_9():
    with Server(None, "--preload-patients", "600") as server:
        client = server.client()
        store = client.create_fhir_datastore(DatastoreTypeVersion="R4",
                                             PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
        time.sleep(0.1)
        server.kill()
        server.start()
        client = server.client()
        waiter = client.get_waiter("fhir_datastore_active")
        waiter.config.delay, waiter.config.max_attempts = 0.05, 2400  # two minutes
        waiter.wait(DatastoreId=store)
        job = server.export_all(store)
        manifest, exported = read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        assert manifest["countPerType"]["Patient"] == 600
        assert {json.loads(line)["meta"]["versionId"] for line in exported.values()} == {"1"}
        client.delete_fhir_datastore(DatastoreId=store)
        server.kill()
        server.start()
        waiter = server.client().get_waiter("fhir_datastore_deleted")
        waiter.config.delay, waiter.config.max_attempts = 0.05, 2400  # two minutes
        waiter.wait(DatastoreId=store)
        assert not (server.data / "stores" / store).exists()
