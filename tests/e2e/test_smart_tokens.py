"""Access tokens of SMART on FHIR: who is let in by one, and what the others are told."""
import http.client
import json
import threading
import urllib.parse

import pytest
from botocore.exceptions import ClientError

from fhirlake import Server, ask_control, wait
from identity import FUNCTION, ROLE, Idp, Key, Oidc, claims, metadata, smart_store
from pki import Authority

pytestmark = pytest.mark.sanitize
READ_ONLY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["healthlake:Read*", "healthlake:CreateResource", "healthlake:SearchWith*"], "Resource": "*"}]}


@pytest.fixture(scope="module")
def server(idp, tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    with Server(None, "--identity-providers", str(idp.file(folder / "idp", READ_ONLY))) as s:
        yield s


@pytest.fixture(scope="module")
def store(server, idp):
    store = smart_store(server, idp.url)
    assert server.fhir(store).put("Patient/p1", {"resourceType": "Patient", "id": "p1"}).status == 201
    return store


@pytest.fixture(scope="module")
def aws_store(server):
    return server.create_store()


def with_token(server, store, token, method="GET", path="Patient/p1", body=None, **headers):
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return server.fhir(store, signed=False).call(method, path, body, **headers)


def refused(answer, status, challenge, code):
    assert answer.status == status, answer.body
    assert answer.headers["WWW-Authenticate"] == challenge
    assert [i["code"] for i in answer.json["issue"]] == [code]
    assert answer.json["resourceType"] == "OperationOutcome"
    return answer


NOT_GOOD = (401, 'Bearer error="invalid_token"', "login")
EXPIRED = (401, 'Bearer error="invalid_token", error_description="expired"', "expired")
TOO_LITTLE = (403, 'Bearer error="insufficient_scope"', "forbidden")
NOBODY = (401, 'Bearer realm="fhirlake"', "login")
BAD_REQUEST = (400, 'Bearer error="invalid_request"', "security")


# ---- data stores ----

def identity(idp, **more):
    given = {"AuthorizationStrategy": "SMART_ON_FHIR", "Metadata": json.dumps(metadata(idp.url))} | more
    return {k: v for k, v in given.items() if v is not None}


@pytest.mark.parametrize("change, says", [
    ({"Metadata": None}, "Metadata must be given"),
    ({"Metadata": "nonsense"}, "Metadata is no JSON"),
    ({"Metadata": "[]"}, "JSON object"),
    ({"Metadata": '{"token_endpoint":"https://a/","token_endpoint":"https://b/"}'}, "token_endpoint stands twice"),
    ({"FineGrainedAuthorizationEnabled": True}, "FineGrainedAuthorizationEnabled"),
    ({"IdpLambdaArn": FUNCTION + "2"}, f"[lambda {FUNCTION}2]"),
    ({"AuthorizationStrategy": "AWS_AUTH"}, "Metadata has no effect"),
], ids=lambda v: str(v)[:40])
def test_a_data_store_that_cannot_check_its_tokens_is_not_made(server, idp, change, says):
    with pytest.raises(ClientError) as error:
        server.create_store(IdentityProviderConfiguration=identity(idp, **change))
    assert error.value.response["Error"]["Code"] == "ValidationException"
    assert says in error.value.response["Error"]["Message"]


@pytest.mark.parametrize("member, value", [
    ("token_endpoint", None), ("token_endpoint", "/token"), ("authorization_endpoint", None), ("grant_types_supported", []),
    ("grant_types_supported", ["password"]), ("capabilities", "permission-v2"), ("code_challenge_methods_supported", ["plain"]),
    ("code_challenge_methods_supported", ["S256", "plain"]), ("jwks_uri", "jwks"), ("issuer", "nobody"),
    ("issuer", "https://nobody.example"), ("issuer", None)])
def test_metadata_has_what_clients_need(server, idp, member, value):
    said = {k: v for k, v in (metadata(idp.url) | {member: value}).items() if v is not None}
    with pytest.raises(ClientError) as error:
        server.create_store(IdentityProviderConfiguration=identity(idp, Metadata=json.dumps(said)))
    assert error.value.response["Error"]["Code"] == "ValidationException"
    assert member in error.value.response["Error"]["Message"] or "issuer" in error.value.response["Error"]["Message"]


def test_describe_tells_what_was_given(server, store, idp):
    told = server.client().describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
    assert told["IdentityProviderConfiguration"] == identity(idp)


def test_a_server_that_knows_no_provider_makes_none(tmp_path, idp):
    with Server() as plain:
        with pytest.raises(ClientError) as error:
            plain.create_store(IdentityProviderConfiguration=identity(idp))
        assert "--identity-providers FILE" in error.value.response["Error"]["Message"]
        # and takes no token
        answer = with_token(plain, plain.create_store(), "a.b.c")
        assert answer.status == 401 and "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("text, says", [
    ("[issuer https://a.example]\njwks_uri = http://a.example/jwks\n", "an https URL, or http to loopback"),
    ("[issuer https://a.example]\nsecret = hidden\n", "unknown key")])
def test_a_file_that_breaks_a_rule_refuses_the_start(tmp_path, text, says):
    (tmp_path / "identity.ini").write_text(text)
    (tmp_path / "identity.ini").chmod(0o600)
    server = Server(None, "--identity-providers", str(tmp_path / "identity.ini"))
    with pytest.raises(AssertionError):
        server.start()
    assert says in server.log_text() and "--identity-providers" in server.log_text() and "hidden" not in server.log_text()


def test_who_gives_no_name_for_the_server_is_told_what_that_means(tmp_path, idp):
    told = "its tokens are for whatever host a request names"
    with Server(None, "--identity-providers", str(idp.file(tmp_path / "one"))) as server:
        assert f"section={idp.url} " in server.log_text() and told in server.log_text()
    with Server(None, "--identity-providers", str(idp.file(tmp_path / "one")),
                "--public-url", "https://fhir.example") as server:
        assert told not in server.log_text()


# ---- discovery ----

def test_discovery_is_open_and_is_the_metadata(server, store, idp):
    for headers in ({}, {"Accept": "application/fhir+xml"}, {"Origin": "https://app.example"}, {"Authorization": "Bearer x"}):
        answer = server.fhir(store, signed=False).get(".well-known/smart-configuration", **headers)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.body.decode() == json.dumps(metadata(idp.url))
    assert server.fhir(store).get(".well-known/smart-configuration").status == 200
    assert server.fhir(store, signed=False).call("HEAD", ".well-known/smart-configuration").status == 200
    refused(server.fhir(store, signed=False).post(".well-known/smart-configuration", {}), *NOBODY)


def test_discovery_is_nowhere_else(server, aws_store):
    assert server.fhir(aws_store).get(".well-known/smart-configuration").status == 404
    refused(server.fhir(aws_store, signed=False).get(".well-known/smart-configuration"), *NOBODY)
    refused(server.fhir("0" * 32, signed=False).get(".well-known/smart-configuration"), *NOBODY)
    parts = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    connection.request("GET", "/.well-known/smart-configuration")
    assert connection.getresponse().status == 404
    connection.close()


def test_the_capability_statement_is_open_and_names_the_endpoints(server, store, aws_store, idp):
    answer = server.fhir(store, signed=False).get("metadata")
    assert answer.status == 200 and answer.headers["Access-Control-Allow-Origin"] == "*"
    security = answer.json["rest"][0]["security"]
    assert security["service"][0]["coding"] == [
        {"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}]
    uris = security["extension"][0]
    assert uris["url"] == "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
    assert {e["url"]: e["valueUri"] for e in uris["extension"]} == {
        "token": f"{idp.url}/token", "authorize": f"{idp.url}/auth"}
    # elsewhere it is as it was
    refused(server.fhir(aws_store, signed=False).get("metadata"), *NOBODY)
    plain = server.fhir(aws_store).get("metadata")
    assert "Access-Control-Allow-Origin" not in plain.headers
    assert "extension" not in plain.json["rest"][0]["security"]
    other = answer.json
    del other["rest"][0]["security"], plain.json["rest"][0]["security"]
    same = plain.json
    del same["rest"][0]["security"]
    assert other["rest"] == same["rest"]


# ---- a good token ----

@pytest.mark.parametrize("n", [0, 1], ids=["RS256", "ES384"])
def test_a_good_token_reads_and_writes(server, store, idp, n):
    token = idp.keys[n].token(claims(server, store, iss=idp.url))
    assert with_token(server, store, token).json["id"] == "p1"
    assert with_token(server, store, token, "HEAD").status == 200
    made = with_token(server, store, token, "POST", "Patient", {"resourceType": "Patient"}, content_type="application/fhir+json")
    assert made.status == 201
    found = with_token(server, store, token, path="Patient?_id=p1")
    assert [e["resource"]["id"] for e in found.json["entry"]] == ["p1"]
    form = with_token(server, store, token, "POST", "Patient/_search", "_id=p1", content_type="application/x-www-form-urlencoded")
    assert [e["resource"]["id"] for e in form.json["entry"]] == ["p1"]


def test_a_large_body_comes_with_a_token(server, store, idp):
    token = idp.keys[0].token(claims(server, store, iss=idp.url, n="large"))
    large = {"resourceType": "Patient", "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">' + "x" * 3_000_000 + "</div>"}}
    assert with_token(server, store, token, "POST", "Patient", large, Prefer="return=minimal").status == 201


def test_the_role_bounds_a_token(server, store, idp):
    token = idp.keys[0].token(claims(server, store, iss=idp.url))
    answer = refused(with_token(server, store, token, "DELETE"), *TOO_LITTLE)
    assert "assumed-role/smart/" in answer.text


def test_conditions_of_the_roles_policy_see_where_a_token_comes_from(tmp_path):
    for network, status in (("127.0.0.0/8", 200), ("203.0.113.0/24", 403)):
        idp = Idp()
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "healthlake:*", "Resource": "*", "Condition": {
            "IpAddress": {"aws:SourceIp": network}, "Bool": {"aws:SecureTransport": "false"}}}]}
        with Server(None, "--identity-providers", str(idp.file(tmp_path / network[:3], policy))) as server:
            store = smart_store(server, idp.url)
            token = idp.keys[0].token(claims(server, store, iss=idp.url))
            assert [with_token(server, store, token, path="Patient").status for _ in range(2)] == [status, status]
        idp.close()


def test_over_tls_a_token_is_for_the_https_endpoint(tmp_path):
    tmp_path.chmod(0o700)
    authority, idp = Authority(tmp_path), Idp()
    certificate, key = authority.issue("server")
    with Server(None, "--identity-providers", str(idp.file(tmp_path / "idp")), "--tls-certificate", str(certificate),
                "--tls-key", str(key)) as server:
        server.ca = str(authority.ca)
        store = smart_store(server, idp.url)
        assert server.url.startswith("https://")
        good = claims(server, store, iss=idp.url)
        assert with_token(server, store, idp.keys[0].token(good), path="Patient").status == 200
        plain = good | {"aud": good["aud"].replace("https://", "http://")}
        refused(with_token(server, store, idp.keys[0].token(plain), path="Patient"), *NOT_GOOD)
    idp.close()


def test_another_provider_counts_at_once(server, idp):
    store = smart_store(server, idp.url)
    token = idp.keys[0].token(claims(server, store, iss=idp.url))

    def update(given):  # not every botocore knows the operation
        return ask_control(server.url, server.keys(), "UpdateFHIRDatastore", {"DatastoreId": store, "IdentityProviderConfiguration": given})

    assert with_token(server, store, token, path="Patient").status == 200
    status, code, text = update(identity(idp, Metadata=json.dumps(metadata("https://nobody.example"))))
    assert (status, code) == (400, "ValidationException") and "[issuer https://nobody.example]" in text
    assert with_token(server, store, token, path="Patient").status == 200
    assert update(identity(idp, Metadata=json.dumps(metadata(f"{idp.url}/opaque"))))[0] == 200
    refused(with_token(server, store, token, path="Patient"), *NOT_GOOD)
    idp.tokens = {"good": claims(server, store) | {"active": True}}
    assert with_token(server, store, "good", path="Patient").status == 200
    assert update({"AuthorizationStrategy": "AWS_AUTH"})[0] == 200
    refused(with_token(server, store, "good", path="Patient"), *NOT_GOOD)
    refused(server.fhir(store, signed=False).get("metadata"), *NOBODY)


def test_signatures_are_taken_beside_tokens(server, store):
    assert server.fhir(store).get("Patient/p1").status == 200


def test_keys_are_fetched_once(server, idp):
    store = smart_store(server, idp.url)
    before = idp.n_asked("/jwks")
    for i in range(5):
        token = idp.keys[i % 2].token(claims(server, store, iss=idp.url, n=i))
        assert with_token(server, store, token, path="Patient").status == 200
    assert idp.n_asked("/jwks") - before <= 1


def test_an_export_is_started_watched_and_read_with_a_token(tmp_path):
    idp = Idp()
    with Server(None, "--identity-providers", str(idp.file(tmp_path / "idp"))) as server:
        store = smart_store(server, idp.url)
        assert server.fhir(store).put("Patient/p1", {"resourceType": "Patient", "id": "p1"}).status == 201
        token = idp.keys[0].token(claims(server, store, iss=idp.url))
        started = with_token(server, store, token, path="$export", Prefer="respond-async", Accept="application/fhir+json")
        assert started.status == 202, started.body
        at = started.headers["Content-Location"]
        refused(with_token(server, store, None, path=at), *NOBODY)
        wait(lambda: with_token(server, store, token, path=at).status, {200})
        manifest = with_token(server, store, token, path=at).json
        assert manifest["requiresAccessToken"] is True
        file = manifest["output"][0]["url"]
        assert json.loads(with_token(server, store, token, path=file).body)["id"] == "p1"
        refused(with_token(server, store, None, path=file), *NOBODY)
        # a newer token of the same client will do
        newer = idp.keys[1].token(claims(server, store, iss=idp.url, jti="token-2"))
        assert with_token(server, store, newer, path=at).status == 200
    idp.close()


def test_the_role_bounds_bundles_too(server, store, idp):
    token = idp.keys[0].token(claims(server, store, iss=idp.url))
    refused(with_token(server, store, token, "POST", "", {"resourceType": "Bundle", "type": "batch"}), *TOO_LITTLE)


# ---- the others ----

@pytest.mark.parametrize("change, header, what", [
    ({"iss": "https://else.example"}, {}, NOT_GOOD), ({"iss": None}, {}, NOT_GOOD), ({"aud": None}, {}, NOT_GOOD),
    ({"aud": "https://else.example/r4/"}, {}, NOT_GOOD), ({"exp": None}, {}, NOT_GOOD), ({"exp": 1}, {}, EXPIRED),
    ({"nbf": 99999999999}, {}, NOT_GOOD), ({"iat": "now"}, {}, NOT_GOOD), ({}, {"crit": ["x"]}, NOT_GOOD),
    ({}, {"alg": "HS256"}, NOT_GOOD), ({}, {"alg": "none"}, NOT_GOOD), ({}, {"alg": "RS512"}, NOT_GOOD),
    ({}, {"typ": "id_token"}, NOT_GOOD), ({}, {"kid": "two"}, NOT_GOOD), ({"scope": None}, {}, TOO_LITTLE),
    ({"scope": "openid fhirUser"}, {}, TOO_LITTLE)], ids=str)
def test_a_token_that_is_not_good_is_refused_without_a_reason(server, store, idp, change, header, what):
    token = idp.keys[0].token(claims(server, store, **({"iss": idp.url} | change)), **header)
    answer = refused(with_token(server, store, token), *what)
    if what is NOT_GOOD:
        assert answer.text == "The access token is not accepted"


def test_what_is_no_token_of_ours_is_refused(server, store, idp):
    good = idp.keys[0].token(claims(server, store, iss=idp.url))
    strange = Key("RS256", "one").token(claims(server, store, iss=idp.url))
    bit = good[:-20] + ("A" if good[-20] != "A" else "B") + good[-19:]
    for token in (strange, bit, good[:-1], good + "A", good + "=", "opaque", "a.b.c", ".".join(good.split(".")[:2]) + "."):
        refused(with_token(server, store, token), *NOT_GOOD)
    refused(with_token(server, store, None), *NOBODY)


def test_a_token_is_for_one_data_store(server, store, aws_store, idp):
    other = smart_store(server, idp.url)
    token = idp.keys[0].token(claims(server, store, iss=idp.url))
    assert with_token(server, store, token).status == 200
    # a data store that is not for it, one that takes none, and one that is not there: one answer
    texts = {refused(with_token(server, s, token), *NOT_GOOD).text for s in (other, aws_store, "0" * 32)}
    assert len(texts) == 1


def test_a_token_stands_in_the_header_alone(server, store, idp):
    token = idp.keys[0].token(claims(server, store, iss=idp.url))
    form = "application/x-www-form-urlencoded"
    refused(with_token(server, store, None, path=f"Patient/p1?access_token={token}"), *BAD_REQUEST)
    refused(with_token(server, store, token, path=f"Patient/p1?access_token={token}"), *BAD_REQUEST)
    refused(with_token(server, store, token, "POST", "Patient/_search", f"access_token={token}", content_type=form), *BAD_REQUEST)
    refused(with_token(server, store, token, path="Patient/p1?X-Amz-Algorithm=AWS4-HMAC-SHA256"), *BAD_REQUEST)
    refused(with_token(server, store, f"{token} {token}"), *BAD_REQUEST)
    refused(with_token(server, store, "", "PUT", body={"resourceType": "Patient", "id": "p1"}), *BAD_REQUEST)
    refused(server.fhir(store).get(f"Patient/p1?access_token={token}"), *BAD_REQUEST)
    # two headers can be read in two ways by a proxy and by us
    parts = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    connection.putrequest("GET", f"/datastore/{store}/r4/Patient/p1")
    connection.putheader("Authorization", f"Bearer {token}")
    connection.putheader("Authorization", f"Bearer {token}")
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


def test_the_control_plane_takes_no_token(server, store, idp):
    token = idp.keys[0].token(claims(server, store, iss=idp.url))
    parts = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    connection.request("POST", "/", b"{}", {"Content-Type": "application/x-amz-json-1.0", "Authorization": f"Bearer {token}",
                                            "X-Amz-Target": "HealthLake.ListFHIRDatastores"})
    answer = connection.getresponse()
    assert answer.status in (400, 401, 403) and b"DatastorePropertiesList" not in answer.read()
    connection.close()


def test_version_1_takes_scopes_of_version_1(server, idp):
    store = smart_store(server, idp.url, "SMART_ON_FHIR_V1")
    one = idp.keys[0].token(claims(server, store, iss=idp.url, scope="system/*.read"))
    two = idp.keys[0].token(claims(server, store, iss=idp.url, scope="system/*.rs"))
    assert with_token(server, store, one, path="Patient").status == 200
    refused(with_token(server, store, two, path="Patient"), *TOO_LITTLE)


def test_without_signatures_a_token_is_still_checked(tmp_path):
    idp = Idp()
    with Server(None, "--auth", "none", "--identity-providers", str(idp.file(tmp_path / "idp", READ_ONLY))) as server:
        client = server.client("any", "thing")
        store, plain = smart_store(server, idp.url, client=client), server.create_store(client)
        token = idp.keys[0].token(claims(server, store, iss=idp.url))
        for said, status in ((None, 200), (token, 200), (token + "A", 401)):
            assert with_token(server, store, said, path="Patient").status == status
        assert with_token(server, store, None, "PUT", body={"resourceType": "Patient", "id": "p1"}).status == 201
        refused(with_token(server, store, token, "DELETE"), *TOO_LITTLE)
        # a data store that takes none passes over what it does not know
        assert with_token(server, plain, "whatever", path="Patient").status == 200
    idp.close()


# ---- a provider in trouble ----

def test_a_provider_that_is_out_lets_nobody_in_and_holds_nobody_up(tmp_path):
    idp = Idp()
    idp.published = 500
    with Server(None, "--identity-providers", str(idp.file(tmp_path / "idp"))) as server:
        store = smart_store(server, idp.url)
        token = idp.keys[0].token(claims(server, store, iss=idp.url))
        answer = with_token(server, store, token, path="Patient")
        assert answer.status == 503 and answer.headers["Retry-After"]
        assert [i["code"] for i in answer.json["issue"]] == ["transient"]
        assert server.fhir(store).get("Patient").status == 200
        idp.published = None
        # as long as it says that one should try again
        assert wait(lambda: with_token(server, store, token, path="Patient").status, {n for n in range(200, 600) if n != 503}) == 200
        idp.close()
        # what was checked is known, what is new cannot be checked... by its keys, which are kept
        assert with_token(server, store, token, path="Patient").status == 200
        assert with_token(server, store, idp.keys[1].token(claims(server, store, iss=idp.url)), path="Patient").status == 200


def test_a_slow_provider_holds_no_other_request(server, store, aws_store, idp):
    opaque = smart_store(server, f"{idp.url}/opaque")
    idp.hold, idp.held = threading.Event(), threading.Event()
    answers = []
    waiting = [threading.Thread(target=lambda n=n: answers.append(with_token(server, opaque, f"slow-{n}", path="Patient").status))
               for n in range(12)]
    for one in waiting:
        one.start()
    assert idp.held.wait(30)
    for _ in range(20):
        assert server.fhir(aws_store).get("Patient").status == 200
        assert server.fhir(store).get("Patient/p1").status == 200
    idp.hold.set()
    for one in waiting:
        one.join()
    idp.hold = None
    assert set(answers) <= {401, 429, 503}


# ---- introspection, and a function ----

def test_introspection_decides_about_opaque_tokens(server, idp):
    store = smart_store(server, f"{idp.url}/opaque")
    said = claims(server, store) | {"active": True}
    idp.tokens = {"good": said, "old": said | {"exp": 1}, "other": said | {"aud": "https://else.example"},
                  "off": said | {"active": False}, "little": said | {"scope": "openid"}}
    before = len(idp.asked)
    for _ in range(3):
        assert with_token(server, store, "good", path="Patient").status == 200
    # a question of an earlier test may come late
    [asked] = [one for one in idp.asked[before:] if one[0] == "/introspect" and b"token=good" in one[2]]
    assert asked[1]["Authorization"].startswith("Basic ")
    refused(with_token(server, store, "old"), *EXPIRED)
    refused(with_token(server, store, "little"), *TOO_LITTLE)
    for token in ("other", "off", "unknown"):
        refused(with_token(server, store, token), *NOT_GOOD)


def test_a_function_decides_in_place_of_keys(server, idp):
    store = server.create_store(IdentityProviderConfiguration=identity(idp, IdpLambdaArn=FUNCTION))
    events = []

    def function(event):
        events.append(event)
        if event["bearerToken"] != "good":
            return {}
        return {"authPayload": claims(server, store) | {"isAuthorized": "true", "uid": "100101"}, "iamRoleARN": ROLE}

    def call(*request, **more):
        """The answer, and what the function was asked for it."""
        for turn in range(30):
            before = len(events)
            answer = with_token(server, store, *request, **more)
            asked = [(e["operationName"], e["bearerToken"]) for e in events[before:]]
            if answer.status != 503:  # else the function, which has a second, came too late: its event may come later yet
                break
        return answer, list(dict.fromkeys(asked)) if turn else asked

    idp.function = function
    answer, asked = call("good", path="Patient")
    assert answer.status == 200 and asked == [("SearchWithGet", "good")]
    answer, asked = call("good", path="Patient?_id=x")
    assert answer.status == 200 and asked == []
    answer, asked = call("good", "POST", "Patient", {"resourceType": "Patient"})
    assert answer.status == 201 and asked == [("CreateResource", "good")]
    answer, asked = call("bad")
    assert refused(answer, *NOT_GOOD) and asked == [("ReadResource", "bad")]
    answer, asked = call("good", "DELETE")
    assert refused(answer, *TOO_LITTLE) and asked == [("DeleteResource", "good")]
    assert {e["datastoreEndpoint"] for e in events} == {f"{server.url}/datastore/{store}/r4/"}


# ---- an unchanged authorization server ----

@pytest.mark.skipif(Oidc.lacks() is not None, reason=str(Oidc.lacks()))
@pytest.mark.parametrize("alg", ["RS256", "PS384", "ES256", "ES384", "EdDSA"])
def test_tokens_of_oidc_provider(tmp_path, alg):
    with Oidc(["system/*.rs", "system/Patient.rs"], alg, patient="p1") as oidc:
        folder = tmp_path / "idp"
        helper = Idp()
        more = (f"[issuer {oidc.issuer}]\njwks_uri = {oidc.issuer}/jwks\nrole = {ROLE}\n"
                f"introspection_endpoint = {oidc.issuer}/token/introspection\nclient_id = resource-server\n"
                f"client_secret = secret-of-resource-server\n")
        with Server(None, "--identity-providers", str(helper.file(folder, more=more))) as server:
            store = smart_store(server, oidc.issuer)
            base = f"{server.url}/datastore/{store}/r4/"
            for client in ("jwt", "opaque"):
                token = oidc.token(client, base, "system/*.rs")
                assert (token.count(".") == 2) == (client == "jwt")
                assert with_token(server, store, token, path="Patient").status == 200, client
                other = oidc.token(client, "https://else.example/r4/", "system/*.rs")
                refused(with_token(server, store, other, path="Patient"), *NOT_GOOD)
            refused(with_token(server, store, "made-up", path="Patient"), *NOT_GOOD)
        helper.close()


# ---- what is told to nobody ----

def test_the_log_has_reasons_and_no_tokens(server, store, idp):
    said = claims(server, store, iss=idp.url, patient="patient-of-the-token", aud="https://else.example/")
    token = idp.keys[0].token(said)
    refused(with_token(server, store, token), *NOT_GOOD)
    good = idp.keys[0].token(claims(server, store, iss=idp.url, patient="patient-of-the-token"))
    assert with_token(server, store, good).status == 200
    text = server.log_text()
    assert "token_refused" in text and "aud" in text and "bearer:" in text
    for secret in (token, token.split(".")[1], token.split(".")[2], good.split(".")[2], "subject-of-the-token", "patient-of-the-token", "secret-of-ours"):
        assert secret not in text
