"""GET metadata: a valid CapabilityStatement, and every line of it is true of the running server."""
import json

import pytest

from fhirlake import FHIR_R4, NO_FHIR_DATA, Fhir, Server, read_ndjson

pytestmark = pytest.mark.sanitize


@pytest.fixture(scope="module")
def fhir(server):
    return server.fhir(server.create_store(DatastoreName="of the tests"))


@pytest.fixture(scope="module")
def statement(fhir):
    got = fhir.get("metadata")
    assert got.status == 200 and got.headers["Content-Type"].startswith("application/fhir+json")
    return got.json


@pytest.fixture(scope="module")
def types(statement):
    return {r["type"]: r for r in statement["rest"][0]["resource"]}


def official(kind):
    if not FHIR_R4.exists():
        pytest.skip(NO_FHIR_DATA)
    return [json.loads(line) for line in read_ndjson(FHIR_R4 / f"{kind}.ndjson")]


def test_it_is_a_valid_resource_that_names_the_data_store(fhir, statement):
    assert statement["resourceType"] == "CapabilityStatement" and statement["fhirVersion"] == "4.0.1"
    assert statement["kind"] == "instance" and statement["implementation"] == {
        "description": "of the tests", "url": fhir.base}
    assert "application/fhir+json" in statement["format"]
    outcome = fhir.post("CapabilityStatement/$validate", statement)
    assert outcome.status == 200 and [i["severity"] for i in outcome.json["issue"]] == ["information"], outcome.body
    # it can be kept as any other resource
    assert fhir.post("CapabilityStatement", statement).status == 201


def test_it_has_an_entity_tag(fhir):
    first = fhir.get("metadata")
    tag = first.headers["ETag"]
    again = fhir.get("metadata", If_None_Match=tag)
    assert again.status == 304 and again.body == b"" and again.headers["ETag"] == tag
    assert fhir.get("metadata", If_None_Match='W/"0123456789abcdef"').status == 200
    head = fhir.call("HEAD", "metadata")
    assert head.status == 200 and head.body == b"" and head.headers["ETag"] == tag
    assert fhir.get("metadata?mode=terminology").status == 501
    assert fhir.post("metadata", {}).status == 405


def test_every_type_is_there_once_with_what_it_can_do(types, statement):
    assert len(types) == len(statement["rest"][0]["resource"]) == 146
    if FHIR_R4.exists():
        assert set(types) == {d["type"] for d in official("StructureDefinition")
                              if d["kind"] == "resource" and d.get("derivation") == "specialization" and not d["abstract"]}
    less = {"AuditEvent": {"update", "patch", "delete"}, "Parameters": {"create"}, "OperationOutcome": {"create"}}
    for name, r in types.items():
        assert r["profile"] == f"http://hl7.org/fhir/StructureDefinition/{name}"
        without = less.get(name, set())
        assert [i["code"] for i in r["interaction"]] == [i for i in (
            "read", "vread", "update", "patch", "delete", "history-instance", "create", "history-type",
            "search-type") if i not in without]
        assert r["versioning"] == "versioned" and r["readHistory"] is r["updateCreate"] is True
        assert r["conditionalDelete"] == ("not-supported" if "delete" in without else "single")
        assert r["conditionalCreate"] == ("create" not in without) and r["conditionalUpdate"] == ("update" not in without)


def test_interactions_of_the_base(fhir, statement):
    codes = [i["code"] for i in statement["rest"][0]["interaction"]]
    assert {"search-system", "history-system"} <= set(codes)
    assert fhir.get("_history?_count=1").status == 200 and fhir.get("?_id=none").status == 200
    empty = {"resourceType": "Bundle", "type": "batch"}
    assert (fhir.post("", empty).status == 200) == ("batch" in codes)
    assert ("batch" in codes) == ("transaction" in codes)


def test_search_parameters_are_the_official_ones(types):
    wanted = {}
    for p in official("SearchParameter"):
        for base in p.get("base", []):
            wanted[(base, p["code"])] = (p["url"], p["type"])
    n = 0
    for name, r in types.items():
        codes = [p["name"] for p in r["searchParam"]]
        assert len(codes) == len(set(codes)), name
        for p in r["searchParam"]:
            bases = (name, "DomainResource", "Resource")
            assert (p["definition"], p["type"]) in [wanted.get((b, p["name"])) for b in bases], (name, p)
            n += 1
    assert n > 146 * 6 + 1300


def test_every_search_parameter_is_taken(fhir, types):
    for name, r in types.items():
        simple = [p["name"] for p in r["searchParam"] if p["type"] not in ("composite", "special")]
        for i in range(0, len(simple), 30):
            query = "&".join(f"{code}:missing=true" for code in simple[i:i + 30])
            got = fhir.get(f"{name}?{query}&_count=1", Prefer="handling=strict")
            assert got.status == 200, (name, got.body)


def test_every_include_is_taken(fhir, types):
    for name, r in types.items():
        both = [("_include", x) for x in r.get("searchInclude", [])] + [
            ("_revinclude", x) for x in r.get("searchRevInclude", [])]
        for i in range(0, len(both), 32):
            query = "&".join(f"{k}={v}" for k, v in both[i:i + 32])
            got = fhir.get(f"{name}?{query}&_id=none", Prefer="handling=strict")
            assert got.status == 200, (name, got.body)
    assert "Observation:subject" in types["Patient"]["searchRevInclude"]
    assert "Observation:subject" in types["Observation"]["searchInclude"]
    assert "Patient:link" not in types["Organization"].get("searchRevInclude", [])


def test_operations_are_defined_where_they_are_offered(types, statement):
    definitions = {d["url"]: d for d in official("OperationDefinition")}
    ops = {(name, o["name"]): o["definition"] for name, r in types.items() for o in r.get("operation", [])}
    assert ("Patient", "validate") in ops and ("Patient", "everything") in ops
    bulk = "http://hl7.org/fhir/uv/bulkdata"
    assert statement["instantiates"] == [f"{bulk}/CapabilityStatement/bulk-data"]
    assert ops[("Patient", "export")] == f"{bulk}/OperationDefinition/patient-export"
    assert ops[("Group", "export")] == f"{bulk}/OperationDefinition/group-export"
    assert statement["rest"][0]["operation"] == [
        {"name": "export", "definition": f"{bulk}/OperationDefinition/export"},
        {"name": "viewdefinition-run", "definition": "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-run"}]
    assert ("Observation", "validate") in ops and ("Observation", "everything") not in ops
    for (name, op), url in ops.items():
        if url.startswith("http://hl7.org/fhir/OperationDefinition/"):
            d = definitions[url]
            assert d["code"] == op and set(d["resource"]) & {name, "Resource"} and (d["type"] or d["instance"])
    for o in statement["rest"][0].get("operation", []):
        if o["definition"] in definitions:
            assert definitions[o["definition"]]["system"]


def test_compartments_are_those_that_answer(fhir, statement):
    named = {c.rsplit("/", 1)[1] for c in statement["rest"][0]["compartment"]}
    assert named == {"patient", "encounter", "practitioner", "relatedPerson", "device"}
    for name in named:
        assert fhir.get(f"{name[0].upper() + name[1:]}/x/Observation").status == 200
    assert fhir.get("Organization/x/Observation").status == 404


def test_only_who_may_see_it_does(tmp_path):
    (tmp_path / "credentials").write_text("[in]\naws_access_key_id = AKIAIN00000000000000\n"
                                          "aws_secret_access_key = in\npolicy = in.json\n"
                                          "[out]\naws_access_key_id = AKIAOUT0000000000000\n"
                                          "aws_secret_access_key = out\npolicy = out.json\n"
                                          "[all]\naws_access_key_id = AKIAALL0000000000000\n"
                                          "aws_secret_access_key = all\n")
    (tmp_path / "credentials").chmod(0o600)
    statement = {"Effect": "Allow", "Action": ["healthlake:GetCapabilities"], "Resource": "*"}
    (tmp_path / "in.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    statement = {"Effect": "Allow", "Action": ["healthlake:ReadResource"], "Resource": "*"}
    (tmp_path / "out.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    with Server(None, "--credentials", str(tmp_path / "credentials")) as s:
        store = s.create_store(s.client("AKIAALL0000000000000", "all"))
        for key, secret, status in (("AKIAIN00000000000000", "in", 200), ("AKIAOUT0000000000000", "out", 403)):
            fhir = Fhir(f"{s.url}/datastore/{store}/r4", (key, secret))
            assert fhir.get("metadata").status == status
        assert s.fhir(store, signed=False).get("metadata").status == 401
