"""fhirlake: a FHIR R4 data store that speaks Amazon HealthLake's API, started and stopped by a test.

    with fhirlake.Server() as lake:
        store = lake.datastore(patients=100)
        healthlake, s3, fhir = lake.client("healthlake"), lake.s3(), lake.fhir(store)

pytest has fixtures of it: fhirlake.pytest_plugin. `python -m fhirlake -- COMMAND` runs a test of any language beside one.
"""
from ._fhir import Fhir, FhirError
from ._program import Unusable, program
from ._server import KEY, ROLE, JobError, Server, ServerError

__all__ = ["KEY", "ROLE", "Fhir", "FhirError", "JobError", "Server", "ServerError", "Unusable", "program"]
