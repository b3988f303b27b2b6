"""The same two ends once more: while their connection stands, when the server has closed it, which remembers it for a time,
and again and again: reused.py ROUNDS, so many of them after the server has closed."""
import errno
import socket
import struct
import sys


def connect(family, name, to):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(8)
    s.bind(name)
    try:
        s.connect(to)
    except TimeoutError:
        s.close()
        return None, "no answer"
    except OSError as e:
        s.close()
        return None, errno.errorcode[e.errno]
    return s, "connected"


def listen(family, to):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(to)
    s.listen()
    return s


for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
    listener = listen(family, (address, 0))
    to = listener.getsockname()
    client, how = connect(family, (address, 0), to)
    server, name = listener.accept()
    print(how)
    print("while it stands:", connect(family, name, to)[1])
    server.close()
    print("at the end:", client.recv(1))
    client.close()
    listener.close()
    print("nobody listens:", connect(family, name, to)[1])
    listener = listen(family, to)
    client, how = connect(family, name, to)
    print("somebody does:", how)
    listener.accept()[0].send(b"hello")
    print(client.recv(10))
    client.close()
    listener.close()

    # Again and again, each at once when the last one has been closed.
    listener = listen(family, (address, 0))
    to, name = listener.getsockname(), (address, 0)
    for how, rounds in ("reset", 100), ("closed by the server first", int(sys.argv[1])):
        for i in range(rounds):
            client, said = connect(family, name, to)
            if client is None:
                print(how, i, said)
                continue
            name = client.getsockname()
            server = listener.accept()[0]
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                server.close()
            else:
                server.close()
                client.recv(1)
                client.close()
        print("all that were", how)
    listener.close()
print("end")
