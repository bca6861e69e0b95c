"""Identity providers for tests: one that signs whatever a test asks for, and oidc-provider of npm."""
import base64
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from fhirlake import ROOT

OIDC = pathlib.Path(os.environ.get("FHIRLAKE_OIDC", ROOT / ".deps" / "oidc"))  # ./dev brings it by npm
ROLE = "arn:aws:iam::000000000000:role/smart"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:idp"
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "healthlake:*", "Resource": "*"}]}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length=None):
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


class Key:
    """A key pair of RS256 or ES384."""

    def __init__(self, alg, kid):
        self.alg, self.kid = alg, kid
        self.private = rsa.generate_private_key(65537, 2048) if alg == "RS256" else ec.generate_private_key(ec.SECP384R1())

    def jwk(self):
        n = self.private.public_key().public_numbers()
        if self.alg == "RS256":
            return {"kty": "RSA", "kid": self.kid, "use": "sig", "n": number(n.n), "e": number(n.e)}
        return {"kty": "EC", "crv": "P-384", "kid": self.kid, "x": number(n.x, 48), "y": number(n.y, 48)}

    def sign(self, data):
        if self.alg == "RS256":
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA384())))
        return r.to_bytes(48, "big") + s.to_bytes(48, "big")

    def token(self, claims, **header):
        head = {"alg": self.alg, "typ": "at+jwt", "kid": self.kid} | header
        covered = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
        return covered + "." + b64(self.sign(covered.encode()))


class Idp:
    """A provider in this process: /jwks, /introspect and /function answer what the test puts here."""

    def __init__(self):
        self.keys = [Key("RS256", "one"), Key("ES384", "two")]
        self.published = None  # a body in place of the keys, or a status
        self.tokens = {}  # opaque token -> members of its introspection
        self.function = None  # event -> answer
        self.asked = []  # (path, headers, body)
        self.hold = None  # an event: the answer to /introspect waits for it
        self.held = threading.Event()  # one waits
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                outer.asked.append((self.path, dict(self.headers.items()), body))
                status, answer = outer.answer(self.path, body)
                text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path, body):
        if path == "/jwks":
            if isinstance(self.published, int):
                return self.published, {}
            return 200, self.published if self.published is not None else {"keys": [k.jwk() for k in self.keys]}
        if path == "/introspect":
            if self.hold:
                self.held.set()
                assert self.hold.wait(30)
            form = dict(urllib.parse.parse_qsl(body.decode()))
            return 200, self.tokens.get(form["token"], {"active": False})
        if path == "/function":
            return 200, self.function(json.loads(body))
        return 404, {}

    def n_asked(self, path):
        return sum(1 for p, _, _ in self.asked if p == path)

    def file(self, folder, policy=EVERYTHING, more=""):
        """Writes a file of identity providers that knows all this; its path."""
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "smart.json").write_text(json.dumps(policy))
        (folder / "identity.ini").write_text(
            f"[issuer {self.url}]\njwks_uri = {self.url}/jwks\nrole = {ROLE}\n"
            f"[issuer {self.url}/opaque]\nintrospection_endpoint = {self.url}/introspect\n"
            f"client_id = fhirlake\nclient_secret = secret-of-ours\nrole = {ROLE}\n"
            f"[lambda {FUNCTION}]\nurl = {self.url}/function\n"
            f"[role {ROLE}]\npolicy = smart.json\n{more}")
        for name in ("smart.json", "identity.ini"):
            (folder / name).chmod(0o600)
        return folder / "identity.ini"


def metadata(issuer, **more):
    return {"issuer": issuer, "authorization_endpoint": f"{issuer}/auth", "token_endpoint": f"{issuer}/token",
            "grant_types_supported": ["authorization_code", "client_credentials"],
            "capabilities": ["launch-standalone", "client-confidential-asymmetric", "permission-v1", "permission-v2"],
            "code_challenge_methods_supported": ["S256"]} | more


def smart_store(server, issuer, strategy="SMART_ON_FHIR", client=None, **more):
    """A data store whose tokens that issuer gives."""
    return server.create_store(client, IdentityProviderConfiguration={
        "AuthorizationStrategy": strategy, "Metadata": json.dumps(metadata(issuer))} | more)


def claims(server, store, **more):
    now = int(time.time())
    said = {"iss": None, "aud": f"{server.url}/datastore/{store}/r4/", "iat": now, "nbf": now, "exp": now + 300,
            "client_id": "app", "sub": "subject-of-the-token", "jti": "token-1", "scope": "system/*.cruds"} | more
    return {k: v for k, v in said.items() if v is not None}


class Oidc:
    """npm's oidc-provider as a child process. Use as a context manager."""

    def __init__(self, scopes, alg="RS256", patient=None):
        self.options = {"scopes": scopes, "alg": alg, "patient": patient}

    @staticmethod
    def lacks():
        """Why it cannot run here, or None."""
        if shutil.which("node") is None:
            return "no node here"
        if not (OIDC / "node_modules" / "oidc-provider").is_dir():
            return "no oidc-provider: ./dev test fetches it with npm into .deps/oidc"
        return None

    def __enter__(self):
        self.process = subprocess.Popen(
            ["node", str(ROOT / "tests" / "peers" / "oidc_peer.mjs"), str(OIDC), json.dumps(self.options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.issuer = json.loads(line)["issuer"]
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        self.process.wait(300)

    def token(self, client, audience, scope):
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": scope, "resource": audience}).encode()
        secret = base64.b64encode(f"{client}:secret-of-{client}".encode()).decode()
        request = urllib.request.Request(self.issuer + "/token", form, {"Authorization": "Basic " + secret})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["access_token"]


