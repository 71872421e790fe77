package collector

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/METRICS.md anew")

// The reference of metrics is made from the catalog, so that it cannot say what the code does not.
func TestMetricsReferenceIsFresh(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`# Metrics

Made from the code; ` + "`go test ./collector -run Reference -update`" + ` writes it anew.

Labels are bounded: configured domains (else "other"), primaries, places, services, causes, classes of codes. An address, a queue ID, a
client or a reply is never a label. Series of an enumeration are there from the start, at 0. Histograms of durations are classic and native at once.

## Of sparemx

`)
	table := func(list []family) {
		b.WriteString("| name | type | labels | what it is |\n|---|---|---|---|\n")
		slices.SortFunc(list, func(a, b family) int { return strings.Compare(a.name, b.name) })
		for _, f := range list {
			kind := map[kind]string{gauge: "gauge", counter: "counter", histo: "histogram", untyped: "untyped"}[f.kind]
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, kind, strings.Join(f.labels, ", "), strings.ReplaceAll(f.help, "|", "\\|"))
		}
	}
	table(families())
	b.WriteString("\n## For dashboards made for other exporters of Postfix\n\nThe same names and labels, with right values. `metrics: { compat: false }` leaves them out.\n\n")
	table(compatFamilies())

	const path = "../docs/METRICS.md"
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Errorf("docs/METRICS.md is not what the code says (%v): go test ./collector -run Reference -update", err)
	}
}
