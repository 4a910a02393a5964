#!/bin/sh
# Makes a root file system for an image out of nothing: programs, the libraries that they name, a user,
# and the folders that they expect.
#
#   rootfs.sh FOLDER PROGRAM...
set -eu

root=$1
shift
mkdir -p "$root/usr/bin" "$root/etc/ringway" "$root/run/ringway" "$root/tmp" "$root/proc"
chmod 1777 "$root/tmp"
# 65532 is what images without a shell call "nonroot".
printf 'root:x:0:0:root:/:/sbin/nologin\nringway:x:65532:65532:Ringway:/:/sbin/nologin\n' > "$root/etc/passwd"
printf 'root:x:0:\nringway:x:65532:\n' > "$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' > "$root/etc/nsswitch.conf"
chown 65532:65532 "$root/run/ringway"

for program in "$@"; do
    cp "$program" "$root/usr/bin/"
    # Line tables are most of a program; the functions' names stay, for perf and panics.
    ! command -v strip >/dev/null || strip --strip-debug "$root/usr/bin/$(basename "$program")"
    # "name => path (address)", and the loader by its path alone. The one without a file is the kernel's.
    ldd "$program" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' |
        while read -r library; do
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
done

# For backends behind TLS, if the build has them.
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    mkdir -p "$root/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi
