"""Attachment.url in the files of an export that we serve is absolute, below the [base] of the kick-off, and answers with the
same signature (Bulk Data Access, "Attachments"). Exports into S3 and digests of the content stay as they were."""
import base64
import json

import pytest

from bulk import Export, export, kick
from fhirlake import EXAMPLES, NO_FHIR_DATA, Server, read_ndjson, run, tokens

pytestmark = pytest.mark.sanitize
# members of FHIR R4 that hold an Attachment, by the specification's pages
HOLDERS = {"attachment", "content", "contentAttachment", "document", "form", "image", "legallyBindingAttachment", "photo",
           "presentedForm", "sequenceAttachment", "sourceAttachment", "valueAttachment"}
MEMBERS = {"id", "extension", "contentType", "language", "data", "url", "size", "hash", "title", "creation"}


def binary(id, text):
    return {"resourceType": "Binary", "id": id, "contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}


def document(id, *urls, **more):
    return {"resourceType": "DocumentReference", "id": id, "status": "current", "subject": {"reference": "Patient/p"},
            "content": [{"attachment": {"contentType": "text/plain", "url": url}} for url in urls], **more}


def attachments(node, key=None):
    """Every Attachment in a resource, by its shape."""
    if isinstance(node, list):
        for item in node:
            yield from attachments(item, key)
    elif isinstance(node, dict):
        if key in HOLDERS and node.keys() <= MEMBERS:
            yield node
        for name, value in node.items():
            yield from attachments(value, name)


def import_lines(server, lines, name, **more):
    server.put_object(f"s3://input/{name}/all.ndjson", b"".join(line + b"\n" for line in lines))
    store = server.create_store()
    assert server.import_all(store, f"s3://input/{name}/", **more)["JobStatus"].startswith("COMPLETED")
    return store


def s3_lines(server, store):
    folder = server.folder(server.export_all(store)["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    lines = [line for file in sorted(folder.rglob("*.ndjson")) for line in read_ndjson(file)]
    return folder, {(r["resourceType"], r["id"]): line for line in lines for r in [json.loads(line)]}


def download(job, folder):
    """The files of a served export and its manifest, as a client keeps them."""
    manifest = job.manifest()
    for section in ("output", "deleted", "error"):
        for item in manifest[section]:
            path = folder / item["url"].split("/files/", 1)[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(job.fhir.get(item["url"]).body)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def test_the_url_of_a_document_answers_with_the_signature_of_the_files(server, tmp_path):
    texts = {"a": "first", "b": "second"}
    given = [{"resourceType": "Patient", "id": "p", "photo": [{"url": "Binary/a"}]},
             document("d1", "Binary/a", "Binary/b/_history/1", "https://far.example/Binary/a"),
             document("d2", "urn:oid:1.2.3", extension=[{"url": "http://x.example", "valueAttachment": {"url": "Binary/b"}}]),
             {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "c"}, "subject": {"reference": "#c"},
              "contained": [{"resourceType": "Patient", "id": "c", "photo": [{"url": "Binary/a"}]}]},
             *(binary(id, text) for id, text in texts.items())]
    lines = [json.dumps(r).replace("Binary/b/_", "Binary\\/b\\/_").encode() for r in given]
    store = import_lines(server, lines, "documents")
    signed, bare = server.fhir(store), server.fhir(store, signed=False)
    job = export(signed)
    got = job.resources()
    found = {}
    for name, resource in got.items():
        for attachment in attachments(resource):
            assert attachment["url"].split(":")[0] in ("http", "https", "urn"), f"{name} has a relative url"
            found[attachment["url"]] = attachment
    ours = {url for url in found if url.startswith(signed.base + "/")}
    assert ours == {f"{signed.base}/Binary/a", f"{signed.base}/Binary/b", f"{signed.base}/Binary/b/_history/1"}
    assert found.keys() - ours == {"https://far.example/Binary/a", "urn:oid:1.2.3"}
    for url in ours:
        answer = signed.get(url, Accept="application/fhir+json")
        assert answer.status == 200 and base64.b64decode(answer.json["data"]).decode() == texts[url.split("/Binary/")[1][0]]
        assert signed.get(url).status == 200
        assert bare.get(url).status == 401
    # into S3: as they came, byte for byte but for the version
    folder, stored = s3_lines(server, store)
    for line in lines:
        resource = json.loads(line)
        out = stored[resource["resourceType"], resource["id"]]
        assert tokens(out) == tokens(line)
        if b"\\/" in line:
            assert b"Binary\\/b\\/_history/1" in out
    plain = json.loads((folder / "manifest.json").read_text())
    manifest = job.manifest()
    assert manifest["contentDigest"] == plain["contentDigest"] and manifest["contentPerType"] == plain["contentPerType"]
    assert "extension" not in plain
    urls = manifest["extension"]["attachmentUrls"]
    assert urls["base"] == signed.base and urls["resources"] == 4
    assert urls["contentPerType"].keys() == {"Patient", "DocumentReference", "Observation"}


@pytest.mark.parametrize("path", ["$export", "Patient/$export?organizeOutputBy=Patient&_maximumFileSize=900",
                                  "$export?_elements=DocumentReference.content", "$export?_typeFilter=DocumentReference%3F_id%3Dd3",
                                  "$export?_type=Observation"])
def test_verify_of_what_was_downloaded_tells_no_false_difference_and_every_true_one(server, tmp_path, path):
    given = [{"resourceType": "Patient", "id": "p", "photo": [{"url": "/Binary/a"}]}, binary("a", "x")]
    given += [document(f"d{i}", f"Binary/a{i}", f"https://far.example/{i}") for i in range(12)]
    given += [{"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "c"}, "subject": {"reference": "Patient/p"}}]
    store = import_lines(server, [json.dumps(r).encode() for r in given], "verified")
    manifest = download(export(server.fhir(store), path), tmp_path)
    against = ["--against", server.url, "--credentials", server.data / "credentials"]
    for options in ([], against, [*against, "--full"]):
        got = run("verify", tmp_path, *options)
        assert got.returncode == 0, got.stdout + got.stderr
    if "Observation" in path:
        assert "extension" not in manifest, "nothing was rewritten"
        return
    # another place, in a file whose size and digest are right
    file = next(f for f in tmp_path.rglob("*.ndjson") if b"/Binary/a3" in f.read_bytes())
    file.write_bytes(file.read_bytes().replace(b"/Binary/a3", b"/Binary/z3"))
    got = run("verify", tmp_path, "--quiet").stdout
    assert "the digest of the content is not the manifest's" in got and "the content of DocumentReference" in got
    if "_elements" not in path:  # of what is cut the store's text is not compared
        assert "DocumentReference/d3 was another version, or another text" in run("verify", tmp_path, *against, "--full").stdout
    # the address of another server in the manifest
    file.write_bytes(file.read_bytes().replace(b"/Binary/z3", b"/Binary/a3"))
    assert run("verify", tmp_path).returncode == 0
    manifest["extension"]["attachmentUrls"]["base"] = "http://other.example/r4"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    if "_elements" not in path:
        assert run("verify", tmp_path, *against, "--full").returncode == 1


def test_an_import_of_served_files_has_the_digest_that_their_manifest_names(server):
    store = import_lines(server, [json.dumps(r).encode() for r in (document("d", "Binary/x"), document("e"), binary("x", "x"))], "once")
    job = export(server.fhir(store))
    manifest = job.manifest()
    lines = [line for item in manifest["output"] for line in job.fhir.get(item["url"]).body.splitlines()]
    again = import_lines(server, lines, "again")
    folder, _ = s3_lines(server, again)
    digest = json.loads((folder / "manifest.json").read_text())["contentDigest"]
    assert digest == manifest["extension"]["attachmentUrls"]["contentDigest"] != manifest["contentDigest"]


def test_the_base_is_that_of_the_kick_off_whoever_asks_later(server):
    store = import_lines(server, [json.dumps(document("d", "Binary/x")).encode()], "hosts")
    fhir = server.fhir(store)
    for host in ("fhir_1.example", "fhir.example:8443", "[::1]:80", "localhost:1"):
        answer = kick(fhir, Host=host)
        assert answer.status == 202, answer.body
        assert answer.headers["Content-Location"].startswith(f"http://{host}/datastore/")
        answer.headers.replace_header("Content-Location", f"{fhir.base}/export/" + answer.headers["Content-Location"].split("/")[-1])
        got = Export(fhir, answer).resources()
        assert got["DocumentReference/d"]["content"][0]["attachment"]["url"] == f"http://{host}/datastore/{store}/r4/Binary/x"


@pytest.mark.parametrize("host", ['a"b', "a\\b", "a/b", "a b", "a:b", "a:0", "a:70000", "a:80:80", "u@a", "[::1", "[x]", "a,b", "<a>", "a#b",
                                  "a?b", "x" * 300, ":80"])
def test_a_host_that_is_none_stands_in_no_file(server, host):
    store = server.create_store()
    fhir = server.fhir(store)
    for body in (None, {"resourceType": "Parameters"}):
        answer = kick(fhir, "$export", body, Host=host)
        assert 400 <= answer.status < 500 and "Content-Location" not in answer.headers, (answer.status, answer.body)
    assert server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"] == []


def test_with_a_public_url_all_of_ours_come_below_it():
    with Server(None, "--public-url", "https://fhir.example/lake/") as server:
        store = server.create_store()
        base, inside = f"https://fhir.example/lake/datastore/{store}/r4", f"{server.url}/datastore/{store}/r4"
        expected = {"Binary/1": f"{base}/Binary/1", "/Binary/2": f"{base}/Binary/2", f"{inside}/Binary/3": f"{base}/Binary/3",
                    f"{base}/Binary/4": f"{base}/Binary/4", f"/lake/datastore/{store}/r4/Binary/5": f"{base}/Binary/5",
                    inside.replace("http://", "http://x.") + "/Binary/6": inside.replace("http://", "http://x.") + "/Binary/6",
                    f"{server.url}/datastore/{'0' * 32}/r4/Binary/7": f"{server.url}/datastore/{'0' * 32}/r4/Binary/7"}
        fhir = server.fhir(store)
        assert fhir.put("DocumentReference/d", document("d", *expected)).status == 201
        answer = kick(fhir)
        assert answer.status == 202 and answer.headers["Content-Location"].startswith(base), answer.body
        job = answer.headers["Content-Location"].split("/")[-1]
        server.wait_export(store, job)
        manifest = fhir.get(f"export/{job}").json
        name = manifest["output"][0]["url"].removeprefix(base)
        got = json.loads(fhir.get(f"{fhir.base}{name}").body)
        assert [a["url"] for a in attachments(got)] == list(expected.values())
        assert manifest["extension"]["attachmentUrls"]["otherBase"] == inside


@pytest.mark.skipif(not EXAMPLES.exists(), reason=NO_FHIR_DATA)
def test_every_attachment_of_the_official_examples_and_nothing_else(server):
    """Each with a relative url, whatever it had; what differs between both kinds of export is told by another program."""
    given, n = [], 0
    for line in read_ndjson(EXAMPLES):
        resource = json.loads(line)
        for attachment in attachments(resource):
            attachment["url"] = f"Binary/x{n}"
            n += 1
        given.append(json.dumps(resource).encode())
    store = import_lines(server, given, "examples", ValidationLevel="minimal")
    fhir = server.fhir(store)
    job = export(fhir)
    _, stored = s3_lines(server, store)
    served = {tuple(k.split("/")): r for k, r in job.resources().items()}
    assert served.keys() == stored.keys() and len(served) > 500 and n > 20
    moved = 0
    for key, line in stored.items():
        want = json.loads(line)
        for attachment in attachments(want):
            if attachment.get("url", "").startswith("Binary/x"):
                attachment["url"] = f"{fhir.base}/{attachment['url']}"
                moved += 1
        if key[0] != "Bundle":  # in entries from elsewhere they are relative to that place
            assert served[key] == want, key
    assert moved > 20
