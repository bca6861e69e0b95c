#!/usr/bin/env python3
"""Golden cases of Signature Version 4 for tests/golden/sigv4, computed by botocore's signer.

    tools/gen_sigv4_golden.py [--check]

Source: the signer of the botocore that Python finds. `./dev generate` makes an environment with a fixed version in
.deps/botocore, and runs this script there.

Each case is a folder in the shape of awslabs' aws-signing-test-suite: context.json, the unsigned request.txt, and for
signing by header and by query the canonical request, the string to sign, the signature and the signed request.
The keys are Amazon's documented examples."""
import datetime
import hashlib
import json
import unittest.mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import generated

ROOT = generated.ROOT / "tests" / "golden" / "sigv4"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEJr//////////wEaDExAMPLE+token/with=signs=="
HOST = "healthlake.us-east-1.amazonaws.com"
STORE = "/datastore/0123456789abcdef0123456789abcdef/r4"
JSON10 = ("Content-Type", "application/x-amz-json-1.0")


def sha256(body):
    return hashlib.sha256(body).hexdigest()


class Case:
    def __init__(self, name, method, target, headers=(), body=b"", token=None, service="healthlake", region="us-east-1",
                 timestamp="2026-11-23T18:30:00Z", payload=None, expires=3600, host=HOST, unsigned=False):
        self.name, self.method, self.target, self.body = name, method, target, body
        self.headers = [("Host", host), *headers]
        self.token, self.service, self.region, self.timestamp = token, service, region, timestamp
        self.payload = payload  # value of X-Amz-Content-SHA256 when it is sent
        self.expires, self.host = expires, host
        self.unsigned = unsigned  # botocore's own switch; it then says so in a header, but not when it presigns

    def context(self):
        keys = {"access_key_id": KEY, "secret_access_key": SECRET}
        if self.token:
            keys["token"] = self.token
        s3 = self.service == "s3"
        return {"credentials": keys, "double_encode": not s3, "expiration_in_seconds": self.expires, "normalize": not s3,
                "region": self.region, "service": self.service, "timestamp": self.timestamp}


CASES = [
    Case("control-plane", "POST", "/", [JSON10, ("X-Amz-Target", "HealthLake.StartFHIRExportJob")],
         b'{"DatastoreId": "0123456789abcdef0123456789abcdef"}'),
    Case("control-plane-session-token", "POST", "/", [JSON10, ("X-Amz-Target", "HealthLake.ListFHIRDatastores")], b"{}",
         token=TOKEN),
    Case("unsigned-payload", "POST", "/", [JSON10, ("X-Amz-Target", "HealthLake.ListFHIRDatastores")], b"{}",
         payload="UNSIGNED-PAYLOAD"),
    Case("signed-payload-header", "POST", "/", [JSON10, ("X-Amz-Target", "HealthLake.ListFHIRDatastores")], b"{}",
         payload=sha256(b"{}")),
    Case("unsigned-payload-in-query", "POST", "/?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD",
         [JSON10, ("X-Amz-Target", "HealthLake.ListFHIRDatastores")], b"{}", unsigned=True),
    Case("read", "GET", f"{STORE}/Patient/p1", [("Accept", "application/fhir+json")]),
    Case("search-encoded-values", "GET",
         f"{STORE}/Observation?code=http%3A%2F%2Floinc.org%7C8480-6&date=ge2026-01-01&name=J%C3%BCrgen%20%26%20Co"),
    Case("search-repeated-and-empty", "GET", f"{STORE}/Patient?_include=b&_include=a&_count=&_elements"),
    Case("search-order-of-case", "GET", f"{STORE}/Patient?b=1&B=2&a=3&A=4&_=5&-=6&~=7&.=8"),
    Case("export-operation", "POST", f"{STORE}/$export", [("Content-Type", "application/json"), ("Prefer", "respond-async")],
         b'{"JobName":"n\xc3\xa4chtlich"}\r\n'),
    Case("path-encoded-twice", "GET", f"{STORE}/Patient/a%20b%2Fc%C3%BC"),
    Case("path-normalized", "GET", f"//{STORE[1:]}//./Patient/x/..//p1/"),
    Case("path-up-over-root", "GET", "/../../a/./b/../c"),
    Case("headers-folded-and-repeated", "GET", "/health",
         [("My-Header", "  two   spaces  inside  "), ("my-header", "again"), ("X-Empty", ""), ("Zebra", "\tz\t")]),
    Case("first-second-of-a-year", "GET", "/", region="eu-west-2", timestamp="2028-01-01T00:00:00Z", expires=604800),
    Case("leap-day-and-port", "GET", "/health", timestamp="2028-02-29T23:59:59Z", expires=1, host="127.0.0.1:8080"),
    Case("body-of-all-bytes", "POST", f"{STORE}/Binary", [("Content-Type", "application/fhir+json")], bytes(range(256)) * 5),
    Case("s3-put-kms", "PUT", "/bucket/pre%20fix/a%3Db/Patient-1.ndjson",
         [("x-amz-server-side-encryption", "aws:kms"),
          ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:us-east-1:123456789012:key/k")],
         b'{"resourceType":"Patient"}\n', service="s3", payload=sha256(b'{"resourceType":"Patient"}\n'), token=TOKEN),
    Case("path-of-unreserved-characters", "GET", "/-._~0123456789/abcxyz/ABCXYZ"),
    Case("path-that-ends-in-a-slash", "GET", f"{STORE}/Patient/"),
    Case("path-of-dots-in-names", "GET", "/.a/..b/c./d../..."),
    Case("query-of-unreserved-characters", "GET", "/?-._~0123456789abcxyzABCXYZ=-._~0123456789abcxyzABCXYZ"),
    Case("query-orders-by-encoded-values", "GET", "/?a=b&a=%C3%A9&a=B&a=~&a=%20&a=1"),
    Case("query-of-other-scripts", "GET", "/?name=%E1%88%B4&%E2%82%AC=%F0%9F%92%B6"),
    Case("query-of-a-name-without-value", "GET", "/?b&a=&%20=x"),
    Case("post-without-body", "POST", "/"),
    Case("post-of-a-form", "POST", f"{STORE}/Patient/_search", [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")],
         b"name=J%C3%BCrgen&birthdate=ge1970&_count=5"),
    Case("headers-in-any-case", "POST", "/", [("MY-HEADER1", "Value1"), ("my-header2", "VALUE2"), ("My-Header10", "value10")]),
    Case("headers-repeated-keep-their-order", "GET", "/", [("My-Header", "b"), ("My-Header", "a"), ("my-header", "c,a")]),
    Case("headers-beside-it-in-order", "GET", "/", [("X-Amz-Zone", "z"), ("X-Amz-Account", "a"), ("Accept", "*/*"), ("Zz", "1")]),
    Case("s3-dots-stay", "GET", "/bucket/a//b/../c?list-type=2&prefix=a%2F", service="s3", payload=sha256(b"")),
]


def raw(method, target, headers, body):
    head = "".join(f"{k}:{v}\n" for k, v in headers)
    return f"{method} {target} HTTP/1.1\n{head}\n".encode() + body


def sign(case, by_query):
    """(canonical request, string to sign, signature, signed request)"""
    query_base = botocore.auth.S3SigV4QueryAuth if case.service == "s3" else botocore.auth.SigV4QueryAuth
    base = query_base if by_query else botocore.auth.S3SigV4Auth if case.service == "s3" else botocore.auth.SigV4Auth

    class Recorder(base):
        def canonical_request(self, request):
            self.canonical = super().canonical_request(request)
            return self.canonical

        def string_to_sign(self, request, canonical_request):
            self.to_sign = super().string_to_sign(request, canonical_request)
            return self.to_sign

        def signature(self, string_to_sign, request):
            self.sig = super().signature(string_to_sign, request)
            return self.sig

    # botocore moves a body into the query when it presigns; the hash header keeps the body out of its reach
    payload = case.payload or (sha256(case.body) if by_query and case.body and not case.unsigned else None)
    request = AWSRequest(case.method, f"https://{case.host}{case.target}", data=b"" if by_query else case.body)
    request.context["payload_signing_enabled"] = not case.unsigned
    for name, value in case.headers:
        request.headers.add_header(name, value)
    if payload and not (by_query and case.service == "s3"):
        request.headers.add_header("X-Amz-Content-SHA256", payload)
    at = datetime.datetime.strptime(case.timestamp, "%Y-%m-%dT%H:%M:%SZ")
    credentials = Credentials(KEY, SECRET, case.token)
    extra = [case.expires] if by_query else []
    with unittest.mock.patch.object(botocore.auth, "get_current_datetime", lambda *a, **k: at):
        signer = Recorder(credentials, case.service, case.region, *extra)
        signer.add_auth(request)
    target = request.url[len(f"https://{case.host}"):]
    return signer.canonical, signer.to_sign, signer.sig, raw(case.method, target, request.headers.items(), case.body)


def files():
    for case in CASES:
        yield f"{case.name}/context.json", (json.dumps(case.context(), indent=4, sort_keys=True) + "\n").encode()
        yield f"{case.name}/request.txt", raw(case.method, case.target, case.headers, case.body)
        for form, by_query in (("header", False), ("query", True)):
            if by_query and case.name == "search-repeated-and-empty":
                continue  # botocore's presigner knows no repeated parameters
            canonical, to_sign, signature, signed = sign(case, by_query)
            yield f"{case.name}/{form}-canonical-request.txt", canonical.encode()
            yield f"{case.name}/{form}-string-to-sign.txt", to_sign.encode()
            yield f"{case.name}/{form}-signature.txt", signature.encode()
            yield f"{case.name}/{form}-signed-request.txt", signed


args = generated.arguments(__doc__, reads_definitions=False)
generated.done(args.check, {ROOT / name: content for name, content in files()})
