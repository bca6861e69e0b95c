"""Ids and parameters that cannot be, wherever a request may hold one: a clear refusal, nobody else's versions, and the right
answer to everybody afterwards."""
import json
import urllib.request

import pytest

from fhirlake import Server

pytestmark = [pytest.mark.sanitize, pytest.mark.threads]

LONG = "a" * 64
FORM = "application/x-www-form-urlencoded"
ODD_IDS = ["abc%00", "abc%00%00", "%00abc", "abc%00%01%FF%FF%FF%FF%FF%FF%FF", "ab%FF", "%FF%FE", "a%2Fb", "abc%0A", "%20",
           LONG + "b", LONG + "%00", LONG + "tail", "%C3%A4", "abc%zz", "a%", "*%00", "abc;", "abc,"]
# method, what stands behind the id, body
ON_AN_ID = [("GET", "", None), ("HEAD", "", None), ("GET", "/_history", None), ("GET", "/_history/1", None),
            ("GET", "/$everything", None), ("GET", "/Observation", None), ("GET", "/*", None), ("DELETE", "", None),
            ("PUT", "", {"resourceType": "Patient", "id": "abc"}),
            ("PATCH", "", [{"op": "add", "path": "/active", "value": True}]),
            ("POST", "/$validate", {"resourceType": "Patient"})]


@pytest.fixture(scope="module")
def place():
    """A store whose patients were loaded and then corrected, or deleted, online."""
    with Server(None, "--auth", "none") as server:  # the refusals behind the door are what is asked for
        server.any = server.client("k", "s")
        store = server.create_store(server.any)
        rows = [{"resourceType": "Patient", "id": i, "gender": "male"} for i in ("abc", "del", LONG)]
        server.put_object("s3://input/p/Patient.ndjson", "".join(json.dumps(r) + "\n" for r in rows))
        server.wait_import(store, server.start_import(store, "s3://input/p/", client=server.any), client=server.any)
        fhir = server.fhir(store, signed=False)
        assert fhir.put("Patient/abc", {"resourceType": "Patient", "id": "abc", "gender": "female"}).status == 200
        assert fhir.delete("Patient/del").status == 204
        yield server, fhir


def everybody_is_right(fhir):
    got = fhir.get("Patient/abc")
    assert got.status == 200 and got.json["gender"] == "female" and got.json["meta"]["versionId"] == "2"
    assert fhir.get("Patient/del").status == 410
    assert [e["resource"]["gender"] for e in fhir.get("Patient?_id=abc,del").json["entry"]] == ["female"]
    assert fhir.get(f"Patient/{LONG}").json["id"] == LONG


@pytest.mark.parametrize("method,behind,body", ON_AN_ID, ids=[m + b for m, b, _ in ON_AN_ID])
def test_an_id_that_cannot_be_is_refused_and_serves_nobody_elses_versions(place, method, behind, body):
    _, fhir = place
    for odd in ODD_IDS:
        kind = {"PATCH": "application/json-patch+json"}.get(method, "application/fhir+json")
        got = fhir.call(method, f"Patient/{odd}{behind}", body and json.dumps(body), kind)
        assert got.status in (400, 404), (method, odd, behind, got.status)
        if method != "HEAD":
            assert got.json["resourceType"] == "OperationOutcome"
    everybody_is_right(fhir)


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_an_entry_with_an_id_that_cannot_be_is_refused_as_the_request_would_be(place, kind):
    _, fhir = place
    for odd in ODD_IDS:
        for method, behind, body in [("GET", "", None), ("GET", "/_history", None), ("GET", "/_history/1", None),
                                     ("DELETE", "", None), ("PUT", "", {"resourceType": "Patient", "id": "abc"})]:
            entry = {"request": {"method": method, "url": f"Patient/{odd}{behind}"}}
            if body:
                entry["resource"] = body
            got = fhir.post("", {"resourceType": "Bundle", "type": kind, "entry": [entry]})
            status = got.json["entry"][0]["response"]["status"] if got.status == 200 else str(got.status)
            assert status in ("400", "404"), (kind, method, odd, behind, got.status, got.body)
    everybody_is_right(fhir)


BAD_PARAMS = ["%00", "%FF", "%zz", "%", "%C3", "%ED%A0%80", "a%00b"]


def with_one_bad(good, bad):
    """Each place of a bad pair beside good ones."""
    return [f"{good}&c={bad}", f"c={bad}&{good}", f"{good}&{bad}=1", f"{good}&{good}&c={bad}&{good}"]


@pytest.mark.parametrize("bad", BAD_PARAMS)
def test_a_parameter_that_cannot_be_read_beside_one_that_can_is_a_clear_error(place, bad):
    server, fhir = place
    for query in with_one_bad("_pretty=true", bad) + with_one_bad("gender=male", bad):
        wants = [fhir.get(path + "?" + query) for path in
                 ("Patient", "Patient/abc", "Patient/abc/_history", "_history", "", "metadata", "$export",
                  "Patient/abc/$everything", "Patient/abc/Observation", "export/0")]
        wants.append(fhir.post("Patient/_search", query, content_type=FORM))
        wants.append(fhir.post("_search", query, content_type=FORM))
        wants.append(fhir.post("Patient", {"resourceType": "Patient"}, If_None_Exist=query))
        for method in ("PUT", "PATCH", "DELETE"):
            wants.append(fhir.call(method, "Patient?" + query, None if method == "DELETE" else "{}"))
        entries = [{"request": {"method": "GET", "url": "Patient?" + query}},
                   {"request": {"method": "POST", "url": "Patient", "ifNoneExist": query},
                    "resource": {"resourceType": "Patient"}},
                   {"request": {"method": "POST", "url": "Observation"},
                    "resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                                 "subject": {"reference": "Patient?" + query}}}]
        for entry in entries:
            got = fhir.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
            assert 400 <= got.status < 500, (query, entry, got.status)
        for got in wants:
            assert got.status in (400, 415), (query, got.status, got.body[:200])
    with urllib.request.urlopen(server.url + "/health", timeout=30) as answer:
        assert json.loads(answer.read())["status"] == "ok"
    everybody_is_right(fhir)


def test_pages_of_a_search_that_reads_all_go_on_in_the_order_of_arrival(place):
    server, _ = place
    fhir = server.fhir(server.create_store(server.any), signed=False)
    ids = ["a" * 64, "a" * 63 + "b", "a" * 63, "b"]
    for i in ids:
        assert fhir.put(f"Basic/{i}", {"resourceType": "Basic", "id": i, "code": {"text": "x"}}).status == 201
    got, url = [], "Basic?_count=1"
    while url and len(got) < 10:
        page = fhir.get(url).json
        got += [e["resource"]["id"] for e in page.get("entry", [])]
        url = next((x["url"] for x in page["link"] if x["relation"] == "next"), None)
        url = url and url.removeprefix(fhir.base + "/")
    assert got == ids
