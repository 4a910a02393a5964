#!/usr/bin/env bash
# Runs each fuzz target for a bounded time on the stable toolchain. A crash ends the run, names the
# input and leaves it in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:-60}

cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked --version 0.13.2

# libFuzzer's coverage flags are unstable options of a compiler that has them all the same. No
# sanitizer: the code under test has no `unsafe`, and the runtimes come with nightly only.
export RUSTC_BOOTSTRAP=1
for target in $(cargo fuzz list); do
    echo "fuzz: $target for $seconds s"
    cargo fuzz run --sanitizer none "$target" -- -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 -verbosity=1
done
echo "fuzz: no crash. New inputs are in fuzz/corpus; scripts/fuzz-minimize.sh keeps the useful ones."
