"""What callers can make jobs, files and data stores cost: every amount has an end, and is told when it is reached."""
import pytest
from botocore.exceptions import ClientError

from fhirlake import Server, patient


@pytest.fixture(scope="module")
def server():
    with Server() as s:
        yield s


# ---- keys ----

def test_objects_in_folders_as_deep_as_a_key_can_be_keep_nobody_from_listing_above(server):
    store = server.create_store()
    server.put_object("s3://deep/a.ndjson", patient("a"))
    assert server.import_all(store, "s3://deep/")["JobStatus"] == "COMPLETED"
    for depth in (130, 400):
        done = server.export_all(store, "s3://deep/" + "a/" * depth)
        assert done["JobStatus"] == "COMPLETED", done
    done = server.import_all(store, "s3://deep/")
    assert done["JobStatus"] == "COMPLETED" and done["JobProgressReport"]["TotalNumberOfScannedFiles"] == 3


@pytest.mark.parametrize("path, limit", [
    ("a/" * 480, "1024 bytes"), ("n" * 256, "255 bytes"), ("n" * 255 + "/" + "n" * 300 + "/x", "255 bytes")])
def test_places_whose_keys_could_not_be_written_are_refused_at_the_start(server, path, limit):
    store = server.create_store()
    server.put_object("s3://deep2/a.ndjson", patient("a"))
    for start in (lambda: server.start_export(store, "s3://deep2/" + path),
                  lambda: server.start_import(store, "s3://deep2/a.ndjson", "s3://deep2/" + path)):
        with pytest.raises(ClientError) as refused:
            start()
        assert refused.value.response["Error"]["Code"] == "ValidationException"
        assert limit in refused.value.response["Error"]["Message"]
