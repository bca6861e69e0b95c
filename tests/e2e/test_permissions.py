"""The table "What a caller is answered" of docs/security.md, for every operation of both planes."""
import contextlib
import re
import unittest.mock
from datetime import datetime, timedelta, timezone

import boto3
import botocore
import botocore.auth
import botocore.config
import pytest

from fhirlake import ROOT, Fhir, patient
from test_policies import REST_CALLS, Callers, allow, control_calls, deny, rest_status, said

pytestmark = [pytest.mark.sanitize, pytest.mark.once]
TAG = [{"Key": "team", "Value": "b"}]
LOOPBACK = ["127.0.0.0/8", "::1"]
ALL = allow("*")

# the rows of interactions.c that test_policies has no call for: they need a second right
MORE_CALLS = [
    ("UpdateResource", "PUT", "Patient?identifier=none", "{}", {}),
    ("PatchResource", "PATCH", "Patient?identifier=none", "[]", {}),
    ("DeleteResource", "DELETE", "Patient?identifier=none", None, {}),
    ("ValidateResource", "POST", "Patient/p/$validate", "{}", {}),
    ("SearchEverything", "POST", "Patient/p/$everything", "", {}),
    ("StartFHIRExportJobWithPost", "POST", "$export", None, {}),
    ("StartFHIRExportJobWithGet", "GET", "Patient/$export", None, {}),
    ("StartFHIRExportJobWithGet", "GET", "Group/g/$export", None, {}),
]
CALLS = REST_CALLS + MORE_CALLS

ROWS = {  # who -> (section, policy)
    "signs with a key that has expired": ("expired", [ALL]),
    "has a policy in which no statement allows it": ("nothing", [allow("s3:*")]),
    "has a policy in which a statement denies it": ("denied", [ALL, deny("healthlake:*")]),
    "has a policy that denies by a tag": ("tag", [
        ALL, deny("*", StringEquals={"aws:ResourceTag/team": "b"}), deny("*", StringEquals={"aws:RequestTag/team": "b"}),
        deny("*", **{"ForAnyValue:StringEquals": {"aws:TagKeys": "team"}})]),
    "has a policy that denies by `aws:SourceIp`": ("ip", [ALL, deny("*", IpAddress={"aws:SourceIp": LOOPBACK})]),
    "has a policy that denies by `aws:SecureTransport`": ("tls", [ALL, deny("*", Bool={"aws:SecureTransport": "false"})]),
    "has a policy that denies by `aws:CurrentTime`": ("time", [
        ALL, deny("*", DateGreaterThan={"aws:CurrentTime": "2020-01-01T00:00:00Z"})]),
    "has a policy that allows it": ("allowed", [
        allow("*", IpAddress={"aws:SourceIp": LOOPBACK}, Bool={"aws:SecureTransport": "false"},
              DateGreaterThan={"aws:CurrentTime": "2020-01-01"})]),
    "has no policy": ("admin", None),
}
OTHERS = {"sends no signature", "signs with a wrong secret", "signs with a key that is not known",
          "leaves out the token of a temporary key", "signs with a clock that is 16 minutes slow",
          "signs with a clock that is 16 minutes fast"}


def documented():
    """Row of the table -> (status and exception, status and code)."""
    text = (ROOT / "docs" / "security.md").read_text()
    table = text.split("| A caller who | Control plane | Data plane |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().split("\n")[1:]]
    return {row[0]: (row[1], row[2]) for row in rows}


@contextlib.contextmanager
def clock(minutes):
    at = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    if hasattr(botocore.auth, "get_current_datetime"):
        with unittest.mock.patch.object(botocore.auth, "get_current_datetime", lambda *a, **k: at.replace(tzinfo=None)):
            yield
    else:
        with unittest.mock.patch.object(botocore.auth, "datetime") as fake:
            fake.datetime.utcnow.return_value = at.replace(tzinfo=None)
            yield


class Table(Callers):
    """Its callers are those of ROWS; one has expired, and one has a token."""

    def __init__(self, folder):
        super().__init__(folder, dict(ROWS.values()), "--roles", "none")
        file = folder / "callers"
        text = file.read_text().replace("[expired]\n", "[expired]\nexpires = 2024-01-01T00:00:00Z\n")
        file.write_text(text + "[temporary]\naws_access_key_id = ASIA0000\naws_secret_access_key = secret-t\n"
                               "aws_session_token = the-token\nexpires = 2099-01-01T00:00:00Z\n")
        self.secrets["temporary"] = ("ASIA0000", "secret-t")

    def as_row(self, row):
        """(boto3 client, keys of Fhir) of a row."""
        key, secret = self.secrets[ROWS[row][0] if row in ROWS else "admin"]
        if row == "signs with a wrong secret":
            secret += "x"
        if row == "signs with a key that is not known":
            key = "AKIAUNKNOWN"
        if row == "leaves out the token of a temporary key":
            key, secret = self.secrets["temporary"]
        unsigned = row == "sends no signature"
        config = botocore.config.Config(retries={"total_max_attempts": 1}, parameter_validation=False,
                                        **({"signature_version": botocore.UNSIGNED} if unsigned else {}))
        return boto3.client("healthlake", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=key,
                            aws_secret_access_key=secret, config=config), None if unsigned else (key, secret)


def answers(client, fhir, store):
    """Operation or interaction -> what it is answered, in the table's words."""
    got = {}
    status = {}
    client.meta.events.register("after-call.*.*", lambda http_response, **k: status.update(now=http_response.status_code))
    calls = control_calls(client, store)
    # with the tag, which a row denies
    calls["CreateFHIRDatastore"] = lambda: said(client.create_fhir_datastore, DatastoreTypeVersion="R4", Tags=TAG)
    for operation, call in calls.items():
        code, _ = call()
        got[operation] = f"{status['now']} {code}"
    for call in CALLS:
        answer = rest_status(fhir, call)
        name = f"{call[1]} {call[2]}"
        outcome = answer.status in (401, 403) and call[1] != "HEAD"
        got[name] = f"{answer.status} {answer.json['issue'][0]['code']}" if outcome else str(answer.status)
    return got


def test_the_table_has_a_row_for_each_caller_here_and_no_other():
    assert set(documented()) == set(ROWS) | OTHERS


def test_each_row_of_interactions_is_called_here():
    rows = re.findall(r'\{ "([A-Z]+)", REST_\w+, "[a-z-]+",\s+"(\w+)"', (ROOT / "src" / "rest" / "interactions.c").read_text())
    assert len(rows) > 30
    for row in set(rows):
        assert rows.count(row) <= sum((call[1], call[0]) == row for call in CALLS), row


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with Table(tmp_path_factory.mktemp("table")) as server:
        server.store = server.create_store(server.as_("admin"), Tags=TAG)
        server.rest("admin", server.store).put("Patient/p", patient("p"))
        yield server


@pytest.mark.parametrize("row", list(ROWS) + sorted(OTHERS))
def test_every_operation_answers_as_the_table_says(table, row):
    client, keys = table.as_row(row)
    with clock(-16 if row.endswith("slow") else 16 if row.endswith("fast") else 0):
        got = answers(client, Fhir(f"{table.url}/datastore/{table.store}/r4", keys), table.store)
    control, data = documented()[row]
    wrong = {}
    for name, answer in got.items():
        want = data if " " in name else control
        if row == "has a policy that denies by a tag" and name == "ListFHIRDatastores":
            want = "its own answer"
        if want == "its own answer":
            fine = "AccessDenied" not in answer and answer.split()[0] not in ("401", "403")
        elif name.startswith("HEAD"):
            fine = answer == want.split()[0]
        else:
            fine = answer == want
        if not fine:
            wrong[name] = answer
    assert wrong == {}, (control, data)
