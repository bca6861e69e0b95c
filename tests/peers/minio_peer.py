#!/usr/bin/env python3
"""MinIO as `./dev minio` built it, in a folder of its own, with a KMS key that it keeps itself.

Prints one JSON line: where it listens, whose keys there are, which role, bucket and KMS key; or {"skip": "..."} when
MinIO is not there. Ends when its standard input does. With --tls it has a certificate of its own, and the line names
it (ca). MinIO's AssumeRole lends a caller his own rights, whatever role he names: so there is no role that is denied.
"""
import base64
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

REGION, BUCKET, KEY = "us-east-1", "fhir-bucket", "fhirlake-key"
USER, SECRET = "fhirlake_user", "fhirlake-secret-of-a-test"
MINIO = pathlib.Path(__file__).resolve().parent.parent.parent / ".deps" / "minio" / "minio"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "private.key",
                    "-out", folder / "public.crt"], check=True, capture_output=True)
    return str(folder / "public.crt")


def main():
    try:
        import boto3
    except ImportError as e:
        print(json.dumps({"skip": f"cannot import {e.name}"}), flush=True)
        return
    if not MINIO.exists():
        print(json.dumps({"skip": "no MinIO: run ./dev minio"}), flush=True)
        return
    home = pathlib.Path(tempfile.mkdtemp(prefix="fhirlake-minio-"))
    (home / "certs").mkdir()
    ca = certificate(home / "certs") if "--tls" in sys.argv else None
    port = free_port()
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": SECRET,
           "MINIO_REGION": REGION, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
           "MINIO_KMS_SECRET_KEY": f"{KEY}:{base64.b64encode(os.urandom(32)).decode()}"}
    server = subprocess.Popen([MINIO, "server", "--json", "--certs-dir", home / "certs", "--address", f"127.0.0.1:{port}",
                               home / "data"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in server.stdout:  # until it says where it listens
            if '"API: ' in line:
                break
        threading.Thread(target=server.stdout.read, daemon=True).start()
        url = f"{'https' if ca else 'http'}://127.0.0.1:{port}"
        s3 = boto3.client("s3", endpoint_url=url, region_name=REGION, aws_access_key_id=USER, aws_secret_access_key=SECRET,
                          verify=ca)
        s3.create_bucket(Bucket=BUCKET)
        print(json.dumps({"port": port, "url": url, "region": REGION, "bucket": BUCKET, "kms_key": KEY, "own_key": USER,
                          "own_secret": SECRET, "role": "arn:aws:iam::123456789012:role/export", "ca": ca}), flush=True)
        sys.stdin.read()
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
