#!/usr/bin/env python3
"""moto with signature and policy checks on, set up for the S3 tests.

Prints one JSON line: where it listens, whose keys there are, which roles, bucket and KMS key; or
{"skip": "..."} when moto is not there. Ends when its standard input does.

    own        a user that may assume every role (its policy); the roles' trust decides
    role       may put and read objects of the bucket, and use the key
    keyless    may all of the bucket, and use no key
    looker     the same, and look at keys
    reader     may only read
    closed     trusts somebody else
"""
import json
import logging
import sys
import urllib.request

REGION = "us-east-1"
BUCKET = "fhir-bucket"


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions, resources="*"):
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def verify_the_raw_url():
    """moto 5 checks signatures over the decoded URL, and so refuses botocore's own signatures of a
    prefix with "/", or of keys with "+", "=" or letters outside ASCII. Give it what was sent."""
    from flask import request
    from moto.core.authorization import ActionAuthenticatorMixin as Mixin
    original = Mixin._authenticate_and_authorize_action

    def with_raw_url(self, iam_request_cls, resource="*"):
        def make(**kwargs):
            kwargs["path"] = request.environ.get("RAW_URI", kwargs["path"])
            return iam_request_cls(**kwargs)
        return original(self, make, resource)

    Mixin._authenticate_and_authorize_action = with_raw_url


def main():
    try:
        import boto3
        from moto.server import ThreadedMotoServer
        verify_the_raw_url()
    except ImportError as e:
        print(json.dumps({"skip": f"cannot import {e.name}"}), flush=True)
        return
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"

    def client(name):
        return boto3.client(name, endpoint_url=url, region_name=REGION,
                            aws_access_key_id="setup", aws_secret_access_key="setup")

    s3, iam, kms = client("s3"), client("iam"), client("kms")
    s3.create_bucket(Bucket=BUCKET)
    s3.create_bucket(Bucket="other-bucket")
    key, other, disabled, deleted = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(4))
    signing = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/exports", TargetKeyId=key)
    # moto takes no ARN here
    kms.disable_key(KeyId=disabled.rpartition("/")[2])
    kms.schedule_key_deletion(KeyId=deleted.rpartition("/")[2])

    user = iam.create_user(UserName="fhirlake")["User"]
    iam.put_user_policy(UserName="fhirlake", PolicyName="p",
                        PolicyDocument=policy(allow(["sts:AssumeRole", "s3:*", "kms:*"])))
    own = iam.create_access_key(UserName="fhirlake")["AccessKey"]

    def role(name, trusted, *statements):
        trust = {"Effect": "Allow", "Principal": {"AWS": trusted}, "Action": "sts:AssumeRole"}
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(*statements))
        return arn

    both = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    none = ["arn:aws:s3:::no-such-bucket", "arn:aws:s3:::no-such-bucket/*"]
    out = {
        "port": port,
        "url": url,
        "region": REGION,
        "bucket": BUCKET,
        "kms_key": key,
        "kms_other": other,
        "kms_disabled": disabled,
        "kms_deleted": deleted,
        "kms_signing": signing,
        "own_key": own["AccessKeyId"],
        "own_secret": own["SecretAccessKey"],
        "role": role("export", user["Arn"], allow("s3:*", both + none), allow("kms:*")),
        "keyless": role("keyless", user["Arn"], allow("s3:*", both)),
        "looker": role("looker", user["Arn"], allow("s3:*", both), allow("kms:DescribeKey")),
        "reader": role("reader", user["Arn"],
                       allow(["s3:GetObject", "s3:ListBucket", "s3:HeadBucket",
                              "s3:HeadObject"], both)),
        "closed": role("closed", "arn:aws:iam::123456789012:user/somebody-else",
                       allow("s3:*", both)),
    }
    urllib.request.urlopen(urllib.request.Request(
        url + "/moto-api/reset-auth", data=b"0", method="POST",
        headers={"Content-Type": "text/plain"})).read()
    print(json.dumps(out), flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
