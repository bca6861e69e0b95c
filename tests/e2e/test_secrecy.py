"""Each server's log is searched when it ends (secrecy.py): the search finds what is there."""
import pytest

from fhirlake import Server, patient

pytestmark = pytest.mark.once


@pytest.mark.parametrize("leak", ["Blumenthal", "1987-03-21", "secret", "token", "asked"])
def test_a_log_that_has_what_no_log_may_have_is_found(leak):
    with pytest.raises(AssertionError, match="no log may have"):
        with Server() as server:
            fhir = server.fhir(server.create_store())
            assert fhir.put("Patient/p", patient("p", name=[{"family": "Blumenthal"}], birthDate="1987-03-21")).status == 201
            fhir.get("Patient?family:exact=Oppenheimer")
            server.fhir("0" * 32, signed=False).get("Patient/p", Authorization="Bearer abcdefghijkl.mnopqrst.uvwxyz")
            with server.log_path.open("a") as log:
                log.write("note=" + {"secret": server.keys()[1], "token": "abcdefghijkl.mnopqrst.uvwxyz",
                                     "asked": "Oppenheimer"}.get(leak, leak) + "\n")


def test_and_one_that_has_it_not_is_not():
    with Server() as server:
        fhir = server.fhir(server.create_store())
        assert fhir.put("Patient/p", patient("p", name=[{"family": "Blumenthal"}])).status == 201
