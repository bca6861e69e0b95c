"""The REST API as HTTP: every interaction's statuses and headers, conditions, preferences, forms of an answer."""
import email.utils
import gzip
import json
import re
import time

import pytest

from fhirlake import exact, read_ndjson, tokens

pytestmark = pytest.mark.sanitize


@pytest.fixture(scope="module")
def fhir(server):
    return server.fhir(server.create_store())


@pytest.fixture(scope="module")
def ids():
    return iter(range(1000000))


def patient(id=None, **more):
    return {"resourceType": "Patient", **({"id": id} if id else {}), **more}


def numbered(mrn, **more):
    return patient(identifier=[{"system": "urn:mrn", "value": mrn}], **more)


# ---- reading ----

def test_head_is_get_without_the_body(fhir):
    fhir.put("Patient/head", patient("head"))
    for path in ("Patient/head", "Patient/head/_history/1", "Patient/head/_history", "Patient/_history", "_history",
                 "Patient", "Patient?_id=head", "?_id=head", "Patient/head/Observation", "Patient/head/*",
                 "Patient/head/$everything", "metadata", "Patient/nobody", "Patiens"):
        get, head = fhir.get(path), fhir.call("HEAD", path)
        assert (head.status, head.body) == (get.status, b""), path
        same = {"Content-Type", "ETag", "Last-Modified"}
        assert {h: head.headers[h] for h in same} == {h: get.headers[h] for h in same}, path
        if path in ("Patient/head", "metadata", "Patient/nobody"):
            assert head.headers["Content-Length"] == str(len(get.body))


def test_every_answer_about_one_version_says_which(fhir):
    made = fhir.put("Patient/tag", patient("tag"))
    changed = fhir.put("Patient/tag", patient("tag", active=True))
    patched = fhir.patch("Patient/tag", [{"op": "remove", "path": "/active"}])
    read, vread = fhir.get("Patient/tag"), fhir.get("Patient/tag/_history/2")
    fhir.delete("Patient/tag")
    gone = fhir.get("Patient/tag")
    assert [a.status for a in (made, changed, patched, read, vread, gone)] == [201, 200, 200, 200, 200, 410]
    assert [a.headers["ETag"] for a in (made, changed, patched, read, vread, gone)] == [
        f'W/"{n}"' for n in (1, 2, 3, 3, 2, 4)]
    for a in (made, changed, patched, read, vread):
        meta = a.json["meta"]
        assert a.headers["ETag"] == f'W/"{meta["versionId"]}"'
        seconds = meta["lastUpdated"][:19]
        assert email.utils.parsedate_to_datetime(a.headers["Last-Modified"]).strftime("%Y-%m-%dT%H:%M:%S") == seconds
    assert made.headers["Location"] == f"{fhir.base}/Patient/tag/_history/1"
    for version, a in ((2, changed), (3, patched)):
        assert a.headers["Location"] is None
        assert a.headers["Content-Location"] == f"{fhir.base}/Patient/tag/_history/{version}"


def test_conditional_reads(fhir):
    fhir.put("Patient/cread", patient("cread"))
    fhir.put("Patient/cread", patient("cread", active=True))
    for path, current in (("Patient/cread", 2), ("Patient/cread/_history/1", 1)):
        plain = fhir.get(path)
        stamp = plain.headers["Last-Modified"]
        later = email.utils.formatdate(time.time() + 60, usegmt=True)
        for tag, status in ((f'W/"{current}"', 304), (f'"{current}"', 304), ('W/"9"', 200), ("*", 304),
                            (f'W/"9", W/"{current}"', 304), ('"abc"', 200)):
            got = fhir.get(path, If_None_Match=tag)
            assert got.status == status, (path, tag)
            assert (got.body == b"") == (status == 304) and got.headers["ETag"] == plain.headers["ETag"]
            assert fhir.call("HEAD", path, If_None_Match=tag).status == status
        assert fhir.get(path, If_Modified_Since=stamp).status == 304
        assert fhir.get(path, If_Modified_Since=later).status == 304
        assert fhir.get(path, If_Modified_Since="Sat, 01 Jan 2000 00:00:00 GMT").status == 200
        assert fhir.get(path, If_Modified_Since="yesterday").status == 200, "a date that is none is passed over"
        # the tag decides where both are sent
        assert fhir.get(path, If_None_Match='W/"9"', If_Modified_Since=later).status == 200
    assert fhir.get("Patient/nobody", If_None_Match="*").status == 404
    fhir.delete("Patient/cread")
    assert fhir.get("Patient/cread", If_None_Match='W/"3"').status == 410


def test_summary_and_elements_of_a_read(fhir):
    fhir.put("Patient/cut", '{"resourceType":"Patient","id":"cut","text":{"status":"generated","div":'
             '"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">x</div>"},"active":true,"name":[{"family":"F"}],'
             '"maritalStatus":{"text":"m"},"multipleBirthInteger":2,"extension":[{"url":"http://x","valueDecimal":1.50}]}')
    whole = fhir.get("Patient/cut").json
    wanted = {"_summary=true": {"name"}, "_summary=text": {"text"},
              "_summary=data": {"name", "maritalStatus", "multipleBirthInteger", "extension"},
              "_elements=maritalStatus,multipleBirth": {"maritalStatus", "multipleBirthInteger"},
              "_elements=Patient.name.family": {"name"}, "_elements=nothing": set()}
    for path in ("Patient/cut", "Patient/cut/_history/1"):
        for query, names in wanted.items():
            got = fhir.get(f"{path}?{query}")
            assert got.status == 200 and got.headers["ETag"] == 'W/"1"'
            assert set(got.json) - {"resourceType", "id", "meta", "active"} == names, query
            assert got.json["meta"]["tag"][-1]["code"] == "SUBSETTED"
            assert all(got.json[n] == whole[n] for n in names)
        assert b'"valueDecimal":1.50' in fhir.get(f"{path}?_summary=data").body
        assert fhir.get(f"{path}?_summary=false").body == fhir.get(path).body
        for query in ("_summary=count", "_summary=x", "_summary=true&_elements=name"):
            assert fhir.get(f"{path}?{query}").status == 400, query


def test_pretty_is_for_people(fhir):
    body = ('{"resourceType":"Patient","id":"pretty","active":true,"extension":[{"url":"http://x","valueDecimal":1.50}],'
            '"name":[{"family":"a \\"b\\" {c}, [d]: e\\\\","given":["\\u00e4"]}]}')
    assert fhir.put("Patient/pretty", body).status == 201
    plain, pretty = fhir.get("Patient/pretty"), fhir.get("Patient/pretty?_pretty=true")
    text = pretty.body.decode()
    assert text.startswith('{\n  "resourceType": "Patient",\n  "id": "pretty",\n  "meta": {\n    "versionId": "1",\n')
    assert '\n      "valueDecimal": 1.50\n    }\n  ],' in text and text.endswith('\n}\n')
    assert '"family": "a \\"b\\" {c}, [d]: e\\\\"' in text and '"\\u00e4"' in text
    assert exact(pretty.body) == exact(plain.body) and len(pretty.body) > len(plain.body)
    assert fhir.get("Patient/pretty?_pretty=false").body == plain.body
    assert b"\n  " in fhir.get("Patient/nobody?_pretty=true").body
    assert fhir.get("metadata?_pretty=true").json == fhir.get("metadata").json
    assert b'\n  "type": "searchset"' in fhir.get("Patient?_id=pretty&_pretty=true").body
    assert b"\n  " in fhir.post("Patient?_pretty=true", patient()).body


# ---- what the two sides speak ----

@pytest.mark.parametrize("accept, status", [
    ("application/fhir+json", 200), ("application/json", 200), ("*/*", 200), ("", 200),
    ("application/fhir+json; charset=utf-8", 200), ("application/fhir+json;fhirVersion=4.0", 200),
    ("application/fhir+xml, application/fhir+json;q=0.5", 200), ("text/html, */*;q=0.1", 200),
    ("APPLICATION/FHIR+JSON", 200), ("application/fhir+xml", 406), ("image/png", 406),
    ("application/fhir+json; fhirVersion=5.0", 406)])
def test_accept(fhir, accept, status):
    got = fhir.get("metadata", Accept=accept)
    assert got.status == status
    assert got.headers["Content-Type"] == "application/fhir+json;charset=utf-8"
    if status == 406:
        assert got.json["issue"][0]["code"] == "not-supported"


@pytest.mark.parametrize("format, status", [
    ("json", 200), ("application/json", 200), ("application/fhir%2Bjson", 200), ("application/fhir%20json", 200),
    ("xml", 406), ("application/fhir%2Bxml", 406), ("ttl", 406)])
def test_format_wins_over_accept(fhir, format, status):
    fhir.put("Patient/format", patient("format"))
    for path in ("Patient/format", "Patient", "metadata", "Patient/format/_history"):
        assert fhir.get(f"{path}?_format={format}", Accept="application/fhir+xml").status == status, path


@pytest.mark.parametrize("content_type, status", [
    ("application/fhir+json", 201), ("application/json", 201), ("application/fhir+json; charset=UTF-8", 201),
    ('application/fhir+json; charset="utf-8"', 201), ("application/fhir+json; fhirVersion=4.0", 201),
    (None, 201), ("application/fhir+xml", 415), ("text/plain", 415), ("application/fhir+json; charset=latin1", 415),
    ("application/fhir+json; fhirVersion=3.0", 415), ("application/x-www-form-urlencoded", 201)])
def test_content_types(fhir, content_type, status):
    assert fhir.post("Patient", patient(), content_type=content_type).status == status
    if content_type and status == 415:
        assert fhir.put("Patient/x", patient("x"), content_type=content_type).status == 415
        assert fhir.get("Patient/x").status == 404


def test_a_packed_body_is_refused_in_words(fhir):
    got = fhir.post("Patient", gzip.compress(json.dumps(patient()).encode()), Content_Encoding="gzip")
    assert got.status == 415 and "Content-Encoding" in got.text
    assert fhir.post("Patient", patient(), Content_Encoding="identity").status == 201


def test_large_answers_are_packed_for_who_takes_it(fhir):
    fhir.put("Patient/large", patient("large", name=[{"family": "x" * 5000}]))
    for path in ("metadata", "Patient/large", "Patient?_id=large"):
        plain = fhir.get(path)
        packed = fhir.get(path, Accept_Encoding="deflate, gzip;q=0.5")
        assert plain.headers["Content-Encoding"] is None and plain.headers["Vary"] == "Accept-Encoding"
        assert packed.headers["Content-Encoding"] == "gzip" and packed.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(packed.body) == plain.body and len(packed.body) < len(plain.body) / 2
        assert packed.headers["Content-Length"] == str(len(packed.body))
        assert packed.headers["ETag"] == plain.headers["ETag"]
        assert fhir.get(path, Accept_Encoding="gzip;q=0").headers["Content-Encoding"] is None
    small = fhir.get("Patient/nobody", Accept_Encoding="gzip")
    assert small.headers["Content-Encoding"] is None and small.json["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("method, path, allow", [
    ("DELETE", "metadata", "GET, HEAD"), ("POST", "Patient/x", "GET, HEAD, PUT, PATCH, DELETE"),
    ("PUT", "Patient/x/_history/1", "GET, HEAD"), ("POST", "Patient/x/_history", "GET, HEAD"),
    ("GET", "Patient/_search", "POST"), ("GET", "Patient/$validate", "POST"),
    ("PUT", "Patient/x/$everything", "GET, HEAD, POST"), ("PUT", "Patient/x/Observation", "GET, HEAD"),
    ("OPTIONS", "Patient/x", "GET, HEAD, PUT, PATCH, DELETE")])
def test_a_method_that_is_not_offered(fhir, method, path, allow):
    got = fhir.call(method, path, None if method in ("GET", "DELETE", "OPTIONS") else {})
    assert got.status == 405 and got.headers["Allow"] == allow
    assert got.json["issue"][0]["code"] == "not-supported"


def test_every_answer_names_its_request(fhir):
    seen = {fhir.get(p).headers["x-amzn-RequestId"] for p in ("metadata", "Patient/nobody", "Patiens", "Patient")}
    assert len(seen) == 4 and all(re.fullmatch(r"[0-9a-f-]{36}", s) for s in seen)


# ---- writing ----

@pytest.mark.parametrize("prefer, kind", [
    ("return=minimal", None), ("return=representation", "Patient"), ("return=OperationOutcome", "OperationOutcome"),
    ("handling=strict, return=minimal", None), ("respond-async; return=minimal", None), ("return=nonsense", "Patient"),
    ("", "Patient")])
def test_prefer_on_every_write(fhir, ids, prefer, kind):
    id = f"prefer-{next(ids)}"
    mrn = f"mrn-{id}"
    answers = [
        (fhir.post("Patient", patient(), Prefer=prefer), 201),
        (fhir.put(f"Patient/{id}", patient(id), Prefer=prefer), 201),
        (fhir.put(f"Patient/{id}", {**numbered(mrn), "id": id}, Prefer=prefer), 200),
        (fhir.patch(f"Patient/{id}", [{"op": "add", "path": "/active", "value": True}], Prefer=prefer), 200),
        (fhir.put(f"Patient?identifier={mrn}", numbered(mrn), Prefer=prefer), 200)]
    for answer, status in answers:
        assert answer.status == status and answer.headers["ETag"] and answer.headers["Last-Modified"]
        assert (answer.json["resourceType"] if answer.body else None) == kind
    for answer, status in answers[:2]:
        assert answer.headers["Location"].startswith(f"{fhir.base}/Patient/")


def test_versions_that_writes_ask_for(fhir):
    fhir.put("Patient/match", patient("match"))
    patch = [{"op": "add", "path": "/active", "value": True}]
    for tag, status in (('W/"2"', 412), ('W/"0"', 412), ("nonsense", 400), ('W/"2", W/"3"', 412)):
        for answer in (fhir.put("Patient/match", patient("match"), If_Match=tag),
                       fhir.patch("Patient/match", patch, If_Match=tag), fhir.delete("Patient/match", If_Match=tag)):
            assert answer.status == status and answer.json["resourceType"] == "OperationOutcome", tag
    assert fhir.get("Patient/match").headers["ETag"] == 'W/"1"', "nothing was written"
    assert fhir.put("Patient/match", patient("match"), If_Match='"1"').status == 200
    assert fhir.patch("Patient/match", patch, If_Match='W/"2"').status == 200
    assert fhir.put("Patient/match", patient("match"), If_Match='W/"3"', If_None_Match="*").status == 400
    assert fhir.put("Patient/match", patient("match"), If_None_Match='W/"3"').status == 412
    assert fhir.delete("Patient/match", If_Match='W/"3"').status == 204
    assert fhir.put("Patient/unmade", patient("unmade"), If_Match='W/"1"').status in (404, 412)
    assert fhir.get("Patient/unmade").status == 404


def test_a_patch_of_what_was_read_and_put_back(fhir):
    """Clients put back what they read, with the version in meta."""
    read = fhir.put("Patient/back", patient("back", active=True)).json
    assert fhir.put("Patient/back", read).status == 200
    done = fhir.patch("Patient/back", [{"op": "test", "path": "/meta/versionId", "value": "2"},
                                       {"op": "replace", "path": "/active", "value": False}])
    assert done.status == 200 and done.json["active"] is False and done.json["meta"]["versionId"] == "3"
    assert done.body == fhir.get("Patient/back").body
    assert fhir.patch("Patient/back", [{"op": "test", "path": "/meta/versionId", "value": "2"}]).status == 422
    fhir.put("Patient/back", {**read, "meta": {"tag": [{"code": "t"}]}})
    done = fhir.patch("Patient/back", [{"op": "remove", "path": "/meta/tag"}])
    assert done.status == 200 and set(done.json["meta"]) == {"versionId", "lastUpdated"}
    done = fhir.patch("Patient/back", [{"op": "remove", "path": "/meta"}])
    assert done.status == 200 and done.json["meta"]["versionId"] == "6"


def test_conditional_create(fhir, ids):
    mrn = f"ccreate-{next(ids)}"
    query = f"identifier=urn:mrn|{mrn}"
    first = fhir.post("Patient", numbered(mrn), If_None_Exist=query)
    assert first.status == 201 and first.headers["Location"].endswith("/_history/1")
    second = fhir.post("Patient", numbered(mrn, active=True), If_None_Exist=query)
    assert second.status == 200 and second.json == first.json
    assert second.headers["Location"] == first.headers["Location"] and second.headers["ETag"] == 'W/"1"'
    assert fhir.post("Patient", numbered(mrn), If_None_Exist=f"?{query}", Prefer="return=minimal").body == b""
    assert fhir.post("Patient", numbered(mrn)).status == 201
    many = fhir.post("Patient", numbered(mrn), If_None_Exist=query)
    assert many.status == 412 and many.json["resourceType"] == "OperationOutcome"
    assert fhir.get(f"Patient?{query}&_summary=count").json["total"] == 2
    assert fhir.post("Patient", numbered(mrn), If_None_Exist="nothing=1").status == 400
    assert fhir.post("Patient", numbered(mrn), If_None_Exist="_count=1").status == 400


def test_conditional_update(fhir, ids):
    mrn = f"cupdate-{next(ids)}"
    path = f"Patient?identifier={mrn}"
    made = fhir.put(path, numbered(mrn))
    assert made.status == 201 and made.headers["Location"]
    id = made.json["id"]
    changed = fhir.put(path, numbered(mrn, active=True))
    assert (changed.status, changed.json["id"], changed.headers["ETag"]) == (200, id, 'W/"2"')
    assert fhir.put(path, {**numbered(mrn), "id": id}).status == 200
    other = fhir.put(path, {**numbered(mrn), "id": "another"})
    assert other.status == 409
    named = fhir.put(f"Patient?identifier={mrn}-b", {**numbered(f"{mrn}-b"), "id": f"{mrn}-named"})
    assert named.status == 201 and named.json["id"] == f"{mrn}-named"
    taken = fhir.put(f"Patient?identifier={mrn}-c", {**numbered(f"{mrn}-c"), "id": id})
    assert taken.status == 409 and taken.json["issue"][0]["code"] == "conflict"
    fhir.post("Patient", numbered(mrn))
    assert fhir.put(path, numbered(mrn)).status == 412
    assert fhir.put("Patient", numbered(mrn)).status == 400, "no criteria"
    assert fhir.put("Patient?unknown=1", numbered(mrn)).status == 400


def test_conditional_patch_and_delete(fhir, ids):
    mrn = f"cdelete-{next(ids)}"
    path = f"Patient?identifier={mrn}"
    patch = [{"op": "add", "path": "/active", "value": True}]
    assert fhir.patch(path, patch).status == 404 and fhir.delete(path).status == 404
    id = fhir.put(path, numbered(mrn)).json["id"]
    done = fhir.patch(path, patch)
    assert done.status == 200 and done.json["active"] is True and done.json["id"] == id
    fhir.put(f"Patient/{mrn}", {**numbered(mrn), "id": mrn})
    assert fhir.patch(path, patch).status == 412 and fhir.delete(path).status == 412
    assert fhir.get(f"Patient/{mrn}").headers["ETag"] == 'W/"1"'
    fhir.delete(f"Patient/{mrn}")
    assert fhir.delete(path).status == 204 and fhir.get(f"Patient/{id}").status == 410
    assert fhir.delete("Patient").status == 400 and fhir.delete("Patient?_count=5").status == 400


def test_a_conditional_delete_by_id_says_why_nothing_matches(fhir, ids):
    n = next(ids)
    live, gone, never = f"live-{n}", f"gone-{n}", f"never-{n}"
    for id in (live, gone):
        fhir.put(f"Patient/{id}", patient(id, meta={"tag": [{"code": "kept"}]}))
    fhir.delete(f"Patient/{gone}")
    other = ("_tag=other", "_lastUpdated=lt2000", "createdAt=lt2000", "_tag:not=kept", "_tag=other&_lastUpdated=gt2000")
    for query, status in [("", 204), *((f"&{x}", 204) for x in other), ("&_tag=kept", 204), ("&active=true", 404),
                          ("&_tag=kept&active=true", 404)]:
        assert fhir.delete(f"Patient?_id={gone}{query}").status == status, query
    for query, status in [*((f"&{x}", 409) for x in other), ("&active=true", 404), ("&_id=other", 404), (f",{gone}&_tag=other", 404)]:
        got = fhir.delete(f"Patient?_id={live}{query}")
        assert got.status == status and got.json["issue"][0]["code"] == ("conflict" if status == 409 else "not-found"), query
    for query in ("", "&_tag=kept", "&createdAt=gt2000"):
        assert fhir.delete(f"Patient?_id={never}{query}").status == 404
    assert fhir.delete(f"Patient?_id={gone}", If_Match="*").status == 412
    assert fhir.delete(f"Patient?_id={gone}&_count=2").json.get("entry") is None
    assert fhir.patch(f"Patient?_id={gone}", []).status == 404, "a patch has nothing to go by"
    for kind in ("batch", "transaction"):
        for url, status in ((f"Patient?_id={gone}", "204"), (f"Patient?_id={live}&_tag=other", "409"), (f"Patient?_id={never}", "404")):
            got = fhir.post("", {"resourceType": "Bundle", "type": kind, "entry": [{"request": {"method": "DELETE", "url": url}}]})
            assert (got.json["entry"][0]["response"]["status"] if got.status == 200 else str(got.status)) == status, url
    assert fhir.get(f"Patient/{live}").headers["ETag"] == 'W/"1"'
    assert fhir.delete(f"Patient?_id={live}&_tag=kept").status == 204 and fhir.get(f"Patient/{live}").status == 410


def test_conditional_delete_of_several(fhir, ids):
    mrn = f"cdeletes-{next(ids)}"
    path = f"Patient?identifier={mrn}&_count=2"
    made = [fhir.post("Patient", numbered(mrn)).json["id"] for _ in range(5)]
    other = fhir.post("Patient", numbered(f"{mrn}-b")).json["id"]
    refused = [fhir.delete(f"Patient?identifier={mrn}&_count={n}") for n in ("0", "101", "x", "-1", "")]
    refused += [fhir.delete(path, If_Match='W/"1"'), fhir.delete("Patient?_count=2"),
                fhir.delete(f"Patient?nothing=1&_count=2")]
    assert [a.status for a in refused] == [400] * len(refused)
    for kind in ("batch", "transaction"):
        done = fhir.post("", {"resourceType": "Bundle", "type": kind,
                              "entry": [{"request": {"method": "DELETE", "url": path}}]})
        status = done.json["entry"][0]["response"]["status"] if kind == "batch" else str(done.status)
        assert status.startswith("400"), done.body
    gone = []
    for left in (3, 1, 0):
        done = fhir.delete(path)
        assert done.status == 200 and done.json["type"] == "batch-response"
        assert all(x["response"]["status"] == "204" for x in done.json["entry"])
        gone += [x["response"]["location"] for x in done.json["entry"]]
        following = [x["url"] for x in done.json["link"] if x["relation"] == "next"]
        assert len(following) == (left > 0) and fhir.get(f"Patient?identifier={mrn}&_summary=count").json["total"] == left
        path = following[0] if following else path
    assert sorted(gone) == sorted(f"Patient/{i}" for i in made)
    assert all(fhir.get(f"Patient/{i}").status == 410 for i in made) and fhir.get(f"Patient/{other}").status == 200
    empty = fhir.delete(path)
    assert empty.status == 200 and "entry" not in empty.json and len(empty.json["link"]) == 1


def test_what_a_write_refuses_it_does_not_write(fhir):
    for answer, status, code in (
            (fhir.put("Patient/bad", {"resourceType": "Patient", "id": "bad", "gender": "blue"}), 400, None),
            (fhir.put("Patient/bad", {"resourceType": "Patient", "id": "bad", "nothing": 1}), 400, None),
            (fhir.put("Patient/bad", '{"resourceType":"Patient","id":"bad","id":"bad"}'), 400, "invalid"),
            (fhir.put("Patient/bad", '{"resourceType":"Patient","id":"bad","contained":' + "[" * 400), 413, "too-long"),
            (fhir.put("Patient/bad", patient("bad"), x_amzn_healthlake_fhir_validation_level="none"), 400, "invalid"),
            (fhir.put("Patient/b%C3%A4d", patient("bäd")), 400, "invalid"),
            (fhir.patch("Patient/bad", []), 404, "not-found")):
        assert answer.status == status, answer.body[:300]
        assert code is None or answer.json["issue"][0]["code"] == code, answer.body[:300]
        assert all(i["severity"] == "error" and i["details"]["text"] for i in answer.json["issue"])
    assert fhir.get("Patient/bad").status == 404


def test_generated_resources_come_back_as_they_were_sent(fhir, generated):
    """Byte for byte but for meta, as the examples of HL7 do in test_rest.py, which may not be at hand."""
    seen = set()
    for file in sorted(generated.glob("*.ndjson")):
        for line in read_ndjson(file)[:40]:
            head = json.loads(line)
            path = f"{head['resourceType']}/{head['id']}"
            put = fhir.put(path, line)
            assert put.status in (200, 201), (path, put.body)
            got = fhir.get(path)
            assert got.body == put.body and tokens(got.body) == tokens(line), path
            meta = json.dumps(got.json["meta"], separators=(",", ":")).encode()
            if "meta" not in head:
                assert got.body.replace(b',"meta":' + meta, b"", 1) == line, path
            seen.add(head["resourceType"])
    assert len(seen) == 25
