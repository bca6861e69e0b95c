#!/usr/bin/env python3
"""An S3, STS and KMS peer that misbehaves on demand.

Without a script it is a small S3 in memory (path style, one process, nothing on disk) that checks
the digests which a request claims, and says them in its answer. Over TLS it takes bodies that are
not signed, in chunks with a checksum behind them. POST /_script takes a JSON list of steps; each later request
uses up one of them:

    {"do": "ok"}                                     as without a script
    {"do": "fail", "status": 503, "code": "SlowDown", "headers": {"Retry-After": "1"}}
    {"do": "answer", "status": 200, "body": "..", "headers": {}}
    {"do": "fill", "bytes": 100000000}               a 200 answer of so many bytes, never ending
    {"do": "deaf"}                                   as a server that knows no such chunks: it keeps them as they came
    {"do": "mute"}                                   as without a script, but no checksum is said
    {"do": "cut", "bytes": 1000}                     so many bytes of the body are read, then the connection breaks
    {"do": "reset"}                                  the connection breaks, nothing is answered
    {"do": "stall", "seconds": 5}                    silence, then the connection ends
    {"do": "truncate", "bytes": 1000}                the right head, so many bytes, the end
    {"do": "hang", "bytes": 1000, "seconds": 5}      the same, then silence
    {"do": "drip", "bytes": 1, "seconds": 0.01}      the right head, then so many bytes each time, to the end
    {"do": "meet", "of": 3}                          waits for two more such requests, then as without a script;
                                                     400 when they do not come within 4 s, or "seconds"
    {"do": "etag", "value": "\\"x\\""}                 as without a script, with another ETag
    {"do": "checksum", "value": "x"}                 a copy's answer says another digest, or none ("")
    {"do": "change", "bucket": .., "key": .., "size": n}   the object is replaced, then as "ok"

Of all copies: POST /_copies takes {"status": 403, "code": "AccessDenied"}, as which they fail, or {"spoil": true}: they
have more bytes than they should, as their digest says, or {"seconds": 1}, so long they take, whether anybody waits for them or not; and GET /_copies says how many were "begun" since, and "ended".

POST /_hold takes {"path": "x"}: requests whose path has it wait until another {"path": ..} or {} is told.
Then they are done, also for those who have gone meanwhile.

Requests with an X-Amz-Target are KMS's. Its keys are what POST /_kms gave last: {"name": "Enabled"}, or Disabled,
PendingDeletion, Signing (a key of another kind), Denied, DescribeOnly (no data keys for anybody); "access": {"name": [access
keys that may use it]} beside them. Unlike moto it enforces all of it.

GET /_log gives what came in since the last script. Prints {"port": n}, and where the openssl
program is there {"tls_port": n, "ca": file}: the same behind TLS. Ends with its input.
"""
import base64
import datetime
import hashlib
import http.server
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import xml.sax.saxutils

LOCK = threading.Lock()
LET_ON = threading.Condition(LOCK)
STATE = {"script": [], "hold": {}, "log": [], "objects": {}, "uploads": {}, "sts": 0, "sts_ttl": 3600, "kms": {},
         "copies": {"begun": 0, "ended": 0}}


def crc32c(data):
    """By the bit: Castagnoli's polynomial, reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "big")


def crc32c_row(value):
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


CRC32C = [crc32c_row(i) for i in range(256)]
CHECKSUMS = {"x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(), "x-amz-checksum-crc32c": crc32c}


def unframed(headers, body):
    """The bytes of an aws-chunked body, and the one checksum behind them."""
    if headers["content-encoding"] != "aws-chunked":
        raise ValueError("no aws-chunked")
    out = []
    while True:
        size, _, body = body.partition(b"\r\n")
        size = int(size, 16)
        if size == 0:
            break
        if size < 8192 and body[size:size + 5] != b"\r\n0\r\n":
            raise ValueError("a chunk below the floor that is not the last")
        if body[size:size + 2] != b"\r\n":
            raise ValueError("a chunk that does not end")
        out.append(body[:size])
        body = body[size + 2:]
    name, _, value = body.decode().partition(":")
    if name != headers["x-amz-trailer"] or name not in CHECKSUMS or not value.endswith("\r\n\r\n"):
        raise ValueError("another trailer")
    data = b"".join(out)
    if len(data) != int(headers["x-amz-decoded-content-length"]):
        raise ValueError("another length")
    return data, {name: value.strip()}


def etag_of(data):
    return '"' + hashlib.md5(data).hexdigest() + '"'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, *args):
        pass

    # ---- sending ----
    def send(self, status, body=b"", headers=None, cut=None, length=None):
        if isinstance(body, str):
            body = body.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        self.wfile.flush()

    def fail(self, status, code, headers=None):
        self.send(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>", headers)

    def drop(self, reset=False):
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True

    # ---- one request ----
    def handle_one(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        path = urllib.parse.unquote(url.path)
        control = path in ("/_script", "/_log", "/_sts_ttl", "/_kms", "/_copies", "/_hold")
        step = {"do": "ok"}
        if not control:
            with LOCK:
                if STATE["script"]:
                    step = STATE["script"].pop(0)
        if step["do"] == "reset":
            self.record(url, b"")
            return self.drop(reset=True)
        if step["do"] == "cut":
            self.record(url, self.rfile.read(step["bytes"]))
            return self.drop(reset=True)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if control:
            return self.control(path, body)
        self.record(url, body)
        with LET_ON:
            LET_ON.wait_for(lambda: STATE["hold"].get("path", "\0") not in path)
        if step["do"] == "stall":
            time.sleep(step["seconds"])
            return self.drop()
        if step["do"] == "meet":
            with LOCK:
                barrier = STATE.setdefault("barrier", threading.Barrier(step["of"]))
            try:
                barrier.wait(step.get("seconds", 4))
            except threading.BrokenBarrierError:
                return self.fail(400, "NobodyElse")
        if step["do"] == "fail":
            return self.fail(step["status"], step["code"], step.get("headers"))
        if step["do"] == "answer":
            return self.send(step["status"], step["body"], step.get("headers"))
        if step["do"] == "fill":
            self.send(200, b"<ListBucketResult>", length=step["bytes"])
            try:
                for _ in range(step["bytes"] // 65536):
                    self.wfile.write(b"<a>" + b"x" * 65529 + b"</a>")
            except OSError:
                pass
            return self.drop()
        if step["do"] == "change":
            with LOCK:
                STATE["objects"][(step["bucket"], step["key"])] = b"z" * step["size"]
        if "X-Amz-Target" in self.headers:
            return self.kms(step, body)
        if path == "/" and self.command == "POST":
            return self.assume_role(body)
        return self.s3(step, path, query, body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

    def record(self, url, body):
        with LOCK:
            STATE["log"].append({"method": self.command, "path": url.path, "query": url.query,
                                 "length": len(body), "body": body[:2000].decode("latin-1"),
                                 "headers": {k.lower(): v for k, v in self.headers.items()}})

    def control(self, path, body):
        with LOCK:
            if path == "/_script":
                STATE["script"] = json.loads(body)
                STATE["log"] = []
                STATE.pop("barrier", None)
                answer = "{}"
            elif path == "/_sts_ttl":
                STATE["sts_ttl"] = json.loads(body)
                answer = "{}"
            elif path == "/_hold":
                STATE["hold"] = json.loads(body)
                LET_ON.notify_all()
                answer = "{}"
            elif path == "/_kms":
                STATE["kms"] = json.loads(body)
                answer = "{}"
            elif path == "/_copies":
                if body:
                    STATE["copies"] = json.loads(body) | {"begun": 0, "ended": 0}
                answer = json.dumps(STATE["copies"])
            else:
                answer = json.dumps({"log": STATE["log"], "left": len(STATE["script"])})
        self.send(200, answer)

    def assume_role(self, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        if form.get("Action") != "AssumeRole" or "RoleArn" not in form:
            return self.send(400, "<ErrorResponse><Error><Code>InvalidAction</Code></Error>"
                                  "</ErrorResponse>")
        if form["RoleArn"].endswith("/refused"):
            return self.send(403, '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                                  "<Error><Type>Sender</Type><Code>AccessDenied</Code>"
                                  "</Error></ErrorResponse>")
        with LOCK:
            STATE["sts"] += 1
            n, ttl = STATE["sts"], STATE["sts_ttl"]
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=ttl)
        return self.send(200, '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                              "<AssumeRoleResult><Credentials>"
                              f"<AccessKeyId>ASIA{n:016d}</AccessKeyId>"
                              f"<SecretAccessKey>secret{n}</SecretAccessKey>"
                              f"<SessionToken>token{n}</SessionToken>"
                              f"<Expiration>{until.strftime('%Y-%m-%dT%H:%M:%SZ')}</Expiration>"
                              "</Credentials></AssumeRoleResult></AssumeRoleResponse>")

    # ---- a small KMS ----
    def kms(self, step, body):
        op, asked = self.headers["X-Amz-Target"].removeprefix("TrentService."), json.loads(body)
        status, answer = self.kms_answer(op, asked)
        data = json.dumps(answer)
        if step["do"] in ("truncate", "hang"):
            self.send(status, data, cut=step["bytes"])
            time.sleep(step.get("seconds", 0))
            return self.drop()
        return self.send(status, data)

    def kms_answer(self, op, asked):
        def fault(status, name):
            # messages of AWS name whom and what: they must not come through
            return status, {"__type": "com.amazonaws.kms#" + name, "message": f"{name} of SECRET-IN-A-MESSAGE"}
        name = asked.get("KeyId", "")
        with LOCK:
            state = STATE["kms"].get(name.rsplit(":", 1)[-1].removeprefix("key/"))
            access = STATE["kms"].get("access", {}).get(name)
        who = self.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        arn = "arn:aws:kms:us-east-1:123456789012:key/" + name.rsplit("/", 1)[-1]
        context = asked.get("EncryptionContext", {})
        if self.headers["Content-Type"] != "application/x-amz-json-1.1":
            return fault(400, "UnsupportedMediaType")
        if state is None:
            return fault(400, "NotFoundException")
        if state == "Denied" or (access is not None and who not in access):
            return fault(400, "AccessDeniedException")
        if op == "DescribeKey":
            kind = {"KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT"}
            if state == "Signing":
                kind = {"KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_NIST_P256"}
            shown = state if state in ("Disabled", "PendingDeletion") else "Enabled"
            return 200, {"KeyMetadata": {"Arn": arn, "KeyId": name, "Enabled": shown == "Enabled", "KeyState": shown, **kind}}
        wrong = {"Disabled": "DisabledException", "PendingDeletion": "KMSInvalidStateException",
                 "Signing": "InvalidKeyUsageException", "DescribeOnly": "AccessDeniedException"}.get(state)
        if wrong:
            return fault(400, wrong)
        if op == "Decrypt":
            try:
                of, bound, clear = json.loads(base64.b64decode(asked["CiphertextBlob"]))
            except ValueError:
                return fault(400, "InvalidCiphertextException")
            if of != arn:
                return fault(400, "IncorrectKeyException")
            if bound != context:
                return fault(400, "InvalidCiphertextException")
            return 200, {"Plaintext": clear, "KeyId": arn, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
        if asked.get("DryRun"):
            return fault(412, "DryRunOperationException")
        if op == "GenerateDataKey":
            clear = base64.b64encode(os.urandom(32)).decode()
        elif op == "Encrypt":
            clear = asked["Plaintext"]
        else:
            return fault(400, "UnknownOperationException")
        blob = base64.b64encode(json.dumps([arn, context, clear]).encode()).decode()
        more = {"Plaintext": clear} if op == "GenerateDataKey" else {}
        return 200, {"CiphertextBlob": blob, "KeyId": arn, **more}

    # ---- a small S3 ----
    def s3(self, step, path, query, body):
        bucket, _, key = path[1:].partition("/")
        claimed = self.headers.get("x-amz-content-sha256")
        checksums = {name.lower(): value for name, value in self.headers.items()
                     if name.lower() in CHECKSUMS}
        if claimed == "STREAMING-UNSIGNED-PAYLOAD-TRAILER" and step["do"] != "deaf":
            if not isinstance(self.connection, ssl.SSLSocket):
                return self.fail(400, "NotOverPlainHttp")
            try:
                body, checksums = unframed(self.headers, body)
            except (ValueError, IndexError) as e:
                return self.fail(400, "Malformed" + type(e).__name__)
        elif claimed != hashlib.sha256(body).hexdigest() and step["do"] != "deaf":
            return self.fail(400, "XAmzContentSHA256Mismatch")
        if any(base64.b64decode(value) != CHECKSUMS[name](body) for name, value in checksums.items()):
            return self.fail(400, "BadDigest")
        if step["do"] in ("mute", "deaf"):
            checksums = {}
        if bucket == "missing":
            return self.fail(404, "NoSuchBucket")
        copies = STATE["copies"] if "x-amz-copy-source" in self.headers else None
        if copies:
            with LOCK:
                copies["begun"] += 1
            time.sleep(copies.get("seconds", 0))
            with LOCK:
                if "status" in copies:
                    copies["ended"] += 1
                    return self.fail(copies["status"], copies["code"])
        with LOCK:
            objects, uploads = STATE["objects"], STATE["uploads"]
            if self.command == "POST" and "uploads" in query:
                uploads[f"id/{len(uploads)}+="] = {}
                up = xml.sax.saxutils.escape(f"id/{len(uploads) - 1}+=")
                answer = (200, f"<InitiateMultipartUploadResult><UploadId>{up}</UploadId>"
                               "</InitiateMultipartUploadResult>", {})
            elif self.command == "PUT" and "partNumber" in query:
                if query["uploadId"] not in uploads:
                    return self.fail(404, "NoSuchUpload")
                uploads[query["uploadId"]][int(query["partNumber"])] = body
                answer = (200, b"", {"ETag": etag_of(body), **checksums})
            elif self.command == "POST" and "uploadId" in query:
                parts = uploads.pop(query["uploadId"], None)
                if parts is None:
                    return self.fail(404, "NoSuchUpload")
                text = body.decode()
                for n, data in parts.items():
                    tag = f"<PartNumber>{n}</PartNumber><ETag>" + \
                        etag_of(data).replace('"', "&quot;") + "</ETag>"
                    if tag not in text:
                        return self.fail(400, "InvalidPart")
                objects[(bucket, key)] = b"".join(parts[n] for n in sorted(parts))
                answer = (200, "<CompleteMultipartUploadResult/>", {})
            elif self.command == "DELETE":
                if "uploadId" in query:
                    uploads.pop(query["uploadId"], None)
                else:
                    objects.pop((bucket, key), None)
                answer = (204, b"", {})
            elif self.command == "PUT" and "x-amz-copy-source" in self.headers:
                answer = self.copy(step, bucket, key)
                copies["ended"] += 1
            elif self.command == "PUT":
                objects[(bucket, key)] = body
                answer = (200, b"", {"ETag": etag_of(body), **checksums})
            elif not key and "list-type" in query:
                answer = (200, self.listing(bucket, query), {})
            elif not key:
                answer = (200, b"", {})
            elif (bucket, key) not in objects:
                return self.fail(404, "NoSuchKey")
            else:
                answer = self.get(objects[(bucket, key)])
        status, data, headers = answer
        if step["do"] == "etag":
            headers["ETag"] = step["value"]
        if status == 204:
            self.send_response(204)
            self.end_headers()
            return None
        if step["do"] in ("truncate", "hang"):
            self.send(status, data, headers, cut=step["bytes"])
            time.sleep(step.get("seconds", 0))
            return self.drop()
        if step["do"] == "drip":
            self.send(status, data, headers, cut=0)
            for at in range(0, len(data), step["bytes"]):
                self.wfile.write(data[at:at + step["bytes"]])
                self.wfile.flush()
                time.sleep(step["seconds"])
            return None
        return self.send(status, data, headers)

    def copy(self, step, bucket, key):
        """CopyObject, of one version of each object."""
        source = urllib.parse.urlsplit(self.headers["x-amz-copy-source"])
        place = tuple(urllib.parse.unquote(source.path).lstrip("/").split("/", 1))
        data = STATE["objects"].get(place)
        if data is None:
            return (404, "<Error><Code>NoSuchKey</Code></Error>", {})
        if self.headers.get("x-amz-copy-source-if-match", etag_of(data)) != etag_of(data):
            return (412, "<Error><Code>PreconditionFailed</Code></Error>", {})
        if STATE["copies"].get("spoil"):
            data = data + b" "
        STATE["objects"][(bucket, key)] = data
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        digest = step["value"] if step["do"] == "checksum" else digest
        return (200, "<?xml version='1.0'?><CopyObjectResult><ETag>"
                     f"{xml.sax.saxutils.escape(etag_of(data))}</ETag>"
                     f"<ChecksumSHA256>{digest}</ChecksumSHA256></CopyObjectResult>", {})

    def listing(self, bucket, query):
        """Two keys a page, so that a few objects already need several; of many, a tenth."""
        keys = sorted(k for b, k in STATE["objects"] if b == bucket and
                      k.startswith(query.get("prefix", "")))
        page = max(2, len(keys) // 10)
        keys = [k for k in keys if k > query.get("continuation-token", "")]
        rows = "".join(f"<Contents><Key>{urllib.parse.quote(k)}</Key>"
                       f"<Size>{len(STATE['objects'][(bucket, k)])}</Size></Contents>"
                       for k in keys[:page])
        more = len(keys) > page
        token = f"<NextContinuationToken>{xml.sax.saxutils.escape(keys[page - 1])}" \
                "</NextContinuationToken>" if more else ""
        return ("<ListBucketResult><EncodingType>url</EncodingType>"
                f"<IsTruncated>{str(more).lower()}</IsTruncated>{rows}{token}</ListBucketResult>")

    def get(self, data):
        tag = etag_of(data)
        if self.headers.get("If-Match", tag) != tag:
            return (412, "<Error><Code>PreconditionFailed</Code></Error>", {})
        headers = {"ETag": tag}
        wanted = self.headers.get("Range")
        if self.command == "HEAD" or not wanted:
            return (200, data, headers)
        start = int(wanted[len("bytes="):-1])
        if start >= len(data):
            return (416, "<Error><Code>InvalidRange</Code></Error>", {})
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return (206, data[start:], headers)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that went away is what the tests do


def serve(context=None):
    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True,
                                            do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def tls_context(folder):
    """A certificate of our own, which nobody trusts that is not told to."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    try:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=hostile", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", key, "-out", cert],
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None, None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


def main():
    with tempfile.TemporaryDirectory(prefix="fhirlake-hostile-") as folder:
        out = {"port": serve()}
        context, cert = tls_context(folder)
        if context:
            out.update(tls_port=serve(context), ca=cert)
        print(json.dumps(out), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
