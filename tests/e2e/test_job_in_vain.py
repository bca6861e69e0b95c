"""A job whose statement the database never does ends; one that waits for a database that cannot be written does not."""
import re

import pytest

import postgres
from fhirlake import FINAL, patient, wait
from test_nodes import Nodes, listed
from test_nodes_ranges import start

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]
PLAIN = "e2e_plain"  # owns its tables, and can lose rights on them, as a superuser cannot


@pytest.fixture
def nodes():
    pg = postgres.server()
    if pg.sql(f"select 1 from pg_roles where rolname = '{PLAIN}'") == []:
        pg.sql(f"create role {PLAIN} login")
    made = Nodes(2)
    pg.sql(f"grant create on database {made.database} to {PLAIN}")
    for s in made.all:
        s.options = [o.replace("fhirlake@", f"{PLAIN}@") for o in s.options]
        s.env["_FHIRLAKE_AWAY_MS"] = "1"  # what is half an hour else
    with made:
        yield made


def filled(server):
    store = server.create_store()
    server.put_object("s3://input/some/p.ndjson", "\n".join(patient(f"p{i}") for i in range(50)).encode())
    assert server.import_all(store, "s3://input/some/")["JobStatus"] == "COMPLETED"
    return store


def begun(nodes, job):
    return sum(len(re.findall(rf" job_waits .*{job}", s.log_text())) for s in nodes.all)


def test_a_job_whose_statement_the_database_never_does_is_failed_and_says_why(nodes):
    a, b = nodes.all
    store = filled(a)
    nodes.sql(f"revoke select on fl_{store}.packs from {PLAIN}")
    job = start(a, store)
    wait(lambda: listed(b, "Export", store, job)["JobStatus"] in FINAL, {True}, 120)
    done = listed(b, "Export", store, job)
    assert done["JobStatus"] == "FAILED", done
    assert "the database does not permit it to the server" in done["Message"], done
    assert "The job was begun again and again without getting further" in done["Message"], done
    assert begun(nodes, job) >= 4
    assert nodes.sql(f"select k from fl_system.records where k like 'jobnote/{job}%'") == []
    nodes.sql(f"grant select on fl_{store}.packs to {PLAIN}")
    assert a.wait_export(store, start(a, store))["JobStatus"] == "COMPLETED"


def test_a_job_waits_for_a_database_that_cannot_be_written_as_long_as_that_takes(nodes):
    a, b = nodes.all
    store = filled(a)
    nodes.sql(f"revoke select on fl_{store}.packs from {PLAIN}")
    for _ in range(10):
        job = start(a, store)
        wait(lambda: begun(nodes, job) >= 1, {True})
        nodes.sql(f"revoke insert on fl_system.records from {PLAIN}")
        if listed(b, "Export", store, job)["JobStatus"] not in FINAL:
            break
        # that came too late: it had been in vain often enough
        nodes.sql(f"grant insert on fl_system.records to {PLAIN}")
    seen = begun(nodes, job)
    wait(lambda: begun(nodes, job) >= seen + 8, {True})
    nodes.sql(f"grant insert on fl_system.records to {PLAIN}")
    nodes.sql(f"grant select on fl_{store}.packs to {PLAIN}")
    assert b.wait_export(store, job)["JobStatus"] == "COMPLETED"
