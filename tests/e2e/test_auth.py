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

pytestmark = pytest.mark.sanitize
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
    assert send(*signed(server, keys=(key, secret[:-1] + "x")))[1] == "InvalidSignatureException"
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
    now = datetime.now(timezone.utc)
    assert send(*signed(server, at=now - timedelta(minutes=14)))[0] == 200
    assert send(*signed(server, at=now + timedelta(minutes=14)))[0] == 200
    for wrong in (now - timedelta(minutes=16), now + timedelta(minutes=16)):
        status, kind, text = send(*signed(server, at=wrong))
        assert kind == "InvalidSignatureException" and "Signature" in text, text
    assert send(*signed(server, at=now - timedelta(minutes=6), query=True, expires=60))[0] in (400, 403)


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
