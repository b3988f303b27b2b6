package humanize

import "testing"

func TestNumber(t *testing.T) {
	// ifconfig(8): char buf[5], HN_DECIMAL|HN_NOSPACE; netstat(1): char
	// buf[7], HN_NOSPACE|HN_B. Expected values are humanize_number(3)'s own.
	ifconfig := Style{Width: 4, Decimal: true}
	netstat := Style{Width: 6, Bytes: true}
	for _, c := range []struct {
		n                 uint64
		ifconfig, netstat string
	}{
		{0, "0", "0B"},
		{1, "1", "1B"},
		{999, "999", "999B"},
		{1000, "1.0K", "1000B"},
		{1023, "1.0K", "1023B"},
		{1024, "1.0K", "1024B"},
		{1536, "1.5K", "1536B"},
		{9999, "9.8K", "9999B"},
		{10188, "9.9K", "10188B"},
		{10240, "10K", "10240B"},
		{12150, "12K", "12150B"},
		{99999, "98K", "99999B"},
		{100000, "98K", "98K"},
		{1 << 20, "1.0M", "1024K"},
		{1234567, "1.2M", "1206K"},
		{1 << 30, "1.0G", "1024M"},
		{1 << 40, "1.0T", "1024G"},
		{1 << 50, "1.0P", "1024T"},
		{1 << 60, "1.0E", "1024P"},
		// Too large to be rounded: cut.
		{1<<64 - 1, "7.0E", "8191P"},
	} {
		if got := ifconfig.Number(c.n); got != c.ifconfig {
			t.Errorf("ifconfig: %d: got %s, want %s", c.n, got, c.ifconfig)
		}
		if got := netstat.Number(c.n); got != c.netstat {
			t.Errorf("netstat: %d: got %s, want %s", c.n, got, c.netstat)
		}
	}
}
