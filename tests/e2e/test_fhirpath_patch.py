"""FHIRPath Patch: alone, by search and in Bundles; what is refused; what a version, a policy and the audit log make of it."""
import json

import pytest

from fhirlake import exact

pytestmark = pytest.mark.sanitize


@pytest.fixture
def fhir(server):
    return server.fhir(server.create_store())


def operation(kind, path, **parts):
    """value=... is {"valueDate": ...} or {"part": [...]}, all other parts are texts or numbers."""
    made = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    for name, v in parts.items():
        made.append({"name": name, **(v if isinstance(v, dict) else {"valueInteger": v} if isinstance(v, int) else
                                      {"valueString": v})})
    return {"name": "operation", "part": made}


def parameters(*operations):
    return {"resourceType": "Parameters", "parameter": list(operations)}


def patch(fhir, path, *operations, content_type="application/fhir+json", **headers):
    return fhir.call("PATCH", path, parameters(*operations), content_type, **headers)


def entry(method, url, resource, **request):
    return {"request": {"method": method, "url": url, **request}, "resource": resource}


def bundle(kind, *entries):
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


ADA = {"resourceType": "Patient", "id": "ada", "identifier": [{"system": "urn:mrn", "value": "1"}],
       "name": [{"family": "Lovelace", "given": ["Ada", "Augusta"]}], "birthDate": "1815-12-10"}


@pytest.mark.parametrize("content_type", ["application/fhir+json", "application/json", "application/fhir+json; charset=utf-8"])
def test_a_patch_makes_a_version(fhir, content_type):
    fhir.put("Patient/ada", ADA)
    done = patch(fhir, "Patient/ada", operation("add", "Patient", name="deceased", value={"valueDateTime": "1852-11-27"}),
                 operation("insert", "Patient.name.given", index=1, value={"valueString": "A."}),
                 operation("move", "Patient.name.given", source=2, destination=0),
                 operation("replace", "Patient.name.where(family = 'Lovelace').family", value={"valueString": "King"}),
                 operation("delete", "Patient.birthDate"),
                 operation("add", "Patient", name="contact", value={"part": [
                     {"name": "gender", "valueCode": "male"}, {"name": "name", "valueHumanName": {"text": "William"}}]}),
                 content_type=content_type)
    assert done.status == 200 and done.headers["ETag"] == 'W/"2"', done.body
    want = {"resourceType": "Patient", "id": "ada", "identifier": ADA["identifier"],
            "name": [{"family": "King", "given": ["Augusta", "Ada", "A."]}], "deceasedDateTime": "1852-11-27",
            "contact": [{"gender": "male", "name": {"text": "William"}}]}
    assert {k: v for k, v in done.json.items() if k != "meta"} == want
    assert fhir.get("Patient/ada").json == done.json and len(fhir.get("Patient/ada/_history").json["entry"]) == 2
    assert fhir.get("Patient?family=king&_summary=count").json["total"] == 1
    assert fhir.get("Patient?family=lovelace&_summary=count").json["total"] == 0


def test_digits_stay(fhir):
    text = ('{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},'
            '"valueQuantity":{"value":1.500},"component":[{"code":{"text":"c"},"valueQuantity":{"value":2.00}}]}')
    assert fhir.put("Observation/o", text).status == 201
    body = json.dumps(parameters(operation("replace", "Observation.value", value={"valueQuantity": {"value": 7777}})))
    done = fhir.call("PATCH", "Observation/o", body.replace("7777", "3.10"))
    assert done.status == 200, done.body
    assert b'"value":3.10' in done.body and b'"value":2.00' in done.body and exact(done.body)


@pytest.mark.parametrize("status,says,operations", [
    (422, "Operation 2 of the patch (add) cannot be applied", [
        operation("delete", "Patient.birthDate"), operation("add", "Patient", name="id", value={"valueId": "x"})]),
    (422, "several elements", [operation("delete", "Patient.name.given")]),
    (422, "finds nothing", [operation("replace", "Patient.gender", value={"valueCode": "female"})]),
    (422, "(delete) cannot be applied: line 1, column 9 of the expression: there is no element of that name", [operation("delete", "Patient.birthdate")]),
    (422, "no element of that name", [operation("add", "Patient", name="resourceType", value={"valueCode": "Group"})]),
    (422, "not to be changed", [operation("delete", "Patient.id")]),
    (422, "not to be changed", [operation("replace", "Patient.meta.versionId", value={"valueId": "9"})]),
    (422, "type", [operation("add", "Patient", name="active", value={"valueString": "true"})]),
    (422, "beyond the end", [operation("move", "Patient.name.given", source=0, destination=2)]),
    (400, "type must be add", [operation("remove", "Patient.birthDate")]),
    (400, "needs value", [operation("add", "Patient", name="active")]),
    (400, "cannot be read: line 1, column 14 of the expression: ", [operation("delete", "Patient.name[")]),
    (400, "no operation has", [operation("delete", "Patient.name", colour="red")]),
    # what comes out is no resource: as a PUT of it would be refused
    (400, "", [operation("replace", "Patient.birthDate", value={"valueString": "never"})]),
    (400, "", [operation("add", "Patient", name="gender", value={"valueCode": "blue"})]),
])
def test_what_cannot_be_done_is_refused_and_nothing_is_stored(fhir, status, says, operations):
    fhir.put("Patient/ada", ADA)
    got = patch(fhir, "Patient/ada", *operations)
    assert got.status == status and says in got.text, got.body
    assert "Lovelace" not in got.text and fhir.get("Patient/ada").headers["ETag"] == 'W/"1"'


def test_what_comes_out_is_refused_as_a_put_of_it_is(fhir):
    fhir.put("Patient/ada", ADA)
    put = fhir.put("Patient/ada", {**ADA, "gender": "blue"})
    got = patch(fhir, "Patient/ada", operation("add", "Patient", name="gender", value={"valueCode": "blue"}))
    assert got.status == put.status and got.text == put.text
    minimal = {"x-amzn-healthlake-fhir-validation-level": "minimal"}
    assert patch(fhir, "Patient/ada", operation("add", "Patient", name="gender", value={"valueCode": "blue"}), **minimal).status == 200


def test_it_is_a_conditional_write_as_others_are(fhir):
    fhir.put("Patient/ada", ADA)
    active = operation("add", "Patient", name="active", value={"valueBoolean": True})
    assert patch(fhir, "Patient/ada", active, If_Match='W/"2"').status == 412
    assert patch(fhir, "Patient?identifier=urn:mrn|2", active).status == 404
    assert patch(fhir, "Patient/nobody", active).status == 404
    assert patch(fhir, "Patient?identifier=urn:mrn|1", active).json["active"] is True
    fhir.post("Patient", {"resourceType": "Patient", "identifier": ADA["identifier"]})
    assert patch(fhir, "Patient?identifier=urn:mrn|1", operation("delete", "Patient.active")).status == 412
    assert patch(fhir, "Patient/ada", operation("delete", "Patient.active"), If_Match='W/"2"').headers["ETag"] == 'W/"3"'
    assert patch(fhir, "Patient/ada").headers["ETag"] == 'W/"4"'
    fhir.delete("Patient/ada")
    assert patch(fhir, "Patient/ada", active).status == 410


def test_it_is_an_entry_of_a_bundle(fhir):
    fhir.put("Patient/ada", ADA)
    active = parameters(operation("add", "Patient", name="active", value={"valueBoolean": True}))
    got = fhir.post("", bundle("batch", entry("PATCH", "Patient/ada", active), entry("PATCH", "Patient/ada", active),
                               entry("PATCH", "Patient?identifier=urn:mrn|1", parameters(operation("delete", "Patient.active"))),
                               entry("PATCH", "Patient/ada", active, ifMatch='W/"1"'),
                               entry("PATCH", "Patient/ada", {"resourceType": "Patient", "id": "ada"}))).json["entry"]
    assert [e["response"]["status"] for e in got] == ["200", "422", "200", "412", "400"]
    # a link of the transaction comes in by a patch
    link = operation("add", "Patient", name="link", value={"part": [
        {"name": "type", "valueCode": "seealso"}, {"name": "other", "valueReference": {"reference": "urn:uuid:b"}}]})
    other = {**entry("POST", "Patient", {"resourceType": "Patient"}), "fullUrl": "urn:uuid:b"}
    got = fhir.post("", bundle("transaction", entry("PATCH", "Patient/ada", parameters(link)), other))
    assert got.status == 200, got.body
    made = got.json["entry"][1]["response"]["location"].split("/_history")[0]
    assert fhir.get("Patient/ada").json["link"] == [{"type": "seealso", "other": {"reference": made}}]
    # all or nothing
    before = fhir.get("Patient?_summary=count").json["total"]
    got = fhir.post("", bundle("transaction", other, entry("PATCH", "Patient/ada", parameters(
        operation("add", "Patient", name="birthDate", value={"valueDate": "2000-01-01"})))))
    assert got.status == 422 and "Bundle.entry[1]" in got.body.decode(), got.body
    assert fhir.get("Patient?_summary=count").json["total"] == before


def test_many_operations_on_a_large_resource(fhir):
    names = [{"given": ["x" * 100], "family": str(i)} for i in range(2000)]
    fhir.put("Patient/ada", {**ADA, "name": names})
    done = patch(fhir, "Patient/ada", *[operation("replace", f"Patient.name[{i}].family", value={"valueString": "y"})
                                        for i in range(0, 2000, 20)])
    assert done.status == 200, done.body
    assert [n["family"] for n in done.json["name"]] == ["y" if i % 20 == 0 else str(i) for i in range(2000)]
    assert patch(fhir, "Patient/ada", *[operation("delete", "Patient.gender")] * 1001).status == 413


def test_the_statement_names_both_kinds(fhir):
    assert fhir.get("metadata").json["patchFormat"] == ["application/json-patch+json", "application/fhir+json"]
