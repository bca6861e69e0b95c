"""A data store under a customer's key of a Key Management Service: its files are encrypted under a data key that KMS wraps, and
who takes the key away takes the data store away."""
import json
import random
import subprocess
import time

import pytest

from fhirlake import BIN, Server, ask_control, patient
from s3_peer import ACCOUNT
from test_encryption import MARK, encrypted, named, readable
from test_kms import KEY_ARN, OWN, StandIn, under
from test_restore import backed_up, ended, history, restore, write_at_random

pytestmark = [pytest.mark.sanitize, pytest.mark.files]


@pytest.fixture(scope="module")
def kms():
    k = StandIn()
    yield k
    k.stop()


def serve(kms, data):
    return Server(data, "--kms-endpoint", kms.url, "--account-id", ACCOUNT, env=OWN)


def row(data, store):
    return json.loads((data / "stores" / store / "data-keys.json").read_text())["keys"]


def test_its_files_are_encrypted_and_open_with_the_key_alone(kms, tmp_path):
    kms.keys(good="Enabled", off="Enabled")
    with serve(kms, tmp_path / "data") as server:
        store = server.create_store(SseConfiguration=under(KEY_ARN + "good"))
        other = server.create_store(SseConfiguration=under(KEY_ARN + "off"))
        plain = server.create_store()
        assert encrypted(server.data, store) and encrypted(server.data, other) and not encrypted(server.data, plain)
        (key,) = row(server.data, store)
        assert key["keeper"] == "kms" and key["kmsKeyId"] == KEY_ARN + "good"
        assert key["context"] == {"aws:healthlake:datastore-id": store}
        for s in (store, other):
            for i in range(20):
                assert server.fhir(s).put(f"Patient/p{i}", named(f"p{i}")).status == 201
        assert readable(server.data) == []
        assert server.fhir(plain).put("Patient/p", named("p")).status == 201
        server.kill()
        assert {f.split("/")[1] for f in readable(server.data)} == {plain}
        kms.keys(good="Enabled", off="Disabled")
        server.start()
        assert server.fhir(store).get(f"Patient?family={MARK}&_summary=count").json["total"] == 20
        denied = server.fhir(other).get("Patient/p1")
        assert denied.status == 403 and MARK not in denied.text
        # one data store's key file is of no use to another
        shown = server.client().describe_fhir_datastore(DatastoreId=other)["DatastoreProperties"]
        assert shown["DatastoreStatus"] == "ACTIVE" and shown["SseConfiguration"] == under(KEY_ARN + "off")
        server.stop()
        names = [server.data / "stores" / s / "data-keys.json" for s in (store, other)]
        kept = [n.read_text() for n in names]
        names[0].write_text(kept[1])
        kms.keys(good="Enabled", off="Enabled")
        server.start()
        assert server.fhir(store).get("Patient/p1").status >= 400
        assert server.fhir(other).get("Patient/p1").status == 200
        server.stop()
        names[0].write_text(kept[0])
        server.start()
        assert server.fhir(store).get("Patient/p1").status == 200
        server.client().delete_fhir_datastore(DatastoreId=other)


def test_a_kms_that_is_not_there_opens_nothing_and_loses_nothing(kms, tmp_path):
    kms.keys(good="Enabled")
    with serve(kms, tmp_path / "data") as server:
        store = server.create_store(SseConfiguration=under(KEY_ARN + "good"))
        assert server.fhir(store).put("Patient/p", patient("p")).status == 201
        server.stop()
        server.start()
        kms.ask("/_script", [{"do": "answer", "status": 500, "body": "{}"}] * 1000)  # for all who ask
        assert server.fhir(store).get("Patient/p").status in (403, 500, 503)
        kms.ask("/_script", [])
        assert server.fhir(store).get("Patient/p").status == 200


def test_a_restored_one_has_a_data_key_of_its_own(kms, tmp_path):
    kms.keys(good="Enabled", more="Enabled")
    with serve(kms, tmp_path / "data") as server:
        store = backed_up(server, SseConfiguration=under(KEY_ARN + "good"))
        write_at_random(server.fhir(store), random.Random(8), 60)
        rows = history(server.fhir(store))
        status, name, text = ask_control(
            server.url, server.keys(), "RestoreFHIRDatastore",
            {"SourceDatastoreId": store, "RestoreConfiguration": {"ContinuousBackupRestoreConfiguration": {}},
             "SseConfiguration": under(KEY_ARN + "more")})
        assert (status, name) == (400, "ValidationException") and "SseConfiguration" in text, text
        new = restore(server, store)
        ended(server, new)
        assert history(server.fhir(new)) == rows
        first, second = row(server.data, new)
        assert (first["context"], second["context"]) == ({"aws:healthlake:datastore-id": new},
                                                         {"aws:healthlake:datastore-id": store})
        server.stop()
        server.start()
        assert history(server.fhir(new)) == rows


def test_commands_open_it_with_the_endpoint(kms, tmp_path, monkeypatch):
    kms.keys(good="Enabled")
    with serve(kms, tmp_path / "data") as server:
        store = server.create_store(SseConfiguration=under(KEY_ARN + "good"))
        for i in range(5):
            assert server.fhir(store).put(f"Patient/p{i}", named(f"p{i}")).status == 201
        rows = history(server.fhir(store))

        def run(*args):
            return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True)

        refused = run("backup", "--data", server.data, "--to", tmp_path / "to")
        assert refused.returncode == 1 and "--kms-endpoint" in refused.stderr, refused.stderr
        keyless = run("backup", "--data", server.data, "--to", tmp_path / "to", "--kms-endpoint", kms.url)
        assert keyless.returncode == 1 and "AWS_ACCESS_KEY_ID" in keyless.stderr, keyless.stderr
        for name, value in OWN.items():
            monkeypatch.setenv(name, value)
        at = ("--kms-endpoint", kms.url)
        for command in (("backup", "--data", server.data, "--to", tmp_path / "to"),
                        ("backup", "--verify", tmp_path / "to"),
                        ("restore", "--from", tmp_path / "to", "--data", tmp_path / "new"),
                        ("check", tmp_path / "new", "--quiet"), ("rewrap", tmp_path / "new")):
            done = run(*command, *at)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            assert MARK not in done.stdout + done.stderr
    with serve(kms, tmp_path / "new") as again:
        assert encrypted(again.data, store) and readable(again.data) == []
        assert history(again.fhir(store)) == rows


@pytest.mark.long
def test_a_key_that_is_taken_away_closes_it_within_a_minute(kms, tmp_path):
    kms.keys(good="Enabled")
    with serve(kms, tmp_path / "data") as server:
        store = server.create_store(SseConfiguration=under(KEY_ARN + "good"))
        assert server.fhir(store).put("Patient/p", patient("p")).status == 201
        for state, wanted in (("Disabled", 403), ("Enabled", 200), ("PendingDeletion", 403), ("Enabled", 200)):
            kms.keys(good=state)
            began = time.monotonic()
            while server.fhir(store).get("Patient/p").status != wanted:
                assert time.monotonic() - began < 60, (state, wanted)
                time.sleep(0.5)
