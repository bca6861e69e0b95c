"""Keys and policies that change while the server runs."""
import json
import os
import re
import signal
import threading

import pytest
from botocore.exceptions import ClientError

from fhirlake import Server, patient, wait
from test_policies import Callers, allow, said

pytestmark = [pytest.mark.sanitize, pytest.mark.threads, pytest.mark.once]


def section(name, key, secret, **more):
    return f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n" + "".join(
        f"{k} = {v}\n" for k, v in more.items())


ADMIN = section("admin", "AKIAADMIN", "secret-a")


def put(path, text, mode=0o600):
    """At one stroke, as an operator should."""
    new = path.with_name(path.name + ".new")
    new.write_text(text if isinstance(text, str) else json.dumps({"Version": "2012-10-17", "Statement": text}))
    new.chmod(mode)
    new.rename(path)


class Changing(Callers):
    """A server whose callers' file the test writes."""

    def __init__(self, folder, text, *options):
        self.folder = folder
        self.secrets = {"admin": ("AKIAADMIN", "secret-a"), "app": ("AKIAAPP", "secret-b")}
        put(folder / "callers", text)
        Server.__init__(self, None, "--credentials", str(folder / "callers"), *options)

    def lines(self, state):
        return [dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)) for line in self.log_text().splitlines()
                if re.search(r" (info|error) credentials ", line) and f"state={state}" in line.replace('"', "").replace("read again", "again")]

    def change(self, text=None, name="callers", hup=False, state="again", mode=0o600):
        """Writes the file, and waits until the server has read it."""
        before = len(self.lines(state))
        if text is not None:
            put(self.folder / name, text, mode)
        if hup:
            self.process.send_signal(signal.SIGHUP)
        wait(lambda: len(self.lines(state)) > before, {True})
        return self.lines(state)[-1]

    def comes_to(self, wanted, text, *name, hup):
        """The same, until the caller is answered so: read in two ways, a file may be read twice, the second time behind a later
        change."""
        self.change(text, *name, hup=hup)
        wait(self.asks, {wanted})

    def asks(self, name="app"):
        return said(self.as_(name).list_fhir_datastores)[0]


@pytest.mark.parametrize("hup", [False, True], ids=["watched", "SIGHUP"])
def test_a_key_comes_and_goes_and_its_policy_changes(tmp_path, hup):
    app = section("app", "AKIAAPP", "secret-b", policy="app.json")
    put(tmp_path / "app.json", [allow("healthlake:List*")])
    with Changing(tmp_path, ADMIN) as server:
        assert server.asks() == "UnrecognizedClientException"
        server.comes_to("OK", ADMIN + app, hup=hup)
        server.comes_to("AccessDeniedException", [allow("healthlake:Describe*")], "app.json", hup=hup)
        server.comes_to("OK", ADMIN + app.replace("policy = app.json\n", ""), hup=hup)
        server.comes_to("InvalidSignatureException", ADMIN + app.replace("secret-b", "secret-c"), hup=hup)
        server.comes_to("UnrecognizedClientException", ADMIN, hup=hup)
        assert server.asks("admin") == "OK"


def test_a_broken_file_changes_nothing_and_is_told_with_its_place(tmp_path):
    good = ADMIN + section("app", "AKIAAPP", "secret-b", policy="app.json")
    put(tmp_path / "app.json", [allow("healthlake:List*")])
    with Changing(tmp_path, good) as server:
        for text, name, says in (
            (good + "hush = secret-z\n", "callers", "line 8"),
            (good.replace("[app]", "[admin]"), "callers", "stands twice"),
            (good + "[new]\naws_access_key_id = AKIANEW\n", "callers", "section [new]"),
            (good.replace("app.json", "absent.json"), "callers", "absent.json"),
            ("", "callers", "no [section]"),
            ('{\n"Statement": [\n]\n]', "app.json", "line 4"),
            ([allow("healthlake:*", NumericEquals={"aws:SourceIp": "1"})], "app.json", "line 1, policy statement 1"),
            ([allow("healthlake:*"), allow("iam:PassRole")], "app.json", "--roles none"),
        ):
            line = server.change(text, name, state="refused")
            told = line["message"] + line.get("context", "")
            assert says in told.replace("\\", ""), told
            assert str(tmp_path / "callers") in line["file"]
            assert server.asks() == server.asks("admin") == "OK", told
            # put right again
            put(tmp_path / "app.json", [allow("healthlake:List*")])
            server.change(good)
        assert len(server.lines("refused")) == 8, "each fault once"
        assert "secret-" not in server.log_text() and "hush" not in server.log_text()


def test_a_file_that_others_can_read_is_refused_as_at_the_start(tmp_path):
    tmp_path.chmod(0o755)
    with Changing(tmp_path, ADMIN) as server:
        line = server.change(ADMIN + section("app", "AKIAAPP", "secret-b"), state="refused", mode=0o644)
        assert "chmod 600" in line["message"]
        assert server.asks() == "UnrecognizedClientException" and server.asks("admin") == "OK"
        (tmp_path / "callers").chmod(0o600)
        wait(lambda: server.asks(), {"OK"})


def test_a_policy_that_only_the_broken_file_names_is_seen_to_be_mended(tmp_path):
    with Changing(tmp_path, ADMIN) as server:
        put(tmp_path / "new.json", "{}")
        server.change(ADMIN + section("app", "AKIAAPP", "secret-b", policy="new.json"), state="refused")
        server.change([allow("healthlake:List*")], "new.json")
        assert server.asks() == "OK"


def test_a_pipe_is_read_at_the_start_alone(tmp_path):
    """--credentials <(decrypt ...): it is not opened again, which would wait for ever."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(ADMIN))
    writer.start()
    with Server(None, "--credentials", str(tmp_path / "pipe")) as server:
        writer.join()
        client = server.client("AKIAADMIN", "secret-a")
        server.process.send_signal(signal.SIGHUP)
        wait(lambda: "state=kept" in server.log_text(), {True})
        assert client.list_fhir_datastores()["DatastorePropertiesList"] == []


def test_without_signatures_there_is_nothing_to_read_again(tmp_path):
    with Server(None, "--auth", "none") as server:
        server.process.send_signal(signal.SIGHUP)
        assert server.client("any", "thing").list_fhir_datastores()["DatastorePropertiesList"] == []


def test_a_key_ends_at_its_instant_on_both_planes(tmp_path):
    temporary = section("app", "AKIAAPP", "secret-b", aws_session_token="token/+==", expires="2099-01-01T00:00:00Z")
    with Changing(tmp_path, ADMIN + temporary) as server:
        store = server.create_store(server.as_("admin"))
        assert server.client("AKIAAPP", "secret-b", "token/+==").list_fhir_datastores()
        for text in (temporary.replace("2099", "2001"), section("app", "AKIAAPP", "secret-b", expires="2026-01-01T00:00:00+14:00")):
            line = server.change(ADMIN + text)
            assert line["expired"] == "1" and line["callers"] == "2"
            with pytest.raises(ClientError) as refused:
                server.client("AKIAAPP", "secret-b", "token/+==" if "token" in text else None).list_fhir_datastores()
            assert refused.value.response["Error"]["Code"] == "ExpiredTokenException"
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
            answer = server.rest("app", store).get("Patient/p")
            assert answer.status == 401 and answer.json["issue"][0]["code"] == "expired"
            # a body is not read: it has no chance
            assert server.rest("app", store).put("Patient/p", patient("p")).status == 401


def test_no_request_is_lost_while_callers_are_read_again_and_the_server_is_killed(tmp_path):
    """Four callers write and read while their files are replaced; then a kill, and all that was acknowledged is there."""
    names = [f"w{i}" for i in range(4)]
    sections = ADMIN + "".join(section(n, f"AKIA{n.upper()}", f"secret-{n}", policy="w.json") for n in names)
    put(tmp_path / "w.json", [allow("healthlake:*")])
    server = Changing(tmp_path, sections)
    server.secrets.update({n: (f"AKIA{n.upper()}", f"secret-{n}") for n in names})
    with server:
        store = server.create_store(server.as_("admin"))
        stop, written, faults = threading.Event(), {n: [] for n in names}, []

        def work(name):
            fhir = server.rest(name, store)
            while not stop.is_set():
                id = f"{name}-{len(written[name])}"
                try:
                    statuses = fhir.put(f"Patient/{id}", patient(id)).status, fhir.get(f"Patient/{id}").status
                except Exception as e:
                    statuses = e
                if statuses != (201, 200):
                    faults.append((id, statuses))
                written[name].append(id)

        threads = [threading.Thread(target=work, args=(n,)) for n in names]
        for thread in threads:
            thread.start()
        i = 0
        try:
            while not faults and (i < 40 or not all(len(ids) > 5 for ids in written.values())):
                put(tmp_path / "w.json", [allow("healthlake:*"), allow(f"s3:Get{i}")])
                server.change(sections + section(f"extra{i}", f"AKIAX{i}", "secret-x"), hup=True)
                i += 1
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert faults == []
        server.kill()
        server.start()
        fhir = server.rest("admin", store)
        assert [id for ids in written.values() for id in ids if fhir.get(f"Patient/{id}").status != 200] == []
