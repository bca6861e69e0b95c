"""`fhirlake check` finds nothing wrong with what a server left, kill -9 included, and tells what is damaged."""
import json
import re
import shutil

import pytest

from fhirlake import Server, generate, patient, run, wait

pytestmark = [pytest.mark.sanitize, pytest.mark.files]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The data folder of a server that was killed: imports over one another, writes, deletions, an import under way."""
    files = generate(tmp_path_factory.mktemp("check") / "people", patients=15, seed=3)
    with Server(tmp_path_factory.mktemp("check") / "data") as server:
        for file in files:
            server.put_object(f"s3://input/people/{file.name}", file.read_bytes())
        server.put_object("s3://input/some/p.ndjson", "\n".join(patient(f"p{i}", gender="male") for i in range(50)))
        store, other = server.create_store(), server.create_store()
        assert server.import_all(store, "s3://input/people/")["JobStatus"] == "COMPLETED"
        for _ in range(2):
            assert server.import_all(store, "s3://input/some/")["JobStatus"] == "COMPLETED"
        fhir = server.fhir(store)
        for i in range(40):
            body = {"resourceType": "Patient", "id": f"p{i + 20}", "active": bool(i % 2), "name": [{"family": "Mueller"}]}
            assert fhir.put(f"/Patient/p{i + 20}", body).status in (200, 201)
        for i in range(5):
            assert fhir.delete(f"/Patient/p{i}").status in (200, 204)
        assert fhir.post("/Patient", {"resourceType": "Patient", "gender": "female"}).status == 201
        in_use = run("check", server.data)
        job, client = server.start_import(store, "s3://input/people/"), server.client()
        wait(lambda: client.describe_fhir_import_job(DatastoreId=store, JobId=job)["ImportJobProperties"]["JobStatus"],
             {"IN_PROGRESS", "COMPLETED"})
        server.kill()
        yield server.data, store, other, in_use
        server.start()


def test_a_folder_that_a_server_uses_is_refused(killed):
    _, _, _, in_use = killed
    assert in_use.returncode == 3 and in_use.stdout == ""
    assert "in use by another process: stop that server first" in in_use.stderr


def test_a_killed_server_leaves_nothing_wrong(killed):
    data, store, other, _ = killed
    done = run("check", "--quiet", data)  # a slow machine is told how far it is
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == sorted([store, other])
    said = {line.split(":")[0]: line for line in lines}
    match = re.fullmatch(rf"{store}: ok: (\d+) resources, (\d+) versions, (\d+) loads, (\d+) search entries", said[store])
    assert match and int(match[1]) > 5000 and int(match[2]) > int(match[1]) and int(match[4]) > int(match[1])
    assert said[other] == f"{other}: ok: 0 resources, 0 versions, 0 loads, 0 search entries"
    one = run("check", data, "--store", other)
    assert (one.returncode, one.stdout) == (0, said[other] + "\n")


def test_it_changes_nothing(killed):
    data, store, _, _ = killed
    folder = data / "stores" / store
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert run("check", data).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_a_damaged_file_is_told(killed):
    data, store, other, _ = killed
    file = max((data / "stores" / store).glob("*.sst"), key=lambda p: p.stat().st_size)
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:1000] + b"damage" + whole[1006:])
        done = run("check", data)
        assert done.returncode == 1
        assert f"{store}: wrong: " in done.stdout and "stored data is damaged" in done.stdout
        assert f"{store}: WRONG: " in done.stdout and f"{other}: ok: " in done.stdout
        file.write_bytes(whole[:-100])
        done = run("check", data, "--store", store)
        assert done.returncode == 1 and "damaged" in done.stdout
    finally:
        file.write_bytes(whole)
    assert run("check", data).returncode == 0


def files(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_a_lost_folder_and_one_that_no_record_names_are_told(killed, tmp_path):
    data, store, other, _ = killed
    folder, aside = data / "stores" / other, tmp_path / "aside"
    stray = data / "stores" / ("0" * 32)
    folder.rename(aside)
    try:
        before = files(data)
        done = run("check", data)
        assert done.returncode == 1, done.stdout
        assert f"{other}: wrong: the system's records have it as ACTIVE, and it has no folder\n{other}: WRONG\n" in done.stdout
        assert f"{store}: ok: " in done.stdout and "note" not in done.stdout
        assert files(data) == before
        shutil.copytree(aside, stray)
        done = run("check", data)
        assert f"{stray.name}: note: no data store of the system's records has this folder\n" in done.stdout
        aside.rename(folder)
        assert run("check", data).returncode == 0, "a note is nothing wrong"
    finally:
        shutil.rmtree(stray, ignore_errors=True)
        if aside.exists():
            aside.rename(folder)


def test_a_making_that_was_cut_off_is_nothing_wrong_and_lost_data_is(killed, tmp_path):
    data, _, other, _ = killed
    folder, aside = data / "stores" / other, tmp_path / "aside"
    unmade = data / "stores" / ("1" * 32)
    unmade.mkdir()
    try:
        done = run("check", data)
        assert done.returncode == 0 and f"{unmade.name}: ok: its making was cut off, and it holds no data\n" in done.stdout
        folder.rename(aside)
        folder.mkdir()
        for arguments in [], ["--store", other]:
            done = run("check", data, *arguments)
            assert done.returncode == 1
            assert f"{other}: wrong: the system's records have it as ACTIVE, and its folder holds no data\n" in done.stdout
    finally:
        unmade.rmdir()
        if aside.exists():
            folder.rmdir()
            aside.rename(folder)


def test_a_deletion_that_was_cut_off_is_nothing_wrong(tmp_path):
    """A kill in the middle of it leaves a part of the folder, which may be any."""
    with Server(tmp_path / "data") as server:
        client = server.client()
        for n in range(8):
            store = server.create_store()
            assert server.fhir(store).put("/Patient/p", json.loads(patient("p"))).status == 201
            folder = server.data / "stores" / store
            for i in range(4000 << n):  # so that it takes a while: longer, if it was over before the kill
                (folder / f"{i}").touch()
            client.delete_fhir_datastore(DatastoreId=store)
            server.kill()
            cut_off = folder.exists()
            (folder / "CURRENT").unlink(missing_ok=True)
            done = run("check", "--quiet", server.data)
            server.start()
            client = server.client()
            if cut_off:
                break
        assert cut_off, "each deletion was over before its server was killed"
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        assert f"{store}: ok: it is being deleted, and the next start goes on\n" in done.stdout
        wait(lambda: folder.exists(), {False})


def test_lost_records_of_the_system_are_told(killed, tmp_path):
    data, store, _, _ = killed
    system, aside = data / "system", tmp_path / "system"
    system.rename(aside)
    system.mkdir()
    try:
        done = run("check", data)
        assert done.returncode == 1 and "system: wrong: there are no system's records" in done.stdout
        assert f"{store}: ok: " in done.stdout and list(system.iterdir()) == []
        shutil.rmtree(system)
        shutil.copytree(aside, system)
        (system / "CURRENT").unlink()
        done = run("check", data)
        assert done.returncode == 1 and "no file CURRENT" in done.stdout and "system: WRONG" in done.stdout
    finally:
        shutil.rmtree(system)
        aside.rename(system)
    assert run("check", data).returncode == 0


@pytest.mark.parametrize("arguments, status, text", [
    ([], 2, "say which folder: DATA"),
    (["{data}", "--all"], 2, "option --all is not known"),
    (["{data}", "{data}"], 2, "one argument too many"),
    (["{data}", "--store", "../system"], 2, "--store takes the id of a data store"),
    (["{data}", "--store", "nobody"], 3, "there is no such data store"),
    (["/nowhere"], 3, "it has no folder of data stores"),
])
def test_wrong_usage_and_what_is_not_there(killed, arguments, status, text):
    done = run("check", *(a.format(data=killed[0]) for a in arguments))
    assert done.returncode == status and text in done.stderr, json.dumps([done.stdout, done.stderr])


def test_help_names_statuses(killed):
    done = run("check", "--help")
    assert done.returncode == 0 and "Exit status: 0 all is well, 1 something is wrong" in done.stdout
