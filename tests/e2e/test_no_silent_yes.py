"""What is asked for and not done is refused by name: members that are not honoured, members and operations that are
not known, settings that nobody would check."""
import json

import pytest

from fhirlake import KEY, ROLE, ask_control, patient

pytestmark = pytest.mark.sanitize
S3 = {"S3Configuration": {"S3Uri": "s3://out/x", "KmsKeyId": KEY}}
LAMBDA = "arn:aws:lambda:us-east-1:000000000000:function:tokens"
METADATA = json.dumps({"authorization_endpoint": "https://a", "token_endpoint": "https://t", "capabilities": ["x"],
                       "grant_types_supported": ["authorization_code"], "code_challenge_methods_supported": ["S256"]})


def ask(server, operation, request):
    return ask_control(server.url, server.keys(), operation, request)


@pytest.fixture(scope="module")
def store(server):
    server.put_object("s3://input/p.ndjson", patient("p"))
    return server.create_store()


def creation(**members):
    return {"DatastoreTypeVersion": "R4", **members}


def import_of(store, **members):
    return {"DatastoreId": store, "DataAccessRoleArn": ROLE, "JobOutputDataConfig": S3,
            "InputDataConfig": {"S3Uri": "s3://input/p.ndjson"}, **members}


def refused(answer, *names):
    assert answer[:2] == (400, "ValidationException"), answer
    for name in names:
        assert name in answer[2], answer[2]


# ---- members that are not honoured ----

@pytest.mark.parametrize("member, value", [
    ("AnalyticsConfiguration", {"Status": "ENABLED"}), ("AnalyticsConfiguration", {"Status": "ENABLING"}),
    ("AnalyticsConfiguration", {"Status": "DISABLING"}), ("NlpConfiguration", {"Status": "ENABLED"}),
    ("NlpConfiguration", {"Status": "DISABLING"}), ("ProfileConfiguration", {"DefaultProfiles": ["us-core-3.1.1"]}),
    ("ProfileConfiguration", {"DefaultProfiles": [""]}),
], ids=str)
def test_a_creation_that_asks_for_what_is_not_done_is_refused(server, member, value):
    before = len(server.client().list_fhir_datastores()["DatastorePropertiesList"])
    refused(ask(server, "CreateFHIRDatastore", creation(**{member: value})), member, "not offered")
    assert len(server.client().list_fhir_datastores()["DatastorePropertiesList"]) == before


@pytest.mark.parametrize("member, value", [
    ("AnalyticsConfiguration", {"Status": "DISABLED"}), ("AnalyticsConfiguration", {"Status": "PAUSED"}),
    ("AnalyticsConfiguration", {}), ("AnalyticsConfiguration", None), ("NlpConfiguration", {"Status": "DISABLED"}),
    ("ProfileConfiguration", {"DefaultProfiles": []}), ("ProfileConfiguration", {}),
    ("BackupConfiguration", {"Status": "DISABLED", "RetentionPeriodInDays": 30}), ("BackupConfiguration", {"Status": None}),
    ("IdentityProviderConfiguration", {"AuthorizationStrategy": "AWS_AUTH", "FineGrainedAuthorizationEnabled": False}),
], ids=str)
def test_a_creation_that_asks_for_nothing_more_is_made(server, member, value):
    assert ask(server, "CreateFHIRDatastore", creation(**{member: value}))[0] == 200


@pytest.mark.parametrize("member, value", [
    ("InputFormat", "CCDA"), ("InputFormat", "CSV"), ("InputFormat", "NDJSON"), ("ProfileId", "0" * 32),
    ("DriftDetectionEnabled", True),
], ids=str)
def test_an_import_that_asks_for_what_is_not_done_is_refused(server, store, member, value):
    before = ask(server, "ListFHIRImportJobs", {"DatastoreId": store})
    refused(ask(server, "StartFHIRImportJob", import_of(store, **{member: value})), member, "not offered")
    assert ask(server, "ListFHIRImportJobs", {"DatastoreId": store}) == before


@pytest.mark.parametrize("members", [{"DriftDetectionEnabled": False}, {"ProvenanceEnabled": True},
                                     {"ProvenanceEnabled": False}, {"InputFormat": None}], ids=str)
def test_an_import_that_asks_for_nothing_more_is_started(server, store, members):
    status, _, answer = ask(server, "StartFHIRImportJob", import_of(store, **members))
    assert status == 200
    assert server.wait_import(store, answer["JobId"])["JobStatus"] == "COMPLETED"


def test_values_outside_the_model_are_faults_of_their_own(server, store):
    refused(ask(server, "CreateFHIRDatastore", creation(AnalyticsConfiguration={"Status": "ON"})), "ENABLING", "PAUSED")
    refused(ask(server, "CreateFHIRDatastore", creation(BackupConfiguration={"Status": "DISABLED",
                                                                             "RetentionPeriodInDays": 99})), "30")
    refused(ask(server, "ListFHIRDatastores", {"Filter": {"DatastoreStatus": "GONE"}}),
            "[CREATING, ACTIVE, DELETING, DELETED, CREATE_FAILED, UPDATING, UPDATE_FAILED]")
    assert ask(server, "ListFHIRDatastores", {"Filter": {"DatastoreStatus": "UPDATING"}})[2] == {
        "DatastorePropertiesList": []}
    assert ask(server, "CreateFHIRDatastore", creation(NlpConfiguration="ENABLED"))[1] == "SerializationException"


# ---- members that are not known ----

@pytest.mark.parametrize("operation, request_, names", [
    ("CreateFHIRDatastore", creation(DatastoreNam="x"), ["DatastoreNam"]),
    ("CreateFHIRDatastore", creation(datastoreName="x"), ["datastoreName"]),
    ("CreateFHIRDatastore", creation(SseConfiguration={"KmsEncryptionConfig": {"CmkType": "AWS_OWNED_KMS_KEY", "Key": 1}}),
     ["sseConfiguration.kmsEncryptionConfig.Key"]),
    ("CreateFHIRDatastore", creation(Tags=[{"Key": "a", "Value": "b", "Propagate": True}]), ["tags.1.member.Propagate"]),
    ("CreateFHIRDatastore", creation(NlpConfiguration={"Status": "DISABLED", "Model": "x"}), ["nlpConfiguration.Model"]),
    ("DescribeFHIRDatastore", {"DatastoreId": "0" * 32, "Verbose": False}, ["Verbose"]),
    ("ListFHIRDatastores", {"Filter": {"CreatedSince": 1}}, ["filter.CreatedSince"]),
    ("ListFHIRDatastores", {"Max": 1, "MaxResult": 2, "nextToken": "x"}, ["3 validation errors", "Max'", "MaxResult'"]),
    ("TagResource", {"ResourceARN": "x", "Tag": []}, ["'Tag'", "'tags'", "'resourceARN'"]),
    ("CreateFHIRDatastore", creation(**{f"x{i}": 1 for i in range(300)}), ["300 validation errors", "x0", "x49"]),
], ids=range(10))
def test_members_that_are_not_known_are_refused_by_name_with_all_other_faults(server, operation, request_, names):
    refused(ask(server, operation, request_), *names)


def test_a_union_with_a_member_that_is_not_known_is_refused(server, store):
    request = import_of(store)
    request["InputDataConfig"] = {"S3Uri": "s3://input/p.ndjson", "Format": "x"}
    refused(ask(server, "StartFHIRImportJob", request), "inputDataConfig.Format")
    request["InputDataConfig"] = {"HttpUri": "http://x"}
    refused(ask(server, "StartFHIRImportJob", request), "inputDataConfig.HttpUri", "exactly one")


def test_null_is_no_value_whatever_its_name(server):
    assert ask(server, "ListFHIRDatastores", {"Anything": None, "Filter": None})[0] == 200


def test_the_body_of_a_posted_export_is_held_to_the_same(server, store):
    fhir = server.fhir(store)
    body = {"DataAccessRoleArn": ROLE, "OutputDataConfig": S3}
    for change, name in (({"JobNam": "x"}, "JobNam"), ({"OutputDataConfig": {**S3, "Format": 1}}, "outputDataConfig.Format"),
                         ({"_type": "Patient"}, "_type"), ({"DatastoreId": "0" * 32}, "DatastoreId")):
        answer = fhir.post("$export", {**body, **change}, Prefer="respond-async")
        assert answer.status == 400 and name in answer.text, (name, answer.body)
    for change in ({}, {"JobName": "x", "JobTag": None}, {"DatastoreId": store}):
        assert fhir.post("$export", {**body, **change}, Prefer="respond-async").status == 202


# ---- operations that are not offered ----

@pytest.mark.parametrize("operation", [
    "CreateDataTransformationProfile", "GetDataTransformationProfile",
    "UpdateDataTransformationProfile", "PublishDataTransformationProfile", "DeleteDataTransformationProfile",
    "ListDataTransformationProfiles", "ListDataTransformationProfileVersions", "StartDataTransformationJob",
    "DescribeDataTransformationJob", "ListDataTransformationJobs", "UpdateProfileWithAgent"])
def test_operations_that_are_not_offered_are_named(server, operation):
    assert ask(server, operation, {}) == (404, "UnknownOperationException", f"{operation} is not offered by this server")
    assert "names no operation" in ask(server, operation + "X", {})[2]


# ---- tokens that nobody would check ----

@pytest.mark.parametrize("identity, name", [
    ({"AuthorizationStrategy": "SMART_ON_FHIR", "Metadata": METADATA, "IdpLambdaArn": LAMBDA}, "[lambda "),
    ({"AuthorizationStrategy": "SMART_ON_FHIR_V1", "FineGrainedAuthorizationEnabled": True, "Metadata": METADATA,
      "IdpLambdaArn": LAMBDA}, "FineGrainedAuthorizationEnabled"),
    ({"AuthorizationStrategy": "SMART_ON_FHIR"}, "Metadata"),
    ({"AuthorizationStrategy": "SMART_ON_FHIR", "Metadata": METADATA}, "issuer"),
    ({"AuthorizationStrategy": "AWS_AUTH", "FineGrainedAuthorizationEnabled": True}, "FineGrainedAuthorizationEnabled"),
    ({"AuthorizationStrategy": "AWS_AUTH", "Metadata": METADATA}, "Metadata"),
    ({"AuthorizationStrategy": "AWS_AUTH", "IdpLambdaArn": LAMBDA}, "IdpLambdaArn"),
], ids=range(7))
def test_a_data_store_whose_tokens_nobody_checks_is_not_made(server, identity, name):
    refused(ask(server, "CreateFHIRDatastore", creation(IdentityProviderConfiguration=identity)),
            "IdentityProviderConfiguration", name)


# ---- times as newer SDKs write them ----

@pytest.mark.parametrize("spelled", [b"1.795845600678123e9", b"1795845600.678123", b"1795845600", b"17958456006E-1",
                                     b"0.000000001", b"-1.5", b'"2026-11-28T00:00:00Z"'])
def test_times_with_fraction_and_exponent_are_taken(server, store, spelled):
    for operation, request in (("ListFHIRDatastores", b'{"Filter":{"CreatedAfter":%s}}' % spelled),
                               ("ListFHIRExportJobs", b'{"DatastoreId":"%s","SubmittedBefore":%s}' % (store.encode(), spelled))):
        assert ask(server, operation, request)[0] == 200


@pytest.mark.parametrize("spelled", [b"1e300", b"true", b'"yesterday"', b"[]"])
def test_what_is_no_time_is_refused(server, spelled):
    assert ask(server, "ListFHIRDatastores", b'{"Filter":{"CreatedAfter":%s}}' % spelled)[:2] == (
        400, "SerializationException")
