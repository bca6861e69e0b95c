"""Machines that share a database: what one of them began or wrote, another one goes on with and serves."""
import hashlib
import json
import os
import random
import shutil
import urllib.parse

import pytest

import postgres
from bulk import ASYNC, Export
from fhirlake import FINAL, LONG, Server, assert_same_resources, generate, read_export, read_ndjson, run, wait
from relay import Relay
from s3_peer import Peer

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]
LOST = 3 if not LONG else 50


class Machine(Server):
    @property
    def objects(self):
        return self.data.parent / "objects"


class Machines:
    """One database and one folder of objects; machines come and go."""

    def __init__(self, folder, *options):
        self.folder, self.n = folder, 0
        self.uri = postgres.server().uri(postgres.server().database())
        objects = [] if "--s3-endpoint" in options else ["--objects", str(folder / "objects")]
        self.options = ["--store", self.uri, *objects, *options]

    def machine(self, *options, env=None):
        self.n += 1
        return Machine(self.folder / f"data-{self.n}", *self.options, *options, env=env)

    def lose(self, server):
        server.kill()
        shutil.rmtree(server.data)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        postgres.server().drop(self.name)

    @property
    def name(self):
        return self.uri.split("/", 3)[3].split("?")[0]


def outcome_files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "Manifest.json"}


def notes(machines):
    """Names of what jobs keep for their next run."""
    return postgres.server().sql("select convert_from(k, 'utf8') from fl_system.records where k >= 'jobnote/'::bytea and "
                                 "k < 'jobnote0'::bytea", machines.name)


def test_an_import_goes_on_where_another_machine_left_it(tmp_path):
    rng = random.Random(15)
    generate(tmp_path / "population", patients=150, seed=15)
    files = sorted((tmp_path / "population").glob("*.ndjson"))
    lines = [line for path in files for line in read_ndjson(path)]
    machines = Machines(tmp_path)
    server = machines.machine().start()
    try:
        for path in files:
            server.put_object(f"s3://input/pop/{path.name}", path.read_bytes())
        server.put_object("s3://input/pop/zz/bad.ndjson", b'{"resourceType":"Patient"}\nnot json\n' * 1000)
        calm = server.import_all(server.create_store(), "s3://input/pop/")
        wanted = outcome_files(server.folder(calm["JobOutputDataConfig"]["S3Configuration"]["S3Uri"]))
        assert wanted["FAILURE/zz/bad.ndjson"].count(b"\n") == 2000
        total = calm["JobProgressReport"]["TotalNumberOfResourcesImported"]
        lost = 0
        while lost < LOST:
            store = server.create_store()
            job = server.start_import(store, "s3://input/pop/")
            for _ in range(3):
                at = rng.randrange(total)

                def far():
                    client = server.client()
                    now, = client.list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"]
                    done = now.get("JobProgressReport", {}).get("TotalNumberOfResourcesImported", 0)
                    return now["JobStatus"] in FINAL or done >= at
                wait(far, {True}, pause=0.005)
                now, = server.client().list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"]
                lost += now["JobStatus"] not in FINAL
                machines.lose(server)
                server = machines.machine().start()
            done = server.wait_import(store, job)
            assert done["JobStatus"] == "COMPLETED_WITH_ERRORS", done
            for name, value in calm["JobProgressReport"].items():
                if name != "Throughput":
                    assert done["JobProgressReport"][name] == value, name
            folder = server.folder(done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
            assert outcome_files(folder) == wanted
            assert (folder / "Manifest.json").exists()
            assert notes(machines) == []
        exported = server.export_all(store)
        _, got = read_export(server.folder(exported["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        assert_same_resources(got, lines)
    finally:
        server.kill()
        postgres.server().drop(machines.name)


# ---- files of $export ----

@pytest.fixture(params=["directory", "moto", pytest.param("minio", marks=pytest.mark.long)])
def place(request, tmp_path):
    """(options, environment, names of the files that are there)"""
    if request.param == "directory":
        shared = tmp_path / "shared"
        shared.mkdir()
        yield (["--export-files", str(shared)], {},
               lambda: [os.path.relpath(os.path.join(folder, name), shared) for folder, _, files in os.walk(shared) for name in files])
        return
    peer = Peer(request.param)
    options = [*peer.options(), "--export-files", f"s3://{peer.bucket}/served/files", "--region", peer.region]
    yield options, peer.env(), lambda: [name.removeprefix("served/files/") for name in peer.names("served/")]
    peer.stop()


def kick(server, store, path="$export"):
    answer = server.fhir(store).get(path, **ASYNC)
    assert answer.status == 202, answer.body
    return Export(server.fhir(store), answer)


def at(server, store, export):
    """The same export, asked for at another machine."""
    other = Export.__new__(Export)
    other.fhir, other.id, other.waits = server.fhir(store), export.id, []
    other.url = urllib.parse.urljoin(server.url, urllib.parse.urlsplit(export.url).path)
    return other


def fill(server, store, n=300, text="x"):
    for first in range(0, n, 100):
        entries = [{"resource": {"resourceType": "Patient", "id": str(i), "implicitRules": f"urn:{text}"},
                    "request": {"method": "PUT", "url": f"Patient/{i}"}}
                   for i in range(first, first + 100)]
        answer = server.fhir(store).post("", json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}))
        assert {entry["response"]["status"][:3] for entry in answer.json["entry"]} == {"201"}, answer.body


def test_files_that_one_machine_wrote_are_served_by_another(place, tmp_path):
    options, env, names = place
    with Machines(tmp_path, *options) as machines:
        first = machines.machine(env=env).start()
        try:
            store = first.create_store()
            fill(first, store)
            export = kick(first, store)
            one = export.manifest()
            assert one["requiresAccessToken"] is True
            here = export.resources(one)
            assert len(here) == 300
            machines.lose(first)
        finally:
            first.kill()
        with machines.machine(env=env) as second:
            again = at(second, store, export)
            manifest = again.manifest()
            assert manifest["requiresAccessToken"] is True and again.resources(manifest) == here
            fhir = second.fhir(store)
            url = manifest["output"][0]["url"]
            assert url.startswith(second.url)
            whole = fhir.get(url)
            assert hashlib.sha256(whole.body).hexdigest() == manifest["output"][0]["sha256"]
            part = fhir.get(url, Range="bytes=10-99")
            assert part.status == 206 and part.body == whole.body[10:100]
            assert fhir.get(url, **{"If-None-Match": whole.headers["ETag"]}).status == 304
            assert fhir.get(url, Range=f"bytes={len(whole.body)}-").status == 416
            # nobody gets them without the right to
            assert second.fhir(store, signed=False).get(url).status == 401
            assert fhir.get(url + "x").status == 404 and fhir.get(url.replace(export.id, "0" * 32)).status == 404
            # the next one copies what did not change, and is exact
            assert kick(second, store).resources() == here
            assert any(name.startswith(export.id) for name in names())
            assert again.cancel().status == 202
            wait(lambda: any(name.startswith(export.id) for name in names()), {False})
            assert again.status().status == 404 and fhir.get(url).status == 404
            # whatever a crash left goes at the next start, and nothing else
            kept = sorted(names())
            second.stop()
            second.start()
            assert sorted(names()) == kept and ".fhirlake-exports" in kept and len(kept) > 1
            second.client().delete_fhir_datastore(DatastoreId=store)
            wait(names, [[".fhirlake-exports"]])


def test_a_served_export_goes_on_where_another_machine_left_it(place, tmp_path):
    options, env, names = place
    rng = random.Random(4)
    with Machines(tmp_path, *options) as machines:
        server = machines.machine(env=env).start()
        try:
            store = server.create_store()
            fill(server, store, 600, "x" * 2000)
            wanted = {f"Patient/{i}" for i in range(600)}
            lost, wanted_lost = 0, 2 if not LONG else 20
            for turn in range(20 * wanted_lost):
                export = kick(server, store, "$export?_maximumFileSize=20000")
                for _ in range(rng.randrange(1 + turn)):
                    export.status()
                lost += export.status().status == 202
                machines.lose(server)
                server = machines.machine(env=env).start()
                again = at(server, store, export)
                assert set(again.resources()) == wanted
                # so much is kept, and no more
                assert again.cancel().status == 202
                if lost >= wanted_lost:
                    break
            assert lost >= wanted_lost
        finally:
            server.kill()


def beside(server):
    """A machine beside one that runs, if a database takes two."""
    try:
        return server.start()
    except AssertionError:
        if "another fhirlake uses this database" in server.log_text():
            pytest.skip("a database has one process at a time: the second is refused")
        raise


def test_two_machines_serve_what_either_wrote(place, tmp_path):
    options, env, names = place
    with Machines(tmp_path, *options) as machines, machines.machine(env=env) as one:
        two = beside(machines.machine(env=env))
        try:
            store = one.create_store()
            fill(one, store, 100)
            wanted = {f"Patient/{i}" for i in range(100)}
            for here, there in ((one, two), (two, one)):
                export = kick(here, store)
                other = at(there, store, export)
                assert set(other.resources()) == set(export.resources()) == wanted
                # a start in between removes nothing that is there
                kept = sorted(names())
                there.stop()
                there.start()
                assert sorted(names()) == kept
                other = at(there, store, export)
                assert set(other.resources()) == wanted
                assert other.cancel().status == 202
                wait(lambda: here.fhir(store).get(export.url).status, {404})
                wait(lambda: any(name.startswith(export.id) for name in names()), {False})
        finally:
            two.kill()


def test_without_a_place_that_both_see_no_files_are_served(tmp_path):
    with Machines(tmp_path) as machines, machines.machine() as one:
        store = one.create_store()
        fill(one, store, 100)
        assert len(kick(one, store).resources()) == 100
        two = beside(machines.machine())
        try:
            for server in (one, two):
                answer = server.fhir(store).get("$export", **ASYNC)
                assert answer.status == 400 and answer.json["issue"][0]["code"] == "not-supported", answer.body
                assert b"--export-files" in answer.body, answer.body
            assert one.export_all(store)["JobStatus"] == "COMPLETED"
        finally:
            two.kill()


def test_a_file_that_was_changed_is_not_served(place, tmp_path):
    options, env, names = place
    if "s3://" not in " ".join(options):
        pytest.skip("what is in a directory is sent as it is")
    peer_url, bucket = options[1], options[options.index("--export-files") + 1].split("/")[2]
    with Machines(tmp_path, *options) as machines, machines.machine(env=env) as server:
        import boto3
        s3 = boto3.client("s3", endpoint_url=peer_url, region_name=options[-1], aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
                          aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"])
        store = server.create_store()
        fill(server, store, 100)
        export = kick(server, store)
        url = export.manifest()["output"][0]["url"]
        good = server.fhir(store).get(url)
        assert good.status == 200
        key, = [name for name in names() if name.endswith(".ndjson")]
        for body in (good.body.replace(b"Patient", b"Patiemt", 1), good.body[:-1], good.body + b"{}"):
            s3.put_object(Bucket=bucket, Key="served/files/" + key, Body=body)
            answer = server.fhir(store).get(url)
            assert answer.status == 500 and b"Patiemt" not in answer.body, answer.body
        s3.delete_object(Bucket=bucket, Key="served/files/" + key)
        assert server.fhir(store).get(url).status == 404


def test_of_a_file_in_s3_a_range_alone_is_fetched_once_the_whole_was_found_right(tmp_path):
    peer = Peer("moto")
    counter = Relay(peer.port)
    options = [*peer.options(f"http://127.0.0.1:{counter.port}"), "--export-files", f"s3://{peer.bucket}/served", "--region", peer.region]
    try:
        with Machines(tmp_path, *options) as machines, machines.machine(env=peer.env()) as server:
            store = server.create_store()
            fill(server, store, 3000)
            url = kick(server, store).manifest()["output"][0]["url"]
            fhir = server.fhir(store)
            key, = [name for name in peer.names("served/") if name.endswith(".ndjson")]
            whole = peer.get(key)
            assert len(whole) > 200_000

            def part(first, last, **headers):
                answer, n = counter.took(lambda: fhir.get(url, Range=f"bytes={first}-{last}", **headers))
                assert answer.status == 206 and answer.body == whole[first:last + 1], (answer.status, len(answer.body))
                assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"
                return n

            # its digest is of the whole
            assert part(100, 1099) > len(whole)
            for first, last in ((100, 1099), (0, 0), (65_530, 65_540), (len(whole) - 1000, len(whole) - 1)):
                assert part(first, last) < last - first + 5000
            # what needs no byte fetches none
            answer, n = counter.took(lambda: fhir.call("HEAD", url))
            assert answer.status == 200 and n < 5000 and int(answer.headers["Content-Length"]) == len(whole)
            tag = answer.headers["ETag"]
            answer, n = counter.took(lambda: fhir.get(url, **{"If-None-Match": tag}))
            assert answer.status == 304 and n < 5000
            answer, n = counter.took(lambda: fhir.get(url, Range=f"bytes={len(whole)}-"))
            assert answer.status == 416 and n < 5000
            assert part(5, 9, **{"If-Range": tag}) < 5000
            # another object is looked at as a whole, and is not served
            peer.s3.put_object(Bucket=peer.bucket, Key=key, Body=whole.replace(b"Patient", b"Patiemt", 1))
            for _ in range(2):
                answer = fhir.get(url, Range="bytes=5-9")
                assert answer.status == 500, answer.body
            peer.s3.put_object(Bucket=peer.bucket, Key=key, Body=whole)
            assert part(5, 9) < 5000 or part(5, 9) < 5000
            peer.s3.delete_object(Bucket=peer.bucket, Key=key)
            assert fhir.get(url, Range="bytes=5-9").status == 404
    finally:
        counter.close()
        peer.stop()


def refused(tmp_path, *options, env=None):
    done = run("serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "data-refused", *options, env=env)
    lines = [line for line in done.stderr.split("\n") if line.startswith("fhirlake")]
    assert done.returncode in (1, 2) and len(lines) == 1, (done.returncode, done.stdout, done.stderr)
    return lines[0]


def test_a_place_that_machines_do_not_share_is_refused(tmp_path):
    shared, other = tmp_path / "shared", tmp_path / "other"
    shared.mkdir(), other.mkdir()
    assert "--store postgresql://" in refused(tmp_path, "--export-files", shared)
    with Machines(tmp_path) as machines:
        store = ["--store", machines.uri]
        assert "No such file" in refused(tmp_path, *store, "--export-files", tmp_path / "missing")
        (tmp_path / "file").write_text("")
        assert "no directory" in refused(tmp_path, *store, "--export-files", tmp_path / "file")
        assert "needs --s3-endpoint" in refused(tmp_path, *store, "--export-files", "s3://bucket/prefix")
        assert "bucket" in refused(tmp_path, *store, "--export-files", "s3://B/x", "--s3-endpoint", "http://127.0.0.1:1")
        with machines.machine("--export-files", str(shared)) as server:
            ds = server.create_store()
            fill(server, ds, 100)
            kick(server, ds).manifest()
        line = refused(tmp_path, *store, "--export-files", other)
        assert "--export-files" in line and ".fhirlake-exports is missing" in line, line
        assert list(other.iterdir()) == []
        with Machines(tmp_path) as another:
            assert "another database" in refused(tmp_path, "--store", another.uri, "--export-files", shared)
        # moved with its mark
        shutil.rmtree(other)
        shutil.copytree(shared, other)
        with machines.machine("--export-files", str(other)) as server:
            kick(server, ds).manifest()


def test_a_directory_that_is_not_mounted_any_more_is_not_written_to_and_nothing_is_told_to_be_gone(tmp_path):
    shared, away, mark = tmp_path / "shared", tmp_path / "away", tmp_path / "shared/.fhirlake-exports"
    shared.mkdir()
    with Machines(tmp_path) as machines, machines.machine("--export-files", str(shared)) as server:
        ds = server.create_store()
        fill(server, ds, 100)
        fhir, export = server.fhir(ds), kick(server, ds)
        url = export.manifest()["output"][0]["url"]
        whole = fhir.get(url).body

        def is_away(is_gone=True):
            for path in ("$export", url) if is_gone else ("$export",):
                answer = fhir.get(path, **ASYNC)
                assert answer.status == 503 and answer.json["issue"][0]["code"] == "transient", (path, answer.body)
                assert b"--export-files" in answer.body and str(tmp_path).encode() not in answer.body, answer.body
        shared.rename(away)
        is_away()
        shared.mkdir()
        is_away()
        assert list(shared.iterdir()) == [] and str(shared) in server.log_text()
        shared.rmdir()
        away.rename(shared)
        assert fhir.get(url).body == whole and len(kick(server, ds).resources()) == 100
        text = mark.read_bytes()
        mark.unlink()
        is_away(is_gone=False)
        mark.write_bytes(text)
        # a run waits, and goes on
        for turn in range(20):
            exports = [kick(server, ds) for _ in range(1 + turn % 6)]  # of some, one behind the other, the last ones have not begun
            mark.unlink()
            wait(lambda: exports[-1].status().status not in (202, 429) or "job_waits" in server.log_text(), {True})
            mark.write_bytes(text)
            for export in exports:
                assert len(export.resources()) == 100
                assert export.cancel().status == 202
            if "job_waits" in server.log_text():
                break
        assert "job_waits" in server.log_text()
