"""A data folder of an older program: the server refuses it with the words to type, and `fhirlake convert` says what it does.

The older data store here is an empty one, written with RocksDB itself. What comes out of a conversion is the matter of
tests/unit/store/test_convert.c, which writes data stores of layout 3 with a history.
"""
import ctypes
import ctypes.util
import os
import shutil
import subprocess

import pytest

from fhirlake import BIN, Server, patient, run, wait

pytestmark = pytest.mark.files

OLDER = "0123456789abcdef0123456789abcdef"


def write_older(place):
    """An empty data store of layout 3: its families, and its number."""
    rocks = ctypes.CDLL(ctypes.util.find_library("rocksdb"))
    for name in ("options_create", "open_column_families", "writeoptions_create"):
        getattr(rocks, f"rocksdb_{name}").restype = ctypes.c_void_p
    names = [b"default", b"versions", b"changes", b"commits", b"notes"]
    n, bad = len(names), ctypes.c_char_p()
    options, write = (ctypes.c_void_p(make()) for make in (rocks.rocksdb_options_create, rocks.rocksdb_writeoptions_create))
    rocks.rocksdb_options_set_create_if_missing(options, ctypes.c_ubyte(1))
    rocks.rocksdb_options_set_create_missing_column_families(options, ctypes.c_ubyte(1))
    families = (ctypes.c_void_p * n)()
    db = ctypes.c_void_p(rocks.rocksdb_open_column_families(
        options, str(place).encode(), n, (ctypes.c_char_p * n)(*names), (ctypes.c_void_p * n)(*[options.value] * n), families,
        ctypes.byref(bad)))
    assert not bad.value, bad.value
    key, value = b"v" + bytes(8), (3).to_bytes(8, "big")
    rocks.rocksdb_put_cf(db, write, ctypes.c_void_p(families[3]), key, ctypes.c_size_t(len(key)), value,
                         ctypes.c_size_t(len(value)), ctypes.byref(bad))
    assert not bad.value, bad.value
    for family in families:
        rocks.rocksdb_column_family_handle_destroy(ctypes.c_void_p(family))
    rocks.rocksdb_close(db)


@pytest.fixture
def older(tmp_path):
    data = tmp_path / "data folder"
    with Server(data) as server:
        store = server.create_store()
        assert server.fhir(store).put("Patient/a", patient("a")).status == 201
    place = data / "stores" / OLDER
    write_older(place)
    return data, place, store


def start(data):
    return subprocess.run([str(BIN), "serve", "--listen", "127.0.0.1:0", "--data", str(data)],
                          capture_output=True, text=True, timeout=60)


def files(place):
    return {p.name: p.read_bytes() for p in place.iterdir() if not p.name.startswith("LOG")}


def test_the_server_refuses_an_older_layout_and_says_what_to_type(older):
    data, place, _ = older
    before = files(place)
    got = start(data)
    assert got.returncode == 1 and got.stdout == ""
    assert "1 of 2 data stores have an older layout" in got.stderr
    assert got.stderr.rstrip().endswith(f"Type: fhirlake convert '{data}'")
    assert files(place) == before, "it was written to"


def test_a_check_says_what_to_type(older):
    data, place, store = older
    got = run("check", data)
    assert got.returncode == 3 and f"{store}: ok: " in got.stdout
    assert got.stderr == (f"fhirlake check: {OLDER}: data store has layout version 3, this program reads version 4. "
                          f"Type: fhirlake convert '{data}'\n")


def test_a_conversion_that_was_cut_off_between_two_renames_is_refused_too(older):
    data, place, store = older
    shutil.rmtree(place)
    place = data / "stores" / store
    place.rename(place.with_name(f"{store}.old"))
    shutil.copytree(place.with_name(f"{store}.old"), place.with_name(f"{store}.converting"))
    assert f"fhirlake convert '{data}'" in start(data).stderr
    got = run("convert", data)
    assert got.returncode == 0, got.stderr
    assert f"{store}: converted; the last steps of an earlier call are done" in got.stdout
    assert [p.name for p in (data / "stores").iterdir()] == [store]
    with Server(data) as server:
        assert server.fhir(store).get("Patient/a").status == 200


def test_what_a_conversion_left_beside_a_data_store_is_no_data_store_and_goes_with_it(older):
    data, place, store = older
    place.rename(data / "stores" / f"{store}.converting")
    shutil.copytree(data / "stores" / store, data / "stores" / f"{store}.old")
    with Server(data) as server:
        client = server.client()
        assert [s["DatastoreId"] for s in client.list_fhir_datastores()["DatastorePropertiesList"]] == [store]
        client.delete_fhir_datastore(DatastoreId=store)
        assert server.stop() == 0
        server.start()  # it may go on with the deletion
        wait(lambda: [p.name for p in (data / "stores").iterdir()], [[]])


def test_what_cannot_be_read_is_not_converted_and_stays(older):
    data, place, _ = older
    os.truncate(place / (place / "CURRENT").read_text().strip(), 0)
    before = files(place)
    got = run("convert", data)
    assert got.returncode == 1
    assert got.stderr.startswith(f"fhirlake convert: data store {OLDER}: opening the data store:"), got.stderr
    assert files(place) == before
    assert sorted(p.suffix for p in (data / "stores").iterdir()) == ["", ""]


def test_one_that_cannot_be_read_keeps_no_other_from_being_converted(older):
    data, place, store = older
    first = data / "stores" / ("0" * 32)  # it comes before the older one
    shutil.copytree(data / "stores" / store, first)
    os.truncate(first / (first / "CURRENT").read_text().strip(), 0)
    got = run("convert", data)
    assert got.returncode == 1
    assert got.stderr.startswith(f"fhirlake convert: data store {first.name}: ") and got.stderr.count("\n") == 1, got.stderr
    lines = got.stdout.splitlines()
    assert lines[0].startswith(f"{OLDER}: converted; 0 resources"), lines
    assert lines[1:3] == [f"{store}: has this program's layout already",
                          "1 data stores converted (0 resources, 0 versions), 1 had this layout already"]
    assert lines[3].startswith("1 data stores could not be converted")
    with Server(data) as server:
        assert server.fhir(store).get("Patient/a").status == 200


def test_a_folder_of_this_layout_is_passed_over(older):
    data, place, store = older
    shutil.rmtree(place)
    got = run("convert", data)
    assert got.returncode == 0 and got.stderr == ""
    assert got.stdout.splitlines() == [
        f"{store}: has this program's layout already",
        "0 data stores converted (0 resources, 0 versions), 1 had this layout already"]


def test_a_folder_in_use_or_none_is_refused(tmp_path):
    with Server(tmp_path / "data"):
        got = run("convert", tmp_path / "data")
    assert got.returncode == 1 and "is in use: stop the server first" in got.stderr
    got = run("convert", tmp_path / "nothing")
    assert got.returncode == 1 and "is no data folder" in got.stderr
    assert not (tmp_path / "nothing").exists()
    assert run("convert").returncode == 2
    assert run("convert", "a", "b").returncode == 2
    assert run("convert", "--data", "a").returncode == 2
    assert "fhirlake convert DATA" in run("convert", "--help").stdout
