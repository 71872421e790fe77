package test

import (
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// Mail that was deferred before the agent ran, by an outage that is over: nobody declared it, Postfix would take minutes, and it is handed
// on all the same.
func TestMailLeftOverFromBeforeIsHandedOn(t *testing.T) {
	t.Parallel()
	primary := rig.StoppedSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	var truth rig.Truth
	backup.Inject(rig.Load{N: 100, To: "user%d@example.org"}, &truth)
	rig.Eventually(t, 30*time.Second, "all to be deferred", func() bool { return backup.Count("deferred") == 100 })
	primary.Up()
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + "queue: { every: 2s }\n"})
	waitState(t, agent, 10*time.Second, "up")
	rig.Eventually(t, 60*time.Second, "everything to be at the primary", func() bool { return truth.Diff(primary.Arrived()).Same() })
}
