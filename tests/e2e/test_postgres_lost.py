"""Bad days of a database: connections that end anywhere, a server that is frozen, started anew, full, read-only, a primary that is
lost. What was acknowledged is there once, what failed is told in the caller's protocol and has no data and no password, and no
export is wrong."""
import concurrent.futures
import contextlib
import json
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading

import botocore.exceptions
import pytest

import postgres
from fhirlake import FINAL, LONG, ROOT, Server, ask_control, assert_same_resources, generate, patient, read_export, read_ndjson, wait
from test_nodes import listed

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]
KILLS = 10 if LONG else 2
CLOCK = b"c left join commits k on k.t = c.t"  # of the question for the newest commit
SECRET = "s3cr3t-of-db"


@pytest.fixture(scope="module")
def pg():
    one = postgres.Postgres(port=postgres.free_port())
    one.sql(f"create role small login password '{SECRET}'")
    yield one
    one.close()


@pytest.fixture
def database(pg):
    name = pg.database()
    pg.sql(f"grant create on database {name} to small")
    yield name
    pg.sql(f"alter database {name} reset all")
    pg.drop(name)


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    out = tmp_path_factory.mktemp("lost") / "data"
    generate(out, patients=40, seed=3)
    return out


def tcp(port, database, user="small"):
    return f"postgresql://{user}:{SECRET}@127.0.0.1:{port}/{database}"


def unavailable(answer):
    """503, as the FHIR API says it, with nothing of the way to the database."""
    assert answer.status == 503, (answer.status, answer.body)
    text = answer.text
    assert SECRET not in text and "127.0.0.1" not in text and "small" not in text and "select" not in text, text
    return text


def unavailable_aws(server, operation="ListFHIRDatastores", **request):
    status, kind, message = ask_control(server.url, server.keys(), operation, request)
    assert status in (500, 503) and SECRET not in message and "127.0.0.1" not in message, (status, kind, message)
    return message


def put_in(server, population):
    for path in sorted(population.glob("*.ndjson")):
        server.put_object(f"s3://input/pop/{path.name}", path.read_bytes())
    return [line for path in sorted(population.glob("*.ndjson")) for line in read_ndjson(path)]


def exported(server, store):
    job = server.export_all(store)
    assert job["JobStatus"] == "COMPLETED", job
    return read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))


# ---- connections that end ----

def test_a_write_whose_connection_ends_is_there_once_or_was_refused(pg, database, tmp_path):
    proxy = postgres.Proxy(pg.port)
    with Server(tmp_path / "data", "--store", tcp(proxy.port, database)) as server:
        store = server.create_store()
        fhir = server.fhir(store)
        assert fhir.put("Patient/a", patient("a")).status == 201
        for n in range(6):
            proxy.cut(proxy.COMMIT, behind=n % 2 == 1)
            assert fhir.put("Patient/a", patient("a", active=n % 2 == 0)).status == 200
        assert proxy.n_cut == 6 and fhir.get("Patient/a").json["meta"]["versionId"] == "7"
        for n in range(10):
            proxy.cut(proxy.BEGIN)
            answer = fhir.put(f"Patient/b{n}", patient(f"b{n}"))
            if answer.status != 201:  # else it was that of a transaction beside it
                break
        unavailable(answer)
        assert fhir.get(f"Patient/b{n}").status == 404
        n_begin = proxy.n_cut - 6
        # the control plane's records
        for n in range(4):
            proxy.cut(proxy.COMMIT, behind=n % 2 == 1)
            server.client().tag_resource(ResourceARN=server.client().describe_fhir_datastore(DatastoreId=store)[
                "DatastoreProperties"]["DatastoreArn"], Tags=[{"Key": "k", "Value": str(n)}])
        wait(lambda: proxy.n_cut, {6 + n_begin + 4})
    proxy.close()


def test_what_is_erased_under_the_lock_of_the_clock_is_sent_by_no_copy(pg, database, tmp_path):
    """A COPY whose client is frozen is ended by no deadline of the server, so nobody could write any more."""
    proxy = postgres.Proxy(pg.port)
    with Server(tmp_path / "data", "--store", tcp(proxy.port, database)) as server:
        store = server.create_store()
        fhir = server.fhir(store)
        assert fhir.put("Patient/a", patient("a")).status == 201
        proxy.hold(proxy.COPY)
        job = re.search(r"Job ID: ([0-9a-f]+)", fhir.post("Patient/a/$purge", None, content_type=None).text)[1]
        wait(lambda: fhir.get(f"$purge/{job}").json["status"], {"COMPLETED"})
        assert not proxy.held.is_set()
        assert fhir.get("Patient?_summary=count").json["total"] == 0
        proxy.close()


def test_an_export_that_begins_again_leaves_nothing_beside_its_files(pg, database, tmp_path, population):
    proxy = postgres.Proxy(pg.port)
    with Server(tmp_path / "data", "--store", tcp(proxy.port, database)) as server:
        lines = put_in(server, population)
        store = server.create_store()
        assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
        # what is noted of the object that lets other nodes in, in front of it and behind it
        for after in (0, 1):
            before = proxy.n_cut
            proxy.cut(b".fhirlake-nodes-", after=after)
            _, resources = exported(server, store)
            assert_same_resources(resources, lines)
            assert proxy.n_cut == before + 1
    proxy.close()


@pytest.fixture
def lost_and_other(pg, database, tmp_path):
    """Two nodes with one place for objects. The first goes through the proxy, so it can be lost without a word: what it has open
    at the database stays open."""
    proxy = postgres.Proxy(pg.port)
    (tmp_path / "objects").mkdir()
    nodes = []
    for name, port in (("a", proxy.port), ("b", pg.port)):
        (tmp_path / name).mkdir(mode=0o700)
        (tmp_path / name / "objects").symlink_to(tmp_path / "objects")
        nodes.append(Server(tmp_path / name, "--store", tcp(port, database), env={"_FHIRLAKE_LEASE_MS": "1500"}))
    yield proxy, *nodes
    for node in nodes:
        node.kill()
    proxy.close()


def test_a_node_that_is_lost_in_the_middle_of_a_note_holds_up_nobody(lost_and_other, population):
    """Its transaction has the lease's row."""
    proxy, a, b = lost_and_other
    a.start()
    lines = put_in(a, population)
    store = a.create_store()
    assert a.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
    # one that does not wait for the disk
    proxy.hold(b"/instant")
    job = a.start_export(store)
    assert proxy.held.wait(60)
    a.kill()
    b.start()
    done = b.wait_export(store, job)
    assert done["JobStatus"] == "COMPLETED", done
    _, resources = read_export(b.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    assert_same_resources(resources, lines)


def test_a_node_that_is_lost_in_the_middle_of_a_count_holds_up_nobody(lost_and_other):
    """Its transaction has the row of a load that replaced resources."""
    proxy, a, b = lost_and_other
    a.start()
    b.start()
    store = a.create_store()
    a.put_object("s3://input/pop/Patient.ndjson", "".join(patient(f"p{n}") + "\n" for n in range(10)).encode())
    assert a.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
    proxy.hold(b"delete from unsettled where load")
    # the job counts at its end, too; either node may have it
    while not proxy.held.is_set():
        job = a.start_import(store, "s3://input/pop/")
        wait(lambda: proxy.held.is_set() or listed(b, "Import", store, job)["JobStatus"] in FINAL, {True})
    a.kill()
    counted = b.fhir(store).get("Patient?_summary=count")
    assert counted.status == 200 and counted.json["total"] == 10, counted.body


def test_a_range_whose_lease_ends_while_its_node_stands_still_stays_in_one_hand(lost_and_other, pg, database, population):
    """One thread has it in hand, and another one was about to ask for it: that one gets it when the node wakes."""
    proxy, a, _ = lost_and_other
    a.start()
    lines = put_in(a, population)
    store = a.create_store()
    assert a.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"

    def held():
        return pg.sql("select name from fl_system.leases where name like 'range/%' and until > clock_timestamp()", database)
    proxy.hold(b"{range/")
    proxy.hold(b"select k.first, k.count, k.raw_len")
    job = a.start_export(store)
    wait(lambda: proxy.holds, [[]])
    name, epoch = min(pg.sql("select name, epoch from fl_system.leases where name like 'range/%'", database)).split("|")
    a.process.send_signal(signal.SIGSTOP)
    wait(held, [[]])
    proxy.freed.set()
    wait(lambda: pg.sql(f"select epoch from fl_system.leases where name = '{name}'", database) != [epoch], {True})
    a.process.send_signal(signal.SIGCONT)
    done = a.wait_export(store, job)
    assert done["JobStatus"] == "COMPLETED", done
    _, resources = read_export(a.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    assert_same_resources(resources, lines)
    assert a.stop() == 0, a.log_text()[-3000:]


def test_an_import_and_an_export_go_on_when_connections_end(pg, database, tmp_path, population):
    proxy = postgres.Proxy(pg.port)
    rng = random.Random(5)
    with Server(tmp_path / "data", "--store", tcp(proxy.port, database)) as server:
        lines = put_in(server, population)
        # in COPY, in front of a COMMIT and behind it: of rows, of numbers, of publications, of records
        for what, behind in ((proxy.COPY, False), (proxy.COMMIT, False), (proxy.COMMIT, True)):
            store = server.create_store()
            for _ in range(4):
                proxy.cut(what, behind, rng.randrange(6))
            job = server.import_all(store, "s3://input/pop/")
            assert job["JobStatus"] == "COMPLETED", job
            assert job["JobProgressReport"]["TotalNumberOfResourcesImported"] == len(lines), job
            proxy.cuts.clear()
            for _ in range(2):
                proxy.cut(proxy.COMMIT, rng.random() < .5, rng.randrange(4))
            _, resources = exported(server, store)
            proxy.cuts.clear()
            assert_same_resources(resources, lines)
            assert {json.loads(line)["meta"]["versionId"] for line in resources.values()} == {"1"}
        assert proxy.n_cut >= 6
    proxy.close()


def test_a_node_whose_connection_ends_answers_nothing_that_is_old(pg, database, tmp_path):
    """The newest commit is asked for on another connection. Without an answer it is 503, not what this node knew before."""
    proxy = postgres.Proxy(pg.port)
    nodes = [Server(tmp_path / name, "--store", tcp(port, database)) for name, port in (("a", pg.port), ("b", proxy.port))]

    def one(value, **more):
        return {"resourceType": "Patient", "identifier": [{"value": value}], **more}

    def while_cut(n, ask):
        for _ in range(n):
            proxy.cut(CLOCK)
        before = proxy.n_cut
        answer = ask()
        assert proxy.n_cut > before
        proxy.cuts.clear()
        return answer
    with nodes[0] as a, nodes[1] as b:
        store = a.create_store()
        f, g = a.fhir(store), b.fhir(store)
        wait(lambda: g.get("Patient/p").status, {404})
        for i in range(6):
            assert f.put(f"Patient/p{i}", one("old", id=f"p{i}")).status == 201
        assert len(g.get("Patient?identifier=old").json["entry"]) == 6
        for i in range(6):
            assert f.put(f"Patient/p{i}", one("new", id=f"p{i}")).status == 200
        page, = [link["url"].replace(a.url, b.url) for link in f.get("Patient?_count=4").json["link"] if link["relation"] == "next"]
        several = {"resourceType": "Bundle", "type": "transaction", "entry": [
            {"request": {"method": "POST", "url": "Observation"},
             "resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                          "subject": {"reference": "Patient?identifier=old"}}}]}
        asks = {"search": lambda: g.get("Patient?identifier=old"),
                "page": lambda: g.get(page),
                "everything": lambda: g.get("Patient/p1/$everything"),
                "as of": lambda: g.get("Patient?_asOf=12&identifier=new"),
                "delete": lambda: g.delete("Patient?identifier=old"),
                "transaction": lambda: g.post("", several),
                "create": lambda: g.post("Patient", one("old"), **{"If-None-Exist": "identifier=old"})}
        for ask in asks.values():
            unavailable(while_cut(50, ask))
        got = {name: while_cut(1, ask) for name, ask in asks.items()}
        assert {name: answer.status for name, answer in got.items()} == {
            "search": 200, "page": 200, "everything": 200, "as of": 200, "delete": 404, "transaction": 412, "create": 201}
        assert "entry" not in got["search"].json and len(got["page"].json["entry"]) == 2 and len(got["as of"].json["entry"]) == 6
        assert got["everything"].json["entry"][0]["resource"]["identifier"] == [{"value": "new"}]
        assert len(f.get("Patient?identifier=new").json["entry"]) == 6 and len(f.get("Patient?identifier=old").json["entry"]) == 1
    proxy.close()


# ---- a server that does not serve ----

@contextlib.contextmanager
def locked(pg, database, table):
    with subprocess.Popen([f"{postgres.INSTALLED}/psql", pg.uri(database), "-XAtq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as psql:
        psql.stdin.write(f"begin; lock table {table}; select 1;\n")
        psql.stdin.flush()
        assert psql.stdout.readline() == "1\n"
        yield
        psql.communicate("commit;\n")


def break_off(pg, database):
    """Who waits for a lock waits no longer, as when a time limit is over: how many there were."""
    return int(pg.sql("select count(pg_cancel_backend(pid)) from pg_stat_activity where datname = current_database() and "
                      "wait_event_type = 'Lock'", database)[0])


def test_a_statement_that_the_database_ends_is_told_as_that_and_a_job_goes_on(pg, database, tmp_path, population):
    with Server(tmp_path / "data", "--store", tcp(pg.port, database)) as server:
        lines = put_in(server, population)
        store = server.create_store()
        fhir = server.fhir(store)

        def broken(table, ask):
            with locked(pg, database, table), concurrent.futures.ThreadPoolExecutor(1) as thread:
                answer = thread.submit(ask)
                wait(lambda: break_off(pg, database) >= 0 and answer.done(), {True})
                return answer.result()

        def waits(start):
            with locked(pg, database, f"fl_{store}.versions"):
                job = start()
                wait(lambda: break_off(pg, database) > 0, {True})
            return job
        done = server.wait_import(store, waits(lambda: server.start_import(store, "s3://input/pop/")))
        assert done["JobStatus"] == "COMPLETED" and done["JobProgressReport"]["TotalNumberOfResourcesImported"] == len(lines), done
        done = server.wait_export(store, waits(lambda: server.start_export(store)))
        assert done["JobStatus"] == "COMPLETED", done
        _, resources = read_export(server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        assert_same_resources(resources, lines)
        # neither the search's own time nor the caller's fault
        for table in ("search", "versions"):
            for path in ("Patient?gender=female", "Patient?gender=female&_sort=birthdate", "Patient?_revinclude=Encounter:subject"):
                assert "broke the statement off" in unavailable(broken(f"fl_{store}.{table}", lambda path=path: fhir.get(path)))
        unavailable(broken(f"fl_{store}.versions", lambda: fhir.get("Patient/a")))
        unavailable(broken(f"fl_{store}.clock", lambda: fhir.put("Patient/a", patient("a"))))
        assert fhir.get("Patient/a").status == 404
        broken("fl_system.records", lambda: unavailable_aws(server))



def test_a_database_that_is_frozen_is_told_and_goes_on_where_it_was(pg, database, tmp_path, population):
    with Server(tmp_path / "data", "--store", tcp(pg.port, database), "--store-timeout", "5") as server:
        store = server.create_store()
        lines = put_in(server, population)
        fhir = server.fhir(store)
        assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
        assert fhir.put("Patient/a", patient("a")).status == 201
        job = server.start_export(store)
        pg.send(signal.SIGSTOP)
        try:
            with concurrent.futures.ThreadPoolExecutor(3) as threads:
                read = threads.submit(fhir.get, "Patient/a")
                told = threads.submit(unavailable_aws, server)
                unavailable(read.result())
                told.result()
        finally:
            pg.send(signal.SIGCONT)
        wait(lambda: fhir.get("Patient/a").status, {200})
        assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"
        _, resources = exported(server, store)
        assert_same_resources(resources, [*lines, patient("a").encode()])


def test_a_database_whose_places_are_taken_or_that_may_only_be_read_is_told(pg, database, tmp_path):
    with Server(tmp_path / "data", "--store", tcp(pg.port, database), "--store-connections", "4") as server:
        store = server.create_store()
        fhir = server.fhir(store)
        assert fhir.put("Patient/a", patient("a")).status == 201

        def drop():
            pg.sql("select pg_terminate_backend(pid, 60000) from pg_stat_activity where usename = 'small'")
        pg.sql(f"alter database {database} set default_transaction_read_only = on")
        drop()
        wait(lambda: fhir.get("Patient/a").status, {200})
        assert "read alone" in unavailable(fhir.put("Patient/a", patient("a")))
        unavailable_aws(server, "CreateFHIRDatastore", DatastoreTypeVersion="R4")
        pg.sql(f"alter database {database} reset default_transaction_read_only")
        # a privilege is taken away
        pg.sql(f"revoke create on database {database} from small")
        drop()
        pg.sql("alter table fl_system.records owner to fhirlake", database)
        assert "permit" in unavailable_aws(server)
        pg.sql(f"alter table fl_system.records owner to small", database)
        # all places are taken
        pg.sql("alter role small connection limit 0")
        drop()
        unavailable(fhir.get("Patient/a"))
        pg.sql("alter role small connection limit -1")
        # the password is another one
        pg.sql(f"grant create on database {database} to small; alter role small nologin")
        drop()
        unavailable(fhir.get("Patient/a"))
        unavailable_aws(server)
        pg.sql("alter role small login")
        wait(lambda: fhir.get("Patient/a").status, {200})
        wait(lambda: fhir.put("Patient/a", patient("a")).status, {200})
        server.create_store()


def test_a_job_waits_while_its_database_is_started_anew(tmp_path, population):
    one = postgres.Postgres()
    try:
        with Server(tmp_path / "data", "--store", one.uri(one.database())) as server:
            lines = put_in(server, population)
            store = server.create_store()
            job = server.start_import(store, "s3://input/pop/")
            for _ in range(2):
                one.stop()
                one.start()
            assert server.wait_import(store, job)["JobStatus"] == "COMPLETED"
            job = server.start_export(store)
            one.stop()
            one.start()
            assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"
            _, resources = exported(server, store)
            assert_same_resources(resources, lines)
            assert {json.loads(line)["meta"]["versionId"] for line in resources.values()} == {"1"}
    finally:
        one.close()


def test_a_full_disk_is_told_and_nothing_is_half_there(tmp_path, population):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    # the server's user is another one, and each pytest that begins closes the folder that it has in common with others
    seen = pathlib.Path(tempfile.mkdtemp(prefix="fhirlake-full-"))
    seen.chmod(0o755)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", seen / "full.so", ROOT / "tests" / "peers" / "full_disk.c", "-ldl"], check=True)
    flag = seen / "full"
    one = postgres.Postgres(env={"LD_PRELOAD": str(seen / "full.so"), "FULL_DISK": str(flag)})
    try:
        with Server(tmp_path / "data", "--store", one.uri(one.database())) as server:
            lines = put_in(server, population)
            store = server.create_store()
            fhir = server.fhir(store)
            assert fhir.put("Patient/a", patient("a")).status == 201
            flag.touch()
            acknowledged, told = [], None
            for n in range(400):
                answer = fhir.put(f"Patient/x{n}", patient(f"x{n}", name=[{"text": random.Random(n).randbytes(4000).hex()}]))
                if answer.status != 201:
                    told = answer
                    break
                acknowledged.append(f"x{n}")
            assert told is not None, "every write found room"
            assert told.status in (503, 507) and "disk is" in told.text, told.text
            job = None
            try:
                job = server.start_import(store, "s3://input/pop/")
            except botocore.exceptions.ClientError as error:  # where its record needs more room, too
                assert "disk is" in str(error)
            flag.unlink()
            job = job or server.start_import(store, "s3://input/pop/")
            ended = server.wait_import(store, job)
            if ended["JobStatus"] == "FAILED":
                assert "disk is full" in ended["Message"], ended
                assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
            _, resources = exported(server, store)
            assert {k[1] for k in resources if k[1].startswith("x")} == set(acknowledged)
            assert len(resources) == len(lines) + 1 + len(acknowledged)
    finally:
        one.close()
        shutil.rmtree(seen)


# ---- a primary that is lost ----

class Writers:
    """Threads that create Patients, each once, and know which were acknowledged."""

    def __init__(self, server, store, n=3):
        self.stop, self.acknowledged, self.unknown = threading.Event(), [], []
        self.fhir = server.fhir(store)
        self.fhir.timeout = 300
        self.threads = [threading.Thread(target=self._write, args=(i,)) for i in range(n)]
        for one in self.threads:
            one.start()

    def _write(self, i):
        n = 0
        while not self.stop.is_set():
            n += 1
            answer = self.fhir.put(f"Patient/w{i}-{n}", patient(f"w{i}-{n}"))
            if answer.status == 201:
                self.acknowledged.append(f"w{i}-{n}")
            else:
                told = unavailable(answer)
                if "not known" in told:
                    self.unknown.append(f"w{i}-{n}")

    def end(self):
        self.stop.set()
        for one in self.threads:
            one.join()


def check_exports(server, store, jobs, lines, writers):
    """Each export has what was there as of its instant, and nothing else; what was acknowledged is there once."""
    manifest, last = exported(server, store)
    online = {key: json.loads(line) for key, line in last.items() if key[1].startswith("w")}
    assert all(r["meta"]["versionId"] == "1" for r in online.values())
    missing = {("Patient", i) for i in writers.acknowledged} - online.keys()
    assert not missing, f"{len(missing)} acknowledged writes are lost"
    assert online.keys() <= {("Patient", i) for i in (*writers.acknowledged, *writers.unknown)}
    for job in jobs:
        got = server.wait_export(store, job)
        assert got["JobStatus"] == "COMPLETED", got
        manifest, resources = read_export(server.folder(got["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        until = manifest["transactionTime"]
        wanted = {k for k, r in last.items() if not k[1].startswith("w") or online[k]["meta"]["lastUpdated"] <= until}
        assert resources.keys() == wanted
        assert all(resources[k] == last[k] for k in wanted)


def test_nothing_acknowledged_is_lost_with_a_primary_and_every_export_is_exact(tmp_path, population):
    pair = postgres.Pair()
    try:
        with Server(tmp_path / "data", "--store", pair.uri(pair.primary.database())) as server:
            lines = put_in(server, population)
            store = server.create_store()
            assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
            writers, jobs = Writers(server, store), []
            try:
                for n in range(KILLS):
                    seen = len(writers.acknowledged)
                    wait(lambda: len(writers.acknowledged) > seen + 20, {True})
                    jobs.append(server.start_export(store))
                    pair.lose_primary()
                    pair.add_standby()
                    wait(lambda: len(writers.acknowledged) > seen + 40, {True})
            finally:
                writers.end()
            check_exports(server, store, jobs, lines, writers)
            assert len(writers.acknowledged) > 40 * KILLS - 1
    finally:
        pair.close()


# ---- a primary that is lost, with a standby that was behind ----

def go_back(pg, database, store, to):
    """As if the commits behind `to` had never reached the server."""
    pg.sql(f"set search_path = fl_{store}; begin; delete from versions where n > {to}; delete from changes where n > {to}; "
           f"delete from search where n > {to}; delete from commits where t > {to}; update clock set t = {to}, instant_ms = "
           f"(select instant_ms from commits where t = {to}); commit", database)


def newest(pg, database, store):
    return int(pg.sql(f"select t from fl_{store}.clock", database)[0])


def test_an_export_fails_when_its_state_is_lost_and_a_page_token_is_refused(pg, database, tmp_path, population):
    with Server(tmp_path / "data", "--store", pg.uri(database)) as server:
        lines = put_in(server, population)
        store = server.create_store()
        fhir = server.fhir(store)
        assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
        kept = newest(pg, database, store)
        for i in "ab":
            assert fhir.put(f"Patient/{i}", patient(i)).status == 201
        exported(server, store)
        page, = [link["url"] for link in fhir.get("Patient?_count=5").json["link"] if link["relation"] == "next"]
        assert fhir.get(page).status == 200
        # an export stands in front of its first range
        lock = subprocess.Popen([f"{postgres.INSTALLED}/psql", pg.uri(database), "-XAtq"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        lock.stdin.write(f"begin; lock table fl_{store}.versions; select 1;\n")
        lock.stdin.flush()
        assert lock.stdout.readline() == "1\n"
        job = server.start_export(store, "s3://out/other", JobName="other")
        wait(lambda: int(pg.sql("select count(*) from pg_locks l join pg_stat_activity a using (pid) where not granted and "
                                f"relation = 'fl_{store}.versions'::regclass and application_name like 'fhirlake%'", database)[0]) > 0,
             {True})
        lock.stdin.write(f"delete from fl_{store}.versions where n > {kept}; delete from fl_{store}.commits where t > {kept}; "
                         f"update fl_{store}.clock set t = {kept}; commit;\n")
        lock.communicate()
        ended = server.wait_export(store, job)
        assert ended["JobStatus"] == "FAILED" and "has lost commits" in ended["Message"], ended
        assert not (server.folder(ended["OutputDataConfig"]["S3Configuration"]["S3Uri"]) / "manifest.json").exists()
        go_back(pg, database, store, kept)
        answer = fhir.get(page)
        assert answer.status == 400 and "begin anew" in answer.text, answer.body
        # others get the same t; what is known of the former export is not used
        for i in "cd":
            assert fhir.put(f"Patient/{i}", patient(i)).status == 201
        assert newest(pg, database, store) == kept + 2
        answer = fhir.get(page)
        assert answer.status == 400 and "begin anew" in answer.text, answer.body
        _, resources = exported(server, store)
        assert_same_resources(resources, [*lines, patient("c").encode(), patient("d").encode()])


def test_with_a_standby_that_was_behind_an_export_fails_or_is_exact(tmp_path, population):
    pair = postgres.Pair(synchronous=False)
    try:
        with Server(tmp_path / "data", "--store", pair.uri(pair.primary.database())) as server:
            lines = put_in(server, population)
            store = server.create_store()
            fhir = server.fhir(store)
            assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
            assert fhir.put("Patient/a", patient("a")).status == 201
            wait(lambda: pair.primary.sql("select replay_lsn >= pg_current_wal_lsn() from pg_stat_replication"), (["t"],))
            pair.standby.send(signal.SIGSTOP)
            pair.primary.sql("select pg_terminate_backend(pid, 60000) from pg_stat_replication")
            for i in "bc":  # numbers of these are given again
                assert fhir.put(f"Patient/{i}", patient(i)).status == 201
            assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
            job = server.start_export(store)
            pair.primary.crash()
            pair.standby.send(signal.SIGCONT)
            pair.primary.close()
            pair.primary, pair.standby = pair.standby, None
            assert pair.primary.sql("select pg_promote()") == ["t"]
            wait(lambda: fhir.get("Patient/b").status, {404})
            for i in "de":
                assert fhir.put(f"Patient/{i}", patient(i)).status == 201
            wanted = [*lines, *(patient(i).encode() for i in "ade")]
            _, resources = exported(server, store)
            assert_same_resources(resources, wanted)
            # the job itself went with the primary
            found = [j for j in server.client().list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"] if j["JobId"] == job]
            assert found == [] or found[0]["JobStatus"] in ("COMPLETED", "FAILED")
            assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
            _, resources = exported(server, store)
            assert_same_resources(resources, wanted)
    finally:
        pair.close()


# ---- standbys that exports are read from ----

def reads_of(standby, database, store, tables=("packs", "versions")):
    """Batches of rows of tables that the server has answered, so far."""
    rows = standby.sql(f"select coalesce(sum(idx_scan), 0) from pg_stat_user_tables where schemaname = 'fl_{store}' and "
                       f"relname in ({', '.join(repr(t) for t in tables)})", database)
    return int(rows[0])


def test_ranges_are_read_from_a_standby_that_has_come_so_far_and_else_from_the_primary(tmp_path, population):
    pair = postgres.Pair()
    try:
        database = pair.primary.database()
        of_standby = f"postgresql://fhirlake:{SECRET}@127.0.0.1:{pair.standby.port}/{database}"
        with Server(tmp_path / "data", "--store", pair.primary.uri(database), "--store-read", of_standby, "--store-ack",
                    "local") as server:
            lines = put_in(server, population)
            store = server.create_store()
            fhir = server.fhir(store)
            assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
            # two pieces
            large = json.dumps({"resourceType": "Binary", "id": "large", "contentType": "text/plain", "data": "bGFy" * 400_000})
            assert fhir.put("Binary/large", large).status == 201
            lines.append(large.encode())
            wait(lambda: pair.primary.sql("select replay_lsn >= pg_current_wal_lsn() from pg_stat_replication"), (["t"],))
            _, resources = exported(server, store)
            assert_same_resources(resources, lines)
            wait(lambda: reads_of(pair.standby, database, store) > 0, {True})
            wait(lambda: reads_of(pair.standby, database, store, ["parts"]) >= 2, {True}, 60)
            # it stands still behind the export's T: what it has not is not waited for
            pair.standby.sql("select pg_wal_replay_pause()")
            wait(lambda: pair.standby.sql("select pg_get_wal_replay_pause_state()"), (["paused"],))
            assert fhir.put("Patient/a", patient("a")).status == 201
            _, resources = exported(server, store)
            assert_same_resources(resources, [*lines, patient("a").encode()])
            assert "state=behind" in server.log_text()
            pair.standby.sql("select pg_wal_replay_resume()")
            wait(lambda: pair.primary.sql("select replay_lsn >= pg_current_wal_lsn() from pg_stat_replication"), (["t"],))
            # statements on it are cancelled, then it is gone
            pair.standby.crash()
            assert fhir.put("Patient/b", patient("b")).status == 201
            _, resources = exported(server, store)
            assert_same_resources(resources, [*lines, *(patient(i).encode() for i in "ab")])
            assert 'state="left alone"' in server.log_text() and SECRET not in server.log_text()
    finally:
        pair.close()


def test_a_standby_that_is_frozen_or_has_another_past_is_not_read_from(pg, tmp_path, population):
    other = postgres.Postgres(port=postgres.free_port())
    database = pg.database()
    try:
        with Server(tmp_path / "data", "--store", pg.uri(database), "--store-read", other.uri("postgres"), "--store-timeout",
                    "5") as server:
            lines = put_in(server, population)
            store = server.create_store()
            assert server.import_all(store, "s3://input/pop/")["JobStatus"] == "COMPLETED"
            # a server of the same form, whose commits are others
            dump = subprocess.run([f"{postgres.INSTALLED}/pg_dump", "-d", pg.uri(database), "-n", f"fl_{store}"],
                                  check=True, capture_output=True, text=True).stdout
            subprocess.run([f"{postgres.INSTALLED}/psql", "-XAtq", other.uri("postgres")], input=dump, check=True,
                           capture_output=True, text=True)
            other.sql(f"set search_path = fl_{store}; update commits set who = gen_random_uuid(); delete from packs")
            _, resources = exported(server, store)
            assert_same_resources(resources, lines)
            assert "another past" in server.log_text()
            other.send(signal.SIGSTOP)
        with Server(tmp_path / "data", "--store", pg.uri(database), "--store-read", other.uri("postgres"), "--store-timeout",
                    "5") as server:
            _, resources = exported(server, store)
            assert_same_resources(resources, lines)
    finally:
        other.send(signal.SIGCONT)
        other.close()
        pg.drop(database)
