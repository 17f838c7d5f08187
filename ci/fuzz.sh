#!/usr/bin/env bash
# The fuzz targets for what comes from outside (other nodes, clients, configuration), a while each, from the corpus that is kept: no panic, no
# more memory than agreed. 20 s for each of the six, or as many as the first argument says, and a minute or two to compile. Needs: a nightly
# toolchain, g++.
#
# With `merge` as second argument it also keeps what it has found: the smallest inputs that reach the same code.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-20}" keep="${2:-}"
host=x86_64-unknown-linux-gnu
rustup run nightly rustc --version >/dev/null || { echo "fuzz: a nightly toolchain is missing" >&2; exit 1; }
command -v g++ >/dev/null || { echo "fuzz: g++ is missing" >&2; exit 1; }

# What cargo-fuzz passes, which so need not be there.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1"
RUSTFLAGS=$(tr -s '\n ' ' ' <<<"$RUSTFLAGS")
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fuzz"
cargo +nightly build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --bins

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for target in frame handshake session config redis codec; do
    program="$CARGO_TARGET_DIR/$host/release/$target" corpus="fuzz/corpus/$target"
    mkdir -p "$scratch/$target" "$corpus"
    echo "fuzz: $target, $seconds s, $(find "$corpus" -type f | wc -l) inputs"
    "$program" -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=1024 -timeout=5 -print_final_stats=1 \
        -artifact_prefix="$scratch/" "$scratch/$target" "$corpus" >"$scratch/log" 2>&1 || {
        tail -40 "$scratch/log" >&2
        for input in "$scratch"/crash-* "$scratch"/timeout-* "$scratch"/oom-*; do
            [ ! -f "$input" ] || { echo "fuzz: $target fails for:" >&2; base64 "$input" >&2; }
        done
        exit 1
    }
    grep -E "number_of_executed_units|new_units_added" "$scratch/log" | sed 's/^stat::/  /'
    if [ "$keep" = merge ]; then
        mkdir -p "$scratch/small"
        "$program" -merge=1 -max_len=512 "$scratch/small" "$corpus" "$scratch/$target" >/dev/null 2>&1
        rm -rf "$corpus" && mv "$scratch/small" "$corpus"
    fi
done
