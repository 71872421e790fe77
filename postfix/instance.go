package postfix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Instance is one Postfix instance on this host.
type Instance struct {
	Name       string  // its syslog_name: "postfix", "postfix-out"; what queue.Message.Instance says
	Multi      string  // multi_instance_name, "" when it has none
	ConfigDir  string  // config_directory
	QueueDir   string  // queue_directory
	DataDir    string  // data_directory
	CommandDir string  // command_directory: where postqueue, postmap are
	Version    Version // mail_version
}

// command returns the path of one of the instance's commands.
func (i Instance) command(name string) string {
	if i.CommandDir == "" {
		return "/usr/sbin/" + name
	}
	return filepath.Join(i.CommandDir, name)
}

func (i *Instance) fill(c *Config) {
	i.Name = c.Get("syslog_name")
	i.Multi = c.Get("multi_instance_name")
	i.QueueDir, i.DataDir = c.Get("queue_directory"), c.Get("data_directory")
	if dir := c.Get("command_directory"); dir != "" {
		i.CommandDir = dir
	}
	if v, err := ParseVersion(c.Get("mail_version")); err == nil {
		i.Version = v
	}
}

// Options says where to look. The zero Options finds the instances of the default configuration directory.
type Options struct {
	Run        Runner   // nil: Run
	Postconf   string   // path of postconf; "": looked for in PATH and where it is usually installed
	ConfigDirs []string // configuration directories beside the default instance and its multi_instance_directories
	OnlyThese  bool     // nothing but ConfigDirs
}

// postconfPlaces is where packages and the source put postconf (Debian, FreeBSD, NetBSD, macOS); a daemon's PATH often
// lacks sbin.
func postconfPlaces() []string {
	return []string{"/usr/sbin/postconf", "/usr/local/sbin/postconf", "/usr/pkg/sbin/postconf", "/opt/postfix/sbin/postconf", "/opt/local/sbin/postconf"}
}

func findPostconf() (string, error) {
	for _, path := range postconfPlaces() {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	if path, err := exec.LookPath("postconf"); err == nil {
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("%w: postconf is neither in PATH nor in /usr/sbin: install it (apt-get install postfix)", ErrNotFound)
}

// Detect finds the instances: the default one, those of its multi_instance_directories (postmulti(1)) and those of
// o.ConfigDirs, each once. What it could read is returned also when the error is not nil; the error says of each of the
// others what to type.
func Detect(ctx context.Context, o Options) ([]Instance, error) {
	run := o.Run
	if run == nil {
		run = Run
	}
	postconf := o.Postconf
	if postconf == "" {
		var err error
		if postconf, err = findPostconf(); err != nil {
			return nil, err
		}
	}
	var all []Instance
	var wrong []error
	seen := map[string]bool{}
	add := func(dir string) []string {
		if dir != "" && (seen[filepath.Clean(dir)]) {
			return nil
		}
		inst, more, err := describe(ctx, run, postconf, dir)
		if err != nil {
			wrong = append(wrong, err)
			if dir != "" {
				seen[filepath.Clean(dir)] = true
			}
			return nil
		}
		if clean := filepath.Clean(inst.ConfigDir); !seen[clean] {
			seen[clean] = true
			all = append(all, inst)
		}
		return more
	}
	if !o.OnlyThese {
		for _, dir := range add("") {
			add(dir)
		}
	}
	for _, dir := range o.ConfigDirs {
		add(dir)
	}
	if same := sameName(all); same != "" {
		wrong = append(wrong, fmt.Errorf("two instances log as %q and cannot be told apart: postconf -c DIR -e 'syslog_name = NAME' for one of them, then postfix -c DIR reload", same))
	}
	return all, errors.Join(wrong...)
}

func sameName(all []Instance) string {
	for i, a := range all {
		if slices.ContainsFunc(all[:i], func(b Instance) bool { return a.Name == b.Name }) {
			return a.Name
		}
	}
	return ""
}

// describe asks for what an Instance is made of. dir "" is the default configuration directory.
func describe(ctx context.Context, run Runner, postconf, dir string) (Instance, []string, error) {
	argv := []string{postconf}
	if dir != "" {
		if st, err := os.Stat(dir); err == nil && !st.IsDir() {
			return Instance{}, nil, fmt.Errorf("%s is not a directory: give the directory that holds main.cf", dir)
		}
		argv = append(argv, "-c", dir)
	}
	names := []string{"syslog_name", "multi_instance_name", "multi_instance_directories", "multi_instance_enable", "config_directory", "queue_directory",
		"data_directory", "command_directory", "mail_version"}
	text, err := output(ctx, run, askLimit, maxOutput, "", append(slices.Concat(argv, []string{"-x"}), names...)...)
	if isUsage(err) { // Postfix before 2.10 has no -x
		text, err = output(ctx, run, askLimit, maxOutput, "", slices.Concat(argv, names)...)
	}
	if err != nil {
		return Instance{}, nil, explain(err, dir)
	}
	v := parseParameters(text)
	look := func(n string) string { return v[n] }
	get := func(n string) string { return expand(v[n], look) }
	inst := Instance{
		Name: get("syslog_name"), Multi: get("multi_instance_name"), ConfigDir: get("config_directory"), QueueDir: get("queue_directory"),
		DataDir: get("data_directory"), CommandDir: get("command_directory"),
	}
	if inst.ConfigDir == "" {
		inst.ConfigDir = dir
	}
	if inst.CommandDir == "" {
		inst.CommandDir = filepath.Dir(postconf)
	}
	if inst.Name == "" {
		inst.Name = "postfix"
	}
	if inst.Version, err = ParseVersion(get("mail_version")); err != nil {
		return Instance{}, nil, fmt.Errorf("%s: %w", argv[0], err)
	}
	if inst.ConfigDir == "" || inst.QueueDir == "" {
		return Instance{}, nil, fmt.Errorf("%s says no config_directory or queue_directory: see what `postconf config_directory queue_directory` prints", argv[0])
	}
	return inst, words(get("multi_instance_directories")), nil
}

// explain adds to postconf's complaint what to type.
func explain(err error, dir string) error {
	var e *ExitError
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %v: install it (apt-get install postfix)", ErrNotFound, err)
	}
	if !errors.As(err, &e) {
		return err
	}
	at := dir
	if at == "" {
		at = "the default configuration directory"
	}
	switch {
	case strings.Contains(e.Stderr, "alternate_config_directories"), strings.Contains(e.Stderr, "unauthorized configuration directory"):
		return fmt.Errorf("%w: config directory %s is not in alternate_config_directories: as root: postconf -e 'alternate_config_directories = %s' (keep what it lists already)", ErrNoRights, at, at)
	case strings.Contains(e.Stderr, "Permission denied"):
		return fmt.Errorf("%w: %s: let this user read it: chmod o+rx %s && chmod o+r %s/main.cf %s/master.cf", ErrNoRights, complaint(e.Stderr), at, at, at)
	case strings.Contains(e.Stderr, "No such file"):
		return fmt.Errorf("%s: %s: give a directory that holds main.cf and master.cf", at, complaint(e.Stderr))
	}
	return fmt.Errorf("%s: %w", at, err)
}
