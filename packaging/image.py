#!/usr/bin/env python3
"""Packs an OCI image out of nothing but the program, its libraries and the authorities of TLS.

    python3 packaging/image.py --program build/fhirlake --out dist        prints the path of the archive

No Docker and no base image: two layers, a configuration and a manifest are written here, into one tar that is an OCI layout
(`index.json`) and an archive of Docker's (`manifest.json`) at once, over the same blobs. It compiles nothing. The program
loses its symbols; libraries are copied as they stand, each with its licence. The same files make the same bytes: the time in
them is SOURCE_DATE_EPOCH, or that of the last commit.
Source: OCI image specification 1.0 (image-layout, config, layer); Docker image specification 1.2 (Healthcheck, which the
OCI's does not know).
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
from libraries import Program, Refused, said  # noqa: E402
from wheel_builder import version as version_of  # noqa: E402

ARCHITECTURES = {"x86_64": {"architecture": "amd64", "os": "linux"}, "aarch64": {"architecture": "arm64", "os": "linux", "variant": "v8"}}
USER = 65532
MOST = 50_000_000  # bytes, packed
AUTHORITIES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
ENVIRONMENT = {"FHIRLAKE_DATA": "/data", "FHIRLAKE_LISTEN": "0.0.0.0:8080", "FHIRLAKE_HEALTH_LISTEN": "127.0.0.1:9464"}
TEXTS = {"etc/passwd": f"root:x:0:0:root:/:/sbin/nologin\nfhirlake:x:{USER}:{USER}:fhirlake:/data:/sbin/nologin\n",
         "etc/group": f"root:x:0:\nfhirlake:x:{USER}:\n",
         "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n"}
# What a runtime mounts over, and where the program writes. The root may be read-only: nothing else is written to
FOLDERS = {"data": (0o700, USER), "dev": (0o755, 0), "proc": (0o555, 0), "run": (0o755, 0), "sys": (0o555, 0), "tmp": (0o1777, 0)}
SECOND = 1_000_000_000  # Docker counts in nanoseconds


def loaded(program):
    """{path in the image: file here} of all that the program loads, glibc and its loader too."""
    folder = f"usr/lib/{program.machine()}-linux-gnu/"  # where that glibc's loader looks
    found = {folder + name: file for name, file in program.libraries().items()}
    return {program.loader().lstrip("/"): program.here(program.loader()), **found}


def when():
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return int(os.environ["SOURCE_DATE_EPOCH"])
    done = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 0


def add(tar, name, at, data=None, mode=0o644, owner=0):
    info = tarfile.TarInfo(name)
    info.type = tarfile.REGTYPE if data is not None else tarfile.DIRTYPE
    info.size = len(data or b"")
    info.mode, info.uid, info.gid, info.mtime = mode, owner, owner, at
    tar.addfile(info, io.BytesIO(data) if data is not None else None)


def layer(files, folders, at, level):
    """(digest of the tar, the tar packed). files: {name: (bytes, mode)}; folders: {name: (mode, owner)}"""
    body = io.BytesIO()
    parents = {str(p): (0o755, 0) for name in files for p in pathlib.PurePath(name).parents if str(p) != "."}
    with tarfile.open(fileobj=body, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (mode, owner) in sorted({**parents, **folders}.items()):
            add(tar, name, at, mode=mode, owner=owner)
        for name, (data, mode) in sorted(files.items()):
            add(tar, name, at, data, mode)
    return "sha256:" + hashlib.sha256(body.getvalue()).hexdigest(), gzip.compress(body.getvalue(), level, mtime=0)


def stripped(program):
    with tempfile.TemporaryDirectory(prefix="fhirlake-image-") as stage:
        copy = pathlib.Path(stage, "fhirlake")
        said(program.tool("strip"), "-o", copy, program.file)
        return copy.read_bytes()


def described(media_type, data, **more):
    return {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data), **more}


def told(value):
    return json.dumps(value, separators=(",", ":")).encode()


def configuration(layers, at, platform, version):
    instant = subprocess.run(["date", "-u", "-d", f"@{at}", "+%Y-%m-%dT%H:%M:%SZ"], capture_output=True, text=True,
                             check=True).stdout.strip()
    return {
        "created": instant, **platform,
        "config": {
            "User": f"{USER}:{USER}", "ExposedPorts": {"8080/tcp": {}}, "Env": [
                "PATH=/usr/bin", *[f"{k}={v}" for k, v in ENVIRONMENT.items()]],
            "Entrypoint": ["/usr/bin/fhirlake"], "Cmd": ["serve"], "Volumes": {"/data": {}}, "WorkingDir": "/data",
            "StopSignal": "SIGTERM",
            "Healthcheck": {"Test": ["CMD", "/usr/bin/fhirlake", "health"], "Interval": 10 * SECOND, "Timeout": 5 * SECOND,
                            "StartPeriod": 60 * SECOND, "Retries": 3},
            "Labels": {"org.opencontainers.image.title": "fhirlake", "org.opencontainers.image.version": version,
                       "org.opencontainers.image.description": "FHIR R4 data store that speaks Amazon HealthLake's API",
                       "org.opencontainers.image.created": instant}},
        "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in layers]},
        "history": [{"created": instant, "created_by": f"packaging/image.py: {what}"} for what in ("libraries", "program")]}


def build(file, out, level, root=None):
    program, out = Program(file, root), pathlib.Path(out)
    platform = ARCHITECTURES[program.machine()]
    if not AUTHORITIES.is_file():
        raise Refused(f"there is no {AUTHORITIES} (ca-certificates)")
    at, version = when(), version_of()
    found = loaded(program)
    below = {name: (file.read_bytes(), 0o755) for name, file in found.items()}
    below |= {name: (text.encode(), 0o644) for name, text in TEXTS.items()}
    below["etc/ssl/certs/ca-certificates.crt"] = (AUTHORITIES.read_bytes(), 0o644)
    licences = program.licences(found.values())
    licences["ca-certificates"] = pathlib.Path("/usr/share/doc/ca-certificates/copyright").read_bytes()
    below |= {f"usr/share/doc/{name}/copyright": (text, 0o644) for name, text in licences.items()}
    above = {"usr/bin/fhirlake": (stripped(program), 0o755),
             "usr/share/doc/fhirlake/copyright": ((ROOT / "LICENSE").read_bytes(), 0o644)}
    layers = [layer(below, FOLDERS, at, level), layer(above, {}, at, level)]

    config = told(configuration(layers, at, platform, version))
    manifest = told({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                     "config": described("application/vnd.oci.image.config.v1+json", config),
                     "layers": [described("application/vnd.oci.image.layer.v1.tar+gzip", data) for _, data in layers]})
    blobs = {f"blobs/sha256/{hashlib.sha256(data).hexdigest()}": data for data in (config, manifest, *[d for _, d in layers])}
    name = f"localhost/fhirlake:{version}"
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        described("application/vnd.oci.image.manifest.v1+json", manifest, platform=platform,
                  annotations={"org.opencontainers.image.ref.name": version, "io.containerd.image.name": name})]}
    paths = list(blobs)
    docker = [{"Config": paths[0], "RepoTags": [name], "Layers": paths[2:]}]
    files = {"oci-layout": told({"imageLayoutVersion": "1.0.0"}), "index.json": told(index), "manifest.json": told(docker), **blobs}
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in ("blobs", "blobs/sha256"):
            add(tar, folder, at, mode=0o755)
        for path, data in files.items():
            add(tar, path, at, data)
    if body.tell() > MOST:
        raise Refused(f"the image has {body.tell()} bytes, more than {MOST}")
    out.mkdir(parents=True, exist_ok=True)
    archive = out / f"fhirlake-{version}-{platform['architecture']}-oci.tar"
    new = archive.with_suffix(".new")
    new.write_bytes(body.getvalue())
    new.replace(archive)
    return archive


def main():
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("--program", required=True, metavar="FILE", help="the compiled program")
    asked.add_argument("--out", required=True, metavar="DIR", help="where the archive goes")
    asked.add_argument("--level", type=int, default=9, metavar="N", help="of gzip, 1 to 9 [9]")
    asked.add_argument("--root", metavar="DIR", help="the program is for another architecture, whose libraries are here")
    o = asked.parse_args()
    try:
        print(build(o.program, o.out, o.level, o.root))
    except Refused as why:
        sys.exit(f"image.py: {why}")


if __name__ == "__main__":
    main()
