import pytest

import jitter
import postgres

from fhirlake import LONG, Server, generate, patient

jitter.begin()


def pytest_terminal_summary(terminalreporter):
    if jitter.KIND:
        terminalreporter.write_line(f"with FHIRLAKE_JITTER={jitter.KIND}")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("long") and not LONG:
            item.add_marker(pytest.mark.skip(reason="only with ./dev test --long"))
        if postgres.ON and item.get_closest_marker("files"):
            item.add_marker(pytest.mark.skip(reason="of a data folder that has the data stores"))
        if postgres.ON and not LONG and item.get_closest_marker("once"):
            item.add_marker(pytest.mark.skip(reason="no matter of the database: with ./dev test --long it runs there, too"))


@pytest.fixture(scope="module")
def server():
    """One server for a module's tests; each makes data stores of its own."""
    with Server() as s:
        yield s


@pytest.fixture(scope="module")
def idp():
    """An identity provider for a module's tests."""
    from identity import Idp
    one = Idp()
    yield one
    one.close()


@pytest.fixture
def hostile():
    """An S3 server that fails as it is told, and lets wait."""
    from s3_peer import Hostile
    there = Hostile()
    yield there
    there.stop()


@pytest.fixture
def held_exports(hostile, tmp_path):
    """A server with a data store, whose exports wait for their peer, and a call that lets them on."""
    with Server(None, *hostile.options(tmp_path)) as s:
        store = s.create_store()
        assert s.fhir(store).put("Patient/one", patient("one")).status == 201
        hostile.ask("/_hold", {"path": "FHIR_EXPORT"})
        yield s, store, lambda: hostile.ask("/_hold", {})
        hostile.ask("/_hold", {})


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """A folder of generated NDJSON, one file per type."""
    out = tmp_path_factory.mktemp("generated") / "data"
    generate(out, patients=20)
    return out
