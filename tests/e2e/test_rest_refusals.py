"""What is not done is refused, or said in the answer: profiles, modes, Prefer, Subscriptions, types that have no such interaction."""
import base64
import json

import pytest

pytestmark = pytest.mark.sanitize
BASE = "http://hl7.org/fhir/StructureDefinition/"
MINIMAL = {"x_amzn_healthlake_fhir_validation_level": "minimal"}


@pytest.fixture
def fhir(server):
    return server.fhir(server.create_store())


def patient(id=None, **more):
    return {"resourceType": "Patient", **({"id": id} if id else {}), **more}


def bundle(*entries, kind="batch"):
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def entry(method, url, resource=None, **request):
    return {"request": {"method": method, "url": url, **request}, **({"resource": resource} if resource else {})}


def issues(got):
    return [(i["severity"], i["code"]) for i in got.json["issue"]]


# ---- $validate ----

def ask(fhir, path, resource, profiles=(), mode=None, how="query"):
    if how == "query":
        pairs = [f"profile={p}" for p in profiles] + ([f"mode={mode}"] if mode is not None else [])
        return fhir.post(f"{path}?{'&'.join(pairs)}", resource)
    given = [{"name": "profile", "valueCanonical" if i % 2 else "valueUri": p} for i, p in enumerate(profiles)]
    if mode is not None:
        given.append({"name": "mode", "valueCode" if how == "parameters" else "valueString": mode})
    return fhir.post(path, {"resourceType": "Parameters", "parameter": [*given, {"name": "resource", "resource": resource}]})


@pytest.mark.parametrize("how", ["query", "parameters", "parameters as HealthLake shows them"])
def test_an_unknown_profile_is_an_error_and_never_a_success(fhir, how):
    us_core = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"
    for profile in (us_core, f"{us_core}|3.1.1", f"{BASE}Nothing", f"{BASE}Patient|3.0.1", "urn:x", f"{BASE}vitalsigns", "Patient"):
        for path in ("Patient/$validate", "Patient/p/$validate"):
            got = ask(fhir, path, patient("p"), [profile], how=how)
            assert got.status == 404 and issues(got) == [("error", "not-found")], got.body
            assert profile in got.text and "Validation successful" not in got.text
    # beside what the rules of the type say
    got = ask(fhir, "Patient/$validate", patient(gender="divers"), [us_core, f"{BASE}Patient"], how=how)
    assert got.status == 404 and issues(got) == [("error", "not-found"), ("error", "code-invalid")]
    for known in ([f"{BASE}Patient"], [f"{BASE}Patient|4.0.1", f"{BASE}DomainResource"], [f"{BASE}Resource"], []):
        got = ask(fhir, "Patient/$validate", patient(), known, how=how)
        assert got.status == 200 and issues(got) == [("information", "informational")], got.body
        got = ask(fhir, "Patient/$validate", patient(gender="divers"), known, how=how)
        assert got.status == 200 and issues(got) == [("error", "code-invalid")]
    got = ask(fhir, "Patient/$validate", patient(), [f"{BASE}Observation"], how=how)
    assert got.status == 200 and issues(got) == [("error", "invalid")]
    assert issues(ask(fhir, "Binary/$validate", {"resourceType": "Binary", "contentType": "a/b"}, [f"{BASE}DomainResource"], how=how)) == [
        ("error", "invalid")]
    got = ask(fhir, "Patient/$validate", patient(), [""], how=how)
    assert got.status == 400


@pytest.mark.parametrize("how", ["query", "parameters", "parameters as HealthLake shows them"])
def test_a_mode_that_is_not_known_is_refused(fhir, how):
    for mode in ("create", "update"):
        assert ask(fhir, "Patient/$validate", patient(), mode=mode, how=how).status == 200
    for mode in ("delete", "profile", "CREATE", "nonsense", ""):
        assert ask(fhir, "Patient/$validate", patient(), mode=mode, how=how).status == 400, mode


# ---- Prefer, consistency ----

@pytest.mark.parametrize("kind", ["batch", "transaction"])
@pytest.mark.parametrize("prefer", ["respond-async", "return=minimal, respond-async", "Respond-Async; wait=10"])
def test_an_asynchronous_bundle_is_refused(fhir, kind, prefer):
    got = fhir.post("", bundle(entry("POST", "Patient", patient()), kind=kind), Prefer=prefer)
    assert got.status == 501 and "respond-async" in got.text and issues(got) == [("error", "not-supported")]
    assert fhir.get("Patient?_summary=count").json["total"] == 0
    # whoever is answered at once needs no other answer: RFC 7240 lets a server pass over it
    assert fhir.get("Patient", Prefer=prefer).status == 200 and fhir.post("Patient", patient(), Prefer=prefer).status == 201


def test_a_consistency_level_is_one_of_two(fhir):
    def ask(level):
        header = {"x-amz-fhir-history-consistency-level": level}
        return [fhir.put("Patient/p", patient("p"), **header), fhir.get("Patient/p", **header),
                fhir.post("", bundle(entry("GET", "Patient/p")), **header)]

    for level in ("strong", "eventual"):
        assert all(a.status in (200, 201) for a in ask(level))
    tag = fhir.get("Patient/p").headers["ETag"]
    for level in ("", "weak", "STRONG", "strong,eventual"):
        for got in ask(level):
            assert got.status == 400 and "consistency" in got.text
    assert fhir.get("Patient/p").headers["ETag"] == tag


# ---- Subscriptions ----

def subscription(status, id=None):
    return {"resourceType": "Subscription", **({"id": id} if id else {}), "status": status, "reason": "r", "criteria": "Patient?",
            "channel": {"type": "rest-hook", "endpoint": "https://example.org/active", "payload": "active"}}


@pytest.mark.parametrize("status, stored, warned", [("requested", "requested", True), ("active", "off", True),
                                                   ("error", "error", False), ("off", "off", False)])
def test_a_subscription_is_kept_and_says_that_nobody_is_notified(fhir, status, stored, warned):
    def check(got, id):
        assert got.status in (200, 201), got.body
        assert (got.headers["Warning"] is not None) == warned and (not warned or "No notifications" in got.headers["Warning"])
        kept = fhir.get(f"Subscription/{id}").json
        assert kept["status"] == stored
        assert {k: v for k, v in kept.items() if k not in ("id", "meta", "status")} == {
            k: v for k, v in subscription(status).items() if k != "status"}, "nothing else of it changes"

    made = fhir.post("Subscription", subscription(status))
    assert made.json["status"] == stored
    check(made, made.json["id"])
    check(fhir.put("Subscription/s", subscription(status, "s")), "s")
    check(fhir.put("Subscription?_id=s", subscription(status)), "s")
    fhir.put("Subscription/s", subscription("off", "s"))
    check(fhir.patch("Subscription/s", [{"op": "replace", "path": "/status", "value": status}]), "s")
    escaped = json.dumps(subscription(status, "s")).replace('"status"', '"st\\u0061tus"')
    check(fhir.put("Subscription/s", escaped), "s")
    told = fhir.put("Subscription/s", subscription(status, "s"), Prefer="return=OperationOutcome")
    assert (issues(told) == [("warning", "not-supported")]) == warned
    for kind in ("batch", "transaction"):
        got = fhir.post("", bundle(entry("PUT", "Subscription/b", subscription(status, "b")),
                                   entry("POST", "Subscription", subscription(status)), entry("POST", "Patient", patient()), kind=kind))
        for e in got.json["entry"][:2]:
            assert ([i["severity"] for i in e["response"].get("outcome", {}).get("issue", [])] == ["warning"]) == warned
            assert fhir.get(e["response"]["location"].split("/_history")[0]).json["status"] == stored
        assert "outcome" not in got.json["entry"][2]["response"]
    assert {e["resource"]["status"] for e in fhir.get("Subscription/s/_history").json["entry"]} <= {stored, "off"}
    found = fhir.get(f"Subscription?status={stored}&_summary=count").json["total"]
    assert found == fhir.get("Subscription?_summary=count").json["total"] > 0, "the index says what is stored"


def test_no_status_of_a_subscription_stays_active(fhir):
    text = '{"resourceType":"Subscription","id":"s","status":"off","x":{"status":"active"},"status":"active"}'
    assert fhir.put("Subscription/s", text, **MINIMAL).status == 201
    body = fhir.get("Subscription/s").body
    assert body.count(b'"status":"active"') == 1 and body.count(b'"status":"off"') == 2 and b'"x":{"status":"active"}' in body
    assert fhir.put("Subscription/t", {"resourceType": "Subscription", "id": "t", "status": ["active"]}, **MINIMAL).status == 201
    basic = {"resourceType": "Patient", "id": "p", "contained": [subscription("active", "c")]}
    assert fhir.put("Patient/p", basic).json["contained"][0]["status"] == "active", "of what is contained nobody expects anything"


# ---- types that have no such interaction ----

def audit(id=None, **more):
    return {"resourceType": "AuditEvent", **({"id": id} if id else {}), "type": {"code": "rest"}, "recorded": "2026-01-01T00:00:00Z",
            "agent": [{"requestor": True}], "source": {"observer": {"display": "x"}}, **more}


def test_an_audit_event_stays_as_it_was_stored(fhir):
    made = fhir.post("AuditEvent", audit())
    assert made.status == 201
    id = made.json["id"]
    assert fhir.put("AuditEvent/mine", audit("mine")).status == 201, "under an id of the client's, where nothing was"
    assert fhir.post("AuditEvent", audit(), If_None_Exist=f"_id={id}").status == 200
    patch = [{"op": "add", "path": "/outcome", "value": "0"}]
    binary = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": base64.b64encode(json.dumps(patch).encode()).decode()}
    for path, allow in ((f"AuditEvent/{id}", "GET, HEAD"), ("AuditEvent/mine", "GET, HEAD"), (f"AuditEvent?_id={id}", "POST, GET, HEAD")):
        calls = [lambda **h: fhir.put(path, audit(path[11:] if "/" in path else None, outcome="0"), **h),
                 lambda **h: fhir.patch(path, patch, **h), lambda **h: fhir.delete(path, **h)]
        for call in calls:
            for headers in ({}, {"If_Match": 'W/"1"'}, {"If_Match": "*"}, MINIMAL):
                got = call(**headers)
                assert got.status == 405 and got.text.startswith("Interaction not supported."), (path, got.body)
                assert issues(got) == [("error", "not-supported")] and got.headers["Allow"].startswith(allow), got.headers["Allow"]
        for e in (entry("PUT", path, audit(path[11:] if "/" in path else None, outcome="0")), entry("PATCH", path, binary),
                  entry("DELETE", path), entry("PUT", path, audit(path[11:] if "/" in path else None), ifMatch="*")):
            got = fhir.post("", bundle(e, entry("POST", "AuditEvent", audit()), e))
            assert [x["response"]["status"] for x in got.json["entry"]] == ["405", "201", "405"], (e, got.body)
            assert fhir.post("", bundle(e, kind="transaction")).status == 405
    assert fhir.delete("AuditEvent?_lastUpdated=gt2000&_count=5").status == 405
    assert fhir.put("AuditEvent/mine", audit("mine"), If_None_Match="*").status == 412
    assert fhir.put("AuditEvent/new", audit("new"), If_Match="*").status == 412 and fhir.get("AuditEvent/new").status == 404
    for i in (id, "mine"):
        assert fhir.get(f"AuditEvent/{i}").headers["ETag"] == 'W/"1"' and len(fhir.get(f"AuditEvent/{i}/_history").json["entry"]) == 1


def test_audit_events_of_one_bundle_are_made_once(fhir):
    got = fhir.post("", bundle(entry("PUT", "AuditEvent/a", audit("a")), entry("POST", "Patient", patient()),
                               entry("PUT", "AuditEvent/a", audit("a", outcome="0")), entry("PUT", "AuditEvent/b", audit("b"))))
    assert [e["response"]["status"] for e in got.json["entry"]] == ["201", "201", "405", "201"]
    assert fhir.get("AuditEvent/a").headers["ETag"] == 'W/"1"'
    assert fhir.post("", bundle(entry("PUT", "AuditEvent/c", audit("c")), kind="transaction")).status == 200
    assert fhir.post("", bundle(entry("PUT", "AuditEvent/c", audit("c")), entry("POST", "Patient", patient()), kind="transaction")).status == 405
    assert fhir.get("Patient?_summary=count").json["total"] == 1


@pytest.mark.parametrize("resource", [{"resourceType": "Parameters"}, {"resourceType": "OperationOutcome", "issue": [
    {"severity": "error", "code": "invalid"}]}])
def test_messages_are_not_created(fhir, resource):
    type = resource["resourceType"]
    for got in (fhir.post(type, resource), fhir.post(type, resource, If_None_Exist="_id=x"),
                fhir.post("", bundle(entry("POST", type, resource), kind="transaction"))):
        assert got.status == 405 and "Interaction not supported." in got.text
    assert fhir.post("", bundle(entry("POST", type, resource))).json["entry"][0]["response"]["status"] == "405"
    assert fhir.put(f"{type}/kept", {**resource, "id": "kept"}).status == 201 and fhir.get(f"{type}/kept").status == 200


# ---- what minimal validation let through ----

def test_an_entry_says_what_strict_validation_says_of_it(fhir):
    faulty, more = patient("f", gender="divers"), patient("g", birthDate="soon", nothing=1)
    alone = fhir.put("Patient/f", faulty, **MINIMAL, Prefer="return=OperationOutcome")
    assert alone.status == 201 and issues(alone) == [("error", "code-invalid")]
    for kind in ("batch", "transaction"):
        got = fhir.post("", bundle(entry("PUT", f"Patient/f{kind}", {**faulty, "id": f"f{kind}"}), entry("POST", "Patient", more),
                                   entry("POST", "Patient", patient()), entry("PUT", "Patient/f", faulty), kind=kind), **MINIMAL)
        assert got.status == 200 and got.headers["x-amzn-healthlake-validation-issues"] == "true"
        e = [x["response"] for x in got.json["entry"]]
        assert [x["status"] for x in e] == ["201", "201", "201", "200"]
        assert [i["code"] for i in e[0]["outcome"]["issue"]] == ["code-invalid"] and e[0]["outcome"]["resourceType"] == "OperationOutcome"
        assert e[0]["outcome"]["issue"][0]["expression"] == ["Patient.gender"]
        assert sorted(i["code"] for i in e[1]["outcome"]["issue"]) == ["structure", "value"] and "outcome" not in e[2] and "outcome" in e[3]
        got = fhir.post("", bundle(entry("POST", "Patient", more), kind=kind), **MINIMAL, Prefer="return=representation")
        assert got.json["entry"][0]["resource"]["id"] and len(got.json["entry"][0]["response"]["outcome"]["issue"]) == 2
        got = fhir.post("", bundle(entry("POST", "Patient", more), entry("POST", "Patient", patient()), kind=kind), **MINIMAL,
                        Prefer="return=OperationOutcome")
        assert [len(x["response"]["outcome"]["issue"]) for x in got.json["entry"]] == [2, 1]
    strict = fhir.post("", bundle(entry("POST", "Patient", more)))
    assert strict.json["entry"][0]["response"]["status"] == "400"


def test_a_narrative_may_be_plain_text(fhir):
    """As in the sample Bundle of HealthLake's guide. With tags it is one div, whatever stands in it."""
    def told(div):
        return fhir.post("Patient", patient(text={"status": "generated", "div": div})).status

    assert told("Some narrative") == told("a & b > c") == told('<div xmlns="http://www.w3.org/1999/xhtml">x</div>') == 201
    for div in ("", " ", "<p>x</p>", "x <script>y()</script>", "<!-- x -->", "x</div>"):
        assert told(div) == 400, div
    got = fhir.post("", bundle(entry("POST", "Patient", patient(text={"status": "generated", "div": "Some narrative"}))))
    assert got.json["entry"][0]["response"]["status"] == "201"


# ---- names of types ----

@pytest.mark.parametrize("path, status", [
    ("NAME", 404), ("NAME/1", 404), ("NAME?gender=male", 404), ("?_type=NAME", 400), ("?_type=Patient,NAME", 400),
    ("$export?_type=NAME", 400), ("$export?_typeFilter=NAME%3Fgender%3Dmale", 400), ("Patient?_include=NAME:subject", 400),
    ("Observation?_include=Observation:subject:NAME", 400), ("Patient?_revinclude=NAME:subject", 400),
    ("Patient/p/$everything?_type=NAME", 400)])
@pytest.mark.parametrize("name, near", [("Patent", "Patient"), ("observation", "Observation"), ("MedicationReqest", "MedicationRequest"),
                                        ("Zebra", None), ("X", None)])
def test_a_name_that_is_no_type_is_told_with_the_one_that_is_near(fhir, path, status, name, near):
    fhir.put("Patient/p", patient("p"))
    got = fhir.get(path.replace("NAME", name), Prefer="respond-async")
    said = "a value" if near is None and "$export" in path else name  # an export's refusals repeat nothing but slips
    assert got.status == status and f"{said} is no resource type of FHIR R4" in got.text, got.text
    assert ("meant?" in got.text) == (near is not None) and f": is {near} meant?" in got.text + ": is None meant?"
