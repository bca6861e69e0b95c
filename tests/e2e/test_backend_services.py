"""SMART Backend Services: a registered client proves who it is, gets a short token, and gets no further than that."""
import base64
import http.server
import json
import threading
import time
import urllib.parse
import uuid

import pytest
from botocore.exceptions import ClientError

import postgres
from backend import FORM, OURS, Backend, ClientKey, WithToken, command, hs256, register
from bulk import ASYNC, Export
from fhirlake import KEY, ROLE, Server, ask_control, wait
from identity import b64, claims, smart_store

pytestmark = pytest.mark.sanitize
ES, RS, RS256 = ClientKey("ES384"), ClientKey("RS384"), ClientKey("RS256")


class Keys:
    """Where a client publishes its keys; a test says what is answered."""

    def __init__(self):
        self.answer, self.asked = None, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                outer.asked.append((self.path, dict(self.headers.items())))
                try:
                    outer.answer(self)
                except ConnectionError:
                    pass  # the server hung up, as it may

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def send(handler, body, status=200, **headers):
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(text))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(text)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def keys():
    one = Keys()
    yield one
    one.close()


@pytest.fixture(scope="module")
def server(idp, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backend")
    (folder / "data").mkdir(mode=0o700)
    said = register(folder / "data", "app", [ES, RS], "system/*.rs system/Observation.cruds")
    assert "start the server anew once" in said and "/auth/token" in said
    with Server(folder / "data", "--identity-providers", str(idp.file(folder / "idp")), "--audit", str(folder / "audit")) as s:
        yield s


@pytest.fixture(scope="module")
def store(server):
    store = server.create_store(IdentityProviderConfiguration=OURS)
    fhir = server.fhir(store)
    assert fhir.put("Patient/p1", {"resourceType": "Patient", "id": "p1"}).status == 201
    assert fhir.put("Observation/o1", {"resourceType": "Observation", "id": "o1", "status": "final", "code": {"text": "x"},
                                       "subject": {"reference": "Patient/p1"}}).status == 201
    return store


@pytest.fixture
def app(server, store):
    return Backend(server, store, "app", ES)


def fresh(server, store, *more, scope="system/*.rs", keys=None):
    """A client of its own, so that what fails too often is nobody else's."""
    client = f"c-{uuid.uuid4()}"
    key = ClientKey()
    register(server.data, client, keys or [key], scope, *more)
    return Backend(server, store, client, key)


def refused(answer, status, error):
    assert answer.status == status, answer.body
    assert answer.json["error"] == error and answer.json["error_description"]
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Pragma"] == "no-cache"
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json) == {"error", "error_description"}


# ---- discovery ----

def test_discovery_says_where_tokens_are_given(server, store, app):
    fhir = server.fhir(store, signed=False)
    told = fhir.get(".well-known/smart-configuration")
    assert told.status == 200 and told.headers["Content-Type"] == "application/json"
    assert told.json["token_endpoint"] == app.url
    assert told.json["grant_types_supported"] == ["client_credentials"]
    assert {"client-confidential-asymmetric", "permission-v1", "permission-v2"} == set(told.json["capabilities"])
    assert told.json["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    assert "authorization_endpoint" not in told.json and "issuer" not in told.json
    for scope in told.json["scopes_supported"]:
        assert app.ask(app.form(scope)).status == 200
    security = fhir.get("metadata").json["rest"][0]["security"]
    uris = {e["url"]: e["valueUri"] for e in security["extension"][0]["extension"]}
    assert uris == {"token": app.url}
    # bulk-data-client looks here first
    assert server.fhir(store, signed=False).get(f"{server.url}/.well-known/smart-configuration").status == 404


def test_describe_tells_what_was_given(server, store):
    told = server.client().describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
    assert told["IdentityProviderConfiguration"] == OURS


def test_a_server_without_clients_makes_no_such_data_store():
    with Server() as plain:
        with pytest.raises(ClientError) as error:
            plain.create_store(IdentityProviderConfiguration=OURS)
        assert "fhirlake client add" in error.value.response["Error"]["Message"]


def test_the_keys_of_tokens_are_open(server, store, app):
    answer = server.fhir(store, signed=False).get("auth/jwks")
    assert answer.status == 200 and [k["kty"] for k in answer.json["keys"]] == ["RSA"]
    assert all(not set(k) & {"d", "p", "q"} for k in answer.json["keys"])
    head = json.loads(base64.urlsafe_b64decode(app.token().split(".")[0] + "=="))
    assert head["typ"] == "at+jwt" and head["kid"] == answer.json["keys"][0]["kid"]
    folder = server.data / "token-keys"
    if postgres.ON:
        assert not folder.exists()  # the database has them
        return
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [f.stat().st_mode & 0o777 for f in folder.iterdir()] == [0o600]


# ---- the flow; Inferno's token tests ----

@pytest.mark.parametrize("key", [ES, RS], ids=lambda k: k.alg)
def test_a_client_gets_a_token_and_asks_with_it(server, store, key):
    app = Backend(server, store, "app", key)
    answer = app.ask()
    assert answer.status == 200, answer.body
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Pragma"] == "no-cache"
    assert answer.json["token_type"].lower() == "bearer" and answer.json["expires_in"] == 300
    assert answer.json["scope"] == "system/*.rs" and set(answer.json) == {"access_token", "token_type", "expires_in", "scope"}
    fhir = WithToken(app.fhir, answer.json["access_token"])
    assert fhir.get("Patient/p1").status == 200
    assert fhir.put("Patient/p1", {"resourceType": "Patient", "id": "p1"}).status == 403
    assert app.fhir.get("Patient/p1").status == 401


def test_inferno_bulk_data_token_requests(app):
    assert app.ask(app.form(grant_type="not_a_grant_type")).status == 400
    assert app.ask(app.form(client_assertion_type="not_an_assertion_type")).status in (400, 401)
    assert app.ask(app.form(client_assertion="invalid_jwt")).status in (400, 401)
    answer = app.ask(app.form("system/*.read"))
    assert answer.status == 200 and answer.json["scope"] == "system/*.read"


@pytest.mark.parametrize("asked, given", [
    ("system/*.rs", "system/*.rs"),
    ("system/*.read", "system/*.read"),
    ("system/*.cruds", "system/*.rs system/Observation.cruds"),
    ("system/*.*", "system/*.read system/Observation.*"),
    ("system/Patient.cruds", "system/Patient.rs"),
    ("system/Observation.cud", "system/Observation.cud"),
    ("system/Observation.write", "system/Observation.write"),
    ("system/Observation.rs?category=laboratory", "system/Observation.rs?category=laboratory"),
    ("system/Patient.read system/Patient.read openid patient/*.rs user/*.rs launch", "system/Patient.read"),
])
def test_what_is_asked_for_is_cut_down_to_the_registration(app, asked, given):
    assert app.ask(app.form(asked)).json["scope"] == given


@pytest.mark.parametrize("scope", ["patient/*.rs", "user/*.read", "openid", "system/Patient.cud", "system/*.sr", "nonsense"])
def test_nothing_that_is_left_is_an_invalid_scope(app, scope):
    refused(app.ask(app.form(scope)), 400, "invalid_scope")


# ---- requests that are none ----

@pytest.mark.parametrize("change, error", [
    ({"grant_type": None}, "invalid_request"), ({"grant_type": ""}, "invalid_request"),
    ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
    ({"client_assertion_type": None}, "invalid_request"), ({"client_assertion_type": "x"}, "invalid_request"),
    ({"client_assertion": None}, "invalid_request"), ({"client_assertion": ""}, "invalid_request"),
    ({"scope": None}, "invalid_request"), ({"scope": ""}, "invalid_request"), ({"client_secret": "x"}, "invalid_request"),
], ids=str)
def test_a_form_that_lacks_something(app, change, error):
    refused(app.ask({k: v for k, v in (app.form() | change).items() if v is not None}), 400, error)


def test_forms_that_are_none(app):
    good = urllib.parse.urlencode(app.form())
    refused(app.ask(good, content_type="application/json"), 400, "invalid_request")
    refused(app.ask(good, content_type=None), 400, "invalid_request")
    refused(app.ask(good + "&scope=system%2F*.rs"), 400, "invalid_request")
    refused(app.ask(good + "&x=1&x=2"), 400, "invalid_request")
    refused(app.ask(good + "&grant%5Ftype=client_credentials"), 400, "invalid_request")
    refused(app.ask(good + "&x=%zz"), 400, "invalid_request")
    refused(app.ask("&".join(f"p{i}=1" for i in range(40)) + "&" + good), 400, "invalid_request")
    refused(app.ask(good, Authorization="Basic YTpi"), 400, "invalid_request")
    refused(app.ask(good, Authorization="Bearer " + "a.b.c"), 400, "invalid_request")
    refused(app.ask(good + "&x=" + "y" * (40 << 10)), 413, "invalid_request")
    refused(app.fhir.call("POST", app.url + "?scope=system/*.rs", good, FORM), 400, "invalid_request")
    answer = app.fhir.get("auth/token")
    assert answer.status == 405 and answer.headers["Allow"] == "POST"
    # none of them used the assertion up, and what has no value is not there (RFC 6749, 3.2)
    assert app.ask(good + "&client_secret=&client_id=").status == 200


# ---- assertions that are not good ----

def public_pem(key):
    from cryptography.hazmat.primitives import serialization
    return key.private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def bad_assertions(c, key):
    """(what is wrong, the assertion) of a client with that key."""
    other, now = ClientKey("ES384", key.kid), int(time.time())
    say = c.claims
    yield "wrong signature", key.jwt(say(), sign=lambda d: key.sign(d + b"x"))
    yield "another's key of the same name", other.jwt(say())
    yield "alg none", key.jwt(say(), sign=lambda d: b"", alg="none")
    yield "HS256 by the public key", key.jwt(say(), sign=hs256(public_pem(key)), alg="HS256")
    yield "HS256 by the JWK", key.jwt(say(), sign=hs256(json.dumps(key.jwk()).encode()), alg="HS256")
    yield "no kid", key.jwt(say(), kid=None)
    yield "an unknown kid", key.jwt(say(), kid="nobody")
    yield "no typ", key.jwt(say(), typ=None)
    yield "another typ", key.jwt(say(), typ="at+jwt")
    yield "crit", key.jwt(say(), crit=["exp"])
    yield "a foreign jku", key.jwt(say(), jku="https://evil.example/jwks")
    yield "its own jwk", other.jwt(say(), jwk=other.jwk())
    yield "another iss", key.jwt(say(iss="other"))
    yield "another sub", key.jwt(say(sub="other"))
    yield "no iss", key.jwt(say(iss=None))
    yield "no sub", key.jwt(say(sub=None))
    yield "no aud", key.jwt(say(aud=None))
    yield "the base as aud", key.jwt(say(aud=c.fhir.base))
    yield "a slash behind aud", key.jwt(say(aud=c.url + "/"))
    yield "another host as aud", key.jwt(say(aud=c.url.replace("127.0.0.1", "evil.example")))
    yield "two aud", key.jwt(say(aud=[c.url, "https://other.example"]))
    yield "an empty list as aud", key.jwt(say(aud=[]))
    yield "no exp", key.jwt(say(exp=None))
    yield "exp as text", key.jwt(say(exp=str(now + 200)))
    yield "exp past", key.jwt(say(exp=now - 120))
    yield "exp in ten minutes", key.jwt(say(exp=now + 600))
    yield "nbf in ten minutes", key.jwt(say(nbf=now + 600))
    yield "no jti", key.jwt(say(jti=None))
    yield "an empty jti", key.jwt(say(jti=""))
    yield "a jti that is no text", key.jwt(say(jti=7))
    yield "a member twice", ".".join([(t := key.jwt(say()).split("."))[0], b64(b'{"iss":"a","iss":"b"}'), t[2]])
    yield "two parts", "a.b"
    yield "four parts", key.jwt(say()) + ".x"
    yield "large", key.jwt(say(x="y" * 9000))


def test_no_assertion_that_is_not_good_gets_a_token(server, store):
    c = fresh(server, store)
    for what, assertion in bad_assertions(c, c.key):
        c.move()
        answer = c.ask(c.form(client_assertion=assertion))
        assert (what, answer.status) == (what, 401), answer.body
        refused(answer, 401, "invalid_client")
    assert c.ask().status == 200


def test_an_assertion_for_one_element_of_a_list_is_good(app):
    assert app.ask(app.form(client_assertion=app.key.jwt(app.claims(aud=[app.url])))).status == 200


def test_an_algorithm_beyond_the_two_is_for_who_is_registered_with_it(server, store):
    c = fresh(server, store, keys=[RS256])
    c.key = RS256
    refused(c.ask(), 401, "invalid_client")
    d = fresh(server, store, "--algorithms", "RS256", keys=[RS256])
    d.key = RS256
    assert d.ask().status == 200


def test_an_assertion_is_good_once(server, store, app):
    form = app.form()
    answers = []

    def ask():
        answers.append(app.ask(form).status)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(answers) == [200] + [401] * 7
    # the same jti of another client is another assertion
    c = fresh(server, store)
    jti = str(uuid.uuid4())
    assert app.ask(app.form(client_assertion=app.key.jwt(app.claims(jti=jti)))).status == 200
    assert c.ask(c.form(client_assertion=c.key.jwt(c.claims(jti=jti)))).status == 200


def test_who_fails_too_often_waits_and_nobody_else_does(server, store, app):
    c, d = fresh(server, store), fresh(server, store)
    bad = [c.ask(c.form(client_assertion=c.key.jwt(c.claims(aud="x")))) for _ in range(12)]
    assert [a.status for a in bad] == [401] * 10 + [429] * 2
    refused(bad[-1], 429, "temporarily_unavailable")
    assert 1 <= int(bad[-1].headers["Retry-After"]) <= 61
    assert c.ask().status == 429 and d.ask().status == 200
    # from elsewhere it is let in
    c.move()
    assert c.ask().status == 200


def test_a_refusal_does_not_tell_which_clients_there_are(server, store):
    real = fresh(server, store)
    real.key = ClientKey()
    nobody = Backend(server, store, "nobody", ClientKey())
    seen = {c.id: [(a.status, a.body) for a in (c.ask() for _ in range(12))] for c in (real, nobody)}
    assert seen[real.id] == seen["nobody"] and [s for s, _ in seen["nobody"]] == [401] * 10 + [429] * 2
    # at one address, too, where another has failed too often
    more = fresh(server, store)
    more.key, ghost = ClientKey(), Backend(server, store, "ghost", ClientKey())
    more.address = ghost.address = nobody.address
    assert [more.ask().status, ghost.ask().status] == [401, 401]
    for _ in range(10):
        nobody.ask(nobody.form(client_assertion="a.b.c"))
    assert nobody.ask(nobody.form(client_assertion="a.b.c")).status == 429


# ---- a token is for one data store, and of our server alone ----

def test_a_client_of_one_data_store_gets_nothing_of_another(server, store, app):
    other = server.create_store(IdentityProviderConfiguration=OURS)
    c = fresh(server, store, "--datastore", store)
    token = c.token()
    assert WithToken(c.fhir, token).get("Patient/p1").status == 200
    elsewhere = Backend(server, other, c.id, c.key)
    refused(elsewhere.ask(), 401, "invalid_client")
    assert WithToken(elsewhere.fhir, token).get("Patient/p1").status == 401
    # nor does an assertion for one go to the other
    app_there = Backend(server, other, "app", ES)
    refused(app_there.ask(app.form()), 401, "invalid_client")
    assert app_there.ask().status == 200
    assert WithToken(app_there.fhir, app.token()).get("Patient").status == 401


def test_identity_providers_stand_beside_it(server, store, idp, app):
    theirs = smart_store(server, idp.url)
    key = idp.keys[0]
    token = key.token(claims(server, theirs, iss=idp.url))
    assert WithToken(server.fhir(theirs, signed=False), token).get("Patient").status == 200
    # each takes its own tokens alone
    ours = key.token(claims(server, store, iss=idp.url))
    assert WithToken(app.fhir, ours).get("Patient").status == 401
    assert WithToken(server.fhir(theirs, signed=False), app.token()).get("Patient").status == 401
    # and its token endpoint is none there
    assert server.fhir(theirs, signed=False).call("POST", "auth/token", "a=b", FORM).status == 401
    assert server.fhir(server.create_store(), signed=False).call("POST", "auth/token", "a=b", FORM).status == 401


@pytest.mark.parametrize("change", [{"iss": "https://evil.example"}, {"scope": "system/*.cruds"}, {"aud": "x"}])
def test_a_token_that_was_changed_is_none(app, change):
    head, payload, signature = app.token().split(".")
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))) | change
    assert WithToken(app.fhir, f"{head}.{b64(json.dumps(said).encode())}.{signature}").get("Patient/p1").status == 401


def test_an_assertion_is_no_token_and_a_token_no_assertion(app):
    assert WithToken(app.fhir, app.key.jwt(app.claims(aud=app.fhir.base + "/", scope="system/*.rs"))).get("Patient").status == 401
    refused(app.ask(app.form(client_assertion=app.token())), 401, "invalid_client")


def test_who_is_removed_is_out_at_once(server, store):
    c = fresh(server, store)
    fhir = WithToken(c.fhir, c.token())
    assert fhir.get("Patient/p1").status == 200
    assert c.id in command("list", "--data", server.data)
    command("remove", c.id, "--data", server.data)
    assert fhir.get("Patient/p1").status == 401
    refused(c.ask(), 401, "invalid_client")
    assert c.id not in command("list", "--data", server.data)


def test_who_has_expired_or_is_disabled_gets_none(server, store):
    c = fresh(server, store, "--expires", "2020-01-01T00:00:00Z")
    refused(c.ask(), 401, "invalid_client")
    d = fresh(server, store)
    assert d.ask().status == 200
    file = server.data / "smart-clients"
    new = file.with_name("new-clients")
    new.write_text(file.read_text().replace(f"[{d.id}]", f"[{d.id}]\ndisabled = yes"))
    new.chmod(0o600)
    new.rename(file)
    refused(d.ask(), 401, "invalid_client")


def test_a_broken_file_changes_nothing(server, store, app):
    file = server.data / "smart-clients"
    text = file.read_text()
    new = file.with_name("new-clients")
    try:
        new.write_text(text + "\n[half]\nscope = system/*.rs\n")
        new.chmod(0o600)
        new.rename(file)
        assert app.ask().status == 200
        wait(lambda: "one of jwks and jwks_url is needed" in server.log_text(), {True})
    finally:
        new.write_text(text)
        new.chmod(0o600)
        new.rename(file)
    assert app.ask().status == 200


# ---- keys by URL ----

def by_url(server, store, keys, answer):
    keys.answer, keys.asked = answer, []
    c = fresh(server, store, keys=f"{keys.url}/{uuid.uuid4()}")
    return c


def test_keys_by_url_are_fetched_and_kept(server, store, keys):
    c = by_url(server, store, keys, lambda h: keys.send(h, {"keys": [c.key.jwk()]}))
    assert [c.ask().status for _ in range(3)] == [200] * 3
    assert len(keys.asked) == 1 and keys.asked[0][1]["Accept"] == "application/json"
    url = f"{keys.url}{keys.asked[0][0]}"
    assert c.ask(c.form(client_assertion=c.key.jwt(c.claims(), jku=url))).status == 200
    refused(c.ask(c.form(client_assertion=c.key.jwt(c.claims(), jku=url + "x"))), 401, "invalid_client")
    # a key that is new is fetched
    c.key = ClientKey()
    assert c.ask().status == 200 and len(keys.asked) == 2
    refused(c.ask(c.form(client_assertion=c.key.jwt(c.claims(), kid="unknown"))), 401, "invalid_client")
    assert len(keys.asked) == 2


def huge(h):
    Keys.send(h, b'{"keys":[' + b" " * (80 << 10) + b"]}")


def elsewhere(h):
    Keys.send(h, b"", 302, Location="/other")


def private(key):
    n = key.private.private_numbers()
    return key.jwk(d=number_of(n.private_value))


def number_of(value):
    return b64(value.to_bytes(48, "big"))


@pytest.mark.parametrize("what", ["huge", "elsewhere", "an error", "no JSON", "twice", "private", "closed"])
def test_keys_that_cannot_be_had_let_nobody_in(server, store, keys, what):
    answers = {
        "huge": huge, "elsewhere": elsewhere, "an error": lambda h: keys.send(h, b"", 500), "no JSON": lambda h: keys.send(h, b"x"),
        "twice": lambda h: keys.send(h, {"keys": [c.key.jwk(), ClientKey("ES384", c.key.kid).jwk()]}),
        "private": lambda h: keys.send(h, {"keys": [private(c.key)]}), "closed": lambda h: h.connection.close()}
    c = by_url(server, store, keys, answers[what])
    refused(c.ask(), 401, "invalid_client")
    assert not any(p == "/other" for p, _ in keys.asked)


def test_slow_keys_keep_nobody_waiting(server, store, keys, app):
    come, go = threading.Event(), threading.Event()

    def slow(h):
        come.set()
        go.wait(60)
        keys.send(h, {"keys": [c.key.jwk()]})

    c = by_url(server, store, keys, slow)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(c.ask()))
    waiting.start()
    assert come.wait(60)
    assert app.ask().status == 200
    waiting.join(60)
    go.set()
    refused(answers[0], 401, "invalid_client")  # after three seconds


# ---- restarts, the log, the audit log ----

def test_a_used_assertion_stays_used_when_the_server_is_killed(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    register(data, "app", [ES])
    server = Server(data, "--public-url", "https://fhir.example")
    try:
        server.start()
        assert "holds other files" not in server.log_text()  # the clients may be there first
        store = server.create_store(IdentityProviderConfiguration=OURS)
        app = Backend(server, store, "app", ES)
        app.url = f"https://fhir.example/datastore/{store}/r4/auth/token"

        def ask(form):
            return server.fhir(store, signed=False).call("POST", "auth/token", urllib.parse.urlencode(form), FORM)

        form = app.form()
        token = ask(form).json["access_token"]
        assert ask(form).status == 401
        server.kill()
        server.start()
        assert ask(form).status == 401
        assert ask(app.form()).status == 200
        # the key that signs has not changed either
        assert WithToken(server.fhir(store, signed=False), token).get("Patient").status == 200
        assert server.stop() == 0
    finally:
        server.kill()


def test_neither_log_has_an_assertion_and_the_audit_log_has_each_token(server, store):
    c = fresh(server, store)
    form = c.form()
    good = c.ask(form)
    bad = c.ask(form)
    assert (good.status, bad.status) == (200, 401)
    request_ids = {good.headers["x-amzn-RequestId"]: None, bad.headers["x-amzn-RequestId"]: "invalid_client"}
    folder = server.data.parent / "audit"

    def records():
        texts = [f.read_text() for f in sorted(folder.iterdir()) if f.is_file()]
        lines = [json.loads(line) for text in texts for line in text.split("\n")[:-1] if line[:1] == "{"]  # whole ones
        return {r["requestID"]: r for r in lines if r.get("requestID") in request_ids}

    wait(lambda: len(records()), {2})
    for request_id, error in request_ids.items():
        r = records()[request_id]
        assert r["eventName"] == "CreateAccessToken" and r.get("errorCode") == error
        assert r["userIdentity"]["principalId"].split("|")[1:] == [c.id, c.id] and r["requestParameters"]["datastoreId"] == store
        assert r["requestParameters"]["resourceId"] == c.id
    everything = server.log_text() + "".join(f.read_text() for f in folder.iterdir() if f.is_file())
    assertion = form["client_assertion"]
    for part in (*assertion.split("."), good.json["access_token"].split(".")[2]):
        assert part not in everything
    assert "the assertion was used before" in server.log_text()


# ---- exports ----

def test_an_export_outlives_its_token_and_its_files_want_one(server, store, app):
    asked = []

    def token():
        asked.append(app.token())
        return asked[-1]

    fhir = WithToken(app.fhir, token)
    export = Export(fhir, fhir.get("$export", **ASYNC))
    manifest = export.manifest()
    assert manifest["requiresAccessToken"] is True
    assert set(export.resources(manifest)) == {"Patient/p1", "Observation/o1"}
    assert len(set(asked)) == len(asked) >= 4  # no two requests had one token
    for item in manifest["output"]:
        assert app.fhir.get(item["url"]).status == 401
    # another client sees nothing of it
    c = fresh(server, store)
    assert WithToken(c.fhir, c.token()).get(export.url).status in (403, 404)
    assert WithToken(c.fhir, c.token()).get(manifest["output"][0]["url"]).status in (403, 404)


def test_a_group_is_exported_over_tls(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    register(data, "app", [RS])
    with Server(data, "--tls", "self-signed") as server:
        server.ca = data / "tls" / "certificate.pem"
        store = server.create_store(IdentityProviderConfiguration=OURS)
        fhir = server.fhir(store)
        for n in range(3):
            assert fhir.put(f"Patient/p{n}", {"resourceType": "Patient", "id": f"p{n}"}).status == 201
        assert fhir.put("Group/g", {"resourceType": "Group", "id": "g", "type": "person", "actual": True,
                                    "member": [{"entity": {"reference": "Patient/p1"}}]}).status == 201
        app = Backend(server, store, "app", RS)
        assert app.url.startswith("https://") and app.fhir.get("metadata").json["rest"][0]["security"]["extension"]
        client = WithToken(app.fhir, app.token)
        export = Export(client, client.get("Group/g/$export", **ASYNC))
        assert set(export.resources()) == {"Patient/p1", "Group/g"}


def test_a_data_store_goes_over_to_our_endpoint_and_back(server, app):
    store = server.create_store()

    def becomes(identity):
        said = {"DatastoreId": store, "IdentityProviderConfiguration": identity}
        assert ask_control(server.url, server.keys(), "UpdateFHIRDatastore", said)[0] == 200

    there = Backend(server, store, "app", ES)
    assert there.ask().status == 401
    becomes(OURS)
    fhir = WithToken(there.fhir, there.token())
    assert fhir.get("Patient").status == 200
    becomes(OURS | {"AuthorizationStrategy": "SMART_ON_FHIR_V1"})
    assert fhir.get("Patient").status == 403  # its scope is of version 2
    refused(there.ask(), 400, "invalid_scope")
    told = there.ask(there.form("system/*.read"))
    assert told.json["scope"] == "system/*.read" and WithToken(there.fhir, told.json["access_token"]).get("Patient").status == 200
    becomes({"AuthorizationStrategy": "AWS_AUTH"})
    assert WithToken(there.fhir, told.json["access_token"]).get("Patient").status == 401
    assert there.ask().status == 401


def test_a_client_writes_no_export_with_a_role(server, store, app):
    fhir = WithToken(app.fhir, app.token())
    answer = fhir.post("$export", {"DataAccessRoleArn": ROLE, "JobName": "x", "OutputDataConfig": {"S3Configuration": {
        "S3Uri": "s3://out/x", "KmsKeyId": KEY}}}, content_type="application/json", **ASYNC)
    assert answer.status == 403 and "iam:PassRole" in answer.text, answer.body
    assert not (server.objects / "out").exists()


# ---- the start ----

@pytest.mark.skipif(postgres.ON, reason="the database has these keys")
def test_a_key_of_ours_that_is_damaged_or_open_to_others_refuses_the_start_and_is_named(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    register(data, "app", [ES])
    with Server(data):
        pass
    pem = next((data / "token-keys").iterdir())
    good = pem.read_bytes()
    for text, mode, says in ((good[:200], 0o600, "no private key"), (b"", 0o600, "no private key"), (good, 0o666, "chmod")):
        pem.write_bytes(text)
        pem.chmod(mode)
        server = Server(data)
        with pytest.raises(AssertionError):
            server.start()
        last = server.log_text().splitlines()[-1]
        assert f"{pem}: " in last and says in last and "--smart-clients" not in last
        assert good[40:80].decode() not in server.log_text()
    pem.write_bytes(good)
    pem.chmod(0o600)
    with Server(data):
        pass


def test_a_server_for_others_needs_its_public_url(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    register(data, "app", [ES])
    server = Server(data, "--listen", "0.0.0.0:0", "--plain-http", "yes")
    with pytest.raises(AssertionError):
        server.start()
    assert "--public-url" in server.log_text()


@pytest.mark.parametrize("text, says", [
    ("[a]\nscope = system/*.rs\n", "one of jwks and jwks_url"), ("[a]\njwks_url = http://a.example/\nscope = system/*.rs\n", "https URL"),
    ("[a]\njwks_url = https://a.example/\n", "scope is missing"), ("[a]\nsecret = hidden\n", "unknown key"),
    ("[a]\njwks_url = https://a.example/\nscope = patient/*.rs\n", "none that is given here"), ("[a b]\n", "[CLIENT ID]")])
def test_a_file_that_breaks_a_rule_refuses_the_start(tmp_path, text, says):
    (tmp_path / "clients").write_text(text)
    (tmp_path / "clients").chmod(0o600)
    server = Server(None, "--smart-clients", str(tmp_path / "clients"))
    with pytest.raises(AssertionError):
        server.start()
    assert says in server.log_text() and "--smart-clients" in server.log_text() and "hidden" not in server.log_text()


def test_the_command_says_what_is_wrong(tmp_path):
    data = tmp_path / "data"
    assert "give the server's --data" in command("list", "--data", data, status=1)
    data.mkdir(mode=0o700)
    assert "There are no clients" in command("list", "--data", data)
    assert "client --help" in command(status=2)
    assert "one of --jwks" in command("add", "a", "--data", data, "--scope", "system/*.rs", status=1)
    key = tmp_path / "key.json"
    command("keygen", key)
    assert key.stat().st_mode & 0o777 == 0o600
    assert "nothing is written over a key" in command("keygen", key, status=1)
    assert "private one" in command("add", "a", "--data", data, "--jwks", key, "--scope", "system/*.rs", status=1)
    assert not (data / "smart-clients").exists()
    said = command("add", "a", "--data", data, "--jwks", f"{key}.public", "--scope", "system/*.rs", "--datastore", "0" * 32)
    assert f"/datastore/{'0' * 32}/r4/auth/token" in said
    assert (data / "smart-clients").stat().st_mode & 0o777 == 0o600
    assert "is there already" in command("add", "a", "--data", data, "--jwks", f"{key}.public", "--scope", "system/*.rs", status=1)
    assert "is not in" in command("remove", "b", "--data", data, status=1)
    command("remove", "a", "--data", data)
    assert "There are no clients" in command("list", "--data", data)
