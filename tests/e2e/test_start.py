"""What a start refuses: files and options that promise a safety which is not there."""
import json
import os
import subprocess

import pytest

from fhirlake import BIN, ROLE, Server

pytestmark = pytest.mark.sanitize
PASS = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": ROLE}
IMPORT = {"Effect": "Allow", "Action": "healthlake:StartFHIRImportJob", "Resource": "*"}


def refused(tmp_path, *options, env=None):
    """The one line that a start which is refused writes."""
    env = {**{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FHIRLAKE_"))}, **(env or {})}
    process = subprocess.Popen(
        [str(BIN), "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data"), *options],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if process.stdout.readline():  # it serves
        process.kill()
    _, told = process.communicate()
    assert process.returncode == 1, process.returncode
    lines = [line for line in told.split("\n") if line.startswith("fhirlake: ")]
    assert len(lines) == 1, told
    return lines[0]


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def callers(folder, *statements):
    """A credentials file: a caller who may do everything, and one with this policy."""
    private(folder / "b.json", json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    return private(folder / "callers", "[admin]\naws_access_key_id = AKIAADMIN\naws_secret_access_key = secret-a\n"
                                       "[b]\naws_access_key_id = AKIAB\naws_secret_access_key = secret-b\n"
                                       "policy = b.json\n")


# ---- roles ----

@pytest.mark.parametrize("statements", [
    [PASS], [IMPORT, PASS], [{**PASS, "Action": "*", "Resource": "*"}], [{**PASS, "Action": ["healthlake:*", "IAM:pass*"]}],
    [{"Effect": "Allow", "NotAction": "healthlake:Delete*", "Resource": "*"}],
    [{**PASS, "Condition": {"StringEquals": {"iam:PassedToService": "healthlake.amazonaws.com"}}}],
    [PASS, {**PASS, "Effect": "Deny", "Resource": "arn:aws:iam::000000000000:role/other"}],
], ids=range(7))
def test_a_confined_caller_who_may_pass_roles_needs_to_be_told_what_roles_may_touch(tmp_path, statements):
    keys = callers(tmp_path, *statements)
    line = refused(tmp_path, "--credentials", keys)
    assert "[b]" in line and "--roles none" in line and "--sts-endpoint" in line, line
    assert "secret" not in line and str(tmp_path) not in line
    for options, env in ((("--roles", "none"), {}), ((), {"FHIRLAKE_ROLES": "none"}),
                         (("--roles", private(tmp_path / "r.json", '{"roles": []}')), {})):
        with Server(None, "--credentials", keys, *options, env=env) as server:
            assert ("check=none" in server.log_text()) == ("r.json" not in str(options))


@pytest.mark.parametrize("statements", [
    [IMPORT], [{**PASS, "Action": "healthlake:*"}], [{**PASS, "Action": "s3:*"}], [{**PASS, "Effect": "Deny"}],
    [{**PASS, "Action": "*"}, {**PASS, "Effect": "Deny", "Resource": "*"}],
], ids=range(5))
def test_who_can_pass_no_role_needs_none(tmp_path, statements):
    with Server(None, "--credentials", callers(tmp_path, *statements)) as server:
        store = server.create_store(server.client("AKIAADMIN", "secret-a"))
        with pytest.raises(Exception, match="AccessDenied"):
            server.start_export(store, client=server.client("AKIAB", "secret-b"))


def test_an_unconfined_caller_alone_starts_as_ever(tmp_path):
    keys = private(tmp_path / "callers", "[admin]\naws_access_key_id = AKIAADMIN\naws_secret_access_key = s\n")
    with Server(None, "--credentials", keys) as server:
        assert "check=none" in server.log_text()
