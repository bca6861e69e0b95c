#!/usr/bin/env python3
"""Writes tests/golden/jose/vectors.json: tokens and keys, and what must become of each token.

    tools/jose_vectors.py        write it anew (needs the Python package cryptography)

Keys and most signatures are random, so each run makes another file: run it when a case is added. Tokens are put together
here, byte by byte, and signed by Python's cryptography, so that nothing of src/codec/jose checks itself. A case has the
names of its keys, the token, and `good`, `invalid` or `not_found` (no key is meant)."""
import base64
import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "jose" / "vectors.json"
CURVES = {"ES256": ("P-256", ec.SECP256R1(), 32), "ES384": ("P-384", ec.SECP384R1(), 48), "ES512": ("P-521", ec.SECP521R1(), 66)}
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
ALGS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
CLAIMS = {"iss": "https://as.example", "sub": "u1", "exp": 1800000000}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length=None):
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def public(key, kid, **more):
    pub = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        n = pub.public_numbers()
        jwk = {"kty": "RSA", "n": number(n.n), "e": number(n.e)}
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(pub.public_bytes_raw())}
    else:
        crv, _, length = next(c for c in CURVES.values() if isinstance(key.curve, type(c[1])))
        n = pub.public_numbers()
        jwk = {"kty": "EC", "crv": crv, "x": number(n.x, length), "y": number(n.y, length)}
    return jwk | ({"kid": kid} if kid else {}) | more


def signature(alg, key, data):
    if alg == "EdDSA":
        return key.sign(data)
    digest = HASHES[alg[2:]]
    if alg.startswith("RS"):
        return key.sign(data, padding.PKCS1v15(), digest)
    if alg.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    length = CURVES[alg][2]
    return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def token(alg, key, header=None, claims=CLAIMS, sign_as=None, head_text=None):
    head = head_text or json.dumps({"alg": alg, "typ": "at+jwt"} | (header or {}), separators=(",", ":"))
    covered = b64(head.encode()) + "." + b64(json.dumps(claims, separators=(",", ":")).encode())
    return covered + "." + b64(signature(sign_as or alg, key, covered.encode()))


def flipped(text, part, bit):
    parts = text.split(".")
    data = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    data[len(data) // 2] ^= 1 << bit
    parts[part] = b64(bytes(data))
    return ".".join(parts)


def main():
    strong = rsa.generate_private_key(65537, 2048)
    other = rsa.generate_private_key(65537, 2048)
    weak = rsa.generate_private_key(65537, 1024)
    curves = {alg: ec.generate_private_key(c[1]) for alg, c in CURVES.items()}
    edward = ed25519.Ed25519PrivateKey.generate()

    def key_of(alg):
        return curves.get(alg) or (edward if alg == "EdDSA" else strong)

    keys = {alg: public(key_of(alg), f"k-{alg}") for alg in ALGS}
    keys |= {"nameless-ES256": public(curves["ES256"], None), "other-RS256": public(other, "other"),
             "twin-ES256": public(ec.generate_private_key(ec.SECP256R1()), "twin"),
             "same-name-ES256": public(ec.generate_private_key(ec.SECP256R1()), "k-ES256"),
             "weak": public(weak, "weak"), "for-encryption": public(strong, "k-RS256", use="enc"),
             "only-wraps": public(strong, "k-RS256", key_ops=["wrapKey"]), "for-RS512": public(strong, "k-RS256", alg="RS512"),
             "with-use": public(strong, "k-RS256", use="sig", key_ops=["verify"], alg="RS256"),
             "private": public(strong, "k-RS256", d="AQAB"), "secret": {"kty": "oct", "k": b64(b"secret"), "kid": "k-RS256"},
             "P-521-as-P-256": public(curves["ES512"], "k-ES512", crv="P-256"),
             "off-the-curve": public(curves["ES256"], "k-ES256") | {"y": number(5, 32)}}
    cases = []

    def case(name, of, text, verdict="invalid"):
        cases.append({"name": name, "keys": of, "token": text, "verdict": verdict})

    for alg in ALGS:
        key, kid = key_of(alg), f"k-{alg}"
        good = token(alg, key, {"kid": kid})
        case(f"{alg}: good", [alg], good, "good")
        case(f"{alg}: no kid, one key fits", [alg], token(alg, key), "good")
        for part, what in ((0, "header"), (1, "payload"), (2, "signature")):
            case(f"{alg}: one bit of the {what} off", [alg], flipped(good, part, 0), "any refusal" if part == 0 else "invalid")
        case(f"{alg}: no signature", [alg], good[:good.rindex(".") + 1])
        case(f"{alg}: the signature cut", [alg], good[:good.rindex(".") + 1] + b64(base64.urlsafe_b64decode(good.split(".")[2] + "==")[:-1]))
        longer = base64.urlsafe_b64decode(good.split(".")[2] + "==") + b"\0"
        case(f"{alg}: the signature with a byte more", [alg], good[:good.rindex(".") + 1] + b64(longer))
        case(f"{alg}: another kid", [alg], token(alg, key, {"kid": "nobody"}), "not_found")
        for header, what in (({"crit": ["exp"]}, "crit"), ({"crit": []}, "empty crit"), ({"b64": False}, "b64")):
            case(f"{alg}: {what}", [alg], token(alg, key, {"kid": kid} | header))
        for swapped in ALGS:
            if swapped == alg:
                continue
            # what the header says is not how it was signed; of one key, of one name
            same = (alg[:2] in ("RS", "PS") and swapped[:2] in ("RS", "PS"))
            text = token(swapped, key, {"kid": kid}, sign_as=alg)
            case(f"{alg} said to be {swapped}", [alg], text, "invalid" if same else "not_found")
        none = b64(json.dumps({"alg": "none", "kid": kid}).encode()) + "." + good.split(".")[1]
        case(f"{alg}: none", [alg], none + ".")
        case(f"{alg}: none with the signature", [alg], none + "." + good.split(".")[2])
        for hmac_alg, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            for what, secret in (("JWK", json.dumps(keys[alg]).encode()), ("x or n", keys[alg].get("x", keys[alg].get("n")).encode())):
                covered = b64(json.dumps({"alg": hmac_alg, "kid": kid}).encode()) + "." + good.split(".")[1]
                case(f"{alg}: {hmac_alg} with the public key ({what})", [alg],
                     covered + "." + b64(hmac.new(secret, covered.encode(), digest).digest()))
    rs, es = strong, curves["ES256"]
    good_rs, good_es = token("RS256", rs, {"kid": "k-RS256"}), token("ES256", es, {"kid": "k-ES256"})
    for alg in ("PS256", "PS512"):  # a salt is as long as the digest
        covered = b64(json.dumps({"alg": alg, "kid": f"k-{alg}"}).encode()) + "." + good_rs.split(".")[1]
        for salt in (0, 20):
            sig = strong.sign(covered.encode(), padding.PSS(padding.MGF1(HASHES[alg[2:]]), salt), HASHES[alg[2:]])
            case(f"{alg}: a salt of {salt} bytes", [alg], covered + "." + b64(sig))
    # which key is meant
    case("no kid, two keys of the curve", ["ES256", "twin-ES256"], token("ES256", es))
    case("no kid, two keys of which one fits", ["ES256", "RS256"], token("ES256", es), "good")
    case("no kid, a key without a name", ["nameless-ES256"], token("ES256", es), "good")
    case("a kid, a key without a name", ["nameless-ES256"], good_es, "not_found")
    case("two keys of one name", ["ES256", "same-name-ES256"], good_es)
    case("one name, two kinds", ["RS256", "with-use"], good_rs)
    case("the key of another name", ["other-RS256"], token("RS256", rs, {"kid": "other"}))
    case("use and key_ops allow it", ["with-use"], good_rs, "good")
    for bad in ("for-encryption", "only-wraps", "private", "secret", "for-RS512"):
        case(f"the key is {bad}", [bad, "ES256"], good_rs, "not_found")
    case("RSA of 1024 bits", ["weak", "ES256"], token("RS256", weak, {"kid": "weak"}), "not_found")
    case("P-521 said to be P-256", ["P-521-as-P-256", "RS256"], token("ES512", curves["ES512"], {"kid": "k-ES512"}), "not_found")
    case("a point that is not on its curve", ["off-the-curve", "RS256"], good_es, "not_found")
    # the form
    head, payload, sig = good_rs.split(".")
    case("padding behind the header", ["RS256"], f"{head}=.{payload}.{sig}")
    case("padding behind the signature", ["RS256"], good_rs + "==")
    case("a blank in front", ["RS256"], " " + good_rs)
    case("a line break within", ["RS256"], f"{head}.{payload}.\n{sig}")
    case("standard base64", ["RS256"], good_rs.replace("-", "+").replace("_", "/") if "-" in sig or "_" in sig else f"{head}.{payload}.{sig}+")
    for at in (0, 2):
        # a part whose last digit has bits to spare
        parts = next(p for p in (token("RS256", rs, {"kid": "k-RS256", "pad": "1" * n}).split(".") for n in range(4)) if len(p[at]) % 4)
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        parts[at] = parts[at][:-1] + alphabet[alphabet.index(parts[at][-1]) | 1]
        case(f"bits that say nothing and are not 0, part {at}", ["RS256"], ".".join(parts))
    case("one dot", ["RS256"], f"{head}.{payload}")
    case("three dots", ["RS256"], good_rs + ".")
    case("five parts", ["RS256"], f"{head}.{payload}.{sig}.{sig}.{sig}")
    case("nothing", ["RS256"], "")
    case("two dots", ["RS256"], "..")
    case("no header", ["RS256"], f".{payload}.{sig}")
    for name, text in (("alg twice", '{"alg":"RS256","alg":"none","kid":"k-RS256"}'), ("kid twice", '{"alg":"RS256","kid":"x","kid":"k-RS256"}'),
                       ("a member twice, deep", '{"alg":"RS256","kid":"k-RS256","x":[{"a":1,"a":1}]}'), ("a list", '["RS256"]'),
                       ("no JSON", '{"alg":"RS256"'), ("two values", '{"alg":"RS256"} {}'), ("alg is no text", '{"alg":["RS256"]}'),
                       ("kid is a number", '{"alg":"RS256","kid":1}'), ("kid is empty", '{"alg":"RS256","kid":""}'), ("no alg", '{"kid":"k-RS256"}'),
                       ("alg in lower case", '{"alg":"rs256","kid":"k-RS256"}'), ("typ is a number", '{"alg":"RS256","kid":"k-RS256","typ":1}'),
                       ("too deep", '{"alg":"RS256","x":' + "[" * 9 + "]" * 9 + "}"),
                       ("too many members", '{"alg":"RS256",' + ",".join(f'"m{i}":1' for i in range(70)) + "}")):
        case(f"the header: {name}", ["RS256"], token("RS256", rs, head_text=text))
    case("a key in the header is passed over", ["RS256"], token("RS256", other, {"kid": "k-RS256", "jwk": public(other, "k-RS256")}))
    case("jku and x5u are passed over", ["RS256"], token("RS256", rs, {"kid": "k-RS256", "jku": "http://a.example/", "x5u": "http://a.example/"}), "good")
    case("more than 8 KiB", ["RS256"], token("RS256", rs, {"kid": "k-RS256"}, {"x": "1" * 8000}))
    OUT.write_text(json.dumps({"keys": keys, "cases": cases}, indent=1) + "\n")
    print(f"{len(cases)} cases in {OUT}")


main()
