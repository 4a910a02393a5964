# Relay and transceiver on this machine, from building them to leaving nothing behind: what
# `make demo` and `make loadtest` have in common. Sourced, with the name of the target in $name and
# at the top of the checkout.

target=${CARGO_TARGET_DIR:-target}
threads=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || printf 1)
[ "$threads" -le 4 ] || threads=4
# Ports that are spoken for, and what runs: "pid:name" each, the youngest first.
port=0
udp_port=0
children=
# What a configuration has beside what both scripts need.
relay_settings=
transceiver_settings=

say() { printf '%s\n' "$*"; }
complain() { printf '%s: %s\n' "$name" "$*" >&2; }
die() {
    complain "$@"
    exit 1
}

# A setting of a real deployment in the environment is not meant for this one.
forget_settings() {
    for variable in $(env | sed -n 's/^\(RINGWAY_[A-Z0-9_]*\)=.*/\1/p'); do
        unset "$variable"
    done
}

# --- The programs -----------------------------------------------------------------------------------

# programs FOLDER relay transceiver …: has them in $bin. Builds them if no folder is given.
programs() {
    bin=$1
    shift
    if [ -z "$bin" ]; then
        build "$@"
        bin=$target/release
    fi
    for program in "$@"; do
        [ -x "$bin/ringway-$program" ] || die "there is no program $bin/ringway-$program"
    done
}
build() {
    if ! command -v cargo >/dev/null 2>&1 && [ -x "${HOME:-}/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    command -v cargo >/dev/null 2>&1 ||
        die "Rust is missing. Install it with rustup (https://rustup.rs), open a new shell, and run this again."
    command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 ||
        die "a C compiler is missing (AWS-LC is C). Debian, Ubuntu: sudo apt-get install gcc libc6-dev, or: make setup. Fedora: sudo dnf install gcc."
    say "Building: $*; the first time takes some minutes."
    packages=
    for program in "$@"; do packages="$packages -p ringway-$program"; done
    # shellcheck disable=SC2086 # One word each.
    cargo build --locked --release $packages ||
        die "the build failed; the reason is above. If cargo says that rustc is too old: rustup update stable"
}

# --- What the host has ------------------------------------------------------------------------------

# enough_descriptors WISHED NEEDED
enough_descriptors() {
    have=$(ulimit -S -n)
    [ "$have" = unlimited ] && return
    if [ "$have" -lt "$1" ]; then
        ulimit -S -n "$1" 2>/dev/null || ulimit -S -n "$(ulimit -H -n)" 2>/dev/null || true
        have=$(ulimit -S -n)
    fi
    [ "$have" = unlimited ] || [ "$have" -ge "$2" ] ||
        die "only $have file descriptors are allowed, $2 are needed: raise the hard limit (ulimit -Hn $1 as root, or nofile in /etc/security/limits.conf)"
}

# Whether something has this port: taken udp 3478. The relay's sockets may share a port, so the
# kernel would not refuse a second relay of the same user; half of the calls would go astray.
taken() {
    state=
    [ "$1" = tcp ] && state=0A
    cat "/proc/net/$1" "/proc/net/${1}6" 2>/dev/null |
        awk -v port=":$(printf '%04X' "$2")" -v state="$state" '
            substr($2, length($2) - 4) == port && (state == "" || $4 == state) { found = 1 }
            END { exit !found }'
}

# The first of so many ports in a row that nobody has: free udp 3500 4
free() {
    first=$2
    at=$first
    while [ "$at" -lt $((first + $3)) ]; do
        if taken "$1" "$at" || [ "$at" -eq "$port" ] || [ "$at" -eq "$udp_port" ]; then
            first=$((at + 1))
        fi
        at=$((at + 1))
        [ "$at" -lt 65000 ] || die "there are no free $1 ports from $2 on"
    done
    printf '%s' "$first"
}

# --- Keys and configurations ------------------------------------------------------------------------

# folders DIRECTORY: $dir has what stays (keys, configurations, logs), $run what does not.
folders() {
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    # A socket's path is short by nature, and a checkout's may be long.
    run=$(mktemp -d "${TMPDIR:-/tmp}/ringway-$name.XXXXXX")
    trap 'rm -rf "$run"' EXIT
}

# Wants $listen and $ingress (lists of addresses), $page_listen, $backend, $relay_tunnel and
# $transceiver_tunnel (first of $threads ports), $relay_http and $transceiver_http.
configure() {
    if [ ! -e "$dir/keys.toml" ]; then
        "$bin/ringway-relay" keygen "$dir/keys.toml" 2>"$run/keygen" || die "no keys: $(cat "$run/keygen")"
    fi
    cat >"$dir/relay.toml" <<END
# Written anew by each \`make $name\`.
listen = [$listen]
allow_loopback_clients = true
workers = $threads
keys = "$dir/keys.toml"
[tunnel]
address = "127.0.0.1"
port_base = $relay_tunnel
[admin]
socket = "$run/relay.sock"
[http]
listen = "127.0.0.1:$relay_http"
[[clusters]]
id = 1
name = "$name"
resolve = "table"
port_base = $transceiver_tunnel
transceivers = [{ id = 1, address = "127.0.0.1", shards = $threads }]
allow_special = ["127.0.0.0/8"]
$relay_settings
END
    cat >"$dir/transceiver.toml" <<END
# Written anew by each \`make $name\`.
ingress = [$ingress]
cluster = 1
transceiver = 1
shards = $threads
keys = "$dir/keys.toml"
backend = "$backend"
[tunnel]
address = "127.0.0.1"
port_base = $transceiver_tunnel
[signaling]
listen = "$page_listen"
open = true
[admin]
socket = "$run/transceiver.sock"
[http]
listen = "127.0.0.1:$transceiver_http"
$transceiver_settings
END
    for program in relay transceiver; do
        "$bin/ringway-$program" check-config "$dir/$program.toml" >"$run/check" 2>&1 || die "$(cat "$run/check")"
    done
}

# --- Start, watch, stop -----------------------------------------------------------------------------

# start NAME PROGRAM WORDS…: in the background, with a log of its own and its pid in $started.
start() {
    child=$1
    program=$2
    shift 2
    "$bin/$program" "$@" >"$dir/$child.log" 2>&1 &
    started=$!
    children="$started:$child $children"
}

# Starts the two and waits until they answer and the relay hears the transceiver by the tunnel.
start_both() {
    start relay ringway-relay run --config "$dir/relay.toml"
    relay=$started
    start transceiver ringway-transceiver run --config "$dir/transceiver.toml"
    transceiver=$started
    tries=0
    until ready; do
        check
        tries=$((tries + 1))
        if [ "$tries" -ge 300 ]; then
            complain "relay and transceiver are not ready after 30 s. Is UDP on 127.0.0.1 filtered? The ends of their logs:"
            for log in "$dir/relay.log" "$dir/transceiver.log"; do
                tail -n 4 "$log" | sed 's/^/    /' >&2
            done
            exit 1
        fi
        sleep 0.1
    done
}
relay_ctl() { "$bin/ringway-relay" ctl --socket "$run/relay.sock" "$@"; }
transceiver_ctl() { "$bin/ringway-transceiver" ctl --socket "$run/transceiver.sock" "$@"; }
ready() {
    relay_ctl --json peers 2>/dev/null | grep -q '"up": true' &&
        transceiver_ctl --json sessions >/dev/null 2>&1
}

# A child that has ended stays in /proc until it is waited for, as a zombie.
alive() { [ -r "/proc/$1/stat" ] && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null; }

# Ends with the reason if one of them is not there.
check() {
    for child in $children; do
        alive "${child%%:*}" || failed "${child#*:}"
    done
}
failed() {
    say "" >&2
    complain "the $1 has ended. The end of its log, $dir/$1.log:"
    tail -n 12 "$dir/$1.log" | sed 's/^/    /' >&2
    exit 1
}

# Asks twice: once to finish, once more to do so now; then insists.
stop() {
    trap '' INT TERM HUP
    for attempt in TERM TERM KILL; do
        for child in $children; do
            if alive "${child%%:*}"; then kill "-$attempt" "${child%%:*}" 2>/dev/null || true; fi
        done
        tries=0
        while [ "$tries" -lt 20 ]; do
            remain=
            for child in $children; do
                if alive "${child%%:*}"; then remain=yes; fi
            done
            [ -n "$remain" ] || break 2
            sleep 0.1
            tries=$((tries + 1))
        done
    done
    rm -rf "$run"
}

# leave_nothing ON_INTERRUPT: from here on, whatever happens, `stop` is the last that does.
leave_nothing() {
    trap "$1" INT TERM HUP
    trap stop EXIT
}
