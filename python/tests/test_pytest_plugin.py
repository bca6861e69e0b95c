"""The fixtures, as pytest runs them in a project of its own."""
pytest_plugins = ["pytester"]


def test_each_test_has_a_data_store_of_its_own_on_one_server(pytester):
    pytester.makepyfile("""
        seen = set()

        def note(server, store, fhir):
            assert fhir.get("Patient?_summary=count")["total"] == 0
            fhir.create({"resourceType": "Patient"})
            seen.add((server.url, store))

        def test_a(fhirlake_server, fhirlake_datastore, fhirlake_fhir): note(fhirlake_server, fhirlake_datastore, fhirlake_fhir)
        def test_b(fhirlake_server, fhirlake_datastore, fhirlake_fhir): note(fhirlake_server, fhirlake_datastore, fhirlake_fhir)

        def test_c(fhirlake_server, fhirlake_new_server, fhirlake_patients, fhirlake_client):
            assert len({url for url, _ in seen}) == 1 and len({store for _, store in seen}) == 2
            assert fhirlake_new_server.client().list_fhir_datastores()["DatastorePropertiesList"] == []
            status = {d["DatastoreId"]: d["DatastoreStatus"] for d in fhirlake_client.list_fhir_datastores()["DatastorePropertiesList"]}
            assert status.pop(fhirlake_patients) == "ACTIVE" and set(status.values()) <= {"DELETING", "DELETED"}
            assert fhirlake_server.fhir(fhirlake_patients).get("Patient?_summary=count")["total"] == 100

        def test_d(fhirlake_environ, fhirlake_bucket, fhirlake_datastore):
            import boto3
            assert fhirlake_bucket in [b["Name"] for b in boto3.client("s3").list_buckets()["Buckets"]]
            assert boto3.client("healthlake").describe_fhir_datastore(DatastoreId=fhirlake_datastore)
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=4)


def test_options_come_from_a_fixture_and_a_failure_has_the_servers_log(pytester):
    pytester.makeconftest("""
        import pytest

        @pytest.fixture(scope="session")
        def fhirlake_options():
            return {"region": "eu-west-1"}
    """)
    pytester.makepyfile("""
        import time

        def until_logged(server, text):
            while text not in server.log:  # a request is logged behind its answer
                time.sleep(0.01)

        def test_passes(fhirlake_fhir, fhirlake_server):
            fhirlake_fhir.create({"resourceType": "Patient"})
            until_logged(fhirlake_server, "op=create ")

        def test_fails(fhirlake_fhir, fhirlake_server):
            assert fhirlake_server.region == "eu-west-1"
            fhirlake_fhir.get("Patient")
            until_logged(fhirlake_server, "op=search-type ")
            assert False

        def test_fails_alone():
            assert False
    """)
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(passed=1, failed=2)
    text = done.stdout.str()
    assert text.count("log of fhirlake_server") == 1
    log = text.partition("log of fhirlake_server")[2]
    assert "op=search-type" in log and "op=create " not in log


def test_a_server_that_does_not_start_fails_the_test_in_its_own_words(pytester):
    pytester.makeconftest("""
        import pytest

        @pytest.fixture(scope="session")
        def fhirlake_options():
            return {"nope": "x"}
    """)
    pytester.makepyfile("def test_it(fhirlake_server): pass")
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*option --nope is not known*"])
