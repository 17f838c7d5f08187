#!/usr/bin/env bash
# The comparison with other runtimes, small, with Erlang and tokio: it runs to its end, nothing fails, and the chart and the
# figures are written. No figures; those need a quiet machine. Half a minute on two cores, if it is compiled. Needs: erl, erlc.
# (The other Rust peers are compiled by ci/clippy.sh; Go is not installed for this.)
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
compare() { timeout 540 cargo run --release --quiet -p engset-benches --bin compare -- "$@"; }
fail() { echo "compare: $1" >&2; exit 1; }

output=$(compare --quick --rounds 1 --peers erlang,tokio --out "$folder/chart.svg" --json "$folder/figures.json")
echo "$output"
grep -q '^| `spawn` rate, spawns/s | .* | .* | .* | .* | .* |$' <<<"$output" || fail "no row of the table for spawn"
# What is missing is what these two have no means for, and nothing else.
unexpected=$(sed -n '/^Missing:$/,$p' <<<"$output" | tail -n +2 | grep -v "the same as engset" |
    grep -v "erlang, fanin-bounded: mailboxes of Erlang have no bound" | grep -v "tokio, hog: tasks give way" || true)
[ -z "$unexpected" ] || fail "unexpected: $unexpected"
grep -q "</svg>" "$folder/chart.svg" || fail "no chart"

# From the figures alone, without a run.
again=$(compare --workloads "" --merge "$folder/figures.json")
grep -q '^| `skynet` time, ms |' <<<"$again" || fail "the figures cannot be read again"

code=0
message=$(compare --peers java 2>&1) || code=$?
[ "$code" -eq 2 ] || fail "exit code $code for a runtime that there is not"
grep -q '"java"; there are: engset' <<<"$message" || fail "unclear: $message"
echo "compare: as expected"
