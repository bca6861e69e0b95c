"""The operations through boto3 and the AWS CLI."""
import concurrent.futures
import json
import os
import subprocess
import time
import uuid
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from botocore.exceptions import ClientError

from fhirlake import KEY, ROLE, Server, patient, wait

pytestmark = [pytest.mark.sanitize, pytest.mark.threads]
OUT = {"S3Configuration": {"S3Uri": "s3://out/x", "KmsKeyId": KEY}}


def code(call, **args):
    """(error code, message) of a call that must fail."""
    with pytest.raises(ClientError) as info:
        call(**args)
    answer = info.value.response
    assert answer["ResponseMetadata"]["RequestId"]
    return answer["Error"]["Code"], answer["Error"]["Message"]


def test_life_of_a_data_store(server, client):
    made = client.create_fhir_datastore(DatastoreName="Größe 1", DatastoreTypeVersion="R4",
                                        Tags=[{"Key": "team", "Value": "a"}])
    store = made["DatastoreId"]
    assert len(store) == 32 and set(store) <= set("0123456789abcdef")
    assert made["DatastoreArn"] == f"arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/{store}"
    assert made["DatastoreEndpoint"] == f"{server.url}/datastore/{store}/r4/"
    assert made["DatastoreStatus"] == "CREATING"
    waiter = client.get_waiter("fhir_datastore_active")
    waiter.config.delay, waiter.config.max_attempts = 0.05, 2400  # two minutes; the SDK alone would ask five times
    waiter.wait(DatastoreId=store)
    shown = client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
    assert shown["DatastoreName"] == "Größe 1"
    assert shown["DatastoreStatus"] == "ACTIVE"
    assert shown["DatastoreTypeVersion"] == "R4"
    assert shown["IdentityProviderConfiguration"] == {"AuthorizationStrategy": "AWS_AUTH",
                                                      "FineGrainedAuthorizationEnabled": False}
    assert abs(shown["CreatedAt"] - datetime.now(timezone.utc)) < timedelta(minutes=1)
    gone = client.delete_fhir_datastore(DatastoreId=store)
    assert gone["DatastoreStatus"] == "DELETING"
    waiter = client.get_waiter("fhir_datastore_deleted")
    waiter.config.delay, waiter.config.max_attempts = 0.05, 2400  # two minutes; the SDK alone would ask five times
    waiter.wait(DatastoreId=store)
    assert client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"] == "DELETED"
    assert not (server.data / "stores" / store).exists()


def test_configuration_is_kept_and_shown(server, client):
    sse = {"KmsEncryptionConfig": {"CmkType": "CUSTOMER_MANAGED_KMS_KEY", "KmsKeyId": KEY}}
    store = server.create_store(SseConfiguration=sse)
    shown = client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
    assert shown["SseConfiguration"] == sse


def test_preload_fills_the_store(server, client):
    store = server.create_store(PreloadDataConfig={"PreloadDataType": "SYNTHEA"})
    shown = client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
    assert shown["DatastoreStatus"] == "ACTIVE", shown
    assert shown["PreloadDataConfig"] == {"PreloadDataType": "SYNTHEA"}
    job = server.export_all(store)
    folder = server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    manifest = json.loads((folder / "manifest.json").read_text())
    types = {item["type"] for item in manifest["output"]}
    assert types >= {
        "AllergyIntolerance", "CarePlan", "CareTeam", "Claim", "Condition", "Device", "DiagnosticReport", "Encounter",
        "ExplanationOfBenefit", "ImagingStudy", "Immunization", "Location", "MedicationAdministration",
        "MedicationRequest", "Observation", "Organization", "Patient", "Practitioner", "PractitionerRole", "Procedure",
        "Provenance"}


def test_the_same_token_makes_one_store_and_one_job(server, client):
    token = str(uuid.uuid4())
    one = client.create_fhir_datastore(DatastoreTypeVersion="R4", DatastoreName="t", ClientToken=token)
    two = client.create_fhir_datastore(DatastoreTypeVersion="R4", DatastoreName="t", ClientToken=token)
    assert one["DatastoreId"] == two["DatastoreId"]
    assert code(client.create_fhir_datastore, DatastoreTypeVersion="R4", DatastoreName="other",
                ClientToken=token)[0] == "ValidationException"
    store = server.create_store()
    token = "my-token-1"
    jobs = {server.start_export(store, ClientToken=token) for _ in range(3)}
    assert len(jobs) == 1
    assert code(client.start_fhir_export_job, DatastoreId=store, DataAccessRoleArn=ROLE,
                OutputDataConfig={"S3Configuration": {"S3Uri": "s3://out/elsewhere", "KmsKeyId": KEY}},
                ClientToken=token)[0] == "ValidationException"
    assert len(client.list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]) == 1


def test_lists_page_and_filter():
    with Server() as server:
        client = server.client()
        names = [f"s{i}" for i in range(7)]
        stores = {server.create_store(DatastoreName=n): n for n in names}
        client.delete_fhir_datastore(DatastoreId=list(stores)[0])
        seen, token, pages = [], None, 0
        while True:
            page = client.list_fhir_datastores(MaxResults=3, **({"NextToken": token} if token else {}))
            seen += page["DatastorePropertiesList"]
            pages += 1
            token = page.get("NextToken")
            if not token:
                break
        assert pages == 3
        assert {s["DatastoreId"]: s["DatastoreName"] for s in seen} == stores
        times = [s["CreatedAt"] for s in seen]
        assert times == sorted(times, reverse=True), "newest first"

        def listed(**f):
            return {s["DatastoreName"] for s in client.list_fhir_datastores(Filter=f)["DatastorePropertiesList"]}

        assert listed(DatastoreName="s3") == {"s3"}
        assert listed(DatastoreStatus="ACTIVE") == set(names[1:])
        now = datetime.now(timezone.utc)
        assert listed(CreatedBefore=now + timedelta(minutes=1)) == set(names)
        assert listed(CreatedAfter=now + timedelta(minutes=1)) == set()
        store = list(stores)[1]
        jobs = [server.start_export(store, JobName=f"j{i % 2}") for i in range(5)]
        for job in jobs:
            server.wait_export(store, job)
        got, token = [], None
        while True:
            page = client.list_fhir_export_jobs(DatastoreId=store, MaxResults=2, **({"NextToken": token} if token else {}))
            got += page["ExportJobPropertiesList"]
            token = page.get("NextToken")
            if not token:
                break
        assert [j["JobId"] for j in got] == jobs[::-1]
        named = client.list_fhir_export_jobs(DatastoreId=store, JobName="j1")["ExportJobPropertiesList"]
        assert {j["JobId"] for j in named} == set(jobs[1::2])
        assert client.list_fhir_export_jobs(DatastoreId=store, JobStatus="FAILED")["ExportJobPropertiesList"] == []
        assert len(client.list_fhir_export_jobs(DatastoreId=store, JobStatus="COMPLETED")["ExportJobPropertiesList"]) == 5
        # a token is good for the list that gave it, unchanged, and nowhere else
        token = client.list_fhir_datastores(MaxResults=1)["NextToken"]
        assert code(client.list_fhir_export_jobs, DatastoreId=store, NextToken=token)[0] == "ValidationException"
        assert code(client.list_fhir_datastores, NextToken="AAAA" + token[4:])[0] == "ValidationException"
        assert code(client.list_fhir_datastores, NextToken="x")[0] == "ValidationException"
        # nor with another request, but for the length of a page
        assert code(client.list_fhir_datastores, NextToken=token, Filter={"DatastoreStatus": "ACTIVE"})[0] == "ValidationException"
        rest = client.list_fhir_datastores(NextToken=token, MaxResults=100)["DatastorePropertiesList"]
        assert [s["DatastoreName"] for s in rest] == names[-2::-1]
        asked, got = {"Filter": {"DatastoreStatus": "ACTIVE", "CreatedBefore": now + timedelta(minutes=1)}, "MaxResults": 2}, []
        while "NextToken" in asked or not got:
            page = client.list_fhir_datastores(**asked)
            got += page["DatastorePropertiesList"]
            asked = {**asked, "NextToken": page["NextToken"]} if "NextToken" in page else {"Filter": None}
        assert [s["DatastoreName"] for s in got] == names[:0:-1]


def test_tags(server, client):
    store = server.create_store(Tags=[{"Key": "a", "Value": "1"}])
    arn = client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreArn"]

    def tags():
        return {t["Key"]: t["Value"] for t in client.list_tags_for_resource(ResourceARN=arn)["Tags"]}

    assert tags() == {"a": "1"}
    client.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "ü:b", "Value": ""}])
    assert tags() == {"a": "2", "ü:b": ""}
    client.untag_resource(ResourceARN=arn, TagKeys=["a", "never-there"])
    assert tags() == {"ü:b": ""}
    assert code(client.tag_resource, ResourceARN=arn, Tags=[{"Key": f"k{i}", "Value": "v"} for i in range(201)])[0] \
        == "ValidationException"
    client.tag_resource(ResourceARN=arn, Tags=[{"Key": f"k{i}", "Value": "v"} for i in range(199)])
    assert code(client.tag_resource, ResourceARN=arn, Tags=[{"Key": "one-more", "Value": "v"}])[0] == "ValidationException"
    missing = arn[:-32] + "0" * 32
    assert code(client.list_tags_for_resource, ResourceARN=missing)[0] == "ResourceNotFoundException"
    assert code(client.list_tags_for_resource, ResourceARN="arn:aws:s3:::b")[0] == "ValidationException"


def test_every_fault_of_a_request_is_told_at_once(server, client):
    name, text = code(client.start_fhir_export_job, DatastoreId="d" * 33, DataAccessRoleArn="arn:aws:iam::1:role/too-short",
                      OutputDataConfig={"S3Configuration": {"S3Uri": "http://b/k", "KmsKeyId": "no key!"}},
                      ClientToken="x" * 65, JobName="comma,comma")
    assert name == "ValidationException"
    assert text.startswith("6 validation errors detected: "), text
    for path in ("datastoreId", "dataAccessRoleArn", "outputDataConfig.s3Configuration.s3Uri",
                 "outputDataConfig.s3Configuration.kmsKeyId", "clientToken", "jobName"):
        assert f"at '{path}' failed to satisfy constraint: Member must " in text, path


@pytest.mark.parametrize("change, member", [
    ({"DatastoreId": ""}, "datastoreId"), ({"JobName": "x" * 65}, "jobName"), ({"ClientToken": "not ok"}, "clientToken"),
    ({"DataAccessRoleArn": "arn:aws:iam::000000000000:user/someone"}, "dataAccessRoleArn"),
    ({"OutputDataConfig": {"S3Configuration": {"S3Uri": "s3://UPPER/x", "KmsKeyId": KEY}}}, "s3Uri"),
    ({"OutputDataConfig": {"S3Configuration": {"S3Uri": "s3://b" + "x" * 1024, "KmsKeyId": KEY}}}, "s3Uri"),
    ({"OutputDataConfig": {"S3Configuration": {"S3Uri": "s3://bucket/x", "KmsKeyId": "k" * 401}}}, "kmsKeyId"),
])
def test_each_constraint_is_enforced_by_the_server(server, change, member):
    client = boto3.client("healthlake", endpoint_url=server.url, region_name="us-east-1",
                          aws_access_key_id=server.keys()[0], aws_secret_access_key=server.keys()[1],
                          config=boto3.session.Config(parameter_validation=False, retries={"total_max_attempts": 1}))
    request = {"DatastoreId": "0" * 32, "DataAccessRoleArn": ROLE, "OutputDataConfig": OUT, **change}
    name, text = code(client.start_fhir_export_job, **request)
    assert name == "ValidationException" and member in text, text


def test_resource_not_found(server, client):
    nowhere = "0" * 32
    store = server.create_store()
    for call, args in [
        (client.describe_fhir_datastore, {"DatastoreId": nowhere}),
        (client.delete_fhir_datastore, {"DatastoreId": nowhere}),
        (client.list_fhir_export_jobs, {"DatastoreId": nowhere}),
        (client.list_fhir_import_jobs, {"DatastoreId": nowhere}),
        (client.describe_fhir_export_job, {"DatastoreId": store, "JobId": nowhere}),
        (client.describe_fhir_import_job, {"DatastoreId": store, "JobId": nowhere}),
        (client.start_fhir_export_job, {"DatastoreId": nowhere, "DataAccessRoleArn": ROLE, "OutputDataConfig": OUT}),
        (client.start_fhir_import_job, {"DatastoreId": nowhere, "DataAccessRoleArn": ROLE, "JobOutputDataConfig": OUT,
                                        "InputDataConfig": {"S3Uri": "s3://input/x"}}),
    ]:
        assert code(call, **args)[0] == "ResourceNotFoundException", call


def test_a_refusal_names_what_the_request_named(tmp_path):
    """Which bucket, role, key, job, tag: the one of the request that is at fault, not only what kind of thing it is."""
    roles = tmp_path / "roles.json"
    roles.write_text(json.dumps({"roles": [{"arn": ROLE, "allow": ["s3://mine/*", "s3://absent/*", "s3://empty/*"], "kmsKeys": [KEY]}]}))
    roles.chmod(0o600)
    with Server(None, "--roles", str(roles), "--make-buckets", "no") as server:
        (server.objects / "empty").mkdir(parents=True)
        client, store, job = server.client(), server.create_store(), "f" * 32
        arn = client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreArn"]

        def export(bucket, role=ROLE, key=KEY):
            return code(client.start_fhir_export_job, DatastoreId=store, DataAccessRoleArn=role,
                        OutputDataConfig={"S3Configuration": {"S3Uri": f"s3://{bucket}/x", "KmsKeyId": key}})[1]

        assert "absent" in export("absent")
        assert "other-bucket" in export("other-bucket")
        assert ROLE + "-of-nobody" in export("mine", role=ROLE + "-of-nobody")
        assert "alias/strange" in export("mine", key="alias/strange")
        assert "empty" in code(client.start_fhir_import_job, DatastoreId=store, DataAccessRoleArn=ROLE, JobOutputDataConfig={
            "S3Configuration": {"S3Uri": "s3://empty/x", "KmsKeyId": KEY}}, InputDataConfig={"S3Uri": "s3://empty/in"})[1]
        assert job in code(client.describe_fhir_export_job, DatastoreId=store, JobId=job)[1]
        assert job in code(client.describe_fhir_import_job, DatastoreId=store, JobId=job)[1]
        assert job in code(client.describe_fhir_datastore, DatastoreId=job)[1]
        assert "aws:mine" in code(client.tag_resource, ResourceARN=arn, Tags=[{"Key": "aws:mine", "Value": "x"}])[1]
        assert "team" in code(client.tag_resource, ResourceARN=arn, Tags=[{"Key": "team", "Value": v} for v in "ab"])[1]
        group = server.fhir(store).call("GET", "Group/nobody-here/$export", None, Prefer="respond-async")
        assert group.status == 404 and "nobody-here" in group.text, group.body


def test_a_deleted_store_starts_no_job_and_keeps_its_history(server, client):
    store = server.create_store()
    job = server.export_all(store)
    client.delete_fhir_datastore(DatastoreId=store)
    wait(lambda: client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"DELETED"})
    assert code(client.start_fhir_export_job, DatastoreId=store, DataAccessRoleArn=ROLE, OutputDataConfig=OUT)[0] \
        == "ValidationException"
    again = client.describe_fhir_export_job(DatastoreId=store, JobId=job["JobId"])["ExportJobProperties"]
    assert again["JobStatus"] == "COMPLETED"
    assert code(client.delete_fhir_datastore, DatastoreId=store)[0] in ("ConflictException", "ValidationException",
                                                                       "ResourceNotFoundException")


def test_missing_input_is_refused_and_no_job_exists(server, client):
    store = server.create_store()
    name, text = code(client.start_fhir_import_job, DatastoreId=store, DataAccessRoleArn=ROLE, JobOutputDataConfig=OUT,
                      InputDataConfig={"S3Uri": "s3://no-such-bucket/x"})
    assert name == "ValidationException" and "bucket" in text
    server.put_object("s3://input/there.ndjson", patient(1))
    name, text = code(client.start_fhir_import_job, DatastoreId=store, DataAccessRoleArn=ROLE, JobOutputDataConfig=OUT,
                      InputDataConfig={"S3Uri": "s3://input/not-there/"})
    assert name == "ValidationException", text
    assert client.list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"] == []


def test_job_waiters_end(server, client):
    store = server.create_store()
    server.put_object("s3://input/waiter/p.ndjson", patient(1))
    waiter = client.get_waiter("fhir_import_job_completed")
    waiter.config.delay, waiter.config.max_attempts = 0.05, 2400  # two minutes; the SDK alone would ask five times
    waiter.wait(DatastoreId=store, JobId=server.start_import(store, "s3://input/waiter/"))
    waiter = client.get_waiter("fhir_export_job_completed")
    waiter.config.delay, waiter.config.max_attempts = 0.05, 2400  # two minutes; the SDK alone would ask five times
    waiter.wait(DatastoreId=store, JobId=server.start_export(store))


def test_jobs_of_a_store_queue_and_the_queue_is_bounded(server, client):
    store = server.create_store(PreloadDataConfig={"PreloadDataType": "SYNTHEA"})
    statuses, refused, jobs = set(), [], []
    for i in range(60):
        try:
            answer = client.start_fhir_export_job(DatastoreId=store, DataAccessRoleArn=ROLE, OutputDataConfig=OUT)
            jobs.append(answer["JobId"])
            assert answer["JobStatus"] == "SUBMITTED"
            statuses |= {j["JobStatus"] for j in client.list_fhir_export_jobs(DatastoreId=store, MaxResults=1)
                         ["ExportJobPropertiesList"]}  # a list waits for no end
        except ClientError as error:
            refused.append(error.response["Error"]["Code"])
    ends = []
    for job in jobs:
        done = server.wait_export(store, job)
        assert done["JobStatus"] == "COMPLETED"
        ends.append(done["EndTime"])
    assert ends == sorted(ends), "first in, first out"
    assert set(refused) <= {"ThrottlingException"}


def test_quotas_answer_throttling_that_an_sdk_retries():
    with Server(None, "--quotas", "healthlake") as server:
        impatient, patient_client = server.client(), server.client(retries=8)
        store = impatient.create_fhir_datastore(DatastoreTypeVersion="R4")["DatastoreId"]
        name, _ = code(impatient.create_fhir_datastore, DatastoreTypeVersion="R4")
        assert name == "ThrottlingException"
        wait(lambda: patient_client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"],
             {"ACTIVE"}, pause=0.3)

        def start(_):
            """Is it refused?"""
            try:
                impatient.start_fhir_export_job(DatastoreId=store, DataAccessRoleArn=ROLE, OutputDataConfig=OUT)
                return False
            except ClientError as error:
                assert error.response["Error"]["Code"] == "ThrottlingException"
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 429
                return True

        with concurrent.futures.ThreadPoolExecutor(5) as callers:
            for _ in range(30):  # until five come within a second
                began = time.monotonic()
                refused = sum(callers.map(start, range(5)))
                took = time.monotonic() - began
                assert refused >= 4 - int(took), "one at first, and one a second"
                if took < 1:
                    break
        assert refused >= 4
        for _ in range(3):
            patient_client.start_fhir_export_job(DatastoreId=store, DataAccessRoleArn=ROLE, OutputDataConfig=OUT)


def test_the_aws_cli_runs_an_export(server):
    key, secret = server.keys()
    env = {**os.environ, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_DEFAULT_REGION": "us-east-1",
           "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PAGER": ""}

    def aws(*args):
        done = subprocess.run(["aws", "healthlake", *args, "--endpoint-url", server.url, "--output", "json"],
                              env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "{}")

    store = aws("create-fhir-datastore", "--datastore-type-version", "R4", "--datastore-name", "cli")["DatastoreId"]
    wait(lambda: aws("describe-fhir-datastore", "--datastore-id", store)["DatastoreProperties"]["DatastoreStatus"],
         {"ACTIVE"})
    server.put_object("s3://input/cli/p.ndjson", patient("cli-1"))
    job = aws("start-fhir-import-job", "--datastore-id", store, "--input-data-config", "S3Uri=s3://input/cli/",
              "--job-output-data-config", json.dumps(OUT), "--data-access-role-arn", ROLE)["JobId"]
    wait(lambda: aws("describe-fhir-import-job", "--datastore-id", store, "--job-id", job)
         ["ImportJobProperties"]["JobStatus"], {"COMPLETED"})
    job = aws("start-fhir-export-job", "--datastore-id", store, "--output-data-config", json.dumps(OUT),
              "--data-access-role-arn", ROLE)["JobId"]
    wait(lambda: aws("describe-fhir-export-job", "--datastore-id", store, "--job-id", job)
         ["ExportJobProperties"]["JobStatus"], {"COMPLETED"})
    assert len(aws("list-fhir-export-jobs", "--datastore-id", store)["ExportJobPropertiesList"]) == 1
