package probes

import "time"

// Machine turns verdicts into a state, purely: no clock, no I/O. The zero Machine is Unknown with the default Fall and Rise.
type Machine struct {
	Fall, Rise int // 0: 3 and 2
	s          MachineState
}

// MachineState is all that a Machine remembers, to be kept over a restart.
type MachineState struct {
	State State     `json:"state"`
	Since time.Time `json:"since"`
}

// Step takes one result and returns the transition it made, if any.
func (m *Machine) Step(at time.Time, r Result) (Transition, bool) { return Transition{}, false }

// Snapshot returns what to keep.
func (m *Machine) Snapshot() MachineState { return m.s }

// Restore puts back what Snapshot returned.
func (m *Machine) Restore(s MachineState) { m.s = s }
