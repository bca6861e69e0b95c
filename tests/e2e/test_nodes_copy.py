"""A node that is frozen in the middle of a COPY holds up no other one, and does no harm when it wakes."""
import subprocess

import pytest

import postgres
from fhirlake import FINAL, wait
from test_nodes import listed
from test_nodes_import import Importers, alone, assert_as_alone, population, put  # noqa: F401 (fixtures)
from test_nodes_ranges import freeze, gone, thaw

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]


@pytest.fixture(scope="module")
def pg():
    server = postgres.Postgres(port=postgres.free_port())
    yield server
    server.close()


@pytest.fixture
def nodes(pg, monkeypatch):
    """The second one's connections go through a proxy, which holds the first COPY that it begins."""
    monkeypatch.setattr(postgres, "server", lambda: pg)
    made = Importers(2)
    made.proxy = postgres.Proxy(pg.port)
    b = made.all[1]
    b.options[b.options.index("--store") + 1] = f"postgresql://fhirlake@127.0.0.1:{made.proxy.port}/{made.database}"
    with made:
        yield made
        made.proxy.close()


def frozen_in_copy(nodes):
    """A data store and its import, of which the second node has a part in hand: it stands still in COPY."""
    a, b = nodes.all
    nodes.proxy.hold(nodes.proxy.COPY)
    for _ in range(20):
        store = a.create_store()
        job = a.start_import(store, "s3://input/pop/")
        while listed(a, "Import", store, job)["JobStatus"] not in FINAL:
            if nodes.proxy.held.is_set():
                # as long as it runs, its lease does not end, and nobody ends what stands still
                assert copies(nodes, store)
                freeze([b])
                return store, job
    raise AssertionError("the second node took no part")


def copies(nodes, store):
    """Transactions that have the data store's tables, and stand in COPY."""
    return nodes.sql("select distinct a.pid from pg_locks l join pg_class c on c.oid = l.relation join pg_stat_activity a on "
                     f"a.pid = l.pid where c.relnamespace = 'fl_{store}'::regnamespace and a.query like 'copy %'")


def test_an_import_is_ended_and_its_data_store_removed_while_a_node_stands_still_in_copy(nodes, population, alone):  # noqa: F811
    a, b = nodes.all
    put(a, population)
    store, job = frozen_in_copy(nodes)
    assert_as_alone(nodes, a, store, a.wait_import(store, job), alone)
    assert not copies(nodes, store), "the import's end ends what stands still"
    a.client().delete_fhir_datastore(DatastoreId=store)
    gone(a, store)
    thaw([b])
    again = b.create_store()
    assert_as_alone(nodes, b, again, b.import_all(again, "s3://input/pop/"), alone)
    assert nodes.sql(f"select 1 from pg_namespace where nspname = 'fl_{store}'") == []
    assert nodes.sql(f"select k from fl_system.records where k like 'jobnote/{job}%'") == []


def test_a_data_store_is_removed_under_an_import_while_a_node_stands_still_in_copy(nodes, population, alone):  # noqa: F811
    a, b = nodes.all
    put(a, population)
    store, job = frozen_in_copy(nodes)
    a.client().delete_fhir_datastore(DatastoreId=store)
    gone(a, store)
    assert listed(a, "Import", store, job)["JobStatus"] in FINAL
    thaw([b])
    again = b.create_store()
    assert_as_alone(nodes, b, again, b.import_all(again, "s3://input/pop/"), alone)
    assert nodes.sql(f"select 1 from pg_namespace where nspname = 'fl_{store}'") == []


def test_a_data_store_is_not_removed_from_under_another_program(nodes):
    a, b = nodes.all
    store = a.create_store()
    other = subprocess.Popen([f"{postgres.INSTALLED}/psql", "-h", nodes.pg.dir, "-p", str(nodes.pg.port), "-U", "fhirlake", "-d",
                              nodes.database, "-XAtq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    other.stdin.write(f"begin; select count(*) from fl_{store}.packs;\n")
    other.stdin.flush()
    assert other.stdout.readline() == "0\n"
    a.client().delete_fhir_datastore(DatastoreId=store)
    # between two tries it has looked for whom to end
    tries = set()

    def n_tries():
        tries.update(nodes.sql("select query_start from pg_stat_activity where pid <> pg_backend_pid() and state = 'active' and "
                               f"query like '%drop schema if exists fl_{store}%'"))
        return len(tries) > 1
    wait(n_tries, {True})
    other.stdin.write(f"select count(*) from fl_{store}.packs; commit;\n")
    other.stdin.flush()
    assert other.stdout.readline() == "0\n"
    other.stdin.close()
    assert other.wait(60) == 0
    gone(a, store)
