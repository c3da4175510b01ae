#!/usr/bin/env bash
# Runs each fuzz target for a number of seconds: scripts/fuzz.sh SECONDS [TARGET…]
#
# The folder is laid out for cargo-fuzz, and this needs neither it nor a nightly compiler: coverage is a pass of
# the stable one, and without unsafe code there is nothing for an address sanitizer to find on our side.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:-60}
shift || true
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
# With a target named, build scripts and macros are built without these flags.
$cargo build --target "$host"
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | tail -n +2)
[ "$seconds" -gt 0 ] || exit 0
failed=
for target in "$@"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "== $target, $seconds s"
    "$CARGO_TARGET_DIR/$host/debug/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=8192 -print_final_stats=1 -artifact_prefix="artifacts/$target/" "corpus/$target" \
        >"artifacts/$target.log" 2>&1 || failed="$failed $target"
    grep -E 'DONE|ERROR|panicked|Test unit written|number_of_executed_units|average_exec' "artifacts/$target.log" || true
done
if [ -n "$failed" ]; then
    echo "found something:$failed (see fuzz/artifacts)" >&2
    exit 1
fi
