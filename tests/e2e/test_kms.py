"""Keys of a Key Management Service: looked at when a request names one. moto has the service with its policies; a stand-in
(tests/peers/hostile_s3.py) fails on demand and says what it was asked."""
import json
import os
import socket
import subprocess

import pytest
from botocore.exceptions import ClientError

from fhirlake import BIN, ROLE, Server, ask_control, patient
from s3_peer import ACCOUNT, Hostile, Peer

pytestmark = pytest.mark.once

KEY_ARN = "arn:aws:kms:us-east-1:123456789012:key/"


@pytest.fixture(scope="module")
def peer():
    p = Peer("moto")
    yield p
    p.stop()


@pytest.fixture(scope="module")
def server(peer):
    with Server(None, *peer.options(), "--kms-endpoint", peer.url, env=peer.env()) as s:
        yield s


class StandIn(Hostile):
    """A KMS that does as it is told."""

    def keys(self, **states):
        self.ask("/_kms", states)
        self.ask("/_script", [])

    def asked(self):
        """Without what a server asks in its own time: whether data stores that are open may stay so."""
        return [r for r in self.ask("/_log")["log"] if r["headers"].get("x-amz-target") != "TrentService.Decrypt"]


@pytest.fixture(scope="module")
def kms():
    k = StandIn()
    yield k
    k.stop()


OWN = {"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SECRET_ACCESS_KEY": "own-secret-of-the-server", "AWS_SESSION_TOKEN": "own-token-of-it"}


@pytest.fixture(scope="module")
def near(kms):
    """Over a directory, where roles have no keys of their own: KMS is asked with fhirlake's."""
    with Server(None, "--kms-endpoint", kms.url, "--account-id", ACCOUNT, env=OWN) as s:
        yield s


@pytest.fixture
def apart():
    """A KMS and a server for data stores under its keys: what asks for these again takes no other test's script."""
    k = StandIn()
    with Server(None, "--kms-endpoint", k.url, "--account-id", ACCOUNT, env=OWN) as s:
        yield k, s
    k.stop()


def refused(call, *args, **more):
    with pytest.raises(ClientError) as info:
        call(*args, **more)
    return info.value.response["Error"]["Code"], info.value.response["Error"]["Message"]


def assert_no_jobs(server, store):
    assert server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"] == []
    assert server.client().list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"] == []


# ---- moto: KMS, STS and S3 with policies ----

def test_jobs_under_a_good_key_run_and_their_objects_have_it(peer, server):
    store = server.create_store()
    peer.put("kms-in/p.ndjson", [patient("kms-1").encode()])
    done = server.import_all(store, f"s3://{peer.bucket}/kms-in/", output_uri=f"s3://{peer.bucket}/kms-log", role=peer.role,
                             key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    done = server.export_all(store, f"s3://{peer.bucket}/kms-out", role=peer.role, key=peer.kms_key)
    assert done["JobStatus"] == "COMPLETED", done
    assert ("Patient", "kms-1") in peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])[1]
    job = server.start_export(store, f"s3://{peer.bucket}/kms-alias", role=peer.role, key="alias/exports")
    assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"


@pytest.mark.parametrize("role, key, name, says", [
    ("role", KEY_ARN + "11111111-2222-3333-4444-555555555555", "ValidationException", "no such key"),
    ("role", "alias/none", "ValidationException", "no such key"),
    ("role", "kms_disabled", "ValidationException", "disabled"),
    ("role", "kms_deleted", "ValidationException", "PendingDeletion"),
    ("role", "kms_signing", "ValidationException", "symmetric"),
    ("keyless", "kms_key", "AccessDeniedException", "kms:DescribeKey"),
    ("looker", "kms_key", "AccessDeniedException", "GenerateDataKey"),
    # to who may look at no key, all keys are the same
    ("keyless", "kms_disabled", "AccessDeniedException", "kms:DescribeKey"),
    ("keyless", KEY_ARN + "11111111-2222-3333-4444-555555555555", "AccessDeniedException", "kms:DescribeKey"),
])
def test_a_key_that_is_not_good_is_refused_at_the_start(peer, server, role, key, name, says):
    store = server.create_store()
    role, key = getattr(peer, role), getattr(peer, key, key)
    peer.put("kms-no/p.ndjson", [patient("no").encode()])
    place = f"s3://{peer.bucket}/refused"
    for told in (refused(server.start_export, store, place, role=role, key=key),
                 refused(server.start_import, store, f"s3://{peer.bucket}/kms-no/", place, role=role, key=key)):
        assert told[0] == name and f"KmsKeyId {key}: " in told[1] and says in told[1], told
    body = {"DataAccessRoleArn": role, "OutputDataConfig": {"S3Configuration": {"S3Uri": place, "KmsKeyId": key}}}
    answer = server.fhir(store).post("$export", body, Prefer="respond-async")
    assert answer.status == (403 if name == "AccessDeniedException" else 400), answer.body
    assert f"KmsKeyId {key}: " in answer.body.decode(), answer.body
    assert_no_jobs(server, store)
    assert peer.names("refused") == []


def test_without_the_endpoint_nobody_looks_at_keys(peer):
    with Server(None, *peer.options(), env=peer.env()) as server:
        job = server.start_export(server.create_store(), f"s3://{peer.bucket}/unlooked", role=peer.keyless, key=peer.kms_key)
        assert job


# ---- the stand-in ----

def test_over_a_directory_the_servers_own_keys_ask(kms, near):
    kms.keys(good="Enabled", off="Disabled", look="DescribeOnly")
    store = near.create_store()
    assert near.export_all(store, "s3://out/own", key=KEY_ARN + "good")["JobStatus"] == "COMPLETED"
    asked = kms.asked()
    assert [a["headers"]["x-amz-target"] for a in asked] == ["TrentService.DescribeKey", "TrentService.GenerateDataKey"]
    assert all("Credential=AKIDOWN/" in a["headers"]["authorization"] for a in asked)
    assert json.loads(asked[1]["body"])["DryRun"] is True
    for key, name in (("off", "ValidationException"), ("look", "AccessDeniedException"), ("none", "ValidationException")):
        assert refused(near.start_export, store, "s3://out/own", key=KEY_ARN + key)[0] == name


def test_a_client_token_gives_its_job_whatever_became_of_the_key(kms, near):
    kms.keys(good="Enabled")
    store = near.create_store()
    job = near.start_export(store, "s3://out/token", key=KEY_ARN + "good", ClientToken="once")
    kms.keys(good="Disabled")
    assert near.start_export(store, "s3://out/token", key=KEY_ARN + "good", ClientToken="once") == job
    assert kms.asked() == []


@pytest.mark.parametrize("steps", [
    [{"do": "answer", "status": 503, "body": "{}"}] * 3,
    [{"do": "answer", "status": 403, "body": "<html>SECRET-IN-A-MESSAGE</html>"}],
    [{"do": "answer", "status": 200, "body": "<html>SECRET-IN-A-MESSAGE</html>"}] * 3,
    [{"do": "answer", "status": 200, "body": json.dumps({"KeyMetadata": {"KeyState": True}})}] * 3,
    [{"do": "fill", "bytes": 50_000_000}],
], ids=["503", "html-403", "html-200", "types", "endless"])
def test_a_kms_that_does_not_answer_is_a_failed_dependency_and_no_yes(kms, near, steps):
    kms.keys(good="Enabled")
    store = near.create_store()
    kms.ask("/_script", steps)
    name, text = refused(near.start_export, store, "s3://out/fault", key=KEY_ARN + "good")
    assert name == "FailedDependencyException" and "KMS cannot be asked" in text, text
    assert "SECRET" not in text and "html" not in text
    assert kms.ask("/_log")["left"] == 0
    assert_no_jobs(near, store)


def test_a_kms_that_is_gone_is_a_failed_dependency():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # bound, never listening: refused at once
        with Server(None, "--kms-endpoint", f"http://127.0.0.1:{s.getsockname()[1]}", env=OWN) as server:
            store = server.create_store()
            name, text = refused(server.start_export, store, "s3://out/gone")
            assert name == "FailedDependencyException" and "KmsKeyId" in text, text
            assert_no_jobs(server, store)


def test_who_may_not_pass_the_role_or_name_the_key_learns_nothing_of_keys(kms, tmp_path):
    """The right to pass the role comes first, then the role's keys in the roles file; KMS is not asked."""
    other = ROLE + "-other"
    roles = tmp_path / "roles.json"
    roles.write_text(json.dumps({"roles": [{"arn": ROLE, "allow": ["s3://out/*"], "kmsKeys": [KEY_ARN + "good"]},
                                           {"arn": other, "allow": ["s3://out/*"]}]}))
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "healthlake:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": ROLE}]}
    (tmp_path / "one.json").write_text(json.dumps(policy))
    (tmp_path / "credentials").write_text("[all]\naws_access_key_id = AKIDALL\naws_secret_access_key = all-secret\n"
                                          "[one]\naws_access_key_id = AKIDONE\naws_secret_access_key = one-secret\n"
                                          "policy = one.json\n")
    for file in tmp_path.iterdir():
        file.chmod(0o600)
    kms.keys(good="Enabled", off="Disabled")
    with Server(None, "--kms-endpoint", kms.url, "--roles", str(roles), "--credentials", str(tmp_path / "credentials"),
                env=OWN) as server:
        store = server.create_store(server.client("AKIDALL", "all-secret"))
        one = server.client("AKIDONE", "one-secret")
        told = {refused(server.start_export, store, "s3://out/x", client=one, role=other, key=KEY_ARN + key)
                for key in ("good", "off", "none")}
        assert len(told) == 1 and "PassRole" in told.pop()[1]
        for key in ("off", "none"):
            name, text = refused(server.start_export, store, "s3://out/x", client=one, role=ROLE, key=KEY_ARN + key)
            assert name == "AccessDeniedException" and text.startswith("the role may not use this KMS key"), text
        assert kms.asked() == []
        assert server.start_export(store, "s3://out/x", client=one, role=ROLE, key=KEY_ARN + "good")
        assert len(kms.asked()) == 2


def test_a_role_with_keys_of_its_own_asks_with_them(kms, peer, tmp_path):
    roles = tmp_path / "roles.json"
    roles.write_text(json.dumps({"roles": [{"arn": ROLE, "allow": [f"s3://{peer.bucket}/*"], "credentials": {
        "accessKeyId": peer.own_key, "secretAccessKey": peer.own_secret}}]}))
    roles.chmod(0o600)
    kms.keys(**{"good": "Enabled", "theirs": "Enabled", "access": {KEY_ARN + "theirs": ["AKIDOWN"]}})
    with Server(None, "--s3-endpoint", peer.url, "--roles", str(roles), "--kms-endpoint", kms.url, env=OWN) as server:
        store = server.create_store()
        name, text = refused(server.start_export, store, f"s3://{peer.bucket}/theirs", key=KEY_ARN + "theirs")
        assert name == "AccessDeniedException" and "the role may not use the key" in text, text
        assert f"Credential={peer.own_key}/" in kms.asked()[0]["headers"]["authorization"]
        # in the context that S3 gives an object there
        server.start_export(store, f"s3://{peer.bucket}/own-keys", key=KEY_ARN + "good")
        context = json.loads(kms.asked()[-1]["body"])["EncryptionContext"]
        assert context == {"aws:s3:arn": f"arn:aws:s3:::{peer.bucket}/own-keys/.healthlake_write_access_check_file.temp"}


# ---- data stores ----

def under(key):
    return {"KmsEncryptionConfig": {"CmkType": "CUSTOMER_MANAGED_KMS_KEY", "KmsKeyId": key}}


@pytest.mark.files
def test_a_data_store_under_a_customers_key_is_made_when_the_key_is_good(apart):
    kms, near = apart
    kms.keys(good="Enabled", off="Disabled", going="PendingDeletion", denied="Denied", sign="Signing", look="DescribeOnly")
    client = near.client()
    before = {s["DatastoreId"] for s in client.list_fhir_datastores()["DatastorePropertiesList"]}
    for key, name, says in (("off", "ValidationException", "disabled"), ("going", "ValidationException", "PendingDeletion"),
                            ("none", "ValidationException", "no such key"), ("sign", "ValidationException", "symmetric"),
                            ("denied", "AccessDeniedException", "the server may not use the key"),
                            ("look", "AccessDeniedException", "GenerateDataKey")):
        told = refused(client.create_fhir_datastore, DatastoreTypeVersion="R4", SseConfiguration=under(KEY_ARN + key))
        assert told[0] == name and f"KmsKeyId {KEY_ARN}{key}: " in told[1] and says in told[1], told
    sse = {"KmsEncryptionConfig": {"CmkType": "CUSTOMER_MANAGED_KMS_KEY"}}
    assert "KmsKeyId" in refused(client.create_fhir_datastore, DatastoreTypeVersion="R4", SseConfiguration=sse)[1]
    assert {s["DatastoreId"] for s in client.list_fhir_datastores()["DatastorePropertiesList"]} == before
    kms.keys(good="Enabled")
    assert near.create_store(SseConfiguration={"KmsEncryptionConfig": {"CmkType": "AWS_OWNED_KMS_KEY"}})
    assert kms.asked() == []
    store = near.create_store(SseConfiguration=under(KEY_ARN + "good"), ClientToken="cmk")
    shown = client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
    assert shown["SseConfiguration"] == under(KEY_ARN + "good")
    # the same again is the same data store, whatever became of the key
    kms.keys(good="Disabled")
    again = client.create_fhir_datastore(DatastoreTypeVersion="R4", SseConfiguration=under(KEY_ARN + "good"), ClientToken="cmk")
    assert again["DatastoreId"] == store and kms.asked() == []
    kms.ask("/_script", [{"do": "answer", "status": 500, "body": "{}"}] * 3)
    assert refused(client.create_fhir_datastore, DatastoreTypeVersion="R4", SseConfiguration=under(KEY_ARN + "good"))[0] \
        == "FailedDependencyException"


@pytest.mark.files
def test_a_restored_data_store_is_under_the_key_of_its_source_which_must_be_good_still(apart):
    kms, near = apart
    kms.keys(good="Enabled")
    store = near.create_store(SseConfiguration=under(KEY_ARN + "good"))
    backup = {"Status": "ENABLED"}
    what = {"SourceDatastoreId": store, "RestoreConfiguration": {"ContinuousBackupRestoreConfiguration": {}}}
    ours = {"KmsEncryptionConfig": {"CmkType": "AWS_OWNED_KMS_KEY"}}

    def ask(operation, request):
        return ask_control(near.url, near.keys(), operation, request)

    assert ask("UpdateFHIRDatastore", {"DatastoreId": store, "BackupConfiguration": backup})[0] == 200
    kms.keys(good="Disabled")
    status, name, text = ask("RestoreFHIRDatastore", what)
    assert (status, name) == (400, "ValidationException") and "disabled" in text, text
    # its files are the source's, under the source's keys
    status, name, text = ask("RestoreFHIRDatastore", what | {"SseConfiguration": ours})
    assert (status, name) == (400, "ValidationException") and "encrypted as its source is" in text, text
    kms.keys(good="Enabled")
    assert ask("RestoreFHIRDatastore", what)[0] == 200


@pytest.mark.files
def test_who_may_not_let_the_server_use_a_key_learns_nothing_of_it(kms, tmp_path):
    (tmp_path / "one.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "healthlake:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "kms:CreateGrant", "Resource": [KEY_ARN + "mine", KEY_ARN + "bad"]}]}))
    (tmp_path / "credentials").write_text("[one]\naws_access_key_id = AKIDONE\naws_secret_access_key = one-secret\n"
                                          "policy = one.json\n")
    for file in tmp_path.iterdir():
        file.chmod(0o600)
    kms.keys(mine="Enabled", bad="Disabled", good="Enabled", off="Disabled")
    with Server(None, "--kms-endpoint", kms.url, "--account-id", ACCOUNT, "--credentials", str(tmp_path / "credentials"),
                env=OWN) as server:
        one = server.client("AKIDONE", "one-secret")
        told = {refused(one.create_fhir_datastore, DatastoreTypeVersion="R4", SseConfiguration=under(KEY_ARN + key))[1]
                .replace(key, "KEY") for key in ("good", "off", "none")}
        assert len(told) == 1 and "kms:CreateGrant on resource: " + KEY_ARN in told.pop()
        assert "CreateGrant" in refused(one.create_fhir_datastore, DatastoreTypeVersion="R4",
                                        SseConfiguration=under("alias/good"))[1]
        assert kms.asked() == []
        # an id stands for the key of this account
        for key in (KEY_ARN + "mine", "mine"):
            assert one.create_fhir_datastore(DatastoreTypeVersion="R4", SseConfiguration=under(key))["DatastoreId"]
        assert "disabled" in refused(one.create_fhir_datastore, DatastoreTypeVersion="R4",
                                     SseConfiguration=under(KEY_ARN + "bad"))[1]


def test_nothing_secret_is_in_the_log(near, server, peer):
    for text in (near.log_text(), server.log_text()):
        for secret in (*OWN.values(), peer.own_secret, "SECRET-IN-A-MESSAGE"):
            if secret != "AKIDOWN":
                assert secret not in text


# ---- the option ----

@pytest.mark.parametrize("url, env, says", [
    ("http://kms.example", OWN, "https"),
    ("kms.eu-west-1.amazonaws.com", OWN, "--kms-endpoint kms.eu-west-1.amazonaws.com"),
    ("https://kms.eu-west-1.amazonaws.com", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "own keys"),
])
def test_an_endpoint_that_cannot_be_meant_refuses_the_start(tmp_path, url, env, says):
    done = subprocess.run([str(BIN), "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "d"), "--kms-endpoint", url],
                          env={**os.environ, **env}, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "--kms-endpoint" in done.stderr and says in done.stderr, done.stderr
