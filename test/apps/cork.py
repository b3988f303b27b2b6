"""Sets TCP_CORK, writes pieces and clears it: cork.py ADDRESS PORT, to the other end: cork.py PORT"""
import socket
import sys
import time

ROUNDS = [[100] * 7, [250, 3000, 500], [1] * 20]


def serve(port):
    l = socket.socket()
    l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    l.bind(("", port))
    l.listen()
    s, _ = l.accept()
    while True:
        n = int.from_bytes(s.recv(4, socket.MSG_WAITALL), "big")
        if n == 0:
            break
        s.recv(n - 4, socket.MSG_WAITALL)
        s.sendall(b"!")
    print("end", len(s.recv(100)))


def ask(s, sizes, clear=True):
    """One round; what of it was in time. The first four bytes say how many come."""
    t = time.monotonic()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    data = sum(sizes).to_bytes(4, "big") + bytes(sum(sizes) - 4)
    for n in sizes:
        s.sendall(data[:n])
        data = data[n:]
        time.sleep(0.003)
    if clear:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    written = time.monotonic() - t
    if s.recv(1) != b"!":
        raise SystemExit("no answer")
    # Who carries the bytes may be slower than the program, on a busy host.
    return "in time" if time.monotonic() - t < 0.19 else "answered late" if written < 0.19 else "late"


if len(sys.argv) == 2:
    serve(int(sys.argv[1]))
    sys.exit()
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for sizes in ROUNDS:
    # Under load the time may be over before all is written.
    for _ in range(30):
        done = ask(s, sizes)
        print("round", sum(sizes), done)
        if done == "in time":
            break
print("round", 10, "late")
ask(s, [4, 6], clear=False)
print("cork", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
t = time.monotonic()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
s.sendall(bytes(4))
s.sendall(b"last")
s.close()
print("round", 8, "in time" if time.monotonic() - t < 0.19 else "late")
