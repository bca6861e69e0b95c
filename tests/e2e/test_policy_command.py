"""`fhirlake policy test`: its answer is the server's, and it says why."""
import json
import subprocess

import pytest

from fhirlake import BIN, ROLE, patient
from test_policies import REST_CALLS, Callers, allow, arn, control_calls, deny, rest_status

pytestmark = [pytest.mark.sanitize, pytest.mark.once]
STORE = arn("0" * 32)


def files(folder, policies):
    text = ""
    for name, policy in policies.items():
        text += f"[{name}]\naws_access_key_id = AKIA{name.upper()}\naws_secret_access_key = hush-{name}\n"
        if policy is not None:
            text += f"policy = {name}.json\n"
            (folder / f"{name}.json").write_text(policy if isinstance(policy, str) else json.dumps({"Statement": policy}))
            (folder / f"{name}.json").chmod(0o600)
    (folder / "callers").write_text(text)
    (folder / "callers").chmod(0o600)
    return folder / "callers"


def ask(credentials, caller, action, resource=STORE, *context, test=("test",)):
    """(exit status, what it writes)"""
    done = subprocess.run([str(BIN), "policy", *test, "--credentials", str(credentials), "--caller", caller, "--action", action,
                           "--resource", resource, *(x for c in context for x in ("--context", c))],
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_it_answers_as_the_server_does(tmp_path):
    """Each action of both planes, under policies of each kind."""
    policies = {
        "admin": None, "reader": [allow(["healthlake:Read*", "healthlake:List*"])],
        "careful": [allow("healthlake:*"), deny("healthlake:Delete*")],
        "teama": [allow("healthlake:*", StringEquals={"aws:ResourceTag/team": "a"})],
        "teamb": [allow("healthlake:*", StringNotEqualsIfExists={"aws:ResourceTag/team": "a"})],
        "near": [allow("healthlake:*", IpAddress={"aws:SourceIp": "127.0.0.1"})],
        "far": [allow("healthlake:*"), deny("*", NotIpAddress={"aws:SourceIp": ["10.0.0.0/8", "::/0"]})],
        "tls": [allow("healthlake:*"), deny("healthlake:Search*", Bool={"aws:SecureTransport": "false"})],
        "late": [allow("healthlake:*", DateLessThan={"aws:CurrentTime": "2020-01-01"})],
        "passer": [allow("healthlake:*"), allow("iam:PassRole", ROLE)],
    }
    wrong = []
    with Callers(tmp_path, policies, "--roles", "none") as server:
        store = server.create_store(server.as_("admin"), Tags=[{"Key": "team", "Value": "a"}])
        server.rest("admin", store).put("Patient/p", patient("p"))
        context = ["aws:SourceIp=127.0.0.1", "aws:SecureTransport=false", "aws:ResourceTag/team=a"]
        for caller in policies:
            said = {}
            for call in REST_CALLS:
                if call[1] != "HEAD":
                    said[call[0]] = rest_status(server.rest(caller, store), call).status != 403
            for name in ("DescribeFHIRDatastore", "ListFHIRExportJobs", "ListTagsForResource", "DescribeFHIRImportJob"):
                said[name] = control_calls(server.as_(caller), store)[name]()[0] != "AccessDeniedException"
            for action, passed in said.items():
                status, text = ask(tmp_path / "callers", caller, f"healthlake:{action}", arn(store), *context)
                if status != (0 if passed else 1):
                    wrong.append((caller, action, passed, text))
            jobs = control_calls(server.as_(caller), store)["StartFHIRExportJob"]()[0] != "AccessDeniedException"
            both = all(ask(tmp_path / "callers", caller, *what, *context)[0] == 0
                       for what in (("healthlake:StartFHIRExportJob", arn(store)), ("iam:PassRole", ROLE)))
            if jobs != both:
                wrong.append((caller, "job", jobs, both))
    assert wrong == []


def test_it_says_which_statement_decides_and_which_conditions(tmp_path):
    keys = files(tmp_path, {"app": [
        {"Sid": "Team", **allow("healthlake:*", StringEquals={"aws:ResourceTag/team": ["a", "b"]},
                                IpAddress={"aws:SourceIp": "192.0.2.0/24"})},
        {"Sid": "Frozen", **deny("healthlake:Delete*", DateGreaterThan={"aws:CurrentTime": "2027-01-01T00:00:00Z"})},
        deny("healthlake:Patch*", STORE)], "admin": None})
    read = "healthlake:ReadResource"
    status, text = ask(keys, "app", read, STORE, "aws:ResourceTag/team=b", "aws:SourceIp=192.0.2.7")
    assert status == 0 and text.split("\n")[0] == f"allowed: {read} on {STORE} for app"
    assert 'Allow of app.json, statement 1 "Team"' in text
    assert 'StringEquals aws:ResourceTag/team = "a", "b": holds' in text
    assert 'IpAddress aws:SourceIp = "192.0.2.0/24": holds' in text
    status, text = ask(keys, "app", read, STORE, "aws:SourceIp=192.0.3.7")
    assert status == 1 and "no statement allows it" in text and 'no Allow of app.json, statement 1 "Team"' in text
    assert 'aws:ResourceTag/team = "a", "b": does not hold (the request has no such key)' in text
    assert 'aws:SourceIp = "192.0.2.0/24": does not hold\n' in text
    good = ("aws:ResourceTag/team=a", "aws:SourceIp=192.0.2.7")
    status, text = ask(keys, "app", "healthlake:DeleteResource", STORE, *good, "aws:CurrentTime=2027-06-01")
    assert status == 1 and 'Deny of app.json, statement 2 "Frozen"' in text and "statement 1" not in text
    assert ask(keys, "app", "healthlake:DeleteResource", STORE, *good, "aws:CurrentTime=2026-06-01T00:00:00Z")[0] == 0
    status, text = ask(keys, "app", "healthlake:PatchResource", STORE, *good)
    assert status == 1 and "Deny of app.json, statement 3\n" in text
    status, text = ask(keys, "admin", "healthlake:DeleteFHIRDatastore")
    assert status == 0 and "no policy" in text


def test_tags_of_a_request_are_its_tag_keys_and_an_expired_key_is_denied(tmp_path):
    keys = files(tmp_path, {"app": [allow("healthlake:TagResource", **{"ForAllValues:StringEquals": {"aws:TagKeys": ["k", "l"]}})]})
    assert ask(keys, "app", "healthlake:TagResource", STORE, "aws:RequestTag/k=v", "aws:TagKeys=l")[0] == 0
    assert ask(keys, "app", "healthlake:TagResource", STORE, "aws:RequestTag/k=v", "aws:RequestTag/m=v")[0] == 1
    keys.write_text(keys.read_text() + "expires = 2027-01-01T00:00:00Z\n")
    assert ask(keys, "app", "healthlake:TagResource", STORE, "aws:CurrentTime=2026-12-31T23:59:59Z")[0] == 0
    status, text = ask(keys, "app", "healthlake:TagResource", STORE, "aws:CurrentTime=2027-01-01")
    assert status == 1 and "expired" in text


@pytest.mark.parametrize("args, says", [
    (("app", "healthlake:ReadResorce"), "is healthlake:ReadResource meant?"),
    (("app", "healtlake:ReadResource"), "is healthlake:ReadResource meant?"),
    (("app", "healthlake:Read*"), "one action, without * and ?"), (("app", "healthlake:Zzz"), "there is no action"),
    (("app", "s3:GetObject"), "there is no action"), (("app", "iam:GetRole"), "there is no action"),
    (("app", "ReadResource"), "there is no action"), (("app", "*"), "one action"),
    (("nobody", "healthlake:ReadResource"), "no section [nobody]"),
    (("app", "healthlake:ReadResource", "datastore/x"), "ARN of six parts"),
    (("app", "healthlake:ReadResource", STORE, "aws:SourceIP"), "KEY=VALUE"),
    (("app", "healthlake:ReadResource", STORE, "aws:Region=x"), "is no condition key"),
    (("app", "healthlake:ReadResource", STORE, "aws:SourceIp=10.0.0.0/8"), "takes an address"),
    (("app", "healthlake:ReadResource", STORE, "aws:SecureTransport=yes"), "takes true or false"),
    (("app", "healthlake:ReadResource", STORE, "aws:CurrentTime=noon"), "takes 2027-01-31T00:00:00Z"),
    (("app", "healthlake:ReadResource"), "give --context aws:SourceIp=ADDRESS"),
    (("app", "healthlake:ReadResource", STORE, "aws:SourceIp=::1"), "give --context aws:SecureTransport=true"),
], ids=range(17))
def test_what_cannot_be_told_is_exit_status_2(tmp_path, args, says):
    keys = files(tmp_path, {"app": [allow("*", IpAddress={"aws:SourceIp": "::1"}, Bool={"aws:SecureTransport": "true"})]})
    status, text = ask(keys, *args)
    assert status == 2 and says in text and "hush" not in text, text


def test_broken_files_and_wrong_usage_are_exit_status_2(tmp_path):
    keys = files(tmp_path, {"app": '{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}]}'})
    status, text = ask(keys, "app", "healthlake:ReadResource")
    assert status == 2 and "app.json" in text and "Principal" in text and "[app]" in text
    assert ask(tmp_path / "absent", "app", "healthlake:ReadResource")[0] == 2
    keys = files(tmp_path, {"app": None})
    assert ask(keys, "app", "healthlake:ReadResource", test=())[0] == 2
    assert ask(keys, "app", "healthlake:ReadResource", test=("tests",))[0] == 2
    for left_out in ("--credentials", "--caller", "--action", "--resource"):
        words = ["--credentials", str(keys), "--caller", "app", "--action", "healthlake:ReadResource", "--resource", "*"]
        at = words.index(left_out)
        done = subprocess.run([str(BIN), "policy", "test", *words[:at], *words[at + 2:]], capture_output=True, text=True)
        assert done.returncode == 2 and f"{left_out} " in done.stderr
    done = subprocess.run([str(BIN), "policy", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "aws:SourceIp" in done.stdout and "Exit status" in done.stdout
