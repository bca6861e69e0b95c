"""`fhirlake copy`: a data folder's data stores go to a database and back, and whoever asks gets the same answers."""
import array
import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import termios

import pytest

import postgres
from backend import OURS, Backend, ClientKey, register
from fhirlake import BIN, LONG, Server, ask_control, generate, patient, read_export, run, wait

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]
TOKEN = "token-of-before"
SECRET = "s3cr3t-of-db"


def a_database():
    name = postgres.server().database()
    yield postgres.server().uri(name)
    postgres.server().drop(name)


uri = pytest.fixture(a_database, name="uri")
other_uri = pytest.fixture(a_database, name="other_uri")


def on_files(data):
    return Server(data, "--store", "rocksdb")


def on_database(data, uri):
    return Server(data, "--store", uri)


def copy(source, target, *more):
    return run("copy", "--from", source, "--to", target, *more)


def refused(text, *arguments, status=1):
    got = run("copy", *arguments)
    assert got.returncode == status and got.stderr.startswith("fhirlake copy: ") and got.stderr.count("\n") == 1, got
    assert re.search(text, got.stderr), got.stderr
    assert SECRET not in got.stderr + got.stdout
    return got


# ---- what is in it ----

def fill(server, tmp_path):
    """A data store with a past: imports over one another, updates, deletions, transactions, jobs. Its id."""
    client = server.client()
    store = server.create_store(client, DatastoreName="of the house", ClientToken=TOKEN,
                                Tags=[{"Key": "ward", "Value": "7"}])
    fhir = server.fhir(store)
    for seed, folder in ((1, "a"), (2, "b"), (1, "c")):  # c brings a's resources once more
        if not (tmp_path / folder).exists():
            generate(tmp_path / folder, patients=5, seed=seed)
        for path in (tmp_path / folder).glob("*.ndjson"):
            server.put_object(f"s3://input/{folder}/{path.name}", path.read_bytes())
        assert server.import_all(store, f"s3://input/{folder}/")["JobStatus"] == "COMPLETED"
    some = [e["resource"]["id"] for e in fhir.get("Patient?_count=10").json["entry"]]
    for n, one in enumerate(some[:5]):
        whole = fhir.get(f"Patient/{one}").json
        assert fhir.put(f"Patient/{one}", {**whole, "language": f"l{n}"}).status == 200
    for one in some[:2]:
        assert fhir.delete(f"Patient/{one}").status in (200, 204)
    assert fhir.put(f"Patient/{some[0]}", patient(some[0], gender="other")).status == 201
    entry = [{"resource": json.loads(patient(f"t{n}", birthDate=f"19{n}-01-01")),
              "request": {"method": "PUT", "url": f"Patient/t{n}"}} for n in range(30, 50)]
    assert fhir.post("", {"resourceType": "Bundle", "type": "transaction", "entry": entry}).status == 200
    assert server.import_all(store, "s3://input/b/")["JobStatus"] == "COMPLETED"
    server.export_all(store, ClientToken=TOKEN)
    return store


SEARCHES = ["Patient?_count=500", "Patient?gender=other", "Patient?_sort=birthdate,_id&_count=500", "Patient?_summary=count",
            "Observation?_summary=count", "Encounter?_summary=count", "Patient?language=l4", "Patient?birthdate=ge1970&_count=500"]


def bundle(answer):
    """Of a search: what was found, in a fixed order, without what is of the server that was asked."""
    got = answer.json
    assert answer.status == 200, got
    return got["total"] if "total" in got else None, sorted(
        json.dumps(e["resource"], sort_keys=True) for e in got.get("entry", []) if e["search"]["mode"] == "match")


def answers(server, store, ids, instants):
    """What this server says of the data store."""
    client, fhir, told = server.client(), server.fhir(store), {}
    p = client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]
    told["store"] = {k: v for k, v in p.items() if k != "DatastoreEndpoint"}
    told["tags"] = client.list_tags_for_resource(ResourceARN=p["DatastoreArn"])["Tags"]
    told["imports"] = client.list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"]
    told["exports"] = client.list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]
    for query in SEARCHES:
        told[query] = bundle(fhir.get(query))
    for instant in instants:
        for query in (f"Patient?_lastUpdated=le{instant}&_count=500", f"Patient?_lastUpdated=gt{instant}&_count=500"):
            told[query] = bundle(fhir.get(query))
    for one in ids:
        got = fhir.get(f"Patient/{one}/_history").json
        told[f"history {one}"] = [{k: v for k, v in e.items() if k != "fullUrl"} for e in got["entry"]]
        for n in range(1, len(got["entry"]) + 1):
            answer = fhir.get(f"Patient/{one}/_history/{n}")
            told[f"vread {one} {n}"] = answer.status, answer.body if answer.status == 200 else None, answer.headers["ETag"]
    return told


def export_digest(server, store, name):
    job = server.export_all(store, f"s3://out/{name}")
    assert job["JobStatus"] == "COMPLETED", job
    manifest, lines = read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    return manifest["contentDigest"], sorted(lines.values())


def who_and_when(server, store):
    """Ids of all patients that ever were, and some instants."""
    fhir = server.fhir(store)
    current = fhir.get("Patient?_count=500").json["entry"]
    seen = {e["resource"]["id"]: e["resource"]["meta"]["lastUpdated"] for e in current}
    return sorted(seen), sorted(seen.values())[:: max(1, len(seen) // 4)]


def take_credentials(old, new):
    new.mkdir(exist_ok=True)
    shutil.copy2(old / "credentials", new / "credentials")


# ---- there and back ----

def test_a_house_moves_into_a_database_and_back(tmp_path, uri):
    data, node, back = tmp_path / "data", tmp_path / "node", tmp_path / "back"
    with on_files(data) as server:
        store = fill(server, tmp_path)
        deleted = server.create_store()
        server.client().delete_fhir_datastore(DatastoreId=deleted)
        wait(lambda: server.client().describe_fhir_datastore(DatastoreId=deleted)["DatastoreProperties"]["DatastoreStatus"],
             {"DELETED"})
        other = server.create_store()
        ids, instants = who_and_when(server, store)
        before, digest = answers(server, store, ids, instants), export_digest(server, store, "before")
        before["exports"] = server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]
    got = copy(data, uri)
    assert got.returncode == 0 and got.stderr == "", got
    assert re.search(rf"(?m)^{store}: Patient: \d+ resources, \d+ versions, digest of both [0-9a-f]{{32}}$", got.stdout)
    assert re.search(rf"(?m)^{store}: copied; \d+ resources, .*; all versions compared$", got.stdout)
    assert re.search(r"(?m)^2 data stores copied, with the records of 6 jobs, ", got.stdout), got.stdout
    for name in ("credentials", "objects"):
        assert f"not copied: {data}/{name} (" in got.stdout, got.stdout
    take_credentials(data, node)
    with on_database(node, uri) as server:
        check_same(server, store, ids, instants, before, digest)
        assert server.client().describe_fhir_datastore(DatastoreId=other)["DatastoreProperties"]["DatastoreStatus"] == "ACTIVE"
        fhir = server.fhir(store)  # it goes on living, and its versions go on
        newest = fhir.get(f"Patient/{ids[-1]}").json["meta"]["versionId"]
        assert fhir.put(f"Patient/{ids[-1]}", patient(ids[-1], gender="male")).status == 200
        assert fhir.get(f"Patient/{ids[-1]}").json["meta"]["versionId"] == str(int(newest) + 1)
        assert fhir.put("Patient/of-the-database", patient("of-the-database")).status == 201
        instants.append(fhir.get("Patient/of-the-database").json["meta"]["lastUpdated"])
        ids, before = [*ids, "of-the-database"], None
        before, digest = answers(server, store, ids, instants), export_digest(server, store, "then")
        before["exports"] = server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"]
    got = copy(uri, back)
    assert got.returncode == 0 and got.stderr == "", got
    assert "not copied: the --data folder of the servers on that database" in got.stdout
    assert "that this program does not know" not in got.stdout, got.stdout
    assert str(postgres.server().dir) not in got.stdout, "the URI is not shown"
    take_credentials(data, back)
    checked = run("check", back)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with on_files(back) as server:
        check_same(server, store, ids, instants, before, digest)


def check_same(server, store, ids, instants, before, digest):
    now = answers(server, store, ids, instants)
    assert now.keys() == before.keys()
    for what, told in before.items():
        assert now[what] == told, what
    client = server.client()
    again = client.create_fhir_datastore(DatastoreTypeVersion="R4", DatastoreName="of the house", ClientToken=TOKEN,
                                         Tags=[{"Key": "ward", "Value": "7"}])
    assert again["DatastoreId"] == store, "a client token of before stands for what it stood for"
    jobs = {j["JobId"] for j in now["exports"]}
    assert server.start_export(store, ClientToken=TOKEN) in jobs
    assert export_digest(server, store, "after") == digest


def test_page_tokens_of_before_are_refused(tmp_path, uri):
    with on_files(tmp_path / "data") as server:
        store = server.create_store()
        fhir = server.fhir(store)
        for n in range(5):
            assert fhir.put(f"Patient/p{n}", patient(f"p{n}")).status == 201
        following = next(x["url"] for x in fhir.get("Patient?_count=2").json["link"] if x["relation"] == "next")
    assert copy(tmp_path / "data", uri).returncode == 0
    take_credentials(tmp_path / "data", tmp_path / "node")
    with on_database(tmp_path / "node", uri) as server:
        query = following.split("/r4/", 1)[1]
        assert server.fhir(store).get(query).status == 400


def test_some_of_the_data_stores_go_where_others_are(tmp_path, uri):
    data, node = tmp_path / "data", tmp_path / "node"
    with on_database(node, uri) as server:
        there = server.create_store()
    with on_files(data) as server:
        stores = [server.create_store() for _ in range(3)]
        for n, store in enumerate(stores):
            assert server.fhir(store).put("Patient/a", patient("a", language=f"l{n}")).status == 201
    got = copy(data, uri, "--datastore", stores[0], f"--datastore={stores[2]}")
    assert got.returncode == 0 and "2 data stores copied" in got.stdout, got
    with on_database(node, uri) as server:
        listed = {s["DatastoreId"] for s in server.client().list_fhir_datastores()["DatastorePropertiesList"]}
        assert listed == {there, stores[0], stores[2]}
        assert server.fhir(stores[2]).get("Patient/a").json["language"] == "l2"
    refused("the target has a data store [0-9a-f]{32} already", "--from", data, "--to", uri)


def test_an_assertion_that_was_used_is_good_in_no_other_place(tmp_path, uri):
    data, node, back = tmp_path / "data", tmp_path / "node", tmp_path / "back"
    key, public = ClientKey(), "https://fhir.example"
    data.mkdir(mode=0o700)
    register(data, "app", [key], "system/*.rs")
    assertions = []

    def ask(server, n):
        client = Backend(server, store, "app", key)
        while len(assertions) <= n:
            assertions.append(key.jwt(client.claims(aud=f"{public}/datastore/{store}/r4/auth/token")))
        return client.ask(client.form(client_assertion=assertions[n])).status

    with Server(data, "--store", "rocksdb", "--public-url", public) as server:
        store = server.create_store(IdentityProviderConfiguration=OURS)
        assert [ask(server, 0), ask(server, 0)] == [200, 401]
    for source, target, place, options in (data, uri, node, ("--store", uri)), (uri, back, back, ("--store", "rocksdb")):
        assert copy(source, target).returncode == 0
        take_credentials(data, place)
        shutil.copy2(data / "smart-clients", place / "smart-clients")
        with Server(place, *options, "--public-url", public) as server:
            assert [ask(server, n) for n in range(len(assertions))] == [401] * len(assertions)
            assert [ask(server, len(assertions)), ask(server, len(assertions) - 1)] == [200, 401]


# ---- a call that was cut off ----

def serve_refused(*options):
    got = subprocess.run([str(BIN), "serve", "--listen", "127.0.0.1:0", *map(str, options)], capture_output=True, text=True,
                         timeout=60)
    assert got.returncode == 1 and got.stdout == "", got
    return got.stderr


ROOM = 600  # bytes of output: that of two data stores, and not that of a third


@contextlib.contextmanager
def half_way(source, target):
    """A copy of four data stores that stands still where it has told of two, and is killed then. It cannot come to its end:
    nobody reads what it says, and there is no room for more."""
    reading, writing = os.pipe()
    full = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"-" * (full - ROOM))
    process = subprocess.Popen([str(BIN), "copy", "--from", str(source), "--to", str(target)], stdout=writing,
                               stderr=subprocess.PIPE)
    os.close(writing)

    def told():
        n = array.array("i", [0])
        fcntl.ioctl(reading, termios.FIONREAD, n)
        return n[0] > full - ROOM + 400 or process.poll() is not None
    try:
        wait(told, {True})
        yield
    finally:
        process.kill()
        _, said = process.communicate()
        os.close(reading)
    assert process.returncode == -signal.SIGKILL, said


def cut_off(source, target):
    with half_way(source, target):
        pass


def four_stores(server):
    stores = [server.create_store() for _ in range(4)]
    for store in stores:
        for n in range(4):
            assert server.fhir(store).put(f"Patient/p{n}", patient(f"p{n}")).status == 201
    return stores


@pytest.mark.parametrize("there", ["database", "folder"])
def test_a_copy_that_was_killed_is_served_by_nobody_and_goes_on(tmp_path, uri, there):
    data, node = tmp_path / "data", tmp_path / "node"
    target = uri if there == "database" else tmp_path / "target"
    with on_files(data) as server:
        stores = four_stores(server)
    cut_off(data, target)
    told = serve_refused("--data", data)
    assert "of this folder are being copied, or a `fhirlake copy` from it was cut off" in told, told
    told = serve_refused("--data", *([node, "--store", uri] if there == "database" else [target]))
    assert "is half copied" in told and f"from {data}" in told, told
    refused("is half copied", "--from", target, "--to", tmp_path / "third")
    refused("half copied data store .* not among these", "--from", data, "--to", target, "--datastore", min(stores))
    got = copy(data, target)
    assert got.returncode == 0, got
    assert "was copied and compared by an earlier call" in got.stdout and "4 data stores copied" in got.stdout
    take_credentials(data, node if there == "database" else target)
    with (on_database(node, uri) if there == "database" else on_files(target)) as server:
        for store in stores:
            assert len(server.fhir(store).get("Patient").json["entry"]) == 4


def test_a_copy_that_was_cut_off_can_be_given_up(tmp_path, uri):
    data = tmp_path / "data"
    with on_database(tmp_path / "node", uri) as server:
        there = server.create_store()
    with on_files(data) as server:
        stores = [server.create_store() for _ in range(4)]
        for store in stores:
            assert server.fhir(store).put("Patient/a", patient("a")).status == 201
    cut_off(data, uri)
    got = run("copy", "--abandon", "--from", data, "--to", uri)
    assert got.returncode == 0 and got.stdout.splitlines() == [
        *(f"{s}: removed" for s in sorted(stores)), "the source can be served again"], got
    assert run("copy", "--abandon", "--to", uri).stdout == "nothing is half copied there\n"
    assert run("copy", "--abandon", "--from", data).stdout == "no copy from there was cut off\n"
    with on_files(data) as server:
        assert server.fhir(stores[0]).get("Patient/a").status == 200
    with on_database(tmp_path / "node", uri) as server:
        listed = server.client().list_fhir_datastores()["DatastorePropertiesList"]
        assert [s["DatastoreId"] for s in listed] == [there]
    assert copy(data, uri).returncode == 0


def test_what_was_written_between_two_calls_is_copied_too(tmp_path, uri):
    data = tmp_path / "data"
    with on_files(data) as server:
        stores = four_stores(server)
    cut_off(data, uri)
    assert run("copy", "--abandon", "--from", data).returncode == 0
    with on_files(data) as server:  # of two data stores the first call has said that they are copied
        for store in stores:
            assert server.fhir(store).put("Patient/late", patient("late")).status == 201
    got = copy(data, uri)
    assert got.returncode == 0 and "by an earlier call\n" not in got.stdout.replace("were there from an earlier call", ""), got
    take_credentials(data, tmp_path / "node")
    with on_database(tmp_path / "node", uri) as server:
        for store in stores:
            assert server.fhir(store).get("Patient/late").status == 200


# ---- what is refused ----

def test_no_server_starts_while_a_copy_runs(tmp_path, uri, other_uri):
    nodes = tmp_path / "node", tmp_path / "other"
    with on_database(nodes[0], uri) as server:
        stores = four_stores(server)
    with half_way(uri, other_uri):
        told = serve_refused("--data", nodes[0], "--store", uri)
        assert "of this database are being copied" in told, told
        told = serve_refused("--data", nodes[1], "--store", other_uri)
        assert "is half copied" in told, told
        refused("--from: another fhirlake has this database", "--from", uri, "--to", tmp_path / "third")
        refused("--to: another fhirlake has this database", "--to", other_uri, "--abandon")
        refused("--from: another fhirlake has this database", "--from", uri, "--abandon")
        assert "of this database are being copied" in serve_refused("--data", nodes[0], "--store", uri), "the mark stays"
    assert "of this database are being copied" in serve_refused("--data", nodes[0], "--store", uri)
    got = copy(uri, other_uri)
    assert got.returncode == 0 and "was copied and compared by an earlier call" in got.stdout, got
    take_credentials(nodes[0], nodes[1])
    with on_database(nodes[0], uri) as source, on_database(nodes[1], other_uri) as target:
        for store in stores:
            assert len(target.fhir(store).get("Patient").json["entry"]) == 4
            assert len(source.fhir(store).get("Patient").json["entry"]) == 4


def test_nobody_may_serve_meanwhile(tmp_path, uri):
    with on_files(tmp_path / "data"):
        refused("--from: .*is in use: stop the server first", "--from", tmp_path / "data", "--to", uri)
    assert not os.path.exists(tmp_path / "other")
    with on_database(tmp_path / "node", uri):
        refused("--from: another fhirlake has this database: stop all", "--from", uri, "--to", tmp_path / "other")
        refused("--to: another fhirlake has this database: stop all", "--from", tmp_path / "data", "--to", uri)
    assert not os.path.exists(tmp_path / "other"), "nothing is made where nothing is copied"
    for place in ("--data", tmp_path / "data"), ("--data", tmp_path / "node", "--store", uri):
        with Server(place[1], *place[2:]) as server:
            assert server.client().list_fhir_datastores(), "what was refused leaves no mark"


def test_what_is_no_place_is_told(tmp_path, uri):
    folder, there = tmp_path / "nothing", tmp_path / "data"
    with on_files(there) as server:
        server.create_store()
    refused("--from is needed", status=2)
    refused("--to is needed", "--from", there, status=2)
    refused("same place", "--from", there, "--to", there, status=2)
    refused("32 hexadecimal digits", "--from", there, "--to", uri, "--datastore", "x", status=2)
    refused("--abandon is of all", "--to", uri, "--abandon", "--datastore", "0" * 32, status=2)
    refused("--from is needed", "--abandon", status=2)
    for odd in (f"postgres://u:{SECRET}@h/x", f"rocksdb:/{SECRET}", f"postgresql:{SECRET}"):
        refused(r"--from takes postgresql://HOST/DATABASE, or DATA", "--from", odd, "--to", uri, status=2)
        refused(r"--to takes postgresql://HOST/DATABASE, or DATA", "--from", there, "--to", odd, status=2)
    refused("--from: .*is no data folder", "--from", folder, "--to", uri)
    refused("--from: no fhirlake has served from that database", "--from", uri, "--to", folder)
    refused("--to: ", "--from", there, "--to", f"postgresql://u:{SECRET}@/x?host={tmp_path}")
    refused("the source has no data store 0{32}", "--from", there, "--to", uri, "--datastore", "0" * 32)
    with on_database(tmp_path / "node", uri):
        pass
    refused("--from: the data stores of folder .* are in a database", "--from", tmp_path / "node", "--to", folder)
    refused("--to: the data stores of folder .* are in a database", "--from", there, "--to", tmp_path / "node")
    assert not folder.exists()


def test_an_encrypted_data_store_is_refused(tmp_path, uri):
    key = tmp_path / "key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    with Server(tmp_path / "data", "--store", "rocksdb", "--encryption-key-file", str(key)) as server:
        store = server.create_store()
    refused(f"data store {store} is encrypted by a key: a copy would be plain", "--from", tmp_path / "data", "--to", uri)


def test_continuous_backup_does_not_go_to_a_database(tmp_path, uri):
    with on_files(tmp_path / "data") as server:
        made = ask_control(server.url, server.keys(), "CreateFHIRDatastore", {
            "DatastoreTypeVersion": "R4", "BackupConfiguration": {"Status": "ENABLED", "BackupType": "CONTINUOUS"}})
        assert made[0] == 200, made
        store = made[2]["DatastoreId"]
        wait(lambda: server.client().describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"],
             {"ACTIVE"})
    refused(f"data store {store} has continuous backup", "--from", tmp_path / "data", "--to", uri)
    assert copy(tmp_path / "data", tmp_path / "folder").returncode == 0


@pytest.mark.skipif(not LONG, reason="--long")
def test_a_large_house_moves(tmp_path, uri):
    data = tmp_path / "data"
    with on_files(data) as server:
        store = server.create_store()
        generate(tmp_path / "many", patients=3000)
        for path in (tmp_path / "many").glob("*.ndjson"):
            server.put_object(f"s3://input/many/{path.name}", path.read_bytes())
        assert server.import_all(store, "s3://input/many/")["JobStatus"] == "COMPLETED"
        digest = export_digest(server, store, "before")
    got = run("copy", "--from", data, "--to", uri, timeout=1200)
    assert got.returncode == 0, got
    print(got.stdout)
    take_credentials(data, tmp_path / "node")
    with on_database(tmp_path / "node", uri) as server:
        assert export_digest(server, store, "after") == digest
