#!/usr/bin/env bash
# The address sanitizer over the tests of the core: scheduler, runtime, and the tests of the root crate that run in one process. On two cores 6
# minutes from nothing, 3 of them compiling. Needs a nightly toolchain. With --all also stdlib and net: 15 minutes.
#
# Left out: compile_fail (it calls the compiler), the tests that run a child which dies of a stack overflow (the sanitizer has a handler of its own
# for that signal), and those that measure memory (it keeps freed memory back).
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
export RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes" ENGSET_SEEDS="${ENGSET_SEEDS:-10}" RUST_BACKTRACE=0
# Stacks of processes are not the sanitizer's: leaks are looked for by the tests themselves.
export ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=0:exitcode=66"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/asan"
run() { cargo +nightly test --quiet --target "$target" --features engset-scheduler/sanitizer "$@"; }
skip=(--skip overflow --skip memory --skip gives_back --skip faults --skip address_space)
run -p engset-scheduler --lib -- "${skip[@]}"
for test in blocking_and_futures calls crashes determinism exit_rules kill_and_unwind links mailbox_limits monitors nodes \
    regressions resources selective_receive signal_order signals timers attacks; do
    [ -f "tests/$test.rs" ] || { echo "no tests/$test.rs" >&2; exit 1; }
    run -p engset -p engset-scheduler --test "$test" -- "${skip[@]}"
done
if [ "${1-}" = --all ]; then
    run -p engset-stdlib -p engset-scheduler --tests -- "${skip[@]}"
    run -p engset-net -p engset-scheduler --tests -- "${skip[@]}"
fi
