package rig

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program in a session of its own, so that all it starts can be ended by one signal to the group.
type process struct {
	name  string
	pid   int
	exit  chan struct{} // closed when the leader has ended
	err   error         // how it ended; read after exit
	guard *exec.Cmd
	word  io.WriteCloser // standard input of the guard; its end without a word ends the group
	stop  sync.Once
}

// startProcess starts cmd and its guard. The process is ended when the test ends.
func startProcess(t testing.TB, name string, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = 5 * time.Second // a grandchild may keep the output open
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	p := &process{name: name, pid: cmd.Process.Pid, exit: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exit)
	}()
	// The guard outlives this process only if it was killed: then its input ends without a word.
	p.guard = exec.Command("/bin/sh", "-c", `read word || kill -s KILL -- "-$1"`, "rig-guard", strconv.Itoa(p.pid))
	p.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	word, err := p.guard.StdinPipe()
	if err == nil {
		err = p.guard.Start()
	}
	if err != nil {
		p.signalGroup(syscall.SIGKILL)
		t.Fatalf("start the guard of %s: %v", name, err)
	}
	p.word = word
	t.Cleanup(p.kill)
	return p
}

// running tells whether the leader is still there.
func (p *process) running() bool {
	select {
	case <-p.exit:
		return false
	default:
		return true
	}
}

func (p *process) signalGroup(sig syscall.Signal) { syscall.Kill(-p.pid, sig) }

// groupGone tells whether no process of the group is left. One that is dead and not yet reaped is gone too: where the
// first process of a container reaps nobody, it would be seen for ever.
func (p *process) groupGone() bool {
	if errors.Is(syscall.Kill(-p.pid, 0), syscall.ESRCH) {
		return true
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// proc(5): pid (comm) state ppid pgrp ...; comm may hold anything, so count from its last parenthesis.
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(f) > 2 && f[2] == strconv.Itoa(p.pid) && f[0] != "Z" && f[0] != "X" {
			return false
		}
	}
	return true
}

// terminate asks the leader to end and waits; whoever of its group is left after limit is killed.
func (p *process) terminate(limit time.Duration) error {
	var late error
	if p.running() {
		syscall.Kill(p.pid, syscall.SIGTERM)
		select {
		case <-p.exit:
		case <-time.After(limit):
			late = fmt.Errorf("%s did not end within %v of SIGTERM", p.name, limit)
		}
	}
	p.kill()
	return late
}

// kill ends the whole group at once and waits until it is gone.
func (p *process) kill() {
	p.stop.Do(func() {
		p.signalGroup(syscall.SIGKILL)
		<-p.exit
		poll(5*time.Second, 5*time.Millisecond, p.groupGone)
		io.WriteString(p.word, "done\n")
		p.word.Close()
		p.guard.Wait()
	})
}
