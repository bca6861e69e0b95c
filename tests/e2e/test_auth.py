"""Who gets in: signatures of real clients, and everything that must not pass."""
import hashlib
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from fhirlake import BIN, Server

pytestmark = [pytest.mark.sanitize, pytest.mark.once]
BODY = b"{}"
HEADERS = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "HealthLake.ListFHIRDatastores"}


def signed(server, body=BODY, headers=None, service="healthlake", region="us-east-1", at=None, query=False, token=None,
           keys=None, url=None, expires=300):
    """A request signed by botocore's own signer, as (url, headers)."""
    request = AWSRequest("POST", url or server.url + "/", data=body, headers=dict(headers or HEADERS))
    credentials = Credentials(*(keys or server.keys()), token)
    signer = SigV4QueryAuth(credentials, service, region, expires) if query else SigV4Auth(credentials, service, region)
    if query:  # botocore's presigner drops the body: the hash that it shall sign stands in a header
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    if at is None:
        signer.add_auth(request)
    else:
        import botocore.auth
        import unittest.mock
        names = [n for n in ("get_current_datetime", "datetime") if hasattr(botocore.auth, n)]
        if "get_current_datetime" in names:
            with unittest.mock.patch.object(botocore.auth, "get_current_datetime", lambda *a, **k: at.replace(tzinfo=None)):
                signer.add_auth(request)
        else:
            with unittest.mock.patch.object(botocore.auth, "datetime") as fake:
                fake.datetime.utcnow.return_value = at.replace(tzinfo=None)
                signer.add_auth(request)
    prepared = request.prepare()
    prepared.headers.pop("Content-Length", None)  # the presigner's, of the body it dropped
    return prepared.url, {k: (v.decode() if isinstance(v, bytes) else v) for k, v in prepared.headers.items()}


def send(url, headers, body=BODY, method="POST"):
    """(status, __type, message)"""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as answer:
            return answer.status, None, None
    except urllib.error.HTTPError as error:
        told = json.loads(error.read())
        assert error.headers["x-amzn-RequestId"]
        return error.code, told["__type"].split("#")[-1], told["message"]


def test_signed_by_header_and_in_the_query(server):
    assert send(*signed(server))[0] == 200
    assert send(*signed(server, query=True))[0] == 200


def test_no_signature(server):
    status, kind, _ = send(server.url + "/", HEADERS)
    assert kind == "MissingAuthenticationTokenException" and status == 403


@pytest.mark.parametrize("spoil", [
    lambda v: v.replace("Credential=", "Kredential="), lambda v: v.replace("SignedHeaders=", "Headers="),
    lambda v: v.replace(", Signature=", ", Sig="), lambda v: v.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"),
    lambda v: v[:-10], lambda v: v.replace("/aws4_request", ""), lambda v: "AWS4-HMAC-SHA256", lambda v: v + ",,,",
    lambda v: v.replace("Credential=", "Credential=" + "A" * 5000),
])
def test_malformed_signatures(server, spoil):
    url, headers = signed(server)
    headers["Authorization"] = spoil(headers["Authorization"])
    status, kind, _ = send(url, headers)
    assert kind in ("IncompleteSignatureException", "InvalidSignatureException", "MissingAuthenticationTokenException",
                    "UnrecognizedClientException"), kind
    assert 400 <= status < 500


def test_wrong_secret_unknown_key_wrong_scope(server):
    key, secret = server.keys()
    assert send(*signed(server, keys=(key, secret[:-1] + ("y" if secret[-1] == "x" else "x"))))[1] == "InvalidSignatureException"
    assert send(*signed(server, keys=("AKIAUNKNOWNUNKNOWN12", secret)))[1] == "UnrecognizedClientException"
    assert send(*signed(server, region="eu-west-1"))[1] == "InvalidSignatureException"
    assert send(*signed(server, service="s3"))[1] == "InvalidSignatureException"
    assert send(*signed(server, token="some-token"))[1] in ("UnrecognizedClientException", "InvalidSignatureException")


def test_a_changed_request_does_not_pass(server):
    url, headers = signed(server)
    assert send(url, headers, b'{"MaxResults":1}')[1] == "InvalidSignatureException"
    changed = dict(headers)
    changed["X-Amz-Target"] = "HealthLake.CreateFHIRDatastore"
    assert send(url, changed)[1] == "InvalidSignatureException"
    assert send(url + "?a=1", headers)[1] == "InvalidSignatureException"


def test_the_clock_window_is_fifteen_minutes(server):
    def at(minutes):
        return datetime.now(timezone.utc) + timedelta(minutes=minutes)

    assert send(*signed(server, at=at(-14)))[0] == 200
    assert send(*signed(server, at=at(14)))[0] == 200
    for wrong in (-16, 16):
        status, kind, text = send(*signed(server, at=at(wrong)))
        assert kind == "InvalidSignatureException" and "Signature" in text, text
    assert send(*signed(server, at=at(-6), query=True, expires=60))[0] in (400, 403)


def test_session_tokens(tmp_path):
    file = tmp_path / "keys"
    file.write_text("[app]\naws_access_key_id = ASIAABCDEFGHIJKLMNOP\naws_secret_access_key = secretsecretsecret\n"
                    "aws_session_token = the/session+token==\n")
    with Server(None, "--credentials", str(file)) as server:
        keys = ("ASIAABCDEFGHIJKLMNOP", "secretsecretsecret")
        assert send(*signed(server, keys=keys, token="the/session+token=="))[0] == 200
        assert send(*signed(server, keys=keys, token="the/session+token==", query=True))[0] == 200
        assert send(*signed(server, keys=keys, token="another"))[0] == 403
        assert send(*signed(server, keys=keys))[0] == 403


def test_policies_decide(tmp_path):
    (tmp_path / "read.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["healthlake:Describe*", "healthlake:List*"], "Resource": "*"}]}))
    file = tmp_path / "keys"
    file.write_text("[admin]\naws_access_key_id = AKIAADMINADMINADMIN1\naws_secret_access_key = s1\n"
                    "[reader]\naws_access_key_id = AKIAREADERREADER1234\naws_secret_access_key = s2\npolicy = read.json\n")
    with Server(None, "--credentials", str(file)) as server:
        admin, reader = server.client("AKIAADMINADMINADMIN1", "s1"), server.client("AKIAREADERREADER1234", "s2")
        store = server.create_store(client=admin)
        assert reader.describe_fhir_datastore(DatastoreId=store)
        assert reader.list_fhir_datastores()["DatastorePropertiesList"]
        for call in (lambda: reader.delete_fhir_datastore(DatastoreId=store),
                     lambda: reader.create_fhir_datastore(DatastoreTypeVersion="R4"),
                     lambda: server.start_export(store, client=reader)):
            with pytest.raises(ClientError) as info:
                call()
            assert info.value.response["Error"]["Code"] == "AccessDeniedException"
            assert "is not authorized to perform: healthlake:" in info.value.response["Error"]["Message"]


def test_curl_signs_too(server):
    key, secret = server.keys()
    done = subprocess.run(["curl", "-s", "--aws-sigv4", "aws:amz:us-east-1:healthlake", "--user", f"{key}:{secret}",
                           "-H", "Content-Type: application/x-amz-json-1.0",
                           "-H", "X-Amz-Target: HealthLake.ListFHIRDatastores", "-d", "{}", server.url + "/"],
                          capture_output=True, text=True, check=True)
    assert "DatastorePropertiesList" in done.stdout, done.stdout


def curl(server, path, *options, user=None):
    """(status, body) of the guide's curl. Newer ones sign nothing with --path-as-is; without it they leave empty segments too."""
    done = subprocess.run(["curl", "-s", "-w", "\\n%{http_code}", "--aws-sigv4", "aws:amz:us-east-1:healthlake",
                           "--user", user or ":".join(server.keys()), *options, server.url + path],
                          capture_output=True, text=True, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_a_signed_token_that_is_not_sent_counts_as_empty(server, tmp_path):
    """curl with -H "x-amz-security-token:$AWS_SESSION_TOKEN", and the variable not set."""
    store = server.create_store()
    patient = f"/datastore/{store}/r4/Patient"
    for option in ("x-amz-security-token:", "X-Amz-Security-Token: "):
        assert curl(server, patient, "--header", option)[0] == 200
    key, secret = server.keys()
    assert curl(server, patient, "--header", "x-amz-security-token:", user=f"{key}:{secret}x")[0] == 401
    assert curl(server, patient, "--header", "x-amz-security-token: abc")[0] == 401
    file = tmp_path / "keys"
    file.write_text("[app]\naws_access_key_id = ASIAABCDEFGHIJKLMNOP\naws_secret_access_key = secret\naws_session_token = t\n")
    with Server(None, "--credentials", str(file)) as other:
        for headers, status in ((["--header", "x-amz-security-token:"], 401), (["--header", "x-amz-security-token:t"], 404)):
            assert curl(other, patient, *headers, user="ASIAABCDEFGHIJKLMNOP:secret")[0] == status


def test_an_empty_segment_is_signed_as_it_stands_or_taken_out(server):
    """The guide's endpoint ends in a slash, and so its requests are for r4//Patient: curl signs that, botocore does not."""
    store = server.create_store()
    fhir = server.fhir(store)
    assert fhir.put("Patient/a", {"resourceType": "Patient", "id": "a"}).status == 201
    base = f"/datastore/{store}/r4"
    for path in (f"{base}//Patient/a", f"/{base}/Patient//a", f"{base}///Patient/a", f"{base}//Patient?_id=a"):
        for status, body in (curl(server, path), (lambda a: (a.status, a.body))(fhir.get(server.url + path))):
            assert status == 200 and '"id":"a"' in (body if isinstance(body, str) else body.decode()), path
    made = fhir.post(f"{server.url}{base}//Patient", {"resourceType": "Patient"})
    assert made.status == 201 and "//" not in made.headers["Location"].removeprefix("http://")
    # what was signed for one path is good for no other
    for signed_path, sent in ((f"{base}//Patient/a", f"{base}/Patient/a"), (f"{base}/Patient/a", f"{base}/Patient/b"),
                              (f"{base}//Patient", f"{base}//Observation"), (f"{base}//Patient/a", f"{base}///Patient/a")):
        done = subprocess.run(["curl", "-sv", "--aws-sigv4", "aws:amz:us-east-1:healthlake", "--user",
                               ":".join(server.keys()), server.url + signed_path], capture_output=True, text=True)
        headers = dict(line[2:].split(": ", 1) for line in done.stderr.split("\n")
                       if line.startswith(("> Authorization", "> X-Amz-Date")))
        assert len(headers) == 2, done.stderr  # nothing signed would be refused too
        again = subprocess.run(["curl", "-s", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}",
                                *(x for h in headers.items() for x in ("-H", ": ".join(h))), server.url + sent],
                               capture_output=True, text=True)
        assert again.stdout == "401", (signed_path, sent)


def test_dot_segments_are_refused_before_the_signature(server):
    """Signers take them out of what they sign, so a signature over one place would fit another."""
    store = server.create_store()
    fhir = server.fhir(store)
    fhir.put("Patient/keep", {"resourceType": "Patient", "id": "keep"})
    for method, path in (("DELETE", "Patient/.?_id=keep"), ("DELETE", "Patient/./keep"), ("GET", "Patient/..?_id=keep"),
                         ("GET", "Patient/%2e%2e"), ("PUT", "Patient/.."), ("GET", "Observation/../Patient/keep"),
                         ("GET", "Patient/.%2E/metadata")):
        got = fhir.call(method, path, {} if method == "PUT" else None)
        assert got.status == 400 and "segment" in got.text, (method, path)
    assert fhir.get("Patient/keep").status == 200


def test_a_plus_is_what_the_search_takes_it_for(server):
    """A raw plus is a blank to who reads a query, so it is one in the signature: what is signed for one is no other's."""
    store = server.create_store()
    fhir = server.fhir(store)
    for id, family in (("blank", "a b"), ("plus", "a+b")):
        fhir.put(f"Patient/{id}", {"resourceType": "Patient", "id": id, "name": [{"family": family}]})
    url = f"{server.url}/datastore/{store}/r4/Patient?family%3Aexact=a"

    def search(signed_as, sent):
        request = AWSRequest("GET", url + signed_as, headers={})
        SigV4Auth(Credentials(*server.keys()), "healthlake", "us-east-1").add_auth(request)
        try:
            answer = urllib.request.urlopen(urllib.request.Request(url + sent, headers=dict(request.headers.items())))
            return [x["resource"]["id"] for x in json.loads(answer.read())["entry"]]
        except urllib.error.HTTPError as error:
            return error.code

    assert search("%20b", "%20b") == search("%20b", "+b") == ["blank"]
    assert search("%2Bb", "%2Bb") == search("%2Bb", "%2bb") == ["plus"]
    assert search("%2Bb", "+b") == search("%20b", "%2Bb") == search("%2Bb", "%20b") == 401


def test_a_presigned_url_says_how_long_it_lives(server):
    url, headers = signed(server, query=True)
    assert send(url, headers)[0] == 200
    for gone in ("&X-Amz-Expires=300", "X-Amz-Expires=300&"):
        if gone in url:
            assert send(url.replace(gone, ""), headers)[1] == "IncompleteSignatureException"
    for other in ("604801", "0", "-1", "", "1e3"):
        assert send(url.replace("X-Amz-Expires=300", f"X-Amz-Expires={other}"), headers)[1] == "IncompleteSignatureException"


def test_a_body_that_the_signature_does_not_cover_takes_the_option(server, tmp_path):
    """UNSIGNED-PAYLOAD: over plain HTTP such a body can be changed on the way."""
    headers = {**HEADERS, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}

    def unsigned(server, body=BODY, method="POST", path="/"):
        from botocore.auth import S3SigV4Auth

        request = AWSRequest(method, server.url + path, data=body, headers=dict(headers))

        class Signer(S3SigV4Auth):
            def payload(self, request):
                return "UNSIGNED-PAYLOAD"

        Signer(Credentials(*server.keys()), "healthlake", "us-east-1").add_auth(request)
        got = dict(request.headers.items())
        assert got["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"
        try:
            with urllib.request.urlopen(urllib.request.Request(server.url + path, body, got, method=method)) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code, "UNSIGNED-PAYLOAD" in error.read().decode()

    store = server.create_store()
    resource = f"/datastore/{store}/r4/Patient"
    assert unsigned(server) == (403, True)
    assert unsigned(server, b"") == (403, True)
    assert unsigned(server, b'{"resourceType":"Patient"}', "POST", resource) == (401, True)
    assert unsigned(server, None, "DELETE", resource + "/x") == (401, True)
    assert unsigned(server, b"_count=1", "POST", resource + "/_search") == (401, True)
    assert unsigned(server, None, "GET", resource) == 200
    with Server(None, "--unsigned-payload", "yes") as other:
        assert unsigned(other) == 200


def test_the_host_is_verified_as_it_was_sent(server):
    """AWS's own client signs it without the port."""
    import http.client
    host = server.url.removeprefix("http://")
    for name in ("127.0.0.1", "healthlake.us-east-1.amazonaws.com", "HEALTHLAKE.example:443", host):
        request = AWSRequest("POST", f"http://{name}/", data=BODY, headers={**HEADERS, "Host": name})
        SigV4Auth(Credentials(*server.keys()), "healthlake", "us-east-1").add_auth(request)
        for sent, status in ((name, 200), ("other", 403)):
            c = http.client.HTTPConnection(host, timeout=120)
            c.request("POST", "/", BODY, {**dict(request.headers.items()), "Host": sent})
            assert c.getresponse().status == status, (name, sent)
            c.close()


def test_no_auth_serves_everybody_on_loopback_only():
    with Server(None, "--auth", "none") as server:
        assert send(server.url + "/", HEADERS)[0] == 200
        assert server.client("anything", "at-all").list_fhir_datastores()
    done = subprocess.run([str(BIN), "serve", "--auth", "none", "--listen", "0.0.0.0:0"], capture_output=True, text=True)
    assert done.returncode == 2 and "loopback" in done.stderr


def test_nothing_secret_reaches_the_log(server):
    key, secret = server.keys()
    url, headers = signed(server, query=True)
    send(url, headers)
    send(*signed(server, token="TOPSECRETTOKEN"))
    text = server.log_text()
    for word in (secret, "TOPSECRETTOKEN", urllib.parse.urlsplit(url).query[-64:]):
        assert word not in text
