"""A client of SMART Backend Services: it signs an assertion, gets a token for it, and asks with that."""
import http.client
import itertools
import json
import subprocess
import time
import urllib.parse
import uuid

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from fhirlake import BIN, Answer, Fhir
from identity import b64, number

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
OURS = {"AuthorizationStrategy": "SMART_ON_FHIR"}
FORM = "application/x-www-form-urlencoded"


class ClientKey:
    """A key pair of RS384, ES384 or RS256."""

    def __init__(self, alg="ES384", kid=None):
        self.alg, self.kid = alg, kid or f"key-{uuid.uuid4()}"
        self.private = (ec.generate_private_key(ec.SECP384R1()) if alg.startswith("ES")
                        else rsa.generate_private_key(65537, 2048))

    def jwk(self, **more):
        n = self.private.public_key().public_numbers()
        if self.alg.startswith("RS"):
            return {"kty": "RSA", "kid": self.kid, "n": number(n.n), "e": number(n.e)} | more
        return {"kty": "EC", "crv": "P-384", "kid": self.kid, "x": number(n.x, 48), "y": number(n.y, 48)} | more

    def sign(self, data):
        if self.alg.startswith("RS"):
            return self.private.sign(data, padding.PKCS1v15(), {"RS256": hashes.SHA256(), "RS384": hashes.SHA384()}[self.alg])
        r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA384())))
        return r.to_bytes(48, "big") + s.to_bytes(48, "big")

    def jwt(self, claims, sign=None, **header):
        head = {"alg": self.alg, "typ": "JWT", "kid": self.kid} | header
        head = {k: v for k, v in head.items() if v is not None}
        covered = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
        return covered + "." + b64((sign or self.sign)(covered.encode()))


def hs256(secret):
    def sign(data):
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(data)
        return mac.finalize()
    return sign


addresses = (f"127.{a}.{b}.{c}" for a in itertools.count(1) for b in range(256) for c in range(1, 255))


class Backend:
    """A registered client at one data store. It comes from an address of its own: who fails too often is nobody else."""

    def __init__(self, server, store, client_id, key):
        self.fhir = server.fhir(store, signed=False)
        self.id, self.key, self.url = client_id, key, self.fhir.base + "/auth/token"
        self.move()

    def move(self):
        self.address = next(addresses)

    def claims(self, **more):
        said = {"iss": self.id, "sub": self.id, "aud": self.url, "exp": int(time.time()) + 300, "jti": str(uuid.uuid4())} | more
        return {k: v for k, v in said.items() if v is not None}

    def form(self, scope="system/*.rs", **more):
        said = {"grant_type": "client_credentials", "scope": scope, "client_assertion_type": JWT_BEARER} | more
        if "client_assertion" not in said:
            said["client_assertion"] = self.key.jwt(self.claims())
        return {k: v for k, v in said.items() if v is not None}

    def ask(self, form=None, content_type=FORM, **headers):
        body = form if isinstance(form, (str, bytes)) else urllib.parse.urlencode(form or self.form())
        parts = urllib.parse.urlsplit(self.url)
        more = {"context": self.fhir.tls} if parts.scheme == "https" else {}
        kind = http.client.HTTPSConnection if more else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=120, source_address=(self.address, 0), **more)
        try:
            connection.request("POST", parts.path, body, headers | ({"Content-Type": content_type} if content_type else {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def token(self, scope="system/*.rs"):
        answer = self.ask(self.form(scope))
        assert answer.status == 200, answer.body
        return answer.json["access_token"]


class WithToken(Fhir):
    """The FHIR API with a token, or with a new one each time when it is a call."""

    def __init__(self, fhir, token):
        super().__init__(fhir.base, None)
        self.tls, self.token = fhir.tls, token

    def call(self, method, path, body=None, content_type="application/fhir+json", **headers):
        token = self.token() if callable(self.token) else self.token
        return super().call(method, path, body, content_type, Authorization=f"Bearer {token}", **headers)


def command(*args, status=0):
    """`fhirlake client ...`; what it printed."""
    done = subprocess.run([str(BIN), "client", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def register(data, client_id, keys, scope="system/*.rs", *more):
    """With the command, as people do; keys is a list, or a URL."""
    if isinstance(keys, str):
        return command("add", client_id, "--data", data, "--jwks-url", keys, "--scope", scope, *more)
    file = data.parent / f"{uuid.uuid4()}.json"
    file.write_text(json.dumps({"keys": [k.jwk() for k in keys]}))
    try:
        return command("add", client_id, "--data", data, "--jwks", file, "--scope", scope, *more)
    finally:
        file.unlink()
