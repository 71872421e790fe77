package postfix

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// cpu is the CPU time used by this process, and by its children that have ended.
func cpu(who int) time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(who, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// group is the CPU time of all processes of a process group that live, from /proc (showq(8) does the work of a listing and
// lives on), in clock ticks of 10 ms.
func group(name string) time.Duration {
	out, _ := exec.Command("sh", "-c", `cat /proc/[0-9]*/stat 2>/dev/null | awk '$2=="(`+name+`)" {n+=$14+$15} END {print n*10}'`).Output()
	ms, _ := strconv.Atoi(string(out[:max(0, len(out)-1)]))
	return time.Duration(ms) * time.Millisecond
}

// BenchmarkScanRealQueue compares a scan of a real queue with "postqueue -j" alone; see test/bench-queue.sh.
func BenchmarkScanRealQueue(b *testing.B) {
	n, _ := strconv.Atoi(os.Getenv("SPAREMX_BENCH_HELD"))
	if n == 0 {
		n = 500
	}
	rig.Need(b, "postfix")
	p := rig.StartPostfix(b, rig.Conf{Name: "mx2", LongIDs: true, Main: []string{"relay_domains = x.test", "defer_transports = relay",
		"smtpd_client_connection_count_limit = 0", "default_process_limit = 100", "qmgr_message_active_limit = 20000"}})
	source, err := exec.LookPath("smtp-source")
	if err != nil {
		source = "/usr/sbin/smtp-source"
	}
	if out, err := exec.Command(source, "-d", "-s", "20", "-m", strconv.Itoa(n), "-l", "1024", "-f", "s@example.org", "-t", "user@x.test", p.Addr).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	p.WaitHeld(10*time.Minute, n)
	q := Queue{Instances: []Instance{{Name: "postfix", ConfigDir: p.Config, CommandDir: "/usr/sbin", Version: Version{3, 7, 11}}}, Timeout: 5 * time.Minute}
	const rounds = 5
	var alone, children, own, showqAlone, showqScan, wall time.Duration
	for b.Loop() {
		for range rounds {
			c, s := cpu(syscall.RUSAGE_CHILDREN), group("showq")
			cmd := exec.Command("/usr/sbin/postqueue", "-c", p.Config, "-j")
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
			alone += cpu(syscall.RUSAGE_CHILDREN) - c
			showqAlone += group("showq") - s

			s, c = group("showq"), cpu(syscall.RUSAGE_CHILDREN)
			self, start := cpu(syscall.RUSAGE_SELF), time.Now()
			got, err := count(context.Background(), &q)
			if err != nil || got < n {
				b.Fatalf("%d of %d messages, %v", got, n, err)
			}
			wall += time.Since(start)
			own += cpu(syscall.RUSAGE_SELF) - self
			children += cpu(syscall.RUSAGE_CHILDREN) - c
			showqScan += group("showq") - s
		}
	}
	per := float64(rounds*b.N) * float64(n)
	us := func(d time.Duration) float64 { return float64(d.Microseconds()) / per }
	b.ReportMetric(us(alone), "postqueue-us/msg")
	b.ReportMetric(us(showqAlone), "showq-us/msg")
	b.ReportMetric(us(children), "scan-postqueue-us/msg")
	b.ReportMetric(us(showqScan), "scan-showq-us/msg")
	b.ReportMetric(us(own), "ours-us/msg")
	b.ReportMetric(float64(children+own)/float64(alone), "x-postqueue-alone")
	b.ReportMetric(float64(children+own+showqScan)/float64(alone+showqAlone), "x-with-showq")
	b.ReportMetric(us(wall), "wall-us/msg")
}
