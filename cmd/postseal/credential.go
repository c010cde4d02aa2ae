package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/postseal/postseal/internal/app"
	"github.com/postseal/postseal/internal/auth"
	"github.com/postseal/postseal/internal/sender"
)

type credentialCmd struct {
	Create credentialCreateCmd `cmd:"" help:"Make a credential and print its secret, once."`
	List   credentialListCmd   `cmd:"" help:"List credentials, revoked ones included."`
	Rotate credentialRotateCmd `cmd:"" help:"Make another credential of the same kind and rights, and let the old one end."`
	Revoke credentialRevokeCmd `cmd:"" help:"Revoke a credential; a running server refuses it within two seconds."`
}

// Help is shown by postseal credential --help.
func (credentialCmd) Help() string {
	return `These work on the database itself, so that they need no credential; the server may be running. Over the network the same is done by the native API, /v1/tenants/TENANT/credentials.`
}

// whose says whose credentials a command is about.
type whose struct {
	Operator bool   `help:"An operator's: it may do everything on this instance. Either this or --tenant." xor:"whose"`
	Tenant   string `help:"That of this tenant." xor:"whose" placeholder:"UUID"`
}

// Validate is asked by kong, whose own "required" would show both in the usage.
func (w whose) Validate() error {
	if !w.Operator && w.Tenant == "" {
		return errors.New("say whose credential is meant: --operator or --tenant UUID")
	}
	_, err := w.tenant()
	return err
}

// tenant is empty for operators.
func (w whose) tenant() (sender.ID, error) {
	if w.Operator {
		return "", nil
	}
	id, ok := sender.ParseID(strings.ToLower(w.Tenant))
	if !ok {
		return "", fmt.Errorf("--tenant %s is no UUID", w.Tenant)
	}
	return id, nil
}

// secretOut is where a secret that is shown once goes.
type secretOut struct {
	URL string `help:"Base URL that clients reach this instance by, for the properties file of a pingid-key. Default: http.public_url." placeholder:"URL"`
	Out string `help:"Write the secret to this file, readable for you alone; it must not exist. Default: standard output." type:"path" placeholder:"FILE"`
}

// write prints what is secret: a properties file, a client id with its secret, or
// an API key.
func (o secretOut) write(s *streams, cfg app.Config, c sender.Credential, secret auth.Secret) error {
	text := string(secret) + "\n"
	switch c.Kind {
	case sender.OAuthClient:
		text = fmt.Sprintf("client_id=%s\nclient_secret=%s\n", c.ID, string(secret))
	case sender.KeyPair:
		base := strings.TrimSuffix(o.URL, "/")
		if base == "" {
			base = strings.TrimSuffix(cfg.HTTP.PublicURL, "/")
		}
		if base == "" {
			base = "https://HOST"
			fmt.Fprintln(s.errOut, "postseal: neither --url nor http.public_url is set: put the host into pingidsdk_url yourself")
		}
		text = auth.Properties(c, secret, base+"/pingid", "")
	}
	if o.Out == "" {
		_, err := fmt.Fprint(s.out, text)
		return err
	}
	f, err := os.OpenFile(o.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		if _, err = f.WriteString(text); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("the credential %s was made, but its secret could not be written; revoke it: %w", c.ID, err)
	}
	fmt.Fprintf(s.out, "Wrote the credential %s to %s.\n", c.ID, o.Out)
	return nil
}

// fit refuses what write could not do, before anything is made.
func (o secretOut) fit() error {
	if u, err := url.Parse(o.URL); o.URL != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		return fmt.Errorf("--url is %q: write it as https://HOST", o.URL)
	}
	if _, err := os.Lstat(o.Out); o.Out != "" && err == nil {
		return fmt.Errorf("--out %s is there already; a secret never replaces another", o.Out)
	}
	return nil
}

type credentialCreateCmd struct {
	configFlags
	whose
	secretOut
	Kind string `help:"oauth-client, api-key or pingid-key; a tenant's is oauth-client by default, an operator's is an api-key." placeholder:"KIND"`
	Name string `help:"What it is called in lists; operator or command line by default." placeholder:"NAME"`
	Role string `help:"What it may do in the tenant: reader, sender or admin (default); an operator's has none." placeholder:"ROLE"`
	// Organization takes the place of the tenant in the grant.
	Organization string        `help:"Give the role in all tenants of this organization, also in those that are made later; an admin there makes, changes and deletes tenants." placeholder:"UUID"`
	Life         time.Duration `help:"How long it counts; for ever by default." placeholder:"720h"`
}

// Validate refuses flags that do not go together. It hides that of whose.
func (c *credentialCreateCmd) Validate() error {
	if err := c.whose.Validate(); err != nil {
		return err
	}
	switch {
	case c.Operator && c.Role != "":
		return errors.New("--role goes with --tenant: an operator may do everything")
	case c.Operator && c.Organization != "":
		return errors.New("--organization goes with --tenant: an operator may do everything")
	case c.Life < 0:
		return fmt.Errorf("--life %s has passed already; give how long from now", c.Life)
	}
	return nil
}

func (c *credentialCreateCmd) Run(s *streams) error {
	cfg, err := c.load(s, app.LoadDatabaseConfig)
	if err != nil {
		return err
	}
	tenant, err := c.tenant()
	if err != nil {
		return err
	}
	if err := c.fit(); err != nil {
		return err
	}
	n := auth.NewCredential{Kind: sender.CredentialKind(c.Kind), Name: c.Name, Tenant: tenant, Operator: c.Operator}
	if c.Operator {
		orDefault(&n.Kind, sender.APIKey)
		orDefault(&n.Name, "operator")
	} else {
		orDefault(&n.Kind, sender.OAuthClient)
		orDefault(&n.Name, "command line")
		orDefault(&c.Role, string(sender.RoleAdmin))
		n.Grants = []sender.Grant{{Tenant: tenant, Role: sender.Role(c.Role)}}
		if c.Organization != "" {
			id, ok := sender.ParseID(strings.ToLower(c.Organization))
			if !ok {
				return fmt.Errorf("--organization %s is no UUID", c.Organization)
			}
			n.Grants = []sender.Grant{{Organization: id, Role: sender.Role(c.Role)}}
		}
	}
	if c.Life > 0 {
		n.ExpiresAt = time.Now().Add(c.Life)
	}
	return app.WithAuth(s.ctx, cfg, s.configured(cfg), func(a *auth.Auth) error {
		made, secret, err := a.CreateCredential(s.ctx, auth.Local(), n)
		if err != nil {
			return err
		}
		return c.write(s, cfg, made, secret)
	})
}

// credentialID takes an id in either case; what is none is nobody's.
func credentialID(s string) sender.ID { return sender.ID(strings.ToLower(s)) }

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

type credentialListCmd struct {
	configFlags
	whose
	JSON bool `help:"One JSON object a line."`
}

func (c *credentialListCmd) Run(s *streams) error {
	cfg, err := c.load(s, app.LoadDatabaseConfig)
	if err != nil {
		return err
	}
	tenant, err := c.tenant()
	if err != nil {
		return err
	}
	return app.WithAuth(s.ctx, cfg, s.configured(cfg), func(a *auth.Auth) error {
		cs, err := a.Credentials(s.ctx, auth.Local(), tenant, sender.Page{})
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		if !c.JSON && len(cs) > 0 {
			fmt.Fprintln(table, "ID\tKIND\tSTATE\tCREATED\tNAME")
		}
		for _, x := range cs {
			state := "active"
			switch now := time.Now(); {
			case !x.RevokedAt.IsZero():
				state = "revoked"
			case !x.Active(now):
				state = "expired"
			case !x.ExpiresAt.IsZero():
				state = "until " + x.ExpiresAt.Format(time.RFC3339)
			}
			if !c.JSON {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", x.ID, x.Kind, state, x.CreatedAt.Format(time.DateOnly), x.Name)
				continue
			}
			line, err := json.Marshal(struct {
				ID        sender.ID             `json:"id"`
				Kind      sender.CredentialKind `json:"kind"`
				Name      string                `json:"name"`
				State     string                `json:"state"`
				Token     string                `json:"token,omitempty"`
				CreatedAt time.Time             `json:"createdAt"`
			}{x.ID, x.Kind, x.Name, state, x.Token, x.CreatedAt})
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s\n", line)
		}
		return table.Flush()
	})
}

type credentialRotateCmd struct {
	configFlags
	whose
	secretOut
	ID      string        `arg:"" help:"Of the old one."`
	Overlap time.Duration `help:"How long the old one can be used on." default:"24h"`
}

func (c *credentialRotateCmd) Run(s *streams) error {
	cfg, err := c.load(s, app.LoadDatabaseConfig)
	if err != nil {
		return err
	}
	tenant, err := c.tenant()
	if err != nil {
		return err
	}
	if err := c.fit(); err != nil {
		return err
	}
	return app.WithAuth(s.ctx, cfg, s.configured(cfg), func(a *auth.Auth) error {
		made, secret, err := a.RotateCredential(s.ctx, auth.Local(), tenant, credentialID(c.ID), c.Overlap)
		if err != nil {
			return err
		}
		return c.write(s, cfg, made, secret)
	})
}

type credentialRevokeCmd struct {
	configFlags
	whose
	ID string `arg:"" help:"Of the one to end."`
}

func (c *credentialRevokeCmd) Run(s *streams) error {
	cfg, err := c.load(s, app.LoadDatabaseConfig)
	if err != nil {
		return err
	}
	tenant, err := c.tenant()
	if err != nil {
		return err
	}
	return app.WithAuth(s.ctx, cfg, s.configured(cfg), func(a *auth.Auth) error {
		if err := a.RevokeCredential(s.ctx, auth.Local(), tenant, credentialID(c.ID)); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "Revoked %s.\n", c.ID)
		return nil
	})
}
