"""fhirlake.Server: its life, its errors, and what code finds through it."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

import fhirlake
from fhirlake import _program


def until(true, what):
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# a process that has a server, says where, and waits to be killed
HOLDER = """
import json, os, sys, threading, fhirlake
server = fhirlake.Server()
starter = threading.Thread(target=server.start)
starter.start()
starter.join()
print(json.dumps([server._process.pid, str(server.data.parent)]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder():
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    keeper, folder = json.loads(process.stdout.readline())
    yield process, keeper, children(keeper)[0], pathlib.Path(folder)
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_process_that_is_killed_leaves_no_server_and_no_folder(holder):
    process, keeper, server, folder = holder
    assert alive(server) and folder.is_dir()  # though the thread that started it is gone
    process.send_signal(signal.SIGKILL)
    until(lambda: not alive(server) and not alive(keeper), "the server still runs")
    assert not folder.exists()


def test_a_keeper_that_is_killed_leaves_no_server(holder):
    _, keeper, server, _ = holder
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not alive(server), "the server still runs")


def test_a_process_that_ends_without_leaving_the_block_leaves_nothing(holder):
    process, keeper, server, folder = holder
    process.stdin.close()
    process.wait()
    until(lambda: not alive(server) and not folder.exists(), "the server still runs")


def test_leaving_the_block_ends_it_and_a_given_folder_stays(tmp_path):
    with fhirlake.Server(tmp_path / "data") as server:
        store = server.datastore(resources=[{"resourceType": "Patient", "id": "p"}])
        keeper = server._process.pid
    assert not alive(keeper)
    assert (tmp_path / "data" / "credentials").exists()
    with fhirlake.Server(tmp_path / "data") as server:
        assert server.fhir(store).get("Patient/p")["id"] == "p"
    with pytest.raises(fhirlake.ServerError, match="does not run"):
        server.client()


def test_a_forked_child_neither_holds_the_server_nor_ends_it():
    with fhirlake.Server() as server:
        keeper = server._process.pid
        rest, end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(end)
            server.stop()
            os.read(rest, 1)  # it outlives the block
            os._exit(0)
        os.close(rest)
        assert server.client().list_fhir_datastores()["DatastorePropertiesList"] == []
    assert not alive(keeper) and alive(child)
    os.close(end)
    os.waitpid(child, 0)


FORKER = HOLDER.replace("print(json", """
if os.fork() == 0:
    import time
    time.sleep(600)
    os._exit(0)
print(json""")


def test_a_child_that_lives_on_does_not_keep_the_server_of_a_process_that_is_killed():
    process = subprocess.Popen([sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    keeper, folder = json.loads(process.stdout.readline())
    server, child = children(keeper)[0], next(pid for pid in children(process.pid) if pid != keeper)
    try:
        process.kill()
        until(lambda: not alive(server) and not alive(keeper), "the server still runs")
        assert alive(child) and not os.path.exists(folder)
    finally:
        os.kill(child, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("options, said", [
    ({"nope": "x"}, "option --nope is not known"), ({"auth": "maybe"}, "auth"), ({"listen": "127.0.0.1:99999"}, "listen"),
    ({"tls_certificate": "/dev/null/absent", "tls_key": "/dev/null/absent"}, "/dev/null/absent")])
def test_a_server_that_does_not_start_is_an_error_in_its_own_words(options, said, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(fhirlake.ServerError, match="did not start") as fault, fhirlake.Server(**options):
        pass
    assert said in str(fault.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_ends_by_itself_is_an_error_on_leaving():
    with pytest.raises(fhirlake.ServerError, match="ended with status 137"), fhirlake.Server() as server:
        child = children(server._process.pid)[0]
        os.kill(child, signal.SIGKILL)
        until(lambda: not alive(child), "killed")


def test_another_program_is_no_server(tmp_path):
    with pytest.raises(fhirlake.Unusable, match="there is no program at /dev/null/absent"):
        fhirlake.Server(program="/dev/null/absent").start()
    loud = tmp_path / "loud"
    loud.write_text("#!/bin/sh\necho hello\n")
    loud.chmod(0o755)
    with pytest.raises(fhirlake.ServerError, match="something else than that it is ready: hello"):
        fhirlake.Server(program=loud).start()
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    silent.chmod(0o755)
    with pytest.raises(fhirlake.ServerError, match="was not ready after 0.05 s"):
        fhirlake.Server(program=silent, timeout=0.05).start()


@pytest.mark.parametrize("needed, have, said", [
    ("2.35", "2.31", "fhirlake needs glibc 2.35 or later, and this machine has glibc 2.31"), ("2.35", None, "is not glibc"),
    ("2.35", "2.9", "has glibc 2.9"), ("2.35", "2.35", None), ("2.35", "2.41.9000", None), ("2.35", "3.0", None)])
def test_a_machine_that_is_too_old_is_told_which_glibc_is_needed(needed, have, said):
    if said is None:
        _program.check_glibc(needed, have)
        return
    with pytest.raises(fhirlake.Unusable) as fault:
        _program.check_glibc(needed, have)
    assert said in str(fault.value)


def test_options_pass_through_and_the_servers_environment_is_its_own(monkeypatch):
    monkeypatch.setenv("FHIRLAKE_AUTH", "none")
    monkeypatch.setenv("AWS_PROFILE", "nobody-of-this-name")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with fhirlake.Server(quotas="healthlake", make_buckets=False, region="eu-west-1") as server:
        store = server.client().create_fhir_datastore(DatastoreTypeVersion="R4")
        assert ":eu-west-1:" in store["DatastoreArn"]
        unsigned = fhirlake.Fhir(f"{server.url}/datastore/{store['DatastoreId']}/r4", None, "eu-west-1")
        with pytest.raises(fhirlake.FhirError) as refused:
            unsigned.get("Patient")
        assert refused.value.status in (401, 403)
    with fhirlake.Server(auth="none") as server:
        store = server.datastore()
        assert fhirlake.Fhir(server.fhir(store).base, None, "us-east-1").get("Patient")["type"] == "searchset"
        server.s3().create_bucket(Bucket="bucket")


def test_what_the_module_writes_itself_needs_no_bucket_of_the_caller():
    with fhirlake.Server(make_buckets=False) as server:
        store = server.datastore(resources=[{"resourceType": "Patient", "id": "p"}])
        assert [p["id"] for p in server.export(store)["Patient"]] == ["p"]
        with pytest.raises(Exception, match="bucket another does not exist"):
            server.export(store, "s3://another")


def test_over_tls_with_a_certificate_of_its_own():
    with fhirlake.Server(tls="self-signed") as server:
        assert server.url.startswith("https://")
        store = server.datastore(resources=[{"resourceType": "Patient", "id": "p"}])
        assert server.fhir(store).get("Patient/p")["id"] == "p"


def test_synthetic_patients_are_the_same_each_time(fhirlake_server):
    a, b, c = (fhirlake_server.export(fhirlake_server.datastore(patients=1, seed=seed))["Patient"] for seed in (1, 1, 2))
    assert len(a) == 1 and [p["id"] for p in a] == [p["id"] for p in b] != [p["id"] for p in c]


def test_a_resource_that_is_refused_is_an_error_with_its_fault(fhirlake_server, fhirlake_datastore):
    with pytest.raises(fhirlake.JobError, match="'nope' is not an element of Patient"):
        fhirlake_server.load(fhirlake_datastore, [{"resourceType": "Patient", "id": "p", "nope": 1}])


def test_fhir_requests(fhirlake_fhir):
    made = fhirlake_fhir.create({"resourceType": "Patient", "name": [{"family": "Müller & Söhne"}]})
    assert fhirlake_fhir.get(f"Patient/{made['id']}")["meta"]["versionId"] == "1"
    assert [p["id"] for p in fhirlake_fhir.search("Patient?name:exact=Müller %26 Söhne")] == [made["id"]]
    fhirlake_fhir.put(f"Patient/{made['id']}", {**made, "active": True}, If_Match='W/"1"')
    fhirlake_fhir.patch(f"Patient/{made['id']}", [{"op": "add", "path": "/gender", "value": "female"}])
    assert fhirlake_fhir.get(f"Patient/{made['id']}")["gender"] == "female"
    with pytest.raises(fhirlake.FhirError) as refused:
        fhirlake_fhir.put(f"Patient/{made['id']}", made, If_Match='W/"1"')
    assert refused.value.status == 412 and refused.value.outcome["resourceType"] == "OperationOutcome"
    for i in range(5):
        fhirlake_fhir.put(f"Observation/o{i}", {"resourceType": "Observation", "id": f"o{i}", "status": "final", "code": {"text": "x"}})
    assert sorted(o["id"] for o in fhirlake_fhir.search("Observation?_count=2")) == [f"o{i}" for i in range(5)]
    fhirlake_fhir.delete(f"Patient/{made['id']}")
    with pytest.raises(fhirlake.FhirError, match="410"):
        fhirlake_fhir.get(f"Patient/{made['id']}")


def test_many_threads_use_one_server(fhirlake_server, fhirlake_datastore, fhirlake_bucket):
    faults = []

    def work(n):
        try:
            s3 = fhirlake_server.s3()
            for i in range(5):
                fhirlake_server.fhir(fhirlake_datastore).put(f"Patient/t{n}-{i}", {"resourceType": "Patient", "id": f"t{n}-{i}"})
                s3.put_object(Bucket=fhirlake_bucket, Key=f"{n}/{i}", Body=b"x" * 1000)
                s3.delete_object(Bucket=fhirlake_bucket, Key=f"{n}/{i}") if i % 2 else None
        except Exception as fault:  # noqa: BLE001 - the thread's only way to tell
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert fhirlake_server.fhir(fhirlake_datastore).get("Patient?_summary=count")["total"] == 20
    assert fhirlake_server.s3().list_objects_v2(Bucket=fhirlake_bucket)["KeyCount"] == 12


def test_a_command_beside_a_server():
    def beside(*words):
        return subprocess.run([sys.executable, "-m", "fhirlake", *words], capture_output=True, text=True)

    done = beside("--patients", "2", "--max-datastores", "3", "--", sys.executable, "-c", (
        "import boto3, os, sys; c = boto3.client('healthlake'); s = c.list_fhir_datastores()['DatastorePropertiesList'];"
        "boto3.client('s3').create_bucket(Bucket='bucket');"
        "print([d['DatastoreId'] for d in s] == [os.environ['FHIRLAKE_DATASTORE']]); sys.exit(7)"))
    assert (done.returncode, done.stdout) == (7, "True\n"), done.stderr
    assert beside("--nope", "x", "--", "true").returncode == 1
    assert beside("--", "/dev/null/absent").returncode == 127
    done = beside("echo")
    assert done.returncode == 2 and "python -m fhirlake" in done.stderr
    assert beside("--auth", "--", "true").returncode == 2
