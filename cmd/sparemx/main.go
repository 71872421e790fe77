// Command sparemx stands beside a backup MX: it counts what its mail log says, watches the primary, drains the queue when the primary
// is back, tells people once, and accounts for every message.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	"golang.org/x/term"

	"github.com/sparemx/sparemx/config"
)

// version is set by the build.
var version = "dev"

// Exit codes. For status and probe they are those of monitoring plugins.
const (
	exitOK       = 0
	exitWarning  = 1
	exitFailure  = 1
	exitUsage    = 2
	exitCritical = 2
	exitUnknown  = 3
)

// exit is an error that only carries an exit code: what is to be said has been said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// cli is what every command is given: the streams, and the flags that all share.
type cli struct {
	in       io.Reader
	out, err io.Writer

	configFile string
	state      string
	control    string
	listen     []string
	webConfig  string
	log        promslog.Config
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{in: stdin, out: stdout, err: stderr, log: promslog.Config{Level: promslog.NewLevel(), Format: promslog.NewFormat(), Writer: stderr}}
	app := kingpin.New("sparemx", "Watches a backup MX and its primaries: no mail is lost or late because the primary went down, and you can see it.")
	app.UsageWriter(stdout)
	app.ErrorWriter(stderr)
	app.HelpFlag.Short('h')
	app.Version(versionText()).VersionFlag.Hidden()
	app.Flag("config.file", "Configuration file; without one the local Postfix says what this host backs up.").PlaceHolder("FILE").Envar("SPAREMX_CONFIG_FILE").StringVar(&c.configFile)
	app.Flag("state", "Directory for what must survive a restart; wins over the file.").PlaceHolder("DIR").StringVar(&c.state)
	app.Flag("control", "Unix socket of the running agent; wins over the file.").PlaceHolder("PATH").StringVar(&c.control)
	app.Flag("log.level", "One of debug, info, warn, error.").Default("info").SetValue(c.log.Level)
	app.Flag("log.format", "One of logfmt, json.").Default("logfmt").SetValue(c.log.Format)

	c.addRun(app)
	c.addStatus(app)
	c.addQueue(app)
	c.addDrain(app)
	c.addProbe(app)
	c.addReplay(app)
	c.addOutages(app)
	c.addMaintain(app)
	c.addNotify(app)
	c.addReload(app)
	c.addConfig(app)
	c.addHealthcheck(app)
	app.Command("version", "Print the version.").Action(func(*kingpin.ParseContext) error {
		_, err := fmt.Fprintln(c.out, versionText())
		return err
	})

	_, err := app.Parse(args)
	var code exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case strings.Contains(err.Error(), "try --help"), isUsage(err):
		fmt.Fprintf(stderr, "sparemx: %s: try sparemx --help\n", strings.TrimSuffix(err.Error(), ", try --help"))
		return exitUsage
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "sparemx: %s\n", line)
	}
	return exitFailure
}

// isUsage tells whether kingpin refused the command line; it has no type for that.
func isUsage(err error) bool {
	for _, words := range []string{"unknown long flag", "unknown short flag", "unexpected ", "expected argument", "required argument", "required flag", "command not specified", "must be "} {
		if strings.HasPrefix(err.Error(), words) {
			return true
		}
	}
	return false
}

func versionText() string {
	return fmt.Sprintf("sparemx %s (%s %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (c *cli) logger() *slog.Logger { return promslog.New(&c.log) }

// load reads the configuration file if one is named, and lets the flags win.
func (c *cli) load() (*config.Config, error) {
	cfg := config.Default()
	if c.configFile != "" {
		var err error
		if cfg, err = config.Load(c.configFile); err != nil {
			return nil, err
		}
	}
	cfg.Override("state", "--state", &cfg.State, c.state)
	cfg.Override("control", "--control", &cfg.Control, c.control)
	cfg.Override("web.config", "--web.config.file", &cfg.Web.Config, c.webConfig)
	if len(c.listen) > 0 {
		cfg.Web.Listen = c.listen
		cfg.SetSource("web.listen", "--web.listen-address")
	}
	return cfg, cfg.Check()
}

// color tells whether to use colour: only on a terminal, and not when NO_COLOR says so (no-color.org).
func (c *cli) color() bool { return os.Getenv("NO_COLOR") == "" && c.terminal() }

// terminal tells whether a person looks at what is printed.
func (c *cli) terminal() bool {
	f, ok := c.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns how many columns the terminal has, 80 when there is none.
func (c *cli) width() int {
	if f, ok := c.out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}
