//go:build !race

package logparse

// modelScripts is how many stories of a log the model test runs.
const modelScripts = 300
