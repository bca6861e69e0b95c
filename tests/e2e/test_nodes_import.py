"""Several processes on one database do one import together: it comes out as on one node alone, whoever is killed or frozen."""
import gzip
import json
import os
import re

import pytest

import postgres
import s3_peer
from fhirlake import FINAL, LONG, generate, patient, read_export, wait
from test_nodes import Nodes, listed
from test_nodes_ranges import die_at_random, freeze, gone, in_hand, thaw
from test_postgres_lost import locked

pytestmark = pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED)
CHUNK_BYTES = 40_000
KILLS = 6 if not LONG else 40


class Importers(Nodes):
    """Nodes that cut the input into many chunks."""

    def __init__(self, n, *options, chunk=CHUNK_BYTES, **more):
        super().__init__(n, *options, **more)
        for s in self.all:
            s.env["_FHIRLAKE_CHUNK_BYTES"] = str(chunk)


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    out = tmp_path_factory.mktemp("imports") / "data"
    generate(out, patients=30, seed=12)
    return out


@pytest.fixture(scope="module")
def alone(population):
    """What one node makes of the input."""
    nodes = Importers(1)
    with nodes as (a,):
        put(a, population)
        store = a.create_store()
        return outcome(a, store, a.import_all(store, "s3://input/pop/"))


def put(server, population):
    """Plain and packed files, some of them with faults, and one id over and over again, in several files."""
    for i, path in enumerate(sorted(population.glob("*.ndjson"))):
        text = path.read_bytes()
        if i % 3 == 1:
            server.put_object(f"s3://input/pop/{path.name}.gz", gzip.compress(text, 1))
        else:
            server.put_object(f"s3://input/pop/{path.name}", text)
    for i in range(12):
        lines = []
        for k in range(150):
            lines.append(patient("again", name=[{"family": f"f{i}-{k}"}]))
            lines.append(patient(f"own-{i}-{k}"))
            lines.append("" if k % 40 == 3 else "no json" if k % 40 == 4 else '{"resourceType":"Patient","id":"x","gender":[]}')
        server.put_object(f"s3://input/pop/many{i:02}.ndjson", "\n".join(lines).encode())


def outcome_files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def outcome(server, store, done):
    """All of it that does not depend on ids and instants: the status, the counts, the outcome's files, the resources, and
    what the versions of each id that came more than once had."""
    assert done["JobStatus"] == "COMPLETED_WITH_ERRORS", done
    folder = server.folder(done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"])
    files = outcome_files(folder)
    manifest = json.loads(files.pop("Manifest.json"))
    report = dict(done["JobProgressReport"])
    report.pop("Throughput", None)
    _, exported = read_export(server.folder(server.export_all(store)["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    resources = {}
    for key, line in exported.items():
        resource = json.loads(line)
        resource["meta"].pop("lastUpdated")
        resources[key] = resource
    history = server.fhir(store).get("Patient/again/_history?_count=100").json
    assert "entry" in history, history
    again = [e["resource"]["name"][0]["family"] for e in history["entry"]]
    numbers = {k: v for k, v in manifest.items() if k.startswith(("number", "size"))}
    counts = {t: server.fhir(store).get(f"{t}?_summary=count").json["total"] for t in ("Patient", "Observation", "Encounter")}
    return {"counts": counts, "report": report, "numbers": numbers, "files": files, "resources": resources, "again": again}


def assert_as_alone(nodes, server, store, done, alone):
    got = outcome(server, store, done)
    for part in alone:
        assert got[part] == alone[part], part
    assert nodes.sql(f"select k from fl_system.records where k like 'jobnote/{done['JobId']}%'") == []
    # who helped gives back what he had in hand, if he has not yet; it does not just end
    hands = nodes.sql("select epoch from fl_system.leases where name like 'range/%' and until > clock_timestamp()")
    wait(lambda: nodes.sql(f"select name from fl_system.leases where epoch in ({', '.join(['0', *hands])})"), [[]])


def loads_left(nodes, store):
    """Loads with rows that nobody has published."""
    return int(nodes.sql(f"select count(*) from fl_{store}.open_loads where filled")[0])


def noted(nodes, job):
    """Loads that guests have handed over, as their notes say now."""
    return set(nodes.sql("select split_part(convert_from(v, 'UTF8')::json->>'load', ' ', 1) from fl_system.records "
                         f"where k like 'jobnote/{job}/done/%'"))


def helped(server):
    return sum(int(n) for n in re.findall(r" import_helped .*units=(\d+)", server.log_text()))


def test_nodes_do_one_import_together(population, alone):
    nodes = Importers(3, lease_ms=30000)
    with nodes as (a, b, c):
        put(a, population)
        for i in range(20):
            store = a.create_store()
            done = nodes.all[i % 3].wait_import(store, nodes.all[i % 3].start_import(store, "s3://input/pop/"))
            assert_as_alone(nodes, a, store, done, alone)
            wait(lambda: loads_left(nodes, store), {0})
            if sum(bool(helped(s)) for s in nodes.all) > 1:
                break
        assert sum(bool(helped(s)) for s in nodes.all) > 1


def caught_import(nodes, server):
    """An import under way, its data store and its holder, and a guest that has a unit in hand: all servers stand still."""
    for _ in range(40):
        store = server.create_store()
        job = server.start_import(store, "s3://input/pop/")
        while True:
            has, hands = in_hand(nodes, job)
            if has and hands - {has}:
                freeze(nodes.all)
                has, hands = in_hand(nodes, job)
                if has and hands - {has} and int(nodes.sql("select count(*) from fl_system.records where k like "
                                                           f"'jobnote/{job}/unit/%'")[0]):
                    return store, job, has, sorted(hands - {has}, key=nodes.all.index)[0]
                thaw(nodes.all)
            if listed(server, "Import", store, job)["JobStatus"] in FINAL:
                break
    raise AssertionError("no import was caught in several hands")


@pytest.mark.parametrize("who", ["guest", "holder"])
def test_an_import_whose_node_is_killed_is_ended_by_the_others(population, alone, who):
    nodes = Importers(3)
    with nodes as (a, b, c):
        put(a, population)
        store, job, has, guest = caught_import(nodes, a)
        dies = guest if who == "guest" else has
        rest = [s for s in nodes.all if s is not dies]
        dies.kill()
        thaw(rest)
        loads = set()
        while listed(rest[0], "Import", store, job)["JobStatus"] not in FINAL:
            loads |= noted(nodes, job)
        assert_as_alone(nodes, rest[0], store, rest[0].wait_import(store, job), alone)
        # each was published, or given up by the holder that came next; what nobody was told of is cleared away, too. A guest that
        # was late gives up its own
        wait(lambda: nodes.sql(f"select load from fl_{store}.open_loads"), [[]])


def in_a_load(nodes, server):
    """Does it stand still in the middle of a load, which waits for a lock?"""
    return nodes.sql("select 1 from pg_stat_activity a join fl_system.nodes n on a.application_name = 'fhirlake ' || n.who "
                     f"where n.pid = {server.process.pid} and a.wait_event_type = 'Lock' and a.query like 'copy %' limit 1") != []


@pytest.mark.parametrize("lease_ms", [1500, 6000])
def test_what_a_killed_node_was_loading_goes_while_the_import_goes_on(population, alone, lease_ms):
    """Its lease ends before the holder has waited for it in vain, or behind that."""
    nodes = Importers(2, lease_ms=lease_ms)
    with nodes as (a, b):
        put(a, population)
        for i in range(24):
            (a.objects / f"input/long/{i:02}").mkdir(parents=True)
            for path in (a.objects / "input/pop").iterdir():
                os.link(path, a.objects / f"input/long/{i:02}" / path.name)
        for _ in range(5):
            store = a.create_store()
            with locked(nodes.pg, nodes.database, f"fl_{store}.counts"):
                job = a.start_import(store, "s3://input/long/")
                wait(lambda: all(in_a_load(nodes, s) for s in nodes.all), {True})
                wait(lambda: in_hand(nodes, job)[0] in nodes.all, {True})
                has, _ = in_hand(nodes, job)
                guest = next(s for s in nodes.all if s is not has)
                loads = set(nodes.sql(f"select load from fl_{store}.open_loads"))
                guest.kill()
            # those of the holder are published; nobody publishes the other ones. At its end the door is closed first
            left, door = loads, "t"
            while left and door == "t":
                door, there = nodes.sql(f"select exists(select from fl_system.records where k = 'jobnote/{job}/door'), "
                                        f"string_agg(load::text, ' ') from fl_{store}.open_loads")[0].split("|")
                left = loads & set(there.split())
            if door == "t" or f"job_lost job={job}" not in has.log_text():
                break
            # the holder stood still, too: its own lease was over, and it begins again with another door
            has.client().delete_fhir_datastore(DatastoreId=store)
            guest.start()
        assert door == "t", left
        assert set(nodes.sql(f"select load from fl_{store}.commits where load > 0")) & loads != loads
        has.client().delete_fhir_datastore(DatastoreId=store)


@pytest.mark.parametrize("who", ["guest", "holder"])
def test_a_node_that_is_frozen_under_an_import_loads_nothing_when_it_wakes(population, alone, who):
    nodes = Importers(2)
    with nodes as (a, b):
        put(a, population)
        store, job, has, guest = caught_import(nodes, a)
        frozen = guest if who == "guest" else has
        rest = next(s for s in nodes.all if s is not frozen)
        thaw([rest])
        done = rest.wait_import(store, job)
        thaw([frozen])
        assert_as_alone(nodes, rest, store, done, alone)
        # it has found out by now, and has given up what it had filled
        wait(lambda: loads_left(nodes, store), {0})
        assert frozen.wait_import(store, job) == done
        assert_as_alone(nodes, frozen, store, done, alone)
        again = frozen.create_store()
        assert_as_alone(nodes, frozen, again, frozen.import_all(again, "s3://input/pop/"), alone)


def test_the_data_store_of_an_import_in_several_hands_is_deleted(population, alone):
    nodes = Importers(2)
    with nodes as (a, b):
        put(a, population)
        store, job, has, guest = caught_import(nodes, a)
        # a node that stands still in COPY would hold up the drop of its tables
        thaw(nodes.all)
        has.client().delete_fhir_datastore(DatastoreId=store)
        gone(has, store)
        assert nodes.sql(f"select 1 from pg_namespace where nspname = 'fl_{store}'") == []
        again = guest.create_store()
        assert_as_alone(nodes, guest, again, guest.import_all(again, "s3://input/pop/"), alone)
        assert nodes.sql(f"select 1 from pg_namespace where nspname = 'fl_{store}'") == []
        assert nodes.sql(f"select k from fl_system.records where k like 'jobnote/{job}%'") == []


def test_a_node_that_sees_another_input_takes_no_part(population, alone):
    nodes = Importers(2, shared=(), lease_ms=30000)
    with nodes as (a, b):
        put(a, population)
        put(b, population)
        # of the same length, and not the same
        text = (b.objects / "input/pop/many05.ndjson").read_bytes()
        for i in range(12):
            b.put_object(f"s3://input/pop/many{i:02}.ndjson", text)
        for i in range(3):
            store = a.create_store()
            # the holder is the node that sees the right one
            freeze([b])
            job = a.start_import(store, "s3://input/pop/")
            wait(lambda: in_hand(nodes, job)[0] is a or listed(a, "Import", store, job)["JobStatus"] in FINAL, {True})
            thaw([b])
            done = a.wait_import(store, job)
            folders = [s.folder(done["JobOutputDataConfig"]["S3Configuration"]["S3Uri"]) for s in nodes.all]
            got = [outcome_files(f) for f in folders if f.exists()]
            got[0].pop("Manifest.json")
            assert got == [alone["files"]]


def test_nodes_import_together_from_an_s3_endpoint(population):
    peer = s3_peer.Peer("moto")
    try:
        nodes = Importers(2, *peer.options(), shared=(), lease_ms=30000)
        for s in nodes.all:
            s.env.update(peer.env())
        lines = []
        for i, path in enumerate(sorted(population.glob("*.ndjson"))):
            text = path.read_bytes()
            lines += [line for line in text.splitlines() if line]
            body, end = (gzip.compress(text, 1), ".gz") if i % 3 == 1 else (text, "")
            peer.s3.put_object(Bucket=peer.bucket, Key=f"pop/{path.name}{end}", Body=body)
        with nodes as (a, b):
            for _ in range(20):
                store = a.create_store()
                job = a.start_import(store, f"s3://{peer.bucket}/pop/", output_uri=f"s3://{peer.bucket}/log", role=peer.role,
                                     key=peer.kms_key)
                done = b.wait_import(store, job)
                assert done["JobStatus"] == "COMPLETED", done
                report = done["JobProgressReport"]
                assert report["TotalNumberOfResourcesImported"] == report["TotalNumberOfResourcesScanned"] == len(lines)
                if helped(a) or helped(b):
                    break
            assert helped(a) or helped(b)
    finally:
        peer.stop()


def test_nodes_die_and_stand_still_at_random_under_imports(population, alone):
    nodes = Importers(3)
    with nodes as (a, b, c):
        put(a, population)

        def begins():
            store = a.create_store()
            return store, a.start_import(store, "s3://input/pop/")

        def chunks(store, job):
            return int(nodes.sql(f"select t from fl_{store}.clock")[0])

        for store, job in die_at_random(nodes, KILLS, "Import", begins, chunks, (0, 60), frozen=0.4):
            assert_as_alone(nodes, a, store, a.wait_import(store, job), alone)
