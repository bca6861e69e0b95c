"""The FHIR REST API as a signing client uses it: single resources, versions, preconditions, histories."""
import concurrent.futures
import datetime
import email.utils
import json
import random
import socket
import time
import urllib.parse
import uuid

import pytest

from fhirlake import EXAMPLES, LONG, NO_FHIR_DATA, Fhir, exact, read_ndjson, tokens, without_version

pytestmark = pytest.mark.sanitize
# Examples that break FHIR's own rules: a reference to a type that the element does not allow, items without linkId
BROKEN = {"DeviceMetric/example", "DeviceUseStatement/example", "MedicationRequest/medrx0301",
          "Observation/clinical-gender", "Questionnaire/qs1"}


@pytest.fixture
def fhir(server):
    return server.fhir(server.create_store())


ISSUES = "http://healthlake.amazonaws.com/fhir/StructureDefinition/validation-issue"


def marks(resource):
    return [json.loads(x["valueString"]) for x in resource.get("extension", []) if x.get("url") == ISSUES]


def without_marks(resource):
    resource = dict(resource)
    rest = [x for x in resource.pop("extension", []) if x.get("url") != ISSUES]
    return {**resource, **({"extension": rest} if rest else {})}


def patient(id=None, **more):
    return {"resourceType": "Patient", **({"id": id} if id else {}), **more}


def test_create_gives_an_id_and_says_where(fhir):
    made = fhir.post("Patient", patient("mine", active=True))
    assert made.status == 201 and made.headers["ETag"] == 'W/"1"'
    got = made.json
    assert got["id"] != "mine" and uuid.UUID(got["id"]) and got["active"] is True
    assert made.headers["Location"] == f"{fhir.base}/Patient/{got['id']}/_history/1"
    read = fhir.get(f"Patient/{got['id']}")
    assert read.status == 200 and read.body == made.body and read.headers["ETag"] == 'W/"1"'
    assert email.utils.parsedate_to_datetime(read.headers["Last-Modified"])
    head = fhir.call("HEAD", f"Patient/{got['id']}")
    assert head.status == 200 and head.body == b"" and head.headers["ETag"] == 'W/"1"'


def test_text_and_numbers_come_back_as_they_were_sent(fhir):
    body = ('{ "valueQuantity" : {"value": 1.00e+3, "unit":"m\\u00e4g"},\n"resourceType":"Observation","id":"o",'
            '"status":"final" , "code":{"text":"x"}}')
    fhir.put("Observation/o", body)
    got = fhir.get("Observation/o").body.decode()
    assert got.startswith('{"valueQuantity":{"value":1.00e+3,"unit":"m\\u00e4g"},"resourceType":"Observation","id":"o",')
    assert got.endswith('"status":"final","code":{"text":"x"}}')


@pytest.mark.skipif(not EXAMPLES.exists(), reason=NO_FHIR_DATA)
def test_the_official_examples_come_back_byte_for_byte(fhir):
    seen = 0
    for line in read_ndjson(EXAMPLES):
        head = json.loads(line)
        if len(line) > 4 << 20:
            continue
        path = f"{head['resourceType']}/{head['id']}"
        level = "minimal" if path in BROKEN else "strict"
        put = fhir.put(path, line, x_amzn_healthlake_fhir_validation_level=level)
        assert put.status in (200, 201), (path, put.body)
        assert (put.headers.get("x-amzn-healthlake-validation-issues") == "true") == (path in BROKEN)
        got = fhir.get(path)
        if path in BROKEN:
            assert marks(got.json), path
            assert without_marks(without_version(exact(got.body))) == without_version(exact(line)), path
            continue
        assert tokens(got.body) == tokens(line), path
        if "meta" not in head:
            meta = json.dumps(got.json["meta"], separators=(",", ":"))
            assert got.body.replace(b',"meta":' + meta.encode(), b"", 1) == line, path
        seen += 1
    assert seen > 500


def test_update_creates_changes_and_keeps_versions(fhir):
    assert fhir.put("Patient/p", patient("p", active=True)).status == 201
    second = fhir.put("Patient/p", patient("p", active=False))
    assert second.status == 200 and second.headers["ETag"] == 'W/"2"' and second.json["active"] is False
    assert fhir.get("Patient/p/_history/1").json["active"] is True
    assert fhir.get("Patient/p/_history/2").json["active"] is False
    assert fhir.get("Patient/p/_history/3").status == 404


def test_preconditions(fhir):
    fhir.put("Patient/p", patient("p"))
    assert fhir.put("Patient/p", patient("p"), If_Match='W/"7"').status == 412
    assert fhir.put("Patient/p", patient("p"), If_Match='W/"1"').status == 200
    assert fhir.put("Patient/p", patient("p"), If_None_Match="*").status == 412
    assert fhir.put("Patient/q", patient("q"), If_None_Match="*").status == 201
    assert fhir.delete("Patient/q").status == 204
    assert fhir.put("Patient/q", patient("q"), If_None_Match="*").status == 412, "a deleted id stays taken"
    assert fhir.put("Patient/p", patient("p"), If_Match="nonsense").status == 400
    assert fhir.delete("Patient/p", If_Match='W/"1"').status == 412
    assert fhir.get("Patient/p", If_None_Match='W/"2"').status == 304
    assert fhir.get("Patient/p", If_Modified_Since="Fri, 01 Jan 2100 00:00:00 GMT").status == 304
    assert fhir.get("Patient/p", If_Modified_Since="Sat, 01 Jan 2000 00:00:00 GMT").status == 200


def test_deleted_is_gone_and_its_history_stays(fhir):
    fhir.put("Patient/p", patient("p"))
    assert fhir.delete("Patient/p").status == 204
    gone = fhir.get("Patient/p")
    assert gone.status == 410 and gone.json["issue"][0]["code"] == "deleted"
    assert fhir.delete("Patient/p").status == 204
    assert fhir.delete("Patient/never").status == 404
    assert fhir.get("Patient/p/_history/1").status == 200
    assert fhir.get("Patient/p/_history/2").status == 410
    again = fhir.put("Patient/p", patient("p"))
    assert again.status == 201 and again.headers["ETag"] == 'W/"3"'
    entries = fhir.get("Patient/p/_history").json["entry"]
    assert [e["request"]["method"] for e in entries] == ["PUT", "DELETE", "PUT"]
    assert [e["response"]["etag"] for e in entries] == ['W/"3"', 'W/"2"', 'W/"1"']
    assert "resource" not in entries[1]


def test_histories_page_through_every_version_once(fhir):
    made = []
    for i in range(7):
        time.sleep(0.002)  # what one round makes is of another millisecond than the round before
        for kind in ("Patient", "Group", "Flag"):
            id = f"{kind}-{i % 4}"
            answer = fhir.put(f"{kind}/{id}", {"resourceType": kind, "id": id, "language": str(i)},
                              x_amzn_healthlake_fhir_validation_level="minimal")
            made.append((kind, id, answer.headers["ETag"]))
    for path, want in (("_history", made), ("Group/_history", [m for m in made if m[0] == "Group"]),
                       ("Group/Group-1/_history", [m for m in made if m[1] == "Group-1"])):
        for count in (1, 2, 5, 100):
            url, seen = f"{path}?_count={count}", []
            while url:
                page = fhir.get(url).json
                assert page["type"] == "history" and len(page["entry"]) <= count
                seen += [(e["resource"]["resourceType"], e["resource"]["id"], e["response"]["etag"])
                         for e in page["entry"]]
                url = next((x["url"] for x in page["link"] if x["relation"] == "next"), None)
            assert seen == want[::-1], (path, count)
    since = fhir.get("Group/Group-1/_history/1").json["meta"]["lastUpdated"]
    at = [e["response"]["lastModified"] for e in fhir.get("_history?_count=100").json["entry"]]
    later = fhir.get(f"_history?_since={since}").json["entry"]
    assert [e["response"]["lastModified"] for e in later] == [t for t in at if t >= since]  # several may be of one ms
    assert 1 < len(later) < len(made)
    assert fhir.get("_history?_since=yesterday").status == 400
    assert fhir.get("_history?_count=0").status == 400


def test_the_version_of_an_instant(fhir):
    times = []
    for i in range(3):
        times.append(fhir.put("Patient/p", patient("p", language=str(i))).json["meta"]["lastUpdated"])
    for i, at in enumerate(times):
        entries = fhir.get(f"Patient/p/_history?_at={at}").json["entry"]
        if times.count(at) == 1:
            assert [e["resource"]["language"] for e in entries] == [str(i)]


def pages(fhir, url):
    """(Type/id, ETag) of a history's entries, page by page."""
    seen = []
    while url:
        page = fhir.get(url)
        assert page.status == 200, (url, page.body)
        seen += [("/".join(e["fullUrl"].split("/")[-2:]), e["response"]["etag"]) for e in page.json.get("entry", [])]
        url = next((x["url"] for x in page.json["link"] if x["relation"] == "next"), None)
    return seen


def period(text):
    """[from, to) of a date or dateTime, in milliseconds."""
    when = datetime.datetime.fromisoformat((text + "-01-01"[:10 - len(text)] if len(text) < 10 else text).replace("Z", "+00:00"))
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.timezone.utc)
    if len(text) == 4:
        end = when.replace(year=when.year + 1)
    elif len(text) == 7:
        end = (when + datetime.timedelta(days=31)).replace(day=1)
    else:
        end = when + datetime.timedelta(**({"days": 1} if len(text) == 10 else
                                           {"milliseconds": 1} if "." in text else {"seconds": 1}))
    return round(when.timestamp() * 1000), round(end.timestamp() * 1000)


def test_at_gives_what_was_current_within_a_period(fhir):
    """Against the whole history: of each resource what came within the period, and what was there when it began."""
    rng = random.Random(7)
    for kind in ("Patient", "Group", "Flag"):
        for i in range(3):
            fhir.put(f"{kind}/{i}", {"resourceType": kind, "id": str(i)}, x_amzn_healthlake_fhir_validation_level="minimal")
    for _ in range(40):
        time.sleep(rng.choice((0, 0, 0.002, 0.05, 0.2)))
        path = f"{rng.choice(('Patient', 'Group', 'Flag'))}/{rng.randrange(4)}"
        if rng.random() < 0.25:
            fhir.delete(path)
        else:
            fhir.put(path, {"resourceType": path.split("/")[0], "id": path.split("/")[1]},
                     x_amzn_healthlake_fhir_validation_level="minimal")
    whole, following = [], {}
    for e in fhir.get("_history?_count=1000").json["entry"]:  # newest first
        key = "/".join(e["fullUrl"].split("/")[-2:])
        began, _ = period(e["response"]["lastModified"])
        whole.append((key, e["response"]["etag"], began, following.get(key, 1 << 62)))
        following[key] = began
    instants = sorted({e["response"]["lastModified"] for e in fhir.get("_history?_count=1000").json["entry"]})
    first, last = instants[0], instants[-1]
    wanted = {first[:4], first[:7], first[:10], "1999", "1999-12-31", "2100-01-01T00:00:00Z", first, last,
              f"{last[:-1]}+00:00", f"{first[:19]}Z", f"{last[:19]}Z", *(f"{i[:19]}Z" for i in instants[::5]), *instants[::4]}
    several = 0
    for at in sorted(wanted):
        lo, hi = period(at)
        current = [(key, etag) for key, etag, began, ended in whole if began < hi and ended > lo]
        several += len(current) > 12
        for scope in ("", "Patient/", "Group/1/", "Flag/3/"):
            if scope.count("/") == 2 and fhir.get(scope.rstrip("/")).status == 404:
                continue
            want = [x for x in current if f"{x[0]}/".startswith(scope)]
            for count in (1, 3, 1000) if LONG else (rng.choice((1, 3, 1000)),):
                url = f"{scope}_history?_count={count}&_at={urllib.parse.quote(at)}"
                assert pages(fhir, url) == want, (at, scope, count)
    assert several > 2
    batch = fhir.post("", {"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": f"Patient/_history?_at={first[:4]}"}}]}).json["entry"][0]["resource"]
    assert len(batch["entry"]) == sum(k.startswith("Patient/") for k, *_ in whole)
    since = f"_history?_at={first[:4]}&_since={last}"
    assert pages(fhir, since) == [x[:2] for x in whole if x[2] >= period(last)[0]]
    for bad in ("yesterday", "2026-13", "ge2026", "2026-01-01T00:00:00Z,2027", "2026-02-30", "20260101"):
        for scope in ("", "Patient/", "Patient/1/"):
            assert fhir.get(f"{scope}_history?_at={bad}").status == 400, bad
    assert fhir.get(f"Patient/unknown/_history?_at={first[:4]}").status == 404


def test_patch(fhir):
    fhir.put("Patient/p", '{"resourceType":"Patient","id":"p","active":true,"name":[{"family":"A"}],'
             '"extension":[{"url":"http://x","valueDecimal":1.50}]}')
    done = fhir.patch("Patient/p", [
        {"op": "test", "path": "/active", "value": True},
        {"op": "replace", "path": "/active", "value": False},
        {"op": "add", "path": "/name/-", "value": {"family": "C"}},
        {"op": "add", "path": "/name/1", "value": {"family": "B"}},
        {"op": "copy", "from": "/name/0", "path": "/name/0"},
        {"op": "move", "from": "/name/3", "path": "/name/0"},
        {"op": "remove", "path": "/name/1"},
        {"op": "add", "path": "/birthDate", "value": "2001"}])
    assert done.status == 200 and done.headers["ETag"] == 'W/"2"'
    assert [n["family"] for n in done.json["name"]] == ["C", "A", "B"]
    assert done.json["active"] is False and done.json["birthDate"] == "2001" and b'"valueDecimal":1.50' in done.body
    for operations, status in (
            ([{"op": "test", "path": "/active", "value": True}], 422),
            ([{"op": "remove", "path": "/nothing"}], 422),
            ([{"op": "add", "path": "/name/9", "value": {}}], 422),
            ([{"op": "replace", "path": "/id", "value": "other"}], 422),
            ([{"op": "replace", "path": "/resourceType", "value": "Basic"}], 422),
            ([{"op": "move", "from": "/name", "path": "/name/0"}], 422),
            ([{"op": "add", "path": "/birthDate", "value": "soon"}], 400),
            ([{"op": "jump", "path": "/id"}], 400),
            ([{"op": "add", "path": "id", "value": 1}], 400),
            ([{"op": "add", "path": "/id"}], 400),
            ({"op": "add"}, 400), ("[", 400)):
        answer = fhir.patch("Patient/p", operations)
        assert answer.status == status, (operations, answer.body)
    assert fhir.get("Patient/p").headers["ETag"] == 'W/"2"', "nothing was written by what failed"
    assert fhir.patch("Patient/p", [], If_Match='W/"1"').status == 412
    assert fhir.patch("Patient/none", []).status == 404
    assert fhir.call("PATCH", "Patient/p", "[]", "application/merge-patch+json").status == 415
    # that is FHIRPath Patch, which is in Parameters
    assert fhir.call("PATCH", "Patient/p", "[]", "application/json").status == 400


def test_prefer(fhir):
    assert fhir.post("Patient", patient(), Prefer="return=minimal").body == b""
    assert fhir.post("Patient", patient(), Prefer="return=OperationOutcome").json["resourceType"] == "OperationOutcome"
    assert fhir.post("Patient", patient(), Prefer="return=representation").json["resourceType"] == "Patient"


def test_an_idempotency_key_creates_once(fhir):
    key = str(uuid.uuid4())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: fhir.post("Patient", patient(), x_amz_fhir_idempotency_key=key), range(8)))
    assert sorted(a.status for a in answers) == [201] + [409] * 7
    where = {a.headers["Location"] for a in answers}
    assert len(where) == 1
    assert {a.json["issue"][0]["code"] for a in answers if a.status == 409} == {"duplicate"}
    assert fhir.post("Patient", patient(), x_amz_fhir_idempotency_key="no-uuid").status == 400


@pytest.mark.parametrize("first, second", [(str.lower, str.upper), (str.upper, str.lower), (str.upper, str.title),
                                           (str.title, str.swapcase)])
def test_an_idempotency_key_is_one_uuid_in_any_case(fhir, first, second):
    key = str(uuid.uuid4())[:-4] + "a0Bf"
    created = fhir.post("Patient", patient(), x_amz_fhir_idempotency_key=first(key))
    again = fhir.post("Patient", patient(), x_amz_fhir_idempotency_key=second(key))
    assert (created.status, again.status) == (201, 409)
    assert again.headers["Location"] == created.headers["Location"]


def test_clients_that_update_by_version_lose_nothing(fhir):
    fhir.put("Patient/p", patient("p", multipleBirthInteger=0))

    def add_one(_):
        while True:
            now = fhir.get("Patient/p")
            body = patient("p", multipleBirthInteger=now.json["multipleBirthInteger"] + 1)
            if fhir.put("Patient/p", body, If_Match=now.headers["ETag"]).status == 200:
                return

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(add_one, range(24)))
    got = fhir.get("Patient/p")
    assert got.json["multipleBirthInteger"] == 24 and got.headers["ETag"] == 'W/"25"'


def test_broken_requests_say_what_is_wrong(fhir):
    for answer, status, text in (
            (fhir.post("Patient", '{"resourceType":"Patient",}'), 400, "byte 25"),
            (fhir.post("Patient", "[]"), 400, "JSON object"),
            (fhir.post("Patient", ""), 400, "empty"),
            (fhir.post("Patient", b'{"resourceType":"Patient","x":"\xff"}'), 400, "UTF-8"),
            (fhir.post("Patient", {"resourceType": "Group"}), 400, "Group"),
            (fhir.post("Patient", {"resourceType": "Patiens"}), 400, "resource type"),
            (fhir.post("Patient", '{"a":' * 100000), 413, "nested deeper"),
            (fhir.put("Patient/p", patient("q")), 400, "id in the URL"),
            (fhir.put("Patient/p", patient()), 400, "holds none"),
            (fhir.put("Patient/p_", patient("p_")), 400, "id"),
            (fhir.put("Patient/" + "p" * 65, patient("p" * 65)), 400, "id"),
            (fhir.post("Patient", "<Patient/>", content_type="application/fhir+xml"), 415, "application/fhir+json"),
            (fhir.get("Patient/p", Accept="application/fhir+xml"), 406, "JSON"),
            (fhir.get("Patient/p?_format=xml"), 406, "JSON"),
            (fhir.get("Patiens/p"), 404, "resource type"),
            (fhir.get("Patient/p/x"), 404, "path"),
            (fhir.get("Patient/p/_history/1/2"), 404, "path"),
            (fhir.get("Patient//p"), 404, "not known"),  # an empty segment is none, as the guide of HealthLake writes them
            (fhir.get("Patient/unknown"), 404, "not known"),
            (fhir.call("DELETE", "_history"), 405, "not offered")):
        assert answer.status == status, (status, text, answer.body)
        assert text in answer.text, (text, answer.text)


def test_a_body_over_the_limit_is_refused_before_it_is_sent(fhir):
    host, path = fhir.base.removeprefix("http://").split("/", 1)
    with socket.create_connection((host.split(":")[0], int(host.split(":")[1])), timeout=30) as s:
        s.sendall(f"POST /{path}/Patient HTTP/1.1\r\nHost: {host}\r\nContent-Length: 6000000\r\n\r\n".encode())
        answer = s.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413") and b"OperationOutcome" in answer


def test_nobody_enters_unsigned_or_with_another_key(server, fhir):
    assert Fhir(fhir.base, None).get("Patient/p").status == 401
    key, secret = fhir.keys
    assert Fhir(fhir.base, (key, secret + "x")).get("Patient/p").status == 401
    assert Fhir(fhir.base, ("AKIANOTOURS", secret)).get("Patient/p").status == 401
    assert Fhir(server.url + "/datastore/" + "0" * 32 + "/r4", fhir.keys).get("Patient/p").status == 404


def test_what_was_written_is_exported(server, fhir):
    fhir.put("Patient/a", patient("a"))
    fhir.put("Patient/b", patient("b"))
    fhir.delete("Patient/b")
    fhir.put("Group/g", {"resourceType": "Group", "id": "g", "type": "person", "actual": True})
    store = fhir.base.split("/")[-2]
    job = server.export_all(store, "s3://out/rest")
    folder = server.folder(f"s3://out/rest/{store}-FHIR_EXPORT-{job['JobId']}")
    lines = {p.name.split("-")[0]: read_ndjson(p) for p in folder.rglob("*.ndjson")}
    assert lines == {"Patient": [fhir.get("Patient/a").body], "Group": [fhir.get("Group/g").body]}
