#!/bin/sh
# Relay and transceiver on this machine, and a page to talk to: `make demo`. Needs no root, no
# configuration and nothing but Rust and a C compiler; leaves nothing running.
#
#   ADVERTISE=192.168.1.5   tell clients this address first, and let other devices load the page
#   PORT=8080               of the page, TCP
#   UDP_PORT=3478           of the relay, where the audio goes
#   BACKEND=parrot          whom you talk to: parrot or echo
#   DEMO_BIN=target/debug   run the programs in this folder instead of building them
#   DEMO_DIR=target/demo    keys, configurations and logs
set -eu
umask 077
cd "$(dirname "$0")/.."

port=${PORT:-8080}
udp_port=${UDP_PORT:-3478}
backend=${BACKEND:-parrot}
advertise=${ADVERTISE:-}
target=${CARGO_TARGET_DIR:-target}
dir=${DEMO_DIR:-$target/demo}

say() { printf '%s\n' "$*"; }
complain() { printf 'demo: %s\n' "$*" >&2; }
die() {
    complain "$@"
    exit 1
}

# A setting of a real deployment in the environment is not meant for the demo.
for variable in $(env | sed -n 's/^\(RINGWAY_[A-Z0-9_]*\)=.*/\1/p'); do
    unset "$variable"
done

# --- What was asked for -----------------------------------------------------------------------------

is_port() {
    case $1 in '' | *[!0-9]* | ??????*) return 1 ;; esac
    [ "$1" -ge 1 ] && [ "$1" -le 65535 ]
}
is_port "$port" || die "PORT must be a port, 1 to 65535, is '$port'"
is_port "$udp_port" || die "UDP_PORT must be a port, 1 to 65535, is '$udp_port'"
case $backend in
    parrot | echo) ;;
    *) die "BACKEND must be parrot or echo, is '$backend'" ;;
esac
case $advertise in
    *[!0-9a-fA-F.:]*)
        die "ADVERTISE must be an address of this machine, such as 192.168.1.5 (a name will not do), is '$advertise'"
        ;;
esac

# --- The programs -----------------------------------------------------------------------------------

build() {
    if ! command -v cargo >/dev/null 2>&1 && [ -x "${HOME:-}/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    command -v cargo >/dev/null 2>&1 ||
        die "Rust is missing. Install it with rustup (https://rustup.rs), open a new shell, and run this again."
    command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 ||
        die "a C compiler is missing (AWS-LC is C). Debian, Ubuntu: sudo apt-get install gcc libc6-dev, or: make setup. Fedora: sudo dnf install gcc."
    say "Building relay and transceiver; the first time takes some minutes."
    cargo build --locked --release -p ringway-relay -p ringway-transceiver ||
        die "the build failed; the reason is above. If cargo says that rustc is too old: rustup update stable"
}
if [ -n "${DEMO_BIN:-}" ]; then
    bin=$DEMO_BIN
else
    build
    bin=$target/release
fi
relay_bin=$bin/ringway-relay
transceiver_bin=$bin/ringway-transceiver
for program in "$relay_bin" "$transceiver_bin"; do
    [ -x "$program" ] || die "there is no program $program"
done

# --- What the host has ------------------------------------------------------------------------------

# Sockets and rings of each thread, and a few hundred clients.
enough_descriptors() {
    have=$(ulimit -S -n)
    [ "$have" = unlimited ] && return
    if [ "$have" -lt 4096 ]; then
        ulimit -S -n 4096 2>/dev/null || ulimit -S -n "$(ulimit -H -n)" 2>/dev/null || true
        have=$(ulimit -S -n)
    fi
    [ "$have" = unlimited ] || [ "$have" -ge 128 ] ||
        die "only $have file descriptors are allowed, 128 are needed: raise the hard limit (ulimit -Hn 4096 as root, or nofile in /etc/security/limits.conf)"
}
enough_descriptors

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
taken udp "$udp_port" &&
    die "UDP port $udp_port is taken: by another demo or relay? See by whom: ss -ulpn 'sport = :$udp_port'. Or take another: make demo UDP_PORT=$((udp_port + 1))"
taken tcp "$port" &&
    die "TCP port $port is taken. See by whom: ss -tlpn 'sport = :$port'. Or take another: make demo PORT=$((port + 1))"

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
threads=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || printf 1)
[ "$threads" -le 4 ] || threads=4
relay_tunnel=$(free udp 3500 "$threads")
transceiver_tunnel=$(free udp 3600 "$threads")
relay_http=$(free tcp 9478 1)
transceiver_http=$(free tcp $((relay_http + 1)) 1)

# This machine's address in its network. Firefox cannot use a relay on 127.0.0.1, so it is told
# first where there is one. Asks the routing table; nothing is sent.
own_address() {
    own=$(ip -4 -o route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')
    [ -n "$own" ] || own=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -v ':' | head -n 1) || true
    case $own in 127.* | '') ;; *) printf '%s' "$own" ;; esac
}
own=$(own_address)

listen="\"0.0.0.0:$udp_port\""
page_listen=127.0.0.1:$port
ingress=
add_ingress() {
    case $1 in *:*) entry="[$1]:$udp_port" ;; *) entry=$1:$udp_port ;; esac
    case $ingress in *"\"$entry\""*) return ;; esac
    ingress="${ingress:+$ingress, }\"$entry\""
}
case $advertise in
    '') ;;
    *:*)
        listen="$listen, \"[::]:$udp_port\""
        page_listen="[::]:$port"
        add_ingress "$advertise"
        ;;
    *)
        page_listen=0.0.0.0:$port
        add_ingress "$advertise"
        ;;
esac
[ -z "$own" ] || add_ingress "$own"
add_ingress 127.0.0.1

# --- Keys and configurations ------------------------------------------------------------------------

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
# A socket's path is short by nature, and a checkout's may be long.
run=$(mktemp -d "${TMPDIR:-/tmp}/ringway-demo.XXXXXX")
relay=
transceiver=
trap 'rm -rf "$run"' EXIT

if [ ! -e "$dir/keys.toml" ]; then
    "$relay_bin" keygen "$dir/keys.toml" 2>"$run/keygen" || die "no keys: $(cat "$run/keygen")"
fi

cat >"$dir/relay.toml" <<END
# Written anew by each \`make demo\`.
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
name = "demo"
resolve = "table"
port_base = $transceiver_tunnel
transceivers = [{ id = 1, address = "127.0.0.1", shards = $threads }]
allow_special = ["127.0.0.0/8"]
END

cat >"$dir/transceiver.toml" <<END
# Written anew by each \`make demo\`.
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
END

"$relay_bin" check-config "$dir/relay.toml" >"$run/check" 2>&1 || die "$(cat "$run/check")"
"$transceiver_bin" check-config "$dir/transceiver.toml" >"$run/check" 2>&1 || die "$(cat "$run/check")"

# --- Start, watch, stop -----------------------------------------------------------------------------

relay_ctl() { "$relay_bin" ctl --socket "$run/relay.sock" "$@"; }
transceiver_ctl() { "$transceiver_bin" ctl --socket "$run/transceiver.sock" "$@"; }

# A child that has ended stays in /proc until it is waited for, as a zombie.
alive() { [ -r "/proc/$1/stat" ] && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null; }

# Asks twice: once to finish, once more to do so now; then insists.
stop() {
    trap '' INT TERM HUP
    for attempt in TERM TERM KILL; do
        for pid in $transceiver $relay; do
            if alive "$pid"; then kill "-$attempt" "$pid" 2>/dev/null || true; fi
        done
        tries=0
        while [ "$tries" -lt 20 ]; do
            remain=
            for pid in $transceiver $relay; do
                if alive "$pid"; then remain=yes; fi
            done
            [ -n "$remain" ] || break 2
            sleep 0.1
            tries=$((tries + 1))
        done
    done
    rm -rf "$run"
}
interrupted() {
    stop
    say ""
    say "Stopped. Keys, configurations and logs are in $dir."
    exit 0
}
trap interrupted INT TERM HUP
trap stop EXIT

# failed NAME LOG: why a program is not there.
failed() {
    say "" >&2
    complain "the $1 has ended. The end of its log, $2:"
    tail -n 12 "$2" | sed 's/^/    /' >&2
    exit 1
}

"$relay_bin" run --config "$dir/relay.toml" >"$dir/relay.log" 2>&1 &
relay=$!
"$transceiver_bin" run --config "$dir/transceiver.toml" >"$dir/transceiver.log" 2>&1 &
transceiver=$!

check() {
    alive "$relay" || failed relay "$dir/relay.log"
    alive "$transceiver" || failed transceiver "$dir/transceiver.log"
}

# Both answer, and the relay hears the transceiver by the tunnel.
ready() {
    relay_ctl --json peers 2>/dev/null | grep -q '"up": true' &&
        transceiver_ctl --json sessions >/dev/null 2>&1
}
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

engine=$(sed -n 's/.*the engine is chosen.*reason=\(.*\) workers=.*/\1/p' "$dir/relay.log" | head -n 1)
case $backend in
    parrot) partner="a parrot: it says back what you said when you pause; talk over it and it stops" ;;
    echo) partner="an echo: you hear yourself at once (wear headphones)" ;;
esac
say ""
say "Ringway is up. Open the page and talk:"
say ""
say "    http://127.0.0.1:$port"
say ""
say "  you talk to   $partner"
say "  the audio     goes by UDP to the relay: $(printf '%s' "$ingress" | tr -d '"')"
say "  the engine    ${engine:-as relay.log says}"
say "  numbers       http://127.0.0.1:$relay_http/metrics (relay), http://127.0.0.1:$transceiver_http/metrics (transceiver)"
say "  ask it        $transceiver_bin ctl --socket $run/transceiver.sock status"
say "  logs, keys    $dir"
say ""
if [ -n "$advertise" ]; then
    case $advertise in *:*) shown="[$advertise]" ;; *) shown=$advertise ;; esac
    say "From another device: UDP port $udp_port of $advertise must be open. Browsers give a page the"
    say "microphone only over HTTPS or from the device itself, so either"
    say "  - on that device: ssh -L $port:127.0.0.1:$port USER@$advertise, then http://127.0.0.1:$port, or"
    say "  - in Chrome there: chrome://flags/#unsafely-treat-insecure-origin-as-secure, add"
    say "    http://$shown:$port, enable, relaunch, then open that address."
    say "Everybody who can reach this machine can call: stop the demo when you are done."
else
    say "From another device: make demo ADVERTISE=${own:-ADDRESS} (an address of this machine)"
fi
say ""
say "Ctrl-C stops it."

# CPU time of a process in clock ticks.
ticks() {
    # Behind the name, which may have spaces: state is the first field, utime the 12th, stime the 13th.
    set -- $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null)
    printf '%s' $((${12:-0} + ${13:-0}))
}
hertz=$(getconf CLK_TCK 2>/dev/null || printf 100)
# Centiseconds since the machine started.
now() { sed 's/ .*//; s/\.//' /proc/uptime; }

relay_before=$(ticks "$relay")
transceiver_before=$(ticks "$transceiver")
before=$(now)
while :; do
    check
    if [ ! -t 1 ]; then
        sleep 1
        continue
    fi
    # Takes a second, to measure.
    status=$(transceiver_ctl status --line 2>/dev/null) || { sleep 0.2; continue; }
    relay_now=$(ticks "$relay")
    transceiver_now=$(ticks "$transceiver")
    at=$(now)
    took=$((at - before))
    [ "$took" -gt 0 ] || took=1
    printf '\r\033[K%s, CPU relay %s%% transceiver %s%% ' "${status%, cores*}" \
        $(((relay_now - relay_before) * 10000 / hertz / took)) \
        $(((transceiver_now - transceiver_before) * 10000 / hertz / took))
    relay_before=$relay_now
    transceiver_before=$transceiver_now
    before=$at
done
