"""What a policy opens, and nothing beside it: actions one by one, tags that a caller sets himself, and what is told
to who may not ask."""
import json
import re

import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError

from fhirlake import KEY, ROLE, ROOT, Fhir, Server, ask_control, patient

pytestmark = [pytest.mark.sanitize, pytest.mark.once]
ACCOUNT = "000000000000"
OUT = {"S3Configuration": {"S3Uri": "s3://out/x", "KmsKeyId": KEY}}


def arn(store):
    return f"arn:aws:healthlake:us-east-1:{ACCOUNT}:datastore/fhir/{store}"


def allow(action, resource="*", **condition):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **({"Condition": condition} if condition else {})}


def deny(action, resource="*", **condition):
    return {**allow(action, resource, **condition), "Effect": "Deny"}


PASS = allow("iam:PassRole", ROLE)


class Callers(Server):
    """A server whose callers have these policies (lists of statements; None: everything)."""

    def __init__(self, folder, policies, *options):
        text = ""
        self.secrets = {}
        for i, (name, statements) in enumerate(policies.items()):
            self.secrets[name] = (f"AKIA{i:016d}", f"secret{i}")
            text += f"[{name}]\naws_access_key_id = AKIA{i:016d}\naws_secret_access_key = secret{i}\n"
            if statements is not None:
                text += f"policy = {name}.json\n"
                (folder / f"{name}.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
                (folder / f"{name}.json").chmod(0o600)
        (folder / "callers").write_text(text)
        (folder / "callers").chmod(0o600)
        super().__init__(None, "--credentials", str(folder / "callers"), *options)

    def keys(self):
        return self.secrets["admin"]

    def as_(self, name):
        return boto3.client("healthlake", endpoint_url=self.url, region_name="us-east-1",
                            aws_access_key_id=self.secrets[name][0], aws_secret_access_key=self.secrets[name][1],
                            config=botocore.config.Config(retries={"total_max_attempts": 1}, parameter_validation=False))

    def rest(self, name, store):
        return Fhir(f"{self.url}/datastore/{store}/r4", self.secrets[name])


def said(call, **args):
    """(code, message) of a call; ("OK", "") when it passed."""
    try:
        call(**args)
        return "OK", ""
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]


def asked(client, operation, **members):
    """The same of an operation that not every botocore knows."""
    keys = client._request_signer._credentials
    keys = keys and (keys.access_key, keys.secret_key, keys.token)
    _, code, text = ask_control(client.meta.endpoint_url, keys, operation, members)
    return (code, text) if code else ("OK", "")


# ---- one action at a time ----

def control_calls(client, store):
    """Operation -> the call. What they ask for fails late or does no harm."""
    job = "0" * 32
    return {
        "CreateFHIRDatastore": lambda: said(client.create_fhir_datastore, DatastoreTypeVersion="R4", ClientToken="one"),
        "DeleteFHIRDatastore": lambda: said(client.delete_fhir_datastore, DatastoreId="1" * 32),
        "DescribeFHIRDatastore": lambda: said(client.describe_fhir_datastore, DatastoreId=store),
        "DescribeFHIRExportJob": lambda: said(client.describe_fhir_export_job, DatastoreId=store, JobId=job),
        "DescribeFHIRImportJob": lambda: said(client.describe_fhir_import_job, DatastoreId=store, JobId=job),
        "ListFHIRDatastores": lambda: said(client.list_fhir_datastores),
        "ListFHIRExportJobs": lambda: said(client.list_fhir_export_jobs, DatastoreId=store),
        "ListFHIRImportJobs": lambda: said(client.list_fhir_import_jobs, DatastoreId=store),
        "ListTagsForResource": lambda: said(client.list_tags_for_resource, ResourceARN=arn(store)),
        "RestoreFHIRDatastore": lambda: asked(client, "RestoreFHIRDatastore", SourceDatastoreId=store,
                                              RestoreConfiguration={"ContinuousBackupRestoreConfiguration": {}}),
        "StartFHIRExportJob": lambda: said(client.start_fhir_export_job, DatastoreId=store, DataAccessRoleArn=ROLE,
                                           OutputDataConfig=OUT, ClientToken="two"),
        "StartFHIRImportJob": lambda: said(client.start_fhir_import_job, DatastoreId=store, DataAccessRoleArn=ROLE,
                                           JobOutputDataConfig=OUT, InputDataConfig={"S3Uri": "s3://input/x"}),
        "TagResource": lambda: said(client.tag_resource, ResourceARN=arn(store), Tags=[{"Key": "k", "Value": "v"}]),
        "UntagResource": lambda: said(client.untag_resource, ResourceARN=arn(store), TagKeys=["k"]),
        "UpdateFHIRDatastore": lambda: asked(client, "UpdateFHIRDatastore", DatastoreId=store),
    }


REST_CALLS = [  # action, method, path, body, headers
    ("ReadResource", "GET", "Patient/p", None, {}), ("ReadResource", "HEAD", "Patient/p", None, {}),
    ("VersionReadResource", "GET", "Patient/p/_history/1", None, {}),
    ("GetHistoryByResourceId", "GET", "Patient/p/_history", None, {}),
    ("GetHistoryByResourceType", "GET", "Patient/_history", None, {}),
    ("GetFullHistory", "GET", "_history", None, {}),
    ("CreateResource", "POST", "Patient", "{}", {}), ("UpdateResource", "PUT", "Patient/p", "{}", {}),
    ("PatchResource", "PATCH", "Patient/nobody", "[]", {}), ("DeleteResource", "DELETE", "Patient/nobody", None, {}),
    ("ValidateResource", "POST", "Patient/$validate", "{}", {}),
    ("SearchWithGet", "GET", "Patient?name=x", None, {}), ("SearchWithGet", "GET", "Patient/p/Observation", None, {}),
    ("SearchWithGet", "GET", "?_type=Patient", None, {}),
    ("SearchWithPost", "POST", "Patient/_search", "", {}), ("SearchWithPost", "POST", "_search", "", {}),
    ("SearchWithPost", "POST", "$viewdefinition-run", "{}", {}),
    ("ProcessBundle", "POST", "", '{"resourceType":"Bundle","type":"batch"}', {}),
    ("SearchEverything", "GET", "Patient/p/$everything", None, {}),
    ("StartFHIRExportJobWithGet", "GET", "$export", None, {}),
    ("StartFHIRExportJobWithPost", "POST", "Patient/$export", None, {}),
    ("StartFHIRExportJobWithPost", "POST", "Group/g/$export", None, {}),
    ("DescribeFHIRExportJobWithGet", "GET", "export/" + "0" * 32, None, {}),
    ("CancelFHIRExportJobWithDelete", "DELETE", "export/" + "0" * 32, None, {}),
    ("GetExportedFile", "GET", "export/" + "0" * 32 + "/files/x", None, {}),
    ("DeleteResource", "POST", "Patient/nobody/$erase", None, {}),
    ("StartFHIRBulkDeleteJob", "POST", "Patient/nobody/$purge", None, {}),
    ("StartFHIRBulkDeleteJob", "POST", "Patient/$bulk-delete?x=y", None, {}),
    ("DeleteResource", "POST", "Patient/nobody/_history/1/$erase", None, {}),
    ("DescribeFHIRBulkDeleteJob", "GET", "$erase/" + "0" * 32, None, {}),
    ("DescribeFHIRBulkDeleteJob", "GET", "$purge/" + "0" * 32, None, {}),
    ("DescribeFHIRBulkDeleteJob", "GET", "$bulk-delete/" + "0" * 32, None, {}),
    ("GetCapabilities", "GET", "metadata", None, {}), ("GetCapabilities", "GET", ".well-known/smart-configuration", None, {}),
]


def rest_status(fhir, call):
    _, method, path, body, headers = call
    kind = ("application/x-www-form-urlencoded" if path.endswith("_search") else
            "application/json-patch+json" if method == "PATCH" else "application/fhir+json")
    return fhir.call(method, path, body, kind, **headers)


def test_every_action_of_the_table_of_interactions_is_called_here():
    table = (ROOT / "src" / "rest" / "interactions.c").read_text()
    assert set(re.findall(r'"[a-z-]+",\s+"([A-Z]\w+)",\s+rest_', table)) == {call[0] for call in REST_CALLS}


def test_each_action_opens_its_own_interaction_and_nothing_else(tmp_path):
    actions = list(control_calls(None, "")) + sorted({c[0] for c in REST_CALLS})
    policies = {"admin": None, **{a: [allow(f"healthlake:{a}"), PASS] for a in actions}}
    wrong = []
    with Callers(tmp_path, policies, "--roles", "none") as server:
        store = server.create_store(server.as_("admin"))
        server.rest("admin", store).put("Patient/p", patient("p"))
        for caller in actions:
            for operation, call in control_calls(server.as_(caller), store).items():
                code, text = call()
                if (code == "AccessDeniedException") == (operation == caller):
                    wrong.append((caller, operation, code, text))
            for call in REST_CALLS:
                status = rest_status(server.rest(caller, store), call).status
                if (status == 403) == (call[0] == caller):
                    wrong.append((caller, call[:3], status))
    assert wrong == []


def test_names_of_actions_that_are_none_are_told_at_the_start(tmp_path):
    """The server starts, as IAM takes them too; each slip has its line, with the file, the statement and what is near."""
    policies = {"admin": None,
                "app": [allow("healthlake:ReadResource"), allow(["healthlake:ReadResorce", "healthlake:Search*"])],
                "cleaner": [deny("healthlake:DeletResource"), allow("healthlake:*"), allow("s3:GetObject"),
                            {"Effect": "Allow", "NotAction": "healthlake:Delet?Resources", "Resource": "*"}]}
    with Callers(tmp_path, policies, "--roles", "none") as server:
        lines = [dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line)) for line in server.log_text().splitlines() if " policy_action " in line]
    told = [(line["policy"], line["statement"], line["action"], line["near"]) for line in lines]
    assert told == [("app.json", "2", "healthlake:ReadResorce", "healthlake:ReadResource"),
                    ("cleaner.json", "1", "healthlake:DeletResource", "healthlake:DeleteResource"),
                    ("cleaner.json", "4", "healthlake:Delet?Resources", "healthlake:DeleteResource")]


# ---- tags that a caller sets himself ----

TEAM_A = {"StringEquals": {"aws:ResourceTag/team": "a"}}


@pytest.mark.parametrize("keys", [("team", "TEAM"), ("Team", "team"), ("x", "tEaM", "team"), ("a:b", "A:B")], ids=str)
def test_tag_keys_that_differ_by_letter_case_only_are_refused(server, client, keys):
    tags = [{"Key": k, "Value": "v"} for k in keys]
    code, text = said(client.create_fhir_datastore, DatastoreTypeVersion="R4", Tags=tags)
    assert code == "ValidationException" and "letter case" in text
    store = server.create_store(Tags=tags[-1:])
    for sent in (tags[-2:-1], tags, tags[:-1]):
        code, text = said(client.tag_resource, ResourceARN=arn(store), Tags=sent)
        assert code == "ValidationException" and "letter case" in text
    assert client.list_tags_for_resource(ResourceARN=arn(store))["Tags"] == tags[-1:]
    client.tag_resource(ResourceARN=arn(store), Tags=[{"Key": keys[-1], "Value": "new"}])
    client.untag_resource(ResourceARN=arn(store), TagKeys=[keys[-1]])
    client.tag_resource(ResourceARN=arn(store), Tags=tags[-2:-1])
    assert client.list_tags_for_resource(ResourceARN=arn(store))["Tags"] == tags[-2:-1]


def test_a_caller_who_may_not_set_a_tag_sets_it_in_no_letter_case(tmp_path):
    own = [allow("healthlake:*"), deny("healthlake:TagResource", **{"ForAnyValue:StringEquals": {"aws:TagKeys": "team"}}),
           deny("healthlake:ReadResource", **{"StringNotEquals": {"aws:ResourceTag/team": "a"}})]
    with Callers(tmp_path, {"admin": None, "tagger": own}) as server:
        tagger = server.as_("tagger")
        for tags in ([{"Key": "team", "Value": "b"}], []):
            store = server.create_store(server.as_("admin"), Tags=tags)
            for key in ("team", "TEAM", "Team", "teaM"):
                assert said(tagger.tag_resource, ResourceARN=arn(store), Tags=[{"Key": key, "Value": "a"}])[0] \
                    == "AccessDeniedException"
                assert said(tagger.create_fhir_datastore, DatastoreTypeVersion="R4",
                            Tags=[{"Key": key, "Value": "a"}])[0] == "AccessDeniedException"
            assert server.rest("tagger", store).get("Patient/p").status == 403
        assert said(tagger.tag_resource, ResourceARN=arn(store), Tags=[{"Key": "other", "Value": "a"}])[0] == "OK"


def test_the_tags_of_a_creation_are_no_tags_of_a_data_store(tmp_path):
    tag = [{"Key": "team", "Value": "a"}]
    policies = {
        "admin": None,
        "resource": [allow("healthlake:*", **TEAM_A)],
        "like": [allow("healthlake:*", **{"StringLike": {"aws:ResourceTag/Team": "*"}})],
        "null": [allow("healthlake:*", **{"Null": {"aws:ResourceTag/team": "false"}})],
        "any": [allow("healthlake:*", **{"ForAnyValue:StringEquals": {"aws:ResourceTag/team": ["a", "b"]}})],
        "request": [allow("healthlake:CreateFHIRDatastore", **{"StringEquals": {"aws:RequestTag/team": "a"}})],
        "keys": [allow("healthlake:CreateFHIRDatastore", **{"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}})],
        "untagging": [allow("healthlake:*"), deny("healthlake:TagResource")],
    }
    with Callers(tmp_path, policies) as server:
        for caller in ("resource", "like", "null", "any", "untagging"):
            assert said(server.as_(caller).create_fhir_datastore, DatastoreTypeVersion="R4", Tags=tag)[0] \
                == "AccessDeniedException", caller
        for caller in ("request", "keys"):
            assert said(server.as_(caller).create_fhir_datastore, DatastoreTypeVersion="R4", Tags=tag)[0] == "OK", caller
        assert said(server.as_("request").create_fhir_datastore, DatastoreTypeVersion="R4")[0] == "AccessDeniedException"
        assert said(server.as_("untagging").create_fhir_datastore, DatastoreTypeVersion="R4")[0] == "OK"
        names = [s["DatastoreId"] for s in server.as_("admin").list_fhir_datastores()["DatastorePropertiesList"]]
        assert len(names) == 3
        store = server.create_store(server.as_("admin"), Tags=tag)
        assert said(server.as_("resource").describe_fhir_datastore, DatastoreId=store)[0] == "OK"


# ---- who may not ask learns nothing ----

def without(text, *stores):
    for s in stores:
        text = text.replace(s, "ID")
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "REQUEST", text)


def test_who_may_not_touch_a_data_store_does_not_learn_whether_it_is_there(tmp_path):
    policies = {
        "admin": None,
        "none": [allow("s3:*")],
        "elsewhere": [allow("healthlake:*", arn("2" * 32)), PASS],
        "denied": [allow("healthlake:*"), deny("healthlake:*", arn("*")), PASS],
        "tagged": [allow("healthlake:*", **TEAM_A), PASS],
        "not-b": [allow("healthlake:*", **{"StringNotEquals": {"aws:ResourceTag/team": "b"}}), PASS],
        "not-b-if": [allow("healthlake:*", **{"StringNotEqualsIfExists": {"aws:ResourceTag/team": "b"}}), PASS],
        "but-b": [allow("healthlake:*"), deny("healthlake:*", **{"StringEquals": {"aws:ResourceTag/team": "b"}}), PASS],
        "but-c": [allow("healthlake:*", **TEAM_A), deny("*", **{"StringEquals": {"aws:ResourceTag/team": "c"}}), PASS],
        "untagged": [allow("healthlake:*", **{"Null": {"aws:ResourceTag/team": "true"}}), PASS],
    }
    wrong = []
    with Callers(tmp_path, policies, "--roles", "none") as server:
        there, absent = server.create_store(server.as_("admin"), Tags=[{"Key": "team", "Value": "b"}]), "f" * 32
        gone = server.create_store(server.as_("admin"), Tags=[{"Key": "team", "Value": "b"}])
        server.as_("admin").delete_fhir_datastore(DatastoreId=gone)
        server.rest("admin", there).put("Patient/p", patient("p"))
        for caller in list(policies)[1:]:
            client = server.as_(caller)
            calls = [control_calls(client, s) for s in (there, absent, gone)]
            for operation in calls[0]:
                answers = {(c[operation]()[0], without(c[operation]()[1], there, absent, gone)) for c in calls}
                if operation not in ("CreateFHIRDatastore", "ListFHIRDatastores", "DeleteFHIRDatastore") and (
                        len(answers) != 1 or {a[0] for a in answers} != {"AccessDeniedException"}):
                    wrong.append((caller, operation, answers))
            answers = {(code, without(text, there, absent, gone)) for code, text in
                       (said(client.delete_fhir_datastore, DatastoreId=s) for s in (there, absent, gone))}
            if len(answers) != 1 or {a[0] for a in answers} != {"AccessDeniedException"}:
                wrong.append((caller, "DeleteFHIRDatastore", answers))
            for call in REST_CALLS + [("-", "GET", "Nonsense", None, {}), ("-", "DELETE", "Patient/p/_history", None, {})]:
                got = [rest_status(server.rest(caller, s), call) for s in (there, absent, gone)]
                answers = {(a.status, without(a.body.decode(), there, absent, gone)) for a in got}
                if len(answers) != 1 or (call[0] != "-" and answers.pop()[0] != 403):
                    wrong.append((caller, call[:3], [(a.status, a.body[:300]) for a in got]))
        # nor by an id that no data store can have
        for odd in ("x", "%00", "f" * 300, "..%2f" + there, there.upper(), there + "%20"):
            answer = server.rest("none", odd).get("Patient/p")
            assert answer.status in (403, 400), (odd, answer.status)
        # who may ask is told
        for store, status in ((absent, 404), (gone, 404), (there, 200)):
            assert server.rest("admin", store).get("Patient/p").status == status
        assert said(server.as_("admin").describe_fhir_datastore, DatastoreId=absent)[0] == "ResourceNotFoundException"
        assert said(server.as_("elsewhere").describe_fhir_datastore, DatastoreId="2" * 32)[0] == "ResourceNotFoundException"
        assert server.rest("elsewhere", "2" * 32).get("Patient/p").status == 404
    assert wrong == []


def test_a_patch_shows_the_resource_only_to_who_may_read_it(tmp_path):
    with Callers(tmp_path, {"admin": None, "patcher": [allow("healthlake:PatchResource")],
                            "both": [allow(["healthlake:PatchResource", "healthlake:ReadResource"])]}) as server:
        store = server.create_store(server.as_("admin"))
        assert server.rest("admin", store).put("Patient/p", {"resourceType": "Patient", "id": "p", "gender": "male"}).status == 201
        change = [{"op": "add", "path": "/active", "value": True}]
        blind = server.rest("patcher", store).patch("Patient/p", change)
        assert blind.status == 200 and blind.body == b"" and blind.headers["ETag"] == 'W/"2"'
        entry = {"request": {"method": "PATCH", "url": "Patient/p"}, "resource": {
            "resourceType": "Binary", "contentType": "application/json-patch+json", "data": "W10="}}
        assert server.rest("both", store).patch("Patient/p", []).json["gender"] == "male"
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
        inside = server.rest("patcher", store).post("", bundle, Prefer="return=representation")
        assert b"male" not in inside.body


def test_a_client_token_of_a_creation_is_its_callers(tmp_path):
    with Callers(tmp_path, {"admin": None, "a": [allow("healthlake:CreateFHIRDatastore")],
                            "b": [allow("healthlake:CreateFHIRDatastore")]}) as server:
        made = [server.as_(who).create_fhir_datastore(DatastoreTypeVersion="R4", ClientToken="t")["DatastoreId"] for who in "aab"]
        assert made[0] == made[1] != made[2]
        with pytest.raises(ClientError, match="ClientToken"):
            server.as_("a").create_fhir_datastore(DatastoreTypeVersion="R4", DatastoreName="other", ClientToken="t")
        server.as_("b").create_fhir_datastore(DatastoreTypeVersion="R4", ClientToken="u")
        assert server.as_("a").create_fhir_datastore(DatastoreTypeVersion="R4", DatastoreName="other", ClientToken="u")
