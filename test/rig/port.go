package rig

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Ports below the range Linux takes for outgoing connections (net.ipv4.ip_local_port_range, from 32768), so that a
// port of a part that is stopped for a while cannot be taken by a client.
const (
	firstPort = 20000
	lastPort  = 32000
)

// Port returns a port of 127.0.0.1 on which nothing listens. No other test, in this process or another, gets the same
// one before this test has ended: a lock on a file holds it.
func Port(t testing.TB) int {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "sparemx-rig-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		lock, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(port)), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			lock.Close()
			continue
		}
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			lock.Close()
			continue
		}
		l.Close()
		t.Cleanup(func() { lock.Close() })
		return port
	}
	t.Fatal("rig: no free port")
	return 0
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
