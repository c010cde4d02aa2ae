package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postseal/postseal/internal/app"
)

type devCmd struct {
	Run  devRunCmd  `cmd:"" default:"withargs" help:"Run the instance (the default)."`
	DNS  devDNSCmd  `cmd:"" name:"dns" help:"Change the embedded DNS of a running instance."`
	Mail devMailCmd `cmd:"" help:"Print the newest raw message for an address, nothing if there is none."`
}

// Help is shown by postseal dev --help.
func (devCmd) Help() string {
	return `postseal dev alone runs the instance; postseal dev run --help lists its flags (--dir, --env-file, --tenants, --fast-clock, --pingone-proxy, ...).`
}

type devRunCmd struct {
	Dir          string `help:"Keep state here, so that it outlives the instance. Default: a temporary directory, deleted at the end." type:"path" placeholder:"DIR"`
	Tenants      int    `help:"How many demo tenants there are." default:"1"`
	FastClock    bool   `help:"Shorten the grace and all intervals to seconds."`
	EnvFile      string `help:"Write NAME='value' lines for clients, once everything listens." type:"path" placeholder:"FILE"`
	Listen       string `help:"HTTP at this loopback address." default:"127.0.0.1:0" placeholder:"HOST:PORT"`
	ListenTLS    string `help:"HTTPS at this loopback address." name:"listen-tls" default:"127.0.0.1:0" placeholder:"HOST:PORT"`
	ListenDNS    string `help:"DNS at this loopback address." name:"listen-dns" default:"127.0.0.1:0" placeholder:"HOST:PORT"`
	PingOneProxy string `help:"Also be a forward proxy here that leads CONNECT of any host:443 to our HTTPS, for clients that want dotted host names." name:"pingone-proxy" placeholder:"HOST:PORT"`
	Verbose      bool   `short:"v" help:"Log everything, not only what is wrong."`
}

// Validate refuses an instance that nobody could use.
func (c *devRunCmd) Validate() error {
	if c.Tenants < 1 {
		return fmt.Errorf("--tenants is %d: there must be one at least", c.Tenants)
	}
	return nil
}

func (c *devRunCmd) Run(s *streams) error {
	level := slog.LevelWarn
	if c.Verbose {
		level = slog.LevelDebug
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	d, err := app.StartDev(ctx, app.DevConfig{
		Dir: c.Dir, Tenants: c.Tenants, FastClock: c.FastClock, EnvFile: c.EnvFile, HTTP: c.Listen, HTTPS: c.ListenTLS, DNS: c.ListenDNS,
		PingOneProxy: c.PingOneProxy, Log: s.logger(level, "text"),
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-d.Ready:
	}
	fmt.Fprintln(s.out, "postseal dev is ready. What clients need to know:")
	for _, v := range d.Env {
		fmt.Fprintf(s.out, "  %s='%s'\n", v.Name, v.Value)
	}
	fmt.Fprintf(s.out, "Publish records:  postseal dev dns add NAME TYPE VALUE --dir %[1]s\nRead mail:        postseal dev mail ADDRESS --dir %[1]s\nStop with Ctrl-C.\n", d.Getenv("POSTSEAL_DEV_DIR"))
	return <-ended
}

// instance finds a running `postseal dev`: by its directory, or by POSTSEAL_URL
// and POSTSEAL_OPERATOR_KEY.
type instance struct {
	Dir string `help:"The directory of the running instance; default: POSTSEAL_URL and POSTSEAL_OPERATOR_KEY in the environment." type:"path" placeholder:"DIR"`
}

// control calls a development control and returns the body of a 2xx.
func (i instance) control(s *streams, method, path string, body any) ([]byte, error) {
	base, key := s.getenv("POSTSEAL_URL"), s.getenv("POSTSEAL_OPERATOR_KEY")
	if i.Dir != "" {
		text, err := os.ReadFile(filepath.Join(i.Dir, "env"))
		if err != nil {
			return nil, fmt.Errorf("no instance is running in %s: %w", i.Dir, err)
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			value = strings.Trim(value, "'")
			switch name {
			case "POSTSEAL_URL":
				base = value
			case "POSTSEAL_OPERATOR_KEY":
				key = value
			}
		}
	}
	if base == "" || key == "" {
		return nil, errors.New("which instance? Give --dir, or set POSTSEAL_URL and POSTSEAL_OPERATOR_KEY as postseal dev --env-file writes them")
	}
	return call(s.ctx, method, base+path, key, body)
}

// call sends JSON and returns the body of a 2xx; otherwise the error is what
// the server said.
func call(ctx context.Context, method, at, bearer string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, at, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, at, resp.Status, bytes.TrimSpace(out))
	}
	return out, nil
}

type devDNSCmd struct {
	Add devDNSAddCmd `cmd:"" help:"Add a record."`
	Del devDNSDelCmd `cmd:"" help:"Remove a record; without a value all of that name and type."`
}

type devDNSAddCmd struct {
	instance
	Name     string `arg:"" help:"Any name, such as _postseal.example.org."`
	Type     string `arg:"" help:"TXT, CNAME, MX, A, AAAA, NS, SOA, CAA, SRV or PTR."`
	Value    string `arg:"" help:"The value; TXT as it is, without quotes."`
	Priority int    `arg:"" optional:"" help:"Of MX and SRV; 0 if left out."`
}

func (c *devDNSAddCmd) Run(s *streams) error {
	_, err := c.control(s, http.MethodPost, "/dev/dns", dnsRecord{c.Name, c.Type, c.Value, c.Priority})
	return err
}

type devDNSDelCmd struct {
	instance
	Name     string `arg:""`
	Type     string `arg:""`
	Value    string `arg:"" optional:""`
	Priority int    `arg:"" optional:"" hidden:""`
}

func (c *devDNSDelCmd) Run(s *streams) error {
	_, err := c.control(s, http.MethodDelete, "/dev/dns", dnsRecord{c.Name, c.Type, c.Value, c.Priority})
	return err
}

type dnsRecord struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Value    string `json:"value"`
	Priority int    `json:"priority,omitempty"`
}

type devMailCmd struct {
	instance
	Address string `arg:"" help:"The recipient."`
}

func (c *devMailCmd) Run(s *streams) error {
	raw, err := c.control(s, http.MethodGet, "/dev/mail/"+url.PathEscape(c.Address), nil)
	if err != nil {
		return err
	}
	_, err = s.out.Write(raw)
	return err
}
