#!/bin/sh
# Shows the main job: two rump kernels on one Ethernet bus, configured, looked
# at and pinged, without root. Every step is printed as one would type it, then
# what it prints. Usage: demo.sh [DIRECTORY OF THE PROGRAMS]
set -eu

bin=$(cd "${1:-bin}" && pwd)
PATH=$bin:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/rumpdemo.XXXXXX")
XDG_RUNTIME_DIR=$work
export PATH XDG_RUNTIME_DIR
unset RUMP_SERVER || true
bus=$work/bus

cleanup() {
	status=$?
	trap - EXIT INT TERM HUP
	for kernel in a b; do
		if [ -e "$work/rump/$kernel" ]; then
			rumpctl halt $kernel >/dev/null 2>&1 || true
		fi
	done
	rm -rf "$work"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

run() {
	printf '\n$ %s\n' "$*"
	"$@"
}

run rumpctl start a --bus "$bus" --address 10.0.0.1/24 --address fd00::1/64
run rumpctl start b --bus "$bus" --address 10.0.0.2/24 --address fd00::2/64
run rumpctl list
RUMP_SERVER=a
export RUMP_SERVER
printf '\n$ export RUMP_SERVER=a\n'
run rumpctl status
run rifconfig -a
run rping -c 3 -i 0.2 10.0.0.1
run rping -c 3 -i 0.2 10.0.0.2
run rping -c 3 -i 0.2 fd00::1
run rping -c 3 -i 0.2 fd00::2
run rnetstat -rn
run rnetstat -i
run rnetstat -an

printf '\n$ rping -i 5 10.0.0.2      # and Ctrl-C after a second\n'
rping -i 5 10.0.0.2 &
ping=$!
sleep 1
kill -INT $ping
wait $ping

run rumpctl halt a
run rumpctl halt b
run rumpctl list
left=$(find "$work" -type s -o -type p)
if [ -n "$left" ]; then
	echo "demo: left behind: $left" >&2
	exit 1
fi
