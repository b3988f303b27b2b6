# How many of 300 datagrams to a port of this host's that nobody has are refused, one by one.
import select
import socket

for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
    refused = 0
    nobody = address, 9  # which the kernel gives none of these sockets
    for _ in range(300):
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.connect(nobody)
            s.send(b"?")
            poll = select.poll()
            poll.register(s, select.POLLIN)
            if poll.poll(5000):
                try:
                    s.recv(1)
                except ConnectionRefusedError:
                    refused += 1
    print(address, refused)
