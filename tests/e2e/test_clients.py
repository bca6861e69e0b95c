"""Public clients against the server: `./dev clients` installs them (pinned, from npm and PyPI) and runs this."""
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import pytest

from fhirlake import ROOT

CLIENTS = pathlib.Path(os.environ.get("FHIRLAKE_CLIENTS", ROOT / "tests" / "clients"))
MCP = ROOT / ".deps" / "mcp" / "bin" / "python"


@pytest.mark.skipif(not (shutil.which("node") and (CLIENTS / "node_modules").exists()), reason="only with ./dev clients")
def test_fhir_kit_client(server):
    fhir = server.fhir(server.create_store())
    script = CLIENTS / "fhir_kit_client.mjs"
    done = subprocess.run(["node", str(script)], capture_output=True, text=True, timeout=300, cwd=CLIENTS,
                          env={**os.environ, "BASE": fhir.base, "KEY": fhir.keys[0], "SECRET": fhir.keys[1]})
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok - ") + done.stdout.startswith("ok - ") == 15


@pytest.mark.skipif(not MCP.exists(), reason="only with ./dev clients")
def test_awss_healthlake_mcp_server(server):
    """Its FHIR calls go to healthlake.<region>.amazonaws.com, whatever it is told: a door in that name leads them here."""
    sys.path.insert(0, str(CLIENTS))
    from healthlake_door import Door

    door = Door(server.url.removeprefix("http://"))
    threading.Thread(target=door.serve, daemon=True).start()
    key, secret = server.keys()
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and not k.lower().endswith("_proxy")}
    env.update(STORE=server.create_store(), AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWS_REGION="us-east-1",
               AWS_DEFAULT_REGION="us-east-1", AWS_ENDPOINT_URL_HEALTHLAKE=server.url,
               HTTPS_PROXY=f"http://{door.address}", SSL_CERT_FILE=str(door.folder / "ca.pem"))
    try:
        done = subprocess.run([MCP, CLIENTS / "healthlake_mcp.py"], capture_output=True, text=True, timeout=300, env=env)
    finally:
        door.socket.close()
        shutil.rmtree(door.folder)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.count("ok - ") == 13
