"""What goes in through an import job comes out through an export job, resource by resource."""
import gzip
import json
import pathlib
import re
import subprocess

import pytest

from fhirlake import (EXAMPLES, KEY, NO_FHIR_DATA, NO_SYNTHEA, ROLE, SYNTHEA, assert_same_resources, patient, read_export, read_ndjson)

# examples that break FHIR's own rules: they come out with marks
BROKEN = {("DeviceMetric", "example"), ("DeviceUseStatement", "example"), ("MedicationRequest", "medrx0301"),
          ("Observation", "clinical-gender"), ("Questionnaire", "qs1")}
pytestmark = pytest.mark.sanitize


def test_generated_data_comes_out_as_it_went_in(server, client, generated):
    store = server.create_store()
    lines = []
    for path in sorted(generated.glob("*.ndjson")):
        server.put_object(f"s3://input/gen/{path.name}", path.read_bytes())
        lines += read_ndjson(path)
    done = server.import_all(store, "s3://input/gen/")
    assert done["JobStatus"] == "COMPLETED", done
    report = done["JobProgressReport"]
    assert report["TotalNumberOfResourcesImported"] == report["TotalNumberOfResourcesScanned"] == len(lines)
    assert report["TotalNumberOfResourcesWithCustomerError"] == 0
    job = server.export_all(store)
    assert job["JobStatus"] == "COMPLETED", job
    uri = job["OutputDataConfig"]["S3Configuration"]["S3Uri"]
    assert uri == f"s3://out/export/{store}-FHIR_EXPORT-{job['JobId']}/"
    assert job["EndTime"] >= job["SubmitTime"]
    manifest, exported = read_export(server.folder(uri))
    assert_same_resources(exported, lines)
    for item in manifest["output"]:
        name = item["url"].removeprefix(uri)
        kind = item["type"]
        assert re.fullmatch(rf"{kind}/{kind}-[1-9][0-9]{{0,18}}-[0-9]-[0-9]+\.ndjson", name), name


def key_of(line):
    resource = json.loads(line)
    return resource["resourceType"], resource["id"]


@pytest.mark.skipif(not EXAMPLES.exists(), reason=NO_FHIR_DATA)
def test_the_official_examples_come_out_equal(server):
    store = server.create_store()
    lines = [line for line in read_ndjson(EXAMPLES) if key_of(line) not in BROKEN]
    server.put_object("s3://input/examples/e.ndjson", b"\n".join(lines))
    done = server.import_all(store, "s3://input/examples/", ValidationLevel="minimal")
    assert done["JobStatus"] == "COMPLETED", done
    job = server.export_all(store)
    _, exported = read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    assert_same_resources(exported, lines)


@pytest.mark.skipif(not SYNTHEA, reason=NO_SYNTHEA)
def test_synthea_resources_come_out_equal(server, client):
    store = server.create_store()
    lines = []
    for path in sorted(SYNTHEA.glob("*.ndjson.zst")):
        server.put_object(f"s3://input/synthea/{path.name}", path.read_bytes())
        lines += read_ndjson(path)
    done = server.import_all(store, "s3://input/synthea/")
    assert done["JobStatus"] == "COMPLETED", done
    assert done["JobProgressReport"]["TotalNumberOfResourcesImported"] == len(lines)
    job = server.export_all(store)
    _, exported = read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    assert_same_resources(exported, lines)


def test_plain_gzip_and_zstd_in_nested_folders(server, tmp_path):
    store = server.create_store()
    lines = [patient(i, name=[{"family": "Ångström" if i % 2 else "Nguyễn"}]).encode() for i in range(300)]
    server.put_object("s3://input/mixed/a/plain.ndjson", b"\n".join(lines[:100]) + b"\n")
    server.put_object("s3://input/mixed/a/b/c/packed.ndjson.gz", gzip.compress(b"\r\n".join(lines[100:200])))
    raw = tmp_path / "x.ndjson"
    raw.write_bytes(b"\n".join(lines[200:]))
    subprocess.run(["zstd", "-q", str(raw)], check=True)
    server.put_object("s3://input/mixed/z.ndjson.zst", pathlib.Path(f"{raw}.zst").read_bytes())
    done = server.import_all(store, "s3://input/mixed")
    assert done["JobStatus"] == "COMPLETED", done
    assert done["JobProgressReport"]["TotalNumberOfScannedFiles"] == 3
    job = server.export_all(store)
    _, exported = read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    assert_same_resources(exported, lines)


def test_a_second_import_is_an_upsert_that_adds_a_version(server):
    store = server.create_store()
    server.put_object("s3://input/v1/p.ndjson", patient("a", active=True) + "\n" + patient("b", active=True) + "\n")
    server.put_object("s3://input/v2/p.ndjson", patient("a", active=False) + "\n")
    server.import_all(store, "s3://input/v1/")
    first = read_export(server.folder(server.export_all(store)["OutputDataConfig"]["S3Configuration"]["S3Uri"]))[1]
    server.import_all(store, "s3://input/v2/p.ndjson")
    second = read_export(server.folder(server.export_all(store)["OutputDataConfig"]["S3Configuration"]["S3Uri"]))[1]
    assert json.loads(first["Patient", "a"])["meta"]["versionId"] == "1"
    assert json.loads(second["Patient", "a"])["meta"]["versionId"] == "2"
    assert json.loads(second["Patient", "a"])["active"] is False
    assert second["Patient", "b"] == first["Patient", "b"]


def test_bad_lines_cost_only_themselves(server):
    store = server.create_store()
    good = [patient("g1"), patient("g2")]
    bad = ['{"resourceType":"Patient","id":"x"', '{"resourceType":"Patient"}', '{"resourceType":"Martian","id":"m"}',
           '{"resourceType":"Patient","id":"not legal!"}', '[1]', '"text"', "\x00", '{"id":"no-type"}',
           '{"resourceType":"Patient","id":"d","id":"d"}', "[" * 5000]
    body = "\n".join([good[0], *bad, "", good[1]]).encode() + b'\n{"resourceType":"Patient","id":"u","x":"\xff"}\n'
    server.put_object("s3://input/bad/sub/p.ndjson", body)
    server.put_object("s3://input/bad/clean.ndjson", patient("g3"))
    done = server.import_all(store, "s3://input/bad/")
    assert done["JobStatus"] == "COMPLETED_WITH_ERRORS", done
    report = done["JobProgressReport"]
    assert report["TotalNumberOfResourcesImported"] == 3
    assert report["TotalNumberOfResourcesWithCustomerError"] == len(bad) + 1
    folder = server.folder(done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
    assert folder.name == f"{store}-FHIR_IMPORT-{done['JobId']}"
    failures = [json.loads(x) for x in (folder / "FAILURE/sub/p.ndjson").read_text().splitlines()]
    assert [f["lineId"] for f in failures] == [*range(2, 2 + len(bad)), 4 + len(bad)]
    for failure in failures:
        answer = failure["UpdateResourceResponse"]
        assert answer["statusCode"] == 400
        assert answer["jsonBlob"]["resourceType"] == "OperationOutcome"
        assert answer["jsonBlob"]["issue"][0]["diagnostics"]
    text = [f["UpdateResourceResponse"]["jsonBlob"]["issue"][0]["diagnostics"] for f in failures]
    assert text[0] == "Invalid JSON found in input file"
    assert text[1] == "Missing required id field in resource json"
    assert "[A-Za-z0-9-.]{1,64}" in text[3]
    assert not (folder / "FAILURE/clean.ndjson").exists()
    assert len((folder / "SUCCESS/sub/p.ndjson").read_text().splitlines()) == 2
    manifest = json.loads((folder / "Manifest.json").read_text())
    assert manifest["numberOfScannedFiles"] == 2
    assert manifest["numberOfResourcesScanned"] == 3 + len(bad) + 1
    assert manifest["numberOfResourcesImportedSuccessfully"] == 3
    assert manifest["numberOfResourcesWithCustomerError"] == len(bad) + 1
    assert manifest["numberOfResourcesWithServerError"] == 0
    assert manifest["outputDataConfig"] == {"s3Uri": done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"],
                                            "encryptionKeyID": KEY}
    assert done["DataAccessRoleArn"] == ROLE


def test_an_unreadable_file_is_counted_and_the_rest_goes_in(server):
    store = server.create_store()
    whole = gzip.compress("\n".join(patient(i) for i in range(5000)).encode())
    server.put_object("s3://input/cut/a.ndjson.gz", whole[: len(whole) // 2])
    server.put_object("s3://input/cut/b.ndjson", patient("b"))
    done = server.import_all(store, "s3://input/cut/")
    assert done["JobStatus"] == "COMPLETED_WITH_ERRORS", done
    assert done["JobProgressReport"]["TotalNumberOfFilesReadWithCustomerError"] == 1
    job = server.export_all(store)
    _, exported = read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    assert ("Patient", "b") in exported


def test_an_empty_store_exports_an_empty_manifest(server):
    store = server.create_store()
    job = server.export_all(store)
    assert job["JobStatus"] == "COMPLETED"
    manifest, exported = read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    assert manifest["output"] == [] and manifest["error"] == [] and exported == {}
