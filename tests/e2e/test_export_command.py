"""`fhirlake export` as a user at a terminal or in a script sees it."""
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading

import pytest

from fhirlake import BIN, ROLE, run, wait

pytestmark = pytest.mark.sanitize


@pytest.fixture(scope="module")
def world(server, generated):
    """A data store with generated patients."""
    for file in generated.glob("*.ndjson"):
        server.put_object(f"s3://input/people/{file.name}", file.read_bytes())
    store = server.create_store()
    assert server.import_all(store, "s3://input/people/")["JobStatus"] == "COMPLETED"
    return store


def export(server, *arguments, **more):
    return run("export", "--endpoint", server.url, "--credentials", server.data / "credentials", *arguments, **more)


def test_export_starts_follows_and_shows(server, world):
    store = world
    got = export(server, "--datastore", store, "--output", "s3://output/cli", "--name", "by hand")
    assert got.returncode == 0, got.stderr
    job = re.match(r"job ([0-9a-f]{32})\n", got.stderr)[1]
    described = server.client().describe_fhir_export_job(DatastoreId=store, JobId=job)["ExportJobProperties"]
    assert described["JobStatus"] == "COMPLETED" and described["JobName"] == "by hand"
    assert "COMPLETED" in got.stderr, "each change is a line where there is no terminal"
    uri = described["OutputDataConfig"]["S3Configuration"]["S3Uri"]
    assert uri in got.stdout
    assert run("verify", server.folder(uri), "--quiet").returncode == 0
    manifest = json.loads((server.folder(uri) / "manifest.json").read_text())
    assert f"{manifest['count']} resources" in got.stdout and manifest["transactionTime"] in got.stdout
    for type, count in manifest["countPerType"].items():
        assert re.search(rf"── {type} +{count} ", got.stdout), type
    again = export(server, "--datastore", store, "--follow", job)
    assert again.returncode == 0 and again.stdout == got.stdout


def test_export_with_filters_goes_over_rest(server, world):
    got = export(server, "--datastore", world, "--output", "s3://output/types", "--type", "Patient,Encounter",
                 "--since", "2020-01-01T00:00:00+01:00")
    assert got.returncode == 0, got.stderr
    assert "── Patient " in got.stdout and "── Encounter " in got.stdout and "Observation" not in got.stdout
    uri = got.stdout.split("\n")[0]
    assert run("verify", server.folder(uri), "--quiet", "--against", server.url, "--credentials",
               server.data / "credentials").returncode == 0
    fewer = export(server, "--datastore", world, "--output", "s3://output/filter", "--type", "Patient",
                   "--type-filter", "Patient?gender=female")
    assert fewer.returncode == 0 and fewer.stdout != got.stdout
    refused = export(server, "--datastore", world, "--output", "s3://output/x", "--type", "Nothing")
    assert refused.returncode == 1 and "_type" in refused.stderr
    for option, value, told in [("--type", "Foo", "_type: a value is no resource type of FHIR R4"), ("--type", "Patent", "is Patient meant?"),
                                ("--type", "Patient,observation", "is Observation meant?"),
                                ("--type", "Encuonter", "is Encounter meant?"),
                                ("--type-filter", "Patients?gender=female", "is Patient meant?"),
                                ("--type-filter", "Patient?&", "it has no parameter")]:
        refused = export(server, "--datastore", world, "--output", "s3://output/x", option, value)
        assert refused.returncode == 1 and told in refused.stderr, refused.stderr
    refused = export(server, "--datastore", world, "--output", "s3://output/x", "--group", "none")
    assert refused.returncode == 1 and "Group" in refused.stderr


def test_export_takes_keys_as_aws_tools_do(server, world):
    store = world
    key, secret = server.keys()
    where = ["export", "--endpoint", server.url, "--datastore", store, "--output", "s3://output/keys", "--no-follow"]
    got = run(*where, env={"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret})
    assert got.returncode == 0 and re.fullmatch(r"[0-9a-f]{32}\n", got.stdout)
    assert run(*where, env={"AWS_SHARED_CREDENTIALS_FILE": str(server.data / "credentials")}).returncode == 0
    home = server.data / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text(f"[other]\naws_access_key_id = x\naws_secret_access_key = y\n"
                                               f"[mine]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    assert run(*where, "--profile", "mine", env={"HOME": str(home)}).returncode == 0
    assert run(*where, env={"HOME": str(home), "AWS_PROFILE": "mine"}).returncode == 0
    refused = run(*where, "--profile", "other", env={"HOME": str(home)})
    assert refused.returncode == 1 and "UnrecognizedClientException" in refused.stderr
    assert run(*where, "--profile", "none", env={"HOME": str(home)}).returncode == 2
    unsigned = run(*where)
    assert unsigned.returncode == 1 and "give --credentials FILE" in unsigned.stderr
    assert secret not in refused.stderr + unsigned.stderr


def test_export_tells_what_is_wrong(server, world):
    store = world
    for arguments in ([], ["--datastore", store], ["--datastore", "A/B", "--output", "s3://output/x"],
                      ["--datastore", store, "--follow", "x", "--cancel", "y"],
                      ["--datastore", store, "--follow", "x", "--type", "Patient"],
                      ["--datastore", store, "--output", "s3://output/x", "--group", "g", "--patient"],
                      ["--datastore", store, "--output"], ["stray"]):
        got = export(server, *arguments)
        assert got.returncode == 2 and got.stderr.startswith("fhirlake export: "), arguments
    got = export(server, "--datastore", "f" * 32, "--output", "s3://output/x")
    assert got.returncode == 1 and "ResourceNotFoundException" in got.stderr
    got = export(server, "--datastore", store, "--output", "out")
    assert got.returncode == 1 and "ValidationException" in got.stderr and "s3Uri" in got.stderr
    got = run("export", "--endpoint", "http://127.0.0.1:9", "--datastore", store, "--output", "s3://output/x")
    assert got.returncode == 1 and "no answer from http://127.0.0.1:9" in got.stderr and "--follow" not in got.stderr
    # a job that is there is told how to be found again
    got = run("export", "--endpoint", "http://127.0.0.1:9", "--datastore", store, "--follow", "0" * 32)
    assert got.returncode == 1 and "no answer" in got.stderr and f"--follow {'0' * 32}" in got.stderr, got.stderr
    assert run("export", "--endpoint", "ftp://x", "--datastore", store, "--output", "s3://o/x").returncode == 2
    assert "Usage: fhirlake export" in run("export", "--help").stdout


def test_export_on_a_terminal_draws_a_bar(server, world):
    master, slave = pty.openpty()
    process = subprocess.Popen([str(BIN), "export", "--endpoint", server.url, "--datastore", world, "--output",
                                "s3://output/tty", "--credentials", str(server.data / "credentials")],
                               stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    text = b""
    try:
        while True:
            block = os.read(master, 65536)
            if not block:
                break
            text += block
    except OSError:
        pass  # the other side is closed
    assert process.wait(300) == 0
    process.stdout.close()
    os.close(master)
    assert b"[" + b"#" * 30 + b"] COMPLETED" in text and text.endswith(b"\r\x1b[K")


def test_interrupted_the_job_goes_on(held_exports):
    server, store, let_on = held_exports
    process = subprocess.Popen(
        [str(BIN), "export", "--endpoint", server.url, "--datastore", store, "--output", "s3://bucket/int", "--role", ROLE,
         "--credentials", str(server.data / "credentials")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    job = re.match(r"job ([0-9a-f]{32})", process.stderr.readline())[1]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "" and "the job goes on" in err and f"--follow {job}" in err and f"--cancel {job}" in err
    let_on()
    assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"
    followed = export(server, "--datastore", store, "--follow", job)
    assert followed.returncode == 0 and "resources" in followed.stdout
    refused = export(server, "--datastore", store, "--cancel", job)
    assert refused.returncode == 1 and "ended" in refused.stderr


def test_cancel(held_exports):
    server, store, let_on = held_exports
    runs, waits, last = [server.start_export(store, "s3://bucket/cancel") for _ in range(3)]
    wait(lambda: server.client().describe_fhir_export_job(DatastoreId=store, JobId=runs)["ExportJobProperties"]["JobStatus"],
         {"IN_PROGRESS"})
    for job in (waits, runs):
        got = export(server, "--datastore", store, "--cancel", job)
        assert got.returncode == 0 and got.stdout == f"job {job} is being cancelled\n", got.stderr
    let_on()
    for job in (waits, runs):
        followed = export(server, "--datastore", store, "--follow", job)
        assert followed.returncode == 3 and "CANCEL_COMPLETED" in followed.stderr
    assert server.wait_export(store, last)["JobStatus"] == "COMPLETED"


def test_an_answer_whose_head_does_not_end_is_none():
    """libcurl keeps trailers, however many there are, and no body moves meanwhile."""
    lines = b"".join(b"X-%d: " % i + b"a" * 1000 + b"\r\n" for i in range(64))
    with socket.create_server(("127.0.0.1", 0)) as peer:
        def answer():
            s = peer.accept()[0]
            s.recv(65536)
            s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
            try:
                for _ in range(100):  # then it is silent
                    s.sendall(lines)
                s.recv(1)
            except OSError:
                pass

        threading.Thread(target=answer, daemon=True).start()
        got = run("export", "--endpoint", f"http://127.0.0.1:{peer.getsockname()[1]}", "--datastore", "0" * 32, "--output",
                  "s3://output/x", env={"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"})
    assert got.returncode == 1 and "no answer" in got.stderr, (got.returncode, got.stderr)
