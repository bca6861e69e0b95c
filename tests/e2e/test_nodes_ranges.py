"""Several processes on one database write one export together: it is the same as one alone writes, whoever is killed or frozen."""
import random
import re
import signal
import time

import pytest

import postgres
import s3_peer
from fhirlake import FINAL, KEY, LONG, ROLE, assert_same_resources, generate, read_export, wait
from test_nodes import Nodes, cancel, files_of, filled, lines_of, listed

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]
FILE_BYTES = 30000
KILLS = 12 if not LONG else 100


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranges") / "data"
    generate(out, patients=60, seed=11)
    return out


def start(server, store, file_bytes=FILE_BYTES, uri="s3://out/many", role=ROLE, key=KEY):
    """An export of many small ranges."""
    target = {"JobName": "many", "DataAccessRoleArn": role,
              "OutputDataConfig": {"S3Configuration": {"S3Uri": uri, "KmsKeyId": key}}}
    answer = server.fhir(store).post(f"$export?_maximumFileSize={file_bytes}", target, Prefer="respond-async")
    assert answer.status == 202, answer.body
    return answer.json["jobId"]


def assert_exact(nodes, server, done, lines):
    assert done["JobStatus"] == "COMPLETED", done
    folder = server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
    manifest, exported = read_export(folder)
    assert_same_resources(exported, lines)
    # what the manifest names, and nothing else
    names = {f["url"].removeprefix(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]) for f in manifest["output"]}
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == names | {"manifest.json"}
    # nothing of it stays in the records
    assert nodes.sql(f"select k from fl_system.records where k like 'jobnote/{done['JobId']}%'") == []


def helped(server):
    """Ranges that a server has written for others, as far as it has told."""
    return sum(int(n) for n in re.findall(r" export_helped .*ranges=(\d+)", server.log_text()))


def in_hand(nodes, job):
    """(the server that has the job, servers that have ranges of it), as the database says."""
    rows = nodes.sql("select l.name, n.pid from fl_system.leases l join fl_system.nodes n on n.who = l.owner "
                     f"where (l.name = 'job/{job}' or l.name like 'range/{job}/%') and l.until > clock_timestamp()")
    by_pid = {s.process.pid: s for s in nodes.all if s.process}
    owners = [(name, by_pid.get(int(pid))) for name, pid in (row.split("|") for row in rows)]
    holder = next((s for name, s in owners if name.startswith("job/")), None)
    return holder, {s for name, s in owners if s and name.startswith("range/")}


def caught(nodes, server, store, begin=None):
    """An export under way, its holder, and a guest that has a range in hand: all servers stand still (SIGSTOP)."""
    for _ in range(30):
        job = begin() if begin else start(server, store)
        end = time.monotonic() + 100
        while time.monotonic() < end:
            has, hands = in_hand(nodes, job)
            if has and hands - {has}:
                freeze(nodes.all)
                has, hands = in_hand(nodes, job)
                if has and hands - {has}:
                    return job, has, sorted(hands - {has}, key=nodes.all.index)[0]
                thaw(nodes.all)
            if not has and listed(server, "Export", store, job)["JobStatus"] in FINAL:
                break
    raise AssertionError("no export was caught in several hands")


def freeze(servers):
    for s in servers:
        s.process.send_signal(signal.SIGSTOP)


def thaw(servers):
    for s in servers:
        s.process.send_signal(signal.SIGCONT)


def test_nodes_write_one_export_together(population):
    nodes = Nodes(3, lease_ms=30000)
    with nodes as (a, b, c):
        store = filled(a, population)
        lines = lines_of(population)
        for i in range(60):
            server = nodes.all[i % 3]
            assert_exact(nodes, server, server.wait_export(store, start(server, store)), lines)
            if all(helped(s) for s in nodes.all):
                break
        assert all(helped(s) for s in nodes.all)


@pytest.mark.parametrize("who", ["guest", "holder"])
def test_the_ranges_of_a_node_that_is_killed_are_written_by_others(population, who):
    nodes = Nodes(3)
    with nodes as (a, b, c):
        store = filled(a, population)
        job, has, guest = caught(nodes, a, store)
        dies = guest if who == "guest" else has
        rest = [s for s in nodes.all if s is not dies]
        dies.kill()
        thaw(rest)
        assert_exact(nodes, rest[0], rest[0].wait_export(store, job), lines_of(population))


@pytest.mark.parametrize("who", ["guest", "holder"])
def test_the_ranges_of_a_node_that_is_frozen_are_written_by_others_and_it_does_no_harm(population, who):
    nodes = Nodes(2)
    with nodes as (a, b):
        store = filled(a, population)
        job, has, guest = caught(nodes, a, store)
        frozen = guest if who == "guest" else has
        rest = next(s for s in nodes.all if s is not frozen)
        thaw([rest])
        done = rest.wait_export(store, job)
        assert_exact(nodes, rest, done, lines_of(population))
        thaw([frozen])
        # it has found out by now: it takes jobs, and has nothing of that one in hand
        assert_exact(nodes, frozen, frozen.wait_export(store, start(frozen, store)), lines_of(population))
        assert frozen.wait_export(store, job) == done
        assert_exact(nodes, rest, done, lines_of(population))


def test_an_export_in_several_hands_is_cancelled(population):
    nodes = Nodes(2)
    with nodes as (a, b):
        store = filled(a, population)
        for _ in range(20):
            job, has, guest = caught(nodes, a, store)
            thaw([has])
            # what the frozen node has in hand is waited for until its lease is over
            answer = cancel(has, store, job)
            if answer == 202:
                break
            # it was over before that was asked
            assert answer == 409 and has.wait_export(store, job)["JobStatus"] == "COMPLETED"
            thaw([guest])
        assert has.wait_export(store, job)["JobStatus"] == "CANCEL_COMPLETED"
        thaw([guest])
        assert_exact(nodes, guest, guest.wait_export(store, start(guest, store)), lines_of(population))
        assert files_of(nodes, store, job) == []
        assert nodes.sql(f"select k from fl_system.records where k like 'jobnote/{job}%'") == []


def test_the_data_store_of_an_export_in_several_hands_is_deleted(population):
    nodes = Nodes(2)
    with nodes as (a, b):
        store = filled(a, population)
        job, has, guest = caught(nodes, a, store)
        thaw(nodes.all)
        has.client().delete_fhir_datastore(DatastoreId=store)
        gone(guest, store)
        assert listed(guest, "Export", store, job)["JobStatus"] in ("FAILED", "COMPLETED")
        assert nodes.sql(f"select 1 from pg_namespace where nspname = 'fl_{store}'") == []


def gone(server, store):
    client = server.client()
    wait(lambda: client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"DELETED"})


@pytest.fixture(params=["moto", pytest.param("minio", marks=pytest.mark.long)])
def peer(request):
    p = s3_peer.Peer(request.param)
    yield p
    p.stop()


def test_nodes_write_one_export_together_to_an_s3_endpoint_and_one_is_killed(population, peer):
    nodes = Nodes(2, *peer.options(), shared=())
    for s in nodes.all:
        s.env.update(peer.env())
    with nodes as (a, b):
        for path in population.glob("*.ndjson"):
            peer.s3.put_object(Bucket=peer.bucket, Key=f"pop/{path.name}", Body=path.read_bytes())
        store = a.create_store()
        done = a.import_all(store, f"s3://{peer.bucket}/pop/", output_uri=f"s3://{peer.bucket}/log", role=peer.role, key=peer.kms_key)
        assert done["JobStatus"] == "COMPLETED", done
        target = {"uri": f"s3://{peer.bucket}/out", "role": peer.role, "key": peer.kms_key}
        job, has, guest = caught(nodes, a, store, lambda: start(a, store, 200_000, **target))
        rest = next(s for s in nodes.all if s is not guest)
        guest.kill()
        thaw([rest])
        done = rest.wait_export(store, job)
        assert done["JobStatus"] == "COMPLETED", done
        _, exported = peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
        assert_same_resources(exported, lines_of(population))


def test_nodes_whose_objects_are_their_own_do_not_help(population):
    nodes = Nodes(2, shared=(), lease_ms=30000)
    with nodes as (a, b):
        store = filled(a, population)
        for i in range(3):
            done = a.wait_export(store, start(a, store))
            folder = done["OutputDataConfig"]["S3Configuration"]["S3Uri"]
            wrote = [s for s in nodes.all if s.folder(folder).exists()]
            assert len(wrote) == 1
            assert_exact(nodes, wrote[0], done, lines_of(population))
        assert [helped(s) for s in nodes.all] == [0, 0]


def die_at_random(nodes, kills, kind, begins, done, moments, frozen):
    """Kills and freezes guests of jobs, at moments that the jobs themselves choose, until there were so many kills. Gives (store, job)
    of each job that had its share of them. begins() starts one; done(store, job) says how far it is, one of `moments` is when; `frozen` is the
    part of the guests that stand still only."""
    rng, (holder, *guests), n = random.Random(20261129), nodes.all, 0
    while n < kills:
        store, job = begins()
        for _ in range(rng.randrange(1, 4)):
            victim, some = rng.choice(guests), rng.randrange(*moments)
            wait(lambda: listed(holder, kind, store, job)["JobStatus"] in FINAL or done(store, job) >= some, {True})
            if rng.random() < frozen:
                freeze([victim])
                wait(lambda: all(s is not victim for s in in_hand(nodes, job)[1] | {in_hand(nodes, job)[0]}), {True})
                thaw([victim])
            else:
                victim.kill()
                victim.start()
            n += 1
        yield store, job


def test_nodes_die_and_stand_still_at_random_under_exports(population):
    nodes = Nodes(3)
    with nodes as (a, b, c):
        store = filled(a, population)
        lines = lines_of(population)

        def ranges(store, job):
            return int(nodes.sql(f"select count(*) from fl_system.records where k like 'jobnote/{job}/done/%'")[0])

        for store, job in die_at_random(nodes, KILLS, "Export", lambda: (store, start(a, store)), ranges, (1, 40), frozen=0.3):
            assert_exact(nodes, a, a.wait_export(store, job), lines)
