"""`$viewdefinition-run`: rows of a data store as of one commit, in each form, of what the caller may see; and what is refused."""
import contextlib
import csv
import io
import json
import threading

import pytest

from bulk import ASYNC, Export
from fhirlake import run, wait

pytestmark = pytest.mark.sanitize
RUN = "$viewdefinition-run"
VIEW = {"resourceType": "ViewDefinition", "resource": "Observation", "status": "draft", "select": [
    {"column": [{"name": "id", "path": "getResourceKey()"}, {"name": "at", "path": "meta.lastUpdated", "type": "instant"},
                {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
                {"name": "value", "path": "value.ofType(Quantity).value", "type": "decimal"}]},
    {"forEachOrNull": "code.coding", "column": [{"name": "code", "path": "code"}]}]}


def asked(view=VIEW, **parameters):
    """A Parameters resource: a text or number each, or a list of them."""
    def one(name, v):
        kind = "Boolean" if isinstance(v, bool) else "Integer" if isinstance(v, int) else "String"
        return {"name": name, f"value{kind}": v}
    more = [one(name, v) for name, vs in parameters.items() for v in (vs if isinstance(vs, list) else [vs])]
    return {"resourceType": "Parameters", "parameter": more + ([{"name": "viewResource", "resource": view}] if view else [])}


def rows(answer):
    assert answer.status == 200, answer.body
    return [json.loads(line, parse_float=str, parse_int=str) for line in answer.body.splitlines()]


@pytest.fixture(scope="module")
def store(server, generated):
    for file in generated.glob("*.ndjson"):
        server.put_object(f"s3://input/run/{file.name}", file.read_bytes())
    one = server.create_store()
    assert server.import_all(one, "s3://input/run/")["JobStatus"] == "COMPLETED"
    return one


@pytest.fixture(scope="module")
def fhir(server, store):
    return server.fhir(store)


@pytest.fixture(scope="module")
def exported(server, store, tmp_path_factory):
    """The rows that `fhirlake view` makes of an export of the same data store."""
    folder = server.folder(server.export_all(store, "s3://out/run")["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    file = tmp_path_factory.mktemp("view") / "view.json"
    file.write_text(json.dumps(VIEW))
    done = run("view", "--view", file, "--from", folder, "--quiet")
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def test_rows_are_those_of_an_export_in_each_form(fhir, exported):
    answer = fhir.post(RUN, asked())
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert len(exported) > 100 and sorted(answer.body.decode().splitlines()) == exported
    plain = rows(answer)
    for how in ({"body": asked(_format="json")}, {"body": asked(), "Accept": "application/json"}):
        answer = fhir.call("POST", RUN, **how)
        assert answer.headers["Content-Type"] == "application/json"
        assert json.loads(answer.body, parse_float=str, parse_int=str) == plain
    as_csv = [{k: v or "" for k, v in row.items()} for row in plain]
    answer = fhir.post(f"ViewDefinition/{RUN}?_format=text/csv", VIEW)
    assert list(csv.DictReader(io.StringIO(answer.body.decode()))) == as_csv
    headless = fhir.post("ViewDefinition/$run", asked(_format="csv", header=False)).body
    assert answer.body == b"id,at,patient,value,code\n" + headless


def test_parquet_is_what_readers_take(fhir):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not here: pip install pyarrow")
    answer = fhir.post(RUN, asked(_format="parquet"))
    assert answer.headers["Content-Type"] == "application/vnd.apache.parquet"
    have = parquet.read_table(io.BytesIO(answer.body)).to_pylist()
    for row in have:
        row["at"] = row["at"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert have == rows(fhir.post(RUN, asked()))


def test_less_is_asked_for_by_patient_since_and_limit(fhir):
    everything = rows(fhir.post(RUN, asked()))
    someone = everything[0]["patient"]
    his = [row for row in everything if row["patient"] == someone]
    assert 0 < len(his) < len(everything)
    by_id = sorted(his, key=json.dumps)
    for name in (someone, someone.split("/")[1], f"{fhir.base}/{someone}"):
        assert sorted(rows(fhir.post(RUN, asked(patient=name))), key=json.dumps) == by_id
    reference = asked()
    reference["parameter"].append({"name": "patient", "valueReference": {"reference": someone}})
    assert sorted(rows(fhir.post(RUN, reference)), key=json.dumps) == by_id
    for n in (1, 7, len(everything), len(everything) + 1):
        assert rows(fhir.post(f"{RUN}?_limit={n}", asked())) == everything[:n]
    new = fhir.post("Observation", {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}).json
    assert [r["id"] for r in rows(fhir.post(RUN, asked(_since=new["meta"]["lastUpdated"])))] == [f"Observation/{new['id']}"]
    assert fhir.delete(f"Observation/{new['id']}").status in (200, 204)
    names = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}
    assert rows(fhir.post(RUN, asked(names, patient=someone))) == [{"id": someone.split("/")[1]}]


def test_resources_of_the_request_take_the_place_of_the_data_store(fhir):
    view = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}, {"name": "family", "path": "name.family"}]}]}

    def given(*resources, **more):
        body = asked(view, **more)
        body["parameter"] += [{"name": "resource", "resource": r} for r in resources]
        return fhir.post(RUN, body)
    a, b = ({"resourceType": "Patient", "id": i, "name": [{"family": i.upper()}]} for i in "ab")
    assert rows(given(b, a)) == [{"id": "b", "family": "B"}, {"id": "a", "family": "A"}]
    assert rows(given(b, a, _limit=1)) == [{"id": "b", "family": "B"}]
    said(given(a, patient="a"), 400, "invalid", "resource")
    said(given(a, group="a"), 400, "invalid", "resource")
    for wrong, why in (({"resourceType": "Group", "id": "g"}, "is of the type Group, and the view reads Patient"), ("a text", "is no resource"),
                       ({"id": "x"}, "is of no type"), ({**a, "m": {str(i): i for i in range(1001)}}, "more than 1000 members")):
        assert why in said(given(b, wrong), 400, "invalid", "resource[1]")
    assert "resource[1]: select" in said(given(a, {**b, "name": b["name"] * 2}), 422, "processing", "viewResource.select[0].column[1]")


def said(answer, status, code, where):
    issue = answer.json["issue"][0]
    assert (answer.status, issue["code"], issue.get("expression")) == (status, code, [where] if where else None), answer.body
    return issue["diagnostics"]


def test_what_is_not_offered_or_wrong_is_refused_by_its_name(fhir):
    for name in ("viewReference", "source", "_count"):
        assert name in said(fhir.post(RUN, asked(**{name: "x"})), 400, "not-supported", name)
    for name, value in (("_limit", 0), ("_limit", -1), ("_limit", "many"), ("patient", "Group/1"), ("patient", "a b"), ("header", "yes")):
        said(fhir.post(RUN, asked(**{name: value})), 400, "invalid", name)
    said(fhir.post(RUN, asked(resource="x")), 400, "not-supported", "resource")
    said(fhir.post(RUN, asked(_format="xml")), 400, "not-supported", "_format")
    said(fhir.post(RUN, asked(header=True)), 400, "invalid", "header")
    said(fhir.post(f"{RUN}?_limit=1", asked(_limit=1)), 400, "invalid", "_limit")
    said(fhir.post(RUN, asked(patient="nobody")), 404, "not-found", "patient")
    said(fhir.post(RUN, asked(group="nobody")), 404, "not-found", "group")
    said(fhir.post(RUN, asked(group="Patient/1")), 400, "invalid", "group")
    said(fhir.post(RUN, asked(group=["g"] * 101)), 400, "invalid", "group")
    said(fhir.post(RUN, asked({**VIEW, "resource": "Organization"}, group="g")), 400, "invalid", "group")
    said(fhir.post(RUN, asked({**VIEW, "resource": "Organization"}, patient="nobody")), 400, "invalid", "patient")
    said(fhir.post(RUN, asked(None)), 400, "required", "viewResource")
    said(fhir.call("POST", RUN, asked(), Accept="application/fhir+json"), 406, "not-supported", "_format")
    assert fhir.post(RUN, asked(_since="yesterday")).status == 400
    assert fhir.post(RUN, {"resourceType": "Patient"}).status == 400
    assert fhir.get(RUN).status == 405 and fhir.get(RUN).headers["Allow"] == "POST"
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "POST", "url": RUN}, "resource": asked()}]}
    assert fhir.post("", bundle).json["entry"][0]["response"]["status"].startswith("4")


def test_a_view_that_is_none_or_does_not_fit_is_told_with_its_place(fhir):
    def column(**more):
        return {"resource": "Observation", "select": [{"column": [{"name": "x", "path": "id", **more}]}]}
    assert "line 1, column 12" in said(fhir.post(RUN, asked(column(path="name.where("))), 422, "invalid", "viewResource.select[0].column[0].path")
    said(fhir.post(RUN, asked({"resource": "Observatio"})), 422, "invalid", "viewResource.resource")
    said(fhir.post(RUN, asked(column(tag=[{"name": "ansi/type", "value": "MONEY"}]), _format="parquet")), 422, "not-supported", "viewResource")
    two = fhir.post("Observation", {"resourceType": "Observation", "status": "final", "code": {"coding": [{"code": "one"}, {"code": "two"}]}}).json
    why = said(fhir.post(RUN, asked(column(path="code.coding.code"), _since=two["meta"]["lastUpdated"])), 422, "processing", "viewResource.select[0].column[0]")
    assert f"Observation/{two['id']}" in why and "select[0].column[0]: it has 2 values" in why and "one" not in why
    hostile = fhir.post(RUN, asked(column(path="1.repeat($this + 1)", collection=True)))
    assert "too many steps" in said(hostile, 422, "processing", "viewResource.select[0].column[0]")
    assert fhir.delete(f"Observation/{two['id']}").status in (200, 204)


def test_a_group_is_its_members_as_an_export_has_it(server, fhir):
    """Rows of a Group, and of one of its patients, are those of the Group's export, for each type that is in it."""
    patients = [e["resource"]["id"] for e in fhir.get("Patient?_count=9").json["entry"]]
    group = {"resourceType": "Group", "id": "g", "type": "person", "actual": True, "member": [
        {"entity": {"reference": f"Patient/{patients[0]}"}}, {"entity": {"reference": f"{fhir.base}/Patient/{patients[1]}"}},
        {"entity": {"reference": f"Patient/{patients[0]}"}}, {"entity": {"reference": f"Patient/{patients[2]}"}, "inactive": True},
        {"entity": {"reference": "Patient/gone"}}, {"entity": {"reference": "Group/other"}}]}
    for one in (group, {**group, "id": "other", "member": [{"entity": {"reference": f"Patient/{patients[2]}"}}]}, {k: v for k, v in {**group, "id": "none"}.items() if k != "member"}):
        assert fhir.put(f"Group/{one['id']}", one).status == 201
    about = [e["resource"]["id"] for p in patients[:4] for e in fhir.get(f"Condition?patient={p}&_count=1").json["entry"]]
    gone = {"resourceType": "Observation", "id": "gone", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/gone"}}
    assert fhir.put("Observation/gone", gone).status == 201
    for n, target in enumerate([f"Condition/{about[0]}", f"Condition/{about[3]}", f"Patient/{patients[1]}", "Group/g", "Observation/gone"]):
        assert fhir.put(f"Provenance/p{n}", {"resourceType": "Provenance", "id": f"p{n}", "recorded": "2020-01-01T00:00:00Z",
                                             "agent": [{"who": {"display": "x"}}], "target": [{"reference": target}]}).status == 201

    def ids(type, **parameters):
        answer = fhir.post(RUN, asked({"resource": type, "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]}]}, **parameters))
        return sorted(row["id"] for row in rows(answer))
    for path, parameters in (("Group/g", {"group": "Group/g"}), ("Group/g", {"group": "g", "patient": patients[1]}), ("Patient", {"patient": patients[3]})):
        of = [{"name": "patient", "valueReference": {"reference": f"Patient/{parameters['patient']}"}}] if "patient" in parameters else []
        export = Export(fhir, fhir.post(f"{path}/$export", {"resourceType": "Parameters", "parameter": of}, **ASYNC)).resources()
        types = {key.split("/")[0] for key in export}
        assert {"Patient", "Observation", "Condition", "Provenance"} < types
        for type in types | {"Encounter", "Group"}:
            assert ids(type, **parameters) == sorted(key for key in export if key.startswith(type + "/")), (type, parameters)
    assert [i for i in ids("Provenance", group="g") if len(i) < 20] == ["Provenance/p0", "Provenance/p2", "Provenance/p4"]
    assert ids("Patient", group=["g", f"{fhir.base}/Group/other"]) == sorted(f"Patient/{p}" for p in patients[:3])
    assert ids("Group", group=["g", "other"]) == ["Group/g", "Group/other"]
    assert ids("Patient", group="none") == ids("Observation", group="none") == ids("Provenance", group="none") == []
    assert ids("Patient", group="g", patient=patients[3]) == []


def test_a_run_ends_with_its_client(server, fhir):
    """The expression would go on for as many steps as the resource has values, 256 times."""
    name = {"given": ["a"] * 100_000}
    patient = fhir.post("Patient", {"resourceType": "Patient", "name": [name] * 3})
    assert patient.status == 201, patient.body
    view = {"resource": "Patient", "select": [{"column": [{"name": "x", "path": "1.repeat($this + 1).count()"}]}]}
    impatient = server.fhir(fhir.base.split("/")[-2])

    def ended():
        return [line for line in server.log_text().splitlines() if "op=viewdefinition-run" in line]
    for impatient.timeout in (0.3, 0.1, 0.03, 0.01):  # a fast server may be done by then
        before = len(ended())
        with contextlib.suppress(OSError):
            impatient.post(RUN, asked(view, _since=patient.json["meta"]["lastUpdated"]))
        wait(lambda: len(ended()) > before, (True,))
        if "error=cancelled" in ended()[before]:
            break
    assert "error=cancelled" in ended()[before]
    assert fhir.delete(f"Patient/{patient.json['id']}").status in (200, 204)


def test_views_and_values_may_nest_deeply(fhir):
    def view(levels, kind):
        one = {"column": [{"name": "x", "path": "extension", "collection": True}]}
        for _ in range(levels):
            one = {kind: [one]}
        return {"resource": "Basic", "select": [one]}
    deep = {"url": "urn:x", "valueString": "v"}
    for _ in range(90):
        deep = {"url": "urn:x", "extension": [deep]}
    basic = fhir.post("Basic", {"resourceType": "Basic", "code": {"text": "t"}, "extension": [deep]})
    assert basic.status == 201, basic.body
    for kind in ("select", "unionAll"):
        assert rows(fhir.post(RUN, asked(view(31, kind)))) == [{"x": [deep]}]
        for levels in (32, 40):
            assert "at most 32 stand in each other" in said(fhir.post(RUN, asked(view(levels, kind))), 422, "invalid", "viewResource")
    for form in ("json", "csv", "parquet"):
        assert fhir.post(RUN, asked(view(0, "select"), _format=form)).status == 200
    assert fhir.delete(f"Basic/{basic.json['id']}").status in (200, 204)


def test_rows_are_as_of_one_commit(server):
    """Two resources whose values always sum to nothing, while transactions change both."""
    fhir = server.fhir(server.create_store())
    both = {"resource": "Observation", "select": [{"column": [{"name": "v", "path": "value.ofType(integer)"}]}]}
    stop = threading.Event()

    def change(n):
        return fhir.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [
            {"request": {"method": "PUT", "url": f"Observation/{i}"}, "resource": {
                "resourceType": "Observation", "id": i, "status": "final", "code": {"text": "x"}, "valueInteger": v}}
            for i, v in (("a", n), ("b", -n))]})

    def writer():
        n = 1
        while not stop.is_set():
            n += change(n).status == 200
    assert change(0).status == 200
    thread = threading.Thread(target=writer)
    thread.start()
    try:
        seen = []
        while len({pair[0]["v"] for pair in seen}) < 10 and len(seen) < 5000:
            seen.append(rows(fhir.post(RUN, asked(both))))
            assert len(seen[-1]) == 2 and int(seen[-1][0]["v"]) == -int(seen[-1][1]["v"])
    finally:
        stop.set()
        thread.join()
    assert seen[0] != seen[-1]


def test_metadata_names_it(fhir):
    operations = {o["name"]: o["definition"] for o in fhir.get("metadata").json["rest"][0]["operation"]}
    assert operations["viewdefinition-run"] == "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-run"


# ---- under scopes ----

@pytest.fixture(scope="module")
def smart(tmp_path_factory):
    pytest.importorskip("cryptography")
    from test_smart_scopes import Smart
    it = Smart(tmp_path_factory.mktemp("smart"))
    try:
        it.open()
        for who in "ab":
            assert it.signed.put(f"Patient/{who}", {"resourceType": "Patient", "id": who}).status == 201
            for n in range(3):
                assert it.signed.put(f"Observation/{who}{n}", {
                    "resourceType": "Observation", "id": f"{who}{n}", "status": "final", "subject": {"reference": f"Patient/{who}"},
                    "code": {"text": "x"}, "category": [{"coding": [{"code": "lab" if n else "vital"}]}]}).status == 201
        yield it
    finally:
        it.server.__exit__(None, None, None)
        it.issuer.close()


def test_a_token_sees_rows_of_what_it_may_read(smart):
    ids = {"resource": "Observation", "select": [{"column": [{"name": "id", "path": "id"}]}]}

    def seen(scope, **more):
        return sorted(row["id"] for row in rows(smart.app(scope, **more).post(RUN, asked(ids))))
    assert seen("system/*.rs") == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert seen("patient/Observation.rs", patient="a") == ["a0", "a1", "a2"]
    assert seen("patient/Observation.rs?category=lab", patient="b") == ["b1", "b2"]
    for scope in ("system/Patient.rs", "system/Observation.r", "system/Observation.s", "system/Observation.cud"):
        answer = smart.app(scope).post(RUN, asked(ids))
        assert answer.status == 403 and answer.json["issue"][0]["code"] == "forbidden", answer.text
    # a Group that he may not read is not there, and of one that he may read he sees what he may
    assert smart.signed.put("Group/both", {"resourceType": "Group", "id": "both", "type": "person", "actual": True, "member": [
        {"entity": {"reference": f"Patient/{who}"}} for who in "ab"]}).status == 201

    def of_group(scope, **more):
        return smart.app(scope, **more).post(RUN, asked(ids, group="both"))
    assert len(rows(of_group("system/*.rs"))) == 6
    assert of_group("system/Observation.rs").status == 404
    assert [row["id"] for row in rows(of_group("system/Group.r system/Observation.rs?category=vital"))] == ["a0", "b0"]
    assert sorted(row["id"] for row in rows(of_group("patient/*.rs", patient="a"))) == ["a0", "a1", "a2"]
    # a Provenance does not tell him whose an Observation is that he may not read
    assert smart.signed.put("Provenance/of", {"resourceType": "Provenance", "id": "of", "recorded": "2020-01-01T00:00:00Z", "agent": [
        {"who": {"display": "x"}}], "target": [{"reference": "Observation/a0"}] * 3}).status == 201
    of = {**ids, "resource": "Provenance"}
    for scope, there in (("system/*.rs", True), ("system/Provenance.rs system/Patient.r", False),
                         ("system/Provenance.rs system/Patient.r system/Observation.r?category=vital", True),
                         ("system/Provenance.rs system/Patient.r system/Observation.r?category=lab", False)):
        assert rows(smart.app(scope).post(RUN, asked(of, patient="a"))) == [{"id": "of"}] * there, scope
        assert rows(smart.app(scope).post(RUN, asked(of, patient="b"))) == []
    # another's patient is not there, for him
    answer = smart.app("patient/*.rs", patient="a").post(RUN, asked(ids, patient="b"))
    assert answer.status == 404
    assert rows(smart.app("patient/*.rs", patient="a").post(RUN, asked(ids, patient="a")))
