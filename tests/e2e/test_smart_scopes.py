"""What tokens of random scopes see of a server, against an oracle that knows the resources; and exports under scopes.

The tokens are signed here, and the server fetches the key from a JWKS URL. tests/unit/rest/test_granted_random.c asks
the same of every interaction, without tokens."""
import base64
import http.server
import json
import random
import threading
import time
import urllib.parse
import uuid

import pytest

from fhirlake import Fhir, Server, wait

ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature  # noqa: E402

pytestmark = pytest.mark.sanitize
SEED = 20261129
PATIENTS = ["a", "b"]


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """An identity provider with one ES256 key, whose JWKS a local server has."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        point = self.key.public_key().public_numbers()
        jwks = json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256",
                                     "x": base64url(point.x.to_bytes(32, "big")),
                                     "y": base64url(point.y.to_bytes(32, "big"))}]}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(jwks)))
                self.end_headers()
                self.wfile.write(jwks)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, audience, scope, **claims):
        now = int(time.time())
        head = {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
        body = {"iss": self.url, "aud": audience, "iat": now, "nbf": now, "exp": now + 3600, "client_id": "app",
                "sub": "user", "jti": f"t{random.random()}", "scope": scope, **claims}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (head, body))
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Bearer(Fhir):
    """The FHIR API as an app with a token sees it."""

    def __init__(self, base, token):
        super().__init__(base, None)
        self.token = token

    def call(self, *args, **more):
        return super().call(*args, **{"Authorization": f"Bearer {self.token}", **more})

    def pages(self, path):
        """All entries of a Bundle, over its pages."""
        entries = []
        while path:
            answer = self.get(path)
            assert answer.status == 200, answer.body
            entries += answer.json.get("entry", [])
            path = next((link["url"] for link in answer.json["link"] if link["relation"] == "next"), None)
        return entries


class Smart:
    """A server, a data store that takes tokens, and who issues them."""

    def __init__(self, folder):
        self.issuer = Issuer()
        everything = {"Effect": "Allow", "Action": "healthlake:*", "Resource": "*"}
        (folder / "all.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [everything]}))
        (folder / "providers").write_text(
            f"[issuer {self.issuer.url}]\njwks_uri = {self.issuer.url}/jwks\n"
            "role = arn:aws:iam::000000000000:role/smart\n"
            "[role arn:aws:iam::000000000000:role/smart]\npolicy = all.json\n")
        for name in ("all.json", "providers"):
            (folder / name).chmod(0o600)
        self.server = Server(None, "--identity-providers", str(folder / "providers"))

    def open(self):
        self.server.__enter__()
        metadata = {"issuer": self.issuer.url, "authorization_endpoint": f"{self.issuer.url}/authorize",
                    "token_endpoint": f"{self.issuer.url}/token", "grant_types_supported": ["client_credentials"],
                    "capabilities": ["permission-v1", "permission-v2"], "code_challenge_methods_supported": ["S256"]}
        self.store = self.server.create_store(IdentityProviderConfiguration={
            "AuthorizationStrategy": "SMART_ON_FHIR", "Metadata": json.dumps(metadata)})
        self.base = f"{self.server.url}/datastore/{self.store}/r4"
        self.signed = self.server.fhir(self.store)
        return self

    def app(self, scope, patient=None, **claims):
        more = {"patient": patient} if patient else {}
        return Bearer(self.base, self.issuer.token(self.base + "/", scope, **more, **claims))


@pytest.fixture(scope="module")
def smart(tmp_path_factory):
    it = Smart(tmp_path_factory.mktemp("smart"))
    try:
        it.open()
        fill(it)
        yield it
    finally:
        it.server.__exit__(None, None, None)
        it.issuer.close()


# ---- resources ----

def observation(i, dice):
    return {"resourceType": "Observation", "id": f"o{i}", "status": "final", "code": {"text": "x"},
            "category": [{"coding": [{"system": "c", "code": dice.choice(["lab", "vital"])}]}],
            "subject": {"reference": f"Patient/{dice.choice(PATIENTS)}"},
            "encounter": {"reference": f"Encounter/e{dice.randrange(20)}"}}


def fill(smart):
    dice = random.Random(SEED)
    smart.now, smart.then = {}, {}
    for p in PATIENTS:
        smart.now["Patient", p] = {"resourceType": "Patient", "id": p, "gender": "male" if p == "a" else "female"}
    for i in range(20):
        smart.now["Encounter", f"e{i}"] = {"resourceType": "Encounter", "id": f"e{i}", "status": "finished",
                                           "class": {"code": "AMB"},
                                           "subject": {"reference": f"Patient/{dice.choice(PATIENTS)}"}}
    for i in range(5):
        smart.now["Practitioner", f"d{i}"] = {"resourceType": "Practitioner", "id": f"d{i}"}
    for i in range(60):
        smart.now["Observation", f"o{i}"] = observation(i, dice)
    for i in range(20):  # these had another patient or category
        smart.then["Observation", f"o{i}"] = observation(i, dice)
    for resources in (smart.then, smart.now):
        entries = [{"request": {"method": "PUT", "url": "/".join(key)}, "resource": value}
                   for key, value in resources.items()]
        answer = smart.signed.post("", {"resourceType": "Bundle", "type": "batch", "entry": entries})
        assert all(e["response"]["status"] in ("200", "201") for e in answer.json["entry"])


# ---- the oracle ----

def any_token(dice):
    rules = []
    for _ in range(dice.randint(1, 4)):
        rules.append({"level": dice.choice(["patient", "patient", "user", "system"]),
                      "type": dice.choice(["Patient", "Encounter", "Observation", "Observation", "Practitioner", "*"]),
                      "letters": dice.choice(["rs", "rs", "r", "s", "cruds", "read", "*", "write"]), "category": None})
        if rules[-1]["letters"] in ("rs", "r", "s") and dice.random() < 0.4:
            rules[-1]["category"] = dice.choice(["lab", "vital"])
    text = " ".join(f"{r['level']}/{r['type']}.{r['letters']}" + (f"?category=c|{r['category']}" if r["category"] else "")
                    for r in rules)
    return text, rules


def knows(rule, kind, letter):
    letters = {"read": "rs", "write": "cud", "*": "cruds"}.get(rule["letters"], rule["letters"])
    return (letter in letters and rule["type"] in ("*", kind) and (rule["category"] is None or kind == "Observation"))


def gives(rules, patient, letter, resource):
    kind = resource["resourceType"]
    owner = resource["id"] if kind == "Patient" else resource.get("subject", {}).get("reference", "").removeprefix("Patient/")
    return any(knows(r, kind, letter)
               and (r["level"] != "patient" or kind == "Practitioner" or owner == patient)
               and (r["category"] is None or resource["category"][0]["coding"][0]["code"] == r["category"])
               for r in rules)


def test_random_tokens_see_what_their_scopes_give(smart):
    dice = random.Random(SEED)
    for _ in range(40):
        scope, rules = any_token(dice)
        patient = dice.choice(PATIENTS)
        app = smart.app(f"openid launch/patient {scope}", patient)
        found = {key for key, r in smart.now.items() if gives(rules, patient, "s", r)}
        for kind in ("Patient", "Encounter", "Observation", "Practitioner"):
            here = scope, patient, kind
            if not any(knows(r, kind, "s") for r in rules):
                answer = app.get(kind)
                assert answer.status == 403 and answer.json["issue"][0]["code"] == "forbidden", here
                assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
                continue
            ids = {e["resource"]["id"] for e in app.pages(f"{kind}?_count=7")}
            assert ids == {i for k, i in found if k == kind}, here
            assert app.get(f"{kind}?_summary=count").json["total"] == len(ids), here
        for key, resource in dice.sample(sorted(smart.now.items()), 12):
            status = (403 if not any(knows(r, key[0], "r") for r in rules)
                      else 200 if gives(rules, patient, "r", resource) else 404)
            assert app.get("/".join(key)).status == status, (scope, patient, key)
            old = smart.then.get(key)
            if old and status == 200:
                seen = gives(rules, patient, "r", old)
                assert app.get("/".join(key) + "/_history/1").status == (200 if seen else 404), (scope, patient, key)
        if any(knows(r, "Observation", "s") for r in rules):
            want = {key for key in found if key[0] == "Observation"}
            for _, i in list(want):
                encounter = tuple(smart.now["Observation", i]["encounter"]["reference"].split("/"))
                if gives(rules, patient, "r", smart.now[encounter]):
                    want.add(encounter)
            got = {(e["resource"]["resourceType"], e["resource"]["id"])
                   for e in app.pages("Observation?_count=100&_include=Observation:encounter")}
            assert got == want, (scope, patient)


def test_a_write_is_held_to_the_scopes(smart):
    app = smart.app("patient/Observation.cruds?category=c|lab", "a")
    mine = {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "category": [{"coding": [{"system": "c", "code": "lab"}]}], "subject": {"reference": "Patient/a"}}
    answer = app.post("Observation", mine)
    assert answer.status == 201
    i = answer.json["id"]
    assert app.post("Observation", {**mine, "subject": {"reference": "Patient/b"}}).status == 403
    assert app.put(f"Observation/{i}", {**mine, "id": i, "subject": {"reference": "Patient/b"}}).status == 403
    assert app.put(f"Observation/{i}", {**mine, "id": i, "language": "en"}).status == 200
    assert smart.app("patient/Observation.cruds", "b").delete(f"Observation/{i}").status == 404
    assert app.delete(f"Observation/{i}").status == 204
    assert app.get(f"Observation/{i}").status == 410
    assert smart.app("patient/Observation.cruds", "b").get(f"Observation/{i}").status == 404


def test_a_read_is_held_to_the_scopes_whatever_its_size_and_theirs(smart):
    """Small resources under few scopes are looked at where the request comes in, all others by a worker."""
    def resource(id, size, code):
        return {"resourceType": "Basic", "id": id, "code": {"coding": [{"system": "c", "code": code}]},
                "text": {"status": "generated", "div": f"<div xmlns=\"http://www.w3.org/1999/xhtml\">{'x' * size}</div>"}}

    sizes = {"s": 10, "m": 15_000, "l": 17_000, "h": 1_000_000}
    for name, size in sizes.items():
        for code in ("in", "out"):
            assert smart.signed.put(f"Basic/{name}-{code}", resource(f"{name}-{code}", size, code)).status == 201
            assert smart.signed.put(f"Basic/{name}-{code}-gone", resource(f"{name}-{code}-gone", size, code)).status == 201
            assert smart.signed.delete(f"Basic/{name}-{code}-gone").status == 204
    more = " ".join(f"system/Basic.rs?code=c|n{i}" for i in range(12))
    for scope in ("system/Basic.rs?code=c|in", f"system/Basic.rs?code=c|in {more}",
                  "system/Basic.rs?code=c|in&code=c|in,c|n1&code=c|in,c|n2"):
        app = smart.app(scope)
        assert app.get("Basic/none").status == 404
        for name in sizes:
            for path, given, refused in ((f"Basic/{name}-in", 200, 404), (f"Basic/{name}-in-gone", 410, 404)):
                assert app.get(path).status == app.call("HEAD", path).status == given, (scope, path)
                assert app.get(path.replace("-in", "-out")).status == refused, (scope, path)
            tag = app.get(f"Basic/{name}-in").headers["ETag"]
            assert app.get(f"Basic/{name}-in", If_None_Match=tag).status == 304
            assert app.get(f"Basic/{name}-in?_elements=code").json["code"]["coding"][0]["code"] == "in"


def test_an_idempotency_key_tells_its_resource_to_whom_the_scopes_give_it(smart):
    key = str(uuid.uuid4())
    mine = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/a"}}

    def post(app, subject="a"):
        return app.post("Observation", {**mine, "subject": {"reference": f"Patient/{subject}"}}, x_amz_fhir_idempotency_key=key)

    created = post(smart.app("patient/Observation.c", "a"))
    assert created.status == 201
    where, id = created.headers["Location"], created.headers["Location"].split("/Observation/")[1].split("/")[0]
    for app, subject, told in ((smart.app("patient/Observation.c", "a"), "a", True), (smart.app("patient/Observation.cruds", "a"), "a", True),
                               (smart.app("system/Observation.c"), "b", True), (smart.signed, "b", True),
                               (smart.app("patient/Observation.cruds", "b"), "b", False), (smart.app("patient/Observation.c", "b"), "b", False)):
        again = post(app, subject)
        assert again.status == 409 and again.json["issue"][0]["code"] == "duplicate"
        assert again.headers["Location"] == (where if told else None)
        assert told or (id not in again.body.decode() and id not in str(again.headers))
    assert smart.signed.delete(f"Observation/{id}").status == 204


def test_an_export_holds_what_the_scopes_give(smart):
    scope = "system/Observation.rs?category=c|lab system/Practitioner.rs patient/Patient.rs"
    app = smart.app(scope, "a")
    kick = app.get("$export", Prefer="respond-async")
    assert kick.status == 202, kick.body
    status = urllib.parse.urlsplit(kick.headers["Content-Location"])
    path = status.path.split("/r4/", 1)[1]
    assert smart.app(scope, "a", client_id="other").get(path).status == 404
    assert smart.app(scope, "a", sub="other").delete(path).status == 404
    wait(lambda: app.get(path).status, {200}, pause=1.0)
    manifest = app.get(path).json
    got = set()
    for file in manifest["output"]:
        name = urllib.parse.urlsplit(file["url"]).path.split("/r4/", 1)[1]
        assert smart.app(scope, "a", client_id="other").get(name).status == 404
        for line in app.get(name).body.splitlines():
            resource = json.loads(line)
            got.add((resource["resourceType"], resource["id"]))
    rules = [{"level": "system", "type": "Observation", "letters": "rs", "category": "lab"},
             {"level": "system", "type": "Practitioner", "letters": "rs", "category": None}]
    assert got == {key for key, r in smart.now.items() if gives(rules, None, "r", r)}
    assert app.get("$export?_type=Patient", Prefer="respond-async").status == 403
    assert smart.app("patient/*.rs user/*.rs", "a").get("$export", Prefer="respond-async").status == 403


def test_a_signed_request_is_not_limited(smart):
    assert smart.signed.get("Encounter?_summary=count").json["total"] == 20
    assert smart.signed.get("Patient/b").status == 200
