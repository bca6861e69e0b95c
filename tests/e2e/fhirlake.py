"""A fhirlake server under test, and what tests need around it."""
import configparser
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials

import postgres
import secrecy

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("FHIRLAKE_BIN", ROOT / "build" / "fhirlake"))
FHIR_R4 = ROOT / ".deps" / "fhir-r4"  # HL7's definitions, a file per type, and examples: ./dev fhir-data brings them
EXAMPLES = FHIR_R4 / "examples.ndjson"
NO_FHIR_DATA = "no FHIR data: run ./dev fhir-data"
# a population made by Synthea, *.ndjson.zst, one file per type: for those who have one, since no registry has
SYNTHEA = pathlib.Path(os.environ["FHIRLAKE_SYNTHEA"]) if os.environ.get("FHIRLAKE_SYNTHEA") else None
NO_SYNTHEA = "no Synthea data: FHIRLAKE_SYNTHEA names no folder of it"
SANITIZED = "asan" in str(BIN) or "tsan" in str(BIN)
LONG = os.environ.get("FHIRLAKE_LONG") == "1"
ROLE = "arn:aws:iam::000000000000:role/healthlake"
KEY = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555"
FINAL = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCEL_COMPLETED", "CANCEL_FAILED"}


class Server:
    """`fhirlake serve` as a child process on a free port. Use as a context manager."""

    def __init__(self, data=None, *options, env=None, before=None):
        self.own_data = data is None
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="fhirlake-e2e-"))
        self.options = list(options)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FHIRLAKE_"))}
        self.env.update(env or {})
        self.before = before  # called in the child before the program: its limits
        self.process = None
        self.url = None
        self.ca = None  # over TLS: the file of the authority that clients trust
        self.log_path = self.data.with_suffix(".log")

    def start(self, timeout=300):
        self.log = open(self.log_path, "ab")
        # a test that has its own --store means it
        store = ["--store", postgres.database_of(self.data)] if postgres.ON and "--store" not in self.options else []
        # at its end a sanitizer looks for lost memory, from a second process: that may look inside with this alone
        looked_at = ["--core-dumps", "yes"] if "detect_leaks=1" in os.environ.get("ASAN_OPTIONS", "") else []
        self.process = subprocess.Popen(
            [str(BIN), "serve", "--listen", "127.0.0.1:0", "--data", str(self.data), *store, *looked_at, *self.options],
            stdout=subprocess.PIPE, stderr=self.log, env=self.env, text=True, preexec_fn=self.before)
        line = self._ready_line(timeout)
        match = re.match(r"fhirlake ready on (https?://\S+)", line)
        if not match:
            self.kill()
            raise AssertionError(f"no ready line: {line!r}\n{self.log_text()[-3000:]}")
        self.ready_line = line
        self.url = match[1]
        return self

    def _ready_line(self, timeout):
        got = []
        reader = threading.Thread(target=lambda: got.append(self.process.stdout.readline()), daemon=True)
        reader.start()
        reader.join(timeout)
        return got[0] if got else ""

    def stop(self, timeout=300):
        """SIGTERM; returns the exit status."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGCONT)  # of a test that failed while it was frozen
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout)
        self._gone()
        return status

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._gone()

    def _gone(self):
        self.process.stdout.close()
        self.log.close()
        self.process = None

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        try:
            status = self.stop()
            text = self.log_text()
            assert "ERROR: AddressSanitizer" not in text and "WARNING: ThreadSanitizer" not in text, text[-5000:]
            assert "runtime error:" not in text, text[-5000:]
            told = secrecy.told(urllib.parse.urlsplit(self.url or "").netloc, text, self.own_secrets())
            assert told == [], f"the log has what no log may have: {told}"
            if exc[0] is None:
                assert status == 0, f"exit status {status}\n{text[-3000:]}"
        finally:
            self.kill()
            if self.own_data:
                postgres.forget(self.data)
                shutil.rmtree(self.data, ignore_errors=True)
                self.log_path.unlink(missing_ok=True)

    # ---- clients ----

    def keys(self):
        ini = configparser.ConfigParser()
        ini.read(self.data / "credentials")
        section = ini[ini.sections()[0]]
        return section["aws_access_key_id"], section["aws_secret_access_key"]

    def own_secrets(self):
        """Of the callers in the file that the server made."""
        ini = configparser.ConfigParser()
        ini.read(self.data / "credentials")
        return [ini[section].get("aws_secret_access_key", "") for section in ini.sections()]

    def client(self, key=None, secret=None, token=None, retries=0, region="us-east-1", **config):
        if key is None:
            key, secret = self.keys()
        return boto3.client(
            "healthlake", endpoint_url=self.url, region_name=region, aws_access_key_id=key,
            aws_secret_access_key=secret, aws_session_token=token, verify=str(self.ca) if self.ca else None,
            config=botocore.config.Config(retries={"total_max_attempts": retries + 1, "mode": "standard"},
                                          read_timeout=120, **config))

    def fhir(self, store, signed=True):
        """The FHIR API of a data store, as a client that signs sees it."""
        return Fhir(f"{self.url}/datastore/{store}/r4", self.keys() if signed else None, self.ca)

    @property
    def objects(self):
        return self.data / "objects"

    # ---- shortcuts ----

    def create_store(self, client=None, **more):
        client = client or self.client()
        store = client.create_fhir_datastore(DatastoreTypeVersion="R4", **more)["DatastoreId"]
        wait(lambda: client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"],
             {"ACTIVE", "CREATE_FAILED"})
        return store

    def put_object(self, uri, data):
        path = self.objects / uri.removeprefix("s3://")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    def start_import(self, store, input_uri, output_uri="s3://out/import", client=None, **more):
        return (client or self.client()).start_fhir_import_job(
            DatastoreId=store, InputDataConfig={"S3Uri": input_uri}, DataAccessRoleArn=more.pop("role", ROLE),
            JobOutputDataConfig={"S3Configuration": {"S3Uri": output_uri, "KmsKeyId": more.pop("key", KEY)}},
            **more)["JobId"]

    def start_export(self, store, output_uri="s3://out/export", client=None, **more):
        return (client or self.client()).start_fhir_export_job(
            DatastoreId=store, DataAccessRoleArn=more.pop("role", ROLE),
            OutputDataConfig={"S3Configuration": {"S3Uri": output_uri, "KmsKeyId": more.pop("key", KEY)}},
            **more)["JobId"]

    def wait_import(self, store, job, timeout=300, client=None):
        client = client or self.client()
        return wait_job(lambda: client.describe_fhir_import_job(DatastoreId=store, JobId=job)["ImportJobProperties"],
                        timeout)

    def wait_export(self, store, job, timeout=300, client=None):
        client = client or self.client()
        return wait_job(lambda: client.describe_fhir_export_job(DatastoreId=store, JobId=job)["ExportJobProperties"],
                        timeout)

    def import_all(self, store, input_uri, **more):
        return self.wait_import(store, self.start_import(store, input_uri, **more))

    def export_all(self, store, output_uri="s3://out/export", **more):
        return self.wait_export(store, self.start_export(store, output_uri, **more))

    def folder(self, uri):
        return self.objects / uri.removeprefix("s3://")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        """Of an OperationOutcome: what it says."""
        assert self.json["resourceType"] == "OperationOutcome"
        return " | ".join(i["details"]["text"] for i in self.json["issue"])


class Fhir:
    """Requests below [base], signed with botocore's SigV4 over one connection per call."""

    def __init__(self, base, keys, ca=None):
        self.base, self.keys, self.timeout = base, keys, 120
        self.tls = ssl.create_default_context(cafile=ca) if ca else None
        self.under_way = set()

    def call(self, method, path, body=None, content_type="application/fhir+json", **headers):
        url = path if path.startswith("http") else f"{self.base}/{path}" if path else self.base
        if "?" in url:  # as it must be before signing
            path, query = url.split("?", 1)
            url = path + "?" + urllib.parse.quote(query, safe="=&%-_.~+")
        data = body if isinstance(body, (bytes, type(None))) else (
            body if isinstance(body, str) else json.dumps(body)).encode()
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        if data is not None and content_type:
            headers["Content-Type"] = content_type
        headers = self.signed(method, url, headers, data)
        parts = urllib.parse.urlsplit(url)
        secrecy.note(parts.netloc, url, headers, data)
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(parts.netloc, timeout=self.timeout, context=self.tls)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=self.timeout)
        self.under_way.add(connection)
        try:
            connection.request(method, url[len(f"{parts.scheme}://{parts.netloc}"):], data, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            self.under_way.discard(connection)
            connection.close()

    def hang_up(self):
        """Other threads' calls that are under way fail, as if the caller were gone."""
        for connection in list(self.under_way):
            sock = connection.sock  # its thread may close it
            if sock:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def signed(self, method, url, headers=None, data=None):
        """The headers of a request, with its signature where this client signs."""
        if not self.keys:
            return dict(headers or {})
        request = botocore.awsrequest.AWSRequest(method, url, headers, data)
        credentials = botocore.credentials.Credentials(*self.keys)
        botocore.auth.SigV4Auth(credentials, "healthlake", "us-east-1").add_auth(request)
        return dict(request.headers.items())

    def get_until(self, url, done):
        """The same request over one connection, as often and as fast as it goes, until an answer is what is waited for: all answers."""
        parts, headers, answers = urllib.parse.urlsplit(url), self.signed("GET", url), []
        connection = http.client.HTTPConnection(parts.netloc, timeout=self.timeout)
        try:
            while not answers or not done(answers[-1]):
                connection.request("GET", parts.path, headers=headers)
                answer = connection.getresponse()
                answers.append(Answer(answer.status, answer.headers, answer.read()))
            return answers
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.call("GET", path, **headers)

    def post(self, path, body, **more):
        return self.call("POST", path, body, **more)

    def put(self, path, body, **more):
        return self.call("PUT", path, body, **more)

    def patch(self, path, operations, **more):
        return self.call("PATCH", path, operations, "application/json-patch+json", **more)

    def delete(self, path, **headers):
        return self.call("DELETE", path, **headers)


def ask_control(url, keys, operation, request):
    """A request of the control plane as any version of an SDK could send it: (status, __type, message or answer). Without
    keys it is not signed."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    signed = botocore.awsrequest.AWSRequest("POST", url + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "HealthLake." + operation})
    if keys:
        botocore.auth.SigV4Auth(botocore.credentials.Credentials(*keys), "healthlake", "us-east-1").add_auth(signed)
    try:
        with urllib.request.urlopen(urllib.request.Request(url + "/", body, dict(signed.headers.items())), timeout=120) as answer:
            return answer.status, None, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        told = json.loads(error.read())
        return error.code, told["__type"], told["message"]


def wait(probe, wanted, timeout=300, pause=0.02):
    end = time.monotonic() + timeout
    while True:
        value = probe()
        if value in wanted:
            return value
        assert time.monotonic() < end, f"still {value} after {timeout} s"
        time.sleep(pause)
        pause = min(pause * 1.3, 0.5)


def wait_job(describe, timeout=300):
    seen = {}

    def probe():
        seen["job"] = describe()
        return seen["job"]["JobStatus"]

    wait(probe, FINAL, timeout)
    return seen["job"]


# ---- resources ----

def exact(line):
    """A line as a value in which numbers are their own text: 1.0 is not 1.00."""
    return json.loads(line, parse_float=lambda s: ("number", s), parse_int=lambda s: ("number", s))


def without_version(resource):
    """Drop what the store adds, so that what came out can be compared with what went in."""
    resource = dict(resource)
    meta = {k: v for k, v in resource.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
    resource.pop("meta", None)
    if meta:
        resource["meta"] = meta
    return resource


def tokens(text):
    """Everything of a resource's text but what the store adds: members in their order, numbers as they are spelled."""
    def members(pairs):
        return [("member", k, v) for k, v in pairs if k not in ("versionId", "lastUpdated")]

    def keep(s):
        return ("number", s)

    return [m for m in json.loads(text, object_pairs_hook=members, parse_float=keep, parse_int=keep)
            if m[1:] != ("meta", [])]


def read_ndjson(path):
    path = str(path)
    if path.endswith(".zst"):
        text = subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout
    elif path.endswith(".gz"):
        text = gzip.open(path).read()
    else:
        text = open(path, "rb").read()
    return [line for line in text.split(b"\n") if line.strip()]


def read_export(folder):
    """(manifest, {(type, id): line}) of an export in a directory; checks it against its manifest."""
    folder = pathlib.Path(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    resources = {}
    named = set()
    for item in manifest["output"]:
        name = item["url"].split(f"/{folder.name}/", 1)[1]
        named.add(name)
        data = (folder / name).read_bytes()
        assert len(data) == item["bytes"], name
        assert hashlib.sha256(data).hexdigest() == item["sha256"], name
        lines = data.split(b"\n")
        assert lines.pop() == b"", "a file ends with a newline"
        assert len(lines) == item["count"], name
        for line in lines:
            head = json.loads(line)
            assert head["resourceType"] == item["type"] == name.split("/")[0]
            key = (head["resourceType"], head["id"])
            assert key not in resources, f"{key} twice"
            resources[key] = line
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
    assert there == named, ("files beside the manifest's", sorted(there ^ named)[:9])
    return manifest, resources


def assert_same_resources(exported, lines):
    """Every line went in, and came out the same, number for number; nothing else came out."""
    wanted = {}
    for line in lines:
        head = json.loads(line)
        wanted[(head["resourceType"], head["id"])] = line
    assert exported.keys() == wanted.keys(), (
        f"{len(wanted.keys() - exported.keys())} missing, {len(exported.keys() - wanted.keys())} too many")
    for key, line in wanted.items():
        got = exact(exported[key])
        assert got["meta"]["versionId"] and got["meta"]["lastUpdated"], key
        assert without_version(got) == without_version(exact(line)), key


def run(*arguments, env=None, timeout=120):
    """A command of the program, without keys from this process's environment."""
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("AWS_")}, "HOME": "/dev/null", **(env or {})}
    return subprocess.run([str(BIN), *map(str, arguments)], capture_output=True, text=True, env=env, timeout=timeout)


def generate(out, patients=20, seed=1):
    subprocess.run([str(BIN), "generate", "--patients", str(patients), "--seed", str(seed), "--out", str(out)],
                   check=True, capture_output=True)
    return sorted(pathlib.Path(out).glob("*.ndjson"))


def patient(i, **more):
    return json.dumps({"resourceType": "Patient", "id": str(i), **more}, separators=(",", ":"))
