#!/usr/bin/env bash
# Valgrind's memcheck over the core tests: reads of what was never written or is not there any more, on stacks of processes, too (corosensei
# registers them). Needs valgrind. On two cores 6 minutes.
#
# Left out: what dies of a stack overflow on purpose, what measures memory or address space, and what compiles.
set -euo pipefail
cd "$(dirname "$0")/.."
export ENGSET_SEEDS="${ENGSET_SEEDS:-3}" RUST_BACKTRACE=0
tests=(calls crashes exit_rules kill_and_unwind links mailbox_limits monitors regressions resources selective_receive signal_order signals attacks)
arguments=()
for test in "${tests[@]}"; do arguments+=(--test "$test"); done
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=99 --exit-on-first-error=yes --max-stackframe=4000000 --undef-value-errors=no --main-stacksize=8000000"
cargo test -p engset --no-fail-fast "${arguments[@]}" -- --test-threads=2 \
    --skip overflow --skip aborts_the_program --skip memory --skip ten_thousand_crashes \
    --skip mail_for_a_dead_process_never --skip senders_to_a_full_mailbox --skip drop_oldest_holds_at_most_twice
