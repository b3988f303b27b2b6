// Smtpd takes mail by SMTP (RFC 5321) and keeps each message in a file: "smtpd ADDRESS
// DIRECTORY". Only the tests of programs need it.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: smtpd ADDRESS DIRECTORY")
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer conn.Close()
			if err := serve(conn, os.Args[2]); err != nil {
				log.Printf("%v: %v", conn.RemoteAddr(), err)
			}
		}()
	}
}

var messages atomic.Int32

func serve(conn net.Conn, dir string) error {
	c := textproto.NewConn(conn)
	say := func(line string) error { return c.PrintfLine("%s", line) }
	if err := say("220 test ESMTP"); err != nil {
		return err
	}
	for {
		line, err := c.ReadLine()
		if err != nil {
			return err
		}
		verb, _, _ := strings.Cut(line, " ")
		answer := "250 ok"
		switch strings.ToUpper(verb) {
		case "EHLO":
			if err := say("250-test"); err != nil {
				return err
			}
			answer = "250 8BITMIME"
		case "HELO", "MAIL", "RCPT", "RSET", "NOOP":
		case "DATA":
			if err := say("354 go on"); err != nil {
				return err
			}
			if err := keep(c, dir); err != nil {
				return err
			}
		case "QUIT":
			return say("221 bye")
		default:
			answer = "502 what?"
		}
		if err := say(answer); err != nil {
			return err
		}
	}
}

func keep(c *textproto.Conn, dir string) error {
	path := filepath.Join(dir, fmt.Sprintf("%03d", messages.Add(1)))
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	if _, err := w.ReadFrom(c.DotReader()); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// Whole, once it has its name.
	return os.Rename(path+".part", path)
}
