"""The table "What an access token is answered" of docs/security.md, for every operation of both planes."""
import json
import re
import time
import urllib.error
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from fhirlake import ROOT, Server, wait
from identity import ROLE, Idp, Key, b64, claims, smart_store
from test_permissions import CALLS
from test_policies import allow, arn, control_calls, deny, rest_status

pytestmark = [pytest.mark.sanitize, pytest.mark.once]
OPEN = {"GET metadata", "GET .well-known/smart-configuration"}
GROUP = {"resourceType": "Group", "id": "g", "type": "person", "actual": True}
TAG = [{"Key": "team", "Value": "b"}]
ALL = allow("*")
POLICIES = {  # roles beside that which may do everything, each with an issuer of its own
    "nothing": [allow("s3:*")], "denied": [ALL, deny("healthlake:*")],
    "tag": [ALL, deny("*", StringEquals={"aws:ResourceTag/team": "b"})],
}
WRITES = {"POST Patient", "PUT Patient/p", "PATCH Patient/nobody", "DELETE Patient/nobody", "POST Patient/$validate",
          "PUT Patient?identifier=none", "PATCH Patient?identifier=none", "DELETE Patient?identifier=none",
          "POST Patient/p/$validate"}
ENTRIES = ["GET Patient/p", "GET Patient/p/_history/1", "GET Patient?name=x", "POST Patient", "PUT Patient/p", "DELETE Patient/nobody",
           "GET Patient/p/$everything"]


class Tokens(Server):
    def __init__(self, idp, folder):
        self.idp = idp
        more = ""
        for name, statements in POLICIES.items():
            more += (f"[issuer {idp.url}/{name}]\njwks_uri = {idp.url}/jwks\nrole = {ROLE}-{name}\n"
                     f"[role {ROLE}-{name}]\npolicy = {name}.json\n")
        file = idp.file(folder, more=more)
        for name, statements in POLICIES.items():
            (folder / f"{name}.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
            (folder / f"{name}.json").chmod(0o600)
        super().__init__(None, "--identity-providers", str(file), "--roles", "none", "--max-served-exports", "1000",
                         "--max-served-exports-caller", "1000")

    def begin(self):
        self.stores = {"": smart_store(self, self.idp.url)}
        for name in POLICIES:
            self.stores[name] = smart_store(self, f"{self.idp.url}/{name}")
            self.client().tag_resource(ResourceARN=arn(self.stores[name]), Tags=TAG)
        self.stores["aws"] = self.create_store()
        for store in self.stores.values():
            for resource in ({"resourceType": "Patient", "id": "p"}, GROUP):
                assert self.fhir(store).put(f"{resource['resourceType']}/{resource['id']}", resource).status == 201
        # an export of the client that is allowed
        asked = self.fhir(self.stores[""], signed=False).get("$export", Prefer="respond-async",
                                                             Authorization=f"Bearer {self.token()}")
        assert asked.status == 202
        self.job = asked.headers["Content-Location"].split("/export/")[1]
        wait(lambda: self.fhir(self.stores[""], signed=False).get(
            f"export/{self.job}", Authorization=f"Bearer {self.token()}").status, {200})

    def token(self, store="", key=None, **more):
        issuer = f"{self.idp.url}/{store}" if store in POLICIES else self.idp.url
        said = claims(self, self.stores[store], iss=issuer) | more
        return (key or self.idp.keys[1]).token({k: v for k, v in said.items() if v is not None})


def spoilt(token):
    """With another signature of the same form."""
    head, _, signature = token.rpartition(".")
    return head + "." + ("B" if signature[0] == "A" else "A") + signature[1:]


def unsigned(token):
    return b64(json.dumps({"alg": "none", "typ": "JWT"}).encode()) + "." + token.split(".")[1] + "."


NOW = int(time.time())
OTHER_CLIENT = {"client_id": "another", "sub": "another"}
ROWS = {  # who -> (store, token)
    "sends neither a token nor a signature": ("", lambda s: None),
    "sends a token with a wrong signature": ("", lambda s: spoilt(s.token())),
    "sends a token without a signature (`alg` none)": ("", lambda s: unsigned(s.token())),
    "sends a token that has expired": ("", lambda s: s.token(exp=NOW - 3600, nbf=NOW - 7200, iat=NOW - 7200)),
    "sends a token that does not hold yet": ("", lambda s: s.token(nbf=NOW + 86400, exp=NOW + 90000)),
    "sends a token for another audience": ("", lambda s: s.token(aud="https://other.example/r4")),
    "sends a token for another data store": ("", lambda s: s.token("tag", iss=s.idp.url)),
    "sends a token of a key that the issuer has not": ("", lambda s: s.token(key=Key("ES384", "two"))),
    "sends a token of an issuer that is not known": ("", lambda s: s.token(iss="https://who.example")),
    "sends a token of an issuer that is another data store's": ("", lambda s: s.token(iss=f"{s.idp.url}/tag")),
    "sends a good token to a data store that takes none": ("aws", lambda s: s.token("aws")),
    "sends a good token beside a signature": ("", lambda s: s.token()),
    "has no scope of resources": ("", lambda s: s.token(scope="openid fhirUser launch/patient")),
    "has no `scope` at all": ("", lambda s: s.token(scope=None)),
    "has a role whose policy allows nothing here": ("nothing", lambda s: s.token("nothing")),
    "has a role whose policy denies it": ("denied", lambda s: s.token("denied")),
    "has a role whose policy denies by a tag": ("tag", lambda s: s.token("tag")),
    "has scopes that read alone (`system/*.rs`)": ("", lambda s: s.token(scope="system/*.rs")),
    "has scopes of one patient (`patient/*.cruds`)": ("", lambda s: s.token(scope="patient/*.cruds", patient="p", **OTHER_CLIENT)),
    "has scopes of another patient": ("", lambda s: s.token(scope="patient/*.cruds", patient="q", **OTHER_CLIENT)),
    "has scopes of a patient, and none is named": ("", lambda s: s.token(scope="patient/*.cruds", **OTHER_CLIENT)),
    "is another client than the one that began the export": ("", lambda s: s.token(**OTHER_CLIENT)),
    "is allowed": ("", lambda s: s.token()),
}


def documented():
    text = (ROOT / "docs" / "security.md").read_text()
    table = text.split("| A client who | Control plane | Data plane |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().split("\n")[1:]]
    return {row[0]: (row[1], row[2]) for row in rows}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    idp = Idp()
    with Tokens(idp, tmp_path_factory.mktemp("tokens") / "idp") as s:
        s.begin()
        yield s
    idp.close()


def kind_of(name):
    """The words by which the table's exceptions name a request."""
    if "$erase" in name or "$purge" in name or "$bulk-delete" in name:
        return "erasures"
    if "$export" in name:
        return "`$export` of a Group" if "Group" in name else "`$export`"
    if "export/" in name:
        return "status, files and cancellation"
    return "writes and `$validate`" if name in WRITES else "Bundles" if name == "POST " else ""


def calls_of(server):
    """Those of the permissions' table, and those of an export that is there."""
    job = server.job
    for call in CALLS:
        yield call
    yield ("DescribeFHIRExportJobWithGet", "GET", f"export/{job}", None, {})
    yield ("GetExportedFile", "GET", f"export/{job}/files/Patient-1.ndjson", None, {})


def test_the_table_has_a_row_for_each_client_here_and_no_other():
    assert set(documented()) == set(ROWS)


@pytest.mark.parametrize("row", list(ROWS))
def test_every_operation_answers_a_token_as_the_table_says(server, row):
    store, make = ROWS[row]
    token = make(server)
    control, data = documented()[row]
    usual, *exceptions = [part.strip() for part in data.split(";")]
    special = {}
    for answer, words in (re.fullmatch(r"(.+?) to (.*)", x).groups() for x in exceptions):
        special[words] = answer
    beside = row == "sends a good token beside a signature"
    fhir = server.fhir(server.stores[store], signed=False)
    wrong = {}
    for call in calls_of(server):
        name = f"{call[1]} {call[2]}"
        headers = {"Prefer": "respond-async"} if "$export" in name else {}
        if beside:
            # two Authorization headers would be refused before: a presigned query in place of the header
            url = server.fhir(server.stores[store]).base + ("/" + call[2] if call[2] else "")
            request = botocore.awsrequest.AWSRequest(call[1], url)
            botocore.auth.SigV4QueryAuth(botocore.credentials.Credentials(*server.keys()), "healthlake", "us-east-1", 60).add_auth(request)
            call = (call[0], call[1], request.url, *call[3:])
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = rest_status(fhir, (*call[:4], headers))
        want = special.get(kind_of(name), special.get("`$export`", usual) if "$export" in name else usual)
        if name in OPEN and store != "aws":
            want = "its own answer"
        if name.startswith("HEAD"):
            want = want.split()[0] if want != "its own answer" else want
            got = str(answer.status)
        else:
            refused = answer.status in (401, 403) or (answer.status == 400 and answer.json["issue"][0]["code"] == "security")
            got = f"{answer.status} {answer.json['issue'][0]['code']}" if refused else str(answer.status)
        if want == "its own answer":
            fine = answer.status not in (401, 403) and "security" not in got
        elif want == "404 of it":
            fine = answer.status == 404
        else:
            fine = got == want.strip()
        if answer.status in (401, 403):
            fine = fine and answer.headers["WWW-Authenticate"].startswith("Bearer")
        if not fine:
            wrong[name] = (got, want)
    assert wrong == {}
    if not beside:
        check_bundle(fhir, token, special.get("Bundles", usual))


def check_bundle(fhir, token, wanted):
    """When a batch is let in, each of its entries is answered as the request that comes alone."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    requests = [name.split(" ") for name in ENTRIES]
    bodies = [{"resourceType": "Patient", "id": "p"} if m == "PUT" else {"resourceType": "Patient"} if m == "POST" else None
              for m, _ in requests]
    batch = {"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": method, "url": path}} | ({"resource": body} if body else {})
        for (method, path), body in zip(requests, bodies)]}
    answer = fhir.post("", batch, **headers)
    if wanted != "its own answer":
        assert answer.status == int(wanted.split()[0])
        return
    assert answer.status == 200
    got = [entry["response"]["status"][:3] for entry in answer.json["entry"]]
    alone = [str(fhir.call(method, path, body, **headers).status) for (method, path), body in zip(requests, bodies)]
    assert dict(zip(ENTRIES, got)) == dict(zip(ENTRIES, alone))


@pytest.mark.parametrize("row", list(ROWS))
def test_no_operation_of_the_control_plane_takes_a_token(server, row):
    store, make = ROWS[row]
    token = make(server)
    for operation in control_calls(None, ""):
        url = server.url + "/"
        if row == "sends a good token beside a signature":
            presigned = botocore.awsrequest.AWSRequest("POST", url, data=b"{}")
            botocore.auth.SigV4QueryAuth(botocore.credentials.Credentials(*server.keys()), "healthlake", "us-east-1", 60).add_auth(presigned)
            url = presigned.url
        request = urllib.request.Request(url, b"{}", {
            "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"HealthLake.{operation}",
            **({"Authorization": f"Bearer {token}"} if token else {})})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        said = f"{refused.value.code} {json.loads(refused.value.read())['__type']}"
        assert said == documented()[row][0], operation
