"""A data store whose files are damaged keeps no server from starting: the others are served, and its own requests fail."""
import os
import shutil

import pytest

from fhirlake import Server, patient, run, wait

pytestmark = [pytest.mark.sanitize, pytest.mark.files]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    data = tmp_path_factory.mktemp("damaged") / "data"
    with Server(data) as server:
        stores = server.create_store(), server.create_store()
        for store in stores:
            assert server.fhir(store).put("Patient/a", patient("a")).status == 201
    return data, *stores


def empty_list(folder):
    os.truncate(folder / (folder / "CURRENT").read_text().strip(), 0)


def cut_list(folder):
    file = folder / (folder / "CURRENT").read_text().strip()
    os.truncate(file, file.stat().st_size // 2)


def no_current(folder):
    (folder / "CURRENT").unlink()


def empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def no_folder(folder):
    shutil.rmtree(folder)


@pytest.mark.parametrize("damage, told", [(empty_list, 1), (cut_list, None), (no_current, 1), (empty_folder, 0), (no_folder, 1)])
def test_the_others_are_served_and_this_one_answers_500(whole, tmp_path, damage, told):
    data, store, other = whole
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    folder = copy / "stores" / store
    damage(folder)
    before = sorted(p.name for p in folder.glob("*"))
    with Server(copy) as server:
        said = [line for line in server.log_text().splitlines() if "datastore_damaged" in line]
        assert told is None or len(said) == told, said
        assert all(store in line for line in said)
        assert server.fhir(other).get("Patient/a").status == 200
        fhir = server.fhir(store)
        for answer in (fhir.get("Patient/a"), fhir.get("Patient"), fhir.put("Patient/b", patient("b")), fhir.delete("Patient/a")):
            assert answer.status == 500 and answer.json["issue"][0]["code"] == "exception", answer.body
        # it is there: Describe says so, and jobs are refused for what happened
        client = server.client()
        with pytest.raises(client.exceptions.InternalServerException):
            server.start_export(store, client=client)
        assert client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"] == "ACTIVE"
        if damage is no_folder:
            assert not folder.exists()
            # and it can be deleted, as any other
            client.delete_fhir_datastore(DatastoreId=store)
            wait(lambda: fhir.get("Patient/a").status, {404})
            return
    # RocksDB's own log aside
    assert {name for name in before if name.endswith((".sst", ".log"))} <= {p.name for p in folder.glob("*")}
    done = run("check", copy)
    assert done.returncode == 1 and f"{other}: ok: " in done.stdout, done.stdout
