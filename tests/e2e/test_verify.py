"""`fhirlake verify` finds every way in which an export can be other than its manifest or its store says."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import time

import pytest

from fhirlake import KEY, ROLE, patient, run

pytestmark = pytest.mark.sanitize


@pytest.fixture(scope="module")
def world(server, generated):
    """A data store with generated patients and one export of it."""
    for file in generated.glob("*.ndjson"):
        server.put_object(f"s3://input/people/{file.name}", file.read_bytes())
    store = server.create_store()
    assert server.import_all(store, "s3://input/people/")["JobStatus"] == "COMPLETED"
    done = server.export_all(store, "s3://out/verify")
    return store, server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])


@pytest.fixture
def copy(world, tmp_path):
    folder = tmp_path / world[1].name
    shutil.copytree(world[1], folder)
    return folder


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def rewrite(folder, change):
    manifest = manifest_of(folder)
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def file_of(folder, type):
    return next((folder / type).glob("*.ndjson"))


def sign_again(folder, file, content=False):
    """The manifest as one would forge it: count, bytes and digests of a changed file are put right."""
    data = file.read_bytes()

    def change(manifest):
        item = next(i for i in manifest["output"] if i["url"].endswith(f"/{file.name}"))
        old = item["count"]
        item.update(count=data.count(b"\n"), bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        manifest["count"] += item["count"] - old
        for counts in ("countPerType", "storeCountPerType"):
            if counts in manifest:
                manifest[counts][item["type"]] += item["count"] - old
        manifest["bytes"] = sum(i["bytes"] for i in manifest["output"])
        digests = sorted(i["sha256"] for i in manifest["output"])
        manifest["sha256"] = hashlib.sha256("".join(d + "\n" for d in digests).encode()).hexdigest()
        if not content:  # as exports were that had no digest of it
            manifest.pop("contentDigest", None)

    rewrite(folder, change)


def differs(folder, *options, **more):
    """The differences that are told; the exit status says that there are some."""
    got = run("verify", folder, "--quiet", *options, **more)
    assert got.returncode == 1, got.stdout + got.stderr
    lines = got.stdout.strip().split("\n")
    assert lines[-1].startswith("NOT VERIFIED: ") and re.search(rf"; {len(lines) - 1} differences?$", lines[-1]), lines
    return [line.removeprefix("differs: ") for line in lines[:-1]]


# ---- the digest of the content, by another program ----

def test_the_content_digest_is_what_docs_say(world, tmp_path):
    """docs/export-digest.md followed with xxh128sum, hashlib and Python's integers."""
    types, count = {}, 0
    manifest = manifest_of(world[1])
    for folder in sorted(world[1].iterdir()):
        for file in folder.glob("*.ndjson") if folder.is_dir() else ():
            for line in file.read_bytes().splitlines():
                own = rb'"versionId":"\d+","lastUpdated":"[^"]+"'
                text = re.sub(rb',"meta":\{' + own + rb"\}", b"", line, count=1)
                if text == line:
                    text = re.sub(own + b",", b"", line, count=1)
                assert text != line
                count += 1
                (tmp_path / f"{count:06}").write_bytes(text)
                types.setdefault(folder.name, []).append(f"{count:06}")
    printed = subprocess.run(["xxh128sum", *sorted(os.listdir(tmp_path))], cwd=tmp_path, check=True, capture_output=True,
                             text=True).stdout.split()
    hashes = dict(zip(printed[1::2], printed[::2]))
    total = hashlib.sha256()
    assert set(manifest["contentPerType"]) == set(types)
    for type, said in manifest["contentPerType"].items():
        digest = (sum(int(hashes[name], 16) for name in types[type]) % 2**128).to_bytes(16, "little").hex()
        assert said == digest, type
        total.update(f"{type} {len(types[type])} {digest}\n".encode())
    assert manifest["contentDigest"] == total.hexdigest()


# ---- files against the manifest ----

def test_a_whole_export_is_verified(world, server):
    folder = world[1]
    got = run("verify", folder)
    manifest = manifest_of(folder)
    assert got.returncode == 0, got.stdout + got.stderr
    last = got.stdout.strip().split("\n")[-1]
    assert last == (f"verified: {len(manifest['output'])} files, {manifest['count']} resources, "
                    f"{manifest['bytes']} bytes as of {manifest['transactionTime']}; 0 differences")
    assert got.stdout.count("\n") == len(manifest["output"]) + 1
    as_uri = run("verify", f"s3://out/verify/{folder.name}/", "--objects", server.objects, "--quiet")
    assert as_uri.returncode == 0 and as_uri.stdout == last + "\n"


def test_one_changed_byte(copy):
    file = file_of(copy, "Patient")
    data = bytearray(file.read_bytes())
    at = data.index(b'"family":"') + 10
    data[at] ^= 1
    file.write_bytes(data)
    told = differs(copy)
    assert told == [f"Patient/{file.name}: SHA-256 is not the manifest's",
                    "the digest over all files is not the manifest's",
                    "the content of Patient is not the manifest's", "the digest of the content is not the manifest's"]


def test_a_missing_file(copy):
    file = file_of(copy, "Encounter")
    count = file.read_bytes().count(b"\n")
    file.unlink()
    told = differs(copy)
    assert told[0] == f"Encounter/{file.name}: the file is missing"
    assert f"manifest: countPerType of Encounter is {count}, the files hold 0" in told


def test_a_file_that_is_not_named(copy):
    (copy / "Patient" / "Patient-1-0-0.ndjson").write_text(patient("more") + "\n")
    (copy / "notes.txt").write_text("x")
    assert sorted(differs(copy)) == ["Patient/Patient-1-0-0.ndjson: is not in the manifest",
                                     "notes.txt: is not in the manifest"]


def test_an_extra_line_and_a_lost_line(copy):
    file = file_of(copy, "Patient")
    data = file.read_bytes()
    n = data.count(b"\n")
    file.write_bytes(data + patient("zzz").encode() + b"\n")
    assert f"Patient/{file.name}: {n + 1} lines, the manifest says {n}" in differs(copy)
    file.write_bytes(data[data.index(b"\n") + 1:])
    assert f"Patient/{file.name}: {n - 1} lines, the manifest says {n}" in differs(copy)
    file.write_bytes(data[:-1])
    told = differs(copy)
    assert any(t.endswith(f"{len(data) - 1} bytes, the manifest says {len(data)}") for t in told), told


def test_a_wrong_count_in_the_manifest(copy):
    def more(manifest):
        manifest["output"][0]["count"] += 1

    rewrite(copy, more)
    assert len(differs(copy)) == 1

    def again(manifest):
        manifest["output"][0]["count"] -= 1
        manifest["countPerType"]["Patient"] += 1
        manifest["storeCountPerType"]["Patient"] += 2
        manifest["count"] += 2
        manifest["bytes"] -= 1

    rewrite(copy, again)
    told = differs(copy)
    assert len(told) == 4 and all(t.startswith("manifest: ") for t in told), told


def test_a_line_of_another_type_and_a_broken_line(copy):
    file = file_of(copy, "Patient")
    lines = file.read_bytes().split(b"\n")
    lines[1] = b'{"resourceType":"Group","id":"g","type":"person","actual":true}'
    lines[2] = b'{"resourceType":"Patient",'
    lines[3] = b'{"resourceType":"Patient"}'
    file.write_bytes(b"\n".join(lines))
    sign_again(copy, file)
    assert differs(copy) == [f"Patient/{file.name}: line 2 is no Patient",
                             f"Patient/{file.name}: line 3 is not a JSON object",
                             f"Patient/{file.name}: line 4 is no resource with a type and an id"]


def test_a_resource_twice_even_when_all_digests_are_right(copy):
    file = file_of(copy, "Patient")
    lines = file.read_bytes().split(b"\n")
    lines[4] = lines[2]
    file.write_bytes(b"\n".join(lines))
    sign_again(copy, file)
    assert differs(copy) == ["Patient: 1 times a resource is there once more"]


def test_order_alone_is_no_difference(copy):
    file = file_of(copy, "Patient")
    lines = file.read_bytes().strip().split(b"\n")
    file.write_bytes(b"\n".join(reversed(lines)) + b"\n")
    sign_again(copy, file, content=True)
    assert run("verify", copy, "--quiet").returncode == 0


def test_other_content_is_told_when_all_digests_of_files_are_right(copy):
    file = file_of(copy, "Patient")
    file.write_bytes(file.read_bytes().replace(b'"male"', b'"other"', 1))
    sign_again(copy, file, content=True)
    assert differs(copy) == ["the content of Patient is not the manifest's", "the digest of the content is not the manifest's"]


def test_a_resource_both_exported_and_deleted(copy):
    id = json.loads(file_of(copy, "Patient").read_bytes().split(b"\n")[0])["id"]
    bundle = json.dumps({"resourceType": "Bundle", "type": "transaction",
                         "entry": [{"request": {"method": "DELETE", "url": f"Patient/{id}"}}]}) + "\n"
    (copy / "deleted.ndjson").write_text(bundle + '{"resourceType":"Bundle","type":"batch"}\n')
    url = manifest_of(copy)["output"][0]["url"].split(copy.name)[0] + copy.name + "/deleted.ndjson"
    rewrite(copy, lambda m: m["deleted"].append({"type": "Bundle", "url": url, "count": 2}))
    rewrite(copy, lambda m: m.pop("sha256"))
    told = differs(copy)
    assert "deleted.ndjson: line 2 is no transaction Bundle of DELETE entries" in told
    assert any(t.startswith("Patient/") and t.endswith("line 1 is among the deleted too") for t in told), told


@pytest.mark.parametrize("url", ["../x.ndjson", "/etc/passwd", "file:///etc/passwd", "s3://other/place/x", ""])
def test_a_manifest_that_leads_elsewhere_is_not_followed(copy, url):
    rewrite(copy, lambda m: m["output"][0].update(url=url))
    got = run("verify", copy)
    assert got.returncode == 3 and "leads out of the export's folder" in got.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"output":[]}', '{"output":{},"transactionTime":"2026-01-01T00:00:00Z"}'])
def test_a_manifest_that_is_none(copy, text):
    (copy / "manifest.json").write_text(text)
    got = run("verify", copy)
    assert got.returncode == 3 and "manifest.json" in got.stderr


def test_usage(tmp_path, copy):
    assert run("verify").returncode == 2
    assert run("verify", copy, copy).returncode == 2
    assert run("verify", copy, "--nonsense").returncode == 2
    assert run("verify", copy, "--sample", "many", "--against", "http://127.0.0.1:1").returncode == 3
    assert run("verify", tmp_path / "none").returncode == 3
    got = run("verify", tmp_path)
    assert got.returncode == 3 and "no manifest.json" in got.stderr
    assert run("verify", "s3://out/x").returncode == 3
    assert "Usage: fhirlake verify" in run("verify", "--help").stdout
    assert "verify" in run("--help").stdout and "export" in run("--help").stdout


# ---- the manifest against a store ----

def against(server, *more):
    return ["--against", server.url, "--credentials", server.data / "credentials", *more]


def test_the_store_as_of_the_export_whatever_was_written_since(server):
    store = server.create_store()
    fhir = server.fhir(store)
    for i in range(20):
        assert fhir.put(f"Patient/p{i}", patient(f"p{i}", active=True)).status == 201
    folder = server.folder(server.export_all(store)["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    fhir.put("Patient/p0", patient("p0", active=False))
    fhir.put("Patient/new", patient("new"))
    fhir.put("Group/g", {"resourceType": "Group", "id": "g", "type": "person", "actual": True})
    assert fhir.delete("Patient/p1").status == 204
    for options in ([], ["--full"], ["--sample", "5"], ["--sample=0"]):
        got = run("verify", folder, *against(server, *options))
        assert got.returncode == 0, got.stdout + got.stderr
        assert "compared with the store; 0 differences" in got.stdout
    url = f"{server.url}/datastore/{store}/r4/"
    assert run("verify", folder, "--against", url, "--credentials", server.data / "credentials").returncode == 0


def test_an_increment_with_deletions(server, tmp_path):
    store = server.create_store()
    fhir = server.fhir(store)
    for i in range(6):
        fhir.put(f"Patient/p{i}", patient(f"p{i}"))
    since = fhir.get("Patient/p5").json["meta"]["lastUpdated"]
    time.sleep(0.01)  # what comes now is later than that
    for i in (0, 1):
        assert fhir.delete(f"Patient/p{i}").status == 204
    fhir.put("Patient/p2", patient("p2", active=True))
    target = {"DataAccessRoleArn": ROLE, "OutputDataConfig": {"S3Configuration": {"S3Uri": "s3://output/inc", "KmsKeyId": KEY}}}
    job = fhir.post(f"$export?_since={since}&_elements=Patient.gender", target, Prefer="respond-async").json["jobId"]
    done = server.wait_export(store, job)
    folder = server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    manifest = manifest_of(folder)
    assert manifest["deleted"] and manifest["countPerType"] == {"Patient": 1}
    for options in ([], ["--full"]):
        got = run("verify", folder, "--quiet", *against(server, *options))
        assert got.returncode == 0, got.stdout + got.stderr
    file = next(p for p in folder.rglob("*.ndjson") if manifest["deleted"][0]["url"].endswith(p.name))
    file.write_bytes(file.read_bytes().replace(b"Patient/p0", b"Patient/p9"))
    assert f"{file.relative_to(folder)}: SHA-256 is not the manifest's" in differs(folder)
    assert "the digest of the content is not the manifest's" in differs(folder)
    file.write_bytes(file.read_bytes().replace(b"Patient/p9", b"Patient/p2"))
    assert any(t.endswith("line 1 is among the deleted too") for t in differs(folder))


def test_an_export_organized_by_patient(server, tmp_path):
    store = server.create_store()
    fhir = server.fhir(store)
    for i in range(4):
        fhir.put(f"Patient/p{i}", patient(f"p{i}"))
        for k in range(3):
            fhir.put(f"Observation/o{i}{k}", {"resourceType": "Observation", "id": f"o{i}{k}", "status": "final", "code": {"text": "x"},
                                              "subject": {"reference": f"Patient/p{i}"}})
    fhir.put("Organization/o", {"resourceType": "Organization", "id": "o", "name": "n"})
    target = {"DataAccessRoleArn": ROLE, "OutputDataConfig": {"S3Configuration": {"S3Uri": "s3://output/by", "KmsKeyId": KEY}}}
    job = fhir.post("$export?organizeOutputBy=Patient&_maximumFileSize=700", target, Prefer="respond-async").json["jobId"]
    folder = server.folder(server.wait_export(store, job)["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    manifest = manifest_of(folder)
    assert manifest["countPerType"] == {"Observation": 12, "Organization": 1, "Patient": 4}
    for options in ([], ["--full"]):
        got = run("verify", folder, *against(server, *options))
        assert got.returncode == 0 and "17 resources" in got.stdout, got.stdout + got.stderr
    item = next(i for i in manifest["output"] if "continuesInFile" in i)
    rewrite(folder, lambda m: [i.update(blocks=7) for i in m["output"] if i["url"] == item["url"]])
    assert any("blocks, the manifest says 7" in t for t in differs(folder))
    rewrite(folder, lambda m: [i.update(continuesInFile=m["output"][-1]["url"] + "x") for i in m["output"] if i["url"] == item["url"]])
    assert any("its last block does not go on in the file that it names" in t for t in differs(folder))


def test_a_forged_export_is_told_by_the_store(server, copy, world):
    file = file_of(copy, "Patient")
    lines = file.read_bytes().strip().split(b"\n")
    gone = json.loads(lines[3])["id"]
    lines[3:4] = []
    changed = json.loads(lines[0])["id"]
    lines[0] = lines[0].replace(b'"resourceType":"Patient"', b'"resourceType":"Patient","language":"xx"', 1)
    lines.append(b'{"resourceType":"Patient","id":"zzzz-made-up"}')
    lines.append(b'{"resourceType":"Patient","id":"zzzz-made-up-too"}')
    file.write_bytes(b"\n".join(lines) + b"\n")
    sign_again(copy, file)
    assert run("verify", copy, "--quiet").returncode == 0, "by itself it is in order"
    told = differs(copy, *against(server, "--full"))
    n = len(lines)
    assert told == [f"store: held {n - 1} Patient as of the export, the manifest says {n}",
                    *sorted([f"store: Patient/{changed} was another version, or another text",
                             f"store: held Patient/{gone}, which is not in the files"],
                            key=lambda t: re.search(r"Patient/([^ ,]+)", t)[1]),
                    "store: did not hold 2 Patient of the files as of the export"]
    sampled = differs(copy, *against(server, "--sample", "100000"))
    assert f"store: Patient/{changed} was another version, or another text" in sampled
    assert "store: has no Patient that is in the files" in sampled


def test_a_store_that_cannot_be_asked(server, world):
    folder = world[1]
    got = run("verify", folder, "--quiet", "--against", "http://127.0.0.1:9")
    assert got.returncode == 3 and "no answer from" in got.stderr
    got = run("verify", folder, "--quiet", "--against", server.url)
    assert got.returncode == 3 and got.stderr
    got = run("verify", folder, "--against", server.url + "/x/y", "--credentials", server.data / "credentials")
    assert got.returncode == 3 and got.stderr
