"""Fixtures of pytest. `pytest --fixtures` lists them; docs/testing-with-fhirlake.md shows a test.

Another fixture of the name `fhirlake_options` in a conftest.py, of session scope, says with which options servers start:

    @pytest.fixture(scope="session")
    def fhirlake_options():
        return {"quotas": "healthlake", "make_buckets": False}

When a test fails that had a server, its log of that time is part of the report.
"""
from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Generator

import pytest

if TYPE_CHECKING:
    from . import Fhir, Server

LOG_LINES = 60
RUNNING = pytest.StashKey["dict[str, Server]"]()
BEGAN = pytest.StashKey["dict[str, int]"]()  # of a test: how long each server's log was


def _running(name: str, options: dict[str, Any], config: pytest.Config) -> Generator[Server, None, None]:
    from . import Server  # boto3 takes its time: not before a test asks
    with Server(**options) as server:
        running = config.stash.setdefault(RUNNING, {})
        running[name] = server
        try:
            yield server
        finally:
            del running[name]


@pytest.fixture(scope="session")
def fhirlake_options() -> dict[str, Any]:
    """The options with which servers start, as fhirlake.Server() takes them. To be overridden."""
    return {}


@pytest.fixture(scope="session")
def fhirlake_server(fhirlake_options: dict[str, Any], pytestconfig: pytest.Config) -> Generator[Server, None, None]:
    """A fhirlake server for all tests of this run (with pytest-xdist: of this worker)."""
    yield from _running("fhirlake_server", fhirlake_options, pytestconfig)


@pytest.fixture
def fhirlake_new_server(fhirlake_options: dict[str, Any], pytestconfig: pytest.Config) -> Generator[Server, None, None]:
    """A fhirlake server for this test alone: nothing was created on it."""
    yield from _running("fhirlake_new_server", fhirlake_options, pytestconfig)


@pytest.fixture(scope="session")
def fhirlake_client(fhirlake_server: Server) -> Any:
    """boto3's client of HealthLake, for fhirlake_server."""
    return fhirlake_server.client("healthlake")


@pytest.fixture(scope="session")
def fhirlake_s3(fhirlake_server: Server) -> Any:
    """boto3's client of S3 over the objects of fhirlake_server."""
    return fhirlake_server.s3()


@pytest.fixture
def fhirlake_bucket(fhirlake_s3: Any) -> str:
    """The name of a new bucket, for this test alone."""
    name = f"test-{uuid.uuid4().hex}"
    fhirlake_s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def fhirlake_datastore(fhirlake_server: Server) -> Generator[str, None, None]:
    """The id of a new, empty data store, for this test alone. It is deleted behind the test."""
    store = fhirlake_server.datastore()
    yield store
    client = fhirlake_server.client("healthlake")
    try:
        client.delete_fhir_datastore(DatastoreId=store)
    except (client.exceptions.ResourceNotFoundException, client.exceptions.ConflictException):
        pass  # the test deleted it, or has left a job in it


@pytest.fixture
def fhirlake_fhir(fhirlake_server: Server, fhirlake_datastore: str) -> Fhir:
    """The FHIR API of fhirlake_datastore."""
    return fhirlake_server.fhir(fhirlake_datastore)


@pytest.fixture(scope="session")
def fhirlake_patients(fhirlake_server: Server) -> str:
    """The id of a data store of 100 synthetic patients, for all tests of this run: to be read, not written."""
    return fhirlake_server.datastore(patients=100)


@pytest.fixture
def fhirlake_environ(fhirlake_server: Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """For code that makes its clients itself: the variables of AWS's SDKs lead to fhirlake_server during this test."""
    told = fhirlake_server.environ()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return told


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[BEGAN] = {name: len(server.log) for name, server in item.config.stash.get(RUNNING, {}).items()}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    report = (yield).get_result()
    if not report.failed or not any(name.startswith("fhirlake_") for name in getattr(item, "fixturenames", ())):
        return
    for name, server in item.config.stash.get(RUNNING, {}).items():
        lines = server.log[item.stash.get(BEGAN, {}).get(name, 0):].split("\n")
        report.sections.append((f"log of {name}", "\n".join(lines[-LOG_LINES:])))
