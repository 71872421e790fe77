#!/bin/sh
# Measure what one scan of a real queue costs beside `postqueue -j` alone.
#
#   test/bench-queue.sh [messages]     default 100000; needs root and Postfix
#
# It fills a private Postfix that delivers nothing (defer_transports) by smtp-source, then lists it several times in
# turn: `postqueue -j` to /dev/null, and our scan. The figures are CPU seconds of the children and of ourselves.
set -eu
cd "$(dirname "$0")/.."
SPAREMX_BENCH_HELD=${1:-100000} SPAREMX_REQUIRE=1 exec go test -run '^$' -bench '^BenchmarkScanRealQueue$' -benchtime 1x -timeout 30m ./postfix
