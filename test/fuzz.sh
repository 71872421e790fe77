#!/usr/bin/env bash
# Runs each fuzz target of the tree for the time given (default 30s), one after another.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
grep -rlE --include='*_test.go' '^func Fuzz' . | grep -v '^./test/tailcompare' | xargs -n1 dirname | sort -u | while read -r dir; do
	grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | while read -r target; do
		echo "== $dir $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir"
	done
done
