"""The web console: its files and their headers, and a person's way through it in Chromium."""
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from fhirlake import ROOT, SANITIZED, Server, generate

pytestmark = pytest.mark.sanitize
SOURCES = ROOT / "src" / "console"
BROWSER = pathlib.Path(os.environ.get("FHIRLAKE_BROWSER", ROOT / ".deps" / "browser"))  # ./dev brings playwright-core and axe-core
MOST = 150_000  # bytes of all files together, as they are


def ask(server, path, method="GET", host=None, **headers):
    """One request, its path as it stands here: (response, body)."""
    at = urllib.parse.urlsplit(server.url).netloc
    connection = http.client.HTTPConnection(at, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", host or at)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def signed(url, key, secret):
    """A signed GET: (status, body)."""
    request = botocore.awsrequest.AWSRequest("GET", url)
    botocore.auth.SigV4Auth(botocore.credentials.Credentials(key, secret), "healthlake", "us-east-1").add_auth(request)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(request.headers))) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


def names():
    return sorted(p.name for p in SOURCES.iterdir() if p.suffix in (".html", ".css", ".js", ".svg"))


def test_each_file_is_served_as_it_is_without_a_signature_and_all_together_are_small(server):
    total = 0
    for name in names():
        answer, body = ask(server, f"/console/{name}")
        assert answer.status == 200 and body == (SOURCES / name).read_bytes(), name
        total += len(body)
    assert 10_000 < total <= MOST
    answer, body = ask(server, "/console/")
    assert body == (SOURCES / "index.html").read_bytes()
    assert f"console at {server.url}/console/" in server.ready_line


def test_a_page_may_run_its_own_files_and_nothing_else(server):
    for path in ["/console/", "/console/app.js", "/console/nothing", "/console/server.json"]:
        answer, _ = ask(server, path)
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'" and policy["trusted-types"] == "'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
    text = (SOURCES / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", text), "inline"
    code = "".join((SOURCES / name).read_text() for name in names() if name.endswith(".js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage|"
                         r"sessionStorage|document\.cookie|indexedDB", code)


def test_types_and_what_a_cache_may_do(server):
    for name, kind in [("", "text/html; charset=utf-8"), ("app.js", "text/javascript; charset=utf-8"),
                       ("console.css", "text/css; charset=utf-8"), ("icon.svg", "image/svg+xml")]:
        answer, body = ask(server, f"/console/{name}")
        tag = answer.headers["ETag"]
        assert answer.headers["Content-Type"] == kind and answer.headers["Cache-Control"] == "no-cache" and len(tag) > 20
        for had in [tag, f'"other", {tag}', tag.removeprefix("W/"), "*"]:
            again, nothing = ask(server, f"/console/{name}", If_None_Match=had)
            assert (again.status, nothing, again.headers["ETag"]) == (304, b"", tag), had
        assert ask(server, f"/console/{name}", If_None_Match='W/"other"')[0].status == 200
        head, nothing = ask(server, f"/console/{name}", "HEAD")
        assert (head.status, nothing, head.headers["Content-Length"]) == (200, b"", str(len(body)))
    assert ask(server, "/console/app.js", Accept_Encoding="gzip")[0].headers["Content-Encoding"] == "gzip"


def test_what_is_no_file_of_the_console_is_not_found(server):
    for path in ["/console/console.c", "/console/meson.build", "/console/App.js", "/console/app.js/", "/console/%61pp.js",
                 "/console/%2e%2e/credentials", "/console/..%2fcredentials", "/console/x/../app.js", "/console/../console/app.js",
                 "/consoleapp.js", "/console/app.js%00", "/console/\\..\\credentials"]:
        answer, body = ask(server, path)
        assert answer.status in (400, 404), path
        assert b"aws_" not in body and b"import" not in body
    answer, _ = ask(server, "/console")
    assert (answer.status, answer.headers["Location"]) == (308, "/console/")
    for method in ["PUT", "DELETE", "POST", "OPTIONS"]:
        answer, _ = ask(server, "/console/app.js", method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD"), method


def test_a_browser_at_the_front_door_is_sent_to_the_console_and_a_client_is_not(server):
    answer, _ = ask(server, "/", Accept="text/html,application/xhtml+xml")
    assert (answer.status, answer.headers["Location"]) == (302, "/console/")
    assert ask(server, "/")[0].status == ask(server, "/", Accept="application/json")[0].status == 404


def test_what_a_page_must_know_to_sign_is_told_and_no_more(server):
    answer, body = ask(server, "/console/server.json")
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Content-Type"] == "application/json"
    told = json.loads(body)
    assert told.pop("version") and told == {"region": "us-east-1", "accountId": "000000000000", "auth": "sigv4"}


def test_the_numbers_of_all_callers_are_for_who_may_do_everything(tmp_path):
    private(tmp_path / "all.json", json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "healthlake:*", "Resource": "*"}]}))
    keys = private(tmp_path / "callers", "[admin]\naws_access_key_id = AKIAADMIN\naws_secret_access_key = secret-a\n"
                                         "[limited]\naws_access_key_id = AKIALIMITED\naws_secret_access_key = secret-b\npolicy = all.json\n")
    with Server(tmp_path / "data", "--credentials", str(keys)) as server:
        url = f"{server.url}/console/metrics"
        server.client("AKIAADMIN", "secret-a").list_fhir_datastores()
        answer, body = signed(url, "AKIAADMIN", "secret-a")
        assert answer == 200 and b'fhirlake_requests_total{operation="ListFHIRDatastores",outcome="success"} 1\n' in body
        for who, status, name in [(("AKIALIMITED", "secret-b"), 403, b"without a policy"), (("AKIAADMIN", "wrong"), 403, b"signature"),
                                  (("AKIANOBODY", "secret-a"), 403, b"token")]:
            answer, body = signed(url, *who)
            assert answer == status and name in body and b"fhirlake_" not in body, body
        answer, body = ask(server, "/console/metrics")
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")
        assert answer.headers["Cache-Control"] == "no-store" and b"fhirlake_" not in body
        assert ask(server, "/console/metrics", "POST")[0].status == 405
    with Server(None, "--auth", "none") as server:
        assert ask(server, "/console/metrics")[0].status == 200
        # a page of elsewhere whose name leads here, or that asks across
        for headers in [{"Sec_Fetch_Site": "cross-site"}, {"Origin": "http://evil.example"}]:
            answer, body = ask(server, "/console/metrics", **headers)
            assert answer.status == 403 and b"fhirlake_" not in body
        answer, body = ask(server, "/console/metrics", host="evil.example")
        assert answer.status == 421 and b"fhirlake_" not in body


def test_it_can_be_turned_off_and_without_signatures_any_link_leads_to_it():
    with Server(None, "--console", "no") as server:
        assert "console" not in server.ready_line
        for path in ["/console/", "/console", "/console/app.js", "/console/server.json", "/console/metrics", "/"]:
            answer, _ = ask(server, path, Accept="text/html")
            assert answer.status == 404 and answer.headers["x-amzn-errortype"] == "UnknownOperationException"
            assert answer.headers["Content-Security-Policy"] is None
    with Server(None, "--auth", "none") as server:
        for site in ["cross-site", "none", "same-origin"]:
            assert ask(server, "/console/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")[0].status == 200
        assert json.loads(ask(server, "/console/server.json")[1])["auth"] == "none"
        # the page is given; what it asks for is still refused to another origin
        assert ask(server, "/datastore/x/r4/Patient", Sec_Fetch_Site="cross-site")[0].status == 403


# ---- in a browser ----

def lacks():
    """Why no browser can be driven here, or None."""
    if SANITIZED:
        return "the browser looks at the plain build"
    node = shutil.which("node")
    if node is None or int(subprocess.run([node, "--version"], capture_output=True, text=True).stdout[1:].split(".")[0]) < 20:
        return "no node 20 or later here"
    if not (BROWSER / "node_modules" / "playwright-core").is_dir():
        return "no playwright-core: ./dev test fetches it with npm into .deps/browser"
    if chromium() is None:
        return "no Chromium: ./dev test installs it where apt has it"
    return None


def chromium():
    return shutil.which("chromium") or shutil.which("google-chrome")


PLACE = "s3://output/con'sole;$(echo ran)`echo ran`"
EVIL = "<img src=x onerror='globalThis.ran=1'><script>globalThis.ran=1</script><b>Marker</b>"


MARKED = {"resourceType": "Patient", "id": "marked", "name": [{"family": "Marker", "given": [EVIL]}], "birthDate": "1970-01-01",
          "gender": "female", "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\"><b>bold</b></div>"}}


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """One way through the console, and what was seen on it."""
    why = lacks()
    if why:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("console")
    with Server(folder / "data") as server, Server(None, "--auth", "none") as everybody:
        client = server.client()
        other = server.create_store(client, DatastoreName="other")
        arn = client.describe_fhir_datastore(DatastoreId=other)["DatastoreProperties"]["DatastoreArn"]
        policy = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "healthlake:DescribeFHIRDatastore", "Resource": arn}]}
        private(server.data / "limited.json", json.dumps(policy))
        with open(server.data / "credentials", "a") as file:
            file.write("\n[limited]\naws_access_key_id = AKIALIMITED\naws_secret_access_key = secret-of-limited\npolicy = limited.json\n")
        server.stop()
        server.start()
        key, secret = server.keys()
        generate(folder / "patients", patients=60)
        for path in (folder / "patients").glob("*.ndjson"):
            server.put_object(f"s3://input/clinic/{path.name}", path.read_bytes())
        server.put_object("s3://input/clinic/z.ndjson", json.dumps(MARKED) + "\n")
        server.put_object("s3://input/clinic/zz.ndjson", '{"resourceType":"Observation","id":"seen","status":"final","code":{"text":'
                          '"weight"},"subject":{"reference":"Patient/marked"},"effectiveDateTime":"2020-02-02",'
                          '"valueQuantity":{"value":1.50,"unit":"kg"}}\n')
        order = {"browser": chromium(), "place": PLACE, "url": server.url, "open": everybody.url, "key": key, "secret": secret, "shots": os.environ.get("FHIRLAKE_SHOTS"),
                 "limited": {"key": "AKIALIMITED", "secret": "secret-of-limited", "store": other}}
        done = subprocess.run(["node", str(ROOT / "tests" / "e2e" / "console_walk.mjs"), str(BROWSER), json.dumps(order)],
                              capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])


def test_a_person_comes_from_signing_in_to_an_export_that_is_whole(walk):
    assert walk["at"].endswith("/console/") and walk["errors"] == []
    assert re.match(r"Whole: \d+ files have the bytes, lines and SHA-256", walk["verdict"])
    assert len(walk["damaged"]) == 1 and re.match(r"Patient/\S+ has another SHA-256", walk["damaged"][0])
    assert "Observation" in walk["bars"] and walk["bars"][-1] != "Observation"
    assert walk["saved"] == 61
    # as a shell takes it that it is pasted into
    words = subprocess.run(["sh", "-c", "printf '%s\n' " + walk["command"]], capture_output=True, text=True, check=True).stdout.split("\n")
    assert words[:2] == ["fhirlake", "verify"] and words[3] == "--against"
    assert words[2].startswith(PLACE + "/") and re.fullmatch(r"\w+-FHIR_EXPORT-\w+/?", words[2][len(PLACE) + 1:])


def test_resources_are_searched_page_by_page_and_shown_as_they_are(walk):
    assert walk["rows"] == [50, 11]
    assert "nonsense" in walk["notice"]
    assert walk["decimal"] == 1, "1.50 became another number"
    assert '"gender": "other"' in walk["json"]
    assert any('"female"' in line for line in walk["gone"]) and any('"other"' in line for line in walk["come"])
    assert any("weight - 1.5 kg" in line for line in walk["timeline"])


def test_nothing_of_a_resource_is_run_or_becomes_part_of_the_page(walk):
    assert EVIL in walk["json"].replace('\\"', '"')
    assert walk["run"] == {"ran": True, "made": 0, "kept": 0}
    assert walk["html"] == "TypeError", "the page's policy lets HTML in"


def test_the_secret_key_leaves_the_tab_never_and_nobody_else_is_asked(walk):
    assert walk["asked"] > 50 and walk["leaks"] == []


def test_who_lacks_a_right_is_told_which_and_who_can_give_it(walk):
    assert "healthlake:ListFHIRDatastores" in walk["lack"] and "limited" in walk["lack"] and '"Effect": "Allow"' in walk["lack"]


def test_who_cannot_sign_in_here_is_told_where_he_can(walk):
    assert "came over plain http from elsewhere.test" in walk["unsafe"] and "ssh -L " in walk["unsafe"]
    assert "--tls self-signed" in walk["unsafe"]
    assert "has no page /store/%E0" in walk["lost"] and "has a slip in it" in walk["lost"]
    assert walk["open"] == "everybody (--auth none)"


def test_nobody_is_kept_out_by_how_it_looks(walk):
    assert [one for one in walk["axe"] if one["impact"] in ("serious", "critical")] == []
    assert walk["axe"] == []
    assert set(walk["wide"]) == {375}, "a page is wider than a phone"


PLANTER = ROOT / "build" / "bench" / "bench_jobs"


@pytest.mark.files
@pytest.mark.skipif(lacks() is not None or not PLANTER.exists(), reason=lacks() or "no build/bench/bench_jobs: ./dev build makes it")
def test_a_list_of_many_jobs_has_a_page_at_a_time_and_a_filter_finds_what_is_far_back(tmp_path):
    """More jobs than the server looks at for one answer (LIMIT_LIST_SEEN). `./dev bench console` has 100,000."""
    with Server(tmp_path / "data") as server:
        store = server.create_store()
        server.stop()
        subprocess.run([PLANTER, server.data, store, "10500"], check=True)
        server.start()
        key, secret = server.keys()
        page = server.client().list_fhir_export_jobs(DatastoreId=store, MaxResults=100, JobName="needle")
        assert page["ExportJobPropertiesList"] == [] and page["NextToken"], "one answer has all of it, and proves nothing"
        order = {"browser": chromium(), "url": server.url, "key": key, "secret": secret, "store": store, "runs": 1, "pages": 3, "patience_s": 300}
        done = subprocess.run(["node", str(ROOT / "bench" / "console_jobs.mjs"), str(BROWSER), json.dumps(order)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        told = json.loads(done.stdout.splitlines()[-1])
        assert len(told["next"]) == 3 and max(told["nodes"]) < 1500
