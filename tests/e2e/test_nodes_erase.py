"""Erasing where several processes have one database: one is killed or frozen with a purge in hand, and another one ends it."""
import concurrent.futures
import http.client
import json
import signal
import time

import pytest

import postgres
import test_view_stream as view_stream
from bulk import export
from fhirlake import FINAL, LONG, wait
from test_erase import found, job_of, observation, patient, put
from test_nodes import Nodes, holder, listed, other, stop_at_once

pytestmark = pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED)
PATIENTS, EACH = 12, 60


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """Two nodes that are not started yet, on a server of their own; the second one's connections go through a proxy."""
    pg = postgres.Postgres(port=postgres.free_port())
    monkeypatch.setattr(postgres, "server", lambda: pg)
    try:
        nodes = Nodes(2, "--export-files", str(tmp_path))
        nodes.proxy = postgres.Proxy(pg.port)
        b = nodes.all[1]
        b.options[b.options.index("--store") + 1] = f"postgresql://fhirlake@127.0.0.1:{nodes.proxy.port}/{nodes.database}"
        yield nodes
        nodes.proxy.close()
    finally:
        pg.close()


def filled(server):
    lines = [json.dumps(patient(f"p{i}-")) for i in range(PATIENTS)] + [
        json.dumps(observation(f"o{i}-{k}", f"p{i}-", f"secret-p{i}-{k}")) for i in range(PATIENTS) for k in range(EACH)]
    server.put_object("s3://input/x/all.ndjson", "\n".join(lines))
    store = server.create_store()
    assert server.import_all(store, "s3://input/x/")["JobStatus"] == "COMPLETED"
    return store


def status(server, store, job):
    return server.fhir(store).get(f"$purge/{job}").json


def caught(nodes, store, first):
    """A purge that is under way, of the first patient from there on of whom one can be caught: his number, the job, and the
    server that has it in hand, which is stopped."""
    for i in range(first, PATIENTS):
        job = job_of(nodes.all[i % 2].fhir(store).post(f"Patient/p{i}-/$purge", None, content_type=None))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            has = holder(nodes, job)
            if has:
                stop_at_once(nodes, has)
                if status(other(nodes, has), store, job)["status"] not in FINAL:
                    return i, job, has
                has.process.send_signal(signal.SIGCONT)
            if status(nodes.all[0], store, job)["status"] in FINAL:
                break
    raise AssertionError("no purge was caught under way")


def ended(server, store, job):
    wait(lambda: status(server, store, job)["status"], FINAL, 120)
    return status(server, store, job)


def nowhere(nodes, i):
    return postgres.stands_in(nodes.pg, nodes.database, f"secret-p{i}-", f"Markp{i}-") == []


def test_who_dies_or_is_frozen_with_a_purge_is_followed_by_another(tmp_path):
    nodes = Nodes(2, "--export-files", str(tmp_path))
    with nodes as (a, b):
        store = filled(a)
        job = export(b.fhir(store))
        job.wait()
        said = [f"secret-p{i}-" for i in range(PATIENTS)]
        hits = postgres.stands_in(nodes.pg, nodes.database, *said)
        assert all(any(text in hit for hit in hits) for text in said), "the test could not be true"
        # killed
        i, purge, victim = caught(nodes, store, 0)
        victim.kill()
        goes_on = other(nodes, victim)
        told = ended(goes_on, store, purge)
        assert (told["status"], told["summary"]) == ("COMPLETED", {"resources": 1 + EACH, "versions": 1 + EACH}), told
        assert "owner of the database" in told["message"]
        assert nowhere(nodes, i)
        fhir = goes_on.fhir(store)
        assert fhir.get(f"Patient/p{i}-").status == 404 and found(fhir, f"Observation?subject=Patient/p{i}-") == set()
        # files of what was exported before are served by nobody
        assert fhir.get(f"export/{job.url.split('/')[-1]}").status in (404, 410)
        victim.start()
        # frozen: when it wakes, the id is another one's
        i, purge, victim = caught(nodes, store, i + 1)
        goes_on = other(nodes, victim)
        told = ended(goes_on, store, purge)
        assert (told["status"], told["summary"]) == ("COMPLETED", {"resources": 1 + EACH, "versions": 1 + EACH}), told
        fhir = goes_on.fhir(store)
        assert put(fhir, patient(f"p{i}-")).json["meta"]["versionId"] == "1"
        assert put(fhir, observation(f"o{i}-0", f"p{i}-", "of-the-new-one")).json["meta"]["versionId"] == "1"
        victim.process.send_signal(signal.SIGCONT)
        # what it had in hand is behind it when it takes and ends another one
        last = job_of(victim.fhir(store).post("Patient/p11-/$purge", None, content_type=None))
        assert ended(victim, store, last)["status"] == "COMPLETED"
        for server in (a, b):
            fhir = server.fhir(store)
            assert fhir.get(f"Patient/p{i}-").status == 200
            assert found(fhir, f"Observation?subject=Patient/p{i}-") == {f"Observation/o{i}-0"}
            new = export(fhir)
            new.wait()
            left = set(new.resources())
            assert left == found(fhir, "Patient?_count=1000") | found(fhir, "Observation?_count=1000")
            assert f"Observation/o{i}-0" in left and f"Observation/o{i}-1" not in left
        assert nodes.sql(f"select count(*) from fl_{store}.erasing") == ["0"]


@pytest.mark.parametrize("said", [postgres.Proxy.COPY, b"copy counts"], ids=["in the middle", "between two"])
def test_an_erasure_does_not_wait_for_a_node_that_stands_still_while_it_loads(apart, said):
    """A COPY has no deadline at the server: its transaction sees what is erased for as long as the node stands still."""
    nodes, proxy = apart, apart.proxy
    a, b = nodes.all
    b.env["_FHIRLAKE_CHUNK_BYTES"] = a.env["_FHIRLAKE_CHUNK_BYTES"] = "4000"
    with nodes:
        store = filled(a)
        a.put_object("s3://input/y/all.ndjson", "\n".join(json.dumps(observation(f"new{i}", "p1-", "new")) for i in range(300)))
        proxy.held.clear()
        proxy.hold(said)
        jobs = []
        while not proxy.held.is_set():
            # whoever has it, the other one takes part
            jobs.append(b.start_import(store, "s3://input/y/"))
            wait(lambda: proxy.held.is_set() or listed(a, "Import", store, jobs[-1])["JobStatus"] in FINAL, {True})
        b.process.send_signal(signal.SIGSTOP)
        assert a.wait_import(store, jobs[-1])["JobStatus"] == "COMPLETED"
        purge = job_of(a.fhir(store).post("Patient/p0-/$purge", None, content_type=None))
        told = ended(a, store, purge)
        assert (told["status"], told["summary"]) == ("COMPLETED", {"resources": 1 + EACH, "versions": 1 + EACH}), told
        assert postgres.stands_in(nodes.pg, nodes.database, "secret-p0-", "Markp0-") == []
        b.process.send_signal(signal.SIGCONT)
        # what it was loading is in vain, and it goes on
        assert b.import_all(store, "s3://input/y/")["JobStatus"] == "COMPLETED"
        n = (PATIENTS - 1) * EACH + 300
        for server in (a, b):
            assert server.fhir(store).get("Observation?_summary=count").json["total"] == n


def test_a_table_that_goes_out_is_ended_by_an_erasure_of_another_node(tmp_path):
    nodes = Nodes(2, "--export-files", str(tmp_path))
    with nodes as (a, b):
        store = a.create_store()
        view_stream.many(a.fhir(store), "PUT", range(view_stream.N))
        tables = [view_stream.begun(server.fhir(store), view_stream.view()) for server in (a, b)]
        job = job_of(a.fhir(store).post("Basic/b0/$erase", None, content_type=None))
        wait(lambda: a.fhir(store).get(f"$erase/{job}").json["status"], {"COMPLETED"}, 120)
        for connection, answer in tables:
            with pytest.raises(http.client.IncompleteRead):
                answer.read()
            connection.close()
        for server in (a, b):
            wait(lambda: " answer_broken " in server.log_text(), {True})
            # what begins behind it is whole
            rows = server.fhir(store).post(view_stream.RUN, view_stream.view(wide=False)).body.splitlines()
            assert len(rows) == view_stream.N - 1


# What a search, a history, say to the database again and again, and how often before they stand still.
SEARCH = ("Observation?_count=720", b"select k.first, k.count, k.raw_len, k.body from packs k where", 1)
HISTORY = ("Observation/_history?_count=720", b"select $2::bigint, p.n,", 300)
# Two reads of one resource, the first of what is erased.
BATCH = ({"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": f"Observation/o{i}-0"}} for i in (0, 1)]},
         b"select d.number, p.n,", 2)  # it is prepared first
# The same by entries of a Bundle, one a search by its form.
FORMS = ({"resourceType": "Bundle", "type": "batch", "entry": [
    {"request": {"method": "GET", "url": "Observation/o0-0"}}, {"request": {"method": "POST", "url": "Observation/_search?_id=o1-0"}},
    {"request": {"method": "GET", "url": "Observation/o1-0"}}]}, b"select d.number, p.n,", 2)


def asked(fhir, what):
    return fhir.get(what) if isinstance(what, str) else fhir.post("", what)


@pytest.mark.parametrize("what, said, after", [SEARCH, HISTORY, BATCH, FORMS],
                         ids=["search", "history", "batch", "batch with a form"])
def test_who_stood_still_beside_an_erasure_of_another_node_shows_nothing_of_it(apart, what, said, after):
    """It has read what is erased, and waits for the rest."""
    nodes, proxy = apart, apart.proxy
    a, b = nodes.all
    with nodes, concurrent.futures.ThreadPoolExecutor(1) as thread:
        store = filled(a)
        proxy.hold(said, after)
        answer = thread.submit(asked, b.fhir(store), what)
        assert proxy.held.wait(60)
        purge = job_of(a.fhir(store).post("Patient/p0-/$purge", None, content_type=None))
        assert ended(a, store, purge)["status"] == "COMPLETED"
        proxy.freed.set()
        answer = answer.result()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1"), answer.body[:300]
        assert b"secret-p0-" not in answer.body and b"erased" in answer.body
        again = asked(b.fhir(store), what)
        assert again.status == 200 and b"secret-p0-" not in again.body and b"secret-p1-" in again.body


# What the transaction that erases one resource says to the database, in this order.
SAID = [b"with gone as (update versions set method = 100", b"insert into erasing(number, n) values", b"delete from ids where type",
        b"insert into notes(k, v)"]


def test_who_stands_still_in_the_middle_of_one_resource_loses_it_and_it_is_erased_once(apart):
    """His transaction has the clock and the lease for as long as the server lets it stand still; then it is undone."""
    nodes, proxy = apart, apart.proxy
    a, b = nodes.all
    with nodes:
        store = filled(a)
        i = 0
        for said in SAID if LONG else SAID[-1:]:
            # what a connection has said once it says by another name: these are new
            b.stop()
            b.start()
            proxy.held.clear()
            proxy.hold(said)
            while True:
                purge = job_of(b.fhir(store).post(f"Patient/p{i}-/$purge", None, content_type=None))
                while not proxy.held.is_set() and status(a, store, purge)["status"] not in FINAL:
                    pass
                if proxy.held.is_set():
                    break
                # the other node was first to have it in hand, and nothing was held
                i += 1
                assert i < PATIENTS - 1
            b.process.send_signal(signal.SIGSTOP)
            told = ended(a, store, purge)
            assert (told["status"], told["summary"]) == ("COMPLETED", {"resources": 1 + EACH, "versions": 1 + EACH}), told
            assert nowhere(nodes, i)
            fhir = a.fhir(store)
            assert put(fhir, patient(f"p{i}-")).json["meta"]["versionId"] == "1"
            b.process.send_signal(signal.SIGCONT)
            # it has found out when it ends another one
            last = job_of(b.fhir(store).post(f"Patient/p{i + 1}-/$purge", None, content_type=None))
            assert ended(b, store, last)["summary"] == {"resources": 1 + EACH, "versions": 1 + EACH}
            assert status(b, store, purge) == told
            for server in (a, b):
                assert server.fhir(store).get(f"Patient/p{i}-").status == 200
                assert found(server.fhir(store), f"Observation?subject=Patient/p{i}-") == set()
                n = (PATIENTS - i - 2) * EACH
                assert server.fhir(store).get("Observation?_summary=count").json["total"] == n
            assert nodes.sql(f"select count(*) from fl_{store}.erasing") == ["0"]
            i += 2
