"""createdAt: when the first version of a resource came, whatever came after it."""
import json
import time

import pytest

pytestmark = pytest.mark.sanitize


@pytest.fixture(scope="module")
def loaded(server):
    """(fhir, instants by id): once: one version; twice: two; back: deleted and made anew; gone; brought: imported, then updated."""
    store = server.create_store()
    fhir = server.fhir(store)
    made = {}

    def put(id, **more):
        body = {"resourceType": "Patient", "id": id, "active": True, **more}
        return fhir.put(f"Patient/{id}", body).json["meta"]["lastUpdated"]

    def pause():
        time.sleep(0.02)

    for id in ("once", "twice", "back", "gone"):
        made[id] = put(id)
        pause()
    server.put_object("s3://created-in/x/p.ndjson", '{"resourceType":"Patient","id":"brought","active":true}\n'
                                                  '{"resourceType":"Patient","id":"twice","active":true}\n')
    assert server.import_all(store, "s3://created-in/x/")["JobStatus"] == "COMPLETED"
    made["brought"] = fhir.get("Patient/brought").json["meta"]["lastUpdated"]
    pause()
    made["late"] = put("late")
    pause()
    for id in ("twice", "brought", "twice"):
        put(id, gender="male")
    for id in ("back", "gone"):
        fhir.delete(f"Patient/{id}")
    put("back", gender="male")
    fhir.put("Observation/o", {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"},
                               "subject": {"reference": "Patient/twice"}})
    return fhir, made


def ids(fhir, query, status=200):
    got = fhir.get(query)
    assert got.status == status, (query, got.body)
    assert all(e["search"]["mode"] == "match" for e in got.json.get("entry", [])), (query, got.body)
    return {e["resource"]["id"] for e in got.json.get("entry", [])}


LIVING = {"once", "twice", "back", "brought", "late"}


def test_it_compares_as_last_updated_does(loaded):
    fhir, made = loaded
    for id, when in made.items():
        for prefix, meets in (("", lambda t: t == when), ("eq", lambda t: t == when), ("ne", lambda t: t != when),
                              ("gt", lambda t: t > when), ("ge", lambda t: t >= when), ("lt", lambda t: t < when),
                              ("le", lambda t: t <= when), ("sa", lambda t: t > when), ("eb", lambda t: t < when)):
            assert ids(fhir, f"Patient?createdAt={prefix}{when}") == {i for i in LIVING if meets(made[i])}, (prefix, id)
    day = made["once"][:10]
    assert ids(fhir, f"Patient?createdAt={day}") == ids(fhir, f"Patient?createdAt=ge{day[:4]}") == LIVING
    assert ids(fhir, f"Patient?createdAt=gt2100,{made['twice']}") == {"twice"}
    assert ids(fhir, f"Patient?createdAt=gt{made['once']}&createdAt=lt{made['late']}") == {"twice", "back", "brought"}
    assert ids(fhir, "Patient?createdAt:missing=true") == set() and ids(fhir, "Patient?createdAt:missing=false") == LIVING


def test_it_goes_with_everything_else(loaded):
    fhir, made = loaded
    late = f"createdAt=ge{made['late']}"
    assert ids(fhir, f"Patient?{late}&gender=male") == set() and ids(fhir, f"Patient?{late}&active=true") == {"late"}
    assert ids(fhir, f"Patient?_id=late,twice,once&createdAt=lt{made['late']}") == {"twice", "once"}
    assert ids(fhir, f"?{late}&_type=Patient") == {"late"} and ids(fhir, f"?{late}") == {"late", "o"}
    assert ids(fhir, f"?_type=Patient,Group&{late}") == {"late"}
    assert ids(fhir, f"Observation?subject:Patient.createdAt=lt{made['late']}") == {"o"}
    assert ids(fhir, f"Observation?subject.createdAt={made['once']}") == set()
    assert ids(fhir, f"Patient?_has:Observation:subject:createdAt=gt{made['late']}") == {"twice"}
    assert ids(fhir, f"Patient/twice/*?{late}") == {"o"} and ids(fhir, f"Patient/twice/Observation?createdAt=lt{made['late']}") == set()
    form = fhir.post("Patient/_search", late, content_type="application/x-www-form-urlencoded")
    assert [e["resource"]["id"] for e in form.json["entry"]] == ["late"]
    assert fhir.get(f"Patient?{late}&_summary=count").json["total"] == 1
    assert fhir.get(f"Patient?{late}&_total=accurate&_sort=-_lastUpdated").json["total"] == 1
    seen, url = [], f"Patient?createdAt=lt{made['late']}&_count=1"
    while url:
        page = fhir.get(url).json
        seen += [e["resource"]["id"] for e in page.get("entry", [])]
        url = next((x["url"] for x in page["link"] if x["relation"] == "next"), None)
    assert sorted(seen) == sorted(LIVING - {"late"})


def test_what_it_cannot_be_is_refused_and_never_passed_over(loaded):
    fhir, made = loaded
    for query in ("createdAt=yesterday", "createdAt:exact=2020", "createdAt=2020-13", "_sort=createdAt", "createdAt=2020,"):
        ids(fhir, f"Patient?{query}", 400)
    assert fhir.get("Patient?createdAt=2020", Prefer="handling=strict").status == 200
    assert any(p["name"] == "createdAt" and p["type"] == "date" for p in fhir.get("metadata").json["rest"][0]["searchParam"])
    export = fhir.post("$export", {"resourceType": "Parameters", "parameter": [
        {"name": "_typeFilter", "valueString": "Patient?createdAt=gt2020"}]}, Prefer="respond-async")
    assert export.status == 400, "an export does not know it, and says so"


def test_writes_go_by_it(server):
    fhir = server.fhir(server.create_store())
    body = {"resourceType": "Patient", "id": "a", "active": True}
    made = fhir.put("Patient/a", body).json["meta"]["lastUpdated"]
    time.sleep(0.01)
    fhir.put("Patient/a", {**body, "gender": "male"})
    assert fhir.post("Patient", {"resourceType": "Patient"}, If_None_Exist=f"createdAt={made}").status == 200
    assert fhir.put(f"Patient?createdAt=gt{made}&active=true", {"resourceType": "Patient"}).status == 201
    assert fhir.patch(f"Patient?createdAt={made}", [{"op": "remove", "path": "/gender"}]).status == 200
    assert fhir.delete(f"Patient?createdAt=lt{made}").status == 404
    entry = {"request": {"method": "PUT", "url": f"Patient?createdAt=lt{made}&active=true"}, "resource": {"resourceType": "Patient"}}
    other = {"request": {"method": "PUT", "url": "Patient/a"}, "resource": body}
    got = fhir.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [entry, other]})
    assert got.status == 200 and [e["response"]["status"] for e in got.json["entry"]] == ["201", "200"], got.body
    assert fhir.delete(f"Patient?createdAt={made}").status == 204 and fhir.get("Patient/a").status == 410
    assert json.loads(fhir.get("Patient?active=true").body).get("entry") is None
