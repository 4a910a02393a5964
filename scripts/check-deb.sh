#!/usr/bin/env bash
# Tries a package as a host would: lintian, then installed, looked at and purged in a root of its own.
#
#   scripts/check-deb.sh [PACKAGE]     default: the newest in target/debian
#
# Needs root, lintian and mmdebstrap. SUITE (default: this host's) is the Debian that it is tried on;
# BASE, an archive of such a root with systemd in it, spares making one. Nothing of this host is changed.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")}
target=${CARGO_TARGET_DIR:-target}
package=${1:-$(ls -t "$target"/debian/ringway_*.deb 2>/dev/null | head -1)}
programs=(ringway-relay ringway-transceiver ringway-loadgen ringway-tuning)
services=(ringway-relay ringway-transceiver)

fail() { echo "check-deb: $*" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || fail "a root of its own takes root"
[ -f "$package" ] || fail "there is no package: make deb"
for program in lintian mmdebstrap; do
    command -v "$program" >/dev/null || fail "$program is missing (apt-get install $program)"
done

lintian --allow-root --fail-on error,warning "$package"
echo "check-deb: lintian has nothing to say"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
if [ -n "${BASE:-}" ]; then
    tar -C "$root" -xf "$BASE"
else
    mmdebstrap --quiet --variant=minbase --include=systemd "$suite" "$root"
fi
inside() { # with a /proc, as a host has one; it goes with the namespace
    unshare --mount --pid --fork --mount-proc="$root/proc" chroot "$root" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
# What is there, other than what dpkg, apt, systemd and the users' files keep for themselves.
files() { (cd "$root" && find . -xdev \( -path ./proc -o -path ./var/lib/dpkg -o -path ./var/cache -o -path ./var/log \
    -o -path ./var/lib/apt -o -path ./run/systemd -o -path './etc/*shadow*' -o -path './etc/passwd*' -o -path './etc/group*' \
    -o -path './etc/.pwd.lock' -o -path './tmp/*' \) -prune -o -print | sort); }

files >"$root/tmp/before"
cp "$package" "$root/tmp/package.deb"
inside apt-get install -y -qq --no-install-recommends /tmp/package.deb >"$root/tmp/said" 2>&1 ||
    { cat "$root/tmp/said"; fail "it cannot be installed"; }
[ "$(inside dpkg-query -W -f='${db:Status-Status}' ringway)" = installed ] || fail "it is not installed"
inside dpkg --verify ringway | { ! grep . || fail "files are not as packaged"; }

for program in "${programs[@]}"; do
    inside "$program" --version
done
for service in "${services[@]}"; do
    [ "$(inside stat -c %U:%G /run/ringway /etc/ringway | sort -u)" = root:ringway ] || fail "folders are not root:ringway"
    inside id -nG "$service" | grep -qw ringway || fail "$service is not of group ringway"
    inside systemd-analyze verify --man=no "$service.service" 2>&1 |
        { ! grep -v 'ignoring: notify-reload' | grep "$service" || fail "systemd does not take $service.service"; }
    [ "$(inside systemctl is-enabled "$service" 2>/dev/null || true)" = disabled ] || fail "$service is enabled by installing it"
done
# The packaged configuration and a new keyring are enough.
inside ringway-relay keygen /etc/ringway/keys.toml >/dev/null
inside sh -c 'chgrp ringway /etc/ringway/keys.toml && chmod 640 /etc/ringway/keys.toml'
inside setpriv --reuid ringway-relay --regid ringway --clear-groups \
    ringway-relay check-config /usr/share/ringway/relay.toml || fail "its own configuration is refused"
echo "check-deb: installed in a clean $suite; programs run, users and units are there"

inside apt-get purge -y -qq ringway >"$root/tmp/said" 2>&1 || { cat "$root/tmp/said"; fail "it cannot be purged"; }
[ -f "$root/etc/ringway/keys.toml" ] || fail "a purge took the administrator's keys"
rm "$root/etc/ringway/keys.toml" && rmdir "$root/etc/ringway"
files | diff "$root/tmp/before" - || fail "a purge leaves something, or takes too much (above)"
echo "check-deb: purged; nothing is left but users and keys"
