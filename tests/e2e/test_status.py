"""Each exception of StartFHIRExportJob and each status that a job of this release can reach."""
import contextlib
import json
import os
import time

import pytest
from botocore.exceptions import ClientError

from fhirlake import KEY, ROLE, Server, patient, wait


def refused(call):
    with pytest.raises(ClientError) as info:
        call()
    return info.value.response["Error"]["Code"], info.value.response["ResponseMetadata"]["HTTPStatusCode"]


def test_four_exceptions_of_start_fhir_export_job(tmp_path):
    roles = tmp_path / "roles.json"
    roles.write_text(json.dumps({"roles": [{"arn": ROLE, "allow": ["s3://good/*"]}]}))
    with Server(None, "--roles", str(roles), "--quotas", "healthlake") as server:
        client = server.client()
        store = server.create_store(client=server.client(retries=8))
        time.sleep(1.1)
        assert refused(lambda: server.start_export(store, "s3://UPPER", client=client)) == ("ValidationException", 400)
        assert refused(lambda: server.start_export("0" * 32, "s3://good/x", client=client)) == ("ResourceNotFoundException", 404)
        # on a slow machine the next call may come when its second is over
        wait(lambda: refused(lambda: server.start_export("0" * 32, "s3://good/x", client=client)), {("ThrottlingException", 429)}, pause=0)
        time.sleep(1.1)
        assert refused(lambda: server.start_export(store, "s3://bad/x", client=client)) == ("AccessDeniedException", 403)
        assert client.list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"] == []


def test_the_fifth_a_peer_that_fails_is_a_failed_dependency():
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with Server(None, "--s3-endpoint", "http://127.0.0.1:9", "--sts-endpoint", "http://127.0.0.1:9", env=env) as server:
        store = server.create_store()
        assert refused(lambda: server.start_export(store)) == ("FailedDependencyException", 424)
        assert server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"] == []


def test_every_status_that_can_be_reached(held_exports, server):
    """One runs for as long as its peer is held, and the next one waits behind it."""
    there, store, let_on = held_exports
    client = there.client()
    started = [client.start_fhir_export_job(
        DatastoreId=store, DataAccessRoleArn=ROLE,
        OutputDataConfig={"S3Configuration": {"S3Uri": "s3://bucket/st", "KmsKeyId": KEY}}) for _ in range(2)]
    assert [job["JobStatus"] for job in started] == ["SUBMITTED"] * 2

    def statuses():
        """By a list, which waits for no end."""
        listed = {j["JobId"]: j["JobStatus"] for j in client.list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]}
        return [listed[job["JobId"]] for job in started]
    wait(statuses, [["IN_PROGRESS", "QUEUED"]])
    let_on()
    for job in started:
        assert there.wait_export(store, job["JobId"])["JobStatus"] == "COMPLETED"
    store = server.create_store()
    server.put_object("s3://input/st/p.ndjson", patient("a") + "\nbroken")
    assert server.import_all(store, "s3://input/st/")["JobStatus"] == "COMPLETED_WITH_ERRORS"


def test_a_job_that_fails_says_what_to_do(server):
    client = server.client()
    store = server.create_store()
    server.put_object("s3://input/empty/readme.txt", "no ndjson here")
    done = server.import_all(store, "s3://input/empty/")
    assert done["JobStatus"] == "FAILED" and "ndjson" in done["Message"], done
    assert done["EndTime"] >= done["SubmitTime"]
    # the output folder turns into something that cannot be written to while the job waits
    store = server.create_store(PreloadDataConfig={"PreloadDataType": "SYNTHEA"})
    jobs = [server.start_export(store, f"s3://doomed/x{i}", client=client) for i in range(5)]
    last = server.objects / "doomed" / "x4"
    os.makedirs(last.parent, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        with open(last, "xb") as file:
            file.write(b"in the way")
        assert server.wait_export(store, jobs[4])["JobStatus"] in ("FAILED", "COMPLETED")
    for job in jobs[:4]:
        assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"
