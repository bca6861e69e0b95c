"""`fhirlake backup` and `fhirlake restore`: of a data folder with a server on it and without one, whatever is killed and
whatever is damaged."""
import fcntl
import hashlib
import json
import os
import random
import shutil
import subprocess
import threading
import time

import pytest

from fhirlake import BIN, LONG, ROLE, Server, patient, wait
from test_restore import backed_up, ended, history, restore, shown, write_at_random

pytestmark = [pytest.mark.sanitize, pytest.mark.files]


def run(*args, status=0):
    done = subprocess.run([str(BIN), *map(str, args)], capture_output=True, text=True, timeout=600)
    assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def manifests(target):
    folder = target / "backups"
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.exists() else []


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def restored(target, folder, *more):
    """A data folder out of a backup, and all that a check says of it."""
    run("restore", "--from", target, "--data", folder, *more)
    assert "wrong" not in run("check", folder, "--quiet")
    return folder


def serve(folder):
    return Server(folder)


def filled(server, seed=1, n=60):
    store = backed_up(server)
    write_at_random(server.fhir(store), random.Random(seed), n)
    server.put_object("s3://input/b/a.ndjson", "\n".join(patient(f"b{i}") for i in range(50)))
    assert server.import_all(store, "s3://input/b/")["JobStatus"] == "COMPLETED"
    return store


def test_a_backup_of_a_running_server_comes_back_as_it_was(tmp_path):
    target = tmp_path / "target"
    with Server() as server:
        one, two, empty = filled(server), filled(server, 2), server.create_store()
        rows = {store: history(server.fhir(store)) for store in (one, two, empty)}
        told = run("backup", "--data", server.data, "--to", target)
        assert "3 data stores" in told
        assert not (server.data / "backup").exists()
        server.client().delete_fhir_datastore(DatastoreId=one)
        assert server.fhir(two).put("Patient/later", patient("later")).status == 201
        assert "1 backups" in run("backup", "--verify", target) and len(manifests(target)) == 1
        manifest = json.loads((target / "backups" / manifests(target)[0]).read_text())
        for part in manifest["parts"]:
            for file in part["files"]:
                text = (target / "objects" / file["sha256"]).read_bytes()
                assert len(text) == file["bytes"] and hashlib.sha256(text).hexdigest() == file["sha256"]
        assert {p["folder"] for p in manifest["parts"]} == {"system"} | {f"stores/{s}" for s in rows}
        digests = {c["type"]: c for p in manifest["parts"] if p["folder"].endswith(two) for c in p["content"]}
        exported = server.export_all(two)  # one Patient more than in the backup
        assert exported["JobStatus"] == "COMPLETED" and digests["Patient"]["versions"] >= digests["Patient"]["resources"] > 50
    new = restored(target, tmp_path / "new")
    with serve(new) as server:
        for store, want in rows.items():
            assert shown(server, store)["DatastoreStatus"] == "ACTIVE"
            assert history(server.fhir(store)) == want
        assert server.fhir(two).put("Patient/later", patient("later")).status == 201
        copy = ended(server, restore(server, one))
        assert history(server.fhir(copy)) == rows[one]


def test_the_content_digest_of_a_backup_is_that_of_an_export(tmp_path):
    with Server() as server:
        store = filled(server)
        run("backup", "--data", server.data, "--to", tmp_path / "t")
        job = server.export_all(store)
        folder = server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"])
        exported = json.loads((folder / "manifest.json").read_text())
    manifest = json.loads((tmp_path / "t" / "backups" / manifests(tmp_path / "t")[0]).read_text())
    parts = {p["folder"]: p for p in manifest["parts"]}
    mine = {c["type"]: c["contentDigest"] for c in parts[f"stores/{store}"]["content"] if c["resources"]}
    theirs = exported.get("extension", exported)
    found = theirs.get("contentPerType") or exported["contentPerType"]
    assert {t: (d["digest"] if isinstance(d, dict) else d) for t, d in found.items()} == mine


def test_backups_share_files_and_each_can_be_restored(tmp_path):
    target = tmp_path / "target"
    wanted = []
    with Server() as server:
        store = filled(server)
        for i in range(3):
            wanted.append(history(server.fhir(store)))
            told = run("backup", "--data", server.data, "--to", target)
            if i:
                all_files, new = (int(told.split(" files")[0].split()[-1]), int(told.split("of which ")[1].split()[0]))
                assert new < all_files
            assert server.fhir(store).put(f"Patient/n{i}", patient(f"n{i}")).status == 201
        server.stop()
        # nobody serves: the same, and nothing is left beside the data
        wanted.append(history_of(server, store))
        run("backup", "--data", server.data, "--to", target)
        assert not (server.data / "backup").exists()
        server.start()
    names = manifests(target)
    assert len(names) == 4
    for name, want in zip(names, wanted):
        folder = restored(target, tmp_path / name[:-5], "--backup", name)
        with serve(folder) as again:
            assert history(again.fhir(store)) == want
    os.remove(target / "backups" / names[0])
    (target / "objects" / ("0" * 64)).write_text("of a backup that was cut off")
    with serve(tmp_path / names[-1][:-5]) as again:
        run("backup", "--data", again.data, "--to", target)
    assert not (target / "objects" / ("0" * 64)).exists()
    assert "4 backups" in run("backup", "--verify", target)


def history_of(server, store):
    server.start()
    rows = history(server.fhir(store))
    server.stop()
    return rows


def test_a_backup_while_others_write_is_as_of_one_commit(tmp_path):
    with Server() as server:
        store = filled(server)
        fhir, halt, written = server.fhir(store), threading.Event(), []

        def write():
            while not halt.is_set():
                entries = [{"resource": {"resourceType": "Patient", "id": f"pair{k}", "language": f"l{len(written)}"},
                            "request": {"method": "PUT", "url": f"Patient/pair{k}"}} for k in range(2)]
                assert fhir.post("", json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})).status == 200
                written.append(len(written))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for i in range(3):
                last = len(written)
                wait(lambda: len(written) > last or not writer.is_alive(), {True})
                before = len(written)
                run("backup", "--data", server.data, "--to", tmp_path / "t")
                with serve(restored(tmp_path / "t", tmp_path / f"new{i}")) as again:
                    pair = [json.loads(again.fhir(store).get(f"Patient/pair{k}").body) for k in range(2)]
                    assert len({p["language"] for p in pair}) == 1, "a transaction is whole"
                    assert int(pair[0]["language"][1:]) >= before - 1, "what was acknowledged is there"
                    assert writer.is_alive()
        finally:
            halt.set()
            writer.join()


def test_what_is_damaged_is_told_and_never_restored(tmp_path):
    target = tmp_path / "target"
    with Server() as server:
        filled(server)
        run("backup", "--data", server.data, "--to", target)
    name = manifests(target)[0]
    manifest = json.loads((target / "backups" / name).read_text())
    whole = tree(target)
    files = [f for p in manifest["parts"] for f in p["files"] if f["bytes"]]
    rng = random.Random(5)
    for file in rng.sample(files, 5):
        path = target / "objects" / file["sha256"]
        text = bytearray(path.read_bytes())
        text[rng.randrange(len(text))] ^= 1
        path.write_bytes(text)
        told = run("backup", "--verify", target, status=1)
        assert file["sha256"] in told and told.count("wrong:") == 1
        assert "not what it was" in run("restore", "--from", target, "--data", tmp_path / "new", status=1)
        path.unlink()
        assert file["sha256"] in run("backup", "--verify", target, status=1)
        run("restore", "--from", target, "--data", tmp_path / "new", status=1)
        assert not (tmp_path / "new").exists() and not (tmp_path / "new.restoring").exists()
        path.write_bytes(whole["objects/" + file["sha256"]])
    text = (target / "backups" / name).read_text()
    (target / "backups" / name).write_text(text.replace('"resources":', '"resources": ', 1))
    assert "not what was written" in run("backup", "--verify", target, status=1)
    run("restore", "--from", target, "--data", tmp_path / "new", status=1)
    (target / "backups" / name).write_text(text)
    assert "ok" in run("backup", "--verify", target)
    # one with the right digest that names no records of the system
    forged = json.dumps(manifest | {"parts": manifest["parts"][1:]})
    other = target / "backups" / f"{name[:21]}{hashlib.sha256(forged.encode()).hexdigest()[:16]}.json"
    other.write_text(forged)
    told = run("restore", "--from", target, "--data", tmp_path / "new", "--backup", other.name, status=1)
    assert "no records of the system" in told and not (tmp_path / "new").exists()
    other.unlink()
    # a folder of that name is somebody's, unless a restore said before that it would make it
    side = tmp_path / "new.restoring"
    (side / "letters").mkdir(parents=True)
    assert "in the way" in run("restore", "--from", target, "--data", tmp_path / "new", status=1)
    assert (side / "letters").exists()
    (tmp_path / "new.restoring.mark").touch()
    restored(target, tmp_path / "new")
    assert not list(tmp_path.glob("new.restoring*")) and not (tmp_path / "new" / "letters").exists()


def test_wrong_usage_and_what_is_in_the_way(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    run("backup", status=2)
    run("backup", "--to", tmp_path / "t", "--verify", tmp_path / "t", status=2)
    assert "--s3-endpoint" in run("backup", "--to", "s3://bucket/x", status=2)
    assert "--s3-endpoint" in run("restore", "--from", "s3://bucket/x", "--data", tmp_path / "new", status=2)
    run("restore", "--from", tmp_path / "t", status=2)
    assert "is no data folder" in run("backup", "--data", tmp_path / "full", "--to", tmp_path / "t", status=1)
    for place in ("full", "nothing"):
        for what in (("backup", "--verify"), ("backup", "--prune"), ("restore", "--data", tmp_path / "new", "--from")):
            assert f"{tmp_path / place}: " in run(*what, tmp_path / place, status=1), "which place"
    way = tmp_path / "full" / "x" / "y"  # below a file
    assert f"--to {way}: " in run("backup", "--data", tmp_path, "--to", way, status=1)
    assert f"--out {way}: " in run("generate", "--patients", 1, "--out", way, status=1)
    with Server() as server:
        server.create_store()
        (tmp_path / "link").symlink_to(server.data)
        for inside in (server.data, server.data / "backup", server.data / "new" / "er", tmp_path / "link" / "backup"):
            assert "in the data folder" in run("backup", "--data", server.data, "--to", inside, status=1)
        beside = server.data.with_name(server.data.name + "-backup")  # the beginning of its name is no folder
        run("backup", "--data", server.data, "--to", beside)
        shutil.rmtree(beside)
        run("backup", "--data", server.data, "--to", tmp_path / "t")
    told = run("restore", "--from", tmp_path / "t", "--data", tmp_path / "full", status=1)
    assert f"{tmp_path / 'full'}: " in told and "already" in told, told
    # the files stay until there is another backup: who mistypes a place loses nothing
    dropped = tmp_path / "dropped"
    shutil.copytree(tmp_path / "t", dropped)
    for name in manifests(dropped):
        (dropped / "backups" / name).unlink()
    files = tree(dropped)
    assert "make a new one first" in run("backup", "--prune", dropped, status=1) and tree(dropped) == files
    run("restore", "--from", tmp_path / "t", "--data", tmp_path / "new", "--backup", "../x", status=1)
    (tmp_path / "empty").mkdir()
    restored(tmp_path / "t", tmp_path / "empty")


def killed_at_random(args, takes, rng):
    process = subprocess.Popen([str(BIN), *map(str, args)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(takes * rng.random())  # it ends where it is by now
    process.kill()
    process.wait()


def test_kill_9_leaves_a_whole_backup_or_none_and_a_whole_folder_or_none(tmp_path):
    rng, n = random.Random(9), 50 if LONG else 4
    target = tmp_path / "target"
    with Server() as server:
        store = filled(server)
        began = time.monotonic()
        run("backup", "--data", server.data, "--to", target)
        takes = time.monotonic() - began
        for i in range(n):
            assert server.fhir(store).put("Patient/k", patient("k", language=f"l{i}")).status in (200, 201)
            killed_at_random(("backup", "--data", server.data, "--to", target), takes, rng)
            assert "ok" in run("backup", "--verify", target)
        rows = history(server.fhir(store))
        run("backup", "--data", server.data, "--to", target)
        assert not [p for p in (target / "objects").iterdir() if p.suffix == ".tmp"]
        # the server is killed while it holds a snapshot
        killed = subprocess.Popen([str(BIN), "backup", "--data", str(server.data), "--to", str(target)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(takes * rng.random())
        server.kill()
        killed.wait(120)
        server.start()
        assert not (server.data / "backup").exists()
        assert history(server.fhir(store)) == rows
        assert "ok" in run("backup", "--verify", target)
    began = time.monotonic()
    restored(target, tmp_path / "first")
    takes = time.monotonic() - began
    for i in range(n):
        killed_at_random(("restore", "--from", target, "--data", tmp_path / "new"), takes, rng)
        if (tmp_path / "new").exists():
            assert "wrong" not in run("check", tmp_path / "new", "--quiet")
            subprocess.run(["rm", "-r", str(tmp_path / "new")], check=True)
    with serve(restored(target, tmp_path / "new")) as again:
        assert history(again.fhir(store)) == rows
    assert not list(tmp_path.glob("new.restoring*"))


def test_a_job_that_ran_when_the_backup_was_taken_has_ended(hostile, tmp_path):
    with Server(None, *hostile.options(tmp_path)) as server:
        client, store = server.client(), server.create_store()
        hostile.s3.put_object(Bucket=hostile.bucket, Key="j/a.ndjson", Body="\n".join(patient(f"j{i}") for i in range(20)))

        def start():
            return server.start_import(store, f"s3://{hostile.bucket}/j/", f"s3://{hostile.bucket}/log", role=ROLE)

        over = start()
        assert server.wait_import(store, over)["JobStatus"] == "COMPLETED"
        hostile.ask("/_hold", {"path": "FHIR_IMPORT"})
        runs, waits = start(), start()
        wait(lambda: client.describe_fhir_import_job(DatastoreId=store, JobId=runs)["ImportJobProperties"]["JobStatus"],
             {"IN_PROGRESS"})
        run("backup", "--data", server.data, "--to", tmp_path / "t")
        hostile.ask("/_hold", {})
        for job in (runs, waits):
            assert server.wait_import(store, job)["JobStatus"] == "COMPLETED"
    with serve(restored(tmp_path / "t", tmp_path / "new")) as again:
        jobs = again.client().list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"]
        assert {one["JobId"]: one["JobStatus"] for one in jobs} == {over: "COMPLETED", runs: "FAILED", waits: "FAILED"}
        assert all("restored from a backup" in one["Message"] for one in jobs if one["JobId"] != over)


def test_a_deleted_data_store_that_is_kept_is_in_a_backup(tmp_path):
    with Server() as server:
        store, gone = filled(server), server.create_store()
        rows = history(server.fhir(store))
        for one in (store, gone):
            server.client().delete_fhir_datastore(DatastoreId=one)
            ended(server, one)
        assert "1 data stores" in run("backup", "--data", server.data, "--to", tmp_path / "t")
        server.stop()
        assert "note" not in run("check", server.data, "--quiet"), "its folder is known"
        server.start()
    with serve(restored(tmp_path / "t", tmp_path / "new")) as again:
        assert shown(again, store)["DatastoreStatus"] == "DELETED"
        copy = ended(again, restore(again, store))
        assert history(again.fhir(copy)) == rows


def test_a_data_store_that_cannot_be_read_is_named(tmp_path):
    with Server() as server:
        store = filled(server)
        server.stop()
        (server.data / "stores" / store / "CURRENT").unlink()
        for running in (False, True):
            if running:
                server.start()
            told = run("backup", "--data", server.data, "--to", tmp_path / "t", status=1)
            assert store in told and not manifests(tmp_path / "t")
            assert not (server.data / "backup").exists()


def test_a_place_where_no_data_folder_can_be_is_told_before_the_work(tmp_path):
    target, new = tmp_path / "t", tmp_path / "new"
    with Server() as server:
        server.create_store()
        run("backup", "--data", server.data, "--to", target)

    def refused(data, says):
        told = run("restore", "--from", target, "--data", data, status=1)
        assert says in told
        # nothing was made beside it, so nothing was copied
        assert not list(tmp_path.glob("*.restoring*")), told

    (tmp_path / "dotted").mkdir()
    (tmp_path / "dotted" / ".keep").touch()
    refused(tmp_path / "dotted", "already")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "file").touch()
    for name in ("link", "nowhere", "file"):
        refused(tmp_path / name, "already")
    for name in (".", "empty/.", "empty/..", "/"):
        refused(f"{tmp_path}/{name}" if name != "/" else "/", "a name of its own")
    refused("/proc", "mounted")
    # one restore at a time: two would put their files into one folder
    mark = tmp_path / "new.restoring.mark"
    with open(mark, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another restore" in run("restore", "--from", target, "--data", new, status=1)
    assert mark.exists() and not new.exists()
    restored(target, new)
    assert not list(tmp_path.glob("new.restoring*"))
