# again.py: what becomes of the address of a socket whose connection has come to nothing, and of one that does not read any more.
import ctypes
import errno
import select
import socket
import struct

libc = ctypes.CDLL(None, use_errno=True)
LINGER = struct.pack("ii", 1, 0)
HOST = "127.0.0.1"


def said(what, function):
    try:
        result = function()
    except OSError as e:
        result = errno.errorcode[e.errno]
    print(f"again: {what} = {result}")


def nobody(s):
    if libc.connect(s.fileno(), bytes(16), 16):
        raise OSError(ctypes.get_errno(), "connect")


def awaits(s, events):
    poll = select.poll()
    poll.register(s, events)
    poll.poll(5000)


def bound(port=0):
    s = socket.socket()
    s.bind((HOST, port))
    return s, s.getsockname()[1]


def connection():
    client = socket.create_connection(listener.getsockname())
    return client, listener.accept()[0]


def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    peer.close()


def error(s):
    return errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)


listener = socket.socket()
listener.bind((HOST, 0))
listener.listen(10)

# A port of Linux's own choice is free when an attempt has failed, and the program's choice is not.
for chosen in False, True:
    what = "the program's port" if chosen else "Linux's port"
    s, port = bound()
    if chosen:
        s.close()
        s, port = bound(port)
    s.setblocking(False)
    said(f"{what}: connect", lambda: s.connect((HOST, 9)))
    awaits(s, select.POLLIN)
    other = socket.socket()
    said(f"{what}: another's bind", lambda: other.bind((HOST, port)))
    other.close()
    said(f"{what}: bind", lambda: s.bind((HOST, 0)))
    s.close()

# What has been bound again stays so.
s = socket.socket()
s.setblocking(False)
said("connect", lambda: s.connect((HOST, 9)))
awaits(s, select.POLLIN)
said("bind", lambda: s.bind((HOST, 0)))
name = s.getsockname()
said("connect", lambda: s.connect(listener.getsockname()))
said("the name is as before", lambda: s.getsockname() == name)
said("bind", lambda: s.bind(listener.getsockname()))
s.setblocking(True)
said("connect", lambda: s.connect(listener.getsockname()))
said("the peer has the name", lambda: listener.accept()[1] == name)
s.close()

# Of a socket that was reset, too, and its port is free when it is closed.
s, peer = connection()
reset(peer)
awaits(s, 0)
said("reset: bind", lambda: s.bind((HOST, 0)))
name = s.getsockname()
said("reset: to nobody", lambda: nobody(s))
said("reset: the name is as before", lambda: s.getsockname() == name)
said("reset: bind", lambda: s.bind((HOST, 0)))
s.close()
s = socket.socket()
said("reset: another's bind", lambda: s.bind(name))
s.close()

# shutdown(2) of what is bound only takes nothing from it.
s, port = bound()
said("shutdown", lambda: s.shutdown(socket.SHUT_RDWR))
said("to nobody", lambda: nobody(s))
said("the port is as before", lambda: s.getsockname()[1] == port)
said("bind", lambda: s.bind((HOST, 0)))
s.close()

# A stream is called what it was after all that, also if nobody has that port any more.
for chosen in False, True:
    what = "a listener with an address" if chosen else "a listener"
    s = bound()[0] if chosen else socket.socket()
    s.listen()
    name = s.getsockname()
    said(f"{what}: to nobody", lambda: nobody(s))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    said(f"{what}: the name is as before", lambda: s.getsockname() == name)
    other = socket.socket()
    said(f"{what}: another's bind", lambda: other.bind(name))
    said(f"{what}: bind to that", lambda: s.bind(name))
    said(f"{what}: then", lambda: s.getsockname() == ("0.0.0.0", name[1]))
    s.close()
    other.close()
for accepted in False, True:
    what = "accepted" if accepted else "connected"
    ends = connection()
    s, peer = ends[accepted], ends[not accepted]
    name = s.getsockname()
    reset(peer)
    awaits(s, 0)
    said(f"{what}: the name is as before", lambda: s.getsockname() == name)
    said(f"{what}: to nobody", lambda: nobody(s))
    said(f"{what}: its address", lambda: s.getsockname()[0])
    said(f"{what}: the port is as before", lambda: s.getsockname()[1] == name[1])
    s.close()

# Who reads no more is told of a reset nevertheless.
for how in "SO_ERROR", "recv":
    s, peer = connection()
    s.shutdown(socket.SHUT_RD)
    reset(peer)
    awaits(s, 0)
    if how == "recv":
        said("SHUT_RD: recv", lambda: s.recv(1))
        said("SHUT_RD: recv", lambda: s.recv(1))
    said("SHUT_RD: SO_ERROR", lambda: error(s))
    s.close()
# The options of a connection whose two directions have just ended are the program's.
failed = 0
for i in range(100):
    client, server = connection()
    server.shutdown(socket.SHUT_RDWR)
    client.shutdown(socket.SHUT_WR)
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        failed += 1
    client.close()
    server.close()
print("again: setsockopt failed", failed, "times")
# One that ends at this moment is given up, too.
failed = 0
for i in range(100):
    client, server = connection()
    client.shutdown(socket.SHUT_RDWR)
    if i % 2:
        server.close()
    try:
        nobody(client)
    except OSError:
        failed += 1
    client.close()
    server.close()
print("again: connect to nobody failed", failed, "times")
print("again: end")
