"""--encryption-key-file: nothing of a resource is readable on the disk, whatever wrote it and whatever ended it; a wrong, lost or
revoked key is a refusal; keys are wrapped anew while the server runs."""
import base64
import gzip
import json
import os
import random
import secrets
import signal
import subprocess
import time

import bulk
import pytest
from botocore.exceptions import ClientError

from fhirlake import BIN, Server, patient, wait
from test_backup import run
from test_restore import backed_up, ended, history, restore

pytestmark = [pytest.mark.sanitize, pytest.mark.files]
MARK = "Zqx" + secrets.token_hex(12)  # of every family name that these tests write
HERE = ("stores", "exports", "jobs")  # what holds resources: system has names, places and counts


def named(i, **more):
    return patient(i, name=[{"family": MARK, "given": [f"{MARK}{i}"]}], **more)


def key_file(folder, n=1):
    path = folder / f"keys-{secrets.token_hex(4)}"
    path.write_text("# keys of a test\n" + "".join(secrets.token_hex(32) + "\n" for _ in range(n)))
    path.chmod(0o600)
    return path


def readable(data):
    """Files below the data folder in which the marker stands."""
    found = []
    for name in HERE:
        for path in sorted((data / name).rglob("*")):
            try:
                if path.is_file() and MARK.encode() in path.read_bytes():
                    found.append(str(path.relative_to(data)))
            except FileNotFoundError:  # compaction took it
                pass
    return found


def encrypted(data, store):
    return (data / "stores" / store / "data-keys.json").exists()


def serve(tmp_path, keys, *more):
    return Server(tmp_path / "data", *(("--encryption-key-file", str(keys)) if keys else ()), *more)


def fill(server, store):
    """Everything that writes resources: single writes, an import with outcomes, an import's log, a served export."""
    fhir = server.fhir(store)
    for i in range(40):
        assert fhir.put(f"Patient/w{i}", named(f"w{i}")).status in (200, 201)
    assert fhir.delete("Patient/w1").status in (200, 204)
    lines = [named(f"i{i}", birthDate=f"19{i % 90 + 10}-01-01") for i in range(400)]
    lines += [f'{{"resourceType": "Patient", "id": "bad{i}", "name": "{MARK}"}}' for i in range(30)]
    server.put_object("s3://input/e/a.ndjson", "\n".join(lines))
    assert server.import_all(store, "s3://input/e/")["JobStatus"] in ("COMPLETED", "COMPLETED_WITH_ERRORS")
    return fhir


def asked(server, store):
    """What the data store answers to a read: its status."""
    return server.fhir(store).get("Patient/w2").status


def test_nothing_of_a_resource_is_readable_on_the_disk(tmp_path):
    keys = key_file(tmp_path)
    with serve(tmp_path, keys) as server:
        store = server.create_store()
        assert encrypted(server.data, store)
        fhir = fill(server, store)
        export = bulk.export(fhir)
        assert len(export.resources()) == 439
        assert readable(server.data) == []
        rows = history(fhir)
        server.kill()
        # what stood in the log alone
        assert readable(server.data) == []
        server.start()
        assert history(server.fhir(store)) == rows
        found = server.fhir(store).get(f"Patient?family={MARK}&_summary=count").json["total"]
        assert found == 439
        assert readable(server.data) == []
        server.stop()
        told = run("check", server.data, "--quiet", "--encryption-key-file", keys)
        assert "ok" in told and "wrong" not in told
        assert readable(server.data) == []
        server.start()


def test_without_the_option_the_same_is_readable(tmp_path):
    with serve(tmp_path, None) as server:
        store = server.create_store()
        fhir = fill(server, store)
        bulk.export(fhir).resources()
        found = readable(server.data)
        assert not encrypted(server.data, store)
        assert {f.split("/")[0] for f in found} >= {"stores", "exports"}


def test_a_key_that_is_wrong_or_lost_is_refused_and_shows_nothing(tmp_path):
    keys, others = key_file(tmp_path), key_file(tmp_path)
    with serve(tmp_path, keys) as server:
        store = server.create_store()
        assert server.fhir(store).put("Patient/w2", named("w2")).status == 201
    for given in (others, None):
        with serve(tmp_path, given) as server:
            answer = server.fhir(store).get("Patient/w2")
            assert answer.status == 403 and MARK not in answer.text, answer.text
            with pytest.raises(ClientError) as refused:
                server.start_export(store)
                server.export_all(store)
            assert refused.value.response["Error"]["Code"] == "AccessDeniedException", refused.value
        more = ("--encryption-key-file", given) if given else ()
        assert "access is denied" in run("check", tmp_path / "data", "--quiet", *more, status=3) or given is None
    # its key file is damaged, lost, or another data store's
    path = tmp_path / "data" / "stores" / store / "data-keys.json"
    good = path.read_text()
    row = json.loads(good)
    for bad in ("", "{", good.replace(row["keys"][0]["blob"][:6], "AAAAAA"), None):
        path.unlink()
        if bad is not None:
            path.write_text(bad)
        with serve(tmp_path, keys) as server:
            answer = server.fhir(store).get("Patient/w2")
            assert answer.status >= 400 and answer.status != 404 and MARK not in answer.text, (bad, answer.text)
        path.write_text(good)
    with serve(tmp_path, keys) as server:
        assert asked(server, store) == 200


def test_a_file_of_keys_that_is_open_or_broken_refuses_the_start(tmp_path):
    keys = key_file(tmp_path)
    for text, mode, said in (("x" * 64, 0o600, "line 1"), ("", 0o600, "has no key"), (keys.read_text(), 0o644, "chmod"),
                             ("00" * 32 + "\n" + base64.b64encode(b"k" * 31).decode(), 0o600, "line 2")):
        path = tmp_path / "open" / "bad"  # in a folder that keeps nobody out
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        done = subprocess.run([str(BIN), "serve", "--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0",
                               "--encryption-key-file", str(path)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and said in done.stderr and "--encryption-key-file" in done.stderr, done.stderr
    gone = subprocess.run([str(BIN), "serve", "--data", str(tmp_path / "d"), "--encryption-key-file", str(tmp_path / "none")],
                          capture_output=True, text=True, timeout=60)
    assert gone.returncode == 1 and "--encryption-key-file" in gone.stderr


def test_a_key_of_a_customer_is_refused_by_a_server_that_asks_no_key_service(tmp_path):
    sse = {"KmsEncryptionConfig": {"CmkType": "CUSTOMER_MANAGED_KMS_KEY", "KmsKeyId": "arn:aws:kms:us-east-1:000000000000:key/k"}}
    with serve(tmp_path, key_file(tmp_path)) as server:
        with pytest.raises(ClientError) as refused:
            server.client().create_fhir_datastore(DatastoreTypeVersion="R4", SseConfiguration=sse)
        assert refused.value.response["Error"]["Code"] == "ValidationException"
        assert "CmkType" in refused.value.response["Error"]["Message"]
        own = {"KmsEncryptionConfig": {"CmkType": "AWS_OWNED_KMS_KEY"}}
        assert encrypted(server.data, server.create_store(SseConfiguration=own))


def test_a_backup_and_a_restored_data_store_are_encrypted_as_well(tmp_path):
    keys, target = key_file(tmp_path), tmp_path / "target"
    with serve(tmp_path, keys) as server:
        store = backed_up(server)
        fhir = fill(server, store)
        rows = history(fhir)
        copy = ended(server, restore(server, store))
        assert history(server.fhir(copy)) == rows
        two = json.loads((server.data / "stores" / copy / "data-keys.json").read_text())
        one = json.loads((server.data / "stores" / store / "data-keys.json").read_text())
        assert [k["id"] for k in two["keys"]][1:] == [k["id"] for k in one["keys"]] and len(two["keys"]) == 2
        # what the copy writes has its own key
        assert server.fhir(copy).put("Patient/later", named("later")).status == 201
        run("backup", "--data", server.data, "--to", target, "--encryption-key-file", keys)
        assert readable(server.data) == []
        assert "denied" in run("backup", "--data", server.data, "--to", target, "--encryption-key-file", key_file(tmp_path),
                               status=1)
        server.client().delete_fhir_datastore(DatastoreId=store)
        ended(server, store)
        # the copy lives on without the source
        assert server.fhir(copy).get("Patient/w2").status == 200
    assert not any(MARK.encode() in p.read_bytes() for p in target.rglob("*") if p.is_file())
    assert "ok" in run("backup", "--verify", target)
    assert run("restore", "--from", target, "--data", tmp_path / "no", status=1) and not (tmp_path / "no").exists()
    run("restore", "--from", target, "--data", tmp_path / "new", "--encryption-key-file", keys)
    assert "wrong" not in run("check", tmp_path / "new", "--quiet", "--encryption-key-file", keys)
    # none that is encrypted is of an older layout
    assert "0 data stores converted (0 resources, 0 versions), 2 had this layout already" in run("convert", tmp_path / "new")
    with Server(tmp_path / "new", "--encryption-key-file", str(keys)) as server:
        assert history(server.fhir(store)) == rows


def test_a_served_file_is_given_whole_in_ranges_and_packed(tmp_path):
    with serve(tmp_path, key_file(tmp_path)) as server:
        store = server.create_store()
        fhir = fill(server, store)
        export = bulk.export(fhir)
        url = export.manifest()["output"][0]["url"].split("/r4/")[1]
        whole = fhir.get(url, **{"Accept-Encoding": "identity"})
        assert whole.status == 200 and whole.body.count(b"\n") == 439 and MARK.encode() in whole.body
        assert int(whole.headers["Content-Length"]) == len(whole.body)
        on_disk = [p for p in (server.data / "exports").rglob("*.ndjson")]
        assert [p.stat().st_size for p in on_disk] == [len(whole.body) + 4096]
        rng = random.Random(3)
        for _ in range(20):
            a = rng.randrange(len(whole.body))
            b = rng.randrange(a, len(whole.body))
            part = fhir.get(url, Range=f"bytes={a}-{b}")
            assert part.status == 206 and part.body == whole.body[a:b + 1]
        assert fhir.get(url, Range="bytes=-7").body == whole.body[-7:]
        assert fhir.get(url, Range=f"bytes={len(whole.body)}-").status == 416
        packed = fhir.get(url, **{"Accept-Encoding": "gzip"})
        body = gzip.decompress(packed.body) if packed.headers.get("Content-Encoding") == "gzip" else packed.body
        assert body == whole.body
        # a second export takes over what has not changed: a second name of an encrypted file
        again = bulk.export(fhir).manifest()["output"][0]["url"].split("/r4/")[1]
        assert again != url and fhir.get(again, **{"Accept-Encoding": "identity"}).body == whole.body
        assert readable(server.data) == []


def test_keys_are_wrapped_anew_while_the_server_runs_whatever_is_killed(tmp_path):
    keys = key_file(tmp_path)
    old = keys.read_text().split("\n")[1]
    new = secrets.token_hex(32)
    rng = random.Random(5)
    with serve(tmp_path, keys) as server:
        stores = [server.create_store() for _ in range(6)]
        rows = {}
        for store in stores:
            assert server.fhir(store).put("Patient/w2", named("w2")).status == 201
            rows[store] = server.fhir(store).get("Patient/w2").body
        files = {s: [p.read_bytes() for p in sorted((server.data / "stores" / s).glob("*.sst"))] for s in stores}
        began = time.monotonic()
        assert run("rewrap", server.data, "--encryption-key-file", keys).count("was wrapped by this key") == 6
        takes = time.monotonic() - began
        put(keys, f"{new}\n{old}\n")
        command = [str(BIN), "rewrap", str(server.data), "--encryption-key-file", str(keys)]
        for _ in range(5):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            try:
                process.wait(rng.random() * takes)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            process.communicate()
            for store in stores:
                json.loads((server.data / "stores" / store / "data-keys.json").read_text())
                assert server.fhir(store).get("Patient/w2").body == rows[store]
        told = run("rewrap", server.data, "--encryption-key-file", keys)
        assert told.count("wrapped anew") + told.count("was wrapped by this key") == 6
        assert run("rewrap", server.data, "--encryption-key-file", keys).count("was wrapped by this key") == 6
        assert {s: [p.read_bytes() for p in sorted((server.data / "stores" / s).glob("*.sst"))] for s in stores} == files
        put(keys, f"{new}\n")
        server.stop()
        server.start()
        for store in stores:
            assert server.fhir(store).get("Patient/w2").body == rows[store]
        put(keys, f"{old}\n")
        assert "access is denied" in run("rewrap", server.data, "--encryption-key-file", keys, status=1)
        put(keys, f"{new}\n")
    assert run("rewrap", tmp_path / "data", status=2) and run("rewrap", tmp_path / "none", "--encryption-key-file", keys, status=1)


def test_old_keys_are_needed_while_a_restore_is_under_way(tmp_path):
    """A copy has its source's wrapped keys from before, and who takes the old key out would take the copy away."""
    keys = key_file(tmp_path)
    old, new = keys.read_text().split("\n")[1], secrets.token_hex(32)
    with serve(tmp_path, keys) as server:
        store = server.create_store()
        assert server.fhir(store).put("Patient/w2", named("w2")).status == 201
    stores = tmp_path / "data" / "stores"
    half = stores / f".{secrets.token_hex(16)}.restoring"
    half.mkdir()
    was = (stores / store / "data-keys.json").read_bytes()
    (half / "data-keys.json").write_bytes(was)
    put(keys, f"{new}\n{old}\n")
    assert "a restore is under way" in run("rewrap", tmp_path / "data", "--encryption-key-file", keys, status=1)
    # which is the server's
    assert (half / "data-keys.json").read_bytes() == was != (stores / store / "data-keys.json").read_bytes()
    half.rename(stores / half.name.split(".")[1])
    assert run("rewrap", tmp_path / "data", "--encryption-key-file", keys).count("wrapped anew") == 1


def put(path, text):
    """As one that is renamed into place."""
    side = path.with_suffix(".new")
    side.write_text(text)
    side.chmod(0o600)
    os.replace(side, path)


def test_a_revoked_key_closes_its_data_stores_and_a_key_that_is_back_opens_them(tmp_path):
    keys = key_file(tmp_path)
    own, other = keys.read_text(), secrets.token_hex(32)
    with serve(tmp_path, keys) as server:
        store, gone = server.create_store(), server.create_store()
        for each in (store, gone):
            assert server.fhir(each).put("Patient/w2", named("w2")).status == 201
        export = bulk.export(server.fhir(store))
        url = export.manifest()["output"][0]["url"].split("/r4/")[1]
        assert server.fhir(store).get(url).status == 200
        put(keys, other + "\n")
        wait(lambda: asked(server, store), {403}, timeout=60)
        answer = server.fhir(store).put("Patient/w3", named("w3"))
        assert answer.status == 403 and answer.json["issue"][0]["code"] == "forbidden", answer.text
        wait(lambda: server.fhir(store).get(url).status, {403}, timeout=60)
        wait(lambda: server.log_text().count(f"warn data_key datastore={store} state=denied"), {1})
        with pytest.raises(ClientError) as refused:
            server.start_export(store)
        assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
        # it is still described, and can be deleted
        assert server.client().describe_fhir_datastore(DatastoreId=gone)["DatastoreProperties"]["DatastoreStatus"] == "ACTIVE"
        server.client().delete_fhir_datastore(DatastoreId=gone)
        ended(server, gone)
        assert not (server.data / "stores" / gone).exists()
        # new ones are made with the keys that there are
        fresh = server.create_store()
        assert server.fhir(fresh).put("Patient/w2", named("w2")).status == 201
        put(keys, own + other + "\n")
        wait(lambda: asked(server, store), {200}, timeout=60)
        assert server.fhir(store).get(url).status == 200 and asked(server, fresh) == 200
        assert server.fhir(store).get("Patient/w3").status == 404
