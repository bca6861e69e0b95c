"""The OCI image: packed of the program under test, looked at, and run once by bubblewrap as its configuration says: another
user, a root that nobody writes to, one folder. No engine of containers is needed."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile

import pytest

from fhirlake import BIN, ROOT, SANITIZED, Server

PACKER = ROOT / "packaging" / "image.py"
SANDBOX = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1", "--die-with-parent",
           "--new-session", "--cap-drop", "ALL"]

if sys.version_info < (3, 11):
    pytest.skip("packing an image needs Python 3.11", allow_module_level=True)
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine)
if ARCHITECTURE is None:
    pytest.skip("an image is made for x86_64 and aarch64 alone", allow_module_level=True)
if SANITIZED:
    pytest.skip("a sanitizer's program is not what is packed", allow_module_level=True)


def pack(out, **env):
    return subprocess.run([sys.executable, PACKER, "--program", BIN, "--out", out, "--level", "1"], capture_output=True, text=True,
                          env={**os.environ, **env})


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    done = pack(tmp_path_factory.mktemp("dist"), SOURCE_DATE_EPOCH="1700000000")
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


@pytest.fixture(scope="module")
def blobs(archive):
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}


def blob(blobs, digest):
    return blobs["blobs/sha256/" + digest.removeprefix("sha256:")]


@pytest.fixture(scope="module")
def config(blobs):
    return json.loads(blobs[json.loads(blobs["manifest.json"])[0]["Config"]])


@pytest.fixture(scope="module")
def root(blobs, config, tmp_path_factory):
    """The layers, one over the other. Owners are not kept: only root could."""
    at = tmp_path_factory.mktemp("root")
    for path in json.loads(blobs["manifest.json"])[0]["Layers"]:
        subprocess.run(["tar", "-xzf", "-", "-C", at, "--no-same-owner"], input=blobs[path], check=True)
    yield at
    subprocess.run(["chmod", "-R", "u+w", at], check=False)


def test_it_is_a_layout_of_the_oci_and_an_archive_of_dockers_over_the_same_blobs(archive, blobs, config):
    assert re.fullmatch(rf"fhirlake-[\d.]+-{ARCHITECTURE}-oci\.tar", archive.name) and archive.stat().st_size <= 50_000_000
    assert json.loads(blobs["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for name, data in blobs.items():
        if name.startswith("blobs/"):
            assert name == "blobs/sha256/" + hashlib.sha256(data).hexdigest()
    index, docker = json.loads(blobs["index.json"]), json.loads(blobs["manifest.json"])[0]
    manifest = json.loads(blob(blobs, index["manifests"][0]["digest"]))
    for told in (index["manifests"][0], manifest["config"], *manifest["layers"]):
        assert len(blob(blobs, told["digest"])) == told["size"]
    assert [docker["Config"], *docker["Layers"]] == [
        "blobs/sha256/" + x["digest"].removeprefix("sha256:") for x in (manifest["config"], *manifest["layers"])]
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(gzip.decompress(blobs[x])).hexdigest()
                                            for x in docker["Layers"]]
    assert len(config["history"]) == len(config["rootfs"]["diff_ids"])


def test_it_runs_as_nobody_who_owns_it_and_holds_what_it_needs_alone(blobs, config):
    told = config["config"]
    user = int(told["User"].split(":")[0])
    assert user != 0 and list(told["Volumes"]) == ["/data"] and "FHIRLAKE_DATA=/data" in told["Env"]
    names = set()
    for path in json.loads(blobs["manifest.json"])[0]["Layers"]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blobs[path]))) as tar:
            for m in tar:
                names.add(m.name)
                assert m.mtime == 1700000000 and not m.mode & 0o6000 and (m.isfile() or m.isdir()), m.name
                assert m.uid == m.gid == (user if m.name == "data" else 0), m.name
                assert m.name == "tmp" or not m.mode & 0o022, m.name
    assert {"usr/bin/fhirlake", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "usr/share/doc/fhirlake/copyright"} <= names
    assert not any(n.startswith(("bin/", "sbin/", "usr/sbin/")) for n in names)  # no shell, no tool
    assert [n for n in names if n.startswith("usr/bin/")] == ["usr/bin/fhirlake"]


def test_the_same_files_are_the_same_bytes(archive, tmp_path):
    assert pack(tmp_path, SOURCE_DATE_EPOCH="1700000000").returncode == 0
    assert (tmp_path / archive.name).read_bytes() == archive.read_bytes()


def test_what_cannot_be_packed_is_refused(tmp_path):
    done = subprocess.run([sys.executable, PACKER, "--program", tmp_path / "none", "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1 and "there is no program" in done.stderr and not list(tmp_path.glob("*.tar"))


def sandbox(root, config, data, **env):
    """What a runtime does with this configuration. The network is this machine's."""
    user, group = config["config"]["User"].split(":")
    told = dict(x.split("=", 1) for x in config["config"]["Env"])
    return [*SANDBOX, "--uid", user, "--gid", group, "--ro-bind", str(root), "/", "--bind", str(data), "/data", "--proc", "/proc",
            "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", config["config"]["WorkingDir"], "--clearenv",
            *[x for name, value in {**told, **env}.items() for x in ("--setenv", name, value)]]


def can_run():
    if shutil.which("bwrap") is None:
        return "no bubblewrap: ./dev image and ./dev test install it"
    done = subprocess.run([*SANDBOX, "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    return None if done.returncode == 0 else f"bubblewrap cannot run here: {done.stderr.strip()}"


class InImage(Server):
    """The server as the image starts it."""

    def __init__(self, root, config, **env):
        super().__init__()
        self.command = [*sandbox(root, config, self.data, **env), "--", *config["config"]["Entrypoint"], *config["config"]["Cmd"]]

    def start(self, timeout=60):
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self._ready_line(timeout)
        told = re.match(r"fhirlake ready on (https?://\S+)", line)
        if not told:
            self.kill()
            raise AssertionError(f"no ready line: {line!r}\n{self.log_text()[-3000:]}")
        self.url, self.ready_line = told[1], line
        return self

    def inner(self):
        """The program's own process: bubblewrap's child."""
        return int(pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def stop(self, timeout=60):
        if self.process is None:
            return None
        os.kill(self.inner(), signal.SIGTERM)
        status = self.process.wait(timeout)
        self._gone()
        return status


@pytest.mark.skipif(can_run() is not None, reason=str(can_run()))
def test_it_serves_and_exports_as_another_user_on_a_root_that_nobody_writes_to(root, config):
    refused = subprocess.run([*sandbox(root, config, root / "tmp"), "--", "/usr/bin/fhirlake", "serve"], capture_output=True, text=True)
    assert refused.returncode == 2 and "--plain-http yes" in refused.stderr  # nothing is served in the clear unasked
    refused = subprocess.run([*sandbox(root, config, root / "tmp", FHIRLAKE_LISTEN="127.0.0.1:0", FHIRLAKE_DATA="/elsewhere"), "--",
                              "/usr/bin/fhirlake", "serve"], capture_output=True, text=True)
    assert refused.returncode != 0 and "ready" not in refused.stdout
    with InImage(root, config, FHIRLAKE_LISTEN="127.0.0.1:0", FHIRLAKE_HEALTH_LISTEN="127.0.0.1:0") as server:
        status = pathlib.Path(f"/proc/{server.inner()}/status").read_text()
        assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.M) and re.search(r"^CapEff:\s+0+$", status, re.M)
        store = server.create_store()
        assert server.fhir(store).put("Patient/p", {"resourceType": "Patient", "id": "p"}).status == 201
        # the directory store is in the volume
        job = server.export_all(store)
        assert job["JobStatus"] == "COMPLETED"
        lines = [line for file in server.folder("s3://out").rglob("*.ndjson*") for line in file.read_text().splitlines()
                 if "SUCCESS" not in str(file)]
        assert any(json.loads(line).get("id") == "p" for line in lines), list(server.folder("s3://out").rglob("*"))
        # as its health check asks, from a sandbox of its own
        at = re.search(r"health and metrics on http://([\d.:]+)", server.ready_line)[1]
        check = config["config"]["Healthcheck"]["Test"][1:]
        asked = [*sandbox(root, config, root / "tmp", FHIRLAKE_HEALTH_LISTEN=at), "--", *check]
        assert subprocess.run(asked, capture_output=True, text=True).returncode == 0
    down = subprocess.run(asked, capture_output=True, text=True)
    assert down.returncode == 1 and "no answer" in down.stderr


def test_the_examples_have_the_form_that_they_must_have(config):
    """They are looked at, and not run: there is no engine here."""
    compose = (ROOT / "packaging" / "compose.yaml").read_text()
    kubernetes = (ROOT / "packaging" / "kubernetes.yaml").read_text()
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load(compose)["services"]
    lake = services["fhirlake"]
    assert lake["read_only"] is True and lake["cap_drop"] == ["ALL"] and all(p.startswith("127.0.0.1:") for p in lake["ports"])
    parts = {d["kind"]: d for d in yaml.safe_load_all(kubernetes)}
    assert set(parts) == {"StatefulSet", "Service"}
    pod = parts["StatefulSet"]["spec"]["template"]["spec"]
    told = pod["containers"][0]
    user = int(config["config"]["User"].split(":")[0])
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == user
    assert told["securityContext"]["readOnlyRootFilesystem"] is True and told["securityContext"]["allowPrivilegeEscalation"] is False
    assert told["livenessProbe"]["exec"]["command"] == config["config"]["Healthcheck"]["Test"][1:]
    assert parts["StatefulSet"]["spec"]["replicas"] == 1
    assert {m["mountPath"] for m in told["volumeMounts"]} >= {"/data"}
    # else the next start finds keys that its group may write, and refuses them
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    given = {e["name"]: e["value"] for e in told["env"]}
    assert f"--from-file={pathlib.PurePath(given['FHIRLAKE_CREDENTIALS']).name}\n" in kubernetes, "nothing in the image hands keys out"
    assert {pathlib.PurePath(v).parent.as_posix() for v in given.values()} <= {m["mountPath"] for m in told["volumeMounts"]}
    known = subprocess.run([BIN, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    for env in [*[e["name"] for e in told["env"]], *lake["environment"]]:
        assert env.startswith("AWS_") or f"--{env.removeprefix('FHIRLAKE_').lower().replace('_', '-')} " in known, env
    version = subprocess.run([BIN, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert lake["image"] == told["image"] == f"localhost/fhirlake:{version}"
