#!/bin/sh
# Measures, and says whether that is good enough: `make loadtest`. Without a URL: relay, transceiver
# and load generator on this machine, first real calls, then packets through the relay alone. With a
# URL: calls to the deployment there. Tables come on stdout; JSON and HTML stay in target/loadtest.
#
#   CALLS=100               calls at a time
#   DURATION=30             of the calls, in seconds (or as 90s, 5m)
#   SLO=p99=60ms,loss=0.1%  objectives of the calls; with a URL there are none unless you set some
#
# Without URL also:
#   FLOWS=500               flows at a time, 50 packets a second each
#   FLOWS_DURATION=20       of the flows
#   FLOWS_SLO=p99=20ms,…    objectives of the flows
#
# With URL:
#   URL=https://HOST        where signaling is
#   AUTHORIZED=HOST         I may load this host: its name as in the URL, repeated
#   TOKEN=…                 bearer token; TOKEN_FILE=file keeps it off make's own command line
#   MODEL=echo              the backend that is asked for; it must send audio back
#   CA_FILE=ca.pem          trust these certificates and no others
#
#   LOADTEST_BIN=target/debug     run the programs in this folder instead of building them
#   LOADTEST_DIR=target/loadtest  reports, configurations and logs
#
# Exit codes: 0 objectives met, 1 something failed or nothing connected, 2 objectives missed, 3 the
# generator was the bottleneck. Of two tests the worse counts: 1, then 2, then 3. (make turns any
# of them into its own 2, and names them: "Error 3".) 130 and 143 when stopped from outside.
set -eu
umask 077
cd "$(dirname "$0")/.."

name=loadtest
. scripts/local.sh
forget_settings

url=${URL:-}
authorized=${AUTHORIZED:-}
token=${TOKEN:-}
token_file=${TOKEN_FILE:-}
# The token reaches one program, by the environment, and no report. make hands its command line down.
unset TOKEN MAKEFLAGS MAKEOVERRIDES MFLAGS

# --- What was asked for -----------------------------------------------------------------------------

is_count() {
    case $1 in '' | *[!0-9]* | 0* | ???????*) return 1 ;; esac
}
# As the programs write it: seconds unless it says otherwise.
time_of() {
    case $1 in
        *[!0-9]*) printf '%s' "$1" ;;
        *) printf '%ss' "$1" ;;
    esac
}
calls=${CALLS:-100}
flows=${FLOWS:-500}
is_count "$calls" || die "CALLS must be a number of calls, 1 to 999999, is '$calls'"
is_count "$flows" || die "FLOWS must be a number of flows, 1 to 999999, is '$flows'"
duration=$(time_of "${DURATION:-30}")
flows_duration=$(time_of "${FLOWS_DURATION:-20}")
for each in "$duration" "$flows_duration"; do
    case $each in
        [1-9]*[smh]) ;;
        *) die "DURATION and FLOWS_DURATION must be times such as 30, 90s or 5m, is '$each'" ;;
    esac
done
slo=${SLO:-}
flows_slo=${FLOWS_SLO:-}
if [ -z "$url" ]; then
    for each in "AUTHORIZED $authorized" "TOKEN $token" "TOKEN_FILE $token_file" "MODEL ${MODEL:-}" "CA_FILE ${CA_FILE:-}"; do
        [ -z "${each#* }" ] || die "${each%% *} is for a deployment elsewhere: say where, with URL=https://…"
    done
    slo=${slo:-p99=60ms,loss=0.1%}
    flows_slo=${flows_slo:-p99=20ms,loss=0.1%}
else
    for each in "FLOWS ${FLOWS:-}" "FLOWS_DURATION ${FLOWS_DURATION:-}" "FLOWS_SLO $flows_slo"; do
        [ -z "${each#* }" ] || die "${each%% *} is for the test on this machine: flows need the deployment's keyring. See ringway-loadgen flows --help"
    done
    [ -z "$token" ] || [ -z "$token_file" ] || die "TOKEN and TOKEN_FILE are both set: which?"
fi

if [ -n "$url" ]; then
    programs "${LOADTEST_BIN:-}" loadgen
else
    programs "${LOADTEST_BIN:-}" relay transceiver loadgen
fi
# A call is a socket, and while it is set up, a connection.
enough_descriptors $((calls * 3 + 4096)) $((calls * 2 + 128))
folders "${LOADTEST_DIR:-$target/loadtest}"

# --- Measuring --------------------------------------------------------------------------------------

stopped() {
    stop
    say ""
    say "Stopped. What there is of reports and logs is in $dir."
    exit "$1"
}
leave_nothing 'stopped 130'
trap 'stopped 143' TERM HUP

# measure calls|flows WORDS…: its table on stdout, its files in $dir, its outcome in $code.
measure() {
    test=$1
    shift
    rm -f "$dir/$test.json" "$dir/$test.html"
    say ""
    # In the background, for only `wait` is cut short by a signal.
    "$bin/ringway-loadgen" "$test" --json "$dir/$test.json" --html "$dir/$test.html" "$@" &
    generator=$!
    children="$generator:generator $children"
    code=0
    wait "$generator" || code=$?
    children=${children#* }
    check
    # Without a report nothing was measured, whatever the code says.
    [ -s "$dir/$test.json" ] || code=1
}

# As 1, 2, 3, 0: failed, missed, unknown, met.
worst=0
verdicts=
reports=
judge() {
    case $code in
        0) outcome=met ;;
        2) outcome=MISSED ;;
        3) outcome="no verdict, the generator was the bottleneck" ;;
        *) outcome=FAILED ;;
    esac
    if [ "$worst" -eq 0 ] || { [ "$code" -ne 0 ] && [ "$code" -lt "$worst" ]; }; then worst=$code; fi
    figures=$(objectives "$dir/$test.json")
    [ "$code" -ne 0 ] || [ -n "$figures" ] || outcome="measured, with no SLO to meet"
    [ ! -s "$dir/$test.html" ] || reports="$reports $dir/$test.html"
    verdicts="${verdicts:+$verdicts; }$test $outcome${figures:+ ($figures)}"
}
# The objectives of a report with what was measured: one key a line, as the generator writes it.
objectives() {
    [ -s "$1" ] || return 0
    awk -F '"' '
        /^  "objectives"/ { inside = 1 }
        /^  \]/ { inside = 0 }
        inside && $2 == "metric" { metric = $4 }
        inside && $2 == "limit" { limit = $4 }
        inside && $2 == "value" { value = ($4 == "" ? "not measured" : $4) }
        inside && $2 == "met" { printf "%s%s %s of %s", separator, metric, value, limit; separator = ", " }
    ' "$1"
}
verdict() {
    say ""
    say "Verdict: $verdicts."
    [ -z "$reports" ] || say "Reports:$reports (open in a browser; beside each, the same as .json)"
    exit "$worst"
}

# --- A deployment elsewhere -------------------------------------------------------------------------

if [ -n "$url" ]; then
    set -- --url "$url" --calls "$calls" --duration "$duration" --ramp 5s
    [ -z "$slo" ] || set -- "$@" --slo "$slo"
    [ -z "$authorized" ] || set -- "$@" --target-authorized "$authorized"
    [ -z "$token_file" ] || set -- "$@" --token-file "$token_file"
    [ -z "${MODEL:-}" ] || set -- "$@" --model "$MODEL"
    [ -z "${CA_FILE:-}" ] || set -- "$@" --ca-file "$CA_FILE"
    if [ -n "$token" ]; then export RINGWAY_TOKEN="$token"; fi
    say "Up to $calls calls to $url, $duration."
    measure calls "$@"
    if [ ! -s "$dir/calls.json" ] && [ -z "$authorized" ]; then
        complain "nothing was measured; the reason is above. What it calls --target-authorized HOST is AUTHORIZED=HOST here."
    fi
    judge
    verdict
fi

# --- This machine -----------------------------------------------------------------------------------

# Not the demo's, so that both can run.
udp_port=$(free udp 4478 1)
port=$(free tcp 8180 1)
relay_tunnel=$(free udp 4500 "$threads")
transceiver_tunnel=$(free udp 4600 "$threads")
sink=$(free udp 4700 1)
relay_http=$(free tcp 9578 1)
transceiver_http=$(free tcp $((relay_http + 1)) 1)
listen="\"127.0.0.1:$udp_port\""
ingress=$listen
page_listen=127.0.0.1:$port
backend=echo
# The relay has a cluster more, whose one shard sends everything back.
relay_settings=$("$bin/ringway-loadgen" sink --cluster 2 --listen "127.0.0.1:$sink" --print-relay-config)
# All calls come from one address, and are no attack.
transceiver_settings='[rates]
address_per_second = 100000
address_burst = 100000'
configure
start_both

say "Relay and transceiver are up on this machine, $threads threads each; they share its CPUs with the"
say "load, so the figures are of latency, not of capacity. First $calls calls, $duration."
measure calls --url "http://127.0.0.1:$port" --calls "$calls" --duration "$duration" --ramp 5s --slo "$slo"
judge

start sink ringway-loadgen sink --cluster 2 --keys "$dir/keys.toml" --listen "127.0.0.1:$sink"
tries=0
until [ "$(relay_ctl --json peers 2>/dev/null | grep -c '"up": false')" = 0 ]; do
    check
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || die "the relay does not hear the far end for the flows. Its log: $dir/sink.log"
    sleep 0.1
done
say ""
say "Now the relay alone, with a far end that sends every packet back: $flows flows, $flows_duration."
measure flows --relay "127.0.0.1:$udp_port" --cluster 2 --keys "$dir/keys.toml" \
    --flows "$flows" --duration "$flows_duration" --slo "$flows_slo"
judge
verdict
