//go:build !linux

// Execload is for rumpctl exec, which is for Linux.
package main

func main() {}
