"""The objects of a server through boto3's client of S3, as a pipeline's code uses it."""
import base64
import hashlib
import http.client
import io
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import zlib

import boto3
import botocore.config
import botocore.exceptions
import pytest


def code(refused):
    return refused.value.response["Error"]["Code"], refused.value.response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def put(fhirlake_s3, fhirlake_bucket):
    def one(key, body=b"x", **more):
        return fhirlake_s3.put_object(Bucket=fhirlake_bucket, Key=key, Body=body, **more)
    return one


def test_what_is_put_is_what_is_read(fhirlake_s3, fhirlake_bucket, put):
    body = os.urandom(70_000)
    tag = put("a/b c+ü=%.bin", body, ContentType="application/x-test", Metadata={"who": "me"}, ContentEncoding="gzip",
              ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/any")["ETag"]
    got = fhirlake_s3.get_object(Bucket=fhirlake_bucket, Key="a/b c+ü=%.bin")
    assert got["Body"].read() == body and got["ETag"] == tag and got["ContentLength"] == len(body)
    assert (got["ContentType"], got["Metadata"], got["ContentEncoding"]) == ("application/x-test", {"who": "me"}, "gzip")
    assert got["SSEKMSKeyId"] == "alias/any"
    assert put("a/b c+ü=%.bin", body)["ETag"] != tag
    assert fhirlake_s3.head_object(Bucket=fhirlake_bucket, Key="a/b c+ü=%.bin")["Metadata"] == {}
    put("empty", b"")
    assert fhirlake_s3.get_object(Bucket=fhirlake_bucket, Key="empty")["Body"].read() == b""


def test_the_programs_objects_and_those_of_s3_are_the_same(fhirlake_server, fhirlake_s3, fhirlake_bucket, fhirlake_datastore, put):
    """Put by boto3, imported by a job; exported by a job, read by boto3."""
    put("in/patients.ndjson", b"".join(json.dumps({"resourceType": "Patient", "id": str(i)}).encode() + b"\n" for i in range(5)))
    client = fhirlake_server.client()
    role, key = "arn:aws:iam::000000000000:role/any", "alias/any"
    job = client.start_fhir_import_job(
        DatastoreId=fhirlake_datastore, DataAccessRoleArn=role, InputDataConfig={"S3Uri": f"s3://{fhirlake_bucket}/in/"},
        JobOutputDataConfig={"S3Configuration": {"S3Uri": f"s3://{fhirlake_bucket}/out", "KmsKeyId": key}})["JobId"]
    waiter = client.get_waiter("fhir_import_job_completed")
    waiter.config.delay = 0.1
    waiter.wait(DatastoreId=fhirlake_datastore, JobId=job)
    found = fhirlake_server.export(fhirlake_datastore, f"s3://{fhirlake_bucket}/export")
    assert sorted(r["id"] for r in found["Patient"]) == list("01234")
    names = [o["Key"] for o in fhirlake_s3.list_objects_v2(Bucket=fhirlake_bucket, Prefix="export/")["Contents"]]
    assert sum(n.endswith("manifest.json") for n in names) == 1


def test_an_object_in_parts_and_a_range_of_it(fhirlake_s3, fhirlake_bucket, tmp_path):
    body = os.urandom(9 << 20)  # boto3 sends more than 8 MiB in parts
    fhirlake_s3.upload_fileobj(io.BytesIO(body), fhirlake_bucket, "large", ExtraArgs={"ContentType": "text/plain"})
    fhirlake_s3.download_file(fhirlake_bucket, "large", str(tmp_path / "large"))
    assert (tmp_path / "large").read_bytes() == body
    got = fhirlake_s3.get_object(Bucket=fhirlake_bucket, Key="large", Range="bytes=8388600-8388615")
    assert got["Body"].read() == body[8388600:8388616] and got["ContentRange"] == f"bytes 8388600-8388615/{len(body)}"
    assert fhirlake_s3.get_object(Bucket=fhirlake_bucket, Key="large", Range="bytes=-5")["Body"].read() == body[-5:]
    assert got["ContentType"] == "text/plain"
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        fhirlake_s3.get_object(Bucket=fhirlake_bucket, Key="large", Range=f"bytes={len(body)}-")
    assert code(refused) == ("InvalidRange", 416)
    fhirlake_s3.copy({"Bucket": fhirlake_bucket, "Key": "large"}, fhirlake_bucket, "copy/ä b")
    assert fhirlake_s3.get_object(Bucket=fhirlake_bucket, Key="copy/ä b")["Body"].read() == body
    fhirlake_s3.copy_object(Bucket=fhirlake_bucket, Key="second", CopySource={"Bucket": fhirlake_bucket, "Key": "large"})
    got = fhirlake_s3.head_object(Bucket=fhirlake_bucket, Key="second")
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        fhirlake_s3.copy_object(Bucket=fhirlake_bucket, Key="third", CopySource={"Bucket": fhirlake_bucket, "Key": "large"}, CopySourceIfMatch='"x"')
    assert code(refused) == ("PreconditionFailed", 412)
    assert (got["ContentLength"], got["ContentType"]) == (9 << 20, "text/plain")


def test_parts_that_are_not_there_or_out_of_order_make_no_object(fhirlake_s3, fhirlake_bucket):
    where = {"Bucket": fhirlake_bucket, "Key": "k"}
    upload = fhirlake_s3.create_multipart_upload(**where)["UploadId"]
    tags = [{"PartNumber": n, "ETag": fhirlake_s3.upload_part(**where, UploadId=upload, PartNumber=n, Body=b"p")["ETag"]} for n in (1, 2)]
    for parts, wanted in ((tags[::-1], "InvalidPartOrder"), (tags + [{"PartNumber": 3, "ETag": '"x"'}], "InvalidPart")):
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            fhirlake_s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
        assert code(refused) == (wanted, 400)
    fhirlake_s3.abort_multipart_upload(**where, UploadId=upload)
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        fhirlake_s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"p")
    assert code(refused) == ("NoSuchUpload", 404)
    assert "Contents" not in fhirlake_s3.list_objects_v2(Bucket=fhirlake_bucket)


def test_lists_come_in_pages_in_the_order_of_bytes(fhirlake_s3, fhirlake_bucket, put):
    names = ["a", "a b", "a/1", "a/2", "a0", "b/x/1", "b/x/2", "b/y", "ä", "z&<>"]
    for name in [n for n in names if n != "a"]:  # "a" is the folder of a/1 here
        put(name)
    names = sorted((n for n in names if n != "a"), key=str.encode)
    pages = fhirlake_s3.get_paginator("list_objects_v2")
    for size in (1, 2, 1000):
        got = list(pages.paginate(Bucket=fhirlake_bucket, PaginationConfig={"PageSize": size}))
        assert [o["Key"] for p in got for o in p.get("Contents", [])] == names
    for size in (1, 2, 1000):
        got = list(pages.paginate(Bucket=fhirlake_bucket, Delimiter="/", PaginationConfig={"PageSize": size}))
        assert [p["Prefix"] for page in got for p in page.get("CommonPrefixes", [])] == ["a/", "b/"]
        assert [o["Key"] for p in got for o in p.get("Contents", [])] == [n for n in names if "/" not in n]
    got = fhirlake_s3.list_objects_v2(Bucket=fhirlake_bucket, Prefix="b/", Delimiter="/", StartAfter="b/x/1")
    assert [o["Key"] for o in got["Contents"]] == ["b/y"] and [p["Prefix"] for p in got["CommonPrefixes"]] == ["b/x/"]
    old = [o["Key"] for p in fhirlake_s3.get_paginator("list_objects").paginate(Bucket=fhirlake_bucket, PaginationConfig={"PageSize": 3})
           for o in p["Contents"]]
    assert old == names


def test_what_is_deleted_is_gone_and_its_folders_too(fhirlake_server, fhirlake_s3, fhirlake_bucket, put):
    for name in ("d/e/1", "d/e/2", "d/3"):
        put(name)
    fhirlake_s3.delete_object(Bucket=fhirlake_bucket, Key="d/e/1")
    told = fhirlake_s3.delete_objects(Bucket=fhirlake_bucket, Delete={"Objects": [{"Key": "d/e/2"}, {"Key": "d/3"}, {"Key": "never"}, {"Key": "../x"}]})
    assert sorted(d["Key"] for d in told["Deleted"]) == ["d/3", "d/e/2", "never"] and told["Errors"][0]["Key"] == "../x"
    assert list((fhirlake_server.objects / fhirlake_bucket).iterdir()) == []
    fhirlake_s3.delete_bucket(Bucket=fhirlake_bucket)
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        fhirlake_s3.put_object(Bucket=fhirlake_bucket, Key="x", Body=b"")
    assert code(refused) == ("NoSuchBucket", 404)


def test_only_a_new_object_and_only_the_same_one(fhirlake_s3, fhirlake_bucket, put):
    tag = put("lock", b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        put("lock", b"2", IfNoneMatch="*")
    assert code(refused) == ("PreconditionFailed", 412)
    assert fhirlake_s3.get_object(Bucket=fhirlake_bucket, Key="lock", IfMatch=tag)["Body"].read() == b"1"
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        put("lock", b"2", IfMatch=tag)
    assert code(refused) == ("NotImplemented", 501)


@pytest.mark.parametrize("key", ["../out", "a/../../out", "a//b", "./a", "folder/", "a" * 256, ".fhirlake-tmp-1", "x/" * 600 + "y"])
def test_a_key_that_the_directory_cannot_hold_is_refused(fhirlake_server, put, key):
    before = sorted(fhirlake_server.objects.parent.rglob("*"))
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        put(key)
    assert code(refused)[1] == 400
    assert [p for p in sorted(fhirlake_server.objects.parent.rglob("*")) if p not in before and p.name in ("out", "b", "y", "folder")] == []


def test_an_object_and_a_folder_of_one_name_are_refused(fhirlake_s3, fhirlake_bucket, put):
    put("a/b")
    put("c")
    for key in ("a", "c/d"):
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            put(key)
        assert code(refused) == ("InvalidRequest", 409)
    assert sorted(o["Key"] for o in fhirlake_s3.list_objects_v2(Bucket=fhirlake_bucket)["Contents"]) == ["a/b", "c"]


def test_no_link_leads_out_of_a_bucket(fhirlake_server, fhirlake_s3, fhirlake_bucket, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (fhirlake_server.objects / fhirlake_bucket / "link").symlink_to(tmp_path)
    (fhirlake_server.objects / fhirlake_bucket / "file").symlink_to(tmp_path / "secret")
    for key in ("link/secret", "file"):
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            fhirlake_s3.get_object(Bucket=fhirlake_bucket, Key=key)
        assert code(refused) == ("AccessDenied", 403)
    assert "Contents" not in fhirlake_s3.list_objects_v2(Bucket=fhirlake_bucket)


def test_what_is_not_done_is_refused_by_its_name(fhirlake_s3, fhirlake_bucket, put):
    put("x")
    where = {"Bucket": fhirlake_bucket}
    for call, name in [
        (lambda: fhirlake_s3.get_bucket_acl(**where), "?acl"),
        (lambda: fhirlake_s3.put_bucket_versioning(**where, VersioningConfiguration={"Status": "Enabled"}), "?versioning"),
        (lambda: fhirlake_s3.get_object(**where, Key="x", VersionId="1"), "?versionId"),
        (lambda: put("y", ACL="public-read"), "x-amz-acl"),
        (lambda: put("y", Tagging="a=b"), "x-amz-tagging"),
        (lambda: put("y", ExpectedBucketOwner="000000000000"), "x-amz-expected-bucket-owner"),
        (lambda: fhirlake_s3.list_multipart_uploads(**where), "?uploads"),
    ]:
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            call()
        assert code(refused) == ("NotImplemented", 501) and name in str(refused.value)
    assert [o["Key"] for o in fhirlake_s3.list_objects_v2(**where)["Contents"]] == ["x"]


# ---- who may ask ----

def other(server, key=None, secret=None, **more):
    mine = server.keys
    return boto3.client("s3", endpoint_url=server.environ()["AWS_ENDPOINT_URL_S3"], region_name=more.pop("region", "us-east-1"),
                        aws_access_key_id=key or mine[0], aws_secret_access_key=secret or mine[1],
                        config=botocore.config.Config(proxies={}, retries={"total_max_attempts": 1}, **more))


@pytest.mark.parametrize("who, wanted", [
    ({"secret": "wrong"}, ("SignatureDoesNotMatch", 403)), ({"key": "AKIAOTHER"}, ("InvalidAccessKeyId", 403)),
    ({"region": "eu-west-1"}, ("AuthorizationHeaderMalformed", 400)), ({"signature_version": botocore.UNSIGNED}, ("AccessDenied", 403))])
def test_who_has_other_keys_gets_nothing(fhirlake_server, fhirlake_bucket, put, who, wanted):
    put("x", b"secret")
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        other(fhirlake_server, **who).get_object(Bucket=fhirlake_bucket, Key="x")
    assert code(refused) == wanted
    with pytest.raises(botocore.exceptions.ClientError):
        other(fhirlake_server, **who).put_object(Bucket=fhirlake_bucket, Key="y", Body=b"")
    assert not (fhirlake_server.objects / fhirlake_bucket / "y").exists()


def test_a_presigned_url_is_good_for_its_call_and_its_time_alone(fhirlake_server, fhirlake_bucket, put):
    put("p/x", b"content")
    signer = other(fhirlake_server, signature_version="s3v4")

    def ask(url, method="GET"):
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(urllib.request.Request(url, method=method)) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read()

    url = signer.generate_presigned_url("get_object", {"Bucket": fhirlake_bucket, "Key": "p/x"}, ExpiresIn=600)
    assert ask(url) == (200, b"content")
    assert ask(url, "DELETE")[0] == 403 and ask(url.replace("p/x", "p/y"))[0] == 403
    assert ask(url.replace("X-Amz-Expires=600", "X-Amz-Expires=999999"))[0] == 403
    past = signer.generate_presigned_url("get_object", {"Bucket": fhirlake_bucket, "Key": "p/x"}, ExpiresIn=-1)
    assert ask(past)[0] == 403


def raw(server, method, path, body=b"", **headers):
    """A signed request as no client of boto3 sends it."""
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    url = server.environ()["AWS_ENDPOINT_URL_S3"] + path
    request = botocore.awsrequest.AWSRequest(method, url, {k.replace("_", "-"): v for k, v in headers.items()}, body)
    if "x_amz_trailer" in headers:  # as SDKs do it: what is signed is that there is a digest behind the body
        request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
    signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(*server.keys), "s3", server.region)
    signer.add_auth(request)
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request(method, path, body, dict(request.headers.items()))
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.mark.parametrize("headers, wanted", [
    ({"x_amz_checksum_crc32": "AAAAAA=="}, "BadDigest"), ({"Content_MD5": base64.b64encode(b"0" * 16).decode()}, "BadDigest"),
    ({"x_amz_checksum_sha256": base64.b64encode(b"0" * 32).decode()}, "BadDigest"),
    ({"x_amz_checksum_crc32c": "AAAAAA=="}, "NotImplemented"), ({"x_amz_trailer": "x-amz-checksum-crc64nvme"}, "NotImplemented"),
    ({"x_amz_website_redirect_location": "/"}, "NotImplemented")])
def test_a_body_that_is_not_what_its_digest_says_makes_no_object(fhirlake_server, fhirlake_bucket, headers, wanted):
    status, text = raw(fhirlake_server, "PUT", f"/{fhirlake_bucket}/x", b"body", **headers)
    assert (status, f"<Code>{wanted}</Code>" in text) == (501 if wanted == "NotImplemented" else 400, True)
    assert list((fhirlake_server.objects / fhirlake_bucket).iterdir()) == []


def test_a_body_in_aws_chunks_with_its_digest_behind_it(fhirlake_server, fhirlake_s3, fhirlake_bucket):
    """As SDKs send a stream: Go's, and boto3's over TLS."""
    body = os.urandom(300_000)
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big"))
    pieces = [body[i:i + 65536] for i in range(0, len(body), 65536)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
    head = {"Content_Encoding": "aws-chunked", "x_amz_decoded_content_length": str(len(body)), "x_amz_trailer": "x-amz-checksum-crc32"}
    sent = chunks + b"0\r\nx-amz-checksum-crc32:" + crc + b"\r\n\r\n"
    assert raw(fhirlake_server, "PUT", f"/{fhirlake_bucket}/x", sent, **head)[0] == 200
    got = fhirlake_s3.get_object(Bucket=fhirlake_bucket, Key="x")
    assert hashlib.sha256(got["Body"].read()).digest() == hashlib.sha256(body).digest() and "ContentEncoding" not in got
    for broken, wanted in ((chunks + b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "BadDigest"), (chunks + b"0\r\n\r\n", "BadDigest"),
                           (chunks[:-9], "IncompleteBody"), (b"zz\r\n", "InvalidRequest")):
        status, text = raw(fhirlake_server, "PUT", f"/{fhirlake_bucket}/y", broken, **head)
        assert status == 400 and f"<Code>{wanted}</Code>" in text
    assert [p.name for p in (fhirlake_server.objects / fhirlake_bucket).iterdir()] == ["x"]
