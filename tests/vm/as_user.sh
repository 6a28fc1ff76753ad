#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# as_user.sh root|user|userns|refused PROGRAM... : runs a test as this kind of user, with a temporary directory of its own. What the
# caller cannot become is skipped: 77, or an empty plan where the caller reads TAP (BX_TEST_TAP=1). An error when BOXLITE_TEST_MUST_RUN
# is set, as in CI, which runs as root and can become everybody.
set -eu
who=$1
shift

skip() {
    echo "skipped: $1" >&2
    if [ -n "${BOXLITE_TEST_MUST_RUN:-}" ]; then exit 1; fi
    if [ -n "${BX_TEST_TAP:-}" ]; then echo "1..0 # SKIP $1" && exit 0; fi
    exit 77
}

TMPDIR=$(mktemp -d /tmp/bxas-XXXXXX)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
case $who in
root)
    [ "$(id -u)" = 0 ] || skip "not root"
    "$@"
    ;;
user)
    if [ "$(id -u)" = 0 ] && ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$1"; then
        skip "$1 is not within reach of other users"
    fi
    if [ "$(id -u)" = 0 ]; then
        chown 65534:65534 "$TMPDIR"
        HOME=$TMPDIR setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$@"
    else
        "$@"
    fi
    ;;
userns | refused)
    unshare -r true 2>/dev/null || skip "no user namespaces"
    if [ "$who" = refused ]; then # a host that gives no namespace to anybody: limits of the namespace we are in
        set -- sh -c 'for f in /proc/sys/user/max_*_namespaces; do echo 0 >"$f"; done; exec "$@"' sh "$@"
    fi
    if [ "$(id -u)" = 0 ]; then
        chown 65534:65534 "$TMPDIR"
        setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all unshare -r "$@"
    else
        unshare -r "$@"
    fi
    ;;
esac
