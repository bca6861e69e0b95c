#!/usr/bin/env bash
# deb.sh - packs a Debian package of the release that this machine runs, around a program that is compiled.
#
#     packaging/deb.sh PROGRAM OUT_DIR        prints the path of the package
#
# It compiles nothing. debhelper does what a package needs; packaging/debian/ says what is in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { printf 'deb.sh: %s\n' "$*" >&2; exit 1; }

[ $# = 2 ] || die "usage: packaging/deb.sh PROGRAM OUT_DIR"
program=$(realpath "$1") out=$2
[ -f "$program" ] || die "there is no program at $1"
for tool in dpkg-buildpackage dh readelf python3; do
    command -v $tool >/dev/null || die "needs $tool, which is not here (./dev package installs it)"
done
! readelf -d "$program" | grep -E 'RPATH|RUNPATH' >&2 || die "$1 looks for libraries where a package has none"
# shellcheck disable=SC1091
release=$(. /etc/os-release && echo "$ID$VERSION_ID" | sed 's/^debian/deb/; s/[^a-z0-9.]//g')
version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" meson.build)+$release

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/fhirlake/built" "$out"
cp -r packaging/debian README.md SECURITY.md "$stage/fhirlake/"
cp "$program" "$stage/fhirlake/built/fhirlake"
cp packaging/fhirlake.conf "$stage/fhirlake/built/"
python3 packaging/manual.py --program "$program" --out "$stage/fhirlake/built"
mkdir "$stage/fhirlake/built/completions"
mv "$stage/fhirlake/built/fhirlake.bash" "$stage/fhirlake/built/completions/fhirlake"
cat >"$stage/fhirlake/debian/changelog" <<END
fhirlake ($version) unstable; urgency=medium

  * What is new: /usr/share/doc/fhirlake/NEWS.md.gz

 -- $(sed -n 's/^Maintainer: //p' packaging/debian/control)  $(date -u -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}" '+%a, %d %b %Y %H:%M:%S +0000')
END
cp CHANGELOG.md "$stage/fhirlake/NEWS.md"
(cd "$stage/fhirlake" && dpkg-buildpackage --build=binary --unsigned-changes --unsigned-buildinfo --no-check-builddeps >../log 2>&1) ||
    { tail -n 30 "$stage/log" >&2; die "dpkg-buildpackage failed"; }
mv "$stage"/*.deb "$out/"
echo "$out/fhirlake_${version}_$(dpkg --print-architecture).deb"
