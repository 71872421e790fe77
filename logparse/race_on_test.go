//go:build race

package logparse

// modelScripts is how many stories of a log the model test runs; the race detector makes each take five times as long.
const modelScripts = 60
