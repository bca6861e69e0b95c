"""Large resources: what an import takes can be read, paged past and deleted, and what nothing could read is not taken."""
import base64
import hashlib
import json

import pytest

import postgres
from fhirlake import Server

MIB = 1 << 20
# size of the text of a Binary -> it fits in an answer as JSON, as content
SIZES = {"a-small": 1, "b-whole": 12, "c-whole": 52, "d-content": 66, "e-none": 88}
WHOLE = {"a-small", "b-whole", "c-whole"}


def content(mib, salt):
    """Bytes whose base64 takes so many MiB."""
    block = b"".join(hashlib.sha512(salt + bytes([i])).digest() for i in range(256)) * 48  # 768 KiB
    return block * mib


def binary(name, data):
    return b'{"resourceType":"Binary","id":"%s","contentType":"application/pdf","data":"%s"}' % (
        name.encode(), base64.b64encode(data))


def pages(fhir, path, most=20):
    """Entries of all pages: (id, resource) in their order, and how many entries each page had."""
    entries, sizes = [], []
    while path:
        answer = fhir.get(path)
        assert answer.status == 200, (path, answer.body[:300])
        bundle = answer.json
        got = [x for x in bundle.get("entry", []) if x.get("search", {}).get("mode") != "outcome"]
        entries += [(x["resource"]["id"], x["resource"]) for x in got]
        sizes.append(len(got))
        path = next((x["url"] for x in bundle["link"] if x["relation"] == "next"), None)
        assert len(sizes) < most
    return entries, sizes


def is_cut(resource):
    return any(tag.get("code") == "SUBSETTED" for tag in resource["meta"].get("tag", []))


@pytest.fixture(scope="module")
def lake():
    with Server() as server:
        store = server.create_store()
        contents = {name: content(mib, name.encode()) for name, mib in SIZES.items()}
        lines = [binary(name, data) for name, data in contents.items()]
        refers = [{"resourceType": "Basic", "id": name, "code": {"text": "x"},
                   "subject": {"reference": f"Binary/{name}"}} for name in SIZES]
        refers.append({"resourceType": "Patient", "id": "p"})
        refers += [{"resourceType": "DocumentReference", "id": name, "status": "current",
                    "subject": {"reference": "Patient/p"},
                    "content": [{"attachment": {"url": f"Binary/{name}"}}]} for name in SIZES]
        server.put_object("s3://input/large/a.ndjson",
                          b"\n".join(lines + [json.dumps(r).encode() for r in refers]))
        job = server.import_all(store, "s3://input/large/")
        assert job["JobStatus"] == "COMPLETED", job
        yield server, server.fhir(store), contents


def check_pages(fhir, path, names):
    entries, sizes = pages(fhir, path)
    entries = [x for x in entries if x[1]["resourceType"] == "Binary"]
    assert sorted(name for name, _ in entries) == sorted(names), path
    for name, resource in entries:
        assert resource["contentType"] == "application/pdf"
        assert ("data" in resource) == (name in WHOLE), (path, name)
        assert is_cut(resource) == (name not in WHOLE)
    return sizes


@pytest.mark.parametrize("path", ["Binary?_count=1", "Binary?_sort=-_id", "Binary/_history", "Patient/p/$everything"])
def test_pages_pass_large_binaries_whole_where_they_fit_and_without_data_where_nothing_holds_them(lake, path):
    check_pages(lake[1], path, SIZES)


def test_a_page_ends_in_front_of_what_fits_on_a_page_of_its_own(lake):
    # in a database the end may be found by one more page, with nothing on it
    ends = ([2, 1, 2], [2, 1, 2, 0]) if postgres.ON else ([2, 1, 2],)
    assert check_pages(lake[1], "Binary", SIZES) in ends
    assert check_pages(lake[1], "Binary?_sort=_id", SIZES) in ends


def test_includes_that_lead_to_large_binaries_come_whole_or_without_data(lake):
    for name in SIZES:
        answer = lake[1].get(f"Basic?_id={name}&_include=Basic:subject")
        assert answer.status == 200, answer.body[:300]
        both = [x["resource"] for x in answer.json["entry"]]
        assert [(x["resourceType"], x["id"]) for x in both] == [("Basic", name), ("Binary", name)]
        assert is_cut(both[1]) == (name not in WHOLE)


@pytest.mark.parametrize("name", SIZES)
def test_a_read_of_a_large_binary_is_its_content_or_its_json_or_says_why_not(lake, name):
    _, fhir, contents = lake
    answer = fhir.get(f"Binary/{name}", Accept="application/pdf")
    if name == "e-none":
        assert answer.status == 400 and "an export holds it" in answer.text
    else:
        assert answer.status == 200 and answer.body == contents[name]
    for path in (f"Binary/{name}", f"Binary/{name}/_history/1"):
        answer = fhir.get(path)
        if name in WHOLE:
            assert answer.status == 200 and answer.json["data"] == base64.b64encode(contents[name]).decode()
        else:
            assert answer.status == 400 and "an export holds it" in answer.text
    answer = fhir.get(f"Binary/{name}?_elements=contentType")
    assert answer.status == 200 and answer.json["contentType"] == "application/pdf"
    assert [tag["code"] for tag in answer.json["meta"]["tag"]] == ["SUBSETTED"]
    entries, _ = pages(fhir, f"Binary/{name}/_history")
    assert [is_cut(resource) for _, resource in entries] == [name not in WHOLE]


def test_a_large_binary_in_a_batch_costs_only_its_own_entry(lake):
    entries = [{"request": {"method": "GET", "url": f"Binary/{name}"}} for name in ("e-none", "a-small")]
    answer = lake[1].post("", {"resourceType": "Bundle", "type": "batch", "entry": entries})
    assert [x["response"]["status"][:3] for x in answer.json["entry"]] == ["400", "200"]


def test_a_large_binary_can_be_patched_by_nobody_written_over_and_deleted(lake):
    server, fhir, contents = lake
    store = server.create_store()
    server.put_object("s3://input/delete/a.ndjson",
                      b"\n".join(binary(name, contents[name]) for name in ("b-whole", "e-none")))
    assert server.import_all(store, "s3://input/delete/")["JobStatus"] == "COMPLETED"
    fhir = server.fhir(store)
    assert fhir.patch("Binary/e-none", [{"op": "remove", "path": "/data"}]).status == 413
    assert fhir.delete("Binary/e-none", If_Match='W/"7"').status == 412
    assert fhir.delete("Binary/e-none", If_Match='W/"1"').status == 204
    assert fhir.get("Binary/e-none").status == 410
    assert fhir.put("Binary/b-whole", {"resourceType": "Binary", "id": "b-whole", "contentType": "a/b"}).status == 200
    entries, _ = pages(fhir, "Binary")
    assert [(name, is_cut(resource)) for name, resource in entries] == [("b-whole", False)]
    assert fhir.delete("Binary?_id=b-whole").status == 204


def test_an_import_refuses_what_rest_would_unless_it_is_large_by_the_data_of_a_binary():
    big, padding = "x" * (5 * MIB), " " * (5 * MIB)
    lines = {
        "patient": f'{{"resourceType":"Patient","id":"patient","language":"{big}"}}',
        "many": '{"resourceType":"Patient","id":"many","identifier":[' + ",".join(['{"value":"1"}'] * 400_000) + "]}",
        "late": f'{{"id":"late","language":"{big}","resourceType":"Patient"}}',
        "claims": f'{{"resourceType":"Binary","id":"claims","data":"{big}","resourceType":"Patient"}}',
        "twice": f'{{"resourceType":"Binary","id":"twice","data":"{big}","data":"{big}"}}',
        "beside": f'{{"resourceType":"Binary","id":"beside","contentType":"{big}"}}',
        "list": f'{{"resourceType":"Binary","id":"list","data":["{big}"]}}',
        "blank": f'{{"resourceType":"Patient","id":"blank"{padding}}}',
        "escaped": f'{{"resource\\u0054ype":"Binary","id":"escaped","data":"{big}"}}',
        "no-json": "[" * (5 * MIB + 1),
        "fits": f'{{"resourceType":"Patient","id":"fits","language":"{big[200:]}"}}',
        "binary": f'{{"id":"binary","data":"{big}","contentType":"a/b","resourceType":"Binary"}}',
    }
    with Server() as server:
        store = server.create_store()
        server.put_object("s3://input/refuse/a.ndjson", "\n".join(lines.values()))
        job = server.import_all(store, "s3://input/refuse/", ValidationLevel="minimal")
        assert job["JobStatus"] == "COMPLETED_WITH_ERRORS", job
        folder = server.folder(job["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
        failed = {}
        for line in (folder / "FAILURE/a.ndjson").read_text().splitlines():
            line = json.loads(line)
            failed[list(lines)[line["lineId"] - 1]] = line["UpdateResourceResponse"]["jsonBlob"]["issue"][0]["diagnostics"]
        assert set(failed) == set(lines) - {"fits", "binary"}
        for name, text in failed.items():
            assert f"{len(lines[name])} bytes" in text and "5 MiB" in text, text
        fhir = server.fhir(store)
        assert fhir.get("Patient/fits").status == 200
        assert fhir.get("Binary/binary").status == 200
        assert fhir.get("Patient").json["entry"][0]["resource"]["id"] == "fits"
