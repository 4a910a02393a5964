#!/usr/bin/env bash
# Installs what building and testing Ringway needs beyond Rust. Safe to run again: what is there is
# left alone, and without anything missing it touches neither the network nor sudo.
set -euo pipefail

rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml" | head -1)

if ! command -v cargo >/dev/null; then
    echo "setup: Rust is missing. Install it with rustup (https://rustup.rs), then run this again." >&2
    exit 1
fi
rust_here=$(rustc --version | awk '{ print $2 }')
if [ "$(printf '%s\n%s\n' "$rust_wanted" "${rust_here%%-*}" | sort -V | head -1)" != "$rust_wanted" ]; then
    echo "setup: Rust $rust_wanted or newer is needed, this is $rust_here. Run: rustup update stable" >&2
    exit 1
fi

# package: a program or file that tells it is there
needs=(
    "gcc:/usr/bin/cc"            # AWS-LC, which does the AES-GCM, is C
    "g++:/usr/bin/c++"           # libFuzzer is C++
    "make:/usr/bin/make"
    "libc6-dev:/usr/include/stdio.h"
    "iproute2:/sbin/ip"          # tests join hosts made of network namespaces
)
missing=()
for need in "${needs[@]}"; do
    [ -e "${need#*:}" ] || missing+=("${need%%:*}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: please install: ${missing[*]} (this script knows Debian and Ubuntu only)" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: run as root, or install sudo: ${missing[*]} are missing" >&2; exit 1; }
    as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
