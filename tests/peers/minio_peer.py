#!/usr/bin/env python3
"""MinIO as `./dev minio` built it, in a folder of its own, with a KMS key that it keeps itself.

Prints one JSON line: where it listens, whose keys there are, which role, bucket and KMS key; or {"skip": "..."} when
MinIO is not there. Ends when its standard input does. With --tls it has a certificate of its own, and the line names
it (ca). MinIO's AssumeRole lends a caller his own rights, whatever role he names. So a role that is denied is one that is
asked for by somebody who may not himself; users has their keys:

    bound     may all of the bucket, and nothing of another
    reader    may only read there
    keeper    has what docs/backup.md says that a backup needs
    lent      has keys that STS gave, with a token: MinIO lends such a one nothing more
"""
import base64
import hashlib
import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile

REGION, BUCKET, KEY = "us-east-1", "fhir-bucket", "fhirlake-key"
USER, SECRET = "fhirlake_user", "fhirlake-secret-of-a-test"
BUCKETS = BUCKET, "other-bucket"
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


def allow(*actions):
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": [f"s3:{a}" for a in actions], "Resource": [f"arn:aws:s3:::{BUCKET}{rest}" for rest in ("", "/*")]}]}


RIGHTS = {"bound": allow("*"), "reader": allow("GetObject", "ListBucket"),
          "keeper": allow("PutObject", "GetObject", "ListBucket", "AbortMultipartUpload")}


def make_users(url, ca, role):
    """{name: {own_key, own_secret, own_token}}. MinIO's interface for users takes them sealed, but those of a zip."""
    import boto3
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    import ssl
    users = {name: {"own_key": f"{name}_user", "own_secret": f"fhirlake-secret-of-{name}"} for name in RIGHTS}
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as f:
        f.writestr("iam-assets/policies.json", json.dumps(RIGHTS))
        f.writestr("iam-assets/users.json", json.dumps(
            {u["own_key"]: {"secretKey": u["own_secret"], "status": "enabled"} for u in users.values()}))
        f.writestr("iam-assets/user_mappings.json", json.dumps(
            {u["own_key"]: {"version": 1, "policy": name} for name, u in users.items()}))
    request = botocore.awsrequest.AWSRequest(
        "PUT", f"{url}/minio/admin/v3/import-iam-v2", data=text.getvalue(),
        headers={"X-Amz-Content-Sha256": hashlib.sha256(text.getvalue()).hexdigest()})
    botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(USER, SECRET), "s3", REGION).add_auth(request)
    trust = ssl.create_default_context(cafile=ca) if ca else None
    done = json.loads(urllib.request.urlopen(urllib.request.Request(
        request.url, data=text.getvalue(), headers=dict(request.headers), method="PUT"), context=trust).read())
    assert not done["failed"] and len(done["added"]["users"]) == len(users), done
    sts = boto3.client("sts", endpoint_url=url, region_name=REGION, verify=ca, aws_access_key_id=users["bound"]["own_key"],
                       aws_secret_access_key=users["bound"]["own_secret"])
    lent = sts.assume_role(RoleArn=role, RoleSessionName="fhirlake")["Credentials"]
    return users | {"lent": {"own_key": lent["AccessKeyId"], "own_secret": lent["SecretAccessKey"],
                             "own_token": lent["SessionToken"]}}


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
        for bucket in BUCKETS:
            s3.create_bucket(Bucket=bucket)
        role = "arn:aws:iam::123456789012:role/export"
        print(json.dumps({"port": port, "url": url, "region": REGION, "bucket": BUCKET, "kms_key": KEY, "own_key": USER,
                          "own_secret": SECRET, "role": role, "ca": ca, "users": make_users(url, ca, role)}), flush=True)
        sys.stdin.read()
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
