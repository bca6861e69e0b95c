"""What a record of the audit log tells of the caller's rights, his token and his TLS, and what `audit show` prints."""
import hashlib
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request

import pytest

from fhirlake import patient, run, wait
from test_policies import Callers, allow, deny

pytest.importorskip("cryptography")
from identity import Idp, claims, smart_store  # noqa: E402
from pki import Authority  # noqa: E402
from test_audit import Audited  # noqa: E402
from test_smart_scopes import Bearer  # noqa: E402

pytestmark = pytest.mark.once


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


# ---- fhirlake audit show ----

def shown(folder, *options, status=0):
    done = run("audit", "show", folder, *options)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_show_prints_what_is_asked_for(tmp_path):
    policies = {"admin": None, "reader": [allow("healthlake:Read*")]}
    log = tmp_path / "audit"
    with Callers(tmp_path, policies, "--audit", str(log)) as server:
        store, other = server.create_store(), server.create_store()
        admin, reader = server.rest("admin", store), server.rest("reader", store)
        for name in "pqr":
            assert admin.put(f"Patient/{name}", patient(name)).status == 201
        made = server.rest("admin", other).put("Patient/p", patient("p"))
        assert (reader.get("Patient/p").status, reader.delete("Patient/p").status) == (200, 403)
        assert server.fhir(store, signed=False).get("Patient/q").status == 401
        # a server may be writing there
        wait(lambda: len(shown(log, "--operation", "ReadResource")), {2})
    lines = shown(log)
    assert len(lines) == len(records(log)) and all(line.startswith("20") for line in lines)
    written = [line for line in lines if f"request={made.headers['x-amzn-RequestId']}" in line]
    assert len(written) == 1 and f" 201 UpdateResource Patient/p/_history/1 caller=admin from=127.0.0.1 datastore={other}" in written[0]
    assert len(shown(log, "--resource", "Patient/p")) == 4
    assert len(shown(log, "--resource", "Patient/p", "--datastore", store)) == 3
    assert len(shown(log, "--resource", "Patient")) == 7 and shown(log, "--resource", "Observation") == []
    assert f"{len(lines)} records were read, and none fits" in run("audit", "show", log, "--resource", "Observation").stderr
    assert run("audit", "show", log, "--resource", "Patient").stderr == ""
    # what no record can have would pass for a proof
    for never in ("patient", "Patient/", "Patient/p/_history/1", "p"):
        refused = run("audit", "show", log, "--resource", never)
        assert refused.returncode == 2 and "--resource takes TYPE or TYPE/ID" in refused.stderr, (never, refused)
    assert [line.split()[1:3] for line in shown(log, "--caller", "reader")] == [["200", "ReadResource"], ["403", "DeleteResource"]]
    assert shown(log, "--caller", "*user/reader") == shown(log, "--caller", server.secrets["reader"][0]) == shown(log, "--caller", "reader")
    denied = shown(log, "--denied")
    assert [line.split()[1:3] for line in denied] == [["403", "DeleteResource"], ["401", "ReadResource"]]
    assert "error=AccessDeniedException" in denied[0]
    assert len(shown(log, "--operation", "update*")) == 4
    assert shown(log, "--until", "2020-01-01") == [] and shown(log, "--since", "2020-01-01") == lines
    first = json.loads(shown(log, "--json")[0])
    assert shown(log, "--until", first["eventTime"]) == [] and "chain" in first and first["seq"] == 2
    assert shown(log, "--since", first["eventTime"]) == lines


def test_show_ends_where_the_chain_is_broken_and_tells_of_gaps(tmp_path):
    with Audited(tmp_path) as server:
        fhir = server.fhir(server.create_store())
        for i in range(3):
            assert fhir.put(f"Patient/p{i}", patient(f"p{i}")).status == 201
        away = server.log_dir.rename(tmp_path / "away")
        assert fhir.put("Patient/q", patient("q")).status == 503
        away.rename(server.log_dir)
        wait(lambda: fhir.put("Patient/s", patient("s")).status, {201})
    gap = [line for line in shown(server.log_dir, "--resource", "Observation")]
    assert len(gap) == 1 and "gap: up to" in gap[0]
    path = next(server.log_dir.glob("audit-*.jsonl"))
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"resourceId":"p1"', b'"resourceId":"p9"'))
    done = run("audit", "show", server.log_dir, "--operation", "UpdateResource")
    assert done.returncode == 1 and "Patient/p0" in done.stdout and "p9" not in done.stdout and "p2" not in done.stdout
    assert "changed" in done.stderr and "nothing behind it is shown" in done.stderr
    path.write_bytes(good)
    key = (server.log_dir / "first-key").rename(tmp_path / "first-key")
    assert shown(server.log_dir, status=3) == [] and len(shown(server.log_dir, "--first-key", key)) > 4
