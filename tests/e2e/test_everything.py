"""Patient/<id>/$everything and Patient/<id>/*, against an oracle that reads every resource of the store."""
import collections
import datetime
import json
import re

import pytest

from fhirlake import FHIR_R4, NO_FHIR_DATA, read_ndjson

pytestmark = pytest.mark.sanitize

# What the generator makes: the elements that put a resource into the Patient compartment, and its dates of care
MEMBERS = {
    "AllergyIntolerance": ["patient"], "CarePlan": ["subject"], "CareTeam": ["subject", "participant.member"],
    "Claim": ["patient"], "Condition": ["subject"], "Coverage": ["beneficiary", "payor"],
    "DiagnosticReport": ["subject"], "DocumentReference": ["subject", "author"], "Encounter": ["subject"],
    "ExplanationOfBenefit": ["patient"], "Goal": ["subject"], "ImagingStudy": ["subject"],
    "Immunization": ["patient"], "MedicationAdministration": ["subject"], "MedicationRequest": ["subject"],
    "Observation": ["subject"], "Procedure": ["subject"], "Provenance": ["target"], "Patient": ["link.other"]}
DATES = {
    "AllergyIntolerance": ["recordedDate"], "CarePlan": ["period"], "CareTeam": ["period"], "Claim": ["created"],
    "Condition": ["abatementDateTime", "onsetDateTime", "recordedDate"],
    "DiagnosticReport": ["effectiveDateTime", "issued"], "DocumentReference": ["date", "context.period"],
    "Encounter": ["period"], "ExplanationOfBenefit": ["created"], "ImagingStudy": ["started"],
    "Immunization": ["occurrenceDateTime"], "MedicationAdministration": ["effectiveDateTime"],
    "MedicationRequest": ["authoredOn"], "Observation": ["effectiveDateTime"], "Procedure": ["performedPeriod"],
    "Provenance": ["recorded"]}


def at(value, path):
    for name in path.split("."):
        items = value if isinstance(value, list) else [value]
        value = [y for x in items if isinstance(x, dict) and name in x
                 for y in (x[name] if isinstance(x[name], list) else [x[name]])]
    return value


def references(value):
    if isinstance(value, dict):
        for k, v in value.items():
            if k == "reference" and isinstance(v, str):
                yield v
            else:
                yield from references(v)
    elif isinstance(value, list):
        for v in value:
            yield from references(v)


def moment(text):
    """[from, to) of a date as it is written."""
    if "T" in text:
        t = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        return t, t + datetime.timedelta(milliseconds=1 if "." in text else 1000)
    parts = [int(p) for p in text.split("-")] + [1, 1]
    lo = datetime.datetime(*parts[:3], tzinfo=datetime.timezone.utc)
    hi = (lo.replace(year=lo.year + 1) if len(text) == 4 else
          (lo + datetime.timedelta(days=32)).replace(day=1) if len(text) == 7 else lo + datetime.timedelta(days=1))
    return lo, hi


def span(value):
    if isinstance(value, str):
        return moment(value)
    early = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
    late = datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)
    return (moment(value["start"])[0] if "start" in value else early,
            moment(value["end"])[1] if "end" in value else late)


def oracle(resources, patient, start=None, end=None, types=None):
    """{(type, id): mode} of a record; resources: {(type, id): resource}"""
    me = f"Patient/{patient}"

    def in_time(r):
        values = [span(v) for path in DATES.get(r["resourceType"], []) for v in at(r, path)]
        lo = moment(start)[0] if start else datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
        hi = moment(end)[1] if end else datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)
        return not (start or end) or not values or any(a < hi and b > lo for a, b in values)

    found = {}
    for key, r in resources.items():
        mine = key == ("Patient", patient) or any(
            ref.get("reference") == me for path in MEMBERS.get(key[0], []) for ref in at(r, path))
        if mine and in_time(r):
            found[key] = "match"
    queue = list(found)
    while queue:
        for ref in references(resources[queue.pop()]):
            key = tuple(ref.split("/"))
            if key not in resources or key in found or key[0] in MEMBERS:
                continue
            if any(x.startswith("Patient/") and x != me for x in references(resources[key])):
                continue
            found[key] = "include"
            queue.append(key)
    return {k: v for k, v in found.items() if types is None or k[0] in types}


def pages(fhir, path):
    got = fhir.get(path)
    assert got.status == 200, got.body
    while True:
        yield got.json
        following = [x["url"] for x in got.json["link"] if x["relation"] == "next"]
        if not following:
            return
        got = fhir.get(following[0])
        assert got.status == 200, got.body


def record(fhir, path):
    """{(type, id): mode}; checks the order, the totals, and that nothing comes twice."""
    keys, modes, totals = [], {}, set()
    for page in pages(fhir, path):
        assert page["resourceType"] == "Bundle" and page["type"] == "searchset"
        totals.add(page["total"])
        for entry in page.get("entry", []):
            key = (entry["resource"]["resourceType"], entry["resource"]["id"])
            assert entry["fullUrl"] == f"{fhir.base}/{key[0]}/{key[1]}"
            keys.append(key)
            modes[key] = entry["search"]["mode"]
    assert keys == sorted(keys) and len(keys) == len(set(keys))
    assert totals == {len(keys)}
    return modes


Loaded = collections.namedtuple("Loaded", "fhir resources patients")


@pytest.fixture(scope="module")
def loaded(server, generated):
    store = server.create_store()
    resources = {}
    for file in sorted(generated.glob("*.ndjson")):
        server.put_object(f"s3://input/all/{file.name}", file.read_bytes())
        for line in read_ndjson(file):
            r = json.loads(line)
            resources[(r["resourceType"], r["id"])] = r
    assert server.import_all(store, "s3://input/all/")["JobStatus"] == "COMPLETED"
    fhir = server.fhir(store)
    patients = [i for t, i in resources if t == "Patient"]
    # a list of what the generator does not make: another patient's device, a linked patient, a broken reference
    one, two = patients[:2]
    for r in ({"resourceType": "Device", "id": "of-two", "patient": {"reference": f"Patient/{two}"}},
              {"resourceType": "Organization", "id": "far", "name": "Far"},
              {"resourceType": "Device", "id": "of-one", "patient": {"reference": f"Patient/{one}"},
               "owner": {"reference": "Organization/far"}},
              {"resourceType": "Patient", "id": "linked",
               "link": [{"other": {"reference": f"Patient/{one}"}, "type": "seealso"}]},
              {"resourceType": "Observation", "id": "strange", "status": "final", "code": {"text": "x"},
               "subject": {"reference": f"Patient/{one}"}, "device": {"reference": "Device/of-two"},
               "performer": [{"reference": "Practitioner/nowhere"}, {"reference": f"Patient/{two}"}]},
              {"resourceType": "Observation", "id": "usual", "status": "final", "code": {"text": "x"},
               "subject": {"reference": f"Patient/{one}"}, "device": {"reference": "Device/of-one"}}):
        assert fhir.put(f"{r['resourceType']}/{r['id']}", r).status == 201
        resources[(r["resourceType"], r["id"])] = r
    return Loaded(fhir, resources, patients)


def test_a_record_is_what_the_compartment_says_and_what_supports_it(loaded):
    seen = 0
    for patient in loaded.patients[:6]:
        wanted = oracle(loaded.resources, patient)
        if patient == loaded.patients[1]:  # a performer is a member too
            wanted[("Observation", "strange")] = "match"
            wanted[("Device", "of-two")] = "include"
        assert record(loaded.fhir, f"Patient/{patient}/$everything") == wanted
        seen += len(wanted)
    assert seen > 600


def test_what_speaks_of_another_patient_stays_out(loaded):
    one = record(loaded.fhir, f"Patient/{loaded.patients[0]}/$everything")
    assert ("Device", "of-two") not in one and one[("Device", "of-one")] == "include"
    assert one[("Organization", "far")] == "include" and one[("Patient", "linked")] == "match"
    assert ("Patient", loaded.patients[1]) not in one and one[("Observation", "strange")] == "match"


@pytest.mark.parametrize("count", [5, 50])
def test_pages_fit_together(loaded, count):
    patient = min(loaded.patients[3:], key=lambda p: len(oracle(loaded.resources, p)))
    path = f"Patient/{patient}/$everything"
    assert record(loaded.fhir, f"{path}?_count={count}") == oracle(loaded.resources, patient)
    sizes = [len(p["entry"]) for p in pages(loaded.fhir, f"{path}?_count={count}")]
    assert all(n == count for n in sizes[:-1]) and 1 <= sizes[-1] <= count


def test_types_and_dates_narrow_it(loaded):
    fhir, resources = loaded.fhir, loaded.resources
    patient = loaded.patients[2]
    path = f"Patient/{patient}/$everything"
    assert record(fhir, f"{path}?_type=Observation,Practitioner&_count=40") == oracle(
        resources, patient, types={"Observation", "Practitioner"})
    assert record(fhir, f"{path}?_type=Observation&_type=Practitioner") == oracle(
        resources, patient, types={"Observation", "Practitioner"})
    dates = sorted(r["period"]["start"][:10] for k, r in resources.items()
                   if k[0] == "Encounter" and r["subject"]["reference"] == f"Patient/{patient}")
    all_of_it = oracle(resources, patient)
    for start, end in ((dates[len(dates) // 2], None), (None, dates[len(dates) // 2]), (dates[1], dates[-2]),
                       (dates[0][:4], dates[0][:4]), (dates[0][:7], dates[0][:7]), ("2199", None)):
        query = "&".join(f"{k}={v}" for k, v in (("start", start), ("end", end)) if v)
        wanted = oracle(resources, patient, start, end)
        assert wanted.keys() < all_of_it.keys() and ("Patient", patient) in wanted
        assert record(fhir, f"{path}?{query}") == wanted, query
    # a practitioner whom only what is out of the span refers to is out too
    assert not any(k[0] == "Location" for k in record(fhir, f"{path}?start=2199"))


@pytest.mark.parametrize("name", ["_since", "since"])
def test_since_gives_what_changed(loaded, name):
    fhir = loaded.fhir
    patient = loaded.patients[4]
    before = record(fhir, f"Patient/{patient}/$everything")
    observation = next(k for k in before if k[0] == "Observation")
    practitioner = next(k for k in before if k[0] == "Practitioner")
    stamp = None
    for key in (observation, practitioner):
        done = fhir.put("/".join(key), loaded.resources[key])
        assert done.status == 200
        stamp = stamp or done.json["meta"]["lastUpdated"]
    got = record(fhir, f"Patient/{patient}/$everything?{name}={stamp}")
    assert got == {observation: "match", practitioner: "include"}


def test_pages_stay_as_of_the_first_while_the_record_changes(loaded):
    fhir = loaded.fhir
    patient = loaded.patients[5]
    path = f"Patient/{patient}/$everything"
    wanted = record(fhir, path)
    keys, n = [], 0
    for page in pages(fhir, f"{path}?_count=20"):
        assert page["total"] == len(wanted)
        keys += [(e["resource"]["resourceType"], e["resource"]["id"]) for e in page["entry"]]
        last = page["entry"][-1]["resource"]
        victim = next((k for k in wanted if k[0] == "Observation" and k not in keys), None)
        if victim and n < 8:  # gone, and a new one in front of the place and one behind it
            assert fhir.delete("/".join(victim)).status == 204
            for i in (f"000{n}", f"zzz{n}"):
                assert fhir.put(f"Observation/{i}", {**loaded.resources[victim], "id": i}).status == 201
        fhir.put(f"{last['resourceType']}/{last['id']}", {k: v for k, v in last.items() if k != "meta"})
        n += 1
    assert sorted(wanted) == keys
    after = record(fhir, path)
    assert ("Observation", "0000") in after and after.keys() != wanted.keys()
    assert fhir.delete(f"Patient/{patient}").status == 204
    assert fhir.get(path).status == 410 and "deleted" in fhir.get(path).text


def test_bad_requests(loaded):
    fhir = loaded.fhir
    path = f"Patient/{loaded.patients[0]}/$everything"
    assert fhir.get("Patient/nobody/$everything").status == 404
    assert fhir.get("Observation/x/$everything").status == 404
    assert fhir.put(path, {}).status == 405
    for query in ("_type=Nothing", "_count=x", "_count=-1", "start=yesterday", "end=2020-13", "_since=ge2020",
                  "page=x", "page=1-e-0-x", "page=999999999-e-1-x", "page=1-e-200-x", "page=1-p-0-0-0--x"):
        got = fhir.get(f"{path}?{query}")
        assert got.status == 400, query
        assert got.json["issue"][0]["code"] == "invalid"
    assert fhir.get(f"{path}?code=x", Prefer="handling=strict").status == 400
    got = fhir.get(f"{path}?code=x&_type=Patient").json
    assert got["entry"][-1]["search"]["mode"] == "outcome" and "code" not in got["link"][0]["url"]
    assert {e["resource"]["id"] for e in got["entry"][:-1]} == {"linked", loaded.patients[0]}
    none = fhir.get(f"{path}?_count=0").json
    assert none["total"] > 20 and "entry" not in none and [x["relation"] for x in none["link"]] == ["self"]


def test_elements_are_cut(loaded):
    got = loaded.fhir.get(f"Patient/{loaded.patients[0]}/$everything?_type=Patient&_elements=gender").json
    for entry in got["entry"]:
        assert set(entry["resource"]) <= {"resourceType", "id", "meta", "gender", "active", "link"}
        assert entry["resource"]["meta"]["tag"][-1]["code"] == "SUBSETTED"
    assert got["total"] == 2 and "name" in loaded.resources[("Patient", loaded.patients[0])]


# ---- Patient/<id>/* ----

def members(fhir, path):
    keys = []
    for page in pages(fhir, path):
        for entry in page.get("entry", []):
            assert entry["search"]["mode"] == "match"
            keys.append((entry["resource"]["resourceType"], entry["resource"]["id"]))
    assert len(keys) == len(set(keys))
    return set(keys)


@pytest.mark.parametrize("count", [3, 1000])
def test_a_compartment_is_searched_over_all_types(loaded, count):
    patient = loaded.patients[6]
    wanted = {k for k, mode in oracle(loaded.resources, patient).items() if mode == "match"}
    assert members(loaded.fhir, f"Patient/{patient}/*?_count={count}") == wanted
    total = loaded.fhir.get(f"Patient/{patient}/*?_summary=count").json["total"]
    assert total == len(wanted)


def test_a_compartment_is_narrowed_by_what_all_types_have(loaded):
    fhir = loaded.fhir
    one = loaded.patients[0]
    wanted = {k for k, mode in oracle(loaded.resources, one).items() if mode == "match"}
    ids = sorted(i for t, i in wanted)[:3] + [one]
    assert members(fhir, f"Patient/{one}/*?_id={','.join(ids)}") == {k for k in wanted if k[1] in ids}
    assert members(fhir, f"Patient/{one}/*?_type=Condition,Patient,Organization") == {
        k for k in wanted if k[0] in ("Condition", "Patient")}
    assert members(fhir, f"Patient/{one}/*?_type=Organization") == set()
    assert members(fhir, f"Patient/{one}/*?_lastUpdated=lt2000") == set()
    assert members(fhir, f"Patient/{one}/Patient") == {("Patient", "linked")}
    assert fhir.get(f"Patient/{one}/*?code=x", Prefer="handling=strict").status == 400
    assert fhir.get("Organization/x/*").status == 404
    assert members(fhir, "Patient/nobody/*") == set()
    encounter = next(r for k, r in loaded.resources.items() if k[0] == "Encounter")
    got = members(fhir, f"Encounter/{encounter['id']}/*")
    assert ("Encounter", encounter["id"]) in got and any(t == "Observation" for t, _ in got)


@pytest.mark.skipif(not FHIR_R4.exists(), reason=NO_FHIR_DATA)
def test_every_way_into_the_compartment(server):
    """One resource for each parameter of the official CompartmentDefinition, made from its expression."""
    fhir = server.fhir(server.create_store())
    parameters = [json.loads(line) for line in read_ndjson(FHIR_R4 / "SearchParameter.ndjson")]
    compartments = {d["id"]: d for d in map(json.loads, read_ndjson(FHIR_R4 / "CompartmentDefinition.ndjson"))}
    expression = {(base, p["code"]): p["expression"] for p in parameters for base in p.get("base", [])
                  if "expression" in p}
    for i in ("1", "2"):
        fhir.put(f"Patient/{i}", {"resourceType": "Patient", "id": i})
    wanted, n = {("Patient", "1")}, 0
    for row in compartments["patient"]["resource"]:
        for code in row.get("param", []):
            kind = row["code"]
            one = next(x.strip(" ()") for x in expression[(kind, code)].split("|") if x.strip(" ()").startswith(kind + "."))
            path = re.sub(r"\.where\(.*|\.as\(.*| as .*", "", one).split(".")[1:]
            for patient in ("1", "2"):
                value = {"reference": f"Patient/{patient}"}
                for name in reversed(path):
                    value = {name: value}
                n += 1
                key = (kind, f"m{n}")
                done = fhir.put("/".join(key), {"resourceType": kind, "id": key[1], **value},
                                x_amzn_healthlake_fhir_validation_level="minimal")
                assert done.status == 201, (kind, code, done.body)
                if patient == "1":
                    wanted.add(key)
    assert n > 180
    assert set(record(fhir, "Patient/1/$everything")) == wanted
    assert members(fhir, "Patient/1/*?_count=10") == wanted
