"""Conditions of writes: entity tags, conditions that are empty, and parameters of reads that are."""
import http.client
import json
import threading
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

pytestmark = pytest.mark.sanitize
PATCH = [{"op": "add", "path": "/active", "value": True}]


@pytest.fixture
def fhir(server):
    return server.fhir(server.create_store())


def patient(id=None, **more):
    return {"resourceType": "Patient", **({"id": id} if id else {}), **more}


def numbered(mrn, **more):
    return patient(identifier=[{"system": "urn:mrn", "value": mrn}], **more)


def entry(method, url, resource=None, **request):
    return {"request": {"method": method, "url": url, **request}, **({"resource": resource} if resource else {})}


def bundle(fhir, kind, *entries, **headers):
    return fhir.post("", {"resourceType": "Bundle", "type": kind, "entry": list(entries)}, **headers)


def in_bundles(fhir, e):
    """Status of an entry in a batch, and of a transaction that it makes fail."""
    batch = bundle(fhir, "batch", e)
    assert batch.status == 200, batch.body
    return [batch.json["entry"][0]["response"]["status"], str(bundle(fhir, "transaction", e).status)]


def version(fhir, path):
    return fhir.get(path).headers["ETag"]


def ids(fhir, query):
    got = fhir.get(query)
    assert got.status == 200, (query, got.body)
    assert all(e["search"]["mode"] == "match" for e in got.json.get("entry", [])), (query, got.body)
    return sorted(e["resource"]["id"] for e in got.json.get("entry", []))


# ---- entity tags ----

@pytest.mark.parametrize("tag, status", [
    ("*", 200), ('W/"1"', 200), ('"1"', 200), ("1", 200), ('W/"7", W/"1"', 200), ('"abc" , W/"1",', 200),
    ('W/"a,b", "1"', 200), (', "1"', 200),
    ('W/"2"', 412), ('W/"3a"', 412), ('W/"abc"', 412), ('"2-0"', 412), ('W/"01"', 412), ('W/"1 "', 400), ('""', 412),
    ('W/""', 412), ('"18446744073709551617"', 412), ('W/"7", "x"', 412), ('"*"', 412),
    ("nonsense", 400), ("W/", 400), ('w/"1"', 400), ('W/"1', 400), ('"1" "2"', 400), ('*, W/"1"', 400), ('W/"1" x', 400),
    ("-1", 400), ("1.0", 400), (",", 400), ("W/1a", 400)])
def test_if_match_is_a_star_or_entity_tags(fhir, tag, status):
    writes = {"put": lambda path, id: fhir.put(path, numbered(id, id=id), If_Match=tag),
              "patch": lambda path, id: fhir.patch(path, PATCH, If_Match=tag),
              "delete": lambda path, id: fhir.delete(path, If_Match=tag)}
    for method, write in writes.items():
        for path in ("Patient/ID", "Patient?identifier=urn:mrn%7CID"):
            id = f"{method}{len(path)}"
            fhir.put(f"Patient/{id}", numbered(id, id=id))
            got = write(path.replace("ID", id), id)
            assert got.status == (204 if (status, method) == (200, "delete") else status), (method, path, got.body)
            assert (version(fhir, f"Patient/{id}") == 'W/"1"') == (status != 200)


@pytest.mark.parametrize("tag, put, new, deleted", [
    ("*", 200, 412, 412), ('W/"9"', 412, 412, 412), ('W/"1", "x"', 200, 412, 412)])
def test_if_match_needs_something_current(fhir, tag, put, new, deleted):
    fhir.put("Patient/p", patient("p"))
    fhir.put("Patient/d", patient("d"))
    fhir.delete("Patient/d")
    assert fhir.put("Patient/p", patient("p"), If_Match=tag).status == put
    assert fhir.put("Patient/n", patient("n"), If_Match=tag).status == new and fhir.get("Patient/n").status == 404
    assert fhir.put("Patient/d", patient("d"), If_Match=tag).status == deleted
    assert fhir.delete("Patient/d", If_Match=tag).status == deleted
    assert version(fhir, "Patient/d") == 'W/"2"'
    assert fhir.put("Patient?identifier=none", patient(), If_Match=tag).status == 412
    # what would fail without the condition fails as it would without it
    assert fhir.delete("Patient/n", If_Match=tag).status == 404
    assert fhir.patch("Patient/n", PATCH, If_Match=tag).status == 404
    assert fhir.patch("Patient/d", PATCH, If_Match=tag).status == 410
    assert fhir.put("Patient/p", patient("p", nothing=1), If_Match=tag).status == 400
    assert fhir.put("Patient?identifier=a", {"resourceType": "Group"}, If_Match=tag).status == 400


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_tags_of_entries_count_as_those_of_requests(fhir, kind):
    for tag, status in (("*", "200"), ('W/"3a"', "412"), ('W/"1", W/"2"', "200"), ('"abc"', "412"), ("nonsense", "400")):
        id = f"p{status}{len(tag)}"
        fhir.put(f"Patient/{id}", patient(id))
        got = bundle(fhir, kind, entry("PUT", f"Patient/{id}", patient(id, active=True), ifMatch=tag))
        assert (got.json["entry"][0]["response"]["status"] if got.status == 200 else str(got.status)) == status, tag
        assert version(fhir, f"Patient/{id}") == ('W/"2"' if status == "200" else 'W/"1"')
        got = bundle(fhir, kind, entry("DELETE", f"Patient/{id}", ifMatch="*"))
        assert got.status == 200 and fhir.get(f"Patient/{id}").status == 410


def test_if_none_match_of_a_write_refuses_the_versions_it_names(fhir):
    fhir.put("Patient/p", patient("p"))
    for tag, status in (('W/"1"', 412), ('W/"7", W/"1"', 412), ("*", 412), ("x", 400), ('W/"7"', 200), ('"abc"', 200)):
        assert fhir.put("Patient/p", patient("p"), If_None_Match=tag).status == status, tag
        fhir.put("Patient/q", patient("q"))
    assert version(fhir, "Patient/p") == 'W/"3"'
    assert fhir.patch("Patient/p", PATCH, If_None_Match='W/"3"').status == 412
    assert fhir.delete("Patient/p", If_None_Match='W/"3"').status == 412
    assert fhir.delete("Patient/p", If_None_Match="*").status == 412
    assert fhir.put("Patient/new", patient("new"), If_None_Match='W/"1"').status == 201
    assert fhir.delete("Patient/p", If_None_Match='W/"2"').status == 204
    assert fhir.put("Patient/p", patient("p"), If_Match="*", If_None_Match='W/"1"').status == 400


def test_several_headers_of_one_name_are_one_list(fhir):
    """As HTTP says; the second one must not be lost. If-None-Exist is no list."""
    def ask(method, path, body, *headers):
        url = urllib.parse.urlsplit(f"{fhir.base}/{path}")
        text = json.dumps(body)
        request = botocore.awsrequest.AWSRequest(method, url.geturl(), data=text)
        botocore.auth.SigV4Auth(botocore.credentials.Credentials(*fhir.keys), "healthlake", "us-east-1").add_auth(request)
        c = http.client.HTTPConnection(url.netloc, timeout=120)
        c.putrequest(method, url.path)
        for name, value in [*request.headers.items(), *headers, ("Content-Length", str(len(text)))]:
            c.putheader(name, value)
        c.endheaders(text.encode())
        return c.getresponse().status

    fhir.put("Patient/p", patient("p"))
    fhir.put("Patient/b", numbered("b", id="b"))
    assert ask("PUT", "Patient/p", patient("p"), ("If-Match", 'W/"7"'), ("If-Match", 'W/"1"')) == 200
    assert ask("PUT", "Patient/p", patient("p"), ("If-Match", 'W/"2"'), ("If-Match", "")) == 200
    assert ask("PUT", "Patient/p", patient("p"), ("If-None-Match", 'W/"7"'), ("If-None-Match", 'W/"3"')) == 412
    assert ask("PUT", "Patient/p", patient("p"), ("If-Match", "*"), ("If-Match", 'W/"3"')) == 400
    assert ask("POST", "Patient", patient(), ("If-None-Exist", "identifier=a"), ("If-None-Exist", "identifier=b")) == 400
    assert version(fhir, "Patient/p") == 'W/"3"' and ids(fhir, "Patient") == ["b", "p"]


def test_a_star_meets_what_is_there_when_it_is_written(fhir):
    """Writers of one resource under If-Match: * overtake each other and lose nothing."""
    fhir.put("Patient/p", patient("p"))
    seen = []

    def write(i):
        for _ in range(10):
            seen.append(fhir.put("Patient/p", patient("p", multipleBirthInteger=i), If_Match="*").status)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert set(seen) <= {200, 409} and version(fhir, "Patient/p") == f'W/"{seen.count(200) + 1}"'


# ---- If-Unmodified-Since ----

LATER = "Fri, 01 Jan 2100 00:00:00 GMT"
EARLIER = [  # each form that a date may have
    "Sat, 01 Jan 2000 00:00:00 GMT", "Saturday, 01-Jan-00 00:00:00 GMT", "Sat Jan  1 00:00:00 2000", "2000-01-01T00:00:00Z",
    "2000-01-01T00:00:00.000+01:00"]


def writes(fhir, id, since, **more):
    """method -> statuses of the write of Patient/id and of the one that matches it, each on a resource of its own."""
    done = {}
    for method in ("put", "patch", "delete"):
        for path in ("Patient/{}", "Patient?identifier=urn:mrn%7C{}"):
            one = f"{id}-{method}{len(path)}"
            fhir.put(f"Patient/{one}", numbered(one, id=one))
            ask = {"put": lambda to: fhir.put(to, numbered(one, id=one), If_Unmodified_Since=since, **more),
                   "patch": lambda to: fhir.patch(to, PATCH, If_Unmodified_Since=since, **more),
                   "delete": lambda to: fhir.delete(to, If_Unmodified_Since=since, **more)}[method]
            got = ask(path.format(one))
            done[method, path] = got.status
            assert (version(fhir, f"Patient/{one}") == 'W/"1"') == (got.status == 412), (method, path, got.body)
    return done


@pytest.mark.parametrize("since", EARLIER)
def test_what_changed_since_is_not_written(fhir, since):
    assert set(writes(fhir, "a", since).values()) == {412}


@pytest.mark.parametrize("since", [
    LATER, "Friday, 01-Jan-60 00:00:00 GMT", "Fri Jan  1 00:00:00 2100", "2100-01-01T00:00:00Z",  # later than what is there
    "", "0", "yesterday", "1", "Sat, 01 Jan 2000 00:00:00", "2000-01-01", "Sat, 32 Jan 2000 00:00:00 GMT",  # no date: RFC 9110 13.1.4
    "Sat, 01 Jan 2000 00:00:00 GMT, Sat, 01 Jan 2000 00:00:00 GMT"])
def test_what_did_not_change_since_is_written_and_what_is_no_date_is_no_condition(fhir, since):
    assert set(writes(fhir, "a", since).values()) == {200, 204}


def test_a_tag_counts_more_than_a_date(fhir):
    assert set(writes(fhir, "a", EARLIER[0], If_Match="*").values()) == {200, 204}
    assert set(writes(fhir, "b", LATER, If_Match='W/"7"').values()) == {412}
    assert set(writes(fhir, "c", EARLIER[0], If_None_Match='W/"7"').values()) == {412}
    assert set(writes(fhir, "d", LATER, If_None_Match='W/"1"').values()) == {412}
    assert set(writes(fhir, "e", LATER, If_None_Match='W/"7"').values()) == {200, 204}


def test_what_a_read_said_comes_back_as_a_condition(fhir):
    fhir.put("Patient/p", patient("p"))
    for header in ("Last-Modified", "lastUpdated"):
        got = fhir.get("Patient/p")
        since = got.headers[header] if header in got.headers else got.json["meta"]["lastUpdated"]
        assert fhir.put("Patient/p", patient("p", active=header == "lastUpdated"), If_Unmodified_Since=since).status == 200, header


def test_a_date_is_no_condition_where_nothing_is_and_one_where_something_was_deleted(fhir):
    assert fhir.put("Patient/n", patient("n"), If_Unmodified_Since=EARLIER[0]).status == 201
    assert fhir.put("Patient?identifier=none", patient(), If_Unmodified_Since=EARLIER[0]).status == 201
    assert fhir.post("Patient", patient(), If_Unmodified_Since=EARLIER[0]).status == 201
    fhir.put("Patient/d", patient("d"))
    fhir.delete("Patient/d")
    assert fhir.put("Patient/d", patient("d"), If_Unmodified_Since=EARLIER[0]).status == 412
    assert fhir.delete("Patient/d", If_Unmodified_Since=EARLIER[0]).status == 204
    assert fhir.patch("Patient/d", PATCH, If_Unmodified_Since=EARLIER[0]).status == 410
    assert version(fhir, "Patient/d") == 'W/"2"'
    assert fhir.put("Patient/d", patient("d"), If_Unmodified_Since=LATER).status == 201


def test_a_date_of_several_resources_is_refused(fhir):
    fhir.put("Patient/a", numbered("a", id="a"))
    assert fhir.delete("Patient?identifier=a&_count=3", If_Unmodified_Since=LATER).status == 400
    for kind in ("batch", "transaction"):
        assert bundle(fhir, kind, entry("DELETE", "Patient/a"), If_Unmodified_Since=EARLIER[0]).status == 400
    assert version(fhir, "Patient/a") == 'W/"1"'


@pytest.mark.parametrize("path", ["Patient/p", "Patient?identifier=urn:mrn%7Cp"])
def test_of_those_who_write_what_one_date_covers_one_does(fhir, path):
    """The date is compared with the version that is replaced, however many writers read the same one."""
    for turn in range(5):
        fhir.put("Patient/p", numbered("p", id="p", multipleBirthInteger=turn))
        since = fhir.get("Patient/p").json["meta"]["lastUpdated"]
        time.sleep(0.002)  # a date covers all of its millisecond: what is written now is of a later one
        seen, together = [], threading.Barrier(8)

        def write(i):
            body = numbered("p", id="p", multipleBirthInteger=100 + i)
            together.wait()
            seen.append(fhir.put(path, body, If_Unmodified_Since=since).status)

        threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert sorted(seen) == [200] + [412] * 7, turn


# ---- conditions that are empty ----

@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "If-None-Exist"])
@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_an_empty_header_is_no_missing_one(fhir, name, value):
    fhir.put("Patient/a", numbered("a", id="a"))
    header = {name: value}
    for answer in (fhir.put("Patient/a", patient("a", active=True), **header), fhir.patch("Patient/a", PATCH, **header),
                   fhir.delete("Patient/a", **header), fhir.post("Patient", patient(), **header),
                   fhir.put("Patient?identifier=a", numbered("a"), **header), fhir.patch("Patient?identifier=a", PATCH, **header),
                   fhir.delete("Patient?identifier=a", **header), fhir.delete("Patient?identifier=a&_count=3", **header),
                   bundle(fhir, "batch", entry("POST", "Patient", patient()), **header),
                   bundle(fhir, "transaction", entry("PUT", "Patient/a", patient("a")), **header)):
        assert answer.status == 400 and answer.json["resourceType"] == "OperationOutcome", answer.body
    assert version(fhir, "Patient/a") == 'W/"1"' and ids(fhir, "Patient") == ["a"]
    assert fhir.get("Patient/a", **header).status == 200, "a read is not made wrong by it"


def test_an_empty_idempotency_key_is_no_missing_one(fhir):
    assert fhir.post("Patient", patient(), x_amz_fhir_idempotency_key="").status == 400
    assert bundle(fhir, "batch", entry("POST", "Patient", patient()), x_amz_fhir_idempotency_key="").status == 400
    assert ids(fhir, "Patient") == []


@pytest.mark.parametrize("member", ["ifMatch", "ifNoneMatch", "ifNoneExist", "ifModifiedSince"])
@pytest.mark.parametrize("value", ["", " ", None, 1, [], {}])
def test_an_empty_condition_of_an_entry_is_its_fault(fhir, member, value):
    fhir.put("Patient/a", patient("a"))
    if member == "ifModifiedSince" and value == " ":
        return  # a read's: it is a date that is none
    for e in (entry("POST", "Patient", patient(), **{member: value}), entry("PUT", "Patient/a", patient("a"), **{member: value}),
              entry("DELETE", "Patient/a", **{member: value}), entry("PUT", "Patient?_id=a", patient("a"), **{member: value})):
        assert in_bundles(fhir, e) == ["400", "400"], e
    assert version(fhir, "Patient/a") == 'W/"1"' and ids(fhir, "Patient") == ["a"]


EMPTY = ["identifier=", "identifier", "identifier=%20", "identifier=,", "identifier=%09", "identifier=|", "_id=", "name=",
         "name:exact=", "name:contains=", "_tag=", "active=", "birthdate=", "general-practitioner=",
         "organization.name=", "_has:Observation:patient:code=", "active=true&identifier=", "identifier=&active=true",
         "identifier=a,", "identifier=x&=a", "=a", "", "&", "_lastUpdated="]


@pytest.mark.parametrize("query", EMPTY)
def test_an_empty_parameter_never_widens_a_conditional_write(fhir, query):
    fhir.put("Patient/a", patient("a", active=True))
    encoded = query.replace("|", "%7C")
    answers = [fhir.post("Patient", patient(), If_None_Exist=encoded),
               fhir.post("Patient", patient(), If_None_Exist="?" + encoded)]
    if query not in ("", "&"):  # signers have several opinions of these
        answers += [fhir.put(f"Patient?{encoded}", patient(active=True)), fhir.patch(f"Patient?{encoded}", PATCH),
                    fhir.delete(f"Patient?{encoded}"), fhir.delete(f"Patient?{encoded}&_count=5")]
    assert [a.status for a in answers] == [400] * len(answers), [a.body for a in answers]
    for e in (entry("PUT", f"Patient?{encoded}", patient()), entry("DELETE", f"Patient?{encoded}"),
              entry("POST", "Patient", patient(), ifNoneExist=encoded)):
        assert in_bundles(fhir, e) == ["400", "400"], e
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                   "subject": {"reference": f"Patient?{encoded}"}}
    assert bundle(fhir, "transaction", entry("POST", "Observation", observation)).status == 400
    assert version(fhir, "Patient/a") == 'W/"1"' and ids(fhir, "Patient") == ["a"] and ids(fhir, "Observation") == []


def test_a_condition_that_the_write_cannot_have_is_refused(fhir):
    """Not passed over: its sender would believe in it. If-None-Exist must not choose another resource, either."""
    fhir.put("Patient/a", numbered("a", id="a"))
    fhir.put("Patient/b", numbered("b", id="b"))
    exist = "identifier=urn:mrn%7Cb"
    for answer in (fhir.delete("Patient/a", If_None_Exist=exist), fhir.patch("Patient/a", PATCH, If_None_Exist=exist),
                   fhir.put("Patient/a", patient("a"), If_None_Exist=exist), fhir.post("Patient", patient(), If_Match='W/"1"'),
                   fhir.post("Patient", patient(), If_Match="*"), fhir.delete("Patient?identifier=a", If_None_Exist=exist),
                   bundle(fhir, "batch", entry("POST", "Patient", patient()), If_None_Exist=exist),
                   bundle(fhir, "batch", entry("POST", "Patient", patient()), If_Match="*")):
        assert answer.status == 400, answer.body
    assert in_bundles(fhir, entry("DELETE", "Patient/a", ifNoneExist=exist)) == ["400", "400"]
    assert in_bundles(fhir, entry("POST", "Patient", patient(), ifMatch='W/"1"')) == ["400", "400"]
    assert ids(fhir, "Patient") == ["a", "b"] and version(fhir, "Patient/a") == version(fhir, "Patient/b") == 'W/"1"'


# ---- parameters of reads that are empty ----

@pytest.mark.parametrize("query", [
    "gender=", "gender", "gender=%20", "gender=,", "_id=", "_lastUpdated=", "_tag=", "_count=", "_sort=", "_include=",
    "_revinclude=", "_include:iterate=", "_summary=", "_total=", "_elements=", "_format=", "_pretty=", "name:exact=",
    "name:missing=", "birthdate=", "general-practitioner=", "general-practitioner:Practitioner.name=", "organization.name=",
    "_has:Observation:patient:code=", "_text=", "_list=", "_filter=", "nothing=", "_type=", "address-city=&name="])
def test_an_empty_parameter_of_a_search_is_passed_over(fhir, query):
    for id, gender in (("f", "female"), ("m", "male")):
        fhir.put(f"Patient/{id}", patient(id, gender=gender))
    fhir.put("Group/g", {"resourceType": "Group", "id": "g", "type": "person", "actual": True})
    assert ids(fhir, f"Patient?{query}") == ["f", "m"]
    assert ids(fhir, f"Patient?{query}&gender=male") == ["m"]
    assert fhir.get(f"Patient?{query}", Prefer="handling=strict").status == 200
    page = fhir.post("Patient/_search?gender=male", query, content_type="application/x-www-form-urlencoded")
    assert [e["resource"]["id"] for e in page.json["entry"]] == ["m"]
    name = query.split("=")[0]
    if name not in ("_format", "_pretty"):
        assert name not in fhir.get(f"Patient?{query}").json["link"][0]["url"]
    if name.startswith("_") and name.count(":") < 2:
        assert ids(fhir, f"?{query}&_id=f,g") == ["f", "g"]


def test_empty_parameters_of_other_reads_are_passed_over(fhir):
    fhir.put("Patient/p", patient("p", active=True))
    fhir.put("Patient/p", patient("p", active=False))
    for path in ("Patient/p", "Patient/p/_history/1"):
        assert fhir.get(f"{path}?_summary=&_elements=").body == fhir.get(path).body
    for path in ("Patient/p/_history", "Patient/_history", "_history"):
        assert len(fhir.get(f"{path}?_count=&_since=&_at=").json["entry"]) == 2, path
    got = fhir.get("Patient/p/$everything?start=&end=&_since=&_type=&_count=&_elements=&_summary=")
    assert got.status == 200 and got.json["total"] == 1 and "start" not in got.json["link"][0]["url"]
    # a cursor that was lost does not begin again from the start
    assert fhir.get("Patient?page=").status == 400 and fhir.get("Patient/p/$everything?page=").status == 400
