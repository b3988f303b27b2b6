package spclient_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"rumptools/pkg/spclient"
)

// certificate makes a certificate for 127.0.0.1, and the pool that trusts it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:        true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// serveHTTP runs a web server of net/http's in the kernel, until the test ends.
func serveHTTP(t testing.TB, c *spclient.Conn, conf *tls.Config) (base string) {
	t.Helper()
	l, err := c.Listen(testContext(t), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		w.Header().Set("X-From", r.RemoteAddr)
		// HTTP/1.1 answers when all has come.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Write(body)
	})
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		// The answer has no end, or the client might have that before it is told that
		// its time is up: TLS says good-bye while others still read.
		<-over
	})
	srv := &http.Server{Handler: mux, TLSConfig: conf, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() {
		if conf != nil {
			served <- srv.ServeTLS(l, "", "")
		} else {
			served <- srv.Serve(l)
		}
	}()
	t.Cleanup(func() {
		close(over)
		srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server ended with %v", err)
		}
	})
	scheme := "http://"
	if conf != nil {
		scheme = "https://"
	}
	return scheme + l.Addr().String()
}

// post sends a body to be echoed.
func post(ctx context.Context, client *http.Client, url string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Equal(got, body) {
		return nil, fmt.Errorf("%s, %d bytes of %d", resp.Status, len(got), len(body))
	}
	return resp, nil
}

// TestHTTP runs client and server of net/http: HTTP/1.1 with connections that are
// used again, TLS, and HTTP/2.
func TestHTTP(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		server, client := dialKernel(t, url), dialKernel(t, url)
		cert, pool := certificate(t)
		for _, tt := range []struct {
			name, proto string
			tls         bool
			next        []string
		}{
			{"plain", "HTTP/1.1", false, nil},
			{"tls", "HTTP/1.1", true, []string{"http/1.1"}},
			{"http2", "HTTP/2.0", true, []string{"h2"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				ctx := testContext(t)
				var conf *tls.Config
				if tt.tls {
					conf = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: tt.next}
				}
				base := serveHTTP(t, server, conf)
				transport := &http.Transport{DialContext: client.DialContext, ForceAttemptHTTP2: tt.proto == "HTTP/2.0"}
				if tt.tls {
					transport.TLSClientConfig = &tls.Config{RootCAs: pool}
				}
				defer transport.CloseIdleConnections()
				hc := &http.Client{Transport: transport}

				reused := 0
				traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
					if info.Reused {
						reused++
					}
				}})
				for i := range 10 {
					body := bytes.Repeat([]byte{byte('a' + i)}, i*i*i*100)
					resp, err := post(traced, hc, base+"/echo", body)
					if err != nil {
						t.Fatal(err)
					}
					if got := resp.Header.Get("X-Proto"); got != tt.proto {
						t.Errorf("spoke %s, want %s", got, tt.proto)
					}
				}
				if reused != 9 {
					t.Errorf("%d of 9 connections were used again", reused)
				}
				var wg sync.WaitGroup
				for range 16 {
					wg.Add(1)
					go func() {
						defer wg.Done()
						for range 5 {
							if _, err := post(ctx, hc, base+"/echo", bytes.Repeat([]byte("many "), 1000)); err != nil {
								t.Error(err)
							}
						}
					}()
				}
				wg.Wait()
				// One that is called off.
				short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
				req, err := http.NewRequestWithContext(short, "GET", base+"/wait", nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := hc.Do(req)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("called off: %v", err)
				}
			})
		}
	})
}

// serveSSH is a server that has one command: it echoes its input.
func serveSSH(l net.Listener, conf *ssh.ServerConfig) error {
	nc, err := l.Accept()
	if err != nil {
		return err
	}
	conn, channels, requests, err := ssh.NewServerConn(nc, conf)
	if err != nil {
		return err
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for nch := range channels {
		if nch.ChannelType() != "session" {
			nch.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		ch, reqs, err := nch.Accept()
		if err != nil {
			return err
		}
		go func() {
			for req := range reqs {
				req.Reply(req.Type == "exec", nil)
				if req.Type == "exec" {
					go func() {
						io.Copy(ch, ch)
						ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
						ch.Close()
					}()
				}
			}
		}()
	}
	return nil
}

// TestSSH runs client and server of golang.org/x/crypto/ssh.
func TestSSH(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx := testContext(t)
		server, client := dialKernel(t, url), dialKernel(t, url)
		_, hostKey, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewSignerFromKey(hostKey)
		if err != nil {
			t.Fatal(err)
		}
		conf := &ssh.ServerConfig{PasswordCallback: func(meta ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if meta.User() != "user" || string(password) != "secret" {
				return nil, errors.New("who?")
			}
			return nil, nil
		}}
		conf.AddHostKey(signer)
		l, err := server.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		served := make(chan error, 1)
		go func() { served <- serveSSH(l, conf) }()

		nc, err := client.DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, channels, requests, err := ssh.NewClientConn(nc, l.Addr().String(), &ssh.ClientConfig{
			User: "user", Auth: []ssh.AuthMethod{ssh.Password("secret")}, HostKeyCallback: ssh.FixedHostKey(signer.PublicKey()),
		})
		if err != nil {
			t.Fatal(err)
		}
		sc := ssh.NewClient(conn, channels, requests)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				s, err := sc.NewSession()
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				want := bytes.Repeat([]byte{byte('a' + i)}, 300000)
				s.Stdin = bytes.NewReader(want)
				if got, err := s.Output("cat"); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
				}
			}()
		}
		wg.Wait()
		sc.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
