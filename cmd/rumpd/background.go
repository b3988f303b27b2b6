package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"rumptools/internal/slack"
)

// A Go program can't fork and go on, so going to the background is starting
// the same program again: in a session of its own, with a pipe through which
// it says that it serves. Scripts rely on that: when the first process has
// ended well, the kernel can be used.

// readyEnv names the pipe's descriptor in the background process.
const readyEnv = "RUMPD__READY"

const readyFD = 3

func inBackground() bool { return os.Getenv(readyEnv) != "" }

var errEnded = errors.New("the kernel was ended before it served")

// startBackground starts the background process and returns when it serves, or
// says why it does not. A signal ends both.
func startBackground(sigs <-chan os.Signal) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), readyEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = slack.Start(cmd)
	w.Close()
	if err != nil {
		return err
	}
	read := make(chan struct{})
	signalled := make(chan bool)
	go func() {
		select {
		case sig := <-sigs:
			cmd.Process.Signal(sig)
			signalled <- true
		case <-read:
			signalled <- false
		}
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	close(read)
	if ended := <-signalled; err == nil && strings.TrimSpace(line) == "ready" {
		if ended {
			return errEnded
		}
		return nil
	}
	if err != nil && err != io.EOF {
		return err
	}
	// It has said why on the common standard error.
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	} else if err != nil {
		return fmt.Errorf("the kernel's process: %w", err)
	}
	return errEnded
}

// backgroundReady tells the first process that the kernel serves, and lets go
// of the terminal. When the first process is gone, nobody wants the kernel.
func backgroundReady() error {
	os.Unsetenv(readyEnv)
	w := os.NewFile(readyFD, "ready")
	syscall.CloseOnExec(readyFD)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	if _, err := w.WriteString("ready\n"); err != nil {
		return fmt.Errorf("the process that started it is gone: %w", cause(err))
	}
	w.Close()
	return redirect(null)
}
