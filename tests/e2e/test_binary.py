"""Binary: content in its own type, both ways; never a page that runs in our origin."""
import base64
import gzip
import json
import os

import pytest


pytestmark = pytest.mark.sanitize
PDF = b"%PDF-1.4\n\x00\xff\xfe content \r\n"
FHIR = "application/fhir+json;charset=utf-8"


@pytest.fixture
def fhir(server):
    return server.fhir(server.create_store())


def binary(id=None, type="application/pdf", content=PDF, **more):
    return {"resourceType": "Binary", **({"id": id} if id else {}), **({"contentType": type} if type else {}),
            **({"data": base64.b64encode(content).decode()} if content else {}), **more}


def is_content(got, type="application/pdf", content=PDF):
    assert got.status == 200 and got.headers["Content-Type"] == type and got.body == content, (got.status, got.body[:200])
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Security-Policy"].startswith("sandbox") and got.headers["Content-Disposition"] == "attachment"
    return True


# ---- reading ----

@pytest.mark.parametrize("accept, kind", [
    ("", "fhir"), ("application/fhir+json", "fhir"), ("application/json", "fhir"), ("text/json", "fhir"),
    ("application/fhir+json;fhirVersion=4.0", "fhir"), ("application/pdf", "content"), ("APPLICATION/PDF", "content"),
    ("application/pdf;version=1", "content"), ("*/*", "content"), ("application/*", "content"),
    ("application/pdf, application/fhir+json;q=0.5", "content"), ("application/pdf;q=0.5, application/fhir+json", "fhir"),
    ("application/fhir+json, */*;q=0.1", "fhir"), ("application/fhir+xml, */*", "content"), ("image/png, */*;q=0.1", "content"),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "content"), ("application/pdf, */*", "content"),
    ("application/fhir+json, application/pdf", "fhir"), ("application/pdf;q=0, */*", "fhir"),
    ("image/png", 406), ("text/*", 406), ("application/fhir+xml", 406), ("application/pdf;q=0", 406),
    ("application/fhir+json;fhirVersion=5.0", 406), ("application/pdfx", 406), ("pdf", 406), ("*", 406)])
def test_accept_says_which_of_the_two(fhir, accept, kind):
    fhir.put("Binary/b", binary("b"))
    fhir.put("Binary/b", binary("b"))
    for path, version in (("Binary/b", 2), ("Binary/b/_history/1", 1)):
        got = fhir.get(path, Accept=accept)
        if kind == 406:
            assert got.status == 406 and got.json["resourceType"] == "OperationOutcome" and got.headers["Content-Type"] == FHIR
            continue
        assert got.headers["ETag"] == f'W/"{version}"' and got.headers["Last-Modified"]
        assert "Accept" in [v.strip() for h in got.headers.get_all("Vary") for v in h.split(",")]
        if kind == "content":
            is_content(got)
        else:
            assert got.status == 200 and got.headers["Content-Type"] == FHIR and got.json["data"] and got.json["id"] == "b"
            assert got.headers["Content-Disposition"] is None
        head = fhir.call("HEAD", path, Accept=accept)
        assert (head.status, head.body, head.headers["Content-Type"]) == (200, b"", got.headers["Content-Type"])
        assert head.headers["Content-Length"] == str(len(got.body))


def test_who_says_nothing_gets_the_resource(fhir):
    fhir.put("Binary/b", binary("b"))
    got = fhir.get("Binary/b")
    assert got.json["resourceType"] == "Binary" and got.headers["Content-Type"] == FHIR
    assert fhir.get("Binary/b?_format=json", Accept="application/pdf").json["id"] == "b"
    assert fhir.get("Binary/b?_format=application/fhir%2Bjson", Accept="*/*").json["id"] == "b"
    assert is_content(fhir.get("Binary/b?_format=application/pdf"))
    assert fhir.get("Binary/b?_format=xml", Accept="*/*").status == 406
    assert fhir.get("Binary/b?_pretty=true&_summary=", Accept="*/*").body == PDF


def test_only_the_read_of_a_binary_is_content(fhir):
    fhir.put("Binary/b", binary("b"))
    fhir.put("Patient/p", {"resourceType": "Patient", "id": "p"})
    assert fhir.get("Patient/p", Accept="application/pdf").status == 406
    for path in ("Binary", "Binary/b/_history", "Binary?_id=b"):
        assert fhir.get(path, Accept="application/pdf").status == 406
        assert fhir.get(path, Accept="*/*").json["entry"][0]["resource"]["resourceType"] == "Binary"
    entry = {"request": {"method": "GET", "url": "Binary/b"}}
    got = fhir.post("", {"resourceType": "Bundle", "type": "batch", "entry": [entry]}, Accept="*/*")
    assert got.json["entry"][0]["resource"]["data"]
    assert fhir.get("Binary/none", Accept="application/pdf").status == 404
    assert fhir.get("Binary/b", Accept="application/pdf", If_None_Match='W/"1"').status == 304
    fhir.delete("Binary/b")
    assert fhir.get("Binary/b", Accept="*/*").status == 410 and is_content(fhir.get("Binary/b/_history/1", Accept="*/*"))


@pytest.mark.parametrize("type, content, as_type", [
    ("text/html", b"<script>alert(1)</script>", "text/html"), ("image/svg+xml", b"<svg onload='x()'/>", "image/svg+xml"),
    ("text/plain; charset=iso-8859-1", "ä".encode("latin-1"), "text/plain; charset=iso-8859-1"),
    ("application/octet-stream", bytes(range(256)) * 50, "application/octet-stream"), ("text/plain", b"", "text/plain"),
    ("application/json", b'{"a":1.50}', "application/json"), ("application/xml", b"<a/>", "application/xml")])
def test_content_is_the_same_byte_for_byte(fhir, type, content, as_type):
    assert fhir.put("Binary/b", binary("b", type, content)).status == 201
    for accept in ("*/*", type.split(";")[0]):
        assert is_content(fhir.get("Binary/b", Accept=accept), as_type, content)
    packed = fhir.get("Binary/b", Accept="*/*", Accept_Encoding="gzip")
    assert (gzip.decompress(packed.body) if packed.headers["Content-Encoding"] else packed.body) == content


@pytest.mark.parametrize("type", [None, "nonsense", "a/b\r\nX-Evil: 1", "a/b\nSet-Cookie: x", "text/plain\x00", "text/\u00e4",
                                  "x" * 300 + "/y", "", "a/b\x7f", "a b/c", "/", "a/", "/b", "a/b/c",
                                  "a/<b>"])
def test_a_type_that_is_none_is_any(fhir, type):
    """Stored where validation was left out: no header must be made of it."""
    body = json.dumps(binary("b", type))
    made = fhir.put("Binary/b", body, x_amzn_healthlake_fhir_validation_level="minimal")
    assert made.status == 201, made.body
    got = fhir.get("Binary/b", Accept="*/*")
    assert is_content(got, "application/octet-stream") and got.headers["X-Evil"] is None and got.headers["Set-Cookie"] is None


def test_data_that_is_no_base64_is_told(fhir):
    for data in ("%%%%", "abc", "YQ=", "====", "=a=="):
        fhir.put("Binary/b", json.dumps({**binary("b", content=b""), "data": data}),
                 x_amzn_healthlake_fhir_validation_level="minimal")
        got = fhir.get("Binary/b", Accept="*/*")
        assert got.status == 422 and "base64" in got.text and got.headers["Content-Type"] == FHIR, (data, got.body)
        assert fhir.get("Binary/b").status == 200
    fhir.put("Binary/b", json.dumps({**binary("b", content=b""), "data": "SGVs\r\n bG8="}),
             x_amzn_healthlake_fhir_validation_level="minimal")
    assert fhir.get("Binary/b", Accept="*/*").body == b"Hello"


# ---- writing ----

@pytest.mark.parametrize("type, content", [
    ("application/pdf", PDF), ("text/plain", b"\xef\xbb\xbfwith a mark"), ("text/plain; charset=latin1", b"\xe4"),
    ("application/octet-stream", bytes(range(256))), ("text/html", b"<p>x</p>"), ("image/png", b""), ("application/xml", b"<ClinicalDocument/>"),
    ("application/json", b'{"a": [1.50, null]}'), ("application/json", b"[1, 2]"), ("application/fhir+json", b'{"resourceType": "Patient"}'),
    ("multipart/related; boundary=x", b"--x\r\n\r\n--x--"), ("application/json-patch+json", b"[]"), ("application/dicom", b"\0" * 200)])
def test_content_is_taken_as_it_is(fhir, type, content):
    made = fhir.call("POST", "Binary", content, type)
    assert made.status == 201 and made.headers["Content-Type"] == FHIR, made.body
    got = made.json
    assert got["resourceType"] == "Binary" and got["contentType"] == type and base64.b64decode(got.get("data", "")) == content
    assert made.headers["Location"] == f"{fhir.base}/Binary/{got['id']}/_history/1"
    assert is_content(fhir.get(f"Binary/{got['id']}", Accept="*/*"), type, content)
    put = fhir.call("PUT", "Binary/mine", content, type)
    assert put.status == 201 and put.json["id"] == "mine"
    changed = fhir.call("PUT", "Binary/mine", b"other", "text/plain", If_Match='W/"1"')
    assert changed.status == 200 and fhir.get("Binary/mine", Accept="*/*").body == b"other"
    assert fhir.call("PUT", "Binary/mine", b"late", "text/plain", If_Match='W/"1"').status == 412
    assert is_content(fhir.get("Binary/mine/_history/1", Accept="*/*"), type, content)


@pytest.mark.parametrize("type", ["application/fhir+json", "application/json", "text/json", None, "application/x-www-form-urlencoded"])
def test_a_binary_in_json_is_the_resource(fhir, type):
    for body in (json.dumps(binary("b")).encode(), b"\xef\xbb\xbf" + json.dumps(binary("b")).encode()):
        assert fhir.call("PUT", "Binary/b", body, type).status in (200, 201)
        assert is_content(fhir.get("Binary/b", Accept="*/*"))
    assert fhir.call("POST", "Binary", binary(), type).status == 201
    # broken, or of another id, it is no content either
    for body in (b'{"resourceType":"Binary","contentType"', json.dumps(binary("other")).encode(), json.dumps(binary("b", nothing=1)).encode()):
        assert fhir.call("PUT", "Binary/b", body, type).status == 400, body
    assert fhir.call("POST", "Binary", b"{}", "application/fhir+json;charset=utf-16").status == 415


def test_what_it_holds_must_be_named(fhir):
    assert fhir.call("POST", "Binary", PDF, None).status in (400, 415)
    assert fhir.call("POST", "Binary", b"a=b", "application/x-www-form-urlencoded").status == 415
    for type in ("application/fhir+xml", "application/fhir+xml; charset=utf-8"):
        assert fhir.call("POST", "Binary", b"<Binary/>", type).status == 415
    for type in ("pdf", "a" * 300 + "/b", "text /plain x/", "a/", "/b", "a/b, c/d", "a/b/c"):
        got = fhir.call("POST", "Binary", PDF, type)
        assert got.status == 400, (type, got.body)
    assert fhir.call("POST", "Binary", gzip.compress(PDF), "application/pdf", Content_Encoding="gzip").status == 415
    assert fhir.call("PATCH", "Binary/x", PDF, "application/pdf").status == 415
    assert fhir.call("POST", "Patient", PDF, "application/pdf").status == 415
    assert fhir.get("Binary?_summary=count").json["total"] == 0


def test_the_security_context_goes_along(fhir):
    made = fhir.call("PUT", "Binary/b", PDF, "application/pdf", X_Security_Context="Patient/p")
    assert made.status == 201 and made.json["securityContext"] == {"reference": "Patient/p"}
    got = fhir.get("Binary/b", Accept="*/*")
    assert is_content(got) and got.headers["X-Security-Context"] == "Patient/p"
    assert fhir.get("Binary/b").headers["X-Security-Context"] is None, "the resource says it itself"
    for context in ("", " ", "x" * 600):
        assert fhir.call("PUT", "Binary/b", PDF, "application/pdf", X_Security_Context=context).status == 400
    assert fhir.call("PUT", "Binary/b", PDF, "application/pdf", X_Security_Context="Nothing/p").status == 400
    fhir.put("Binary/e", json.dumps(binary("e", securityContext={"reference": "Patient/p\r\nX-Evil: 1"})),
             x_amzn_healthlake_fhir_validation_level="minimal")
    got = fhir.get("Binary/e", Accept="*/*")
    assert is_content(got) and got.headers["X-Evil"] is None and got.headers["X-Security-Context"] is None


def test_conditional_forms_take_content(fhir):
    first = fhir.call("POST", "Binary", PDF, "application/pdf", If_None_Exist="_tag=x")
    assert first.status == 201
    id = first.json["id"]
    again = fhir.call("POST", "Binary", b"other", "text/plain", If_None_Exist=f"_id={id}")
    assert again.status == 200 and again.json["id"] == id and fhir.get(f"Binary/{id}", Accept="*/*").body == PDF
    assert fhir.call("PUT", f"Binary?_id={id}", b"other", "text/plain").status == 200
    assert is_content(fhir.get(f"Binary/{id}", Accept="text/plain"), "text/plain", b"other")
    assert fhir.call("POST", "Binary", PDF, "application/pdf", Prefer="return=minimal").body == b""


def test_five_mebibytes_of_content(fhir):
    content = os.urandom(5 << 20)
    made = fhir.call("PUT", "Binary/b", content, "application/octet-stream", Prefer="return=minimal")
    assert made.status == 201, made.body[:300]
    assert fhir.get("Binary/b", Accept="*/*").body == content
    assert base64.b64decode(fhir.get("Binary/b").json["data"]) == content
    assert fhir.patch("Binary/b", [{"op": "replace", "path": "/contentType", "value": "a/b"}]).status == 413
    assert fhir.call("PUT", "Binary/b", b"small", "text/plain").status == 200


def test_content_that_was_written_is_exported_as_resources(server, fhir):
    fhir.call("PUT", "Binary/b", PDF, "application/pdf")
    store = fhir.base.split("/")[-2]
    job = server.export_all(store, "s3://out/binary")
    folder = server.folder(f"s3://out/binary/{store}-FHIR_EXPORT-{job['JobId']}")
    lines = [json.loads(line) for p in folder.rglob("Binary*.ndjson") for line in p.read_text().splitlines()]
    assert [(r["contentType"], base64.b64decode(r["data"])) for r in lines] == [("application/pdf", PDF)]
