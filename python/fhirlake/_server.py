"""A fhirlake server of one's own: started, asked, and gone again with the process that asked for it."""
from __future__ import annotations

import configparser
import itertools
import json
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from types import TracebackType
from typing import Any, BinaryIO, Callable, Iterable, Mapping, Optional, Union

from . import _keeper
from ._fhir import Fhir
from ._objects import Objects
from ._program import program

ROLE = "arn:aws:iam::000000000000:role/fhirlake"
KEY = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000"
WORK = "fhirlake-work"  # the bucket for what this module itself imports
EXPORTS = "fhirlake-export"  # and the one for its exports, unless a caller names another
Option = Union[str, int, bool, "os.PathLike[str]"]
Json = dict[str, Any]


class ServerError(RuntimeError):
    """The server did not start, or ended by itself. The text has the server's own words."""


class JobError(RuntimeError):
    """An import or an export did not end as COMPLETED. `job` is its description."""

    def __init__(self, text: str, job: Json) -> None:
        super().__init__(text)
        self.job = job


def _arguments(options: Mapping[str, Option]) -> list[str]:
    """max_connections=64, make_buckets=False -> --max-connections 64 --make-buckets no"""
    words: list[str] = []
    for name, value in options.items():
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else os.fspath(value) if isinstance(
            value, os.PathLike) else str(value)
        words += ["--" + name.replace("_", "-"), text]
    return words


_running: "weakref.WeakSet[Server]" = weakref.WeakSet()
_starts = threading.Lock()  # a child is not forked between the pipe and the note of it


def _in_forked_child() -> None:
    """A child of fork has the pipes of its parent's servers: with these it would keep them alive."""
    _starts.release()
    for server in _running:
        process = server._process
        if process is not None and process.stdin is not None and process.stdout is not None:
            process.stdin.close()
            process.stdout.close()


os.register_at_fork(before=_starts.acquire, after_in_parent=_starts.release, after_in_child=_in_forked_child)


class Server:
    """`fhirlake serve` on a free port of this machine, as a context manager.

    data     the data folder; it stays. Without one, the server has a temporary folder, which goes with it.
    program  the program. Without one: what FHIRLAKE_BIN names, else the wheel's own.
    env      variables for the server. It sees none of this process's that begin with AWS_ or FHIRLAKE_.
    timeout  seconds in which the server must be ready
    options  those of `fhirlake serve`, with _ for -: quotas="healthlake", make_buckets=False

    Leaving the block stops the server. It ends as well when this process is killed, and its temporary folder goes. A child
    of os.fork() may use the server; it is the parent's, and leaving the block in the child leaves it running.
    Raises ServerError with the server's own words when it does not start, and on leaving when it ended by itself.
    """

    def __init__(self, data: Union[str, os.PathLike[str], None] = None, *, program: Union[str, os.PathLike[str], None] = None,
                 env: Optional[Mapping[str, str]] = None, timeout: float = 60.0, **options: Option) -> None:
        self._given_data, self._given_program, self._timeout = data, program, timeout
        self._env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FHIRLAKE_"))}
        self._env.update(env or {})
        self._options = dict(options)
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._owner = 0  # the process that started it
        self._log: Optional[BinaryIO] = None
        self._objects: Optional[Objects] = None
        self._numbers = itertools.count(1)
        self._own_client: Any = None  # what this module itself asks by
        self._url = ""
        self.region = str(options.get("region", "us-east-1"))
        """The region of signatures and clients."""
        self.ca: Optional[str] = None
        """With tls="self-signed": the file of the authority that clients trust."""

    # ---- its life ----

    def start(self) -> Server:
        """Starts the server and waits until it is ready. Leaving a `with` block, or stop(), ends it."""
        if self._process is not None:
            raise ServerError("this server runs already")
        path = program(self._given_program)
        folder = tempfile.mkdtemp(prefix="fhirlake-")
        self.data = pathlib.Path(folder, "data") if self._given_data is None else pathlib.Path(self._given_data)
        # open here, so that it can be read when the folder is gone
        self._log = open(os.path.join(folder, "server.log"), "w+b")
        options = {"listen": "127.0.0.1:0", "data": self.data, **self._options}
        with _starts:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", _keeper.__file__, folder, path, "serve", *_arguments(options)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=self._env, start_new_session=True)
            self._owner = os.getpid()
            _running.add(self)
        try:
            self._read_ready(self._ready_line())
        except BaseException:
            self._end()
            raise
        return self

    def _ready_line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        out, line, end = self._process.stdout.fileno(), b"", time.monotonic() + self._timeout
        waits = select.poll()
        waits.register(out, select.POLLIN)
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not waits.poll(left * 1000):
                raise ServerError(f"fhirlake was not ready after {self._timeout:g} s{self._last_words()}")
            more = os.read(out, 4096)
            if not more:
                raise ServerError(f"fhirlake did not start{self._last_words()}")
            line += more
        return line.decode(errors="replace")

    def _read_ready(self, line: str) -> None:
        ready = re.match(r"fhirlake ready on (https?://\S+)", line)
        if ready is None:
            raise ServerError(f"fhirlake said something else than that it is ready: {line.strip()}{self._last_words()}")
        self._url = ready[1]
        ca = re.search(r"curl --cacert in (.+)\)$", line.strip())
        self.ca = ca[1] if ca else None

    def _last_words(self) -> str:
        """What the server wrote last, to stand behind an error."""
        lines = [line for line in self.log.strip().split("\n") if line][-10:]
        return ":\n  " + "\n  ".join(lines) if lines else ", and said nothing"

    def stop(self) -> None:
        """Stops the server, and removes its temporary folder. Nothing happens when it does not run."""
        if self._process is None:
            return
        if os.getpid() != self._owner:
            self._process = None
            return
        status = self._end()
        if status != 0:
            raise ServerError(f"fhirlake ended with status {status}{self._last_words()}")

    def _end(self) -> int:
        process, self._process = self._process, None
        assert process is not None and process.stdin is not None and process.stdout is not None
        if self._objects is not None:
            self._objects.close()
            self._objects = None
        self._own_client = None
        # the word, and not the pipe's end: another process may have a copy of the pipe
        try:
            os.write(process.stdin.fileno(), b".")
        except OSError:
            pass  # the keeper was killed, and the server with it
        process.stdin.close()
        process.stdout.close()
        return process.wait()  # the keeper kills a server that does not stop

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, kind: Optional[type[BaseException]], fault: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        try:
            self.stop()
        except ServerError as own:
            if fault is None:
                raise
            # what the block failed with comes first, and most likely from this
            fault.__dict__.setdefault("__notes__", []).append(str(own))

    # ---- what it is ----

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT"""
        self._check_runs()
        return self._url

    @property
    def log(self) -> str:
        """What the server wrote so far: a line per request and per change of a job, without bodies and secrets."""
        if self._log is None:
            return ""
        return os.pread(self._log.fileno(), 64 << 20, 0).decode(errors="replace")

    @property
    def objects(self) -> pathlib.Path:
        """The folder that s3:// is: s3://bucket/key is the file bucket/key in it."""
        if "s3_endpoint" in self._options:
            raise ServerError(f"the objects of this server are at {self._options['s3_endpoint']}, not in a folder")
        return pathlib.Path(os.fspath(self._options["objects"])) if "objects" in self._options else self.data / "objects"  # type: ignore[arg-type]

    @property
    def keys(self) -> tuple[str, str]:
        """Access key and secret of the first caller in the file of credentials. With auth="none" any do."""
        if self._options.get("auth") == "none":
            return "any", "any"
        file = configparser.ConfigParser(interpolation=None)
        file.read(os.fspath(self._options.get("credentials", self.data / "credentials")))  # type: ignore[arg-type]
        caller = file[file.sections()[0]]
        return caller["aws_access_key_id"], caller["aws_secret_access_key"]

    def environ(self) -> dict[str, str]:
        """Variables with which any AWS SDK, of any language, finds this server and its objects, and no other."""
        key, secret = self.keys
        told = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": self.region,
                "AWS_DEFAULT_REGION": self.region, "AWS_ENDPOINT_URL_HEALTHLAKE": self.url,
                "AWS_ENDPOINT_URL_S3": self._s3_url(), "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_EC2_METADATA_DISABLED": "true", "FHIRLAKE": self.url}
        return {**told, "AWS_CA_BUNDLE": self.ca} if self.ca else told

    def _check_runs(self) -> None:
        if self._process is None:
            raise ServerError("this server does not run: use it in `with fhirlake.Server() as server:`")

    # ---- clients ----

    def client(self, service: str = "healthlake", **more: Any) -> Any:
        """boto3's client of "healthlake" or "s3", with this server's endpoint and keys. more: as boto3's client()."""
        if service not in ("healthlake", "s3"):
            raise ValueError(f"fhirlake has no service {service!r}: healthlake and s3 are there")
        import boto3.session
        import botocore.config
        import botocore.session
        self._check_runs()
        nobody = (None, None, None, None)
        alone = botocore.session.Session(session_vars={  # no profile or file of this user has a say
            "profile": nobody, "config_file": (None, None, os.devnull, None), "credentials_file": (None, None, os.devnull, None)})
        key, secret = self.keys
        config = botocore.config.Config(proxies={}, retries={"mode": "standard"})
        given = more.pop("config", None)
        settings = {"endpoint_url": self.url if service == "healthlake" else self._s3_url(), "region_name": self.region,
                    "aws_access_key_id": key, "aws_secret_access_key": secret, "verify": self.ca, **more}
        return boto3.session.Session(botocore_session=alone).client(
            service, config=config.merge(given) if given else config, **settings)

    def _client(self) -> Any:
        if self._own_client is None:
            self._own_client = self.client()
        return self._own_client

    def s3(self, **more: Any) -> Any:
        """boto3's client of S3 over the objects of this server; docs/testing-with-fhirlake.md lists its calls."""
        return self.client("s3", **more)

    def _s3_url(self) -> str:
        self._check_runs()
        if "s3_endpoint" in self._options:
            return str(self._options["s3_endpoint"])
        if self._objects is None:
            self._objects = Objects(self.objects, None if self._options.get("auth") == "none" else self.keys, self.region)
        return self._objects.url

    def fhir(self, datastore: str) -> Fhir:
        """The FHIR API of a data store."""
        keys = None if self._options.get("auth") == "none" else self.keys
        return Fhir(f"{self.url}/datastore/{datastore}/r4", keys, self.region, self.ca)

    # ---- data ----

    def datastore(self, patients: int = 0, *, seed: int = 1, resources: Iterable[Mapping[str, Any]] = (), name: Optional[str] = None,
                  **more: Any) -> str:
        """A new data store, ACTIVE, by its id.

        patients   so many synthetic patients and all that belongs to them, some 370 resources each. Nobody in it is real.
                   The same number and seed are the same resources, with the same ids.
        resources  these are in it as well
        more       members of CreateFHIRDatastore
        """
        client = self._client()
        if name is not None:
            more["DatastoreName"] = name
        store: str = client.create_fhir_datastore(**{"DatastoreTypeVersion": "R4", **more})["DatastoreId"]

        def described() -> Json:
            properties: Json = client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
            return properties

        made = self._wait(described, "DatastoreStatus", ("CREATING",))
        if made["DatastoreStatus"] != "ACTIVE":
            raise JobError(f"the data store is {made['DatastoreStatus']}: {made.get('ErrorCause', {}).get('ErrorMessage', '')}", made)
        if patients:
            folder = self._work_folder()
            done = subprocess.run([program(self._given_program), "generate", "--patients", str(patients), "--seed", str(seed), "--out", folder],
                                  capture_output=True, text=True, env=self._env)
            if done.returncode != 0:
                raise ServerError(done.stderr.strip())
            self._import(store, folder)
        resources = list(resources)
        if resources:
            self.load(store, resources)
        return store

    def load(self, datastore: str, resources: Iterable[Mapping[str, Any]]) -> None:
        """Imports resources by a job, as they stand. Raises JobError with the faults when one is refused."""
        folder = self._work_folder()
        folder.mkdir(mode=0o700, parents=True)
        with open(folder / "resources.ndjson", "w", encoding="utf-8") as file:
            for resource in resources:
                file.write(json.dumps(resource, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._import(datastore, folder)

    def export(self, datastore: str, uri: str = f"s3://{EXPORTS}", **more: Any) -> dict[str, list[Json]]:
        """Exports all of a data store by a job: {type: resources}. The files stay below uri. more: members of StartFHIRExportJob."""
        client = self._client()
        if uri == f"s3://{EXPORTS}" and "s3_endpoint" not in self._options:  # the caller did not choose it, so need not make it
            (self.objects / EXPORTS).mkdir(mode=0o700, parents=True, exist_ok=True)
        job = client.start_fhir_export_job(**{
            "DatastoreId": datastore, "DataAccessRoleArn": ROLE,
            "OutputDataConfig": {"S3Configuration": {"S3Uri": uri, "KmsKeyId": KEY}}, **more})["JobId"]
        done = self._wait(lambda: client.describe_fhir_export_job(DatastoreId=datastore, JobId=job)["ExportJobProperties"])
        if done["JobStatus"] != "COMPLETED":
            raise JobError(f"the export is {done['JobStatus']}: {done.get('Message', 'no more is told')}", done)
        bucket, _, prefix = done["OutputDataConfig"]["S3Configuration"]["S3Uri"].removeprefix("s3://").partition("/")
        s3, found = self.s3(), {}  # type: Any, dict[str, list[Json]]

        def read(key: str) -> bytes:
            text: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            return text

        # the manifest has the last word about what belongs to an export
        for file in json.loads(read(prefix.rstrip("/") + "/manifest.json"))["output"]:
            key = file["url"].removeprefix(f"s3://{bucket}/")
            found.setdefault(file["type"], []).extend(json.loads(line) for line in read(key).split(b"\n") if line)
        return found

    def _work_folder(self) -> pathlib.Path:
        return self.objects / WORK / f"{os.getpid()}-{next(self._numbers)}"

    def _import(self, datastore: str, folder: pathlib.Path) -> None:
        uri = f"s3://{WORK}/{folder.name}"
        client = self._client()
        job = client.start_fhir_import_job(
            DatastoreId=datastore, DataAccessRoleArn=ROLE, InputDataConfig={"S3Uri": uri + "/"},
            JobOutputDataConfig={"S3Configuration": {"S3Uri": f"s3://{WORK}/outcome", "KmsKeyId": KEY}})["JobId"]
        done = self._wait(lambda: client.describe_fhir_import_job(DatastoreId=datastore, JobId=job)["ImportJobProperties"])
        if done["JobStatus"] == "COMPLETED":
            return
        outcome = self.objects / done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"].removeprefix("s3://")
        faults = [line for file in sorted((outcome / "FAILURE").glob("*")) for line in file.read_text().split("\n") if line]
        told = "".join(f"\n  {line}" for line in faults[:10]) or f": {done.get('Message', 'no more is told')}"
        raise JobError(f"the import is {done['JobStatus']}{told}", done)

    @staticmethod
    def _wait(describe: Callable[[], Json], member: str = "JobStatus",
              under_way: tuple[str, ...] = ("SUBMITTED", "QUEUED", "IN_PROGRESS")) -> Json:
        """HealthLake has no call that waits: it is asked again, soon at first."""
        pause = 0.005
        while True:
            told = describe()
            if told[member] not in under_way:
                return told
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
