"""Import jobs at HealthLake's three validation levels, through boto3: what is stored, what is said of the rest."""
import json

import botocore.exceptions
import pytest

from fhirlake import EXAMPLES, NO_FHIR_DATA, NO_SYNTHEA, SANITIZED, SYNTHEA, exact, read_export, read_ndjson, without_version

pytestmark = pytest.mark.sanitize
ISSUES = "http://healthlake.amazonaws.com/fhir/StructureDefinition/validation-issue"
WITH_ISSUES = "SUCCESS_WITH_SEARCH_VALIDATION_FAILURES"
SECRET = "Mrs. Confidential"

GOOD = [{"resourceType": "Patient", "id": "good", "gender": "female"},
        {"resourceType": "Patient", "id": "profiled", "active": True,
         "meta": {"profile": ["http://example.org/StructureDefinition/nobody-knows-it"]}}]
# what is wrong, and where it must be said
STRUCTURE = [
    ({"resourceType": "Patient", "id": "s1", "active": SECRET}, ["Patient.active"]),
    ({"resourceType": "Patient", "id": "s2", "name": [{"family": "x"}, {"given": [SECRET, 7]}], "pet": SECRET},
     ["Patient.name[1].given[1]", "Patient.pet"]),
    ({"resourceType": "Observation", "id": "s3", "code": {"text": SECRET}, "valueString": "a", "valueBoolean": True},
     ["Observation.value", "Observation.status"]),
    ({"resourceType": "Encounter", "id": "s4", "status": "planned", "class": {"code": "AMB"},
      "subject": {"reference": "Observation/1"}}, ["Encounter.subject.reference"]),
    ({"resourceType": "Patient", "id": "s5", "birthDate": "1970-02-30", "extension": [{"url": "u", "valueCode": "c"}]},
     ["Patient.birthDate"]),
]
STRICT = [
    ({"resourceType": "Patient", "id": "c1", "gender": SECRET.replace(" ", "")}, ["Patient.gender"]),
    ({"resourceType": "Patient", "id": "c2", "contact": [{"gender": "male"}]}, ["Patient.contact[0]"]),
    ({"resourceType": "Observation", "id": "c3", "status": "final", "code": {"text": "x"},
      "subject": {"reference": "#none"}}, ["Observation.subject.reference"]),
]
HOPELESS = ["{", '{"resourceType":"Patient"}', '{"resourceType":"Teapot","id":"t"}', '{"resourceType":"Patient","id":"_"}']


def places(outcome):
    assert outcome["resourceType"] == "OperationOutcome"
    for issue in outcome["issue"]:
        assert issue["severity"] == "error" and issue["code"] and issue["diagnostics"] == issue["details"]["text"]
        assert issue["location"] == issue["expression"]
    return sorted({place for issue in outcome["issue"] for place in issue["location"]})


def run(server, level):
    """(job, {line: answer} per folder, {key: resource}) of an import of all lines above."""
    faulty = [resource for resource, _ in STRUCTURE + STRICT]
    lines = [json.dumps(r) for r in GOOD + faulty] + HOPELESS
    uri = f"s3://input/levels-{level}/a/p.ndjson"
    server.put_object(uri, "\n".join(lines))
    store = server.create_store()
    more = {"ValidationLevel": level} if level else {}
    job = server.import_all(store, f"s3://input/levels-{level}/", **more)
    assert job["JobStatus"] == "COMPLETED_WITH_ERRORS", job
    assert job.get("ValidationLevel", "strict") == (level or "strict")
    folder = server.folder(job["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
    text = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file()).decode()
    assert "Confidential" not in text and SECRET not in text
    said = {}
    for kind in ("SUCCESS", "FAILURE", WITH_ISSUES):
        path = folder / kind / "a/p.ndjson"
        said[kind] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            line = json.loads(line)
            answer = line["UpdateResourceResponse"]
            assert answer["statusCode"] == (400 if kind == "FAILURE" else 200)
            said[kind][line["lineId"]] = answer["jsonBlob"]
            if kind == WITH_ISSUES:
                resource = json.loads(lines[line["lineId"] - 1])
                assert (line["resourceType"], line["resourceId"]) == (resource["resourceType"], resource["id"])
    numbers = [n for kind in said.values() for n in kind]
    assert sorted(numbers) == list(range(1, len(lines) + 1)), "each line stands in one file, once"
    n_stored = len(said["SUCCESS"]) + len(said[WITH_ISSUES])
    report = job["JobProgressReport"]
    assert report["TotalNumberOfResourcesScanned"] == len(lines)
    assert report["TotalNumberOfResourcesImported"] == n_stored
    assert report["TotalNumberOfResourcesWithCustomerError"] == len(said["FAILURE"])
    manifest = json.loads((folder / "Manifest.json").read_text())
    assert manifest["numberOfResourcesScanned"] == len(lines)
    assert manifest["numberOfResourcesImportedSuccessfully"] == n_stored
    assert manifest["numberOfResourcesWithCustomerError"] == len(said["FAILURE"])
    assert manifest.get("numberOfResourcesImportedWithSearchValidationFailures", 0) == len(said[WITH_ISSUES])
    assert ("successWithSearchValidationFailuresOutput" in manifest) == (level == "minimal")
    done = server.export_all(store, f"s3://out/levels-{level}")
    _, exported = read_export(server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    return said, {key[1]: exact(line) for key, line in exported.items()}, server.fhir(store)


def check_refused(said, faulty, first):
    for i, (_, where) in enumerate(faulty):
        assert places(said["FAILURE"][first + i]) == sorted(where)


def check_stored(stored, resources):
    for resource in resources:
        assert without_version(stored[resource["id"]]) == without_version(exact(json.dumps(resource)))


@pytest.mark.parametrize("level", [None, "strict"])
def test_strict_is_the_default_and_refuses_every_fault(server, level):
    said, stored, _ = run(server, level)
    assert set(said["SUCCESS"]) == {1, 2} and not said[WITH_ISSUES]
    check_refused(said, STRUCTURE + STRICT, 3)
    assert set(stored) == {r["id"] for r in GOOD}, "a profile that is not known here is no fault"
    check_stored(stored, GOOD)


def test_structure_only_lets_codes_and_constraints_pass(server):
    said, stored, _ = run(server, "structure-only")
    assert not said[WITH_ISSUES]
    check_refused(said, STRUCTURE, 3)
    good = GOOD + [resource for resource, _ in STRICT]
    assert set(stored) == {r["id"] for r in good}
    check_stored(stored, good)


def test_minimal_stores_what_it_can_and_says_what_is_wrong(server):
    said, stored, fhir = run(server, "minimal")
    assert set(said["SUCCESS"]) == {1, 2} and len(said["FAILURE"]) == len(HOPELESS)
    check_stored(stored, GOOD)
    for i, (resource, where) in enumerate(STRUCTURE + STRICT):
        outcome = said[WITH_ISSUES][3 + i]
        assert places(outcome) == sorted(where)
        got = stored[resource["id"]]
        marks = [x for x in got["extension"] if x["url"] == ISSUES]
        assert [json.loads(x["valueString"]) for x in marks] == [outcome]
        got["extension"] = [x for x in got["extension"] if x["url"] != ISSUES]
        if not got["extension"]:
            del got["extension"]
        assert without_version(got) == exact(json.dumps(resource))
        # REST at the same level stores the very same bytes
        path = f"{resource['resourceType']}/{resource['id']}"
        imported = fhir.get(path).json
        put = fhir.put(path, resource, x_amzn_healthlake_fhir_validation_level="minimal")
        assert put.status == 200 and put.headers["x-amzn-healthlake-validation-issues"] == "true"
        assert put.json["extension"] == imported["extension"]
        # what is read can be written back, and says it once
        again = fhir.put(path, put.json, x_amzn_healthlake_fhir_validation_level="minimal")
        assert again.json["extension"] == imported["extension"]


def test_one_line_says_much_but_not_without_end(server):
    worst = {"resourceType": "Patient", "id": "w", "name": [{"given": [1] * 40, "x" * 30: 1} for _ in range(300)]}
    server.put_object("s3://input/much/p.ndjson", json.dumps(worst))
    job = server.import_all(server.create_store(), "s3://input/much/")
    folder = server.folder(job["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
    line = (folder / "FAILURE/p.ndjson").read_text()
    issues = json.loads(line)["UpdateResourceResponse"]["jsonBlob"]["issue"]
    assert 30 < len(issues) <= 51 and len(line) < 20000
    assert issues[-1] == {"severity": "information", "code": "incomplete",
                          "details": {"text": "There are more issues than are listed"},
                          "diagnostics": "There are more issues than are listed"}


def test_a_level_that_is_none_starts_no_job(server):
    store = server.create_store()
    server.put_object("s3://input/none/p.ndjson", json.dumps(GOOD[0]))
    with pytest.raises(botocore.exceptions.ClientError) as e:
        server.start_import(store, "s3://input/none/", ValidationLevel="lax")
    assert e.value.response["Error"]["Code"] == "ValidationException"
    assert not server.client().list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"]


@pytest.mark.skipif(not SYNTHEA or SANITIZED, reason=NO_SYNTHEA + ", or it takes long")
def test_the_synthea_population_is_valid(server):
    for path in SYNTHEA.glob("*.ndjson.zst"):
        server.put_object(f"s3://input/synthea-strict/{path.name}", path.read_bytes())
    job = server.import_all(server.create_store(), "s3://input/synthea-strict/", ValidationLevel="strict")
    assert job["JobStatus"] == "COMPLETED", job
    count = sum(len(read_ndjson(path)) for path in SYNTHEA.glob("*.ndjson.zst"))
    assert job["JobProgressReport"]["TotalNumberOfResourcesImported"] == count


@pytest.mark.skipif(not EXAMPLES.exists(), reason=NO_FHIR_DATA)
def test_the_official_examples_are_refused_only_where_they_break_the_rules(server):
    lines = read_ndjson(EXAMPLES)
    server.put_object("s3://input/hl7/e.ndjson", b"\n".join(lines))
    job = server.import_all(server.create_store(), "s3://input/hl7/")
    folder = server.folder(job["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
    refused = [json.loads(line)["lineId"] for line in (folder / "FAILURE/e.ndjson").read_text().splitlines()]
    names = {"/".join(json.loads(lines[n - 1])[k] for k in ("resourceType", "id")) for n in refused}
    assert names == {"DeviceMetric/example", "DeviceUseStatement/example", "MedicationRequest/medrx0301",
                     "Observation/clinical-gender", "Questionnaire/qs1"}
