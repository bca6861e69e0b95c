"""FHIR Bulk Data Access, clause by clause: what the guide says a server SHALL (and what it SHOULD) do, for a plain client
without signatures. Inferno's bulk data kit asserts those marked with its test's name; the others it leaves untested."""
import datetime
import email.utils
import gzip
import json
import re
import time
import urllib.parse

import pytest

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bulk import Export, export, held, kick, parameters, refused
from fhirlake import SANITIZED, Server

pytestmark = pytest.mark.sanitize
LEVELS = ["$export", "Patient/$export", "Group/g/$export"]
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SYSTEM = "http://example.org/labels"


def put(fhir, resource, **headers):
    answer = fhir.put(f"{resource['resourceType']}/{resource['id']}", resource, **headers)
    assert answer.status in (200, 201), answer.body
    return answer.json["meta"]["lastUpdated"]


def patient(id, **more):
    return {"resourceType": "Patient", "id": id, **more}


def observation(id, of, status="final", code="1", **more):
    return {"resourceType": "Observation", "id": id, "status": status, "subject": {"reference": f"Patient/{of}"},
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]}, **more}


def group(id, *members):
    entries = [{"entity": {"reference": f"Patient/{m}"}} for m in members]
    return {"resourceType": "Group", "id": id, "type": "person", "actual": True, **({"member": entries} if entries else {})}


def fill(fhir):
    """Three patients, two of them in group g; what belongs to them, and what belongs to nobody."""
    label = {"system": SYSTEM, "code": "a"}
    put(fhir, patient("a", gender="female", birthDate="1970-01-01", name=[{"family": "A"}], meta={"tag": [label]}))
    put(fhir, patient("b", gender="male", meta={"tag": [label, {"system": SYSTEM, "code": "b"}]}))
    put(fhir, patient("c", meta={"security": [{"system": SYSTEM, "code": "r"}]}))
    for of in "abc":
        put(fhir, observation(f"o1-{of}", of, code="1"))
        put(fhir, observation(f"o2-{of}", of, code="2", status="preliminary"))
        put(fhir, {"resourceType": "Encounter", "id": f"e-{of}", "status": "finished", "subject": {"reference": f"Patient/{of}"},
                   "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}})
    put(fhir, {"resourceType": "Organization", "id": "org", "name": "Org"})
    put(fhir, {"resourceType": "Provenance", "id": "pr-a", "recorded": "2020-01-01T00:00:00Z",
               "target": [{"reference": "Patient/a"}], "agent": [{"who": {"reference": "Organization/org"}}]})
    put(fhir, group("g", "a", "b"))
    put(fhir, group("empty"))


@pytest.fixture(scope="module")
def open_server():
    with Server(None, "--auth", "none") as s:
        s.keys = lambda: ("any", "any")
        yield s


@pytest.fixture(scope="module")
def fhir(open_server):
    """A data store that no test changes."""
    fhir = open_server.fhir(open_server.create_store(), signed=False)
    fill(fhir)
    return fhir


@pytest.fixture
def fresh(open_server):
    return open_server.fhir(open_server.create_store(), signed=False)


ALL = {*(f"Patient/{p}" for p in "abc"), *(f"{k}-{p}" for p in "abc" for k in ("Observation/o1", "Observation/o2", "Encounter/e")),
       "Organization/org", "Provenance/pr-a", "Group/g", "Group/empty"}


def of(*patients):
    """What belongs to these patients, themselves included."""
    return {r for r in ALL if r.split("/")[0] in ("Patient", "Observation", "Encounter") and r[-1] in patients} | (
        {"Provenance/pr-a"} if "a" in patients else set())


# ---- discovery ----

def test_operation_support__metadata_declares_export_at_each_level(fhir):
    statement = fhir.get("metadata").json
    assert "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data" in statement["instantiates"]
    rest = statement["rest"][0]
    base = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/"
    assert {"name": "export", "definition": base + "export"} in rest["operation"]
    of_type = {r["type"]: r.get("operation", []) for r in rest["resource"]}
    assert {"name": "export", "definition": base + "patient-export"} in of_type["Patient"]
    assert {"name": "export", "definition": base + "group-export"} in of_type["Group"]


# ---- kick-off ----

@pytest.mark.parametrize("path", LEVELS)
@pytest.mark.parametrize("body", [None, "", {"resourceType": "Parameters"}], ids=["GET", "POST", "Parameters"])
def test_kick_off__202_with_an_absolute_content_location(fhir, path, body):
    answer = kick(fhir, path, body)
    assert answer.status == 202, answer.body
    url = urllib.parse.urlsplit(answer.headers["Content-Location"])
    assert url.scheme == "http" and url.netloc and url.path.startswith("/datastore/")
    if answer.body:
        assert answer.json["resourceType"] == "OperationOutcome"
    assert Export(fhir, answer).cancel().status == 202


def test_kick_off_without_respond_async_is_refused(fhir):
    for prefer in ("", "return=minimal", "respond-sync"):
        answer = fhir.get("$export", Prefer=prefer)
        assert answer.status == 400 and "Prefer: respond-async" in answer.text


def test_kick_off_errors_are_operation_outcomes_that_name_the_parameter(fhir):
    for query, name in (("_since=yesterday", "_since"), ("_until=2020", "_until"), ("_type=Nothing", "_type"),
                        ("_type=Observation&_typeFilter=Patient?gender=male", "_typeFilter"), ("_outputFormat=csv", "_outputFormat"),
                        ("_typeFilter=Observation?nothing=1", "_typeFilter"), ("_typeFilter=Observation", "_typeFilter"),
                        ("_typeFilter=Observation?_sort=date", "_typeFilter"), ("_typeFilter=Observation?_include=*", "_typeFilter"),
                        ("_typeFilter=Observation?_elements=id", "_typeFilter"), ("_typeFilter=Observation?", "_typeFilter"),
                        ("_typeFilter=Observation?%26", "_typeFilter"), ("_typeFilter=Observation?%26%26", "_typeFilter"),
                        ("_typeFilter=Observation?%2526", "_typeFilter"), ("_typeFilter=Observation?%3Dx", "_typeFilter"),
                        ("_typeFilter=Observation?status", "_typeFilter"), ("_typeFilter=Observation?status%3D", "_typeFilter"),
                        ("_typeFilter=Observation?%26,Patient?gender=male", "_typeFilter"), ("_elements=Patient.name.family", "_elements"),
                        ("_elements=Patient.nothing", "_elements"), ("_elements=Patient", "_elements"),
                        ("includeAssociatedData=_mine", "includeAssociatedData"), ("organizeOutputBy=Organization", "organizeOutputBy"),
                        ("allowPartialManifests=maybe", "allowPartialManifests"), ("_minimumFileSize=-1", "_minimumFileSize"),
                        ("_maximumFileSize=big", "_maximumFileSize"), ("_minimumFileSize=9&_maximumFileSize=8", "_minimumFileSize"),
                        ("_since=2020-01-01T00:00:00Z&_until=2020-01-01T00:00:00Z", "_until"), ("_tag=x", "_tag"),
                        ("_since=2020-01-01T00:00:00Z&_since=2021-01-01T00:00:00Z", "_since"), ("_security=|x", "_security"),
                        ("patient=Patient/a", "patient"), ("_unheardof=1", "_unheardof")):
        query = query.replace("?", "%3F")
        assert name in refused(fhir, f"$export?{query}"), query


def test_all_faults_are_told_at_once_and_no_value_is_repeated(fhir):
    text = refused(fhir, "$export?_since=SECRET&_type=SECRET&_tag=SECRET&_elements=SECRET.SECRET")
    assert all(name in text for name in ("_since", "_type", "_tag", "_elements")) and "SECRET" not in text


@pytest.mark.parametrize("body", ['{"resourceType":"Parameters","parameter":{}}', '{"resourceType":"Parameters","parameter":[{}]}',
                                  '{"resourceType":"Parameters","parameter":[{"name":"_type"}]}', "[]", "7", "{", '{"resourceType":"Bundle"}'])
def test_a_broken_body_is_refused(fhir, body):
    refused(fhir, "$export", body)


@pytest.mark.parametrize("format", ["application/fhir%2Bndjson", "application/ndjson", "ndjson"])
def test_output_format__three_spellings(fhir, format):
    job = export(fhir, f"$export?_outputFormat={format}")
    assert job.cancel().status == 202


def test_unsupported_parameters_are_passed_over_when_lenient_and_told_in_an_error_file(fhir):
    job = export(fhir, "$export?_unheardof=1&_type=Patient,Nothing", Prefer="respond-async, handling=lenient")
    manifest = job.manifest()
    assert job.resources(manifest).keys() == {f"Patient/{p}" for p in "abc"}
    told = json.dumps(job.outcomes(manifest))
    assert "_unheardof" in told and "_type" in told
    assert [o["type"] for o in manifest["error"]] == ["OperationOutcome"] and manifest["outcome"] == manifest["error"]
    refused(fhir, "$export?_since=x", Prefer="respond-async, handling=lenient")
    for nothing in ("nothing=1", "", "%26"):
        refused(fhir, f"$export?_typeFilter=Patient%3F{nothing}", Prefer="respond-async, handling=lenient")


# ---- status ----

def test_status_check__202_until_200_with_progress_and_retry_after(open_server, fresh):
    put(fresh, patient("p"))
    with held(open_server, fresh):
        job = export(fresh)
        first = job.status()
        assert first.status == 202
    done = job.wait()
    for answer in [first, *job.waits]:
        progress = answer.headers["X-Progress"]
        assert 0 < len(progress) < 100 and re.match(r"\d+%|[^\d]", progress), "a number in front is a percentage"
        assert int(answer.headers["Retry-After"]) >= 1
    assert done.status == 200 and done.headers["Content-Type"] == "application/json"
    expires = email.utils.parsedate_to_datetime(done.headers["Expires"])
    assert expires > datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=47)


def test_status_check__the_manifest_has_every_required_key(fhir):
    job = export(fhir, "$export?_type=Patient")
    manifest = job.manifest()
    assert {"transactionTime", "request", "requiresAccessToken", "output", "deleted", "error"} <= manifest.keys()
    assert INSTANT.fullmatch(manifest["transactionTime"]) and manifest["requiresAccessToken"] is False
    assert manifest["request"] == f"{fhir.base}/$export?_type=Patient"
    assert "link" not in manifest


def test_output_check__type_count_and_absolute_url_of_each_file(fhir):
    manifest = export(fhir).manifest()
    assert manifest["output"]
    for item in manifest["output"]:
        assert item["type"] and item["count"] > 0 and re.fullmatch("[0-9a-f]{64}", item["sha256"])
        url = urllib.parse.urlsplit(item["url"])
        assert url.scheme == "http" and url.netloc


def test_the_status_of_no_job_is_404_with_an_operation_outcome(fhir):
    answer = fhir.get(f"export/{'0' * 32}")
    assert answer.status == 404 and answer.json["issue"][0]["code"] == "not-found"


def test_transaction_time__all_that_was_there_before_is_in_and_nothing_later(fresh):
    before = [put(fresh, patient(f"p{i}")) for i in range(5)]
    manifest = export(fresh).manifest()
    job = Export.__new__(Export)
    job.fhir = fresh
    got = job.resources(manifest)
    assert got.keys() == {f"Patient/p{i}" for i in range(5)}
    assert max(before) <= manifest["transactionTime"]
    assert all(r["meta"]["lastUpdated"] <= manifest["transactionTime"] for r in got.values())
    assert put(fresh, patient("later")) > manifest["transactionTime"]


# ---- files ----

def test_valid_resources__ndjson_of_the_latest_versions(fresh):
    put(fresh, patient("p", gender="male"))
    put(fresh, patient("p", gender="female"))
    put(fresh, patient("gone"))
    assert fresh.delete("Patient/gone").status == 204
    job = export(fresh)
    manifest = job.manifest()
    got = job.resources(manifest)
    assert got.keys() == {"Patient/p"} and got["Patient/p"]["meta"]["versionId"] == "2"
    assert got["Patient/p"] == fresh.get("Patient/p").json
    assert manifest["deleted"] == [] and manifest["error"] == []


def test_multiple_patients(fhir):
    assert len([r for r in export(fhir).resources() if r.startswith("Patient/")]) >= 2


def test_files_come_in_ranges_packed_and_only_once_when_unchanged(fhir):
    url = export(fhir, "$export?_type=Observation").manifest()["output"][0]["url"]
    whole = fhir.get(url)
    assert whole.status == 200 and whole.headers["Accept-Ranges"] == "bytes"
    part = fhir.get(url, Range="bytes=10-19")
    assert part.status == 206 and part.body == whole.body[10:20]
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(whole.body)}"
    assert fhir.get(url, Range=f"bytes={len(whole.body)}-").status == 416
    resumed = fhir.get(url, Range="bytes=10-", If_Range=whole.headers["ETag"])
    assert resumed.status == 206 and resumed.body == whole.body[10:]
    assert fhir.get(url, Range="bytes=10-", If_Range='"other"').status == 200
    packed = fhir.get(url, Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(packed.body) == whole.body
    assert fhir.get(url, If_None_Match=whole.headers["ETag"]).status == 304
    head = fhir.call("HEAD", url)
    assert head.status == 200 and head.body == b"" and int(head.headers["Content-Length"]) == len(whole.body)


def test_only_files_of_the_manifest_are_served(fhir):
    job = export(fhir, "$export?_type=Patient")
    url = job.manifest()["output"][0]["url"]
    for name in ("manifest.json", "../manifest.json", "%2e%2e/x", "Patient/../../x", "Patient", "Patient/x.ndjson", "%00", "", "."):
        answer = fhir.get(f"{job.url}/files/{name}")
        assert answer.status in (400, 404) and answer.json["resourceType"] == "OperationOutcome", name
    assert fhir.get(url).status == 200 and fhir.delete(url).status == 405


# ---- cancel and delete ----

def test_cancel__delete_202_then_404_with_an_operation_outcome(fhir):
    for wait in (False, True):
        job = export(fhir)
        urls = [o["url"] for o in job.manifest()["output"]] if wait else []
        assert job.cancel().status == 202
        gone = job.status()
        assert gone.status == 404 and gone.headers["Content-Type"].startswith("application/fhir+json")
        assert gone.json["resourceType"] == "OperationOutcome" and gone.json["issue"][0]["severity"] == "error"
        assert all(fhir.get(url).status == 404 for url in urls), "its files are gone"
        assert job.cancel().status == 404


def test_a_download_under_way_is_not_cut_off_by_delete(fhir):
    job = export(fhir, "$export?_type=Observation")
    url = job.manifest()["output"][0]["url"]
    whole = fhir.get(url).body
    parts = urllib.parse.urlsplit(url)
    import http.client
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    connection.request("GET", parts.path)
    answer = connection.getresponse()
    assert job.cancel().status == 202
    assert answer.read() == whole
    connection.close()


# ---- protection ----

def test_no_auth_reject__kick_off_status_files_and_delete_are_protected_alike(server):
    store = server.create_store()
    signed, bare = server.fhir(store), server.fhir(store, signed=False)
    put(signed, patient("p"))
    assert kick(bare).status == 401
    job = export(signed)
    manifest = job.manifest()
    url = manifest["output"][0]["url"]
    assert manifest["requiresAccessToken"] is True
    assert bare.get(job.url).status == 401
    answer = bare.get(url)
    assert answer.status == 401 and answer.json["resourceType"] == "OperationOutcome"
    assert bare.delete(job.url).status == 401
    assert signed.get(url).status == 200
    request = AWSRequest("GET", url)
    SigV4QueryAuth(Credentials(*server.keys()), "healthlake", "us-east-1", 300).add_auth(request)
    presigned = bare.get(request.prepare().url)
    assert presigned.status == 200 and presigned.body == signed.get(url).body, "a presigned URL is a capability URL"


# ---- _type ----

def types_of(job):
    return {r.split("/")[0] for r in job.resources()}


def test_type__only_what_was_asked_for(fhir):
    assert types_of(export(fhir, "$export?_type=Patient")) == {"Patient"}
    assert types_of(export(fhir, "$export?_type=Patient,Encounter")) == {"Patient", "Encounter"}
    assert types_of(export(fhir, "$export?_type=Patient&_type=Group")) == {"Patient", "Group"}
    assert types_of(export(fhir, "$export", parameters(("_type", "Patient,Group")))) == {"Patient", "Group"}
    body = parameters(("_type", {"valueCode": "Patient"}), ("_type", {"valueString": "Encounter"}))
    assert types_of(export(fhir, "$export", body)) == {"Patient", "Encounter"}
    assert export(fhir, "$export").resources().keys() == ALL
    assert export(fhir, "$export?_type=Device").manifest()["output"] == []


# ---- levels ----

def test_patient_level__patients_and_their_compartments(fhir):
    got = export(fhir, "Patient/$export").resources()
    assert got.keys() - {"Group/g", "Group/empty"} == of("a", "b", "c")
    assert "Organization/org" not in got
    assert "Organization" in refused(fhir, "Patient/$export?_type=Organization")


def test_group_level__members_and_their_compartments(fhir):
    got = export(fhir, "Group/g/$export").resources()
    assert got.keys() - {"Group/g"} == of("a", "b")


def test_a_group_that_is_not_there_is_404_and_an_empty_one_an_empty_export(fhir, fresh):
    for method_body in (None, ""):
        answer = kick(fhir, "Group/none/$export", method_body)
        assert answer.status == 404 and answer.json["resourceType"] == "OperationOutcome"
    got = export(fhir, "Group/empty/$export").resources()
    assert got.keys() <= {"Group/empty"}
    put(fresh, group("x"))
    assert fresh.delete("Group/x").status == 204
    assert kick(fresh, "Group/x/$export").status == 404


def test_our_own_absolute_references_count_however_the_kick_off_is_written(fresh):
    put(fresh, {"resourceType": "Patient", "id": "p1"})
    put(fresh, {"resourceType": "Observation", "id": "o1", "status": "final", "code": {"text": "x"},
                "subject": {"reference": f"{fresh.base}/Patient/p1"}})
    put(fresh, {"resourceType": "Group", "id": "g1", "type": "person", "actual": True,
                "member": [{"entity": {"reference": f"{fresh.base}/Patient/p1"}}]})
    for path in ("Group/g1/$export", "Group/g1/%24export", "Group/%671/%24export", "Patient/$export", "%50atient/%24export"):
        assert export(fresh, path).resources().keys() >= {"Patient/p1", "Observation/o1"}, path


# ---- patient ----

def reference(id):
    return ("patient", {"valueReference": {"reference": f"Patient/{id}"}})


def test_patient__only_these_and_by_post_only(fhir):
    assert export(fhir, "Patient/$export", parameters(reference("a"))).resources().keys() - {"Group/g", "Group/empty"} == of("a")
    both = export(fhir, "Patient/$export", parameters(reference("a"), reference("c"), reference("a"))).resources()
    assert both.keys() - {"Group/g", "Group/empty"} == of("a", "c")
    in_group = export(fhir, "Group/g/$export", parameters(reference("b"))).resources()
    assert in_group.keys() - {"Group/g"} == of("b")
    assert "patient" in refused(fhir, "Patient/$export?patient=Patient/a")
    assert "patient" in refused(fhir, "$export", parameters(reference("a")))


def test_patient__unknown_or_not_in_the_group_is_an_error(fhir):
    assert "patient" in refused(fhir, "Patient/$export", parameters(reference("nobody"), reference("a")))
    refused(fhir, "Group/g/$export", parameters(reference("c")))
    for bad in ("Observation/o1-a", "a/b", "Patient/", "http://elsewhere.org/fhir/Patient/a"):
        assert "patient" in refused(fhir, "Patient/$export", parameters(("patient", {"valueReference": {"reference": bad}})))


def test_patient__ten_thousand_are_taken_in_bounded_memory_and_one_more_is_not(open_server):
    def mib(what):
        status = open(f"/proc/{open_server.process.pid}/status").read()
        return int(status.split(f"{what}:")[1].split()[0]) / 1024

    lines = [{"resourceType": "Patient", "id": f"p{i:05}"} for i in range(10_000)]
    lines += [{"resourceType": "Observation", "id": f"o{i:05}", "status": "final", "code": {"text": "x"},
               "subject": {"reference": f"Patient/p{i:05}"}} for i in range(0, 10_000, 10)]
    open_server.put_object("s3://input/many/all.ndjson", "".join(json.dumps(x) + "\n" for x in lines).encode())
    store = open_server.create_store()
    assert open_server.import_all(store, "s3://input/many/")["JobStatus"] == "COMPLETED"
    fhir, before = open_server.fhir(store, signed=False), mib("VmRSS")
    many = [reference(f"p{i:05}") for i in range(10_000)]
    assert len(export(fhir, "Patient/$export", parameters(*many)).resources()) == 11_000
    print(f"VmHWM {mib('VmHWM'):.0f} MiB, {before:.0f} before")
    if not SANITIZED:
        assert mib("VmHWM") - before < 256
    assert "patient" in refused(fhir, "Patient/$export", parameters(*many, reference("another")))


# ---- _since, _until, deleted ----

def test_since__later_changes_and_deletions_each_in_one_place(fresh):
    put(fresh, patient("old"))
    put(fresh, patient("changed"))
    put(fresh, patient("gone"))
    put(fresh, patient("back"))
    first = export(fresh)
    manifest = first.manifest()
    assert first.resources(manifest).keys() == {f"Patient/{p}" for p in ("old", "changed", "gone", "back")}
    t0 = manifest["transactionTime"]
    put(fresh, patient("changed", gender="male"))
    put(fresh, patient("new"))
    put(fresh, patient("brief"))
    for p in ("gone", "back", "brief"):
        assert fresh.delete(f"Patient/{p}").status == 204
    put(fresh, patient("back", gender="male"))
    job = export(fresh, f"$export?_since={t0}")
    manifest = job.manifest()
    got, deleted = job.resources(manifest), job.deleted(manifest)
    assert got.keys() == {f"Patient/{p}" for p in ("changed", "new", "back")}
    assert deleted - {"Patient/brief"} == {"Patient/gone"} and not deleted & got.keys()
    assert export(fresh).manifest()["deleted"] == [], "only with _since"
    later = export(fresh, f"$export?_since={manifest['transactionTime']}")
    manifest = later.manifest()
    assert manifest["output"] == [] and manifest["deleted"] == []
    offset = t0.replace("Z", "%2B00:00")
    assert export(fresh, f"$export?_since={offset}").resources().keys() == got.keys()


def test_since__of_an_instant_one_week_ago(fhir):
    week = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ")
    job = export(fhir, f"$export?_since={week}")
    assert job.resources().keys() == ALL
    assert job.cancel().status == 202


def test_until__the_bound_is_inside(fresh):
    first = put(fresh, patient("first"))
    time.sleep(0.005)
    put(fresh, patient("second"))
    assert export(fresh, f"$export?_until={first}").resources().keys() == {"Patient/first"}
    assert export(fresh, f"$export?_since={first}").resources().keys() == {"Patient/second"}
    assert export(fresh, "$export?_until=2000-01-01T00:00:00Z").manifest()["output"] == []


def test_two_exports_in_a_row_hold_each_change_once(fresh):
    seen, since = {}, None
    for i in range(4):
        for k in range(3):
            put(fresh, patient(f"p{i}-{k}"))
        job = export(fresh, f"$export?_since={since}" if since else "$export")
        manifest = job.manifest()
        for key in job.resources(manifest):
            assert key not in seen, f"{key} twice"
            seen[key] = i
        since = manifest["transactionTime"]
    assert seen == {f"Patient/p{i}-{k}": i for i in range(4) for k in range(3)}


# ---- _typeFilter, _elements, _tag, _security ----

def filters(*texts):
    return "&".join("_typeFilter=" + urllib.parse.quote(t, safe="") for t in texts)


def observations(job):
    return {r.split("/")[1] for r in job.resources() if r.startswith("Observation/")}


def test_type_filter__any_of_a_types_filters_and_other_types_whole(fhir):
    one = export(fhir, "$export?" + filters("Observation?status=final"))
    assert observations(one) == {f"o1-{p}" for p in "abc"}
    got = export(fhir, "$export?" + filters("Observation?status=final")).resources()
    assert {r for r in got if not r.startswith("Observation/")} == {r for r in ALL if not r.startswith("Observation/")}
    ored = export(fhir, "$export?_type=Observation&" + filters("Observation?status=final&patient=Patient/a", "Observation?code=2"))
    assert observations(ored) == {"o1-a", "o2-a", "o2-b", "o2-c"}
    with_comma = export(fhir, "$export?_type=Observation,Patient&" +
                        filters("Observation?code=http://loinc.org|1,http://loinc.org|2,Patient?gender=male"))
    got = with_comma.resources()
    assert {r for r in got if r.startswith("Patient/")} == {"Patient/b"} and len(got) == 7
    chained = export(fhir, "$export?_type=Observation&" + filters("Observation?subject:Patient.gender=male"))
    assert observations(chained) == {"o1-b", "o2-b"}
    reverse = export(fhir, "$export?_type=Patient&" + filters("Patient?_has:Observation:patient:code=1&gender=female"))
    assert reverse.resources().keys() == {"Patient/a"}
    empty_parts = export(fhir, "$export?_type=Observation&" + filters("Observation?&status=final&&code=1&"))
    assert observations(empty_parts) == {"o1-a", "o1-b", "o1-c"}
    for nothing in ("Observation?&", "Observation?patient.gender=", "Observation?_has:Observation:has-member:code="):
        refused(fhir, "$export", parameters(("_typeFilter", nothing)))
    posted = export(fhir, "Group/g/$export", parameters(("_typeFilter", "Observation?status=final")))
    assert observations(posted) == {"o1-a", "o1-b"}


def test_elements__these_the_mandatory_ones_and_the_tag(fhir):
    got = export(fhir, "$export?_elements=id,Observation.code,Patient.birthDate&_type=Patient,Observation").resources()
    a, o = got["Patient/a"], got["Observation/o1-a"]
    assert a["birthDate"] == "1970-01-01" and "name" not in a and "gender" not in a
    assert o["code"] and o["status"] == "final" and "subject" not in o, "status is mandatory"
    for r in (a, o):
        assert r["resourceType"] and r["id"] and r["meta"]["lastUpdated"]
        assert "SUBSETTED" in [t["code"] for t in r["meta"]["tag"]]


def test_tag_and_security__all_of_them(fhir):
    enc = urllib.parse.quote

    def patients(query):
        return export(fhir, f"$export?_type=Patient&{query}").resources().keys()

    assert patients("_tag=" + enc(f"{SYSTEM}|a")) == {"Patient/a", "Patient/b"}
    assert patients("_tag=" + enc(f"{SYSTEM}|a,{SYSTEM}|b")) == {"Patient/b"}
    assert patients(f"_tag={enc(SYSTEM + '|a')}&_tag={enc(SYSTEM + '|b')}") == {"Patient/b"}
    assert patients("_tag=" + enc(f"{SYSTEM}|")) == {"Patient/a", "Patient/b"}
    assert patients("_security=" + enc(f"{SYSTEM}|r")) == {"Patient/c"}
    assert patients(f"_security={enc(SYSTEM + '|r')}&_tag={enc(SYSTEM + '|a')}") == set()


# ---- files by size, pages of a manifest, provenance ----

def test_maximum_file_size__small_files_each_below_it_or_of_one_line(fhir):
    manifest = export(fhir, "$export?_type=Observation&_maximumFileSize=500").manifest()
    assert len(manifest["output"]) > 1
    assert all(o["fileSize"] <= 500 or o["count"] == 1 for o in manifest["output"])
    assert sum(o["count"] for o in manifest["output"]) == 6


def test_allow_partial_manifests__pages_that_hold_each_file_once(fresh):
    for i in range(130):
        put(fresh, patient(f"p{i:03}"))
    job = export(fresh, "$export?allowPartialManifests=true&_maximumFileSize=200")
    first = job.manifest()
    pages, seen, page = 0, [], first
    while page:
        pages += 1
        seen += [o["url"] for o in page["output"]]
        assert {k: page[k] for k in ("transactionTime", "request", "requiresAccessToken")} == \
            {k: first[k] for k in ("transactionTime", "request", "requiresAccessToken")}
        link = next((x["url"] for x in page.get("link", []) if x["relation"] == "next"), None)
        answer = fresh.get(link) if link else None
        assert answer is None or answer.status == 200
        page = answer.json if answer else None
    assert pages > 1 and len(seen) == len(set(seen)) == 130
    assert fresh.get(f"{job.url}?page=99").status == 404 and fresh.get(f"{job.url}?page=x").status == 404
    assert job.manifest() == first, "a page that was shown does not change"


def test_allow_partial_manifests__full_pages_are_shown_while_it_runs(fresh):
    made = 0
    for kind, more in (("Patient", {}), ("Organization", {"name": "n"}), ("Basic", {"code": {"text": "x"}}), ("Device", {}), ("Location", {}),
                       ("Person", {}), ("Practitioner", {}), ("Endpoint", {"status": "active", "connectionType": {"code": "x"},
                                                                          "payloadType": [{"text": "x"}], "address": "http://x"})):
        for i in range(15):
            put(fresh, {"resourceType": kind, "id": f"r{i}", **more})
            made += 1
    job = export(fresh, "$export?allowPartialManifests=true&_maximumFileSize=10")
    shown = []
    while (answer := job.status()).status == 202:
        assert answer.headers["Retry-After"] and answer.headers["X-Progress"]
        time.sleep(0.01)
        if answer.body:
            shown.append(answer.json)
            assert fresh.get(answer.json["output"][-1]["url"]).status == 200
    first = job.manifest()
    for page in shown:  # 50 files, which stay; a link to the next page once that is full or all is there
        assert page["output"] == first["output"] and len(page["output"]) == 50 and page["deleted"] == page["error"] == []
        assert page["transactionTime"] == first["transactionTime"] and page.get("link", first["link"]) == first["link"]
    files, page = [], first
    while page:
        files += [o["url"] for o in page["output"]]
        link = page.get("link")
        page = fresh.get(link[0]["url"]).json if link else None
    assert len(files) == len(set(files)) == made


def test_status__asked_for_over_and_over_is_429_with_retry_after(open_server, fresh):
    with held(open_server, fresh):
        jobs = [export(fresh) for _ in range(2)]
        # Retry-After grows with the time that a job takes, up to ten seconds: whoever asks slowly has asked too often in the end
        until = time.monotonic() + 300
        answers = fresh.get_until(jobs[-1].url, lambda answer: answer.status != 202 or time.monotonic() > until)
        refused = answers[-1]
        assert len(answers) > 100, "a hundred within Retry-After are answered"
        assert refused.status == 429 and int(refused.headers["Retry-After"]) >= 1
        assert refused.json["resourceType"] == "OperationOutcome" and refused.json["issue"][0]["code"] == "throttled"
        assert jobs[-2].status().status == 202, "another job's status is not meant"
        time.sleep(int(refused.headers["Retry-After"]))
        assert jobs[-1].status().status == 202
        for job in jobs:
            assert job.cancel().status == 202


def test_include_associated_data__provenance_of_what_is_exported(fhir):
    got = export(fhir, "Patient/$export?includeAssociatedData=RelevantProvenanceResources").resources()
    assert "Provenance/pr-a" in got
    got = export(fhir, "Patient/$export?_type=Observation&includeAssociatedData=LatestProvenanceResources").resources()
    assert "Provenance/pr-a" not in got, "no Observation is its target"


@pytest.mark.parametrize("level", ["", "Patient/", "Group/g/"])
def test_organize_output_by__blocks_of_patients_each_led_by_its_header(fhir, level):
    plain = export(fhir, f"{level}$export").resources()
    job = export(fhir, f"{level}$export?organizeOutputBy=Patient&_maximumFileSize=900")
    manifest = job.manifest()
    assert manifest["outputOrganizedBy"] == "Patient"
    got, blocks, files = {}, {}, {o["url"]: o for o in manifest["output"]}
    for url, item in files.items():
        lines = [json.loads(x) for x in fhir.get(url).body.splitlines()]
        heads = sum(r["resourceType"] == "Parameters" for r in lines)
        assert len(lines) - heads == item["count"] and heads == item.get("blocks", 0)
        if "type" in item:  # of nobody
            assert {r["resourceType"] for r in lines} == {item["type"]} and item["type"] in ("Organization", "Group")
        else:
            assert lines[0]["resourceType"] == "Parameters"
        patient_of = None
        for r in lines:
            if r["resourceType"] == "Parameters":
                assert [p["name"] for p in r["parameter"]] == ["header"]
                patient_of = r["parameter"][0]["valueReference"]["reference"]
                continue
            key = f"{r['resourceType']}/{r['id']}"
            assert key not in got, f"{key} twice"
            got[key] = r
            if patient_of:
                blocks.setdefault(patient_of, []).append(key)
        if "continuesInFile" in item:
            first = json.loads(fhir.get(files[item["continuesInFile"]]["url"]).body.splitlines()[0])
            assert first["parameter"][0]["valueReference"]["reference"] == patient_of
    assert got == plain and any("continuesInFile" in f for f in files.values())
    for p in blocks:
        assert blocks[p].count(p) == 1 and set(blocks[p]) - {"Group/g"} == of(p[-1])


def test_organize_output_by__other_types_are_refused(fhir):
    assert "organizeOutputBy" in refused(fhir, "Patient/$export?organizeOutputBy=Organization")


# ---- the proof over HTTP ----

def test_what_was_downloaded_has_the_digests_of_the_manifest(fhir):
    import hashlib
    manifest = export(fhir).manifest()
    for item in manifest["output"]:
        assert hashlib.sha256(fhir.get(item["url"]).body).hexdigest() == item["sha256"]
    assert manifest["countPerType"] == {t: sum(o["count"] for o in manifest["output"] if o["type"] == t)
                                        for t in {o["type"] for o in manifest["output"]}}
