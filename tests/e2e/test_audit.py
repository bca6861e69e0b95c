"""The audit log: who did what, one record each, on disk before a write is answered, and nothing of what patients say."""
import collections
import http.client
import json
import os
import pathlib
import random
import re
import threading
import time

import bulk
import pytest

from fhirlake import LONG, Fhir, Server, patient, run, wait
from test_policies import REST_CALLS, control_calls, rest_status, said

KILLS = 12 if not LONG else 100


class Audited(Server):
    """A server with an audit log beside its data."""

    def __init__(self, tmp_path, *options):
        self.log_dir = tmp_path / "audit"
        super().__init__(tmp_path / "data", "--audit", str(self.log_dir), *options)

    def lines(self):
        return [json.loads(line) for path in sorted(self.log_dir.glob("audit-*.jsonl"))
                for line in path.read_text().splitlines()]

    def records(self):
        return [r for r in self.lines() if "log" not in r]

    def verify(self, status=0):
        done = run("audit", "verify", self.log_dir)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout


def traced(client, into):
    """(operation, request id) of each answer of a boto3 client."""
    client.meta.events.register("after-call.healthlake", lambda http_response, model, **_:
                                into.append((model.name, http_response.headers["x-amzn-RequestId"])))
    return client


def test_every_operation_leaves_exactly_one_record(tmp_path):
    asked, answers = [], []
    with Audited(tmp_path) as server:
        client = traced(server.client(), answers)
        store = server.create_store(client)
        fhir = server.fhir(store)
        assert fhir.put("Patient/p", patient("p")).status == 201
        for call in REST_CALLS:
            answer = rest_status(fhir, call)
            asked.append((call[0], answer.headers["x-amzn-RequestId"], answer.status))
        for operation, call in control_calls(client, store).items():
            call()
    records = server.records()
    by_id = collections.defaultdict(list)
    for record in records:
        by_id[record.get("requestID")].append(record)
    for action, request_id, status in asked:
        assert len(by_id[request_id]) == 1, (action, by_id[request_id])
        record = by_id[request_id][0]
        assert record["eventName"] == action and record["eventCategory"] == "Data" and not record["managementEvent"]
        assert record["additionalEventData"] == {"httpStatus": status}
        assert ("errorCode" in record) == (status >= 400), record
        assert record["requestParameters"]["datastoreId"] == store
        assert record["resources"][0]["ARN"] == f"arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/{store}"
        assert record["readOnly"] == action.startswith(("Read", "Version", "Get", "Search", "Describe", "Validate"))
    # this botocore does not know some operations: they are found by their names
    others = set(control_calls(None, "")) - {name for name, _ in answers}
    for operation in others:
        assert [r["eventName"] for r in records].count(operation) == 1
    for operation, request_id in answers:
        assert [r["eventName"] for r in by_id[request_id]] == [operation]
        record = by_id[request_id][0]
        assert record["eventCategory"] == "Management" and record["managementEvent"] is True
        assert record["readOnly"] == operation.startswith(("List", "Describe"))
    key, _ = server.keys()
    for record in records:
        if record["eventType"] == "AwsApiCall":
            assert record["userIdentity"] == {
                "type": "IAMUser", "principalId": key, "arn": "arn:aws:iam::000000000000:user/default",
                "accountId": "000000000000", "accessKeyId": key, "userName": "default"}
            assert record["sourceIPAddress"] == "127.0.0.1" and record["eventVersion"] == "1.11"
            assert record["eventSource"] == "healthlake.amazonaws.com"
            assert time.strptime(record["eventTime"], "%Y-%m-%dT%H:%M:%SZ")
    assert len({r["eventID"] for r in records}) == len(records)
    # one more: the put in front
    assert len(records) == len(asked) + len(answers) + len(others) + 1 + sum(r["eventType"] == "AwsServiceEvent" for r in records)
    assert [r["seq"] for r in server.lines()] == list(range(1, len(server.lines()) + 1))
    assert server.verify().endswith("ok\n")


def test_a_record_names_the_resource_and_its_version(tmp_path):
    with Audited(tmp_path) as server:
        fhir = server.fhir(server.create_store())
        made = fhir.post("Patient", {"resourceType": "Patient"})
        name = made.json["id"]
        ids = [made.headers["x-amzn-RequestId"]]
        for answer in (fhir.put(f"Patient/{name}", patient(name)), fhir.get(f"Patient/{name}"),
                       fhir.get(f"Patient/{name}/_history/1"), fhir.delete(f"Patient/{name}"),
                       fhir.get(f"Patient/{name}", User_Agent='a"b' + "c" * 1000)):
            ids.append(answer.headers["x-amzn-RequestId"])
    records = {r["requestID"]: r for r in server.records()}
    told = [(records[i]["eventName"], records[i]["requestParameters"].get("resourceId"),
             records[i]["requestParameters"].get("versionId")) for i in ids]
    assert told == [("CreateResource", name, "1"), ("UpdateResource", name, "2"), ("ReadResource", name, "2"),
                    ("VersionReadResource", name, "1"), ("DeleteResource", name, "3"), ("ReadResource", name, None)]
    assert all(records[i]["requestParameters"]["resourceType"] == "Patient" for i in ids)
    last = records[ids[-1]]
    assert last["errorCode"] == "ResourceNotFoundException" and last["errorMessage"] == "HTTP 410, gone"
    assert last["userAgent"] == ('a"b' + "c" * 1000)[:256]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_a_bundle_leaves_a_record_for_each_entry(tmp_path, kind):
    entries = [{"request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}},
               {"request": {"method": "PUT", "url": "Patient/q"}, "resource": {"resourceType": "Patient", "id": "q"}},
               {"request": {"method": "GET", "url": "Patient?name=Zebulon"}}]
    with Audited(tmp_path) as server:
        fhir = server.fhir(server.create_store())
        done = fhir.post("", {"resourceType": "Bundle", "type": kind, "entry": entries})
        assert done.status == 200
        bad = fhir.post("", {"resourceType": "Bundle", "type": kind, "entry": entries[:1] + [
            {"request": {"method": "GET", "url": "Patient/nobody"}}]})
    of = collections.defaultdict(list)
    for record in server.records():
        of[record["requestID"]].append(record)
    told = of[done.headers["x-amzn-RequestId"]]
    assert [r["eventName"] for r in told] == ["CreateResource", "UpdateResource", "SearchWithGet", "ProcessBundle"]
    assert told[1]["requestParameters"]["resourceId"] == "q" and told[1]["requestParameters"]["versionId"] == "1"
    assert told[2]["requestParameters"]["queryParameters"] == ["name"]
    assert len({r["eventID"] for r in told}) == 4
    told = of[bad.headers["x-amzn-RequestId"]]
    if kind == "batch":
        assert [(r["eventName"], r.get("errorCode")) for r in told] == [
            ("CreateResource", None), ("ReadResource", "ResourceNotFoundException"), ("ProcessBundle", None)]
    else:  # nothing of it was done
        assert bad.status == 404
        assert [(r["eventName"], r.get("errorCode")) for r in told] == [("ProcessBundle", "ResourceNotFoundException")]


def test_refused_requests_are_told_with_what_they_asked_for(tmp_path):
    with Audited(tmp_path) as server:
        store = server.create_store()
        key, secret = server.keys()
        wrong = Fhir(f"{server.url}/datastore/{store}/r4", (key, "x" * 40))
        unknown = Fhir(f"{server.url}/datastore/{store}/r4", ("AKIANOTOURS", secret))
        nobody = server.fhir(store, signed=False)
        answers = [(call, who, fhir.call(*call)) for who, fhir in (("wrong", wrong), ("unknown", unknown), ("nobody", nobody))
                   for call in (("GET", "Patient/p"), ("POST", "Patient", "{}"), ("GET", "Patient?name=Zebulon"))]
        asked = []
        for client in (server.client(key, "y" * 40), server.client("AKIANOTOURS", secret)):
            said(traced(client, asked).list_fhir_datastores)
        nonsense = server.fhir(store).call("GET", "Nonsense")
    records = {r["requestID"]: r for r in server.records()}
    names = {"GET Patient/p": "ReadResource", "POST Patient": "CreateResource", "GET Patient?name=Zebulon": "SearchWithGet"}
    for call, who, answer in answers:
        assert answer.status in (401, 403)
        record = records[answer.headers["x-amzn-RequestId"]]
        assert record["eventName"] == names[" ".join(call[:2])], (who, call)
        assert record["errorCode"] == {"wrong": "InvalidSignatureException", "unknown": "UnrecognizedClientException",
                                       "nobody": "MissingAuthenticationTokenException"}[who]
        identity = {"type": "Unknown", "accountId": "000000000000"}
        assert record["userIdentity"] == ({**identity, "accessKeyId": key} if who == "wrong" else identity)
        assert record["requestParameters"]["datastoreId"] == store
    for operation, request_id in asked:
        assert records[request_id]["eventName"] == operation == "ListFHIRDatastores"
        assert records[request_id]["errorCode"] in ("InvalidSignatureException", "UnrecognizedClientException")
    assert records[nonsense.headers["x-amzn-RequestId"]]["eventName"] == "UnknownOperation"


def test_nothing_of_patients_queries_or_secrets_is_in_the_folder(tmp_path):
    planted = ["Zebulonius", "Quaggaville", "1977-07-17", "SECRETARY"]
    person = {"resourceType": "Patient", "id": "p", "name": [{"family": planted[0]}], "birthDate": planted[2],
              "address": [{"city": planted[1]}]}
    with Audited(tmp_path) as server:
        fhir = server.fhir(server.create_store(DatastoreName="a-name"))
        key, secret = server.keys()
        fhir.put("Patient/p", person)
        fhir.get(f"Patient?name={planted[0]}&address-city={planted[1]}&birthdate={planted[2]}")
        fhir.get(f"Patient?{planted[0]}=1&name.{planted[1]}=2&name:{planted[3]}=3&_{planted[0]}=4")
        fhir.get(f"{planted[0]}/{planted[1]}")
        fhir.get(f"Patient?_has:Observation:patient:{planted[3]}={planted[0]}")
        fhir.post("Patient/_search", f"name={planted[0]}", content_type="application/x-www-form-urlencoded")
        fhir.patch("Patient/p", [{"op": "test", "path": "/name/0/family", "value": planted[0]}])
        fhir.post("Patient", {"resourceType": "Patient", "gender": planted[0], "x": planted[1]})
        fhir.put("Patient/q", person, If_Match=f'W/"{planted[3]}"')
        fhir.post("", {"resourceType": "Bundle", "type": "batch", "entry": [
            {"request": {"method": "GET", "url": f"Patient?name={planted[0]}"}},
            {"request": {"method": "POST", "url": "Patient"}, "resource": person}]})
        said(server.client().list_tags_for_resource, ResourceARN=f"arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/{planted[0]}")
        # the secret stands where the key should
        Fhir(fhir.base, (secret, key)).get("Patient/p")
        same = [fhir.get("Patient?name=Zebulonius").headers["x-amzn-RequestId"] for _ in range(2)]
        other = fhir.get("Patient?name=Zebulonia").headers["x-amzn-RequestId"]
    text = b"".join(p.read_bytes() for p in server.log_dir.iterdir())
    for word in planted + [secret]:
        assert word.encode() not in text, word
    digest = {r["requestID"]: r["requestParameters"].get("queryHmacSha256") for r in server.records()}
    assert digest[same[0]] == digest[same[1]] != digest[other]
    searched = [r["requestParameters"]["queryParameters"] for r in server.records() if r["eventName"] == "SearchWithPost"]
    assert searched == [["name"]]
    names = [r["requestParameters"].get("queryParameters") for r in server.records()]
    assert ["name", "address-city", "birthdate"] in names and ["?", "name", "name", "?"] in names and ["_has"] in names


def test_the_end_of_a_job_is_a_record_of_the_service(tmp_path):
    with Audited(tmp_path) as server:
        store = server.create_store()
        server.fhir(store).put("Patient/p", patient("p"))
        job = server.start_export(store)
        assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"
        kicked = bulk.kick(server.fhir(store)).headers["Content-Location"].split("/")[-1]
    assert [r["requestParameters"]["jobId"] for r in server.records() if r["eventName"] == "StartFHIRExportJobWithGet"] == [kicked]
    started = [r for r in server.records() if r["eventName"] == "StartFHIRExportJob"]
    assert [r["requestParameters"] for r in started] == [{"datastoreId": store, "jobId": job}]
    ended = [r for r in server.records() if r["eventName"] == "ExportJobEnded" and r["serviceEventDetails"]["jobId"] == job]
    assert [r["serviceEventDetails"] for r in ended] == [{"datastoreId": store, "jobId": job, "jobStatus": "COMPLETED"}]
    assert ended[0]["eventType"] == "AwsServiceEvent"


@pytest.mark.files
def test_a_backup_through_the_socket_is_a_record(tmp_path):
    with Audited(tmp_path) as server:
        store = server.create_store()
        server.fhir(store).put("Patient/p", patient("p"))
        told = run("backup", "--data", server.data, "--to", tmp_path / "place")
        assert told.returncode == 0, told.stderr
        # a folder that no snapshot can be made in
        (server.data / "backup").write_text("")
        assert run("backup", "--data", server.data, "--to", tmp_path / "place").returncode == 1
        (server.data / "backup").unlink(missing_ok=True)
    taken = [r for r in server.records() if r["eventName"] == "BackupSnapshotTaken"]
    assert [r["serviceEventDetails"] for r in taken] == [{"userId": os.getuid(), "status": "COMPLETED"},
                                                         {"userId": os.getuid(), "status": "FAILED"}]
    assert all(r["readOnly"] and r["eventType"] == "AwsServiceEvent" for r in taken)
    server.verify()


# ---- kept, whatever happens ----

def load(server, store, acknowledged, stop, seed):
    """Writes over one connection until the server is gone; notes the request ids of those that were done."""
    fhir = server.fhir(store)
    rng = random.Random(seed)
    n = 0
    while not stop.is_set():
        n += 1
        name = f"w{seed}-{n}"
        try:
            if rng.random() < 0.2:
                answer = fhir.post("", {"resourceType": "Bundle", "type": "batch", "entry": [
                    {"request": {"method": "PUT", "url": f"Patient/{name}-{i}"},
                     "resource": {"resourceType": "Patient", "id": f"{name}-{i}"}} for i in range(3)]})
                count = 4
            else:
                answer = fhir.put(f"Patient/{name}", {"resourceType": "Patient", "id": name})
                count = 1
        except (OSError, http.client.HTTPException):
            return
        if answer.status in (200, 201):
            acknowledged.append((answer.headers["x-amzn-RequestId"], count))


def test_every_acknowledged_write_has_its_record_after_kill_9(tmp_path):
    rng = random.Random(5)
    acknowledged = []
    server = Audited(tmp_path, "--audit-segment-mib", "1")
    with server:
        store = server.create_store()
        for turn in range(KILLS):
            stop = threading.Event()
            threads = [threading.Thread(target=load, args=(server, store, acknowledged, stop, turn * 10 + i))
                       for i in range(4)]
            before = len(acknowledged)
            for thread in threads:
                thread.start()
            wait(lambda: len(acknowledged) > before + rng.randrange(5, 60), {True})
            server.kill()
            stop.set()
            for thread in threads:
                thread.join()
            counts = collections.Counter(r.get("requestID") for r in map(json.loads, whole_lines(server.log_dir)))
            missing = [(i, n) for i, n in acknowledged if counts[i] != n]
            assert missing == [], (turn, missing[:3])
            server.start()
    assert len(acknowledged) > KILLS * 5
    assert server.verify().endswith("ok\n")
    # a kill between the end of one segment and the begin of the next leaves nothing to mend
    assert 0 < sum(line.get("log") == "recovered" for line in map(json.loads, whole_lines(server.log_dir))) <= KILLS


def whole_lines(folder):
    """All lines of the log but those that a kill has torn."""
    for path in sorted(pathlib.Path(folder).glob("audit-*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            if line.startswith(b'{"seq":') and line.endswith(b'"}') and b',"chain":"' in line:
                yield line


@pytest.mark.files
@pytest.mark.parametrize("strict", ["no", "yes"])
def test_without_its_folder_writes_are_refused(tmp_path, strict):
    with Audited(tmp_path, "--audit-strict", strict) as server:
        client = server.client()
        store = server.create_store()
        fhir = server.fhir(store)
        assert fhir.put("Patient/p", patient("p")).status == 201
        away = server.log_dir.rename(tmp_path / "away")
        first = fhir.put("Patient/q", patient("q"))
        assert first.status == 503 and "may have been done" in first.text
        refused = fhir.put("Patient/r", patient("r"))
        assert refused.status == 503 and "audit log cannot be written" in refused.text
        assert fhir.post("", {"resourceType": "Bundle", "type": "batch", "entry": []}).status == 503
        assert said(client.create_fhir_datastore, DatastoreTypeVersion="R4")[0] == "ServiceUnavailableException"
        reads = (503, "ServiceUnavailableException") if strict == "yes" else (200, "OK")
        assert fhir.get("Patient/p").status == reads[0]
        assert said(client.list_fhir_datastores)[0] == reads[1]
        backup = run("backup", "--data", server.data, "--to", tmp_path / "place")
        assert (backup.returncode, "audit log cannot be written" in backup.stderr) == ((1, True) if strict == "yes" else (0, False))
        away.rename(server.log_dir)
        wait(lambda: fhir.put("Patient/s", patient("s")).status, {201})
        assert fhir.get("Patient/r").status == 404
    gaps = [line for line in server.lines() if line.get("log") == "gap"]
    # the refused ones that were asked in the last moment have their records after all
    assert len(gaps) == 1 and gaps[0]["records"] >= 1
    counted = len(server.records()) + gaps[0]["records"]
    assert counted >= len(re.findall(r" request op=", server.log_text()))
    out = server.verify()
    assert "1 gaps" in out and out.endswith("ok\n")
    assert "records_lost" in server.log_text()


# ---- the command, and the start ----

def test_verify_says_where_a_log_was_changed(tmp_path):
    with Audited(tmp_path) as server:
        fhir = server.fhir(server.create_store())
        for i in range(5):
            assert fhir.put(f"Patient/p{i}", patient(f"p{i}")).status == 201
        assert "the last segment has no end" in server.verify()
    out = server.verify()
    assert "records in" in out and "1 segments" in out and out.endswith("ok\n")
    path = next(server.log_dir.glob("audit-*.jsonl"))
    good = path.read_bytes()
    line = good.split(b"\n").index(next(row for row in good.split(b"\n") if b'"p3"' in row)) + 1
    path.write_bytes(good.replace(b'"p3"', b'"p9"'))
    assert f"WRONG: segment 1, line {line}: changed" in server.verify(1)
    lines = good.split(b"\n")
    path.write_bytes(b"\n".join(lines[:line - 1] + lines[line:]))
    assert f"WRONG: segment 1, line {line}: removed" in server.verify(1)
    path.write_bytes(good[:-200])
    assert "cut off" in server.verify(1)
    path.write_bytes(good)
    key = (server.log_dir / "first-key").rename(tmp_path / "first-key")
    assert run("audit", "verify", server.log_dir).returncode == 3
    told = run("audit", "verify", server.log_dir)
    assert told.returncode == 3 and "the first key" in told.stderr and "--first-key FILE" in told.stderr
    assert run("audit", "verify", server.log_dir, "--first-key", key).returncode == 0
    # and without it the server goes on
    with server:
        assert server.fhir(server.create_store()).get("metadata").status == 200
    assert run("audit", "verify", server.log_dir, "--first-key", key).returncode == 0


def test_usage_of_the_command():
    assert run("audit").returncode == 2
    assert run("audit", "shown", "x").returncode == 2
    assert run("audit", "show").returncode == run("audit", "show", "x", "y").returncode == 2
    assert run("audit", "show", "x", "--since", "yesterday").returncode == 2
    assert run("audit", "show", "/nowhere").returncode == 3
    assert "--resource" in run("audit", "show", "--help").stdout
    assert "verify" in run("audit", "--help").stdout
    assert run("audit", "verify", "/nowhere").returncode == 3


def test_a_damaged_log_refuses_the_start_and_a_second_server_too(tmp_path):
    with Audited(tmp_path) as server:
        second = Server(tmp_path / "other", "--audit", str(server.log_dir))
        with pytest.raises(AssertionError, match="audit log is written by another"):
            second_text(second)
        store = server.create_store()
        assert server.fhir(store).put("Patient/p", patient("p")).status == 201
        server.kill()
        path = next(server.log_dir.glob("audit-*.jsonl"))
        good = path.read_bytes()
        path.unlink()
        with pytest.raises(AssertionError, match="segment 1 of the audit log is not there"):
            second_text(server)
        path.write_bytes(good)
        server.start()
    assert server.verify().endswith("ok\n")


def second_text(server):
    """The start, and what it said on the standard error when it failed."""
    try:
        server.start()
    except AssertionError as why:
        raise AssertionError(f"{why}\n{server.log_text()}") from why


def test_without_the_option_there_is_no_log(tmp_path):
    with Server(tmp_path / "data") as server:
        assert server.fhir(server.create_store()).put("Patient/p", patient("p")).status == 201
    assert not list((tmp_path / "data").rglob("audit-*"))
