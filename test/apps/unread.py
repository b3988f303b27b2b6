# What ss(8) and netstat(8) tell that waits for this program, by their column Recv-Q: bytes of a connection, connections of a
# listener, and datagrams. It is the same at last wherever the program runs.
import socket
import subprocess
import sys
import time

ss, netstat = sys.argv[1:]


def told(args, local, peer):
    for line in subprocess.run(args, capture_output=True, text=True).stdout.splitlines():
        fields = line.split()
        if fields[3:4] == [local] and (peer is None or fields[4] == peer):
            return int(fields[1])


for family, address, brackets in (socket.AF_INET, "127.0.0.1", "%s:%d"), (socket.AF_INET6, "::1", "[%s]:%d"):
    v6 = family == socket.AF_INET6
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen(5)
    connections = [socket.create_connection(listener.getsockname()[:2]) for _ in range(3)]
    accepted = listener.accept()[0]
    connections[0].send(b"x" * 1000)
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    datagrams.bind((address, 0))
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.connect(datagrams.getsockname())
    sender.send(b"x" * 100)
    for what, of, kind, want in (
        ("connection", accepted, "t", 1000),
        ("listener", listener, "t", 2),
        ("datagrams", datagrams, "u", None),
    ):
        port = of.getsockname()[1]
        peer = of.getpeername()[1] if what == "connection" else None
        for name, args, form in (
            ("ss", [ss, "-Han" + kind, "-O"], brackets),
            ("netstat", [netstat, "-an" + kind, "-6" if v6 else "-4"], "%s:%d"),
        ):
            if name == "ss":
                args[1] = "-Hln" + kind if what == "listener" else args[1]
            if name == "netstat" and what == "listener":
                continue  # it tells 0 of listeners, or not, by its version
            begin = time.monotonic()
            while True:
                got = told([*args], form % (address, port), peer and form % (address, peer))
                if got == want or want is None and got or time.monotonic() > begin + 5:
                    break
                time.sleep(0.05)
            print(family.name, what, name, got)
    read = accepted.recv(600)
    begin = time.monotonic()
    while (got := told([ss, "-Hant", "-O"], brackets % (address, accepted.getsockname()[1]), brackets % (address, accepted.getpeername()[1]))) != 400:
        if time.monotonic() > begin + 5:
            break
        time.sleep(0.05)
    print(family.name, "after", len(read), "bytes are read:", got)
print("end")
