"""$export in HealthLake's dialect: a signed POST with DataAccessRoleArn and OutputDataConfig, files in S3, describe and
cancel below export/; and one table of jobs behind it and the AWS API."""
import json
import re

import pytest

from bulk import export, held, kick
from fhirlake import KEY, ROLE, Server, read_export

pytestmark = [pytest.mark.sanitize, pytest.mark.threads]
DATE = re.compile(r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [1-9]\d?, \d{4} (1[0-2]|[1-9]):\d\d:\d\d [AP]M")


def target(uri="s3://output/rest", **more):
    return {"DataAccessRoleArn": ROLE, "JobName": "by-rest",
            "OutputDataConfig": {"S3Configuration": {"S3Uri": uri, "KmsKeyId": KEY}}, **more}


@pytest.fixture(scope="module")
def store(server):
    store = server.create_store()
    fhir = server.fhir(store)
    for i in range(30):
        assert fhir.put(f"Patient/p{i}", {"resourceType": "Patient", "id": f"p{i}"}).status == 201
    return store


@pytest.fixture
def fhir(server, store):
    return server.fhir(store)


def end_of(server, store, job):
    return server.wait_export(store, job)


# ---- start ----

def test_start_answers_as_healthlake_does(server, fhir, store):
    answer = fhir.post("$export", target(), Prefer="respond-async")
    assert answer.status == 202 and answer.headers["Content-Type"] == "application/json"
    job = answer.json["jobId"]
    assert answer.json == {"datastoreId": store, "jobStatus": "SUBMITTED", "jobId": job}
    assert re.fullmatch("[0-9a-f]{32}", job)
    assert answer.headers["content-location"] == f"{server.url}/datastore/{store}/r4/export/{job}"
    done = end_of(server, store, job)
    assert done["JobStatus"] == "COMPLETED" and done["JobName"] == "by-rest" and done["DataAccessRoleArn"] == ROLE
    manifest, resources = read_export(server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    assert len(resources) == 30


def test_describe_has_the_recorded_shape(server, fhir, store):
    answer = fhir.post("$export?_type=&_outputFormat=application/fhir%2Bndjson", target(), Prefer="respond-async")
    job = answer.json["jobId"]
    while True:
        got = fhir.get(f"export/{job}")
        assert got.headers["Content-Type"] == "application/json"
        properties = got.json["exportJobProperties"]
        assert properties["jobId"] == job and properties["datastoreId"] == store
        if properties["jobStatus"] == "COMPLETED":
            break
        assert got.status == 202 and len(got.headers["X-Progress"]) < 100 and int(got.headers["Retry-After"]) >= 1
        assert properties["jobStatus"] in ("SUBMITTED", "QUEUED", "IN_PROGRESS") and "endTime" not in properties
    assert got.status == 200
    uri = properties["outputDataConfig"]["s3Configuration"]["s3Uri"]
    assert uri == f"s3://output/rest/{store}-FHIR_EXPORT-{job}/"
    assert properties["outputDataConfig"] == {"s3Configuration": {"s3Uri": uri, "kmsKeyId": KEY}}
    assert properties["jobName"] == "by-rest" and properties["dataAccessRoleArn"] == ROLE
    assert DATE.fullmatch(properties["submitTime"]) and DATE.fullmatch(properties["endTime"])
    body = got.json
    assert body["requiresAccessToken"] is False and body["error"] == []
    assert body["request"] == f"{fhir.base}/$export?_type=&_outputFormat=application%2Ffhir%2Bndjson"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["transactionTime"])
    assert [o["type"] for o in body["output"]] == ["Patient"]
    assert all(o["url"].startswith(f"{uri}Patient/Patient-") for o in body["output"])


@pytest.mark.parametrize("change, says", [
    ({"DataAccessRoleArn": None}, "dataAccessRoleArn"),
    ({"DataAccessRoleArn": "x"}, "dataAccessRoleArn"),
    ({"OutputDataConfig": None}, "outputDataConfig"),
    ({"OutputDataConfig": {"S3Configuration": {"S3Uri": "s3://output/x"}}}, "kmsKeyId"),
    ({"OutputDataConfig": {"S3Configuration": {"S3Uri": "output", "KmsKeyId": KEY}}}, "s3Uri"),
    ({"OutputDataConfig": "s3://output/x"}, "outputDataConfig"),
    ({"JobName": "x" * 65}, "jobName"),
    ({"JobName": 7}, "jobName"),
])
def test_a_bad_body_is_an_operation_outcome_and_no_job(server, fhir, store, change, says):
    before = server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]
    body = {k: v for k, v in {**target(), **change}.items() if v is not None}
    answer = fhir.post("$export", body, Prefer="respond-async")
    assert answer.status == 400 and says in answer.text, answer.body
    assert server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"] == before


def test_other_bad_requests(fhir):
    assert fhir.post("$export", target()).status == 400, "Prefer: respond-async is missing"
    assert fhir.post("$export", "{", Prefer="respond-async").status == 400
    assert fhir.post("$export", "[]", Prefer="respond-async").status == 400
    assert fhir.post("$export", {"resourceType": "Patient"}, Prefer="respond-async").status == 400
    assert fhir.post("$export", target(), content_type="text/plain", Prefer="respond-async").status == 415
    assert fhir.call("HEAD", "$export", Prefer="respond-async").status == 405
    assert fhir.put("$export", target(), Prefer="respond-async").status == 405
    assert fhir.get("Observation/$export", Prefer="respond-async").status == 404
    assert fhir.get("export").status == 404
    assert fhir.get("export/").status == 404
    assert fhir.get(f"export/{'0' * 32}").status == 404
    assert fhir.delete(f"export/{'0' * 32}").status == 404
    assert fhir.get(f"export/{'0' * 32}/files").status == 404
    assert fhir.get(f"export/{'0' * 32}/nothing/x").status == 404
    assert fhir.call("POST", f"export/{'0' * 32}").status == 405


# ---- one table of jobs ----

def test_jobs_of_one_api_are_seen_in_the_other(server, fhir, store):
    client = server.client()
    by_aws = server.start_export(store, "s3://output/aws")
    end_of(server, store, by_aws)
    seen = fhir.get(f"export/{by_aws}")
    assert seen.status == 200 and seen.json["exportJobProperties"]["jobStatus"] == "COMPLETED"
    assert seen.json["request"] == f"{fhir.base}/$export"
    by_rest = fhir.post("$export", target(), Prefer="respond-async").json["jobId"]
    served = export(fhir)
    served.manifest()
    end_of(server, store, by_rest)
    listed = {j["JobId"]: j for j in client.list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]}
    assert {by_aws, by_rest, served.id} <= listed.keys()
    described = client.describe_fhir_export_job(DatastoreId=store, JobId=served.id)["ExportJobProperties"]
    assert described["JobStatus"] == "COMPLETED" and "DataAccessRoleArn" not in described
    assert described["OutputDataConfig"] == {"S3Configuration": {
        "S3Uri": f"s3://served.invalid/{store}-FHIR_EXPORT-{served.id}/", "KmsKeyId": "alias/none"}}
    assert fhir.get(f"export/{by_rest}/files/Patient/x.ndjson").status == 404, "its files are in S3"


def test_another_data_store_does_not_see_the_job(server, fhir):
    job = fhir.post("$export", target(), Prefer="respond-async").json["jobId"]
    other = server.fhir(server.create_store())
    assert other.get(f"export/{job}").status == 404 and other.delete(f"export/{job}").status == 404


# ---- cancel ----

def test_delete_cancels_a_job_of_either_api(server):
    client, store = server.client(), server.create_store()
    fhir = server.fhir(store)
    assert fhir.put("Patient/p", {"resourceType": "Patient", "id": "p"}).status == 201
    for start in (lambda: server.start_export(store, "s3://output/cancel"),
                  lambda: fhir.post("$export", target("s3://output/cancel"), Prefer="respond-async").json["jobId"]):
        with held(server, fhir):
            waiting = [start() for _ in range(3)]
            last = waiting.pop()
            answer = fhir.delete(f"export/{last}")
            assert answer.status == 202
            assert answer.json == {"exportJobProperties": {"jobId": last, "jobStatus": "CANCEL_SUBMITTED", "datastoreId": store}}
        assert end_of(server, store, last)["JobStatus"] == "CANCEL_COMPLETED"
        seen = fhir.get(f"export/{last}")
        assert seen.status == 200 and seen.json["exportJobProperties"]["jobStatus"] == "CANCEL_COMPLETED"
        assert not list((server.objects / "output" / "cancel").glob(f"*{last}*/**/*.ndjson"))
        for job in waiting:
            assert end_of(server, store, job)["JobStatus"] == "COMPLETED"


def test_cancelling_the_finished_is_refused_clearly(server, store, fhir):
    job = server.start_export(store, "s3://output/done")
    end_of(server, store, job)
    answer = fhir.delete(f"export/{job}")
    assert answer.status == 409 and answer.json["issue"][0]["code"] == "conflict" and answer.text
    assert fhir.get(f"export/{job}").json["exportJobProperties"]["jobStatus"] == "COMPLETED"


# ---- who may ----

def allow(*actions, **more):
    return {"Effect": "Allow", "Action": list(actions), "Resource": "*", **more}


def test_each_call_has_its_own_action(tmp_path):
    """The actions of HealthLake's service authorization reference, one by one."""
    policies = {"all": [allow("healthlake:*", "iam:PassRole")],
                "get": [allow("healthlake:StartFHIRExportJobWithGet")],
                "post": [allow("healthlake:StartFHIRExportJobWithPost", "iam:PassRole")],
                "nopass": [allow("healthlake:StartFHIRExportJobWithPost")],
                "describe": [allow("healthlake:DescribeFHIRExportJobWithGet")],
                "files": [allow("healthlake:GetExportedFile")],
                "cancel": [allow("healthlake:CancelFHIRExportJobWithDelete")]}
    text = ""
    for i, (name, statements) in enumerate(policies.items()):
        (tmp_path / f"{name}.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
        text += f"[{name}]\naws_access_key_id = AKIA{i:016d}\naws_secret_access_key = secret{i}\npolicy = {name}.json\n"
    (tmp_path / "credentials").write_text(text)
    with Server(None, "--credentials", str(tmp_path / "credentials"), "--roles", "none") as server:
        keys = {name: (f"AKIA{i:016d}", f"secret{i}") for i, name in enumerate(policies)}
        store = server.create_store(server.client(*keys["all"]))

        def of(name):
            fhir = server.fhir(store, signed=False)
            fhir.keys = keys[name]
            return fhir

        assert of("all").put("Patient/p", {"resourceType": "Patient", "id": "p"}).status == 201
        done = export(of("all"))
        file = done.manifest()["output"][0]["url"]

        def tries(name):
            f = of(name)
            return {"get": kick(f).status, "post": kick(f, "$export", target()).status,
                    "describe": f.get(done.url).status, "files": f.get(file).status,
                    "cancel": f.delete(f"{f.base}/export/{'0' * 32}").status}

        good = {"get": 202, "post": 202, "describe": 200, "files": 200, "cancel": 404}
        for name in ("get", "post", "describe", "files", "cancel"):
            assert tries(name) == {k: v if k == name else 403 for k, v in good.items()}, name
        assert tries("nopass")["post"] == 403, "iam:PassRole is missing"
        assert tries("all") == good


def test_boto3_reads_what_rest_started_while_it_waits(server, fhir, store):
    with held(server, fhir):
        job = export(fhir)
        listed = server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]
        got = next(j for j in listed if j["JobId"] == job.id)  # a list waits for no end
        assert set(got["OutputDataConfig"]) == {"S3Configuration"} and "EndTime" not in got
    got = server.client().describe_fhir_export_job(DatastoreId=store, JobId=job.id)["ExportJobProperties"]
    assert set(got["OutputDataConfig"]) == {"S3Configuration"}
    job.manifest()
