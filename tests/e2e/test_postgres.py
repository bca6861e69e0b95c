"""`fhirlake serve --store postgresql://..`: what a start refuses, and how a server lives with its database."""
import concurrent.futures
import json
import os
import socket
import struct
import subprocess
import threading

import pytest

import postgres
from fhirlake import BIN, Server, ask_control, patient, run, wait

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]
SECRET = "s3cr3t-of-db"


@pytest.fixture(scope="module")
def pg():
    """A server that asks for passwords over TCP, and takes few connections."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    one = postgres.Postgres("max_connections=40", port=port, hba="local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    one.sql(f"alter role fhirlake password '{SECRET}'; create role small login password '{SECRET}'")
    yield one
    one.close()


@pytest.fixture
def database(pg):
    name = pg.database()
    yield name
    pg.drop(name)


def tcp(pg, database, user="fhirlake", password=SECRET, rest=""):
    return f"postgresql://{user}{':' + password if password else ''}@127.0.0.1:{pg.port}/{database}{rest}"


def start(tmp_path, store, *options, data="data", env=None):
    """(exit status, what it wrote) of a start that is refused; whoever serves is ended, and is None."""
    env = {**{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FHIRLAKE_", "PG"))}, **(env or {})}
    process = subprocess.Popen(
        [str(BIN), "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / data),
         *(["--store", store] if store else []), *options],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if process.stdout.readline():  # it serves
        process.kill()
        return None, process.communicate()[1]
    told = process.communicate()[1]
    assert SECRET not in told, told
    return process.returncode, told


def refused(tmp_path, store, *options, **more):
    status, told = start(tmp_path, store, *options, **more)
    assert status in (1, 2), (status, told)
    lines = [line for line in told.split("\n") if line.startswith("fhirlake")]
    assert len(lines) == 1, told
    return lines[0]


# ---- the way in ----

def test_a_database_that_cannot_be_reached_is_told_by_its_reason_and_without_its_password(pg, database, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        line = refused(tmp_path, f"postgresql://fhirlake:{SECRET}@127.0.0.1:{port}/x")
        assert "--store: " in line and str(port) in line and "refused" in line, line
    assert "does-not-exist.invalid" in refused(tmp_path, f"postgresql://fhirlake:{SECRET}@does-not-exist.invalid/x")
    line = refused(tmp_path, tcp(pg, database, password=SECRET + "x"))
    assert "password authentication failed" in line and '"fhirlake"' in line, line
    assert "no password supplied" in refused(tmp_path, tcp(pg, database, password=""))
    assert 'database "no_such" does not exist' in refused(tmp_path, tcp(pg, "no_such"))
    assert "nobody_here" in refused(tmp_path, tcp(pg, database, user="nobody_here"))
    # what has the password's text in it is not shown: the user's name is the same here
    assert SECRET not in refused(tmp_path, tcp(pg, database, user=SECRET, password=SECRET))
    assert "server does not support SSL" in refused(tmp_path, tcp(pg, database, rest="?sslmode=require"))


@pytest.mark.parametrize("uri", [
    f"postgresql://fhirlake:{SECRET}%zz@h/x", f"postgresql://u:{SECRET}@h:port/x/y?=", f"postgresql://u:{SECRET}@[::1/x",
    f"postgresql://u@h/x?passwort={SECRET}", f"postgresql://u:{SECRET}@h/x/y", f"postgres://u:{SECRET}@h/x",
    f"postgresql:{SECRET}", f"mysql://u:{SECRET}@h/x", f"rocksdb:/{SECRET}", "postgresql://h/" + "x" * 5000])
def test_a_uri_that_is_none_is_not_shown(uri, tmp_path):
    line = refused(tmp_path, uri)
    assert "--store" in line and "postgresql://" in line or "--store takes" in line, line


def test_the_password_may_stand_in_the_environment_or_a_file(pg, database, tmp_path):
    (tmp_path / "pass").write_text(f"127.0.0.1:{pg.port}:*:fhirlake:{SECRET}\n")
    (tmp_path / "pass").chmod(0o600)
    for env in ({"PGPASSFILE": str(tmp_path / "pass")}, {"PGPASSWORD": SECRET}):
        status, told = start(tmp_path, tcp(pg, database, password=""), env=env)
        assert status is None and SECRET not in told, told
    status, told = start(tmp_path, None, env={"FHIRLAKE_STORE": tcp(pg, database)})
    assert status is None and SECRET not in told, told


def test_a_server_without_room_says_so(pg, database, tmp_path):
    line = refused(tmp_path, pg.uri(database), "--store-connections", "1000")
    assert "max_connections" in line and "1001" in line, line
    held = []

    def fill():  # superusers keep three for themselves; those that found no room have ended
        try:
            n = int(pg.sql("select count(*) from pg_stat_activity where usename = 'small'")[0])
        except AssertionError as full:  # who is being refused has a place for that moment
            assert "too many clients" in str(full)
            return None
        held.extend(subprocess.Popen([f"{postgres.INSTALLED}/psql", tcp(pg, database, user="small"), "-Xq"],
                                     stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    for _ in range(37 - n))
        return n
    try:
        wait(fill, {37})
        line = refused(tmp_path, tcp(pg, database, user="small"), "--store-connections", "4")
        assert "remaining connection slots are reserved" in line or "too many clients already" in line, line
    finally:
        for one in held:
            one.kill()
            one.wait()
            one.stdin.close()


# ---- what it is ----

def old_server(version):
    """A stand-in that lets anybody in, says its version, and answers nothing else."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener, listener.accept()[0] as c:
            while True:
                n, code = struct.unpack(">II", c.recv(8, socket.MSG_WAITALL))
                c.recv(n - 8, socket.MSG_WAITALL)
                if code != 80877103:
                    break
                c.sendall(b"N")  # no TLS
            out = b"R" + struct.pack(">II", 8, 0)
            for k, v in (("server_version", version), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on")):
                pair = k.encode() + b"\0" + v.encode() + b"\0"
                out += b"S" + struct.pack(">I", 4 + len(pair)) + pair
            c.sendall(out + b"Z" + struct.pack(">I", 5) + b"I")
            while c.recv(1 << 16):
                pass
    threading.Thread(target=serve, daemon=True).start()
    return f"postgresql://u:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/x"


def test_a_server_below_14_is_refused(tmp_path):
    line = refused(tmp_path, old_server("13.14"))
    assert "PostgreSQL 13" in line and "14" in line, line


def test_a_database_that_does_not_serve_is_refused_with_what_to_do(pg, tmp_path):
    name = pg.database()
    line = refused(tmp_path, tcp(pg, name, user="small"))
    assert "grant create on database" in line, line
    pg.sql(f"alter database {name} set synchronous_commit = off")
    assert "synchronous_commit is off" in refused(tmp_path, pg.uri(name))
    pg.sql(f"alter database {name} reset synchronous_commit; alter database {name} set default_transaction_read_only = on")
    assert "target_session_attrs=read-write" in refused(tmp_path, pg.uri(name))
    pg.drop(name)
    latin = pg.database("encoding 'LATIN1' template template0")
    assert "UTF8" in refused(tmp_path, pg.uri(latin))
    assert not any(row.startswith("fl_") for row in pg.sql("select nspname from pg_namespace", latin))
    pg.drop(latin)


def test_a_missing_standby_is_told_unless_it_is_meant(pg, database, tmp_path):
    assert "standby=none" in start(tmp_path, pg.uri(database))[1]
    assert "standby=none" in start(tmp_path, pg.uri(database), "--store-ack", "standby")[1]
    status, told = start(tmp_path, pg.uri(database), "--store-ack", "local")
    assert status is None and "standby=none" not in told and "fsync=off" in told, told


@pytest.mark.parametrize("options, named", [
    (("--encryption-key-file", "keys"), "--encryption-key-file"), (("--cache-mib", "128"), "--cache-mib"),
    (("--store-connections", "3"), "from 4 to 1000"), (("--store-timeout", "4"), "from 5 to 3600"), (("--store-ack", "none"), "standby|local")])
def test_an_option_that_means_nothing_there_is_refused(options, named, tmp_path):
    assert named in refused(tmp_path, "postgresql://h/x", *options)


def test_standbys_are_named_by_a_uri_that_is_not_shown(tmp_path):
    for uri in (f"rocksdb:/{SECRET}", f"postgresql://u:{SECRET}%zz@h/x", f"postgresql://u:{SECRET}@h/x/y"):
        assert "--store-read" in refused(tmp_path, "postgresql://h/x", "--store-read", uri)


def test_an_option_of_a_database_is_refused_without_one(tmp_path):
    for options in (("--store-connections", "8"), ("--store-ack", "local"), ("--store-timeout", "9"),
                    ("--store-read", "postgresql://h/x")):
        line = refused(tmp_path, None, *options)
        assert options[0] in line and "postgresql://" in line, line


# ---- which folder, which process ----

def test_a_data_folder_and_its_database_go_together(pg, database, tmp_path):
    with Server(tmp_path / "data", "--store", pg.uri(database)) as server:
        store = server.create_store()
    assert "give --store" in refused(tmp_path, None)
    other = pg.database()
    assert "another database" in refused(tmp_path, pg.uri(other))
    pg.drop(other)
    with Server(tmp_path / "files", "--store", "rocksdb"):
        pass
    assert "data stores of its own" in refused(tmp_path, pg.uri(database), data="files")
    # a new folder for a database is a machine that was replaced
    with Server(tmp_path / "new", "--store", pg.uri(database)) as server:
        assert [d["DatastoreId"] for d in server.client().list_fhir_datastores()["DatastorePropertiesList"]] == [store]
    data = tmp_path / "data"
    for command in (("check", data), ("convert", data), ("backup", "--data", data, "--to", tmp_path / "backup")):
        done = run(*command)
        assert done.returncode != 0 and "in a database" in done.stderr, (command, done)


def test_a_data_folder_has_one_server(pg, database, tmp_path):
    with Server(tmp_path / "data", "--store", pg.uri(database)) as server:
        line = refused(tmp_path, pg.uri(database))
        assert f"data folder {tmp_path / 'data'} is in use by another fhirlake" in line, line
        assert (tmp_path / "data" / "control").is_socket()
        # the lock goes with its process, and is of the folder itself
        server.kill()
        server.start()
        (tmp_path / "other").mkdir(mode=0o700)
        (tmp_path / "other" / "jobs").symlink_to(tmp_path / "data" / "jobs")
        with Server(tmp_path / "other", "--store", pg.uri(database)):
            pass


def test_a_database_that_an_older_release_holds_is_refused(pg, database, tmp_path):
    with Server(tmp_path / "data", "--store", pg.uri(database)) as server:
        store = server.create_store()
    # as that left it, and holds it
    pg.sql("drop table fl_system.layout, fl_system.nodes, fl_system.leases, fl_system.written; drop sequence fl_system.lease_epoch; "
           "create table fl_system.node(one bool)", database)
    held = subprocess.Popen([f"{postgres.INSTALLED}/psql", pg.uri(database), "-XAtq"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    try:
        held.stdin.write("select pg_advisory_lock(hashtextextended('fl_system', 15)), 'held';\n")
        held.stdin.flush()
        assert "held" in held.stdout.readline()
        assert "an older release uses this database" in refused(tmp_path, pg.uri(database))
    finally:
        held.kill()
        held.wait()
    with Server(tmp_path / "data", "--store", pg.uri(database)) as server:
        assert server.fhir(store).get("Patient/a").status == 404


def listening(pg, database):
    return pg.sql(f"select pid from pg_stat_activity where datname = '{database}' and "
                  "query like '%nodes%'")


def test_a_connection_that_listens_is_made_again(pg, database, tmp_path):
    with Server(tmp_path / "data", "--store", pg.uri(database)) as server:
        store = server.create_store()
        seen = []

        def one():
            seen[:] = listening(pg, database)
            return len(seen)
        wait(one, {1})
        pid, = seen
        pg.sql(f"select pg_terminate_backend({pid})")
        wait(lambda: listening(pg, database) not in ([], [pid]), {True})
        assert server.fhir(store).put("Patient/a", {"resourceType": "Patient", "id": "a"}).status == 201
        wait(lambda: "reached again" in server.log_text(), {True})


def test_many_data_stores_need_few_connections(pg, database, tmp_path):
    with Server(tmp_path / "data", "--store", pg.uri(database), "--store-connections", "4", "--workers", "4") as server:
        stores = [server.create_store() for _ in range(6)]

        def use(i):
            fhir = server.fhir(stores[i % len(stores)])
            assert fhir.put(f"Patient/{i}", patient(i)).status == 201
            assert fhir.get(f"Patient/{i}").status == 200
            assert fhir.get("Patient?_total=accurate").json["total"] > 0
            return int(pg.sql(f"select count(*) from pg_stat_activity where datname = '{database}' and application_name like "
                              "'fhirlake%'")[0])
        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            most = max(threads.map(use, range(48)))
        assert 3 <= most <= 5, most  # and the one that listens


def test_a_database_that_was_restarted_is_used_again(tmp_path):
    one = postgres.Postgres()
    try:
        name = one.database()
        with Server(tmp_path / "data", "--store", one.uri(name)) as server:
            store = server.create_store()
            assert server.fhir(store).put("Patient/a", patient("a")).status == 201
            one.stop()
            assert server.fhir(store).get("Patient/a").status == 503
            answer = server.fhir(store).get("Patient/a")
            assert answer.status == 503 and "/tmp" not in answer.text and "fhirlake@" not in answer.text
            one.start()
            assert server.fhir(store).get("Patient/a").status == 200
            assert server.fhir(store).put("Patient/b", patient("b")).status == 201
            wait(lambda: "reached again" in server.log_text(), {True})
            assert server.create_store()
    finally:
        one.close()


# ---- what is not done there ----

def test_what_is_not_done_in_a_database_is_refused(pg, database, tmp_path):
    with Server(tmp_path / "data", "--store", pg.uri(database)) as server:
        client = server.client()
        store = server.create_store()
        fhir = server.fhir(store)
        assert fhir.put("Patient/a", patient("a")).status == 201
        for operation, more in (("CreateFHIRDatastore", {"DatastoreTypeVersion": "R4"}),
                                ("UpdateFHIRDatastore", {"DatastoreId": store})):
            told = ask_control(server.url, server.keys(), operation, {**more, "BackupConfiguration": {"Status": "ENABLED"}})
            assert told[0] == 400 and "ValidationException" in told[1] and "restores none" in told[2], told
        done = run("backup", "--data", server.data, "--to", tmp_path / "backup")
        assert done.returncode != 0 and "its own tools" in done.stderr, done


def test_a_start_that_did_not_reach_its_database_leaves_a_data_folder_that_is_ours(pg, database, tmp_path):
    for _ in range(2):
        refused(tmp_path, "postgresql://small@127.0.0.1:1/x")
    with Server(tmp_path / "data", "--store", tcp(pg, database)) as server:
        assert "holds other files" not in server.log_text()
        # and its keys are its own
        assert "other nodes of this database do not know these keys" in server.log_text()


def test_a_search_reads_of_the_index_what_it_asks_for(pg, database, tmp_path):
    """However many smaller values the parameter has: the database itself tells what a statement touched."""
    pg.sql("".join(f"alter database {database} set {name} = {value};" for name, value in (
        ("session_preload_libraries", "auto_explain"), ("auto_explain.log_min_duration", 0), ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_timing", "off"), ("auto_explain.log_buffers", "on"), ("auto_explain.log_format", "json"))))
    with Server(tmp_path / "data", "--store", tcp(pg, database)) as server:
        store = server.create_store()
        many = 30000
        server.put_object("s3://input/all/Patient.ndjson", b"".join(
            patient(f"p{n}", identifier=[{"system": "urn:x", "value": f"v{n:06}"}]).encode() + b"\n" for n in range(many)))
        assert server.import_all(store, "s3://input/all/")["JobStatus"] == "COMPLETED"
        fhir = server.fhir(store)
        before, told = 0, []

        def plans():
            """What the log tells of searches, from there on and as far as it has come."""
            with open(pg.dir / "log", "rb") as log:
                log.seek(before)
                text = log.read().decode(errors="replace")
            told.clear()
            for piece in text.split("plan:\n")[1:]:
                try:
                    plan, _ = json.JSONDecoder().raw_decode(piece.lstrip())
                except ValueError:
                    break  # the rest of it is on its way
                if "from search s" in plan["Query Text"]:
                    told.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])
            return bool(told)
        fhir.get("Patient?identifier=urn:x|v000000")
        wait(plans, {True})
        before = (pg.dir / "log").stat().st_size
        found = fhir.get(f"Patient?identifier=urn:x|v{many - 1:06}").json
        assert [e["resource"]["id"] for e in found["entry"]] == [f"p{many - 1}"]
        wait(plans, {True})
        # some levels of the tree, for some ranges; all values before it are some hundred pages
        assert max(told) < 40, told
