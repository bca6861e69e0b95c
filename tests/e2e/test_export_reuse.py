"""Full exports that go on from the one before: files are the same as fresh ones, and earlier files may go."""
import json

import pytest

import bulk
from fhirlake import Server, patient, read_export, run, wait

N = 300
TYPES = ("Basic", "Device", "Location", "Medication", "Organization", "Patient", "Practitioner", "Substance")


def lines():
    out = [patient(i).encode() for i in range(N)]
    for kind in TYPES:
        more = {"code": {"text": "x"}} if kind in ("Basic", "Substance") else {}
        if kind != "Patient":
            out += [json.dumps({"resourceType": kind, "id": f"{kind.lower()}-{i}"} | more).encode() for i in range(5)]
    return out


def reused(manifest):
    return {item["type"] for item in manifest["output"] if item.get("reused")}


@pytest.fixture
def filled(tmp_path):
    with Server(tmp_path / "data") as server:
        store = server.create_store()
        server.put_object("s3://input/all.ndjson", b"".join(line + b"\n" for line in lines()))
        assert server.import_all(store, "s3://input/all.ndjson")["JobStatus"] == "COMPLETED"
        yield server, store


def export(server, store, where="s3://out/export"):
    done = server.export_all(store, where)
    assert done["JobStatus"] == "COMPLETED", done
    uri = done["OutputDataConfig"]["S3Configuration"]["S3Uri"]
    folder = server.folder(uri)
    return uri, folder, json.loads((folder / "manifest.json").read_text())


def same(one, other):
    for member in ("contentDigest", "contentPerType", "countPerType", "storeCountPerType", "count", "bytes", "sha256"):
        assert one[member] == other[member], member


def test_a_second_export_into_the_bucket_copies_files_and_verifies(filled):
    server, store = filled
    _, one, first = export(server, store)
    uri, two, second = export(server, store, "s3://out/elsewhere")
    assert reused(first) == set() and len(reused(second)) >= len(TYPES) - 4
    same(first, second)
    assert read_export(one)[1] == read_export(two)[1]
    for path in two.rglob("*.ndjson"):
        assert path.stat().st_nlink == 1 and path.stat().st_mode & 0o777 == 0o600, path
    good = run("verify", two, "--against", server.url, "--credentials", server.data / "credentials")
    assert good.returncode == 0, good.stdout + good.stderr
    wait(lambda: "export_reused" in server.log_text(), {True})
    # another bucket has nothing to go on from
    assert reused(export(server, store, "s3://other/export")[2]) == set()


def test_what_changed_is_written_and_earlier_files_may_be_spoilt_or_gone(filled):
    server, store = filled
    _, one, first = export(server, store)
    fhir = server.fhir(store)
    assert fhir.put("Device/device-1", {"resourceType": "Device", "id": "device-1", "lotNumber": "2"}).status == 200
    assert fhir.delete("Location/location-1").status in (200, 204)
    assert fhir.put("Person/p", {"resourceType": "Person", "id": "p"}).status == 201
    path = next((one / "Organization").iterdir())
    was, text = path.stat(), path.read_bytes()
    while path.stat().st_ctime_ns == was.st_ctime_ns:  # it goes by ticks of some milliseconds
        path.write_bytes(text[:-1] + b" ")
    next((one / "Basic").iterdir()).unlink()
    _, two, second = export(server, store)
    assert not reused(second) & {"Device", "Location", "Person", "Organization", "Basic"} and reused(second)
    server.stop()
    server.options = [*server.options, "--export-reuse", "no"]
    server.start()
    _, three, third = export(server, store)
    assert reused(third) == set()
    same(second, third)
    assert read_export(two)[1] == read_export(three)[1]


def test_served_files_are_there_when_those_they_were_made_of_have_gone(filled):
    server, store = filled
    fhir = server.fhir(store)
    first = bulk.export(fhir)
    first.manifest()
    second = bulk.export(fhir).manifest()
    assert len(reused(second)) >= len(TYPES) - 4
    assert first.cancel().status == 202
    for item in second["output"]:
        assert len(fhir.get(item["url"].split("/r4/", 1)[1]).body) == item["bytes"]
