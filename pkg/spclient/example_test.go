package spclient_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Ask the kernel what it is, and wait for a second at most.
func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := spclient.Dial(ctx, os.Getenv("RUMP_SERVER"), nil)
	if errors.Is(err, spclient.ErrNoKernel) {
		log.Fatal("start one first: ", err)
	} else if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	u, err := c.Uname(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(u.Sysname, u.Release, u.Machine)
}

// Print the flags of an interface. The kernel's machine need not be the
// program's.
func ExampleConn_IoctlStruct() {
	ctx := context.Background()
	c, err := spclient.Dial(ctx, os.Getenv("RUMP_SERVER"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		log.Fatal(err)
	}
	r := netbsd.Ifreq{Name: netbsd.IfName("lo0")}
	if err := c.IoctlStruct(ctx, fd, netbsd.SIOCGIFFLAGS, &r); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("lo0: flags=%#x\n", r.Flags(c.Machine()))
}

// Receive a datagram, or give up when the context ends, without leaving a call
// that blocks in the kernel.
func ExampleConn_RecvfromWait() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := spclient.Dial(ctx, "unix:///tmp/kernel", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	if err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 1500)
	n, from, err := c.RecvfromWait(ctx, fd, buf, 0)
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Println("nothing came")
		return
	} else if err != nil {
		log.Fatal(err)
	}
	sa, err := netbsd.ParseSockaddr(c.Machine(), from)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes from %v\n", n, sa)
}

// Make a call that has no method: readlink(2), with its arguments in the order of
// its manual page.
func ExampleCall() {
	ctx := context.Background()
	c, err := spclient.Dial(ctx, "unix:///tmp/kernel", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 1024)
	ret, err := c.NewCall(netbsd.SYS_readlink).
		String("/etc/localtime").Out(buf).Word(uint64(len(buf))).Do(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", buf[:ret.Retval[0]])
}
