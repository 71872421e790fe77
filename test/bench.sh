#!/bin/sh
# Measure the whole agent beside real Postfix, and write docs/BENCHMARKS.md.
#
#   test/bench.sh [part...]     scrape parse follow bound idle recovery scan; all of them if none is named, and only then the file is written
#
# It ends by itself in some minutes. It needs root and Postfix (test/install.sh); everything it starts is private and is stopped.
#   HELD=100000   messages in the queue that is scanned (default 20000; Postfix takes about 1,000 a second)
#   RUNS=11       recoveries timed with each setting
set -eu
cd "$(dirname "$0")/.."
parts=$(IFS='|'; echo "$*")
out=
[ -n "$parts" ] || out=$PWD/docs/BENCHMARKS.md
SPAREMX_REQUIRE=1 SPAREMX_BENCH_OUT=$out SPAREMX_BENCH_HELD=${HELD:-20000} SPAREMX_BENCH_RUNS=${RUNS:-11} \
	exec go test -run '^$' -bench "^BenchmarkAgent\$/^(${parts:-.*})\$" -benchtime 1x -timeout 40m ./test/bench
