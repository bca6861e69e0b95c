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


# ---- files that others can read or change ----

ROLES = json.dumps({"roles": [{"arn": ROLE, "allow": ["s3://out/*"]}]})


def key_files(folder):
    """name -> path of every file that holds keys or rules, and the options that name them."""
    callers(folder, IMPORT, PASS)
    files = {"credentials": folder / "callers", "policy": folder / "b.json", "roles": folder / "roles.json",
             "own": folder / "own"}
    private(files["roles"], ROLES)
    private(files["own"], "[default]\naws_access_key_id = AKIAOWN\naws_secret_access_key = secret-o\n")
    return files, ["--credentials", str(files["credentials"]), "--roles", str(files["roles"]), "--s3-credentials",
                   str(files["own"]), "--s3-endpoint", "http://127.0.0.1:9", "--sts-endpoint", "http://127.0.0.1:9"]


@pytest.mark.parametrize("name", ["credentials", "policy", "roles", "own"])
@pytest.mark.parametrize("file, folder", [(0o644, 0o755), (0o640, 0o750), (0o666, 0o700), (0o620, 0o700), (0o604, 0o711)],
                         ids=lambda m: f"{m:o}")
def test_keys_and_rules_that_others_can_read_or_change_are_refused(tmp_path, name, file, folder):
    place = tmp_path / "etc"
    place.mkdir(mode=0o700)
    files, options = key_files(place)
    place.chmod(folder)
    files[name].chmod(file)
    line = refused(tmp_path, *options)
    assert f"chmod 600 {files[name]}" in line and "secret" not in line, line
    files[name].chmod(0o600)  # as it says
    with Server(None, *options):
        pass


@pytest.mark.parametrize("policy, told", [
    ("{bad", "JSON is broken"), ('{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Actions": "*", "Resource": "*"}]}', '"Actions"'),
    ("[]", ""), (None, "No such file")], ids=["broken", "member", "list", "missing"])
def test_a_policy_that_cannot_be_taken_is_named_with_its_section(tmp_path, policy, told):
    keys = callers(tmp_path, IMPORT)
    (tmp_path / "b.json").unlink()
    if policy:
        private(tmp_path / "b.json", policy)
    line = refused(tmp_path, "--credentials", keys)
    assert "section [b]: policy b.json: " in line and told in line, line


def test_a_folder_in_which_everybody_can_put_files_is_refused(tmp_path):
    place = tmp_path / "etc"
    place.mkdir(mode=0o700)
    _, options = key_files(place)
    place.chmod(0o777)
    line = refused(tmp_path, *options)
    assert f"chmod o-w {place}" in line
    place.chmod(0o755)
    with Server(None, *options):
        pass


def test_links_are_followed_and_what_they_lead_to_counts(tmp_path):
    place = tmp_path / "etc"
    place.mkdir(mode=0o700)
    files, options = key_files(place)
    (place / "to-callers").symlink_to(files["credentials"])
    (place / "to-roles").symlink_to("roles.json")
    linked = [o.replace(str(files["credentials"]), str(place / "to-callers")).replace(
        str(files["roles"]), str(place / "to-roles")) for o in options]
    with Server(None, *linked):
        pass
    place.chmod(0o755)
    files["roles"].chmod(0o644)
    assert f"chmod 600 {place / 'to-roles'}" in refused(tmp_path, *linked)


@pytest.mark.files
def test_the_servers_own_key_file_starts_again_and_is_not_taken_when_others_could_write_it(tmp_path):
    with Server(tmp_path / "data") as server:
        keys = server.data / "credentials"
        assert keys.stat().st_mode & 0o777 == 0o600
    keys.chmod(0o606)
    assert "chmod 600" in refused(tmp_path)
    keys.chmod(0o600)
    with Server(tmp_path / "data") as server:
        assert server.client().list_fhir_datastores()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_keys_and_rules_of_another_user_are_refused(tmp_path):
    place = tmp_path / "etc"
    place.mkdir(mode=0o700)
    files, options = key_files(place)
    for path in files.values():
        os.chown(path, 12345, -1)
        assert f"chown 0 {path}" in refused(tmp_path, *options)
        os.chown(path, 0, -1)
    with Server(None, *options):
        pass


# ---- sizes ----

@pytest.mark.parametrize("options, event, told", [
    (("--min-free-mib", str(1 << 29)), "min_free", True), (("--min-free-mib", str(1 << 30)), "min_free", True),
    (("--min-free-mib", "1"), "min_free", False), ((), "min_free", False),
    (("--cache-mib", str(1 << 20)), "cache", True), (("--cache-mib", "8"), "cache", False), ((), "cache", False),
], ids=str)
@pytest.mark.files
def test_a_size_that_the_machine_does_not_have_is_told_at_the_start(options, event, told):
    with Server(None, *options) as server:
        lines = [line for line in server.log_text().splitlines() if f" warn {event} " in line]
    assert len(lines) == told, lines
    assert all(f"mib={options[1]} " in line and options[0] in line for line in lines)


def test_a_folder_with_other_files_is_told_at_its_first_use_alone(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    (folder / ".hidden").write_text("")
    for told in (True, False):
        with Server(folder) as server:
            lines = [line for line in server.log_text().splitlines() if " data_folder " in line]
            assert len(lines) == 1, lines  # the log of both starts
            if told:
                assert "others=1 " in lines[0] and "letter" not in lines[0]


def test_an_empty_folder_and_one_with_keys_and_objects_is_told_nothing(tmp_path):
    folder = tmp_path / "data"
    (folder / "objects" / "input").mkdir(parents=True)
    with Server(folder) as server:
        assert " data_folder " not in server.log_text()


# ---- what the program says of itself ----

def said(*args):
    done = subprocess.run([str(BIN), *args], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_help_of_a_command_is_what_the_command_says():
    code, text, _ = said("help")
    commands = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    commands = commands[:commands.index("version")]
    assert code == 0 and {"serve", "export", "audit"} <= set(commands)
    for command in commands:
        assert said("help", command) == said(command, "--help") == (0, said(command, "--help")[1], ""), command
        assert said("--help", command) == said("-h", command) == said(command, "--help"), command
    for second in (("audit", "show"), ("client", "keygen")):
        assert said("help", *second) == said(*second, "--help") == (0, said(*second, "--help")[1], "")
        assert said("help", *second) != said("help", second[0])
    for more in ("--help", "-h", "help", "version", "--version"):
        assert said("help", more) == said("--help", more) == (0, text, ""), more
    for version in ("version", "--version"):
        assert said(version) != said(version, "--help") == said(version, "-h") == (0, text, "")
    for wrong in (("exprot",), ("help", "exprot"), ("--help", "exprot"), ("-h", "exprot"), ("exprot", "--help")):
        code, out, told = said(*wrong)
        assert code == 2 and out == "" and told.startswith('fhirlake: "exprot" is not a command\n') and "Usage:" in told
