"""What a record of the audit log tells of the caller's rights, his token and his TLS, and what `audit show` prints."""
import hashlib
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request

import pytest

from fhirlake import patient, wait
from test_policies import Callers, allow, deny

pytest.importorskip("cryptography")
from identity import Idp, claims, smart_store  # noqa: E402
from pki import Authority  # noqa: E402
from test_audit import Audited  # noqa: E402
from test_smart_scopes import Bearer  # noqa: E402


def records(folder):
    """The records without the log's own lines, by request id; the last one of each."""
    lines = [json.loads(line) for path in sorted(folder.glob("audit-*.jsonl")) for line in path.read_text().splitlines()]
    return {line["requestID"]: line for line in lines if "requestID" in line}


def told(answers, folder):
    """additionalEventData of each answer's record."""
    by_id = records(folder)
    return [by_id[a.headers["x-amzn-RequestId"]]["additionalEventData"] for a in answers]


def test_the_statement_that_allowed_a_request_or_denied_it_is_told(tmp_path):
    policies = {"admin": None,
                "reader": [allow("healthlake:CreateResource"),
                           {**allow(["healthlake:Read*", "healthlake:Search*"]), "Sid": "ReadersMayRead"},
                           {**deny("healthlake:SearchWithPost"), "Sid": "NoPosts"},
                           allow("healthlake:Process*")]}
    with Callers(tmp_path, policies, "--audit", str(tmp_path / "audit")) as server:
        store = server.create_store()
        reader = server.rest("reader", store)
        assert server.rest("admin", store).put("Patient/p", patient("p")).status == 201
        answers = [reader.get("Patient/p"), reader.post("Patient", patient(None)),
                   reader.post("Patient/_search", "name=x", content_type="application/x-www-form-urlencoded"),
                   reader.delete("Patient/p"), server.rest("admin", store).get("Patient/p"),
                   # a conditional create asks for a search, too: the record tells of the create
                   reader.post("Patient", patient(None), If_None_Exist="identifier=n"),
                   reader.post("", {"resourceType": "Bundle", "type": "batch", "entry": [
                       {"request": {"method": "GET", "url": "Patient/p"}}]})]
        assert [a.status for a in answers] == [200, 201, 403, 403, 200, 201, 200]
    lines = [json.loads(line) for path in sorted((tmp_path / "audit").glob("audit-*.jsonl")) for line in path.open()]
    entry = next(r for r in lines if r.get("requestID") == answers[-1].headers["x-amzn-RequestId"])
    mine = {"policyName": "reader.json"}
    read = {**mine, "policyStatement": 2, "policySid": "ReadersMayRead"}
    assert told(answers, tmp_path / "audit") == [
        {"httpStatus": 200, **read}, {"httpStatus": 201, **mine, "policyStatement": 1},
        {"httpStatus": 403, **mine, "policyStatement": 3, "policySid": "NoPosts"}, {"httpStatus": 403, **mine},
        {"httpStatus": 200}, {"httpStatus": 201, **mine, "policyStatement": 1}, {"httpStatus": 200, **mine, "policyStatement": 4}]
    assert entry["eventName"] == "ReadResource" and entry["additionalEventData"] == {"httpStatus": 200, **read}


def test_a_token_is_told_by_its_id_its_patient_and_a_digest_of_its_scopes(tmp_path):
    idp = Idp()
    try:
        with Audited(tmp_path, "--identity-providers", str(idp.file(tmp_path / "idp"))) as server:
            store = smart_store(server, idp.url)
            server.fhir(store).put("Patient/p1", patient("p1"))
            planted = "planted-value-of-a-scope"
            scope = f"patient/Patient.rs patient/Observation.rs?category=http://x|{planted} launch/patient"
            token = idp.keys[0].token(claims(server, store, iss=idp.url, scope=scope, patient="p1"))
            app = Bearer(f"{server.url}/datastore/{store}/r4", token)
            answers = [app.get("Patient/p1"), app.get("Observation?code=x"), app.put("Patient/p1", patient("p1"))]
            assert [a.status for a in answers] == [200, 200, 403]
    finally:
        idp.close()
    by_id = records(server.log_dir)
    first = by_id[answers[0].headers["x-amzn-RequestId"]]
    assert first["userIdentity"]["type"] == "WebIdentityUser"
    assert first["userIdentity"]["principalId"] == f"{idp.url}|app|subject-of-the-token"
    assert first["userIdentity"]["identityProvider"] == idp.url
    data = told(answers, server.log_dir)
    canonical = f"patient/Patient.rs patient/Observation.rs?category={urllib.parse.quote(f'http://x|{planted}', safe='')}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    for one in data:
        assert one["tokenId"] == "token-1" and one["patient"] == "p1" and one["policyName"] == "smart.json"
        assert one["scopesSha256"] == digest
    assert [one.get("scopes") for one in data] == [["patient/Patient.rs"], ["patient/Observation.rs?"], None]
    text = b"".join(p.read_bytes() for p in server.log_dir.iterdir())
    assert planted.encode() not in text and token.encode() not in text and token.split(".")[2].encode() not in text


def test_a_part_of_a_file_is_told_as_one(tmp_path):
    with Audited(tmp_path) as server:
        fhir = server.fhir(server.create_store())
        fhir.put("Patient/p", patient("p"))
        place = fhir.get("$export", Prefer="respond-async").headers["Content-Location"]
        wait(lambda: fhir.get(place).status, {200})
        url = fhir.get(place).json["output"][0]["url"]
        whole = fhir.get(url)
        answers = [whole, fhir.get(url, Range="bytes=0-4"), fhir.get(url, Range="bytes=999999-"),
                   fhir.get(url, If_None_Match=whole.headers["ETag"])]
        assert [a.status for a in answers] == [200, 206, 416, 304]
    by_id = records(server.log_dir)
    of = [by_id[a.headers["x-amzn-RequestId"]] for a in answers]
    assert [r["additionalEventData"]["httpStatus"] for r in of] == [200, 206, 416, 304]
    assert [r.get("errorCode") for r in of] == [None, None, "InvalidRange", None]


def test_what_came_over_tls_says_which(tmp_path):
    folder = tmp_path / "pki"
    folder.mkdir(mode=0o700)
    authority = Authority(folder)
    certificate, key = authority.issue("server")
    with Audited(tmp_path, "--auth", "none", "--tls-certificate", str(certificate), "--tls-key", str(key)) as server:
        ids = {}
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            context = ssl.create_default_context(cafile=str(authority.ca))
            context.maximum_version = context.minimum_version = version
            request = urllib.request.Request(f"{server.url}/datastore/{'0' * 32}/r4/metadata")
            with pytest.raises(urllib.error.HTTPError) as answer:
                urllib.request.urlopen(request, context=context)
            ids[version] = answer.value.headers["x-amzn-RequestId"]
        host = server.url.split("//")[1]
    by_id = records(server.log_dir)
    old, new = (by_id[ids[v]]["tlsDetails"] for v in ids)
    assert (old["tlsVersion"], new["tlsVersion"]) == ("TLSv1.2", "TLSv1.3")
    assert old["cipherSuite"].startswith("TLS_ECDHE_") and new["cipherSuite"].startswith("TLS_AES_")
    assert old["clientProvidedHostHeader"] == new["clientProvidedHostHeader"] == host
    (tmp_path / "plain").mkdir()
    with Audited(tmp_path / "plain", "--auth", "none") as server:
        server.fhir("0" * 32, signed=False).get("metadata")
    assert all("tlsDetails" not in r for r in server.records())
