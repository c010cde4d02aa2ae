package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// devCA is the certificate authority of one `postseal dev`: it makes a
// certificate for whatever name a client asks for, so that clients which accept
// only real-looking host names over https can be pointed at it.
type devCA struct {
	file string // the certificate, PEM: what clients are told to trust
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// mostLeaves bounds what a client that asks for ever new names can make us keep.
const mostLeaves = 1000

// loadDevCA opens the authority kept in dir, or makes one.
func loadDevCA(dir string) (*devCA, error) {
	ca := &devCA{file: filepath.Join(dir, "ca.pem"), leaves: make(map[string]*tls.Certificate)}
	keyFile := filepath.Join(dir, "ca-key.pem")
	pair, err := tls.LoadX509KeyPair(ca.file, keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return ca, ca.create(keyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("the development CA in %s can't be read; delete ca.pem and ca-key.pem to have a new one made: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds no ECDSA key", keyFile)
	}
	ca.cert, ca.key = pair.Leaf, key
	return ca, nil
}

func (ca *devCA) create(keyFile string) (err error) {
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	der, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "Postseal development CA"}, NotAfter: time.Now().AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, ca.key, ca.key)
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	keyDER, err := x509.MarshalECPrivateKey(ca.key)
	if err != nil {
		return err
	}
	if err := writeFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return writeFile(ca.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// sign makes a certificate for key's public half, by parent (itself if nil).
func sign(t, parent *x509.Certificate, key, by *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t.SerialNumber, t.NotBefore = serial, time.Now().Add(-time.Hour)
	if parent == nil {
		parent = t
	}
	return x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, by)
}

// serverConfig answers every name with a certificate of this authority.
func (ca *devCA) serverConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := strings.ToLower(h.ServerName)
		if name == "" {
			name = "localhost"
		}
		return ca.leaf(name)
	}}
}

func (ca *devCA) leaf(name string) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if c := ca.leaves[name]; c != nil {
		return c, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca.cert, key, ca.key)
	if err != nil {
		return nil, err
	}
	if len(ca.leaves) >= mostLeaves {
		clear(ca.leaves)
	}
	c := &tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key}
	ca.leaves[name] = c
	return c, nil
}

// writeFile replaces a file as a whole: a reader sees the old or the new one.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already when all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
