"""Random histories: an export that goes on from earlier ones is, byte for byte, one that writes everything.

A history is imports, creates, updates and deletions, with exports between them, while the objects of earlier exports are
edited, cut, replaced, renamed and taken away. Each time the same commit is exported with --export-reuse yes and no, in
either order, and both are compared with each other and with a model of the data store. FHIRLAKE_SEED repeats one history.
"""
import hashlib
import json
import os
import random
import shutil

import pytest

from bulk import kick
from fhirlake import KEY, ROLE, Server, exact, wait_job, without_version
from s3_peer import Peer

SEED = os.environ.get("FHIRLAKE_SEED")
KINDS = ("Patient", "Observation", "Device", "Basic", "Location")
# the path of an export, and what it asks for; the sizes cut a type into several objects
FORMS = ("$export?_maximumFileSize=2000", "$export?_maximumFileSize=6000", "$export?_outputFormat=ndjson",
         "$export?_type=Patient,Device,Basic&_maximumFileSize=2000", "Patient/$export?_maximumFileSize=2000")
SAME = ("asOfCommit", "contentDigest", "contentPerType", "countPerType", "storeCountPerType", "count", "bytes")


# ---- where objects are ----

class Folder:
    """The directory store. What is done to an object is seen by the time of its inode, whatever its other times say."""
    options, env, role, key = [], {}, ROLE, KEY

    def __init__(self, root):
        self.root, self.n = root, 0

    def path(self, uri):
        return self.root / uri.removeprefix("s3://")

    def read(self, uri):
        return self.path(uri).read_bytes()

    def names(self, uri):
        return {f"s3://{p.relative_to(self.root)}" for p in self.path(uri).rglob("*") if p.is_file()}

    def edit(self, uri, data, rng):
        """Other bytes: into the file or beside it and then over it, with the times that it had or with new ones."""
        path = self.path(uri)
        was = path.stat()
        into = path if rng.random() < 0.5 else path.with_name("new")
        self.write(into, data, was)
        if rng.random() < 0.5:
            os.utime(into, ns=(was.st_atime_ns, was.st_mtime_ns))
        if into != path:
            into.rename(path)

    @staticmethod
    def write(path, data, was):
        while True:  # the time of the inode goes by ticks of some milliseconds
            path.write_bytes(data)
            if path.stat().st_ctime_ns != was.st_ctime_ns:
                return

    def delete(self, uri):
        self.path(uri).unlink()

    def rename(self, uri, other):
        self.path(uri).rename(self.path(other))

    def odd(self, uri, rng):
        """Something else stands at the key."""
        path = self.path(uri)
        aside = path.with_name("aside")
        path.rename(aside)
        [lambda: path.symlink_to(aside), path.mkdir, lambda: os.mkfifo(path), lambda: shutil.copy2(aside, path),
         lambda: path.write_bytes(b"")][rng.randrange(5)]()

    def delete_all(self, uri):
        shutil.rmtree(self.path(uri))


class Bucket:
    """An S3 server."""

    def __init__(self, peer):
        self.s3, self.options, self.env, self.role, self.key = peer.s3, peer.options(), peer.env(), peer.role, peer.kms_key
        self.bucket, self.peer = peer.bucket, peer

    def at(self, uri):
        return {"Bucket": self.bucket, "Key": uri.removeprefix(f"s3://{self.bucket}/")}

    def read(self, uri):
        return self.s3.get_object(**self.at(uri))["Body"].read()

    def names(self, uri):
        return {f"s3://{self.bucket}/{name}" for name in self.peer.names(self.at(uri)["Key"])}

    def edit(self, uri, data, rng):
        more = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.key} if rng.random() < 0.5 else {}
        self.s3.put_object(**self.at(uri), Body=data, **more)

    def delete(self, uri):
        self.s3.delete_object(**self.at(uri))

    def rename(self, uri, other):
        self.s3.copy_object(**self.at(other), CopySource=self.at(uri))
        self.delete(uri)

    def odd(self, uri, rng):
        """Made anew, in another way: of no bytes, or by an upload in parts, whose ETag is another one."""
        if rng.random() < 0.5:
            self.s3.put_object(**self.at(uri), Body=b"")
            return
        data = self.read(uri)
        made = self.s3.create_multipart_upload(**self.at(uri))["UploadId"]
        part = self.s3.upload_part(**self.at(uri), UploadId=made, PartNumber=1, Body=data)
        self.s3.complete_multipart_upload(**self.at(uri), UploadId=made,
                                          MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})

    def delete_all(self, uri):
        for name in self.names(uri):
            self.delete(name)


# ---- one history ----

class Export:
    """What an export wrote, looked at as soon as it had ended: objects by their names, texts of types end to end."""

    def __init__(self, place, uri):
        self.uri = uri
        self.manifest = json.loads(place.read(uri + "manifest.json"))
        self.objects, self.types = {}, {}  # types: its objects' lines, an object a list
        for item in self.manifest["output"]:
            data = self.objects[item["url"]] = place.read(item["url"])
            assert (hashlib.sha256(data).hexdigest(), len(data), data.count(b"\n")) == (
                item["sha256"], item["bytes"], item["count"]), item
            self.types.setdefault(item["type"], []).append(data.splitlines(keepends=True))
        assert place.names(uri) == {*self.objects, uri + "manifest.json"}, "objects beside the manifest's"
        self.reused = {item["url"]: item["sha256"] for item in self.manifest["output"] if item.get("reused")}


def assert_same_bytes(one, other):
    """Where objects end may differ, and names say nothing of their order. Each line of a type follows the same one in both,
    or one that ends an object."""
    assert one.keys() == other.keys()
    for kind in one:
        assert sorted(sum(one[kind], [])) == sorted(sum(other[kind], [])), kind
        follows = {a: b for lines in other[kind] for a, b in zip(lines, lines[1:])}
        first = {lines[0] for lines in other[kind]}
        for lines in one[kind]:
            for a, b in zip(lines, lines[1:]):
                assert follows[a] == b if a in follows else b in first, (kind, a, b)


class History:
    def __init__(self, server, place, seed, told):
        self.rng, self.server, self.place, self.seed, self.told = random.Random(seed), server, place, seed, told
        self.store, self.fhir = server.create_store(), None
        self.model = {}  # (type, id): (version, resource or None)
        self.n_files, self.form, self.kept = 0, self.rng.choice(FORMS), {}
        self.last = None  # the export to go on from
        self.spoilt = set()  # sums of its objects that are not there any more as they were

    def bucket(self):
        return getattr(self.place, "bucket", f"history-{self.seed}")

    # ---- changes ----

    def resource(self, kind, id):
        more = {"Basic": {"code": {"text": "x"}},
                "Observation": {"status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/p"}}}
        text = "".join(self.rng.choices("abcdefghij \u00e4\u20ac", k=self.rng.randrange(120)))
        return {"resourceType": kind, "id": id, "identifier": [{"value": f"v{text}"}], **more.get(kind, {})}

    def keep(self, kind, id, resource):
        self.model[kind, id] = (self.model.get((kind, id), (0,))[0] + 1, resource)

    def load(self):
        """New resources and known ones, of one type or of several."""
        kinds = KINDS if self.rng.random() < 0.3 else [self.rng.choice(KINDS)]
        first = self.rng.randrange(200)
        keys = {(self.rng.choice(kinds), f"r{first + i}") for i in range(self.rng.randrange(1, 60))}
        items = [self.resource(*key) for key in sorted(keys)]
        body = b"".join(json.dumps(item).encode() + b"\n" for item in items)
        self.n_files += 1
        uri = f"s3://{self.bucket()}/in-{self.seed}-{self.n_files}"
        if isinstance(self.place, Bucket):
            self.place.s3.put_object(**self.place.at(uri + "/all.ndjson"), Body=body)
        else:
            self.server.put_object(uri + "/all.ndjson", body)
        done = self.server.import_all(self.store, uri + "/", output_uri=uri + "-log", role=self.place.role, key=self.place.key)
        assert done["JobStatus"] == "COMPLETED", done
        for item in items:
            self.keep(item["resourceType"], item["id"], item)

    def write(self):
        kind, id = self.rng.choice(KINDS), f"r{self.rng.randrange(200)}"
        lives = self.model.get((kind, id), (0, None))[1] is not None
        if lives and self.rng.random() < 0.4:
            assert self.fhir.delete(f"{kind}/{id}").status in (200, 204)
            return self.keep(kind, id, None)
        resource = self.resource(kind, id)
        if self.rng.random() < 0.3:
            made = self.fhir.post(kind, {k: v for k, v in resource.items() if k != "id"})
            assert made.status == 201
            resource["id"] = id = made.json["id"]
        else:
            assert self.fhir.put(f"{kind}/{id}", resource).status in (200, 201)
        self.keep(kind, id, resource)

    def change(self):
        for _ in range(self.rng.choice((0, 0, 1, 1, 2, 4))):
            self.load() if self.rng.random() < 0.3 else self.write()

    # ---- what happens to earlier objects ----

    def spoil(self, export):
        """One thing is done to an export."""
        there = [uri for uri in export.objects if self.kept.get(uri) == hashlib.sha256(export.objects[uri]).hexdigest()]
        if not there:
            return
        uri, data = self.rng.choice(there), None
        data = export.objects[uri]
        what = self.rng.choice(("byte", "cut", "longer", "other", "delete", "rename", "swap", "odd", "manifest", "all"))
        if what == "all" and self.rng.random() < 0.7:
            what = "byte"
        touched = [uri]
        if what == "byte":
            at = self.rng.randrange(len(data))
            self.place.edit(uri, data[:at] + bytes([data[at] ^ 1]) + data[at + 1:], self.rng)
        elif what == "cut":
            self.place.edit(uri, data[:self.rng.randrange(len(data))], self.rng)
        elif what == "longer":
            self.place.edit(uri, data + data[:self.rng.randrange(1, len(data))], self.rng)
        elif what == "other":
            self.place.edit(uri, self.rng.randbytes(len(data)), self.rng)
        elif what == "delete":
            self.place.delete(uri)
        elif what == "rename":
            self.place.rename(uri, uri + ".other")
        elif what == "swap":
            other = self.rng.choice(there)
            if other != uri:
                touched.append(other)
                self.place.rename(uri, uri + ".other")
                self.place.rename(other, uri)
                self.place.rename(uri + ".other", other)
        elif what == "odd":
            self.place.odd(uri, self.rng)
        elif what == "manifest":
            touched = []
            self.place.edit(export.uri + "manifest.json", self.rng.choice((b"", b"{}", b'{"output":[]}')), self.rng)
        else:
            touched = there
            self.place.delete_all(export.uri)
        for name in touched:
            sum = self.kept.pop(name, None)
            if export is self.last and not (what == "odd" or (what == "swap" and len(touched) == 1)):
                self.spoilt.add(sum)
        self.told[what] = self.told.get(what, 0) + 1

    # ---- exports ----

    def export(self, reuse):
        if self.server.reuse != reuse:
            self.server.stop()
            self.server.reuse = reuse
            self.server.options = [*self.place.options, "--export-reuse", "yes" if reuse else "no"]
            self.server.start()
            self.fhir = self.server.fhir(self.store)
        body = {"DataAccessRoleArn": self.place.role, "OutputDataConfig": {"S3Configuration": {
            "S3Uri": f"s3://{self.bucket()}/out-{self.seed}", "KmsKeyId": self.place.key}}}
        answer = kick(self.fhir, self.form, body)
        assert answer.status == 202, answer.body
        job = answer.json["jobId"]
        client = self.server.client()
        done = wait_job(lambda: client.describe_fhir_export_job(DatastoreId=self.store, JobId=job)["ExportJobProperties"])
        assert done["JobStatus"] == "COMPLETED", done
        return Export(self.place, done["OutputDataConfig"]["S3Configuration"]["S3Uri"])

    def compare(self):
        order = [self.server.reuse, not self.server.reuse]  # one start of the server for both
        made = {reuse: self.export(reuse) for reuse in order}
        on, off = made[True], made[False]
        assert_same_bytes(on.types, off.types)
        for name in SAME:
            assert on.manifest.get(name) == off.manifest.get(name), name
        assert not off.reused
        assert not self.spoilt & set(on.reused.values()), "an object that was not there any more as it was"
        self.against_the_model(on)
        self.told["exports"] = self.told.get("exports", 0) + 2
        self.told["reused"] = self.told.get("reused", 0) + len(on.reused)
        self.told["written"] = self.told.get("written", 0) + len(on.objects) - len(on.reused)
        for export in (on, off):
            self.kept |= {uri: hashlib.sha256(data).hexdigest() for uri, data in export.objects.items()}
        self.last, self.spoilt = on, set()
        return on

    def against_the_model(self, export):
        got = {}
        for line in (line for objects in export.types.values() for lines in objects for line in lines):
            resource = exact(line)
            key = (resource["resourceType"], resource["id"])
            assert key not in got, f"{key} twice"
            got[key] = resource
        shown = {"Patient", "Device", "Basic"} if "_type" in self.form else {*KINDS}
        if self.form.startswith("Patient/"):
            shown = {"Patient"} | ({"Observation"} & {key[0] for key in got})
        wanted = {key: was for key, was in self.model.items() if was[1] is not None and key[0] in shown}
        if self.form.startswith("Patient/"):
            wanted = {key: was for key, was in wanted.items() if key[0] == "Patient" or key in got}
        assert got.keys() == wanted.keys()
        for key, (version, resource) in wanted.items():
            assert got[key]["meta"]["versionId"] == str(version), key
            assert without_version(got[key]) == exact(json.dumps(resource)), key

    def play(self, rounds):
        self.fhir = self.server.fhir(self.store)
        self.load()
        exports = []
        for _ in range(rounds):
            exports.append(self.compare())
            if self.rng.random() < 0.7:
                for _ in range(self.rng.randrange(1, 4)):
                    self.spoil(exports[-1] if self.rng.random() < 0.8 else self.rng.choice(exports))
            self.change()
        self.compare()
        for uri, sum in self.kept.items():  # what was done to one export is seen in no other
            assert hashlib.sha256(self.place.read(uri)).hexdigest() == sum, uri
        self.server.client().delete_fhir_datastore(DatastoreId=self.store)


def histories(server, place, n, rounds=4):
    told = {}
    server.reuse = True
    server.options = [*place.options, "--export-reuse", "yes"]
    with server:
        for seed in [int(SEED)] if SEED else range(1, n + 1):
            try:
                History(server, place, seed, told).play(rounds)
            except Exception:
                print(f"FHIRLAKE_SEED={seed} repeats it\n{server.log_text()[-3000:]}")
                raise
    print(f"{n} histories: {told}")
    if not SEED:
        assert told["reused"] * 5 > told["written"], "hardly anything was reused: this compares nothing"
        assert {"byte", "cut", "delete", "rename", "odd"} <= told.keys() or n < 10


@pytest.mark.parametrize("n", [pytest.param(5, id="5"), pytest.param(200, id="200", marks=pytest.mark.long)])
def test_in_a_directory(tmp_path, n):
    server = Server(tmp_path / "data")
    histories(server, Folder(server.objects), n)


@pytest.mark.parametrize("name, n", [pytest.param("moto", 2, id="moto"),
                                     pytest.param("moto", 100, id="moto-100", marks=pytest.mark.long),
                                     pytest.param("minio", 100, id="minio-100", marks=pytest.mark.long)])
def test_in_an_s3_server(tmp_path, name, n):
    peer = Peer(name)
    try:
        place = Bucket(peer)
        histories(Server(tmp_path / "data", env=place.env), place, n)
    finally:
        peer.stop()
