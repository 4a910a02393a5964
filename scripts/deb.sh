#!/usr/bin/env bash
# Makes a Debian package of what was built: what scripts/install.sh installs, and no list of its own.
#
#   scripts/deb.sh [FOLDER]      where it goes; default target/debian
#
# BUILD is where the programs are (default target/release). Needs dpkg-deb, objdump and strip (binutils).
# RELEASE (default 1) is the package's revision of a version. DEBFULLNAME and DEBEMAIL name who makes
# it, as for Debian's own tools. The package starts nothing. `make check-deb` tries it.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
build=${BUILD:-$target/release}
out=${1:-$target/debian}
version=$(awk -F'"' '/^version = / { print $2; exit }' Cargo.toml)-${RELEASE:-1}
architecture=$(dpkg --print-architecture)

maintainer="${DEBFULLNAME:-Ringway} <${DEBEMAIL:-ringway@example.invalid}>"
# Of what it is made of, not of when: the same source makes the same package.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

for program in dpkg-deb objdump strip; do
    command -v "$program" >/dev/null || { echo "deb: $program is missing (packages dpkg, binutils)" >&2; exit 1; }
done

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"

# What of the C library the programs ask for. Anything else that they would load is not expected.
libraries() {
    local other glibc
    other=$(objdump -p "$stage"/usr/bin/* | awk '$1 == "NEEDED" { print $2 }' |
        grep -Ev '^(lib(c|m|dl|rt|pthread|gcc_s)|ld-linux.*)\.so\.[0-9]+$' | sort -u | tr '\n' ' ' || true)
    [ -z "$other" ] || { echo "deb: the programs need $other: say in scripts/deb.sh which packages have them" >&2; exit 1; }
    glibc=$(objdump -p "$stage"/usr/bin/* | grep -o 'GLIBC_[0-9.]*' | sort -V | tail -1)
    echo "libc6 (>= ${glibc#GLIBC_}), libgcc-s1"
}

DESTDIR=$stage PREFIX=/usr BUILD=$build scripts/install.sh install >"$stage/said"
grep 'left out' "$stage/said" >&2 || true
rm "$stage/said"
# Where it came from line by line goes: 180 MB. The functions' names stay: perf and a panic tell by them.
strip --strip-debug "$stage"/usr/bin/*
# None where the programs are another machine's: they print their pages themselves.
[ ! -d "$stage/usr/share/man" ] || find "$stage/usr/share/man" -type f -exec gzip -9n {} +
documents=$stage/usr/share/doc/ringway
# Debian's names for these, and in its form. The Apache licence is on every Debian host.
gzip -9nc CHANGELOG.md >"$documents/changelog.gz"
rm "$documents/CHANGELOG.md" "$documents"/LICENSE-*
printf 'ringway (%s) unstable; urgency=medium\n\n  * What changed is in changelog.gz.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$documents/changelog.Debian.gz"
install -D -m 0644 deploy/debian/lintian-overrides "$stage/usr/share/lintian/overrides/ringway"
{
    echo "Ringway is under the MIT License or the Apache License 2.0, as you choose."
    printf '\n--- MIT\n\n'
    cat LICENSE-MIT
    printf '\n--- Apache-2.0: /usr/share/common-licenses/Apache-2.0\n'
} >"$documents/copyright"

depends=$(libraries)
mkdir "$stage/DEBIAN"
for script in postinst prerm postrm; do
    install -m 0755 "deploy/debian/$script" "$stage/DEBIAN/$script"
done
(cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
cat >"$stage/DEBIAN/control" <<CONTROL
Package: ringway
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -sk "$stage/usr" | cut -f1)
Depends: $depends, systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles
Recommends: systemd
Suggests: ethtool, nftables, prometheus
Section: net
Priority: optional
Description: WebRTC edge for voice AI: relay, transceiver and tools
 A relay shows the internet one address and one port, and routes calls by their
 first packet; transceivers behind it end WebRTC and talk to backends.
 .
 ringway-tuning checks the host, ringway-loadgen measures a deployment. Nothing
 is started by installing this.
CONTROL

mkdir -p "$out"
package=$out/ringway_${version}_$architecture.deb
dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" -z1 --build "$stage" "$package" >/dev/null
echo "$package"
