#!/usr/bin/env bash
# The examples chat-room and bank as programs: what they print, and their errors. Seconds, if they are compiled. (Their own tests
# run with all others, in ci/test.sh.)
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --example chat-room --example bank
examples="${CARGO_TARGET_DIR:-target}/release/examples"
chat="$examples/chat-room" bank="$examples/bank"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() { echo "examples: $1" >&2; [ -z "${2-}" ] || echo "$2" >&2; exit 1; }
# expect PATTERN TEXT: a line of the text is exactly that.
expect() { grep -qx -- "$1" <<<"$2" || fail "no line \"$1\" in:" "$2"; }

# The demo, under two seeds; the same lines as a script; and at a terminal, which is a pipe here.
for seed in "" 7; do
    output=$(env ${seed:+"ENGSET_SEED=$seed"} timeout 60 "$chat" --demo 2>&1)
    diff <(echo "$output") examples/chat-room/expected.txt || fail "the demo prints something else"
done
timeout 60 "$chat" --script examples/chat-room/demo.txt | diff - examples/chat-room/expected.txt || fail "the script prints something else"
output=$(printf 'a: /join x\nb: /join x\nb: /crash\na: /dance\n' | timeout 60 "$chat" 2>&1)
expect "\[b\] #x \* b is here" "$output"
expect "\[?\] there is no command /dance (/help lists them)" "$output"

# With threads; and in systematic mode, twice the same.
output=$(timeout 60 "$bank" --crashes 50 2>&1)
expect "1000 before, 1000 after" "$output"
first=$(timeout 60 "$bank" --crashes 50 --seed 7 2>&1) second=$(timeout 60 "$bank" --crashes 50 --seed 7 2>&1)
expect "1000 before, 1000 after" "$first"
[ "$first" = "$second" ] || fail "the same seed, another run:" "$first
$second"

# refused PROGRAM TEXT ARGUMENT...: exit code 2, and the text in the message.
refused() {
    local program=$1 text=$2 code=0 output; shift 2
    output=$(timeout 60 "$program" "$@" 2>&1 </dev/null) || code=$?
    [ "$code" -eq 2 ] || fail "exit code $code instead of 2 for: $program $*" "$output"
    grep -q -- "$text" <<<"$output" || fail "no \"$text\" for: $program $*" "$output"
}
refused "$chat" "no option --bogus" --bogus
refused "$chat" "needs a file" --script
refused "$chat" "No such file or directory" --script "$scratch/missing"
refused "$chat" "only one of" --demo --demo
refused "$bank" "no option --bogus" --bogus
refused "$bank" "needs a number" --crashes
refused "$bank" "needs a number, not \"many\"" --crashes many
refused "$bank" "a transfer needs two" --accounts=1
"$chat" --help | grep -q "^Usage: chat-room" || fail "chat-room --help does not help"
"$bank" --help | grep -q "^Usage: bank" || fail "bank --help does not help"
echo "examples: as expected"
