"""Backups in an S3 bucket: with a real client's keys and a KMS key, from a store that fails, and whatever is killed."""
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

import pytest

from fhirlake import BIN, LONG, Server, patient, wait
from s3_peer import Peer
from test_backup import filled, manifests, restored, run
from test_restore import history

pytestmark = [pytest.mark.sanitize, pytest.mark.files]


def run_s3(peer, *args, status=0, **env):
    done = subprocess.run([str(BIN), *map(str, args), "--s3-endpoint", peer.url, "--region", peer.region],
                          capture_output=True, text=True, timeout=600, env=os.environ | peer.env() | env)
    assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
    assert peer.own_secret not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module", params=["moto", pytest.param("minio", marks=pytest.mark.long)])
def peer(request):
    there = Peer(request.param)
    yield there
    there.stop()


def whole(peer, prefix):
    """Every object has the name of its content, and each manifest's files are there."""
    keys = set(peer.names(prefix + "/"))
    for key in keys:
        folder, name = key.removeprefix(prefix + "/").split("/")
        if folder == "objects":
            assert hashlib.sha256(peer.get(key)).hexdigest() == name
    backups = sorted(k for k in keys if k.startswith(prefix + "/backups/"))
    for key in backups:
        for part in json.loads(peer.get(key))["parts"]:
            for file in part["files"]:
                assert f"{prefix}/objects/{file['sha256']}" in keys
    return backups


def test_a_backup_in_a_bucket_comes_back_as_it_was(peer, tmp_path):
    place = f"s3://{peer.bucket}/deep/down/"
    with Server() as server:
        store = filled(server)
        rows = [history(server.fhir(store))]
        first = run_s3(peer, "backup", "--data", server.data, "--to", place, "--kms-key", peer.kms_key)
        assert "1 data stores" in first and not (server.data / "backup").exists()
        # all that an unchanged data folder costs is its lists of files
        again = run_s3(peer, "backup", "--data", server.data, "--to", place, "--kms-key", peer.kms_key)
        assert "of which 0 of 0.0 MB are new" in again
        n_files = int(again.split(" files")[0].split()[-1])
        assert int(again.split("new; ")[1].split()[0]) < n_files
        assert server.fhir(store).put("Patient/later", patient("later")).status == 201
        rows.append(history(server.fhir(store)))
        run_s3(peer, "backup", "--data", server.data, "--to", place, "--kms-key", peer.kms_key)
    names = whole(peer, "deep/down")
    assert len(names) == 3
    peer.assert_under_key(peer.names("deep/down/"))
    assert "3 backups" in run_s3(peer, "backup", "--verify", place)
    for name, want in zip((names[0], names[2]), rows):
        folder = tmp_path / name[-22:-5]
        run_s3(peer, "restore", "--from", place, "--data", folder, "--backup", name.rsplit("/")[-1])
        with Server(folder) as copy:
            assert history(copy.fhir(store)) == want
    # what only a dropped backup had goes when that is asked for
    before = set(peer.names("deep/down/objects/"))
    peer.s3.delete_object(Bucket=peer.bucket, Key=names[2])
    gone = int(run_s3(peer, "backup", "--prune", place).split()[0])
    assert gone and len(before) - len(peer.names("deep/down/objects/")) == gone
    assert len(whole(peer, "deep/down")) == 2
    assert "2 backups" in run_s3(peer, "backup", "--verify", place)
    assert "0 files" in run_s3(peer, "backup", "--prune", place)


def test_an_object_that_is_damaged_or_lost_is_told_and_never_restored(peer, tmp_path):
    place = f"s3://{peer.bucket}/damaged"
    with Server() as server:
        store = filled(server)
        run_s3(peer, "backup", "--data", server.data, "--to", place)
        name = whole(peer, "damaged")[0]
        files = [f for p in json.loads(peer.get(name))["parts"] for f in p["files"] if f["name"].endswith(".sst")]
        key = f"damaged/objects/{files[0]['sha256']}"
        text = peer.get(key)
        peer.s3.put_object(Bucket=peer.bucket, Key=key, Body=text[:-1] + bytes([text[-1] ^ 1]))
        told = run_s3(peer, "backup", "--verify", place, status=1)
        assert files[0]["sha256"] in told and told.count("wrong:") == 1
        assert "not what it was" in run_s3(peer, "restore", "--from", place, "--data", tmp_path / "new", status=1)
        peer.s3.delete_object(Bucket=peer.bucket, Key=key)
        assert files[0]["sha256"] in run_s3(peer, "backup", "--verify", place, status=1)
        run_s3(peer, "restore", "--from", place, "--data", tmp_path / "new", status=1)
        assert not list(tmp_path.iterdir())
        # the record says that its hash is known; the bucket says that it is not there
        assert " 0 of 0.0 MB are new" not in run_s3(peer, "backup", "--data", server.data, "--to", place)
        assert "2 backups" in run_s3(peer, "backup", "--verify", place)
        peer.s3.put_object(Bucket=peer.bucket, Key=name, Body=peer.get(name).replace(b'"resources":', b'"resources" :', 1))
        assert "not what was written" in run_s3(peer, "backup", "--verify", place, status=1)
        assert "not what was written" in run_s3(peer, "backup", "--prune", place, status=1)
        assert store


def test_wrong_usage_and_refusals_are_told(peer, tmp_path):
    place = f"s3://{peer.bucket}/usage"
    with Server() as server:
        server.create_store()
        args = ("backup", "--data", server.data, "--to")
        assert "s3://" in run(*args, tmp_path / "t", "--kms-key", "k", status=2)
        assert "s3://" in run(*args, tmp_path / "t", "--region", "r", status=2)
        assert "--to" in run_s3(peer, "backup", "--verify", place, "--kms-key", "k", status=2)
        assert "addressing" in run_s3(peer, *args, place, "--s3-addressing", "other", status=2)
        assert "keys" in run_s3(peer, *args, place, status=2, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
        run_s3(peer, *args, "s3://", status=2)
        told = run_s3(peer, *args, place, status=1, AWS_SECRET_ACCESS_KEY="another-secret-of-nobody")
        assert "403" in told and "another-secret" not in told
        assert "NoSuchBucket" in run_s3(peer, *args, "s3://no-such-bucket-here/x", status=1)
        keys = tmp_path / "keys"
        keys.write_text(f"[default]\naws_access_key_id = {peer.own_key}\naws_secret_access_key = {peer.own_secret}\n")
        keys.chmod(0o666)
        no_keys = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        run_s3(peer, *args, place, "--s3-credentials", keys, status=2, **no_keys)
        keys.chmod(0o600)
        run_s3(peer, *args, place, "--s3-credentials", keys, **no_keys)
    assert "there is no backup" in run_s3(peer, "backup", "--verify", place + "/nothing", status=1)
    assert "there is no backup" in run_s3(peer, "backup", "--prune", place + "/nothing", status=1)
    assert "there is no backup" in run_s3(peer, "restore", "--from", place + "/no", "--data", tmp_path / "new", status=1)
    assert not (tmp_path / "new").exists()


FAULTS = [{"do": "fail", "status": 503, "code": "SlowDown"}, {"do": "ok"}, {"do": "reset"}, {"do": "ok"},
          {"do": "stall", "seconds": 0.05}, {"do": "ok"}, {"do": "fail", "status": 500, "code": "InternalError"},
          {"do": "ok"}, {"do": "truncate", "bytes": 40}, {"do": "ok"}]


def test_a_store_that_fails_now_and_then_costs_time_alone(hostile, tmp_path):
    place = f"s3://{hostile.bucket}/slow"
    with Server() as server:
        store = filled(server, n=20)
        rows = history(server.fhir(store))
        hostile.script(FAULTS * 2)
        run_s3(hostile, "backup", "--data", server.data, "--to", place)
        assert hostile.left() == 0
    hostile.script(FAULTS)
    assert "ok" in run_s3(hostile, "backup", "--verify", place)
    hostile.script(FAULTS)
    run_s3(hostile, "restore", "--from", place, "--data", tmp_path / "new")
    with Server(tmp_path / "new") as copy:
        assert history(copy.fhir(store)) == rows


def test_an_endpoint_that_does_not_answer_fails_the_backup_and_names_no_file_wrong(hostile):
    place = f"s3://{hostile.bucket}/down"
    with Server() as server:
        filled(server, n=5)
        run_s3(hostile, "backup", "--data", server.data, "--to", place)
        refused = [{"do": "fail", "status": 403, "code": "AccessDenied"}]
        hostile.script([{"do": "ok"}] * 6 + refused)
        run_s3(hostile, "backup", "--data", server.data, "--to", f"s3://{hostile.bucket}/other", status=1)
        hostile.script([])
        assert not hostile.names("other/backups/")
    hostile.script([{"do": "ok"}] * 4 + [{"do": "reset"}] * 12)
    assert "wrong:" not in run_s3(hostile, "backup", "--verify", place, status=1)


def killed_at(hostile, n, *args):
    """The command, killed while its request number n waits for an answer. False: it made fewer."""
    hostile.script([{"do": "ok"}] * n + [{"do": "meet", "of": 2, "seconds": 60}])
    process = subprocess.Popen([str(BIN), *map(str, args), "--s3-endpoint", hostile.url], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=os.environ | hostile.env())
    wait(lambda: hostile.left() == 0 or process.poll() is not None, {True})
    reached = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait(300)
    hostile.script([])
    return reached


def test_kill_9_leaves_a_whole_backup_or_none(hostile, tmp_path):
    place = f"s3://{hostile.bucket}/killed"
    with Server() as server:
        store = filled(server, n=10)
        fhir, n, n_killed = server.fhir(store), 0, 0
        run_s3(hostile, "backup", "--data", server.data, "--to", place)
        while killed_at(hostile, n, "backup", "--data", server.data, "--to", place):
            if whole(hostile, "killed"):
                run_s3(hostile, "backup", "--prune", place)  # else there is more and more to list
                assert "ok" in run_s3(hostile, "backup", "--verify", place)
            assert fhir.put("Patient/k", patient("k", language=f"l{n}")).status in (200, 201)
            n += 1 if LONG else 7
            n_killed += 1
        assert n_killed >= 3
        rows = history(fhir)
        run_s3(hostile, "backup", "--data", server.data, "--to", place)
        run_s3(hostile, "backup", "--prune", place)
        assert "ok" in run_s3(hostile, "backup", "--verify", place)
    n = 0
    while killed_at(hostile, n, "restore", "--from", place, "--data", tmp_path / "new"):
        assert not (tmp_path / "new").exists()
        n += 1 if LONG else 7
    assert n and not list(tmp_path.glob("new.restoring*"))
    with Server(tmp_path / "new") as copy:
        assert history(copy.fhir(store)) == rows


def killed_at_random(peer, takes, rng, *args):
    process = subprocess.Popen([str(BIN), *map(str, args), "--s3-endpoint", peer.url, "--region", peer.region],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | peer.env())
    time.sleep(takes * rng.random())  # it ends where it is by now
    process.kill()
    process.wait()


def test_kill_9_with_a_real_store_leaves_a_whole_backup_or_none_and_a_whole_folder_or_none(peer, tmp_path):
    rng, n, place, new = random.Random(14), 25 if LONG else 2, f"s3://{peer.bucket}/real", tmp_path / "new"
    more = ("--to", place, "--kms-key", peer.kms_key)
    with Server() as server:
        store = filled(server)
        fhir, began = server.fhir(store), time.monotonic()
        run_s3(peer, "backup", "--data", server.data, *more)
        takes = time.monotonic() - began
        for i in range(n):
            assert fhir.put("Patient/k", patient("k", language=f"l{i}")).status in (200, 201)
            killed_at_random(peer, takes, rng, "backup", "--data", server.data, *more)
            assert whole(peer, "real")
        assert "ok" in run_s3(peer, "backup", "--verify", place)
        rows = history(fhir)
        run_s3(peer, "backup", "--data", server.data, *more)
        run_s3(peer, "backup", "--prune", place)
        assert whole(peer, "real") and "ok" in run_s3(peer, "backup", "--verify", place)
        peer.assert_under_key(peer.names("real/"))
    began = time.monotonic()
    run_s3(peer, "restore", "--from", place, "--data", new)
    takes = time.monotonic() - began
    for _ in range(n):
        if new.exists():
            assert "wrong" not in run("check", new, "--quiet")
            shutil.rmtree(new)
        killed_at_random(peer, takes, rng, "restore", "--from", place, "--data", new)
    if not new.exists():
        run_s3(peer, "restore", "--from", place, "--data", new)
    with Server(new) as copy:
        assert history(copy.fhir(store)) == rows
    assert not list(tmp_path.glob("new.restoring*"))


@pytest.mark.long
def test_a_backup_needs_the_rights_that_its_page_names_and_no_other(tmp_path):
    there = Peer("minio")
    try:
        place = f"s3://{there.bucket}/kept"
        with Server() as server:
            store = filled(server)
            for i in range(2):
                assert server.fhir(store).put("Patient/k", patient("k", language=f"l{i}")).status in (200, 201)
                run_s3(there, "backup", "--data", server.data, "--to", place, "--kms-key", there.kms_key, **there.env("keeper"))
            rows, reader = history(server.fhir(store)), there.env("reader")
            told = run_s3(there, "backup", "--data", server.data, "--to", place, status=1, **reader)
            assert "AccessDenied" in told, told
        first, second = whole(there, "kept")
        assert "2 backups" in run_s3(there, "backup", "--verify", place, **reader)
        run_s3(there, "restore", "--from", place, "--data", tmp_path / "new", **reader)
        with Server(tmp_path / "new") as copy:
            assert history(copy.fhir(store)) == rows
        # who backs up cannot destroy what there is
        there.s3.delete_object(Bucket=there.bucket, Key=first)
        files = there.names("kept/")
        assert "AccessDenied" in run_s3(there, "backup", "--prune", place, status=1, **there.env("keeper"))
        assert there.names("kept/") == files and whole(there, "kept") == [second]
        # keys with a token, as STS gives them
        assert "1 backups" in run_s3(there, "backup", "--verify", place, **there.env("lent"))
    finally:
        there.stop()


def test_what_is_removed_under_a_backup_is_missed_before_its_manifest_is_written(hostile):
    place = f"s3://{hostile.bucket}/pruned"
    with Server() as server:
        filled(server, n=5)
        run_s3(hostile, "backup", "--data", server.data, "--to", place)
        objects, backups = hostile.names("pruned/objects/"), hostile.names("pruned/backups/")
        parts = json.loads(hostile.get(backups[0]))["parts"]
        lost = next(f["sha256"] for p in parts if p["folder"] != "system" for f in p["files"] if f["name"].endswith(".sst"))
        filled(server, 2, 5)
        # the next backup lists two keys a page, reads the newest manifest, and is held as it writes its first object
        n_before = (len(objects) + 1) // 2 + 2
        hostile.script([{"do": "ok"}] * n_before + [{"do": "meet", "of": 2, "seconds": 60}, {"do": "ok"}, {"do": "meet", "of": 2}])
        process = subprocess.Popen([str(BIN), "backup", "--data", str(server.data), "--to", place, "--s3-endpoint", hostile.url],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | hostile.env())
        wait(lambda: hostile.left() == 2 or process.poll() is not None, {True})
        assert process.poll() is None
        hostile.s3.delete_object(Bucket=hostile.bucket, Key="pruned/objects/" + lost)
        hostile.names("pruned/backups/")  # this meets it
        told = process.communicate(timeout=300)[0]
        assert process.returncode == 1 and "removed meanwhile" in told, told
        assert hostile.names("pruned/backups/") == backups
        run_s3(hostile, "backup", "--data", server.data, "--to", place)
        assert "2 backups" in run_s3(hostile, "backup", "--verify", place)


def test_a_second_backup_of_an_unchanged_folder_reads_no_data_and_a_lost_record_costs_a_reading(tmp_path):
    target = tmp_path / "target"
    with Server() as server:
        store = filled(server)
        fhir, record = server.fhir(store), pathlib.Path(server.data) / "backup-digests"

        def read(told):
            return int(told.split("new; ")[1].split()[0])

        def backup():
            return run("backup", "--data", server.data, "--to", target)

        all_files = read(backup())
        few = read(backup())
        assert few < all_files / 2 and record.stat().st_mode & 0o777 == 0o600
        one, two = (json.loads((target / "backups" / n).read_text()) for n in manifests(target))
        assert one["parts"] == two["parts"]
        record.write_text(record.read_text().replace("0", "1", 5))
        assert read(backup()) == all_files
        assert fhir.put("Patient/more", patient("more")).status == 201
        assert few < read(backup()) < all_files
        # another target has none of the files, whatever the record says
        other = run("backup", "--data", server.data, "--to", tmp_path / "other")
        assert " files of" in other and read(other) == int(other.split(" files")[0].split()[-1])
        rows = history(fhir)
    for place in (target, tmp_path / "other"):
        assert "ok" in run("backup", "--verify", place)
        with Server(restored(place, tmp_path / f"of-{place.name}")) as copy:
            assert history(copy.fhir(store)) == rows
