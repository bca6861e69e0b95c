"""Public clients against the server: `./dev clients` installs them (pinned, from npm and PyPI) and runs this."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import pytest

from backend import OURS, command
from fhirlake import ROOT, Server

pytestmark = pytest.mark.once

CLIENTS = pathlib.Path(os.environ.get("FHIRLAKE_CLIENTS", ROOT / "tests" / "clients"))
BULK = pathlib.Path(os.environ.get("FHIRLAKE_BULK_CLIENT", ROOT / ".deps" / "bulk-data-client"))
MCP = ROOT / ".deps" / "mcp" / "bin" / "python"


@pytest.mark.skipif(not (shutil.which("node") and (CLIENTS / "node_modules").exists()), reason="only with ./dev clients")
def test_fhir_kit_client(server):
    fhir = server.fhir(server.create_store())
    script = CLIENTS / "fhir_kit_client.mjs"
    done = subprocess.run(["node", str(script)], capture_output=True, text=True, timeout=300, cwd=CLIENTS,
                          env={**os.environ, "BASE": fhir.base, "KEY": fhir.keys[0], "SECRET": fhir.keys[1]})
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok - ") + done.stdout.startswith("ok - ") == 16


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


@pytest.mark.skipif(not (shutil.which("node") and (BULK / "node_modules").exists()), reason="only with ./dev clients")
def test_smarts_bulk_data_client(tmp_path):
    """Group, patient and system exports with backend services, over TLS whose certificate it checks; it finds the token URL
    by itself."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    command("keygen", tmp_path / "key.json", "--algorithm", "RS384")
    command("add", "bulk", "--data", data, "--jwks", tmp_path / "key.json.public", "--scope", "system/*.rs")
    with Server(data, "--tls", "self-signed") as server:
        server.ca = data / "tls" / "certificate.pem"
        store = server.create_store(IdentityProviderConfiguration=OURS)
        fhir = server.fhir(store)
        for n in range(3):
            assert fhir.put(f"Patient/p{n}", {"resourceType": "Patient", "id": f"p{n}"}).status == 201
            assert fhir.put(f"Observation/o{n}", {"resourceType": "Observation", "id": f"o{n}", "status": "final",
                                                  "code": {"text": "x"}, "subject": {"reference": f"Patient/p{n}"}}).status == 201
        assert fhir.put("Group/g", {"resourceType": "Group", "id": "g", "type": "person", "actual": True,
                                    "member": [{"entity": {"reference": f"Patient/p{n}"}} for n in (0, 2)]}).status == 201
        for name, how, patients in (("group", {"group": "g"}, {"p0", "p2"}), ("patients", {}, {"p0", "p1", "p2"}),
                                    ("system", {"global": True}, {"p0", "p1", "p2"})):
            out = tmp_path / name
            out.mkdir()
            config = {"fhirUrl": fhir.base, "tokenUrl": "", "clientId": "bulk", "scope": "system/*.rs", "reporter": "text",
                      "privateKey": json.loads((tmp_path / "key.json").read_text()), "destination": str(out), "saveManifest": True,
                      "accessTokenLifetime": 300} | how
            (tmp_path / f"{name}.js").write_text(f"module.exports = {json.dumps(config)}")
            done = subprocess.run(["node", str(BULK / "built" / "app.js"), "--config", str(tmp_path / f"{name}.js")],
                                  capture_output=True, text=True, timeout=120, cwd=tmp_path,
                                  env={**os.environ, "NODE_EXTRA_CA_CERTS": str(server.ca)})
            assert done.returncode == 0, done.stdout + done.stderr
            lines = [json.loads(line) for file in out.glob("*.ndjson") for line in file.read_text().splitlines()]
            got = [r for r in lines if "resourceType" in r]  # its log is a file of that name, too
            assert {r["id"] for r in got if r["resourceType"] == "Patient"} == patients, done.stdout
            assert {r["id"] for r in got if r["resourceType"] == "Observation"} == {f"o{p[1:]}" for p in patients}
            assert json.loads((out / "manifest.json").read_text())["requiresAccessToken"] is True
            print(f"ok - {name}")
