#!/usr/bin/env bash
# The index example on a small tree, with a file that is no text and a link to nothing; and its errors. Seconds, if it is
# compiled. (No file without permission to read: root may read it.)
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --example index
index="${CARGO_TARGET_DIR:-target}/release/examples/index"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

mkdir -p "$tree/deep/er" "$tree/.git" "$tree/target"
printf 'one two two\nthree Three THREE\n' >"$tree/deep/text"
printf 'three\n' >"$tree/deep/er/text"
printf 'ab\377\376\n' >"$tree/deep/binary"
printf 'hidden\n' | tee "$tree/.git/a" >"$tree/target/b"
ln -s nowhere "$tree/dangling"
ln -s .. "$tree/deep/circle"
mkfifo "$tree/pipe"

fail() { echo "index: $1" >&2; [ -z "${2-}" ] || echo "$2" >&2; exit 1; }
# expect PATTERN TEXT: a line of the text is exactly that.
expect() { grep -qx -- "$1" <<<"$2" || fail "no line \"$1\" in:" "$2"; }

# With threads, and in systematic mode.
for seed in "" 7; do
    output=$(env ${seed:+"ENGSET_SEED=$seed"} timeout 60 "$index" --at-a-time 2 --top 2 "$tree" 2>&1)
    expect " *4  three" "$output"
    expect " *2  two" "$output"
    expect "2 files, 3 lines, 7 words, 36 bytes" "$output"
    expect "2 could not be read:" "$output"
    expect "  $tree/dangling: No such file or directory.*" "$output"
    expect "  $tree/deep/binary: no text: invalid utf-8 .*" "$output"
    if grep -Eq "hidden|panicked|crashed" <<<"$output"; then fail "what should not be there:" "$output"; fi
done

# More files than are read at a time, and some hundreds at a time.
for number in $(seq 2000); do printf 'word %s\n' "$number" >"$tree/deep/er/$number"; done
output=$(timeout 60 "$index" "$tree")
expect " *2000  word" "$output"
expect "2002 files, .*" "$output"

# refused TEXT ARGUMENT...: exit code 2, and the text in the message.
refused() {
    local text=$1 code=0 output; shift
    output=$(timeout 60 "$index" "$@" 2>&1) || code=$?
    [ "$code" -eq 2 ] || fail "exit code $code instead of 2 for: $*" "$output"
    grep -q -- "$text" <<<"$output" || fail "no \"$text\" for: $*" "$output"
}
refused "No such file or directory" "$tree/missing"
refused "is not a directory" "$tree/deep/text"
refused "no option --bogus" --bogus
refused "needs a number" --top many
refused "needs a number" --top
refused "more than one DIR" a b
refused "must be 1 at least" --at-a-time=0
"$index" --help | grep -q "^Usage: index" || fail "--help does not help"
echo "index: as expected"
