package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rumptools/internal/registry"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

func statusCommand() *cobra.Command {
	var server string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "show a kernel and its interfaces",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if server != "" {
					return fmt.Errorf("status: a name and --server exclude each other")
				}
				server = args[0]
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTime)
			defer cancel()
			c, err := registry.Dial(ctx, server, program)
			if err != nil {
				return err
			}
			defer c.Close()
			st, err := readStatus(ctx, c)
			if err != nil {
				return registry.Late(c.URL(), err)
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), st)
			}
			return st.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "the kernel's URL or name")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// statusTime is how long a kernel may take to answer.
const statusTime = 5 * time.Second

// status is what rumpctl status --json prints.
type status struct {
	URL        string            `json:"url"`
	PID        int               `json:"pid,omitempty"` // the host's process
	System     string            `json:"system"`        // "NetBSD 7.99.34"
	Machine    string            `json:"machine"`
	Hostname   string            `json:"hostname"`
	Uptime     float64           `json:"uptime_seconds"`
	Interfaces []interfaceStatus `json:"interfaces"`
}

type interfaceStatus struct {
	Name      string   `json:"name"`
	Up        bool     `json:"up"`
	MTU       uint64   `json:"mtu"`
	Link      string   `json:"link,omitempty"` // Ethernet address
	Addresses []string `json:"addresses"`
}

func readStatus(ctx context.Context, c *spclient.Conn) (*status, error) {
	b := c.Banner()
	st := &status{
		URL: c.URL(), System: b.OSType + " " + b.OSRelease, Machine: b.Machine,
		Interfaces: []interfaceStatus{},
	}
	if k, err := registry.Probe(ctx, "", c.URL()); err == nil {
		st.PID = k.PID
	}
	var err error
	st.Hostname, err = c.SysctlString(ctx, []int32{netbsd.CTL_KERN, netbsd.KERN_HOSTNAME})
	if err != nil {
		return nil, err
	}
	up, err := c.Uptime(ctx)
	if err != nil {
		return nil, err
	}
	st.Uptime = up.Seconds()
	list, err := rtsock.Interfaces(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, ifp := range list {
		st.Interfaces = append(st.Interfaces, describe(c.Machine(), ifp))
	}
	return st, nil
}

func describe(m *netbsd.Machine, ifp rtsock.Interface) interfaceStatus {
	s := interfaceStatus{
		Name: ifp.Name, Up: ifp.Flags&netbsd.IFF_UP != 0, MTU: ifp.Data.Mtu, Addresses: []string{},
	}
	if sa, err := netbsd.ParseSockaddr(m, ifp.Link); err == nil && len(sa.DL.Addr) == 6 {
		s.Link = net.HardwareAddr(sa.DL.Addr).String()
	}
	for _, a := range ifp.Addresses {
		if text := addressText(m, ifp.Name, &a); text != "" {
			s.Addresses = append(s.Addresses, text)
		}
	}
	return s
}

// addressText is an Internet address with the length of its prefix, or nothing.
func addressText(m *netbsd.Machine, ifname string, a *rtsock.Address) string {
	if f := a.Family(); f != netbsd.AF_INET && f != netbsd.AF_INET6 {
		return ""
	}
	sa, err := netbsd.ParseSockaddr(m, a.Addr())
	if err != nil {
		return ""
	}
	addr := sa.ExtractScope().AddrPort.Addr()
	if addr.IsLinkLocalUnicast() && addr.Is6() {
		addr = addr.WithZone(ifname)
	}
	mask, err := netbsd.ParseNetmask(a.Family(), a.Netmask())
	if err != nil {
		return addr.String()
	}
	ones, _ := netbsd.PrefixLen(mask)
	return fmt.Sprintf("%s/%d", addr, ones)
}

func (st *status) print(w io.Writer) error {
	process := ""
	if st.PID != 0 {
		process = fmt.Sprintf(", process %d", st.PID)
	}
	fmt.Fprintf(w, "%s%s\n", st.URL, process)
	fmt.Fprintf(w, "%s/%s, host %s, up %s\n", st.System, st.Machine, st.Hostname,
		time.Duration(st.Uptime*float64(time.Second)).Round(time.Second/10))
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, i := range st.Interfaces {
		up := "down"
		if i.Up {
			up = "up"
		}
		link := i.Link
		if link == "" {
			link = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\tmtu %d\t%s\t%s\n", i.Name, up, i.MTU, link, strings.Join(i.Addresses, " "))
	}
	return tw.Flush()
}
