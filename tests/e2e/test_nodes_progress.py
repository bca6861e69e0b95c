"""What a node tells of an import's progress does not go back when another node goes on with it."""
import pytest

import postgres
from fhirlake import FINAL
from test_nodes import holder, listed, other
from test_nodes_import import Importers, population, put  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]


def counts_of(job):
    return {k: v for k, v in job.get("JobProgressReport", {}).items() if k.startswith("Total")}


@pytest.mark.parametrize("how", ["killed", "stopped", "started anew"])
def test_progress_does_not_go_back_when_another_node_goes_on(population, how):  # noqa: F811
    nodes = Importers(2, chunk=4000)
    with nodes as (a, b):
        put(a, population)
        for _ in range(20):
            store = a.create_store()
            job = a.start_import(store, "s3://input/pop/")
            seen, gone = [], None
            while True:
                now = listed(gone and other(nodes, gone) or b, "Import", store, job)
                seen.append(counts_of(now))
                if now["JobStatus"] in FINAL:
                    break
                has = holder(nodes, job)
                if gone is None and has and seen[-1].get("TotalNumberOfResourcesImported"):
                    gone = has
                    gone.stop() if how == "stopped" else gone.kill()
                    if how == "started anew":
                        gone.start()
            for before, after in zip(seen, seen[1:]):
                back = {k: (v, after.get(k)) for k, v in before.items() if after.get(k, 0) < v}
                assert back == {}
            if gone and not gone.process:
                gone.start()
            if any(f"job_resumed kind=import job={job}" in s.log_text() for s in nodes.all):
                return
        raise AssertionError("no import was under way for long enough")
