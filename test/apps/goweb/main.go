// Goweb is a web server and a client in Go: static programs, whose runtime makes its
// system calls itself. Only the tests of programs need it.
//
//	goweb serve ADDRESS...             pages until SIGTERM
//	goweb load SECONDS CLIENTS URL     requests; prints how many, fails if any did
//	goweb get URL...                   prints the bodies
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: goweb serve|load|get ARGUMENT...")
	}
	var err error
	switch args := os.Args[2:]; os.Args[1] {
	case "serve":
		err = serve(args)
	case "load":
		err = load(args)
	case "get":
		err = get(args)
	default:
		err = fmt.Errorf("unknown command %s", os.Args[1])
	}
	if err != nil {
		log.Fatal("goweb: ", err)
	}
}

// Colours that no browser shows by itself.
var (
	picture = color.RGBA{R: 0xd0, G: 0x10, B: 0x40, A: 0xff}
	second  = color.RGBA{R: 0x10, G: 0x90, B: 0xc0, A: 0xff}
)

func serve(addrs []string) error {
	var went sync.Once
	gone := make(chan struct{})
	mux := http.NewServeMux()
	log := func(r *http.Request) { fmt.Printf("%s %s %s\n", r.RemoteAddr, r.Method, r.URL) }
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		log(r)
		fmt.Fprintf(w, "hello %s\n", r.URL.Path)
	})
	// As many bytes as are asked for.
	mux.HandleFunc("/bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		w.Write(bytes.Repeat([]byte{'b'}, n))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	})
	for name, c := range map[string]color.Color{"/one.png": picture, "/two.png": second} {
		mux.HandleFunc(name, func(w http.ResponseWriter, r *http.Request) {
			log(r)
			w.Header().Set("Content-Type", "image/png")
			w.Header().Set("Cache-Control", "no-store")
			img := image.NewRGBA(image.Rect(0, 0, 100, 100))
			for i := range 100 * 100 {
				img.Set(i%100, i/100, c)
			}
			png.Encode(w, img)
		})
	}
	// Two images and what a script drew after it had asked the server.
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		log(r)
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<!DOCTYPE html><html><body style="margin:0;background:#fff">
<img src="/one.png" style="position:absolute;left:0;top:0"><img src="/two.png" style="position:absolute;left:100px;top:0">
<div id="d" style="position:absolute;left:200px;top:0;width:100px;height:100px"></div>
<script>
var x = new XMLHttpRequest();
x.open("GET", "/colour", false);
x.send();
document.getElementById("d").style.background = x.responseText;
</script></body></html>`)
	})
	mux.HandleFunc("/colour", func(w http.ResponseWriter, r *http.Request) {
		log(r)
		io.WriteString(w, "#20b030")
	})
	// A page that asks until it is told to go on to the next one.
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		log(r)
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<!DOCTYPE html><html><body><script>
function ask() {
	fetch("/next", {cache: "no-store"}).then(r => r.text()).then(t => {
		if (t == "go") { location = "/after"; } else { setTimeout(ask, 300); }
	}).catch(e => setTimeout(ask, 300));
}
ask();
</script></body></html>`)
	})
	mux.HandleFunc("/next", func(w http.ResponseWriter, r *http.Request) {
		log(r)
		select {
		case <-gone:
			io.WriteString(w, "go")
		default:
			io.WriteString(w, "wait")
		}
	})
	mux.HandleFunc("/go", func(w http.ResponseWriter, r *http.Request) {
		log(r)
		went.Do(func() { close(gone) })
	})
	mux.HandleFunc("/after", func(w http.ResponseWriter, r *http.Request) {
		log(r)
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<!DOCTYPE html><html><body><img src="/one.png" onload="fetch('/done?' + this.naturalWidth)"></body></html>`)
	})
	server := &http.Server{Handler: mux}
	failed := make(chan error, len(addrs))
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		fmt.Println("listening on", l.Addr())
		go func() { failed <- server.Serve(l) }()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

func load(args []string) error {
	if len(args) != 3 {
		return errors.New("load needs SECONDS CLIENTS URL")
	}
	seconds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	clients, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var (
		mu       sync.Mutex
		requests int
		failures []error
		wg       sync.WaitGroup
		body     []byte
	)
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for i := range clients {
		// Half of them make a connection for each request.
		transport := &http.Transport{DisableKeepAlives: i%2 == 1, Proxy: nil}
		client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
		wg.Go(func() {
			for time.Now().Before(end) {
				got, err := fetch(client, args[2])
				mu.Lock()
				requests++
				if body == nil {
					body = got
				}
				if err == nil && !bytes.Equal(got, body) {
					err = fmt.Errorf("a body of %d bytes is not the first one", len(got))
				}
				if err != nil {
					failures = append(failures, err)
				}
				mu.Unlock()
			}
			transport.CloseIdleConnections()
		})
	}
	wg.Wait()
	fmt.Printf("%d requests of %d bytes, %d failed\n", requests, len(body), len(failures))
	if len(failures) > 0 {
		return failures[0]
	}
	if requests == 0 {
		return errors.New("no request")
	}
	return nil
}

func get(urls []string) error {
	client := &http.Client{Timeout: 60 * time.Second}
	for _, url := range urls {
		body, err := fetch(client, url)
		if err != nil {
			return err
		}
		os.Stdout.Write(body)
	}
	return nil
}

func fetch(client *http.Client, url string) ([]byte, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return body, nil
}
