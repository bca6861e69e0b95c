"""Several processes on one database: what one is asked for is known to all, and what one has begun another one ends."""
import concurrent.futures
import json
import shutil
import signal
import pathlib
import random
import tempfile
import threading
import time
import urllib.request

import botocore.exceptions
import pytest

import postgres
from fhirlake import FINAL, LONG, Server, assert_same_resources, generate, patient, read_export, read_ndjson, run, wait

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]
LEASE_MS = 1500


class Nodes:
    """Servers on one database, with one place for what is read and written."""

    def __init__(self, n, *options, shared=("objects",), lease_ms=LEASE_MS):
        self.pg = postgres.server()
        self.database = self.pg.database()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="fhirlake-nodes-"))
        for name in shared:
            (self.dir / name).mkdir()
        self.all = []
        for i in range(n):
            data = self.dir / f"data{i}"
            data.mkdir(mode=0o700)
            for name in shared:
                (data / name).symlink_to(self.dir / name)
            self.all.append(Server(data, "--store", self.pg.uri(self.database), *options,
                                   env={"_FHIRLAKE_LEASE_MS": str(lease_ms)}))

    def __enter__(self):
        for server in self.all:
            server.start()
        return self.all

    def __exit__(self, *exc):
        try:
            for server in self.all:
                if server.process:
                    assert server.stop() == 0 or exc[0], server.log_text()[-3000:]
        finally:
            for server in self.all:
                server.kill()
            self.pg.drop(self.database)
            shutil.rmtree(self.dir, ignore_errors=True)

    def sql(self, text):
        return self.pg.sql(text, self.database)


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    out = tmp_path_factory.mktemp("nodes") / "data"
    generate(out, patients=60, seed=7)
    return out


def lines_of(population):
    return [line for path in sorted(population.glob("*.ndjson")) for line in read_ndjson(path)]


def listed(server, kind, store, job):
    """By a list, which waits for no end as Describe does."""
    client = server.client()
    call = client.list_fhir_import_jobs if kind == "Import" else client.list_fhir_export_jobs
    found = [j for j in call(DatastoreId=store)[f"{kind}JobPropertiesList"] if j["JobId"] == job]
    assert len(found) == 1
    return found[0]


def filled(server, population):
    for path in population.glob("*.ndjson"):
        server.put_object(f"s3://input/pop/{path.name}", path.read_bytes())
    store = server.create_store()
    assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
    return store


def holder(nodes, job):
    """The server that has the job's lease, or None."""
    rows = nodes.sql(f"select n.pid from fl_system.leases l join fl_system.nodes n on n.who = l.owner "
                     f"where l.name = 'job/{job}' and l.until > clock_timestamp()")
    return next((s for s in nodes.all if rows and s.process and s.process.pid == int(rows[0])), None)


def other(nodes, server):
    return next(s for s in nodes.all if s is not server)


def stop_at_once(nodes, server):
    """It is frozen, and what it has sent to the database is done: only others change anything behind that."""
    server.process.send_signal(signal.SIGSTOP)
    wait(lambda: nodes.sql("select 1 from pg_stat_activity a join fl_system.nodes n on a.application_name = 'fhirlake ' || n.who "
                           f"where n.pid = {server.process.pid} and a.state = 'active' and a.wait_event_type is distinct from "
                           "'Lock' and a.wait_event is distinct from 'ClientRead'"), [[]])


def caught(nodes, server, kind, store, start, looks_on=other):
    """A job that was begun, and the server that has it in hand: it is stopped there with SIGSTOP. Others are quicker to
    end than to be caught: those are tried again."""
    for _ in range(50):
        job = start()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            has = holder(nodes, job)
            if has:
                stop_at_once(nodes, has)
                if holder(nodes, job) is has if looks_on is None else (
                        listed(looks_on(nodes, has), kind, store, job)["JobStatus"] not in FINAL):
                    return job, has
                has.process.send_signal(signal.SIGCONT)
            if listed(server, kind, store, job)["JobStatus"] in FINAL:
                break
    raise AssertionError("no job was caught under way")


def test_what_one_node_is_asked_for_all_know(population):
    nodes = Nodes(2)
    with nodes as (a, b):
        store = filled(a, population)
        job = a.start_export(store)
        done = b.wait_export(store, job)
        assert done["JobStatus"] == "COMPLETED", done
        _, exported = read_export(b.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        assert_same_resources(exported, lines_of(population))
        assert b.fhir(store).put("Patient/new", patient("new")).status == 201
        assert a.fhir(store).get("Patient/new").status == 200


def test_one_client_token_on_two_nodes_is_one_job(population):
    with Nodes(2) as (a, b):
        store = a.create_store()
        wait(lambda: b.fhir(store).get("Patient/x").status, {404})
        for i in range(5):
            with concurrent.futures.ThreadPoolExecutor(8) as threads:
                jobs = list(threads.map(lambda k: (a, b)[k % 2].start_export(store, ClientToken=f"token-{i}"), range(8)))
            assert len(set(jobs)) == 1, jobs
            assert b.wait_export(store, jobs[0])["JobStatus"] == "COMPLETED"


def assert_exact(server, done, lines):
    assert done["JobStatus"] == "COMPLETED", done
    _, exported = read_export(server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    assert {json.loads(line)["meta"]["versionId"] for line in exported.values()} == {"1"}
    assert_same_resources(exported, lines)


def test_an_export_whose_node_is_killed_is_ended_by_another(population):
    nodes = Nodes(2)
    with nodes as (a, b):
        store = filled(a, population)
        job, has = caught(nodes, a, "Export", store, lambda: a.start_export(store))
        rest = other(nodes, has)
        # who has its lease may not have begun yet
        begun = listed(rest, "Export", store, job)["JobStatus"] == "IN_PROGRESS"
        has.kill()
        assert_exact(rest, rest.wait_export(store, job), lines_of(population))
        assert not begun or "job_resumed" in rest.log_text()


def test_an_export_whose_node_is_frozen_is_ended_by_another_and_the_frozen_one_does_no_harm(population):
    nodes = Nodes(3)
    with nodes as (a, b, c):
        store = filled(a, population)
        job, has = caught(nodes, a, "Export", store, lambda: a.start_export(store))
        rest = other(nodes, has)
        done = rest.wait_export(store, job)
        assert_exact(rest, done, lines_of(population))
        has.process.send_signal(signal.SIGCONT)
        # it serves, and takes jobs again
        assert_exact(has, has.export_all(store), lines_of(population))
        assert has.wait_export(store, job) == done
        assert_exact(rest, done, lines_of(population))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_an_import_whose_node_ends_is_ended_by_another(population, how):
    nodes = Nodes(2, shared=("objects", "jobs"))
    with nodes as (a, b):
        for path in population.glob("*.ndjson"):
            a.put_object(f"s3://input/pop/{path.name}", path.read_bytes())
        store = a.create_store()
        job, has = caught(nodes, a, "Import", store, lambda: a.start_import(store, "s3://input/pop/"))
        rest = other(nodes, has)
        if how == signal.SIGKILL:
            has.kill()
        done = rest.wait_import(store, job)
        assert done["JobStatus"] == "COMPLETED", done
        if how == signal.SIGSTOP:
            has.process.send_signal(signal.SIGCONT)
            assert_exact(has, has.export_all(store), lines_of(population))
        lines = lines_of(population)
        assert done["JobProgressReport"]["TotalNumberOfResourcesImported"] == len(lines)
        assert_exact(rest, rest.export_all(store), lines)


def test_an_import_whose_spool_has_gone_with_its_node_starts_again_or_says_so(population):
    nodes = Nodes(2)
    with nodes as (a, b):
        for path in population.glob("*.ndjson"):
            a.put_object(f"s3://input/pop/{path.name}", path.read_bytes())
        store = a.create_store()
        job, has = caught(nodes, a, "Import", store, lambda: a.start_import(store, "s3://input/pop/"))
        rest = other(nodes, has)
        has.kill()
        done = rest.wait_import(store, job)
        assert done["JobStatus"] in ("COMPLETED", "FAILED"), done
        if done["JobStatus"] == "FAILED":
            assert "The node that ran the import has gone" in done["Message"]
        else:
            assert_exact(rest, rest.export_all(store), lines_of(population))


def cancel(server, store, job):
    return server.fhir(store).delete(f"export/{job}").status


def files_of(nodes, store, job):
    return [p for p in (nodes.dir / "objects" / "out").rglob(f"{store}-FHIR_EXPORT-{job}/**/*") if p.is_file()]


def test_a_job_is_cancelled_on_any_node(population):
    nodes = Nodes(2, lease_ms=30000)
    with nodes as (a, b):
        store = filled(a, population)
        job, has = caught(nodes, a, "Export", store, lambda: a.start_export(store))
        rest = other(nodes, has)
        # one that waits behind it ends at once
        waits = rest.start_export(store)
        assert listed(rest, "Export", store, waits)["JobStatus"] in ("SUBMITTED", "QUEUED")
        assert cancel(rest, store, waits) == 202
        assert wait(lambda: listed(rest, "Export", store, waits)["JobStatus"], FINAL) == "CANCEL_COMPLETED"
        # the one that the other has in hand, as soon as that hears of it
        assert cancel(rest, store, job) == 202
        assert listed(rest, "Export", store, job)["JobStatus"] == "CANCEL_SUBMITTED"
        has.process.send_signal(signal.SIGCONT)
        assert rest.wait_export(store, job)["JobStatus"] == "CANCEL_COMPLETED"
        assert files_of(nodes, store, job) == []


def test_what_a_frozen_node_had_in_hand_is_cancelled_without_it(population):
    nodes = Nodes(2)
    with nodes as (a, b):
        store = filled(a, population)
        for _ in range(20):
            job, has = caught(nodes, a, "Export", store, lambda: a.start_export(store))
            rest = other(nodes, has)
            answer = cancel(rest, store, job)
            if answer == 202:
                break
            # its lease was over before that was asked, and the other one was quick to end it
            assert answer == 409 and rest.wait_export(store, job)["JobStatus"] == "COMPLETED"
            has.process.send_signal(signal.SIGCONT)
        assert rest.wait_export(store, job)["JobStatus"] == "CANCEL_COMPLETED"
        has.process.send_signal(signal.SIGCONT)
        assert_exact(has, has.export_all(store), lines_of(population))
        assert has.wait_export(store, job)["JobStatus"] == "CANCEL_COMPLETED"


def test_of_all_nodes_together_25_jobs_wait_and_one_runs(population):
    nodes = Nodes(3, lease_ms=30000)
    with nodes as (a, b, c):
        store = filled(a, population)
        job, has = caught(nodes, a, "Export", store, lambda: a.start_export(store))
        rest = [s for s in nodes.all if s is not has]
        clients = [s.client() for s in rest]
        # some may have been quicker to end than to be caught
        n_before = int(nodes.sql(f"select count(*) from fl_system.records where k like 'job/{store}/export/%'")[0])

        def submit(i):
            try:
                return rest[i % 2].start_export(store, f"s3://out/{i}", client=clients[i % 2])
            except botocore.exceptions.ClientError as e:
                assert e.response["Error"]["Code"] == "ThrottlingException" and "25 export jobs" in e.response["Error"]["Message"]
                return None
        with concurrent.futures.ThreadPoolExecutor(6) as threads:
            jobs = [j for j in threads.map(submit, range(32)) if j]
        assert len(jobs) == 25
        has.process.send_signal(signal.SIGCONT)
        for one in jobs:
            assert rest[0].wait_export(store, one)["JobStatus"] == "COMPLETED"
        times = [[int(t) for t in row.split("|")] for row in nodes.sql(
            "select j->>'started', j->>'ended' from (select convert_from(v, 'UTF8')::json j from fl_system.records where k like "
            f"'job/{store}/export/%') r order by (j->>'order')::numeric")]
        assert len(times) == n_before + 25
        assert all(before[1] <= behind[0] for before, behind in zip(times, times[1:])), times


def test_a_data_store_is_deleted_on_one_node_while_another_works_in_it(population):
    nodes = Nodes(2)
    with nodes as (a, b):
        store = filled(a, population)
        job, has = caught(nodes, a, "Export", store, lambda: a.start_export(store))
        rest = other(nodes, has)
        rest.client().delete_fhir_datastore(DatastoreId=store)
        has.process.send_signal(signal.SIGCONT)
        client = rest.client()
        wait(lambda: client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"DELETED"})
        assert listed(rest, "Export", store, job)["JobStatus"] in ("FAILED", "COMPLETED")
        assert nodes.sql(f"select 1 from pg_namespace where nspname = 'fl_{store}'") == []
        with pytest.raises(botocore.exceptions.ClientError):
            has.start_export(store)


def test_data_stores_are_made_and_removed_by_whoever_is_there():
    nodes = Nodes(2, "--preload-patients", "300")
    nodes.all[0].options[-1] = "1000000"  # it does not come to the end
    with nodes as (a, b):
        store = a.client().create_fhir_datastore(DatastoreTypeVersion="R4",
                                                 PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
        wait(lambda: bool(nodes.sql(f"select 1 from fl_system.leases where name = 'datastore/{store}'")), {True})
        a.kill()
        client = b.client()
        wait(lambda: client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"ACTIVE"})
        done = b.export_all(store)
        manifest, exported = read_export(b.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        assert manifest["countPerType"]["Patient"] == 300
        assert {json.loads(line)["meta"]["versionId"] for line in exported.values()} == {"1"}
        a.options[-1] = "300"
        a.start()
        client.delete_fhir_datastore(DatastoreId=store)
        wait(lambda: a.client().describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"DELETED"})


def test_one_client_token_on_two_nodes_is_one_data_store():
    with Nodes(2, "--max-datastores", "6") as (a, b):
        clients = [a.client(), b.client()]

        def make(i, **more):
            try:
                return clients[i % 2].create_fhir_datastore(DatastoreTypeVersion="R4", **more)["DatastoreId"]
            except botocore.exceptions.ClientError as e:
                assert e.response["Error"]["Code"] == "ThrottlingException", e
                return None
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(lambda i: make(i, ClientToken="one"), range(8)))) == 1
            # and no more of them than may be, over both
            assert len([s for s in threads.map(make, range(12)) if s]) == 5
        assert len(a.client().list_fhir_datastores()["DatastorePropertiesList"]) == 6


def test_a_node_that_is_started_again_does_not_wait_for_its_own_lease(population):
    nodes = Nodes(2, lease_ms=30000)
    with nodes as (a, b):
        store = filled(a, population)
        b.stop()
        job, has = caught(nodes, a, "Export", store, lambda: a.start_export(store), looks_on=None)
        assert has is a
        a.kill()
        before, = nodes.sql("select who from fl_system.nodes")
        a.start()
        assert nodes.sql(f"select 1 from fl_system.leases where owner = '{before}'") == []
        assert before not in nodes.sql("select who from fl_system.nodes")
        assert_exact(a, a.wait_export(store, job), lines_of(population))


def test_the_nodes_of_a_database_are_shown_with_what_they_have_in_hand(population):
    nodes = Nodes(2, "--health-listen", "127.0.0.1:0", lease_ms=30000)
    with nodes as (a, b):
        store = filled(a, population)
        job, has = caught(nodes, a, "Export", store, lambda: a.start_export(store))
        shown = run("nodes", "--store", nodes.pg.uri(nodes.database), "--json")
        assert shown.returncode == 0, shown
        told = json.loads(shown.stdout)
        assert {n["pid"] for n in told["nodes"]} == {a.process.pid, b.process.pid}
        who = next(n["node"] for n in told["nodes"] if n["pid"] == has.process.pid)
        assert [x["node"] for x in told["leases"] if x["name"] == f"job/{job}"] == [who]
        table = run("nodes", env={"FHIRLAKE_STORE": nodes.pg.uri(nodes.database)})
        line, = [x for x in table.stdout.split("\n") if x.startswith(who[:8])]
        assert f"job/{job}" in line and str(has.process.pid) in line and "there" in line
        # one that was killed is lost after a while, and one that stops has gone
        nodes.sql(f"update fl_system.nodes set seen = seen - interval '1 minute' where pid = {has.process.pid}")
        told = json.loads(run("nodes", "--store", nodes.pg.uri(nodes.database), "--json").stdout)
        assert {n["pid"]: n["state"] for n in told["nodes"]}[has.process.pid] == "lost"
        has.process.send_signal(signal.SIGCONT)
        rest = other(nodes, has)
        with urllib.request.urlopen(rest.url + "/health") as answer:
            health = json.load(answer)
        assert health["database"] == "reached" and health["node"] in {n["node"] for n in told["nodes"]} - {who}
        rest.stop()
        told = json.loads(run("nodes", "--store", nodes.pg.uri(nodes.database), "--json").stdout)
        assert [n["pid"] for n in told["nodes"]] == [has.process.pid]


def test_nodes_of_no_database_are_refused():
    for options in ((), ("--store", "fhirlake-data"), ("--store", "postgres://u:s3cret@h/x")):
        done = run("nodes", *options)
        assert done.returncode == 2 and "postgresql://" in done.stderr and "s3cret" not in done.stderr, done
    for uri, told in (("u:s3cret@127.0.0.1:1/x", "refused"), ("u:s3cret@does-not-exist.invalid/x", "does-not-exist.invalid"),
                      ("u:s3cret@h:port/x/y?=", "cannot be read")):
        done = run("nodes", "--store", "postgresql://" + uri)
        assert done.returncode in (2, 3) and "--store: " in done.stderr and told in done.stderr, done
        assert "s3cret" not in done.stderr, done
    pg = postgres.server()
    database = pg.database()
    try:
        # a reader of the schema is told what to ask for, and from whom
        pg.sql("create schema fl_system; create table fl_system.layout as select 2 as layout; "
               "create role reads_nodes login", database)
        uri = pg.uri(database, user="reads_nodes")
        for right in ("grant usage on schema fl_system to reads_nodes", "grant select on all tables in schema fl_system to reads_nodes"):
            done = run("nodes", "--store", uri)
            assert done.returncode == 3 and "Its owner, fhirlake" in done.stderr and right in done.stderr, done
            pg.sql(right, database)
        assert "Its owner" not in run("nodes", "--store", uri).stderr
    finally:
        pg.drop(database)
        pg.sql("drop role reads_nodes")


@pytest.mark.skipif(not LONG, reason="only with ./dev test --long")
def test_random_kills_and_freezes_under_writers_lose_and_double_nothing(population):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    nodes = Nodes(3, shared=("objects", "jobs"))
    lines = lines_of(population)
    with nodes as (a, b, c):
        for path in population.glob("*.ndjson"):
            a.put_object(f"s3://input/pop/{path.name}", path.read_bytes())
        stop, written = threading.Event(), {}
        kills = freezes = 0

        def write(server, store):
            i = 0
            while not stop.is_set():
                name = f"{nodes.all.index(server)}-{i}"
                try:
                    if server.fhir(store).put(f"Basic/w{name}", json.dumps(
                            {"resourceType": "Basic", "id": f"w{name}", "code": {"text": name}})).status == 201:
                        written[f"w{name}"] = name
                except OSError:
                    time.sleep(0.05)
                i += 1

        def ask(call):
            """Of whichever node answers."""
            end = time.monotonic() + 120
            while time.monotonic() < end:
                for server in rng.sample(nodes.all, 3):
                    try:
                        return call(server)
                    except (OSError, botocore.exceptions.BotoCoreError, TypeError):
                        pass
            raise AssertionError("no node answers")

        while kills < 50 or freezes < 10:
            store = a.create_store()
            wait(lambda: b.fhir(store).get("Patient/x").status, {404})
            stop.clear()
            written.clear()
            writers = [threading.Thread(target=write, args=(s, store)) for s in nodes.all]
            for one in writers:
                one.start()
            for kind in ("Import", "Export", "Export"):
                begin = (lambda s: s.start_import(store, "s3://input/pop/")) if kind == "Import" else (
                    lambda s: s.start_export(store))
                job, done = ask(begin), None
                end = time.monotonic() + 240
                while done is None or done["JobStatus"] not in FINAL:
                    assert time.monotonic() < end, done
                    victim = rng.choice(nodes.all)
                    if done is not None and rng.random() < 0.5:
                        if rng.random() < 0.7:
                            kills += 1
                            victim.kill()
                            time.sleep(rng.uniform(0, 2))
                            victim.start()
                        else:
                            freezes += 1
                            victim.process.send_signal(signal.SIGSTOP)
                            time.sleep(rng.uniform(0, 4))
                            victim.process.send_signal(signal.SIGCONT)
                    time.sleep(rng.uniform(0, 0.3))
                    done = ask(lambda s: listed(s, kind, store, job))
                assert done["JobStatus"] == "COMPLETED", done
            stop.set()
            for one in writers:
                one.join()
            done = a.export_all(store)
            _, exported = read_export(a.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
            basics = {key[1]: json.loads(exported.pop(key)) for key in list(exported) if key[1].startswith("w")}
            assert {json.loads(line)["meta"]["versionId"] for line in exported.values()} == {"1"}
            assert_same_resources(exported, lines)
            missing = written.keys() - basics.keys()
            assert not missing, f"{len(missing)} acknowledged writes are lost"
            assert all(r["meta"]["versionId"] == "1" and r["code"]["text"] == key[1:] for key, r in basics.items())
            a.client().delete_fhir_datastore(DatastoreId=store)
            print(f"{kills} kills, {freezes} freezes", flush=True)
