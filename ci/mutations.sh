#!/usr/bin/env bash
# Breaks the runtime in one place after the other (ci/mutations/*.patch), and expects that tests notice: those that the patch names. A mutation
# that no test notices fails this check. On two cores 10 minutes from nothing. `ci/mutations.sh NAME...` runs only these.
#
# It works on a copy of the tracked files; the working tree stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUST_BACKTRACE=0 ENGSET_SEEDS="${ENGSET_SEEDS:-30}"
base="${CARGO_TARGET_DIR:-$PWD/target}"
export CARGO_TARGET_DIR="$base/mutations"
copy="$base/mutated"
log="$base/mutations.log"
rm -rf "$copy"
mkdir -p "$copy" "$CARGO_TARGET_DIR"
git ls-files -z | xargs -0 cp --parents -p -t "$copy"
patches=(ci/mutations/*.patch)
if [ "$#" -gt 0 ]; then patches=("${@/#/ci/mutations/}"); patches=("${patches[@]/%/.patch}"); fi
missed=()
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    test=$(sed -n 's/^Test: //p' "$patch")
    patch --quiet -d "$copy" -p1 <"$patch"
    # It must compile: a compiler's error is no test that notices.
    (cd "$copy" && bash -c "$test --no-run") >"$log" 2>&1 || { cat "$log" >&2; echo "$name: it does not compile" >&2; exit 1; }
    code=0
    (cd "$copy" && timeout 300 bash -c "$test") >"$log" 2>&1 || code=$?
    if [ "$code" -eq 0 ]; then
        echo "$name: NOT NOTICED by $test"
        missed+=("$name")
    else
        echo "$name: noticed by"
        if [ "$code" -eq 124 ]; then
            echo "  a hang: given up after 300 s"
        else
            # A model checker's panic may end its program before the test harness has a word.
            { grep -aoE "^test .* \.\.\. FAILED" "$log" || grep -aoE "^thread '[^']+'.* panicked" "$log" || tail -1 "$log"; } |
                sed -E "s/^test (.*) \.\.\. FAILED/  \1/; s/^thread '([^']+)'.*/  \1/" | sort -u | head -8
        fi
    fi
    patch --quiet -R -d "$copy" -p1 <"$patch"
done
rm -rf "$copy"
[ "${#missed[@]}" -eq 0 ] || { echo "no test notices: ${missed[*]}" >&2; exit 1; }
