#!/usr/bin/env bash
# Shrinks each corpus to the inputs that add coverage, before it is committed.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
export RUSTC_BOOTSTRAP=1
for target in $(cargo fuzz list); do
    cargo fuzz cmin --sanitizer none "$target"
done
