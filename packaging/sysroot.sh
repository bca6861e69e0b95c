#!/usr/bin/env bash
# sysroot.sh - the libraries of this Debian release for another architecture, to compile and link against.
#
#     packaging/sysroot.sh ARCHITECTURE FOLDER PACKAGE...        (arm64)
#
# apt works out what the packages need, for a machine of that architecture that has nothing; they are unpacked, not
# installed, so this machine's own packages and architectures stay as they are, and no right of root is needed. What stands
# in FOLDER already and was made of the same versions stays. It writes FOLDER/var/lib/dpkg/info/*.list, by which
# python/libraries.py finds the package of a file.
set -euo pipefail

die() { printf 'sysroot.sh: %s\n' "$*" >&2; exit 1; }

[ $# -ge 3 ] || die "usage: packaging/sysroot.sh ARCHITECTURE FOLDER PACKAGE..."
architecture=$1 root=$2
shift 2
for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null || die "needs $tool: it is made of Debian's packages"
done
# shellcheck disable=SC1091
suite=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") ||
    die "is for Debian: Ubuntu keeps packages of other architectures elsewhere"
key=/usr/share/keyrings/debian-archive-keyring.gpg
sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null || true)
uri_of() { grep -v '^ *#' <<<"$sources" | grep -oE "https?://[^ ]+/$1/?( |\$)" | head -n 1 | tr -d ' ' || true; }
main=$(uri_of debian) security=$(uri_of debian-security)
[ -n "$main" ] || die "apt's sources of this machine name no archive of Debian"

mkdir -p "$root"
root=$(realpath "$root")
apt=$root.apt
mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/archives/partial" "$apt/state"
: >"$apt/status"
{
    printf 'deb [signed-by=%s] %s %s main\n' "$key" "$main" "$suite"
    printf 'deb [signed-by=%s] %s %s-updates main\n' "$key" "$main" "$suite"
    [ -z "$security" ] || printf 'deb [signed-by=%s] %s %s-security main\n' "$key" "$security" "$suite"
} >"$apt/parts/all.list"
cat >"$apt/apt.conf" <<END
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/parts";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$apt/state";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
Acquire::Languages "none";
END
export APT_CONFIG=$apt/apt.conf
apt-get update -qq || die "apt cannot read the lists of $architecture: its own words above say why"
lacking=()
for package in "$@"; do
    apt-cache show "$package" >/dev/null 2>&1 || lacking+=("$package")
done
[ ${#lacking[@]} = 0 ] || die "not packaged for $architecture in $suite: ${lacking[*]}"
apt-get install -y -qq --download-only "$@" >"$apt/log" 2>&1 || { tail -n 20 "$apt/log" >&2; die "apt cannot get what is needed for $architecture"; }
# the files of these versions: what an earlier call fetched is there, too
wanted=$(apt-get install -s -qq "$@" | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*\[\([a-z0-9]*\)\]).*/\1_\2_\3.deb/p' | sed 's/:/%3a/g' | sort)
[ -n "$wanted" ] || die "apt does not say what it would install"
if [ "$(cat "$root/.made-of" 2>/dev/null)" = "$wanted" ]; then exit 0; fi
rm -rf "$root"
mkdir -p "$root/var/lib/dpkg/info"
for deb in $wanted; do
    dpkg-deb -x "$apt/archives/$deb" "$root"
    name=${deb%%_*}
    dpkg-deb --fsys-tarfile "$apt/archives/$deb" | tar -t | sed 's|^\./|/|; s|/$||' >"$root/var/lib/dpkg/info/$name.list"
done
# where /lib is a link (Debian 13), it is none of these packages that brings it
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
# links of packages lead to this machine's root: made to lead within the folder
find "$root" -type l -lname '/*' | while read -r link; do
    ln -snf "$(realpath -m --relative-to="$(dirname "$link")" "$root$(readlink "$link")")" "$link"
done
printf '%s' "$wanted" >"$root/.made-of"
