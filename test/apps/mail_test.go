package apps

import (
	"crypto/sha256"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"encoding/base64"
)

// mailer is mutt and msmtp, and the SMTP server that takes the mail on the other kernel.
type mailer struct {
	dir, spool, mutt, muttrc string
	port                     int
}

func startMail(t *testing.T) *mailer {
	t.Helper()
	m := &mailer{mutt: find(t, "mutt"), dir: tempDir(t), port: port(t)}
	msmtp := find(t, "msmtp")
	m.spool = filepath.Join(m.dir, "spool")
	if err := os.Mkdir(m.spool, 0o755); err != nil {
		t.Fatal(err)
	}
	server.serve(t, "tcp", m.port, server.command(nil, filepath.Join(bin, "smtpd"), hostPort(server.v4, m.port), m.spool))
	conf := write(t, filepath.Join(m.dir, "msmtprc"), fmt.Sprintf(`defaults
tls off
auth off
syslog off
account default
host %v
port %d
from me@client.test
`, server.v4, m.port))
	m.muttrc = write(t, filepath.Join(m.dir, "muttrc"), fmt.Sprintf(`set sendmail = "%s -C %s"
set from = "me@client.test"
set use_from = yes
set copy = no
set folder = "%s"
set tmpdir = "%[3]s"
set record = ""
set hostname = "client.test"
`, msmtp, conf, m.dir))
	return m
}

// message waits for the nth mail.
func (m *mailer) message(t *testing.T, n int) *mail.Message {
	t.Helper()
	path := filepath.Join(m.spool, fmt.Sprintf("%03d", n))
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("mail %d does not arrive", n)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	msg, err := mail.ReadMessage(f)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func (m *mailer) command(subject string, more ...string) *exec.Cmd {
	args := append([]string{"-F", m.muttrc, "-s", subject}, more...)
	cmd := client.command(nil, m.mutt, append(args, "--", "you@server.test")...)
	cmd.Env = append(os.Environ(), "HOME="+m.dir, "LC_ALL=C.UTF-8", "TERM=dumb")
	return cmd
}

const letter = "Dear you,\n\n. a line with a dot at its start\n..and two\nFrom the beginning of a line\ntrailing blanks   \n\nü ß €\n"

// TestMail: mutt closes what it has open, forks, and has msmtp read the mail from its
// standard input; it arrives as it was written.
func TestMail(t *testing.T) {
	all(t)
	m := startMail(t)
	cmd := m.command("a letter")
	cmd.Stdin = strings.NewReader(letter)
	succeeds(t, cmd, limit)
	msg := m.message(t, 1)
	if got := msg.Header.Get("Subject"); got != "a letter" {
		t.Errorf("subject %q", got)
	}
	if got := text(t, msg.Header.Get("Content-Transfer-Encoding"), msg.Body); got != letter {
		t.Errorf("got %q\nwant %q", got, letter)
	}

	// With a file, of which a part is in each of many segments.
	file := filepath.Join(m.dir, "attached.bin")
	body := content(t, file, 2_000_000)
	cmd = m.command("a file", "-a", file)
	cmd.Stdin = strings.NewReader(letter)
	succeeds(t, cmd, 2*limit)
	msg = m.message(t, 2)
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	part, err := parts.NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, part.Header.Get("Content-Transfer-Encoding"), part); got != letter {
		t.Errorf("got %q\nwant %q", got, letter)
	}
	if part, err = parts.NextRawPart(); err != nil {
		t.Fatal(err)
	}
	if got := text(t, part.Header.Get("Content-Transfer-Encoding"), part); sha256.Sum256([]byte(got)) != sha256.Sum256(body) {
		t.Errorf("attached: %d bytes, want %d", len(got), len(body))
	}
}

// TestMailClosed: descriptors 0 to 2 are closed when the program starts, so that the
// first sockets and files of it and of the mail agent have these numbers.
func TestMailClosed(t *testing.T) {
	all(t)
	m := startMail(t)
	draft := write(t, filepath.Join(m.dir, "draft"), "To: you@server.test\nSubject: closed\n\n"+letter)
	script := `exec "$@" <&- >&- 2>&-`
	inside := []string{"-c", script, "sh", m.mutt, "-F", m.muttrc, "-H", draft}
	cmd := client.command(nil, "/bin/sh", inside...)
	cmd.Env = append(os.Environ(), "HOME="+m.dir, "LC_ALL=C.UTF-8", "TERM=dumb")
	if r := start(t, cmd).finish(limit); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	// The first file that mutt opens is the draft, which is its standard input then; it
	// adds that.
	msg := m.message(t, 1)
	if got := text(t, msg.Header.Get("Content-Transfer-Encoding"), msg.Body); got != letter+letter {
		t.Errorf("got %q\nwant %q twice", got, letter)
	}

	// What starts exec has closed them.
	outside := client.command(nil, m.mutt, "-F", m.muttrc, "-H", draft)
	cmd = exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, outside.Args...)...)
	cmd.Args[4] = outside.Path
	cmd.Env = append(os.Environ(), "HOME="+m.dir, "LC_ALL=C.UTF-8", "TERM=dumb")
	if r := start(t, cmd).finish(limit); r.Code != 0 {
		t.Fatalf("closed before exec: %+v", r)
	}
	m.message(t, 2)

	// msmtp alone: its socket is a low number then.
	conf := filepath.Join(m.dir, "msmtprc")
	cmd = client.command(nil, "/bin/sh", "-c", `exec "$@" >&- 2>&-`, "sh", find(t, "msmtp"), "-C", conf, "you@server.test")
	cmd.Stdin = strings.NewReader("Subject: low\n\n" + letter)
	if r := start(t, cmd).finish(limit); r.Code != 0 {
		t.Fatalf("msmtp: %+v", r)
	}
	if got := text(t, "", m.message(t, 3).Body); got != letter {
		t.Errorf("got %q\nwant %q", got, letter)
	}
}

// text undoes a content transfer encoding (RFC 2045).
func text(t *testing.T, encoding string, r io.Reader) string {
	t.Helper()
	switch strings.ToLower(encoding) {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		all, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return unquote(string(all))
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// unquote undoes quoted-printable; package mime/quotedprintable drops blanks that mutt
// leaves at the end of a line, as it may.
func unquote(s string) string {
	s = strings.ReplaceAll(s, "=\n", "")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '=' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
