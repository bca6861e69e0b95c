"""What a body is taken for: types that clients leave out or get wrong, forms of searches, byte order marks."""
import base64
import json
import urllib.parse

import pytest

pytestmark = [pytest.mark.sanitize, pytest.mark.once]
FORM = "application/x-www-form-urlencoded"
MARK = b"\xef\xbb\xbf"


@pytest.fixture
def fhir(server):
    return server.fhir(server.create_store())


def patient(id=None, **more):
    return {"resourceType": "Patient", **({"id": id} if id else {}), **more}


def transaction(*entries, kind="transaction"):
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


PUT = {"request": {"method": "PUT", "url": "Patient/b"}, "resource": patient("b")}
IN_PARAMETERS = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": patient()}]}
# method, path, body, and the status when it is taken
JSON_BODIES = [("POST", "Patient", patient(), 201), ("PUT", "Patient/p", patient("p"), 201),
               ("PUT", "Patient?identifier=x", patient(), 201), ("POST", "", transaction(PUT), 200),
               ("POST", "", transaction(PUT, kind="batch"), 200), ("POST", "Bundle", transaction(PUT), 201),
               ("POST", "Patient/$validate", patient(), 200), ("POST", "Patient/$validate", IN_PARAMETERS, 200),
               ("POST", "Patient/x/$everything", {"resourceType": "Parameters"}, 200)]


@pytest.mark.parametrize("content_type", [None, "", FORM, FORM + "; charset=UTF-8", "application/json", "text/json",
                                          "application/fhir+json", "application/json+fhir"])
def test_json_is_taken_when_its_type_is_left_out_or_that_of_a_form(fhir, content_type):
    """curl says of JSON that it is a form, and so do the calls that AWS documents."""
    fhir.put("Patient/x", patient("x"))
    for method, path, body, status in JSON_BODIES:
        text = "\n " + json.dumps(body)
        got = fhir.call(method, path, text, content_type, **({"Content_Type": ""} if content_type == "" else {}))
        assert got.status == status, (method, path, got.body)
    export = fhir.call("POST", "$export", '{"resourceType":"Parameters"}', content_type, Prefer="respond-async")
    assert export.status == 202, export.body


@pytest.mark.parametrize("content_type", ["application/fhir+xml", "application/xml", "text/xml", "multipart/form-data; boundary=x",
                                          "text/plain", "application/json-patch+json", "application/octet-stream",
                                          "application/fhir+json; charset=utf-16", "application/fhir+ndjson", "x"])
def test_other_types_are_refused(fhir, content_type):
    for method, path, body, _ in JSON_BODIES:
        got = fhir.call(method, path, body, content_type)
        assert got.status == 415, (method, path, got.body)
    assert fhir.call("POST", "$export", {"resourceType": "Parameters"}, content_type, Prefer="respond-async").status == 415
    assert fhir.get("Patient?_summary=count").json["total"] == 0


@pytest.mark.parametrize("body", ["active=true", "a=%7B", "<Patient/>", "%7B%22resourceType%22"])
def test_a_form_that_is_no_json_is_no_resource(fhir, body):
    for method, path, _, _ in JSON_BODIES[:7]:
        assert fhir.call(method, path, body, FORM).status == 415, path
        assert fhir.call(method, path, body, None).status == 400, path
    assert fhir.get("Patient?_summary=count").json["total"] == 0


def test_a_patch_needs_its_type(fhir):
    fhir.put("Patient/p", patient("p"))
    for body in ([], {"resourceType": "Parameters"}):
        for content_type in (None, FORM, "application/fhir+xml", "text/plain", "application/merge-patch+json"):
            assert fhir.call("PATCH", "Patient/p", body, content_type).status == 415
    # each of the two kinds, sent as the other
    for content_type in ("application/json", "application/fhir+json"):
        refused = fhir.call("PATCH", "Patient/p", [], content_type)
        assert refused.status == 400 and "application/json-patch+json" in refused.text
    assert fhir.patch("Patient/p", {"resourceType": "Parameters"}).status == 400


@pytest.mark.parametrize("content_type", [FORM, "application/fhir+json", "application/json", None, FORM + "; charset=utf-8"])
def test_a_search_is_a_form_whatever_it_is_called(fhir, content_type):
    """AWS's own client signs and sends the form as application/fhir+json."""
    for id, family in (("a", "Ash"), ("b", "Birch")):
        fhir.put(f"Patient/{id}", patient(id, name=[{"family": family}]))
    for path in ("Patient/_search", "_search?_type=Patient"):
        query = "_lastUpdated=gt2000&_id=b" if path.startswith("_") else "name=birch"
        got = fhir.call("POST", path, query, content_type)
        assert [e["resource"]["id"] for e in got.json["entry"]] == ["b"], got.body
    # a JSON text read as a form would be one unknown parameter, and find everything
    for body in ('{"name":"birch"}', ' [{"name":"x"}]', json.dumps(patient())):
        assert fhir.call("POST", "Patient/_search", body, content_type).status == 415
    assert fhir.call("POST", "Patient/_search", b"", content_type).status == 200


@pytest.mark.parametrize("content_type", ["application/fhir+xml", "text/plain", "multipart/form-data; boundary=x"])
def test_a_search_of_another_type_is_refused(fhir, content_type):
    assert fhir.call("POST", "Patient/_search", "name=birch", content_type).status == 415


def test_modifiers_that_were_encoded_twice_mean_what_they_say(fhir):
    """Ignored, they would have every resource come back."""
    for id, family in (("a", "Ash"), ("b", "Bash"), ("c", "Cedar")):
        fhir.put(f"Patient/{id}", patient(id, name=[{"family": family}], managingOrganization={"reference": "Organization/o"}))
    fhir.put("Organization/o", {"resourceType": "Organization", "id": "o", "name": "Oak"})
    for body in ("name%253Acontains=ash", "name%253acontains=ash", "name%3Acontains=ash",
                 "organization%253AOrganization.name=oak&name%253Acontains=ash", "_count=10&name%253Acontains=ash",
                 "_has%253AObservation%253Apatient%253Acode%253Anot=x&_id=none"):
        got = fhir.call("POST", "Patient/_search", body, "application/fhir+json")
        ids = [e["resource"]["id"] for e in got.json.get("entry", [])]
        assert ids == ([] if "_id=none" in body else ["a", "b"]), (body, got.body)
    assert fhir.call("POST", "Patient/_search", "name%253Anonsense=x", FORM).status == 400


def test_several_includes_may_stand_in_one(fhir):
    fhir.put("Organization/o", {"resourceType": "Organization", "id": "o", "name": "Oak"})
    fhir.put("Practitioner/d", {"resourceType": "Practitioner", "id": "d"})
    fhir.put("Patient/p", patient("p", managingOrganization={"reference": "Organization/o"},
                                  generalPractitioner=[{"reference": "Practitioner/d"}]))
    for query in ("_include=Patient:organization,Patient:general-practitioner",
                  "_include=Patient:organization,%20Patient:general-practitioner,", "_include=Patient:*,Patient:link"):
        got = fhir.get(f"Patient?{query}").json["entry"]
        assert sorted(e["resource"]["id"] for e in got if e["search"]["mode"] == "include") == ["d", "o"], query
    everything = fhir.get("Patient?_include=*").json["entry"]
    assert sorted(e["resource"]["id"] for e in everything if e["search"]["mode"] == "include") == ["d", "o"]
    fhir.put("Encounter/e", {"resourceType": "Encounter", "id": "e", "status": "finished", "class": {"code": "x"},
                             "subject": {"reference": "Patient/p"}})
    everything = fhir.get("Encounter?_include=Encounter:subject&_include:iterate=*").json["entry"]
    assert sorted(e["resource"]["id"] for e in everything if e["search"]["mode"] == "include") == ["d", "o", "p"]
    assert fhir.get("Patient?_revinclude=*").status == fhir.get("Patient?_include=*:Patient").status == 400
    assert fhir.get("Patient?_include=Patient:organization,Patient:name").status == 400
    assert fhir.get("Patient?_include=" + ",".join(["Patient:organization"] * 33)).status == 400


# ---- byte order marks ----

def test_a_byte_order_mark_is_passed_over_once_at_the_start(fhir):
    fhir.put("Patient/x", patient("x"))
    for method, path, body, status in JSON_BODIES:
        got = fhir.call(method, path, MARK + json.dumps(body).encode())
        assert got.status == status, (method, path, got.body)
    assert fhir.patch("Patient/x", MARK + b'[{"op":"add","path":"/active","value":true}]').status == 200
    assert fhir.call("POST", "Patient/_search", MARK + b"_id=x", FORM).json["entry"][0]["resource"]["id"] == "x"
    patch = {"resourceType": "Binary", "contentType": "application/json-patch+json",
             "data": base64.b64encode(MARK + b'[{"op":"add","path":"/active","value":false}]').decode()}
    entry = {"request": {"method": "PATCH", "url": "Patient/x"}, "resource": patch}
    assert fhir.post("", transaction(entry)).status == 200 and fhir.get("Patient/x").json["active"] is False
    assert fhir.post("$export", MARK + b'{"resourceType":"Parameters"}', Prefer="respond-async").status == 202
    for body in (MARK + MARK + b'{"resourceType":"Patient"}', b" " + MARK + b'{"resourceType":"Patient"}', MARK,
                 b'{"resourceType":"Patient"}' + MARK, b'{"resourceType":' + MARK + b'"Patient"}', MARK[:2],
                 '{"resourceType":"Patient"}'.encode("utf-16")):
        assert fhir.post("Patient", body).status == 400, body
    kept = '{"resourceType":"Patient","id":"k","name":[{"family":"\ufeffx"}]}'
    assert fhir.put("Patient/k", kept.encode()).status == 201, "within a text it is a character"
    assert fhir.get("Patient/k").json["name"][0]["family"] == "\ufeffx"


# ---- $everything by POST ----

def test_everything_is_posted_as_it_is_got(fhir):
    fhir.put("Patient/p", patient("p"))
    for i, day in enumerate(("2020-01-01", "2021-01-01", "2022-01-01")):
        fhir.put(f"Condition/c{i}", {"resourceType": "Condition", "id": f"c{i}", "subject": {"reference": "Patient/p"},
                                     "onsetDateTime": day})
        fhir.put(f"Flag/f{i}", {"resourceType": "Flag", "id": f"f{i}", "status": "active", "code": {"text": "x"},
                                "subject": {"reference": "Patient/p"}})
    path = "Patient/p/$everything"

    def entries(got):
        assert got.status == 200, got.body
        return [e["resource"]["id"] for e in got.json["entry"]], got.json["total"]

    def parameters(*pairs):
        return {"resourceType": "Parameters", "parameter": [{"name": n, **v} for n, v in pairs]}

    for query, given in (
            ("", []), ("start=2021", [("start", {"valueDate": "2021"})]),
            ("start=2020-06-01&end=2021-06-01", [("start", {"valueDate": "2020-06-01"}), ("end", {"valueDate": "2021-06-01"})]),
            ("_type=Flag,Patient", [("_type", {"valueString": "Flag"}), ("_type", {"valueCode": "Patient"})]),
            ("_type=Flag,Patient", [("_type", {"valueString": "Flag,Patient"})]), ("_count=2", [("_count", {"valueInteger": 2})]),
            ("_since=2000-01-01T00:00:00Z", [("_since", {"valueInstant": "2000-01-01T00:00:00Z"})]),
            ("_since=2100-01-01T00:00:00Z&_type=Flag", [("_since", {"valueInstant": "2100-01-01T00:00:00Z"}),
                                                       ("_type", {"valueString": "Flag"})])):
        if "2100" in query:
            assert fhir.get(f"{path}?{query}").json["total"] == fhir.post(path, parameters(*given)).json["total"] == 0
            continue
        want = entries(fhir.get(f"{path}?{query}"))
        assert entries(fhir.post(path, parameters(*given))) == want, query
        assert entries(fhir.call("POST", path, query, FORM)) == want
        assert entries(fhir.call("POST", f"{path}?{query}", b"")) == want
        assert entries(fhir.call("POST", f"{path}?{query}", {"resourceType": "Parameters"})) == want
        for kind in ("batch", "transaction"):
            got = fhir.post("", transaction({"request": {"method": "POST", "url": path}, "resource": parameters(*given)}, kind=kind))
            inner = got.json["entry"][0]["resource"]
            assert ([e["resource"]["id"] for e in inner["entry"]], inner["total"]) == want
    page = fhir.post(path, parameters(("_count", {"valueInteger": 2}), ("_type", {"valueString": "Flag"}))).json
    following = [x["url"] for x in page["link"] if x["relation"] == "next"][0]
    assert entries(fhir.get(following)) == (["f2"], 3)
    own = [x["url"] for x in page["link"] if x["relation"] == "self"][0]
    assert entries(fhir.get(own)) == (["f0", "f1"], 3) and "Flag" not in own, "a URL does not say what a body did"
    for bad in ({"resourceType": "Patient"}, {}, {"resourceType": "Parameters", "parameter": {}},
                parameters(("start", {})), parameters(("start", {"valuePeriod": {}})), parameters(("start", {"valueDate": "soon"})),
                parameters(("_type", {"valueString": "Nothing"})), {"resourceType": "Parameters", "parameter": [{"valueDate": "2020"}]},
                parameters(("start", {"valueDate": "20\x0020"})), parameters(*[("_type", {"valueString": "Flag"})] * 257)):
        assert fhir.post(path, bad).status in (400, 413), bad
    assert fhir.post("Patient/nobody/$everything", parameters()).status == 404
    assert fhir.post("Patient/$everything", parameters()).status == 404
    assert fhir.call("POST", path, "x", "text/plain").status == 415
    assert entries(fhir.get(f"{path}?{urllib.parse.urlencode({'_type': 'Flag'})}"))[1] == 3
