"""An S3 server in a process of its own: moto, or MinIO where `./dev minio` built it. Tests ask for it by its name."""
import hashlib
import json
import subprocess
import sys
import urllib.request

import boto3
import botocore.config
import pytest

from fhirlake import ROLE, ROOT

ACCOUNT = "123456789012"


def roles_file(tmp_path, *roles):
    """A file for --roles, which its reader alone may read."""
    path = tmp_path / "roles.json"
    path.write_text(json.dumps({"roles": list(roles)}))
    path.chmod(0o600)
    return str(path)


class Peer:
    """Roles, keys and bucket are as tests/peers/{name}_peer.py says."""

    def __init__(self, name="moto", *options):
        self.name, self.ca = name, None
        self.process = subprocess.Popen([sys.executable, str(ROOT / "tests" / "peers" / f"{name}_peer.py"), *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        skip = json.dumps({"skip": f"{name} does not start"})
        self.__dict__.update(json.loads(self.process.stdout.readline() or skip))
        if hasattr(self, "skip"):
            self.stop()
            pytest.skip(self.skip)
        self.s3 = boto3.client("s3", endpoint_url=self.url, region_name=self.region, aws_access_key_id=self.own_key,
                               aws_secret_access_key=self.own_secret, verify=self.ca,
                               config=botocore.config.Config(s3={"addressing_style": "path"}))

    def stop(self):
        self.process.stdin.close()
        self.process.wait(300)
        self.process.stdout.close()

    def needs_policies(self):
        if self.name != "moto":
            pytest.skip(f"{self.name} gives each role the rights of its caller")

    def options(self, s3_url=None):
        return ["--s3-endpoint", s3_url or self.url, "--sts-endpoint", self.url, "--account-id", ACCOUNT]

    def env(self, user=None):
        """user: one of MinIO's users; without it the one who may everything."""
        who = self.users[user] if user else {"own_key": self.own_key, "own_secret": self.own_secret}
        keys = {"AWS_ACCESS_KEY_ID": who["own_key"], "AWS_SECRET_ACCESS_KEY": who["own_secret"],
                "AWS_SESSION_TOKEN": who.get("own_token", "")}
        return keys | ({"SSL_CERT_FILE": self.ca} if self.ca else {})

    def put(self, key, lines):
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"".join(line + b"\n" for line in lines))

    def names(self, prefix=""):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def get(self, key):
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def read_export(self, uri):
        """As fhirlake.read_export, from the bucket; every object is under the request's KMS key."""
        folder = uri.removeprefix(f"s3://{self.bucket}/").rstrip("/") + "/"
        manifest = json.loads(self.get(folder + "manifest.json"))
        resources, named = {}, {folder + "manifest.json"}
        for item in manifest["output"]:
            key = item["url"].removeprefix(f"s3://{self.bucket}/")
            named.add(key)
            data = self.get(key)
            assert len(data) == item["bytes"] and hashlib.sha256(data).hexdigest() == item["sha256"], key
            lines = data.split(b"\n")
            assert lines.pop() == b"" and len(lines) == item["count"], key
            for line in lines:
                head = json.loads(line)
                assert (head["resourceType"], head["id"]) not in resources
                resources[head["resourceType"], head["id"]] = line
        assert set(self.names(folder)) == named, "objects beside the manifest's"
        self.assert_under_key(named)
        return manifest, resources

    def assert_under_key(self, names):
        for name in names:
            head = self.s3.head_object(Bucket=self.bucket, Key=name)
            assert head["ServerSideEncryption"] == "aws:kms", name
            assert head["SSEKMSKeyId"].removeprefix("arn:aws:kms:") == self.kms_key.removeprefix("arn:aws:kms:"), name


class Hostile:
    """tests/peers/hostile_s3.py: a store that takes any keys, fails as it is told, and verifies checksums behind bodies."""
    region, own_key, own_secret, bucket = "us-east-1", "AKIAANYBODY", "secret-of-nobody", "bucket"
    stop, names, get, env = Peer.stop, Peer.names, Peer.get, Peer.env

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, str(ROOT / "tests" / "peers" / "hostile_s3.py")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        says = json.loads(self.process.stdout.readline())
        self.url, self.ca = f"http://127.0.0.1:{says['port']}", says.get("ca")
        self.tls_url = f"https://127.0.0.1:{says['tls_port']}" if self.ca else None  # there is none without openssl
        self.s3 = boto3.client("s3", endpoint_url=self.url, region_name=self.region, aws_access_key_id=self.own_key,
                               aws_secret_access_key=self.own_secret,
                               config=botocore.config.Config(s3={"addressing_style": "path"}))

    def options(self, folder, url=None):
        """Of a server whose role has the bucket here; its file is in the folder."""
        return ["--s3-endpoint", url or self.url, "--roles", roles_file(folder, {
            "arn": ROLE, "allow": [f"s3://{self.bucket}/*"], "credentials": {"accessKeyId": "a", "secretAccessKey": "b"}})]

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        return json.loads(urllib.request.urlopen(self.url + path, data, 30).read())

    def script(self, steps):
        self.ask("/_script", steps)

    def left(self):
        return self.ask("/_log")["left"]
