"""Public FHIR clients from npm against the server: `./dev clients` installs them (pinned) and runs this."""
import os
import pathlib
import shutil
import subprocess

import pytest

from fhirlake import ROOT

CLIENTS = pathlib.Path(os.environ.get("FHIRLAKE_CLIENTS", ROOT / "tests" / "clients"))

pytestmark = pytest.mark.skipif(not (shutil.which("node") and (CLIENTS / "node_modules").exists()),
                                reason="only with ./dev clients")


def test_fhir_kit_client(server):
    fhir = server.fhir(server.create_store())
    script = CLIENTS / "fhir_kit_client.mjs"
    done = subprocess.run(["node", str(script)], capture_output=True, text=True, timeout=300, cwd=CLIENTS,
                          env={**os.environ, "BASE": fhir.base, "KEY": fhir.keys[0], "SECRET": fhir.keys[1]})
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok - ") + done.stdout.startswith("ok - ") == 15
