// Package postfix is all that we ask of a local Postfix: what it is configured to do, where it would send mail for an
// address, and what it holds. Its [Queue] is a queue.Queue.
//
// Everything is asked of Postfix's own commands (postconf, postmap, postqueue, postmulti), never read out of the source of its
// tables, so that the answer is the one that Postfix would act on. Each command has a deadline, bounded output, a process
// group of its own that dies with the context, LC_ALL=C, and no shell. The one seam is [Runner].
//
// Hazards. Answers age: Postfix reads main.cf when its daemons start, we read it now. A table that asks a server (SQL,
// LDAP, tcp, socketmap) may be slow or down: that is an error, never "no such key". What the sender decides
// (sender_dependent_relayhost_maps, sender_dependent_default_transport_maps, FILTER actions of access tables) cannot be told
// from a recipient; a [Route] says so in its Notes.
//
// postfix imports only queue.
package postfix
