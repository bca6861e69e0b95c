"""Access tokens of a real Keycloak: the README's five minutes, levels, keys that move on, introspection, exports."""
import base64
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from fhirlake import ROOT, Server, patient, wait
from identity import EVERYTHING, ROLE, Key, smart_store
from test_smart_scopes import Bearer

pytestmark = [pytest.mark.long, pytest.mark.once]
REALM = json.loads((ROOT / "docs" / "keycloak" / "clinic-realm.json").read_text())


class Keycloak:
    """tests/peers/keycloak_peer.py, and what an administrator does there."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, str(ROOT / "tests" / "peers" / "keycloak_peer.py")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, "Keycloak does not start"
        self.__dict__.update(json.loads(line))
        if hasattr(self, "skip"):
            self.stop()
            pytest.skip(self.skip)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def post(self, path, form):
        request = urllib.request.Request(self.url + path, urllib.parse.urlencode(form).encode())
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def admin_call(self, method, path, body=None):
        """One call as the administrator; a token of his lives for a minute."""
        status, token = self.post("/realms/master/protocol/openid-connect/token", {
            "grant_type": "password", "client_id": "admin-cli", "username": self.admin, "password": self.password})
        assert status == 200, token
        request = urllib.request.Request(f"{self.url}/admin/realms{path}", None if body is None else json.dumps(body).encode(),
                                         {"Content-Type": "application/json", "Authorization": "Bearer " + token["access_token"]},
                                         method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError((method, path, error.code, error.read())) from None
        return json.loads(text) if text else None


class Realm:
    """The realm of docs/keycloak, with a name of its own, and changed as a test wants."""

    def __init__(self, keycloak, name, change=lambda realm: None):
        self.keycloak, self.name = keycloak, name
        self.issuer = f"{keycloak.url}/realms/{name}"
        realm = json.loads(json.dumps(REALM)) | {"realm": name}
        change(realm)
        keycloak.admin_call("POST", "", realm)

    def remove(self):
        self.keycloak.admin_call("DELETE", "/" + self.name)

    def ask(self, path="token", **form):
        return self.keycloak.post(f"/realms/{self.name}/protocol/openid-connect/{path}", form)

    def backend(self, scope="system/*.rs", **form):
        form |= {"scope": scope} if scope else {}
        status, answer = self.ask(grant_type="client_credentials", client_id="backend", client_secret="change-me", **form)
        assert status == 200, answer
        return answer["access_token"]

    def of(self, user, scope):
        status, answer = self.ask(grant_type="password", client_id="portal", username=user, password=user, scope=scope)
        assert status == 200, answer
        return answer["access_token"]

    def call(self, method, path, body=None):
        return self.keycloak.admin_call(method, f"/{self.name}{path}", body)

    def id_of(self, kind, **which):
        (found,) = self.call("GET", f"/{kind}?{urllib.parse.urlencode(which)}")
        return found["id"]


def said(token):
    head, claims = (json.loads(base64.urlsafe_b64decode(p + "==")) for p in token.split(".")[:2])
    return head, claims


def lightweight(realm):
    for client in realm["clients"]:
        client.setdefault("attributes", {})["client.use.lightweight.access.token.enabled"] = "true"


@pytest.fixture(scope="module")
def keycloak():
    there = Keycloak()
    yield there
    there.stop()


@pytest.fixture(scope="module")
def world(keycloak, tmp_path_factory):
    """Two realms, one asked for its keys and one about each token; a server that knows both; two patients."""
    class World:
        pass
    w = World()
    w.keys, w.asked = Realm(keycloak, "keys"), Realm(keycloak, "asked", lightweight)
    folder = tmp_path_factory.mktemp("idp")
    (folder / "smart.json").write_text(json.dumps(EVERYTHING))
    (folder / "identity.ini").write_text(
        f"[issuer {w.keys.issuer}]\njwks_uri = {w.keys.issuer}/protocol/openid-connect/certs\naudience = fhirlake\nrole = {ROLE}\n"
        f"[issuer {w.asked.issuer}]\nintrospection_endpoint = {w.asked.issuer}/protocol/openid-connect/token/introspect\n"
        f"client_id = fhirlake\nclient_secret = change-me-too\naudience = fhirlake\nrole = {ROLE}\n"
        f"[role {ROLE}]\npolicy = smart.json\n")
    for name in ("smart.json", "identity.ini"):
        (folder / name).chmod(0o600)
    with Server(None, "--identity-providers", str(folder / "identity.ini")) as w.server:
        w.stores = {r.name: smart_store(w.server, r.issuer) for r in (w.keys, w.asked)}
        for store in w.stores.values():
            fhir = w.server.fhir(store)
            for name in ("peter", "paula"):
                assert fhir.put(f"Patient/{name}", patient(name)).status == 201
                assert fhir.put(f"Observation/of-{name}", {
                    "resourceType": "Observation", "id": f"of-{name}", "status": "final", "code": {"text": "weight"},
                    "subject": {"reference": f"Patient/{name}"}}).status == 201
        w.app = lambda realm, token: Bearer(w.server.fhir(w.stores[realm.name]).base, token)
        yield w
        text = w.server.log_text()
        assert "change-me" not in text and "eyJ" not in text


def ids(answer):
    assert answer.status == 200, (answer.status, answer.body)
    return sorted(e["resource"]["id"] for e in json.loads(answer.body).get("entry", []))


@pytest.mark.parametrize("how", ["keys", "asked"])
def test_levels_of_scopes_are_those_that_keycloak_gave(world, how):
    realm = getattr(world, how)
    app = world.app(realm, realm.backend())
    assert ids(app.get("Patient")) == ["paula", "peter"] and app.get("Observation/of-paula").status == 200
    assert app.put("Patient/new", patient("new")).status == 403
    mine = world.app(realm, realm.of("peter", "patient/*.rs"))
    assert ids(mine.get("Patient")) == ["peter"] and ids(mine.get("Observation")) == ["of-peter"]
    assert mine.get("Patient/paula").status == 404 and mine.get("$export", Prefer="respond-async").status == 403
    user = world.app(realm, realm.of("nina", "user/Observation.rs"))
    assert ids(user.get("Observation")) == ["of-paula", "of-peter"] and user.get("Patient").status == 403
    # a user without the attribute has no patient
    nobody = world.app(realm, realm.of("nina", "patient/*.rs"))
    assert nobody.get("Patient/peter").status in (403, 404) and "peter" not in nobody.get("Patient").body.decode()
    # scopes that nobody asked for are none
    assert world.app(realm, realm.backend("")).get("Patient").status in (401, 403)


def test_a_token_for_somebody_else_or_of_another_realm_is_refused(world, keycloak):
    other = Realm(keycloak, "other")
    elsewhere = next(c for c in REALM["clients"] if c["clientId"] == "backend") | {"clientId": "elsewhere", "defaultClientScopes": []}
    world.keys.call("POST", "/clients", elsewhere)
    status, answer = world.keys.ask(grant_type="client_credentials", client_id="elsewhere", client_secret="change-me", scope="system/*.rs")
    assert status == 200 and "system/*.rs" in answer["scope"] and said(answer["access_token"])[1].get("aud") != "fhirlake"
    for app in (world.app(world.keys, other.backend()), world.app(world.keys, world.asked.backend()),
                world.app(world.asked, world.keys.backend()), world.app(world.keys, answer["access_token"])):
        answer = app.get("Patient")
        assert answer.status == 401 and answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    other.remove()


def test_a_client_that_signs_its_assertion_gets_a_token_that_works(world):
    realm, key = world.keys, Key("ES384", "of-the-client")
    client = next(c for c in REALM["clients"] if c["clientId"] == "backend") | {
        "clientId": "signer", "clientAuthenticatorType": "client-jwt",
        "attributes": {"token.endpoint.auth.signing.alg": "ES384", "use.jwks.string": "true",
                       "jwks.string": json.dumps({"keys": [key.jwk() | {"use": "sig", "alg": "ES384"}]})}}
    del client["secret"]
    realm.call("POST", "/clients", client)

    def token(signer, n):
        now = time.time()
        assertion = signer.token({"iss": "signer", "sub": "signer", "aud": realm.issuer, "jti": f"assertion-{n}",
                                  "iat": int(now), "exp": int(now) + 60}, typ="JWT")
        return realm.ask(grant_type="client_credentials", scope="system/*.rs", client_assertion=assertion,
                         client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer")

    status, answer = token(key, 1)
    assert status == 200, answer
    assert ids(world.app(realm, answer["access_token"]).get("Patient")) == ["paula", "peter"]
    assert token(Key("ES384", "of-the-client"), 2)[0] in (400, 401)


def test_keys_of_the_realm_move_on(world):
    realm = world.keys
    old = realm.backend()
    assert world.app(realm, old).get("Patient/peter").status == 200
    realm.call("POST", "/components", {"name": "newer", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
                                       "config": {"priority": ["200"], "algorithm": ["RS512"], "keySize": ["4096"]}})
    client = realm.id_of("clients", clientId="backend")
    now = realm.call("GET", f"/clients/{client}")
    now["attributes"]["access.token.signed.response.alg"] = "RS512"
    realm.call("PUT", f"/clients/{client}", now)
    new = realm.backend()
    assert said(new)[0]["alg"] == "RS512" and said(new)[0]["kid"] != said(old)[0]["kid"]
    # a key that is not there is fetched at once, unless that was done within the last 30 seconds
    wait(lambda: world.app(realm, new).get("Patient/peter").status, {200})
    assert world.app(realm, old).get("Patient/paula").status == 200


def test_a_light_token_says_nothing_and_is_asked_about(world):
    realm = world.asked
    token = realm.of("peter", "patient/*.rs")
    assert "patient" not in said(token)[1]
    assert ids(world.app(realm, token).get("Patient")) == ["peter"]
    for bad in (token[:-8] + "AAAAAAAA", "of-nobody", token + "x"):
        assert world.app(realm, bad).get("Patient").status == 401


def test_what_is_no_more_is_refused(world):
    realm = world.asked
    # a user who left the clinic: a token that nobody has shown yet
    token = realm.of("nina", "user/*.rs")
    nina = realm.id_of("users", username="nina", exact="true")
    realm.call("PUT", f"/users/{nina}", realm.call("GET", f"/users/{nina}") | {"enabled": False})
    assert realm.ask(grant_type="password", client_id="portal", username="nina", password="nina")[0] == 400
    answer = world.app(realm, token).get("Patient")
    assert answer.status == 401 and answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    # a session that was ended
    token = realm.of("peter", "patient/*.rs")
    realm.call("POST", f"/users/{realm.id_of('users', username='peter', exact='true')}/logout")
    assert world.app(realm, token).get("Patient").status == 401
    # a token whose second has passed
    client = realm.id_of("clients", clientId="backend")
    now = realm.call("GET", f"/clients/{client}")
    now["attributes"]["access.token.lifespan"] = "1"
    realm.call("PUT", f"/clients/{client}", now)
    token = realm.backend()
    wait(lambda: realm.ask("token/introspect", client_id="fhirlake", client_secret="change-me-too", token=token)[1]["active"],
         {False})
    assert world.app(realm, token).get("Patient").status == 401


def test_an_export_of_a_backend_holds_what_its_scopes_give(world):
    realm = world.keys
    app = world.app(realm, realm.backend())
    kick = app.get("$export", Prefer="respond-async")
    assert kick.status == 202, kick.body
    status = kick.headers["Content-Location"]
    wait(lambda: app.get(status).status, {200})
    found = set()
    for file in json.loads(app.get(status).body)["output"]:
        for line in app.get(file["url"]).body.splitlines():
            found.add((file["type"], json.loads(line)["id"]))
    assert found == {("Patient", "peter"), ("Patient", "paula"), ("Observation", "of-peter"), ("Observation", "of-paula")}
    assert world.app(realm, realm.of("peter", "patient/*.rs")).get(status).status in (403, 404)


def test_the_five_minutes_of_the_readme(keycloak, tmp_path):
    aws = shutil.which("aws")
    if aws is None or shutil.which("curl") is None:
        pytest.skip("needs the AWS CLI and curl")
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## An identity provider in five minutes"):]
    section = section[:section.index("\n## ", 3)]
    start, files, use = re.findall(r"\n```\n(.*?)```", section, re.S)
    assert "kc.sh start-dev --import-realm" in start and "docs/keycloak/clinic-realm.json" in start
    realm = Realm(keycloak, "clinic")
    places = {"http://127.0.0.1:8181": keycloak.url, "docs/keycloak/": f"{ROOT}/docs/keycloak/"}

    def shell(script):
        for this, that in places.items():
            script = script.replace(this, that)
        done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    (serve,) = [line for line in files.splitlines() if "fhirlake serve" in line]
    shell(files.replace(serve, ""))
    options = serve.split("#")[0].split()[2:]
    assert options == ["--identity-providers", "idp/identity.ini"]
    with Server(tmp_path / "fhirlake-data", options[0], str(tmp_path / options[1])) as server:
        places["http://127.0.0.1:8080"] = server.url
        variables = "\n".join(line for line in files.splitlines() if line.startswith("KEYCLOAK="))
        out = shell(f"{variables}\n{use}")
    answers = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert [a["resourceType"] for a in answers] == ["Patient", "Bundle", "Bundle", "OperationOutcome"], out
    assert answers[1]["total"] > 1 and answers[2]["total"] == 1
    realm.remove()
