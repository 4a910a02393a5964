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

name=demo
. scripts/local.sh
forget_settings
port=${PORT:-8080}
udp_port=${UDP_PORT:-3478}
backend=${BACKEND:-parrot}
advertise=${ADVERTISE:-}

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

programs "${DEMO_BIN:-}" relay transceiver
# Sockets and rings of each thread, and a few hundred clients.
enough_descriptors 4096 128

# --- Where it is ------------------------------------------------------------------------------------

taken udp "$udp_port" &&
    die "UDP port $udp_port is taken: by another demo or relay? See by whom: ss -ulpn 'sport = :$udp_port'. Or take another: make demo UDP_PORT=$((udp_port + 1))"
taken tcp "$port" &&
    die "TCP port $port is taken. See by whom: ss -tlpn 'sport = :$port'. Or take another: make demo PORT=$((port + 1))"

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

# --- Start ------------------------------------------------------------------------------------------

folders "${DEMO_DIR:-$target/demo}"
configure
interrupted() {
    stop
    say ""
    say "Stopped. Keys, configurations and logs are in $dir."
    exit 0
}
leave_nothing interrupted
start_both

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
say "  ask it        $bin/ringway-transceiver ctl --socket $run/transceiver.sock status"
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
