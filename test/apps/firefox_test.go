package apps

import (
	"image"
	"image/color"
	_ "image/png" // what firefox writes
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// firefox runs the browser without a screen, with a profile that asks nobody else.
func firefox(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program := find(t, "firefox-esr")
	profile := tempDir(t)
	write(t, filepath.Join(profile, "user.js"), `
user_pref("app.normandy.enabled", false);
user_pref("app.update.auto", false);
user_pref("browser.newtabpage.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage", "about:blank");
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.dns.disablePrefetch", true);
user_pref("network.prefetch-next", false);
user_pref("network.proxy.type", 0);
user_pref("toolkit.telemetry.enabled", false);
user_pref("toolkit.telemetry.server", "");
`)
	cmd := client.command(nil, program, append([]string{"--headless", "--no-remote", "--profile", profile}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+profile, "MOZ_CRASHREPORTER_DISABLE=1", "DBUS_SESSION_BUS_ADDRESS=disabled:")
	return cmd
}

// TestFirefox: a page whose images and script's output come from the server.
func TestFirefox(t *testing.T) {
	all(t)
	p := port(t)
	server.serve(t, "tcp", p, server.command(nil, filepath.Join(bin, "goweb"), "serve", hostPort(server.v4, p)))
	shot := filepath.Join(tempDir(t), "shot.png")
	r := start(t, firefox(t, "--screenshot", shot, "--window-size=320,200", "http://"+hostPort(server.v4, p)+"/page")).finish(3 * limit)
	f, err := os.Open(shot)
	if err != nil {
		t.Fatalf("%v\n%+v", err, r)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what string
		x, y int
		want color.RGBA
	}{
		{"the first image", 50, 50, color.RGBA{R: 0xd0, G: 0x10, B: 0x40, A: 0xff}},
		{"the second image", 150, 50, color.RGBA{R: 0x10, G: 0x90, B: 0xc0, A: 0xff}},
		{"what the script drew", 250, 50, color.RGBA{R: 0x20, G: 0xb0, B: 0x30, A: 0xff}},
		{"the background", 50, 150, color.RGBA{R: 0xff, G: 0xff, B: 0xff, A: 0xff}},
	} {
		if got := color.RGBAModel.Convert(img.At(tt.x, tt.y)); got != tt.want {
			t.Errorf("%s is %v, want %v", tt.what, got, tt.want)
		}
	}
}

// TestFirefoxRestart: the browser's kernel ends and another one takes its place; where
// the user wants it (inftime), the browser loads the next page.
func TestFirefoxRestart(t *testing.T) {
	all(t)
	twoKernels(t)
	p := port(t)
	goweb := filepath.Join(bin, "goweb")
	base := "http://" + hostPort(server.v4, p)
	s := server.serve(t, "tcp", p, server.command(nil, goweb, "serve", hostPort(server.v4, p)))
	cmd := firefox(t, base+"/wait")
	cmd.Env = append(cmd.Env, "RUMPHIJACK_RETRYCONNECT=inftime")
	start(t, cmd)
	s.says(`GET /next\n`)
	client.restart(t)
	time.Sleep(time.Second)
	server.want(t, goweb, "get", base+"/go")
	s.says(`GET /after\n`)
	if m := s.says(`GET /done\?(\d+)`); m[1] != "100" {
		t.Errorf("the image is %s wide", m[1])
	}
}
