package outbound

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestOnlyPublicAddressesAreConnectedTo(t *testing.T) {
	allowed := Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}}
	for addr, want := range map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "100.63.255.255": true, "172.32.0.1": true, "2606:2800:220:1::1": true,
		"64:ff9b::5db8:d822": true, "::ffff:8.8.8.8": true, "223.255.255.255": true, "2a00:1450:4001::1": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "100.64.0.1": false, "100.127.255.255": false, "127.0.0.1": false, "127.9.9.9": false,
		"169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false, "192.0.0.8": false, "192.0.2.1": false, "192.88.99.1": false,
		"192.168.1.1": false, "198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.255": false,
		"240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:0:127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::a00:1": false, "100::1": false, "2001::1": false, "2001:db8::1": false,
		"2002:7f00:1::": false, "3fff::1": false, "5f00::1": false, "fc00::1": false, "fd12:3456::1": false, "fe80::1": false, "fe80::1%lo": false,
		"fec0::1": false, "ff02::1": false, "ff0e::1": false,
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::a01:203": true, "fd00:1::5": true, "10.2.0.1": false,
	} {
		if got := allowed.Allows(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t, want %t", addr, got, want)
		}
	}
	if (Guard{}).Allows(netip.Addr{}) {
		t.Error("no address is allowed")
	}
}

func TestAddressIsLookedAtWhenTheNameHasLedToIt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	var texts []string
	for _, host := range []string{"127.0.0.1", "localhost", "nowhere.invalid", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		c, err := Guard{}.Dial(t.Context(), "tcp", host+":"+port)
		if err == nil {
			c.Close()
			t.Errorf("%s was connected to", host)
			continue
		}
		texts = append(texts, err.Error())
	}
	for _, text := range texts {
		if text != texts[0] || strings.Contains(text, "127.0.0.1") {
			t.Errorf("this tells something of our network: %s", text)
		}
	}
	c, err := Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("allowed, and still %v", err)
	}
	c.Close()
}
