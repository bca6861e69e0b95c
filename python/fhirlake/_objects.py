"""The objects of a server's directory store, served through the calls of S3 that tests need.

    bucket/key is the file FOLDER/bucket/key, as the program has it: what one writes, the other reads

Threads of this process serve it on loopback. Each request must be signed with the server's keys (Signature Version 4, in
its header or presigned), unless the server takes unsigned ones. What is not done is refused by name: 501 NotImplemented.

- An object appears whole. It is written to a file beside it, checked against every digest that the request gives, renamed.
- Its headers (Content-Type, x-amz-meta-*, those of encryption) are told back while this server runs. No file has them, and
  nothing is encrypted.
- An ETag tells one object from another, and ends in -1, since it is no MD5.
- A key is a path: it has no empty, "." or ".." segment, and none of more than 255 bytes.
Source: Amazon S3 API Reference; AWS Signature Version 4.
"""
from __future__ import annotations

import base64
import datetime
import email.utils
import fcntl
import hashlib
import hmac
import http.server
import os
import pathlib
import re
import secrets
import shutil
import socketserver
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
import zlib
from typing import Any, BinaryIO, Callable, Iterator, NamedTuple, Optional
from xml.sax.saxutils import escape

TEMP = ".fhirlake-tmp-"  # the program's own prefix: it lists no such file, and removes those of dead writers
PIECE = 1 << 20
XML_MAX = 4 << 20  # bytes of a request in XML
SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
SKEW = datetime.timedelta(minutes=15)
KEPT = re.compile(r"content-(type|encoding|language|disposition)|cache-control|expires|x-amz-meta-.+|x-amz-storage-class"
                  r"|x-amz-server-side-encryption(-aws-kms-key-id|-bucket-key-enabled|-context)?")
# of x-amz-*: those that mean something here, and those that ask for nothing
KNOWN = re.compile(r"x-amz-(date|security-token|content-sha256|decoded-content-length|trailer|copy-source(-range|-if-match)?|metadata-directive"
                   r"|sdk-checksum-algorithm|checksum-(crc32|sha1|sha256|algorithm|mode)|te|user-agent)")
QUERY = {"x-id", "list-type", "prefix", "delimiter", "continuation-token", "start-after", "marker", "max-keys", "encoding-type",
         "fetch-owner", "uploads", "uploadId", "partNumber", "delete", "location"}


class Refused(Exception):
    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code


def _not_done(what: str) -> Refused:
    return Refused(501, "NotImplemented", f"{what} is not done by fhirlake's objects: see docs/testing-with-fhirlake.md")


class _Held(NamedTuple):
    """What is known of an object beside its bytes."""
    etag: str
    headers: dict[str, str]


# ---- digests ----

class _Crc32:
    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes) -> None:
        self.value = zlib.crc32(data, self.value)

    def digest(self) -> bytes:
        return self.value.to_bytes(4, "big")


DIGESTS: dict[str, Callable[[], Any]] = {
    "content-md5": hashlib.md5, "x-amz-checksum-crc32": _Crc32, "x-amz-checksum-sha1": hashlib.sha1,
    "x-amz-checksum-sha256": hashlib.sha256}


def _tag(stat: os.stat_result) -> str:
    return '"' + hashlib.md5(f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest() + '-1"'


def _instant(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Objects:
    """The endpoint: `url`, until close()."""

    def __init__(self, folder: pathlib.Path, keys: Optional[tuple[str, str]], region: str) -> None:
        self.folder, self.keys, self.region = folder, keys, region
        self.held: dict[tuple[str, str], _Held] = {}
        self.uploads: dict[str, tuple[str, str, pathlib.Path, dict[str, str]]] = {}
        self.lock = threading.Lock()
        # a queue long enough for the clients of a whole pipeline that come at once
        kind = type("_Endpoint", (socketserver.ThreadingMixIn, http.server.HTTPServer),
                    {"daemon_threads": True, "block_on_close": False, "request_queue_size": 128})
        self._server = kind(("127.0.0.1", 0), type("_Bound", (_Call,), {"objects": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name="fhirlake-objects").start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for _, _, parts, _ in self.uploads.values():
            shutil.rmtree(parts, ignore_errors=True)

    # ---- names ----

    def bucket(self, name: str, must_be: bool = True) -> pathlib.Path:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
            raise Refused(400, "InvalidBucketName", f"the bucket's name is not well-formed: {name}")
        path = self.folder / name
        if must_be and (path.is_symlink() or not path.is_dir()):
            raise Refused(404, "NoSuchBucket", f"there is no bucket {name}")
        return path

    def file(self, bucket: str, key: str) -> pathlib.Path:
        """Where an object stands, or would. No link leads out of the bucket."""
        at = self.bucket(bucket)
        segments = key.split("/")
        if "" in segments or "." in segments or ".." in segments or "\0" in key:
            raise Refused(400, "InvalidArgument", 'the directory store takes no key with an empty, "." or ".." segment, or a NUL')
        if len(key.encode()) > 1024 or any(len(s.encode()) > 255 or s.startswith(TEMP) for s in segments):
            raise Refused(400, "KeyTooLongError", f"a key has up to 1024 bytes, each segment up to 255, and none begins with {TEMP}")
        for segment in segments:
            at = at / segment
            if at.is_symlink():
                raise Refused(403, "AccessDenied", "a symbolic link is no object")
        return at

    def names(self, bucket: str) -> Iterator[str]:
        """Every key of a bucket, in the order of their bytes."""
        top = self.bucket(bucket)
        found = []
        for folder, _, files in os.walk(top):
            found += [os.path.relpath(os.path.join(folder, f), top) for f in files
                      if not f.startswith(TEMP) and not os.path.islink(os.path.join(folder, f))]
        return iter(sorted(found, key=os.fsencode))

    # ---- objects ----

    def headers(self, bucket: str, key: str, stat: os.stat_result) -> dict[str, str]:
        held = self.held.get((bucket, key))
        kept = held.headers if held is not None and held.etag == _tag(stat) else {}
        return {"content-type": "binary/octet-stream", **kept, "ETag": _tag(stat), "Accept-Ranges": "bytes",
                "Last-Modified": email.utils.formatdate(stat.st_mtime, usegmt=True)}

    def writing(self, bucket: str) -> BinaryIO:
        """A file to write an object to. It is locked, by which the program tells it from a dead writer's."""
        file = open(self.bucket(bucket) / f"{TEMP}{secrets.token_hex(8)}", "x+b",
                    opener=lambda path, flags: os.open(path, flags, 0o600))
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def place(self, file: BinaryIO, bucket: str, key: str, headers: dict[str, str], new_only: bool) -> str:
        """The written file becomes the object. Returns its ETag."""
        at = self.file(bucket, key)
        file.flush()
        try:
            with self.lock:
                at.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if at.is_dir():
                    raise IsADirectoryError
                if new_only:
                    os.link(file.name, at)
                    os.unlink(file.name)
                else:
                    os.replace(file.name, at)
                tag = _tag(os.fstat(file.fileno()))
                self.held[bucket, key] = _Held(tag, headers)
        except FileExistsError:
            if new_only and at.is_file():
                raise Refused(412, "PreconditionFailed", "If-None-Match: there is an object of this key") from None
            raise Refused(409, "InvalidRequest", "a folder of this key is an object, and the directory store takes no object below one") from None
        except (IsADirectoryError, NotADirectoryError):
            raise Refused(409, "InvalidRequest", "the directory store takes no object whose key is a folder of others, or below an object") from None
        return tag

    def delete(self, bucket: str, key: str) -> None:
        at, top = self.file(bucket, key), self.bucket(bucket)
        with self.lock:
            try:
                at.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            self.held.pop((bucket, key), None)
            for folder in at.parents:  # S3 knows no folders: one that becomes empty goes as well
                if folder == top:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break


class _Call(http.server.BaseHTTPRequestHandler):
    """One connection. do() answers one request."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    objects: Objects
    timeout = 300

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        pass  # keys of objects are nobody's news

    def version_string(self) -> str:
        return "fhirlake"

    def do(self) -> None:
        self.read = False
        try:
            self._do()
        except Refused as fault:
            self._error(fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except OSError as fault:
            self._error(Refused(500, "InternalError", fault.strerror or "an error of the file system"))

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do

    def _do(self) -> None:
        path, _, query = self.path.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.bucket_name, _, self.key = urllib.parse.unquote(path[1:]).partition("/")
        # lower names; a header that comes twice is its values with commas between, as it is signed
        self.given: dict[str, str] = {}
        for name, value in self.headers.items():
            name = name.lower()
            self.given[name] = f"{self.given[name]},{value}" if name in self.given else value
        if self.objects.keys is not None:
            self._check_signature(path, query)
        for name in self.given:
            if name.startswith("x-amz-") and not KEPT.fullmatch(name) and not KNOWN.fullmatch(name):
                raise _not_done(f"the header {name}")
        for name in self.query:
            if name not in QUERY and not name.startswith("X-Amz-"):
                raise _not_done(f"?{name}")
        call = self._route()
        if call is None:
            raise _not_done(f"{self.command} of {'an object' if self.key else 'a bucket' if self.bucket_name else 'the service'}"
                            f"{' with ?' + '&'.join(sorted(self.query)) if self.query else ''}")
        call()

    def _route(self) -> Optional[Callable[[], None]]:
        asked = {n for n in self.query if n in ("uploads", "uploadId", "partNumber", "delete", "location")}
        copies = "x-amz-copy-source" in self.given
        if not self.bucket_name:
            return self.list_buckets if self.command == "GET" else None
        if not self.key:
            return {("PUT", ""): self.create_bucket, ("HEAD", ""): self.head_bucket, ("DELETE", ""): self.delete_bucket,
                    ("GET", ""): self.list_objects, ("GET", "location"): self.location, ("POST", "delete"): self.delete_objects,
                    }.get((self.command, ",".join(sorted(asked))))
        return {("GET", ""): self.get, ("HEAD", ""): self.get, ("PUT", ""): self.copy if copies else self.put,
                ("DELETE", ""): self.delete, ("POST", "uploads"): self.create_upload, ("POST", "uploadId"): self.complete_upload,
                ("PUT", "partNumber,uploadId"): self.upload_part, ("DELETE", "uploadId"): self.abort_upload,
                }.get((self.command, ",".join(sorted(asked))))

    # ---- who asks ----

    def _check_signature(self, path: str, query: str) -> None:
        assert self.objects.keys is not None
        presigned = "X-Amz-Signature" in self.query
        if presigned:
            got = {"Credential": self.query.get("X-Amz-Credential", ""), "Signature": self.query["X-Amz-Signature"],
                   "SignedHeaders": self.query.get("X-Amz-SignedHeaders", "")}
            stamp, payload = self.query.get("X-Amz-Date", ""), "UNSIGNED-PAYLOAD"
        else:
            told = self.given.get("authorization", "")
            if not told.startswith("AWS4-HMAC-SHA256 "):
                raise Refused(403, "AccessDenied", "requests are signed with Signature Version 4 (for presigned URLs of boto3: "
                              "Config(signature_version='s3v4'))")
            got = dict(re.findall(r"(Credential|SignedHeaders|Signature)=([^,\s]+)", told))
            stamp, payload = self.given.get("x-amz-date", ""), self.given.get("x-amz-content-sha256", "")
        try:
            key, day, region, service, end = got["Credential"].split("/")
            signed, when = got["SignedHeaders"].split(";"), datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")
            until = when + (datetime.timedelta(seconds=int(self.query.get("X-Amz-Expires", ""))) if presigned else SKEW)
        except (KeyError, ValueError, OverflowError):
            raise Refused(400, "AuthorizationHeaderMalformed", "the signature's credential, headers or date are not well-formed") from None
        if (service, end) != ("s3", "aws4_request") or region != self.objects.region or day != stamp[:8]:
            raise Refused(400, "AuthorizationHeaderMalformed", f"the credential's scope is DAY/{self.objects.region}/s3/aws4_request here")
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        if not when - SKEW <= now <= until:
            raise Refused(403, "AccessDenied" if presigned else "RequestTimeTooSkewed", "the signature is of another time")
        if "host" not in signed or any(n.startswith("x-amz-") and n not in signed for n in self.given):
            raise Refused(403, "AccessDenied", "Host and every x-amz- header have to be signed")
        pairs = sorted(part if "=" in part else part + "=" for part in query.split("&") if part and not part.startswith("X-Amz-Signature="))
        lines = [self.command, path, "&".join(pairs), *(f"{n}:{' '.join(self.given.get(n, '').split())}" for n in signed), "",
                 ";".join(signed), payload]
        scope = f"{day}/{region}/{service}/{end}"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
        secret = ("AWS4" + self.objects.keys[1]).encode()
        for part in (day, region, service, end):
            secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
        mine = hmac.new(secret, to_sign.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(key.encode(), self.objects.keys[0].encode()):
            raise Refused(403, "InvalidAccessKeyId", "the access key is not this server's")
        if not hmac.compare_digest(mine.encode(), got.get("Signature", "").encode()):
            raise Refused(403, "SignatureDoesNotMatch", "the signature is another one than these keys make for this request")

    # ---- bodies ----

    def _raw(self) -> Iterator[bytes]:
        """The body's bytes as they come, of a length that was told."""
        if "transfer-encoding" in self.given:
            raise _not_done("Transfer-Encoding")
        self.read = True
        try:
            left = int(self.given.get("content-length", "0"))
        except ValueError:
            raise Refused(400, "InvalidRequest", "Content-Length is no number") from None
        while left > 0:
            piece = self.rfile.read(min(left, PIECE))
            if not piece:
                raise Refused(400, "IncompleteBody", "the body ends before Content-Length")
            left -= len(piece)
            yield piece

    def _unchunked(self, trailer: dict[str, str]) -> Iterator[bytes]:
        """The bytes within aws-chunked; what stands behind them goes into trailer."""
        pieces, rest = self._raw(), b""

        def more() -> bytes:
            piece = next(pieces, None)
            if piece is None:
                raise Refused(400, "IncompleteBody", "the body ends within a chunk")
            return piece

        def line() -> bytes:
            nonlocal rest
            while b"\r\n" not in rest:
                if len(rest) > 8192:
                    raise Refused(400, "InvalidRequest", "a line of aws-chunked is too long")
                rest += more()
            one, _, rest = rest.partition(b"\r\n")
            return one

        while True:
            size, _, extension = line().partition(b";")
            if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", size):
                raise Refused(400, "InvalidRequest", "a chunk of aws-chunked has no size")
            if extension:
                raise _not_done("aws-chunked with a signature for each chunk")
            left = int(size, 16)
            if left == 0:
                break
            while left:
                rest = rest or more()
                yield rest[:left]
                rest, left = rest[left:], left - len(rest[:left])
            if line() != b"":
                raise Refused(400, "InvalidRequest", "a chunk of aws-chunked does not end with a line")
        while True:
            name, mark, value = line().decode("latin-1").partition(":")
            if not mark:
                break
            trailer[name.strip().lower()] = value.strip()
        for _ in pieces:
            pass

    def _body(self) -> Iterator[bytes]:
        """The object's bytes. They end with an error when they are not what a digest of the request says."""
        trailer: dict[str, str] = {}
        chunked = "aws-chunked" in self.given.get("content-encoding", "")
        promised = [n.strip().lower() for n in self.given.get("x-amz-trailer", "").split(",") if n.strip()]
        wanted = {n: self.given[n] for n in DIGESTS if n in self.given}
        sums = {n: DIGESTS[n]() for n in DIGESTS if n in wanted or n in promised}
        for name in promised:
            if name not in DIGESTS:
                raise _not_done(f"the trailer {name}")
        whole = self.given.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        if whole.startswith("STREAMING-AWS4"):
            raise _not_done("aws-chunked with a signature for each chunk")
        sha256 = hashlib.sha256() if re.fullmatch(r"[0-9a-f]{64}", whole) else None
        for piece in self._unchunked(trailer) if chunked else self._raw():
            for one in sums.values():
                one.update(piece)
            if sha256 is not None:
                sha256.update(piece)
            yield piece
        wanted.update({n: trailer.get(n, "") for n in promised})
        if sha256 is not None and sha256.hexdigest() != whole:
            raise Refused(400, "XAmzContentSHA256Mismatch", "the body is not what x-amz-content-sha256 says")
        for name, value in wanted.items():
            if base64.b64encode(sums[name].digest()).decode() != value:
                raise Refused(400, "BadDigest", f"the body is not what {name} says")

    def _xml(self) -> ElementTree.Element:
        text = b""
        for piece in self._body():
            text += piece
            if len(text) > XML_MAX:
                raise Refused(400, "MalformedXML", "the XML is too long")
        if b"<!" in text:  # entities that grow, and files that are read, need one
            raise Refused(400, "MalformedXML", "the XML has a declaration")
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError:
            raise Refused(400, "MalformedXML", "the XML is not well-formed") from None
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root

    def _kept(self) -> dict[str, str]:
        kept = {n: v for n, v in self.given.items() if KEPT.fullmatch(n)}
        coding = [c for c in (c.strip() for c in kept.pop("content-encoding", "").split(",")) if c not in ("", "aws-chunked")]
        return {**kept, "content-encoding": ",".join(coding)} if coding else kept

    def _new_only(self) -> bool:
        if "if-match" in self.given or self.given.get("if-none-match", "*") != "*":
            raise _not_done("a write under a condition other than If-None-Match: *")
        return "if-none-match" in self.given

    def _store(self, pieces: Iterator[bytes], bucket: str, key: str, headers: dict[str, str], new_only: bool = False) -> str:
        self.objects.file(bucket, key)  # a key that cannot be is refused before its body is read
        file = self.objects.writing(bucket)
        try:
            for piece in pieces:
                file.write(piece)
            return self.objects.place(file, bucket, key, headers, new_only)
        finally:
            pathlib.Path(file.name).unlink(missing_ok=True)
            file.close()

    # ---- answers ----

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        if not self.read and self.given.get("content-length", "0") != "0":
            self.close_connection = True  # the rest of it is no request
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if self.close_connection:
            self.send_header("Connection", "close")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer_xml(self, root: str, inner: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{SPACE}">{inner}</{root}>'
        self._answer(200, text.encode(), Content_Type="application/xml")

    def _error(self, fault: Refused) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{fault.code}</Code><Message>{escape(str(fault))}</Message></Error>'
        if self.read:
            self.close_connection = True  # how much of it was read is not known
        self._answer(fault.status, text.encode(), Content_Type="application/xml")

    # ---- buckets ----

    def list_buckets(self) -> None:
        found = sorted(p for p in self.objects.folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        self._answer_xml("ListAllMyBucketsResult", "<Owner><ID>fhirlake</ID></Owner><Buckets>" + "".join(
            f"<Bucket><Name>{escape(p.name)}</Name><CreationDate>{_instant(p.stat().st_mtime)}</CreationDate></Bucket>" for p in found) + "</Buckets>")

    def create_bucket(self) -> None:
        for _ in self._raw():
            pass
        try:
            self.objects.bucket(self.bucket_name, must_be=False).mkdir(mode=0o700)
        except FileExistsError:
            raise Refused(409, "BucketAlreadyOwnedByYou", f"there is a bucket {self.bucket_name} already") from None
        self._answer(200, Location=f"/{self.bucket_name}")

    def head_bucket(self) -> None:
        self.objects.bucket(self.bucket_name)
        self._answer(200, x_amz_bucket_region=self.objects.region)

    def delete_bucket(self) -> None:
        try:
            self.objects.bucket(self.bucket_name).rmdir()
        except OSError:
            raise Refused(409, "BucketNotEmpty", f"the bucket {self.bucket_name} is not empty") from None
        self._answer(204)

    def location(self) -> None:
        self.objects.bucket(self.bucket_name)
        self._answer_xml("LocationConstraint", "" if self.objects.region == "us-east-1" else self.objects.region)

    def list_objects(self) -> None:
        second = self.query.get("list-type") == "2"
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        after = (self.query.get("continuation-token") or self.query.get("start-after", "")) if second else self.query.get("marker", "")
        try:
            most = min(int(self.query.get("max-keys", "1000")), 1000)
        except ValueError:
            raise Refused(400, "InvalidArgument", "max-keys is no number") from None

        def coded(name: str) -> str:
            return urllib.parse.quote(name) if self.query.get("encoding-type") == "url" else escape(name)

        rows: list[str] = []
        shared, last, more = "", after, False
        for name in self.objects.names(self.bucket_name):
            if not name.startswith(prefix):
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            one = name[:cut + len(delimiter)] if cut >= 0 else name
            # a page may end with a prefix that keys share: the next one begins behind all of these
            if os.fsencode(name) <= os.fsencode(after) or one == shared or (cut >= 0 and one == after):
                continue
            if len(rows) >= most:
                more = True
                break
            last = one
            if cut >= 0:
                shared = one
                rows.append(f"<CommonPrefixes><Prefix>{coded(one)}</Prefix></CommonPrefixes>")
                continue
            try:
                stat = self.objects.file(self.bucket_name, name).stat()
            except FileNotFoundError:
                continue  # gone meanwhile
            rows.append(f"<Contents><Key>{coded(name)}</Key><LastModified>{_instant(stat.st_mtime)}</LastModified>"
                        f"<ETag>{escape(_tag(stat))}</ETag><Size>{stat.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>")
        head = (f"<Name>{escape(self.bucket_name)}</Name><Prefix>{coded(prefix)}</Prefix><MaxKeys>{most}</MaxKeys>"
                f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>")
        if delimiter:
            head += f"<Delimiter>{coded(delimiter)}</Delimiter>"
        if self.query.get("encoding-type") == "url":
            head += "<EncodingType>url</EncodingType>"
        if second:
            head += f"<KeyCount>{len(rows)}</KeyCount>"
            if more:
                head += f"<NextContinuationToken>{escape(last)}</NextContinuationToken>"
        else:
            head += f"<Marker>{coded(after)}</Marker>" + (f"<NextMarker>{coded(last)}</NextMarker>" if more else "")
        self._answer_xml("ListBucketResult", head + "".join(rows))

    def delete_objects(self) -> None:
        self.objects.bucket(self.bucket_name)
        root, told = self._xml(), []
        for one in root.iter("Object"):
            key = one.findtext("Key") or ""
            if one.find("VersionId") is not None:
                raise _not_done("deleting a version")
            try:
                self.objects.delete(self.bucket_name, key)
                if root.findtext("Quiet") != "true":
                    told.append(f"<Deleted><Key>{escape(key)}</Key></Deleted>")
            except Refused as fault:
                told.append(f"<Error><Key>{escape(key)}</Key><Code>{fault.code}</Code><Message>{escape(str(fault))}</Message></Error>")
        self._answer_xml("DeleteResult", "".join(told))

    # ---- objects ----

    def _open(self, bucket: str, key: str) -> BinaryIO:
        try:
            file = open(self.objects.file(bucket, key), "rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise Refused(404, "NoSuchKey", "there is no object of this key") from None
        return file

    def get(self) -> None:
        for name in ("if-modified-since", "if-unmodified-since", "if-range"):
            if name in self.given:
                raise _not_done(f"a read under {name}")
        with self._open(self.bucket_name, self.key) as file:
            stat = os.fstat(file.fileno())
            tag, size = _tag(stat), stat.st_size
            if self.given.get("if-match", tag) not in (tag, "*"):
                raise Refused(412, "PreconditionFailed", "If-Match: the object is another one")
            headers = self.objects.headers(self.bucket_name, self.key, stat)
            if self.given.get("if-none-match") in (tag, "*"):
                self._answer(304, ETag=tag)
                return
            first, last, status = 0, size - 1, 200
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.given.get("range", ""))
            if asked and (asked[1] or asked[2]):
                status = 206
                if asked[1]:
                    first, last = int(asked[1]), min(int(asked[2] or last), last)
                else:
                    first = max(size - int(asked[2]), 0)
                if first >= size or first > last:
                    raise Refused(416, "InvalidRange", f"the object has {size} bytes")
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(last - first + 1)}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            file.seek(first)
            left = last - first + 1
            while left > 0:
                piece = file.read(min(left, PIECE))
                if not piece:
                    self.close_connection = True  # cut off by somebody meanwhile: the client sees that bytes are missing
                    return
                self.wfile.write(piece)
                left -= len(piece)

    def put(self) -> None:
        tag = self._store(self._body(), self.bucket_name, self.key, self._kept(), self._new_only())
        self._answer(200, ETag=tag)

    def _source(self) -> tuple[str, str]:
        if "?" in self.given["x-amz-copy-source"]:
            raise _not_done("copying a version")
        bucket, _, key = urllib.parse.unquote(self.given["x-amz-copy-source"]).lstrip("/").partition("/")
        return bucket, key

    def _open_source(self) -> BinaryIO:
        file = self._open(*self._source())
        tag = _tag(os.fstat(file.fileno()))
        if self.given.get("x-amz-copy-source-if-match", tag) != tag:
            file.close()
            raise Refused(412, "PreconditionFailed", "x-amz-copy-source-if-match: the source is another object")
        return file

    def copy(self) -> None:
        if "x-amz-copy-source-range" in self.given:
            raise _not_done("copying a range to an object that is no part")
        bucket, key = self._source()
        with self._open_source() as file:
            stat = os.fstat(file.fileno())
            headers = self._kept() if self.given.get("x-amz-metadata-directive") == "REPLACE" else {
                n: v for n, v in self.objects.headers(bucket, key, stat).items() if KEPT.fullmatch(n)}
            tag = self._store(iter(lambda: file.read(PIECE), b""), self.bucket_name, self.key, headers, self._new_only())
        self._answer_xml("CopyObjectResult", f"<ETag>{escape(tag)}</ETag><LastModified>{_instant(stat.st_mtime)}</LastModified>")

    def delete(self) -> None:
        self.objects.delete(self.bucket_name, self.key)
        self._answer(204)

    # ---- objects in parts ----

    def create_upload(self) -> None:
        self.objects.file(self.bucket_name, self.key)
        upload = secrets.token_hex(16)
        parts = self.objects.folder / f"{TEMP}{upload}"
        parts.mkdir(mode=0o700)
        self.objects.uploads[upload] = (self.bucket_name, self.key, parts, self._kept())
        self._answer_xml("InitiateMultipartUploadResult", f"<Bucket>{escape(self.bucket_name)}</Bucket><Key>{escape(self.key)}</Key>"
                         f"<UploadId>{upload}</UploadId>")

    def _upload(self) -> tuple[pathlib.Path, dict[str, str]]:
        bucket, key, parts, headers = self.objects.uploads.get(self.query["uploadId"], ("", "", pathlib.Path(), {}))
        if (bucket, key) != (self.bucket_name, self.key):
            raise Refused(404, "NoSuchUpload", "there is no such upload of this key")
        return parts, headers

    def upload_part(self) -> None:
        parts, _ = self._upload()
        if not re.fullmatch(r"[1-9]\d{0,4}", self.query["partNumber"]) or int(self.query["partNumber"]) > 10000:
            raise Refused(400, "InvalidArgument", "a part's number is 1 to 10000")
        copies = "x-amz-copy-source" in self.given
        new = parts / f"new-{secrets.token_hex(8)}"
        try:
            with open(new, "xb") as file:
                for piece in self._piece_of_source() if copies else self._body():
                    file.write(piece)
            tag = _tag(new.stat())
            new.replace(parts / self.query["partNumber"])
        finally:
            new.unlink(missing_ok=True)
        if copies:
            self._answer_xml("CopyPartResult", f"<ETag>{escape(tag)}</ETag><LastModified>{_instant(time.time())}</LastModified>")
        else:
            self._answer(200, ETag=tag)

    def _piece_of_source(self) -> Iterator[bytes]:
        with self._open_source() as file:
            size = os.fstat(file.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.given.get("x-amz-copy-source-range", f"bytes=0-{size - 1}"))
            if asked is None or not int(asked[1]) <= int(asked[2]) < size:
                raise Refused(400, "InvalidArgument", f"x-amz-copy-source-range: the source has {size} bytes")
            file.seek(int(asked[1]))
            left = int(asked[2]) + 1 - int(asked[1])
            while left > 0 and (piece := file.read(min(left, PIECE))):
                left -= len(piece)
                yield piece
            if left:
                raise Refused(409, "OperationAborted", "the source was cut off meanwhile")

    def complete_upload(self) -> None:
        parts, headers = self._upload()
        for name in self.given.keys() & DIGESTS.keys() - {"content-md5"}:
            raise _not_done(f"{name} over all parts")
        named = [(one.findtext("PartNumber") or "", one.findtext("ETag") or "") for one in self._xml().iter("Part")]
        if not named or not all(re.fullmatch(r"[1-9]\d{0,4}", n) for n, _ in named):
            raise Refused(400, "MalformedXML", "the request names no parts")
        if [int(n) for n, _ in named] != sorted({int(n) for n, _ in named}):
            raise Refused(400, "InvalidPartOrder", "parts are named once each, in the order of their numbers")
        for number, tag in named:
            path = parts / number
            if not path.is_file() or _tag(path.stat()).strip('"') != tag.strip('"'):
                raise Refused(400, "InvalidPart", f"part {number} is not there, or is another one")

        def pieces() -> Iterator[bytes]:
            for number, _ in named:
                with open(parts / number, "rb") as file:
                    yield from iter(lambda: file.read(PIECE), b"")

        tag = self._store(pieces(), self.bucket_name, self.key, headers, self._new_only())
        self._forget()
        self._answer_xml("CompleteMultipartUploadResult", f"<Bucket>{escape(self.bucket_name)}</Bucket><Key>{escape(self.key)}</Key>"
                         f"<ETag>{escape(tag)}</ETag>")

    def abort_upload(self) -> None:
        self._upload()
        self._forget()
        self._answer(204)

    def _forget(self) -> None:
        _, _, parts, _ = self.objects.uploads.pop(self.query["uploadId"])
        shutil.rmtree(parts, ignore_errors=True)
