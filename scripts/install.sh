#!/usr/bin/env bash
# Installs Ringway's programs and what they need around them, or removes them again.
#
#   scripts/install.sh install      PREFIX (default /usr/local), DESTDIR (default none) from the environment
#   scripts/install.sh uninstall    removes what install put there; configuration and keys stay
#
# BUILD is where the programs are (default target/release). A program that was not built is left out,
# and said. With DESTDIR nothing of this host is touched, for packagers; without, users and folders are
# made at once, and nothing is started.
set -euo pipefail
cd "$(dirname "$0")/.."

command=${1:-}
prefix=${PREFIX:-/usr/local}
destination=${DESTDIR:-}
build=${BUILD:-${CARGO_TARGET_DIR:-target}/release}
programs=(ringway-relay ringway-transceiver ringway-loadgen ringway-tuning)
services=(ringway-relay ringway-transceiver)
# Where systemd looks for what administrators install themselves, and for what packages do.
case $prefix in
    /usr) units=/usr/lib/systemd/system ;;
    *) units=/etc/systemd/system ;;
esac
share=$prefix/share/ringway
documents=$prefix/share/doc/ringway
# Where Debian's zsh looks for what packages bring, and for what administrators do.
case $prefix in
    /usr) zsh=$prefix/share/zsh/vendor-completions ;;
    *) zsh=$prefix/share/zsh/site-functions ;;
esac

say() { echo "install: $*"; }

put() { # MODE FROM TO
    install -D -m "$1" "$2" "$destination$3"
}

unit() { # the unit with this installation's paths in it
    sed -e "s#/usr/bin/#$prefix/bin/#g" -e "s#/usr/share/doc/ringway#$documents#g" "deploy/systemd/$1.service"
}

has_notify_reload() {
    local version
    # A package is made for hosts of any age, so the drop-in is put beside the units there.
    [ -z "$destination" ] || return 1
    version=$(systemctl --version 2>/dev/null | awk 'NR == 1 { print $2 }') || return 0
    [ "${version:-253}" -ge 253 ]
}

# What a program prints of itself, by the words that ask for it, and where that belongs.
printed() { # PROGRAM
    local section=8
    [ "$1" != ringway-loadgen ] || section=1
    echo "man:$prefix/share/man/man$section/$1.$section"
    echo "completions bash:$prefix/share/bash-completion/completions/$1"
    echo "completions zsh:$zsh/_$1"
    echo "completions fish:$prefix/share/fish/vendor_completions.d/$1.fish"
}

print_all() { # PROGRAM
    local words to text
    while IFS=: read -r words to; do
        # A program for another machine does not run here.
        # shellcheck disable=SC2086 # words are words
        if text=$("$build/$1" $words 2>/dev/null) && [ -n "$text" ]; then
            printf '%s\n' "$text" | install -D -m 0644 /dev/stdin "$destination$to"
        else
            say "$build/$1 does not run here: $to left out"
        fi
    done < <(printed "$1")
}

install_all() {
    local program service
    for program in "${programs[@]}"; do
        if [ -x "$build/$program" ]; then
            put 0755 "$build/$program" "$prefix/bin/$program"
            print_all "$program"
        else
            say "$build/$program is not there (make build makes it): left out"
        fi
    done
    [ -x "$destination$prefix/bin/ringway-relay" ] || { say "nothing to install"; exit 1; }
    for service in "${services[@]}"; do
        unit "$service" | install -D -m 0644 /dev/stdin "$destination$units/$service.service"
        if ! has_notify_reload; then
            put 0644 deploy/systemd/before-253.conf "$units/$service.service.d/before-253.conf"
        fi
    done
    put 0644 deploy/systemd/ringway.sysusers /usr/lib/sysusers.d/ringway.conf
    put 0644 deploy/systemd/ringway.tmpfiles /usr/lib/tmpfiles.d/ringway.conf
    put 0644 deploy/sysctl/50-ringway.conf /usr/lib/sysctl.d/50-ringway.conf
    put 0644 deploy/seccomp/ringway.json "$share/seccomp/ringway.json"
    local file
    for file in deploy/prometheus/*.yml deploy/grafana/*.json; do
        put 0644 "$file" "$share/${file#deploy/}"
    done
    for file in README.md CHANGELOG.md LICENSE-* docs/*.md; do
        put 0644 "$file" "$documents/$(basename "$file")"
    done
    put 0644 deploy/systemd/direct-egress.conf "$documents/direct-egress.conf"
    put 0644 relay/src/control/config/default.toml "$share/relay.toml"
    put 0644 transceiver/src/control/config/default.toml "$share/transceiver.toml"
    if [ -z "$destination" ]; then
        ready_host
    fi
    say "done. Next: $prefix/bin/ringway-relay keygen /etc/ringway/keys.toml;"
    say "  chgrp ringway /etc/ringway/keys.toml; chmod 640 /etc/ringway/keys.toml;"
    say "  cp $share/relay.toml /etc/ringway/ and edit it; systemctl enable --now ringway-relay"
}

# What a package's scripts would do.
ready_host() {
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers /usr/lib/sysusers.d/ringway.conf
        systemd-tmpfiles --create /usr/lib/tmpfiles.d/ringway.conf
    else
        say "no systemd here: make the users and folders of deploy/systemd/ringway.{sysusers,tmpfiles}"
    fi
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
    sysctl -q -p /usr/lib/sysctl.d/50-ringway.conf ||
        say "net.core.rmem_max was not raised (ringway-tuning check says what it costs)"
}

uninstall_all() {
    local program service
    for service in "${services[@]}"; do
        if [ -z "$destination" ] && [ -d /run/systemd/system ]; then
            systemctl disable --now "$service" 2>/dev/null || true
        fi
        rm -f "$destination$units/$service.service" "$destination$units/$service.service.d/before-253.conf"
        rmdir "$destination$units/$service.service.d" 2>/dev/null || true
    done
    for program in "${programs[@]}"; do
        rm -f "$destination$prefix/bin/$program"
        printed "$program" | while IFS=: read -r _ file; do
            rm -f "$destination$file"
        done
    done
    rm -f "$destination"/usr/lib/{sysusers,tmpfiles}.d/ringway.conf "$destination/usr/lib/sysctl.d/50-ringway.conf"
    # Both end in /ringway, whatever the prefix.
    rm -rf "$destination${share:?}" "$destination${documents:?}"
    if [ -z "$destination" ] && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
    say "removed. /etc/ringway is left; what ringway-tuning changed, it reverts itself (before removing it)"
}

case $command in
    install) install_all ;;
    uninstall) uninstall_all ;;
    *)
        sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'
        exit 2
        ;;
esac
