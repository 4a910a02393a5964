# What every document's commands find: a host of its own, on which Ringway is installed and nothing
# runs. Sourced before the blocks, in namespaces of mounts, network and processes; the scratch folder
# is the current one, RINGWAY_TOP the repository, PROGRAMS where its programs are.
set -eEuo pipefail

# The line of the document, wherever below it a command has failed.
told() { # COMMAND LINE
    local depth line=$2
    for depth in "${!BASH_SOURCE[@]}"; do
        [ "$depth" -eq 0 ] && continue
        [ "$depth" -eq 1 ] || line=${BASH_LINENO[depth - 1]}
        case ${BASH_SOURCE[depth]} in
            "$SCRATCH"/blocks/*)
                printf '%s:%s: `%s` failed\n' "${BASH_SOURCE[depth]##*/blocks/}" "$line" "$1" >>"$SCRATCH/failed"
                return
                ;;
        esac
    done
    printf 'first.sh:%s: `%s` failed\n' "$line" "$1" >>"$SCRATCH/failed"
}
trap 'told "$BASH_COMMAND" "$LINENO"' ERR

# The host's /etc and /run are not written to.
mkdir "$SCRATCH/etc"
cp -a /etc/. "$SCRATCH/etc"
mount --bind "$SCRATCH/etc" /etc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /usr/local/share
mkdir -p /etc/ringway /run/ringway /usr/local/share/ringway target
rm -rf /etc/ringway/*
echo 'ringway:x:64478:' >>/etc/group
for name in relay transceiver; do
    cp "$RINGWAY_TOP/$name/src/control/config/default.toml" "/usr/local/share/ringway/$name.toml"
done
ln -s "$PROGRAMS" target/release
export PATH=$PROGRAMS:$PATH

ip link set lo up
ip link add ringway0 type veth peer name far0
ip address add 198.51.100.7/24 dev ringway0
ip link set far0 up
ip link set ringway0 up

# What is in the make file is made by the reader; here it has to be something that can be made.
make() { command make --no-print-directory -C "$RINGWAY_TOP" -n "$@" >/dev/null; }
sudo() { "$@"; }

# There is no systemd here: what it is told must be about a unit that there is.
systemctl() {
    local word
    for word; do
        case $word in
            ringway-*) test -f "$RINGWAY_TOP/deploy/systemd/$word.service" ;;
        esac
    done
}

# A program that serves is left running, once it answers; one that shows something for ever is
# stopped after a while.
for name in ringway-relay ringway-transceiver; do
    eval "$name() { program $name \"\$@\"; }; target/release/$name() { program target/release/$name \"\$@\"; }"
done

program() {
    case "${2-} ${3-}" in
        "run "*)
            command "$@" >>"$SCRATCH/$(basename "$1").log" 2>&1 &
            serves "$(basename "$1")" $!
            ;;
        "ctl top") timeout 2 "$(basename "$1")" "${@:2}" || [ $? -eq 124 ] ;;
        *) command "$@" ;;
    esac
}

serves() {
    local try
    for try in {1..150}; do
        if command "$1" ctl status >/dev/null 2>&1; then
            return 0
        fi
        if ! kill -0 "$2" 2>/dev/null; then
            break
        fi
        sleep 0.1
    done
    echo "$1 does not serve:"
    tail -n 20 "$SCRATCH/$1.log"
    return 1
}

# A verdict on this host is not the document's matter; that there is one is.
verdict() { # FAILED COMMAND…
    local code=0 out
    out=$(command "${@:2}") || code=$?
    printf '%s\n' "$out"
    [ "$code" -ne "$1" ] && [ -n "$out" ]
}

ringway-tuning() {
    if [ "$1" = check ]; then verdict 3 ringway-tuning "$@"; else command ringway-tuning "$@"; fi
}

# As documented, but for seconds.
ringway-loadgen() {
    local words=() word after=
    for word; do
        [ "$after" != --duration ] || word=4s
        words+=("$word")
        after=$word
    done
    case $1 in
        calls | flows) verdict 1 ringway-loadgen "${words[@]}" ;;
        *) command ringway-loadgen "${words[@]}" ;;
    esac
}

# Ends what serves, for a chapter that begins anew.
nothing_runs() {
    # Twice: the first begins to drain.
    kill $(jobs -p)
    sleep 0.2
    kill $(jobs -p) || true
    wait
}

# What readers of a later chapter have already: keys, and what runs.
keys() {
    export RINGWAY_KEYS=/etc/ringway/keys.toml
    [ -e "$RINGWAY_KEYS" ] || command ringway-relay keygen "$RINGWAY_KEYS"
}

a_relay() {
    keys
    command ringway-relay print-config >relay.toml
    cat >>relay.toml <<'CLUSTER'
[[clusters]]
name = "main"
id = 1
resolve = "ipv4"
cidrs = ["198.51.100.0/24"]
CLUSTER
    ringway-relay run --config relay.toml
}

a_transceiver() {
    keys
    KEY=$(command ringway-transceiver api-key web | tee /etc/ringway/api-keys | cut -d: -f2)
    chmod 600 /etc/ringway/api-keys
    export RINGWAY_INGRESS=${RINGWAY_INGRESS:-198.51.100.7:3478}
    # By itself it would be the address that leads to the relay, which may be this host's loopback.
    export RINGWAY_TRANSCEIVER=198.51.100.7
    ringway-transceiver run
}
