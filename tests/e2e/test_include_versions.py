"""References that name a version: _include brings the one that is named."""
import json

import pytest

from fhirlake import Fhir, Server

pytestmark = pytest.mark.sanitize


@pytest.fixture
def fhir(server):
    return server.fhir(server.create_store())


def patient(id, family, **more):
    return {"resourceType": "Patient", "id": id, "name": [{"family": family}], **more}


def observation(id, *subjects, **more):
    made = {"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"}, **more}
    if subjects:
        made["subject"] = {"reference": subjects[0]}
    if subjects[1:]:
        made["focus"] = [{"reference": s} for s in subjects[1:]]
    return made


def included(fhir, query):
    got = fhir.get(query)
    assert got.status == 200, got.body
    entries = got.json.get("entry", [])
    assert len({(e["fullUrl"], e["resource"]["meta"]["versionId"]) for e in entries}) == len(entries), "each version once"
    assert all(e["fullUrl"] == f"{fhir.base}/{e['resource']['resourceType']}/{e['resource']['id']}" for e in entries)
    return sorted((e["resource"]["id"], e["resource"]["meta"]["versionId"]) for e in entries if e["search"]["mode"] == "include")


def history(fhir):
    """p: versions 1, 2, deleted 3, 4. gone: version 1, deleted."""
    for family in ("One", "Two"):
        fhir.put("Patient/p", patient("p", family))
    fhir.delete("Patient/p")
    fhir.put("Patient/p", patient("p", "Four"))
    fhir.put("Patient/gone", patient("gone", "Gone"))
    fhir.delete("Patient/gone")


@pytest.mark.parametrize("reference, found", [
    ("Patient/p", [("p", "4")]), ("Patient/p/_history/1", [("p", "1")]), ("Patient/p/_history/2", [("p", "2")]),
    ("Patient/p/_history/3", []), ("Patient/p/_history/4", [("p", "4")]), ("Patient/p/_history/5", []),
    ("Patient/p/_history/0", []), ("Patient/p/_history/01", [("p", "1")]), ("Patient/p/_history/abc", []),
    ("Patient/p/_history/", []), ("Patient/p/_history/1#x", [("p", "1")]), ("Patient/p/_history/99999999999999999999", []),
    ("BASE/Patient/p/_history/1", [("p", "1")]), ("http://elsewhere/fhir/Patient/p/_history/1", []),
    ("Patient/gone", []), ("Patient/gone/_history/1", [("gone", "1")]), ("Patient/gone/_history/2", []), ("Patient/none/_history/1", [])])
def test_the_version_that_is_named_comes(fhir, reference, found):
    history(fhir)
    made = fhir.put("Observation/o", observation("o", reference.replace("BASE", fhir.base)),
                    x_amzn_healthlake_fhir_validation_level="minimal")
    assert made.status == 201, made.body
    for include in ("Observation:subject", "Observation:subject:Patient", "Observation:*", "Observation:patient"):
        assert included(fhir, f"Observation?_include={include}") == found, include
    entry = {"request": {"method": "GET", "url": "Observation?_include=Observation:subject"}}
    batch = fhir.post("", {"resourceType": "Bundle", "type": "batch", "entry": [entry]}).json["entry"][0]["resource"]
    assert len(batch["entry"]) == 1 + len(found)


def test_each_version_comes_once_however_it_is_named(fhir):
    history(fhir)
    fhir.put("Observation/a", observation("a", "Patient/p/_history/1", "Patient/p", "Patient/p/_history/4",
                                         f"{fhir.base}/Patient/p/_history/1", "Patient/p/_history/2"))
    fhir.put("Observation/b", observation("b", "Patient/p/_history/2", "Patient/p/_history/1"))
    wanted = [("p", "1"), ("p", "2"), ("p", "4")]
    assert included(fhir, "Observation?_include=Observation:subject&_include=Observation:focus") == wanted
    assert included(fhir, "Observation?_include=Observation:*") == wanted
    # a match is not included again, and its older versions are
    fhir.put("Patient/q", patient("q", "Link", link=[{"other": {"reference": "Patient/p/_history/1"}, "type": "seealso"},
                                                    {"other": {"reference": "Patient/p"}, "type": "refer"}]))
    assert included(fhir, "Patient?_include=Patient:link") == [("p", "1")]
    assert included(fhir, "Patient?_id=q&_include=Patient:link&_sort=family") == [("p", "1"), ("p", "4")]


def test_what_an_old_version_refers_to_comes_by_iterate(fhir):
    for id in ("x", "y"):
        fhir.put(f"Organization/{id}", {"resourceType": "Organization", "id": id, "name": id})
    fhir.put("Organization/x", {"resourceType": "Organization", "id": "x", "name": "newer"})
    fhir.put("Patient/p", patient("p", "One", managingOrganization={"reference": "Organization/x/_history/1"}))
    fhir.put("Patient/p", patient("p", "Two", managingOrganization={"reference": "Organization/y"}))
    fhir.put("Observation/o", observation("o", "Patient/p/_history/1"))
    query = "Observation?_include=Observation:subject&_include:iterate=Patient:organization"
    assert included(fhir, query) == [("p", "1"), ("x", "1")]
    fhir.put("Observation/n", observation("n", "Patient/p"))
    assert included(fhir, query) == [("p", "1"), ("p", "2"), ("x", "1"), ("y", "1")]
    # _revinclude asks for who refers to the resource, of whichever version
    assert included(fhir, "Patient?_revinclude=Observation:subject") == [("n", "1"), ("o", "1")]
    assert included(fhir, "Observation?_id=n&_include=Observation:subject&_revinclude:iterate=Observation:subject") == [
        ("o", "1"), ("p", "2")]
    assert fhir.get("Observation?subject=Patient/p&_summary=count").json["total"] == 2


def test_a_page_sees_no_version_that_came_after_it(fhir):
    fhir.put("Patient/p", patient("p", "One"))
    for i in range(3):
        fhir.put(f"Observation/o{i}", observation(f"o{i}", f"Patient/p/_history/{i + 1}"))
    page = fhir.get("Observation?_count=1&_include=Observation:subject").json
    fhir.put("Patient/p", patient("p", "Two"))
    url = next(x["url"] for x in page["link"] if x["relation"] == "next")
    assert included(fhir, url) == [] and included(fhir, "Observation?_id=o1&_include=Observation:subject") == [("p", "2")]


def test_old_versions_are_for_those_who_may_read_them(tmp_path):
    """A search alone shows what is current: an Observation of the caller's own must not show him more."""
    credentials = tmp_path / "credentials"
    policies = {"full": ["healthlake:*"], "finder": ["healthlake:SearchWithGet", "healthlake:SearchWithPost"]}
    text = ""
    for name, actions in policies.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": "*"}]}))
        text += f"[{name}]\naws_access_key_id = AKIA{name.upper()}\naws_secret_access_key = secret-{name}\npolicy = {name}.json\n"
    credentials.write_text(text)
    credentials.chmod(0o600)
    with Server(None, "--credentials", str(credentials), "--roles", "none") as server:
        full = server.client("AKIAFULL", "secret-full")
        store = server.create_store(full)
        base = f"{server.url}/datastore/{store}/r4"
        fhir, finder = Fhir(base, ("AKIAFULL", "secret-full")), Fhir(base, ("AKIAFINDER", "secret-finder"))
        history(fhir)
        for i, reference in enumerate(("Patient/p/_history/1", "Patient/gone/_history/1", "Patient/p/_history/9")):
            fhir.put(f"Observation/o{i}", observation(f"o{i}", reference))
        assert finder.get("Patient/p/_history/1").status == 403
        query = "Observation?_include=Observation:subject"
        assert included(fhir, query) == [("gone", "1"), ("p", "1")]
        assert included(finder, query) == [("p", "4")], "as a reference without a version"
