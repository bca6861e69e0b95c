"""UpdateFHIRDatastore and RestoreFHIRDatastore: a data store goes back to an instant, as a data store of its own, and is
compared with what a client knows of that instant."""
import json
import random
import time
import uuid
from datetime import datetime, timedelta, timezone

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from fhirlake import LONG, Server, ask_control, patient, wait

pytestmark = [pytest.mark.sanitize, pytest.mark.files]
# 1.44.8 knows the two operations. With an older one their requests are signed here, and are the same bytes.
KNOWN = "RestoreFHIRDatastore" in botocore.session.get_session().get_service_model("healthlake").operation_names
ON = {"Status": "ENABLED", "BackupType": "CONTINUOUS"}


class Failed(Exception):
    pass


def plain(v):
    """As JSON has it on the wire."""
    if isinstance(v, datetime):
        return v.timestamp()
    return {k: plain(x) for k, x in v.items()} if isinstance(v, dict) else [plain(x) for x in v] if isinstance(v, list) else v


def call(server, operation, **members):
    """An answer with times as numbers; Failed(code, message)."""
    if KNOWN:
        try:
            answer = getattr(server.client(), xform_name(operation))(**members)
        except ClientError as error:
            raise Failed(error.response["Error"]["Code"], error.response["Error"]["Message"]) from None
        answer.pop("ResponseMetadata")
        return plain(answer)
    status, code, answer = ask_control(server.url, server.keys(), operation, plain(members))
    if status != 200:
        raise Failed(code, answer)
    return answer


def refused(code, server, operation, **members):
    with pytest.raises(Failed) as info:
        call(server, operation, **members)
    assert info.value.args[0] == code, info.value.args
    return info.value.args[1]


def shown(server, store):
    return call(server, "DescribeFHIRDatastore", DatastoreId=store)["DatastoreProperties"]


def backed_up(server, **more):
    made = call(server, "CreateFHIRDatastore", DatastoreTypeVersion="R4", BackupConfiguration=ON, **more)
    return ended(server, made["DatastoreId"])


def ended(server, store):
    wait(lambda: shown(server, store)["DatastoreStatus"], {"ACTIVE", "CREATE_FAILED", "DELETED"})
    return store


def point(instant):
    return {} if instant is None else {"RestorePointTime": instant}


def restore(server, store, instant=None, **more):
    made = call(server, "RestoreFHIRDatastore", SourceDatastoreId=store,
                RestoreConfiguration={"ContinuousBackupRestoreConfiguration": point(instant)}, **more)
    assert made["DatastoreStatus"] == "CREATING" and made["DatastoreId"] != store
    assert made["DatastoreArn"].endswith("fhir/" + made["DatastoreId"])
    assert made["DatastoreEndpoint"] == f"{server.url}/datastore/{made['DatastoreId']}/r4/"
    return made["DatastoreId"]


# ---- update ----

def test_an_update_changes_what_it_names_and_nothing_else(server):
    store = server.create_store(DatastoreName="before", Tags=[{"Key": "k", "Value": "v"}])
    before = shown(server, store)
    assert "BackupStatusInfo" not in before
    assert call(server, "UpdateFHIRDatastore", DatastoreId=store)["DatastoreProperties"] == before
    after = call(server, "UpdateFHIRDatastore", DatastoreId=store, DatastoreName="after")["DatastoreProperties"]
    assert after == {**before, "DatastoreName": "after"} == shown(server, store)
    listed = call(server, "ListFHIRDatastores", Filter={"DatastoreName": "after"})["DatastorePropertiesList"]
    assert [d["DatastoreId"] for d in listed] == [store]
    nothing = {"NlpConfiguration": {"Status": "DISABLED"}, "AnalyticsConfiguration": {"Status": "PAUSED"},
               "ProfileConfiguration": {"DefaultProfiles": []}, "BackupConfiguration": {"Status": "DISABLED"},
               "IdentityProviderConfiguration": {"AuthorizationStrategy": "AWS_AUTH"}}
    assert "BackupStatusInfo" not in call(server, "UpdateFHIRDatastore", DatastoreId=store, **nothing)["DatastoreProperties"]
    assert shown(server, store)["IdentityProviderConfiguration"]["AuthorizationStrategy"] == "AWS_AUTH"
    assert server.client().list_tags_for_resource(ResourceARN=before["DatastoreArn"])["Tags"] == [{"Key": "k", "Value": "v"}]


@pytest.mark.parametrize("member, value", [
    ("NlpConfiguration", {"Status": "ENABLED"}), ("NlpConfiguration", {"Status": "ENABLING"}),
    ("AnalyticsConfiguration", {"Status": "ENABLED"}), ("AnalyticsConfiguration", {"Status": "PAUSING"}),
    ("ProfileConfiguration", {"DefaultProfiles": ["us-core-3.1.1"]}),
    ("IdentityProviderConfiguration", {"AuthorizationStrategy": "AWS_AUTH", "FineGrainedAuthorizationEnabled": True}),
    ("BackupConfiguration", {"RetentionPeriodInDays": 99}),
], ids=str)
def test_what_has_no_function_here_is_refused_and_changes_nothing(server, member, value):
    store = server.create_store()
    before = shown(server, store)
    text = refused("ValidationException", server, "UpdateFHIRDatastore", DatastoreId=store, DatastoreName="no", **{member: value})
    assert member in text or member[0].lower() + member[1:] in text
    assert shown(server, store) == before


def test_who_cannot_be_updated(server):
    refused("ResourceNotFoundException", server, "UpdateFHIRDatastore", DatastoreId="0" * 32)
    store = server.create_store()
    server.client().delete_fhir_datastore(DatastoreId=store)
    ended(server, store)
    refused("ResourceNotFoundException", server, "UpdateFHIRDatastore", DatastoreId=store, DatastoreName="x")


def test_a_backup_is_enabled_changed_and_disabled(server):
    store = server.create_store()
    assert "no backup" in refused("ValidationException", server, "RestoreFHIRDatastore", SourceDatastoreId=store,
                                  RestoreConfiguration={"ContinuousBackupRestoreConfiguration": {}})
    before = time.time()

    def update(**configuration):
        return call(server, "UpdateFHIRDatastore", DatastoreId=store, BackupConfiguration=configuration)["DatastoreProperties"]

    now = update(Status="ENABLED")
    assert now["DatastoreStatus"] == "ACTIVE"
    info = now["BackupStatusInfo"]
    assert info["Configuration"] == {"Status": "ENABLED", "BackupType": "CONTINUOUS", "RetentionPeriodInDays": 30,
                                     "BackupTagsEnabled": False}
    assert before - 1 < info["BackupEnabledAt"] < time.time() + 1
    assert info["BackupEnabledAt"] == info["EarliestRestorePoint"] <= info["LatestRestorePoint"] < time.time() + 1
    assert "ScheduledPermanentDeletionTime" not in info
    again = update(RetentionPeriodInDays=7, BackupTagsEnabled=True)["BackupStatusInfo"]
    assert again["Configuration"] == {"Status": "ENABLED", "BackupType": "CONTINUOUS", "RetentionPeriodInDays": 7,
                                      "BackupTagsEnabled": True}
    assert again["BackupEnabledAt"] == info["BackupEnabledAt"]
    off = update(Status="DISABLED")["BackupStatusInfo"]
    assert off["Configuration"]["Status"] == "DISABLED" and off["Configuration"]["RetentionPeriodInDays"] == 7
    assert off["ScheduledPermanentDeletionTime"] == pytest.approx(off["LatestRestorePoint"] + 7 * 86400, abs=0.01)
    assert shown(server, store)["BackupStatusInfo"]["LatestRestorePoint"] == off["LatestRestorePoint"], "no new points"
    on = update(Status="ENABLED")["BackupStatusInfo"]
    assert on["BackupEnabledAt"] >= off["LatestRestorePoint"] and "ScheduledPermanentDeletionTime" not in on


# ---- restore ----

def entries(fhir, path):
    """All entries of a history or a search, over all pages."""
    out = []
    while path:
        answer = fhir.get(path)
        assert answer.status == 200, answer.body
        bundle = json.loads(answer.body)
        out += bundle.get("entry", [])
        path = next((link["url"].split("/r4/", 1)[-1] if "/r4/" in link["url"] else link["url"].split("/r4", 1)[-1]
                     for link in bundle.get("link", []) if link["relation"] == "next"), None)
    return out


def history(fhir):
    """(type/id, version, instant, method, body), of all versions."""
    rows = []
    for entry in entries(fhir, "_history?_count=100"):
        resource = entry.get("resource")
        rows.append((entry["request"]["url"] if resource is None else f"{resource['resourceType']}/{resource['id']}",
                     entry["response"].get("etag"), entry["response"].get("lastModified"), entry["request"]["method"],
                     json.dumps(resource, sort_keys=True)))
    return sorted(rows)


def millis(instant):
    return datetime.fromisoformat(instant.replace("Z", "+00:00"))


def as_of(rows, instant):
    return [row for row in rows if millis(row[2]) <= instant]


def current(fhir, kind):
    return sorted(json.dumps(entry["resource"], sort_keys=True) for entry in entries(fhir, f"{kind}?_count=100"))


def newest(rows, kind):
    """Of a history: what is current."""
    last = {}
    for row in rows:
        if row[0].startswith(kind + "/") and (row[0] not in last or version_of(row) > version_of(last[row[0]])):
            last[row[0]] = row
    return sorted(row[4] for row in last.values() if row[3] != "DELETE")


def version_of(row):
    return int(row[1].strip('W/"'))


def write_at_random(fhir, rng, n):
    for _ in range(n):
        kind = rng.choice(["Patient", "Patient", "Observation"])
        name = f"{kind.lower()[0]}{rng.randrange(12)}"
        if rng.random() < 0.25:
            assert fhir.delete(f"{kind}/{name}").status in (200, 204, 404)
            continue
        body = {"resourceType": kind, "id": name, "language": f"l{rng.randrange(9)}"}
        if kind == "Patient":
            body["gender"] = rng.choice(["male", "female", "other"])
        else:
            body.update(status=rng.choice(["final", "amended"]), code={"text": "x"})
        assert fhir.put(f"{kind}/{name}", json.dumps(body)).status in (200, 201)


def test_a_restored_data_store_is_the_source_at_the_instant(server):
    rng = random.Random(7)
    store = backed_up(server, DatastoreName="ward 3", Tags=[{"Key": "k", "Value": "v"}])
    fhir = server.fhir(store)
    for _ in range(4):
        write_at_random(fhir, rng, 25)
        server.put_object("s3://input/r/a.ndjson", "\n".join(patient(f"p{rng.randrange(12)}") for _ in range(5)))
        assert server.import_all(store, "s3://input/r/")["JobStatus"] == "COMPLETED"
    rows = history(fhir)
    instants = sorted({millis(row[2]) for row in rows})
    assert len(rows) > 80 and len(instants) > 20 and any(row[3] == "DELETE" for row in rows)
    window = shown(server, store)["BackupStatusInfo"]
    points = [instants[len(instants) // 3], instants[2 * len(instants) // 3], instants[-1],
              instants[len(instants) // 2] - timedelta(milliseconds=1)]
    for at in points:
        copy = ended(server, restore(server, store, at))
        props = shown(server, copy)
        assert props["DatastoreStatus"] == "ACTIVE", props
        assert props["DatastoreName"] == "ward 3" and "BackupStatusInfo" not in props
        there = server.fhir(copy)
        want = as_of(rows, at)
        assert history(there) == want
        for kind in ("Patient", "Observation"):
            assert current(there, kind) == newest(want, kind)
            total = json.loads(there.get(f"{kind}?_summary=count").body)["total"]
            assert total == len(newest(want, kind))
        for gender in ("male", "female", "other"):
            found = sorted(json.dumps(e["resource"], sort_keys=True) for e in entries(there, f"Patient?gender={gender}&_count=100"))
            assert found == [r for r in newest(want, "Patient") if json.loads(r).get("gender") == gender]
        # it goes on by itself, and the source does not notice
        assert there.put("Patient/new", json.dumps({"resourceType": "Patient", "id": "new"})).status == 201
        assert fhir.get("Patient/new").status == 404
    assert history(fhir) == rows
    earlier = datetime.fromtimestamp(window["EarliestRestorePoint"] - 1, timezone.utc)
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    for at in (earlier, later, 0):
        text = refused("ValidationException", server, "RestoreFHIRDatastore", SourceDatastoreId=store,
                       RestoreConfiguration={"ContinuousBackupRestoreConfiguration": {"RestorePointTime": at}})
        assert "RestorePointTime" in text and text.count("T") >= 2 and "Z" in text, "the window is named"


def test_a_restore_says_what_the_new_data_store_is(server):
    store = backed_up(server, DatastoreName="a", Tags=[{"Key": "k", "Value": "v"}])
    one = ended(server, restore(server, store))
    arn = shown(server, one)["DatastoreArn"]
    assert server.client().list_tags_for_resource(ResourceARN=arn)["Tags"] == []
    call(server, "UpdateFHIRDatastore", DatastoreId=store, BackupConfiguration={"BackupTagsEnabled": True})
    two = ended(server, restore(server, store, DatastoreName="b"))
    assert shown(server, two)["DatastoreName"] == "b"
    assert server.client().list_tags_for_resource(ResourceARN=shown(server, two)["DatastoreArn"])["Tags"] == [
        {"Key": "k", "Value": "v"}]
    three = ended(server, restore(server, store, Tags=[{"Key": "x", "Value": "y"}]))
    assert server.client().list_tags_for_resource(ResourceARN=shown(server, three)["DatastoreArn"])["Tags"] == [
        {"Key": "x", "Value": "y"}]
    token = str(uuid.uuid4())
    first = restore(server, store, DatastoreName="c", ClientToken=token)
    again = call(server, "RestoreFHIRDatastore", SourceDatastoreId=store, DatastoreName="c", ClientToken=token,
                 RestoreConfiguration={"ContinuousBackupRestoreConfiguration": {}})
    assert again["DatastoreId"] == first
    assert "token" in refused("ValidationException", server, "RestoreFHIRDatastore", SourceDatastoreId=store,
                              DatastoreName="d", ClientToken=token,
                              RestoreConfiguration={"ContinuousBackupRestoreConfiguration": {}}).lower()
    refused("ResourceNotFoundException", server, "RestoreFHIRDatastore", SourceDatastoreId="0" * 32,
            RestoreConfiguration={"ContinuousBackupRestoreConfiguration": {}})
    waiter = server.client().get_waiter("fhir_datastore_active")
    waiter.config.delay, waiter.config.max_attempts = 0.05, 2400
    waiter.wait(DatastoreId=first)


def test_a_deleted_data_store_is_kept_for_its_retention_and_can_be_restored():
    with Server() as server:
        plain_one, store = server.create_store(), backed_up(server)
        fhir = server.fhir(store)
        assert fhir.put("Patient/p", patient("p")).status == 201
        rows = history(fhir)
        for one in (plain_one, store):
            server.client().delete_fhir_datastore(DatastoreId=one)
            ended(server, one)
        assert not (server.data / "stores" / plain_one).exists()
        assert (server.data / "stores" / store).exists()
        assert fhir.get("Patient/p").status in (400, 403, 404, 410)
        info = shown(server, store)["BackupStatusInfo"]
        assert info["ScheduledPermanentDeletionTime"] == pytest.approx(info["LatestRestorePoint"] + 30 * 86400, abs=0.01)
        server.kill()
        server.start()
        copy = ended(server, restore(server, store))
        assert history(server.fhir(copy)) == rows
        refused("ResourceNotFoundException", server, "RestoreFHIRDatastore", SourceDatastoreId=plain_one,
                RestoreConfiguration={"ContinuousBackupRestoreConfiguration": {}})


def test_kill_9_during_a_restore_leaves_a_whole_one_after_the_next_start():
    rng = random.Random(3)
    with Server() as server:
        store = backed_up(server)
        fhir = server.fhir(store)
        write_at_random(fhir, rng, 150)
        rows = history(fhir)
        at = sorted({millis(row[2]) for row in rows})[-20]
        want = as_of(rows, at)
        began = time.monotonic()
        ended(server, restore(server, store, at))
        takes = time.monotonic() - began
        for i in range(50 if LONG else 4):
            copy = restore(server, store, at)
            # it ends where it is by now
            time.sleep(takes * rng.random())
            server.kill()
            server.start()
            ended(server, copy)
            assert shown(server, copy)["DatastoreStatus"] == "ACTIVE"
            assert history(server.fhir(copy)) == want
            server.client().delete_fhir_datastore(DatastoreId=copy)
            ended(server, copy)
            left = {p.name for p in (server.data / "stores").iterdir()}
            assert not [name for name in left if name.endswith(".restoring")], left
        assert history(server.fhir(store)) == rows
