#!/usr/bin/env bash
# fresh.sh - what the README tells a new user to type, on a Debian that never saw this project: ./dev fresh calls it.
#
# For each release debootstrap makes a root in a temporary folder, from the archive that this machine's own apt uses. The
# work tree's tracked files (edits too, build outputs not) are put into it alone, with nothing beside them, and
# `./dev demo` and `./dev test` run there. What this machine needs to reach the archive and PyPI goes with them: the resolver,
# apt's proxy, credentials and certificates, pip's settings.
#
# Mounts and processes of a root live in namespaces of their own and end with them, however this ends: nothing
# is left to unmount before the folder is removed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

HOME_OF_USER=/home/"user"
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() { printf 'dev fresh: %s\n' "$*" >&2; exit 1; }

usage() {
    cat <<'TEXT'
Usage: ./dev fresh [12|13] [OPTION...]     (as root; without a release: 12, then 13)

  --only COMMAND   run ./dev COMMAND instead of demo and test; may be repeated: --only 'test --quick'
  --user           run them as a user who may use sudo, not as root
  --mirror URI     the Debian archive; without it, the one in this machine's apt sources
  --keep           leave the root where it is, and say where

About 4 GB in /var/tmp (or TMPDIR) and, on 2 cores, half an hour for each release.
TEXT
}

codename_of() {
    case $1 in
    12) echo bookworm ;;
    13) echo trixie ;;
    *) die "no release $1 here: 12 or 13" ;;
    esac
}

# the first archive whose URI ends so, of this machine's apt sources
archive() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
        grep -v '^ *#' | grep -oE "https?://[^ ]+/$1/?( |\$)" | head -n 1 | tr -d ' ' || true
}

# ---- in the namespaces, as their first process ----

# on a terminal the last line of standard input, rewritten; elsewhere nothing
ticker() {
    local line
    while IFS= read -r line; do
        [ -t 2 ] && printf '\r\033[K    %.70s' "$line" >&2
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
}

# logged WHAT COMMAND...: its output into the log, and on the screen only if it fails
logged() {
    local what=$1 began=$SECONDS; shift
    say "$what"
    "$@" 2>&1 | tee -a "$ROOT.log" | ticker || { tail -n 30 "$ROOT.log" >&2; die "failed: $what"; }
    printf '    %d s\n' $((SECONDS - began)) >&2
}

# the tracked files as they stand in the work tree
copy_project() {
    mkdir -p "$ROOT/srv/fhirlake"
    git ls-files -z | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
        tar -c --null -T - | tar -x -C "$ROOT/srv/fhirlake" --no-same-owner
}

# how this machine reaches apt's archives and PyPI
copy_network() {
    cp -L /etc/resolv.conf /etc/hosts "$ROOT/etc/"
    if [ -d /usr/local/share/ca-certificates ]; then
        cp -rL /usr/local/share/ca-certificates "$ROOT/usr/local/share/"
        [ ! -x "$ROOT/usr/sbin/update-ca-certificates" ] || chroot "$ROOT" update-ca-certificates >/dev/null 2>&1
    fi
    apt-config dump | grep -E '^Acquire::(http|https|Retries|Check-)' >"$ROOT/etc/apt/apt.conf.d/00machine" || true
    cp -a /etc/apt/auth.conf "$ROOT/etc/apt/" 2>/dev/null || true
    cp -a /etc/apt/auth.conf.d "$ROOT/etc/apt/" 2>/dev/null || true
    local f
    for f in /etc/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf "${PIP_CONFIG_FILE:-}"; do
        [ ! -f "$f" ] || cat "$f" >>"$ROOT/etc/pip.conf"
    done
    # certificates of a place of their own; those of ca-certificates come with that package
    case ${PIP_CERT:-} in
    '' | /etc/ssl/certs/*) ;;
    *) install -D -m 644 "$PIP_CERT" "$ROOT$PIP_CERT" ;;
    esac
}

add_user() {
    # shellcheck disable=SC2016
    in_root sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends sudo &&
        useradd -m -s /bin/bash user && echo "user ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/user &&
        chown -R user:user /srv/fhirlake'
}

in_root() { chroot "$ROOT" env -i "${ENVIRONMENT[@]}" HOME=/root "$@"; }

as_user() {
    chroot "$ROOT" setpriv --reuid=user --regid=user --init-groups env -i "${ENVIRONMENT[@]}" HOME="$HOME_OF_USER" "$@"
}

inside() { # RELEASE RUNNER COMMAND...
    local release=$1 runner=$2 code began security status; shift 2
    code=$(codename_of "$release")
    security=$(archive debian-security)
    ENVIRONMENT=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "TERM=${TERM:-dumb}")
    local name
    for name in $(compgen -e); do
        case $name in
        PIP_CONFIG_FILE) ;; # its text is in the root's own
        PIP_FIND_LINKS) [[ ${!name} != *://* ]] || ENVIRONMENT+=("$name=${!name}") ;; # a folder of this machine is not there
        PIP_* | http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY) ENVIRONMENT+=("$name=${!name}") ;;
        esac
    done
    local include=()
    [[ $MIRROR != https:* ]] || include=(--include=ca-certificates)

    logged "Debian $release: a new root" debootstrap --variant=minbase "${include[@]}" \
        --keyring="$KEYRING" "$code" "$ROOT" "$MIRROR"
    {
        echo "deb $MIRROR $code main"
        echo "deb $MIRROR $code-updates main"
        [ -z "$security" ] || echo "deb $security $code-security main"
    } >"$ROOT/etc/apt/sources.list"
    mount --rbind /dev "$ROOT/dev"
    mount --rbind /sys "$ROOT/sys"
    mount -t proc proc "$ROOT/proc"
    copy_network
    copy_project
    [ "$runner" = in_root ] || logged "Debian $release: a user with sudo" add_user

    local summary=() command failed=0
    for command in "$@"; do
        say "Debian $release: ./dev $command"
        began=$SECONDS
        # shellcheck disable=SC2086
        "$runner" bash -c 'cd /srv/fhirlake && exec ./dev "$@"' - $command 2>&1 | tee "$ROOT.out" && status=ok || { status=FAILED; failed=1; }
        summary+=("$(printf 'Debian %s: ./dev %s: %s after %d min %d s%s' "$release" "$command" "$status" \
            $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) "$(sed -n 's/^[0-9]* passed, [0-9]* failed, .*/: &/p' "$ROOT.out")")")
    done
    printf '\n'
    printf '%s\n' "${summary[@]}"
    return $failed
}

# ---- outside ----

# of this process and what it started: nothing stays but, with --keep, the roots
finish() {
    if [ -n "$CHILD" ]; then # unshare: with it goes the first process of its namespace, and so all in it
        kill -KILL "$CHILD" 2>/dev/null || true
        wait "$CHILD" 2>/dev/null || true
    fi
    if [ -n "$KEEP" ]; then say "kept: $DIR"; else rm -rf --one-file-system "$DIR"; fi
}

main() {
    if [ "${1:-}" = --inside ]; then
        MIRROR=$2 ROOT=$3
        shift 3
        inside "$@"
        return
    fi
    local releases=() commands=() runner=in_root release bad=0
    MIRROR='' KEEP='' CHILD=''
    while [ $# -gt 0 ]; do
        case $1 in
        --only | --mirror) [ $# -gt 1 ] || die "$1 needs a value" ;;&
        --only) commands+=("$2"); shift ;;
        --mirror) MIRROR=$2; shift ;;
        --user) runner=as_user ;;
        --keep) KEEP=1 ;;
        -h | --help) usage; return ;;
        -*) usage >&2; return 2 ;;
        *) codename_of "$1" >/dev/null; releases+=("$1") ;;
        esac
        shift
    done
    [ ${#releases[@]} != 0 ] || releases=(12 13)
    [ ${#commands[@]} != 0 ] || commands=(demo test)
    [ "$(id -u)" = 0 ] || die "needs root, for debootstrap, mounts and chroot: sudo ./dev fresh"
    command -v apt-get >/dev/null || die "needs apt, for debootstrap and the archive's address"
    [ -n "$MIRROR" ] || MIRROR=$(archive debian)
    [ -n "$MIRROR" ] || die "this machine's apt sources name no Debian archive: give --mirror URI"
    if ! command -v debootstrap >/dev/null || [ ! -f "$KEYRING" ]; then
        say "installing debootstrap"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap debian-archive-keyring >/dev/null
    fi
    unshare --mount --pid --fork true 2>/dev/null ||
        die "this machine allows no new mount and process namespaces (a container needs to be privileged)"

    DIR=$(mktemp -d "${TMPDIR:-/var/tmp}/fhirlake-fresh.XXXXXX")
    trap finish EXIT
    trap 'exit 130' INT TERM HUP
    for release in "${releases[@]}"; do
        unshare --mount --pid --fork --kill-child --mount-proc \
            bash "$PWD/tools/fresh.sh" --inside "$MIRROR" "$DIR/$release" "$release" "$runner" "${commands[@]}" &
        CHILD=$!
        wait "$CHILD" || bad=1
        CHILD=''
        [ -n "$KEEP" ] || rm -rf --one-file-system "${DIR:?}/$release"
    done
    return $bad
}

main "$@"
exit # the whole script was read before it began: it may be edited while it runs
