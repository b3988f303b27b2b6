# walk.py tcp|udp FIRST LAST [TRANSCRIPT]: a random walk over sockets for each number from FIRST up to LAST, always the same one. It
# prints what every call says, and what poll(2) and FIONREAD say of all sockets then. With the TRANSCRIPT of another run it waits a
# while for them to say what they said there, and ends the walk when they do not.
import ctypes
import errno
import fcntl
import os
import random
import select
import signal
import socket
import struct
import sys
import termios
import time

STEPS = 40
SOON = 5  # seconds
EVENTS = (select.POLLIN, "I"), (select.POLLOUT, "O"), (select.POLLERR, "E"), (select.POLLHUP, "H"), (select.POLLRDHUP, "R")

libc = ctypes.CDLL(None, use_errno=True)


class Elsewhere(Exception):
    """The other run came to something else."""


class Walk:
    kind = None  # SOCK_STREAM or SOCK_DGRAM
    choice = []  # of what is done, and how often
    not_over = []  # of it what is not done with a socket that has been shut down in both directions

    def __init__(self, number, expected):
        self.random = random.Random(number)
        self.expected = expected  # what the other run printed, or None
        self.printed = 0
        self.family = socket.AF_INET if number % 3 else socket.AF_INET6
        self.host = "127.0.0.1" if number % 3 else "::1"
        self.sockets = {}
        self.same = {}  # what a copy is of
        self.told = {}  # what the last line has said
        self.connected = set()  # those that are, or were
        self.over = set()  # those that have been shut down in both directions
        self.made = 0
        self.ports = {}  # of listeners and what is bound, with names
        self.own = {}  # ports, of those by their names

    def say(self, line):
        print(line)
        self.printed += 1

    def call(self, what, function):
        try:
            result = function()
        except OSError as e:
            result = errno.errorcode.get(e.errno, e.errno)
        self.say(f"{what} = {result}")
        want = None
        if self.expected is not None and self.printed < len(self.expected):
            want = self.expected[self.printed]
        time.sleep(0.002)  # for what is on its way and cannot be seen
        end = time.monotonic() + SOON
        while (got := self.poll()) != want and want and time.monotonic() < end:
            time.sleep(0.001)
        self.say(got)
        self.told = dict(part.split(":") for part in got.split())
        if want and got != want:
            raise Elsewhere

    def poll(self):
        p = select.poll()
        for s in self.sockets.values():
            p.register(s, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
        told = dict(p.poll(0))
        return "    " + " ".join(f"{name}:" + "".join(c for bit, c in EVENTS if told.get(s.fileno(), 0) & bit) + self.waiting(s)
                                 for name, s in self.sockets.items())

    def add(self, s, wait):
        name = f"s{self.made}"
        self.made += 1
        self.sockets[name] = s
        s.setblocking(wait)
        # The former is for what does not come: poll(2) has been waited for. The latter is connect(2)'s, too.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 1, 0))
        return name

    def new(self):
        wait = self.random.random() < 0.4
        name = self.add(socket.socket(self.family, self.kind), wait)
        self.say(f"{name} = {'blocking' if wait else 'non-blocking'} socket")

    def remember(self, name, s):
        port = s.getsockname()[1]
        self.own.setdefault(self.original(name), set()).add(port)
        if port not in self.ports:
            self.ports[port] = f"p{len(self.ports)}"

    def port(self):
        return self.random.choice(list(self.ports.items()))

    def step(self):
        r = self.random
        if len(self.sockets) < 2 or len(self.sockets) < 6 and r.random() < 0.12:
            return self.new()
        name, s = r.choice(list(self.sockets.items()))
        step = r.choices([f for f, _ in self.choice], [n for _, n in self.choice])[0]
        if self.original(name) not in self.over or step not in self.not_over:
            step(self, name, s)

    def original(self, name):
        return self.same.get(name, name)

    def bind_again(self, name, s):
        if self.ports:
            port, which = self.port()
            self.call(f"{name} bind {which}", lambda: s.bind((self.host, port)))

    def connect(self, name, s):
        if self.ports:
            port, which = self.port()
            if port in self.own.get(self.original(name), ()):
                return  # what comes to itself has an order of its own
            self.connected.add(self.original(name))
            self.call(f"{name} connect {which}", lambda: s.connect((self.host, port)))

    def connect_nobody(self, name, s):
        def unspec():
            if libc.connect(s.fileno(), bytes(16), 16):
                raise OSError(ctypes.get_errno(), "connect")
        self.connected.discard(self.original(name))
        self.call(f"{name} connect nobody", unspec)

    def send(self, name, s):
        data = self.random.randbytes(4) * self.random.choice([1, 10, 1000])
        self.call(f"{name} send {len(data)}", lambda: s.send(data))

    def recv(self, name, s):
        n, flags = self.random.choice([1, 16, 65536]), self.random.choice([0, 0, 0, socket.MSG_PEEK])

        def received():
            b = s.recv(n, flags)
            return f"{len(b)} {b[:4].hex()}"
        self.call(f"{name} {'peek' if flags else 'recv'} {n}", received)

    def recvmsg(self, name, s):
        def received():
            b, _, flags, _ = s.recvmsg(100, 100)
            return f"{len(b)} {b[:4].hex()} {flags}"
        self.call(f"{name} recvmsg 100", received)

    def close(self, name, s):
        del self.sockets[name]
        self.call(f"{name} close", s.close)

    def dup(self, name, s):
        if len(self.sockets) < 8:
            copy = self.add(socket.socket(fileno=os.dup(s.fileno())), s.getblocking())
            self.same[copy] = self.original(name)
            self.say(f"{copy} = dup {name}")

    def getpeername(self, name, s):
        self.call(f"{name} peer", lambda: self.ports.get(s.getpeername()[1], "a port"))

    def getsockname(self, name, s):
        def address():
            host, port = s.getsockname()[:2]
            return f"{host} {port and self.ports.get(port, 'a port')}"
        self.call(f"{name} name", address)

    def error(self, name, s):
        self.call(f"{name} SO_ERROR", lambda: errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0))

    def waiting(self, s):
        try:
            return str(struct.unpack("i", fcntl.ioctl(s, termios.FIONREAD, bytes(4)))[0] or "")
        except OSError:
            return ""  # it listens


class Streams(Walk):
    kind = socket.SOCK_STREAM

    def connection(self):
        listener = socket.socket(self.family, socket.SOCK_STREAM)
        listener.bind((self.host, 0))
        listener.listen(2)
        client = socket.socket(self.family, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        names = [self.add(s, self.random.random() < 0.4) for s in (listener, client, server)]
        self.connected.update(names[1:])
        self.remember(names[0], listener)
        self.say("{} listens, {} is connected to {}".format(*names))

    def bind(self, name, s):
        if self.original(name) not in self.connected:
            self.call(f"{name} bind", lambda: (s.bind((self.host, 0)), self.remember(name, s))[0])

    def listen(self, name, s):
        n = self.random.choice([0, 1, 2, 5])
        self.call(f"{name} listen {n}", lambda: (s.listen(n), self.remember(name, s))[0])

    def connect_nowhere(self, name, s):
        self.call(f"{name} connect port 9", lambda: s.connect((self.host, 9)))

    def accept(self, name, s):
        wait = self.random.random() < 0.4

        def accepted():
            other = self.add(s.accept()[0], wait)
            self.connected.add(other)
            return other
        self.call(f"{name} accept", accepted)

    def connect_and_accept(self, name, s):
        if len(self.sockets) < 8:
            self.connection()

    def shutdown(self, name, s):
        # A socket that is not connected remembers that for its connection, and a listener for those that it accepts.
        how = self.random.choice([socket.SHUT_WR, socket.SHUT_WR, socket.SHUT_RDWR])
        if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            how = socket.SHUT_RDWR
            self.connected.discard(self.original(name))
        elif "H" in self.told.get(name, "H") or how == socket.SHUT_RDWR and self.waiting(s):
            return
        elif how == socket.SHUT_RDWR:
            self.over.add(self.original(name))
        self.call(f"{name} shutdown {('RD', 'WR', 'RDWR')[how]}", lambda: s.shutdown(how))

    def linger(self, name, s):
        self.call(f"{name} linger", lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)))

    def listens(self, name, s):
        self.call(f"{name} SO_ACCEPTCONN", lambda: s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    choice = [
        (bind, 6), (Walk.bind_again, 3), (listen, 11), (Walk.connect, 16), (connect_nowhere, 4), (Walk.connect_nobody, 3),
        (accept, 16), (connect_and_accept, 6), (Walk.send, 16), (Walk.recv, 17), (Walk.recvmsg, 2), (shutdown, 8),
        (Walk.close, 7), (Walk.dup, 2), (linger, 3), (Walk.getpeername, 4), (Walk.getsockname, 6), (Walk.error, 4),
        (listens, 1),
    ]
    not_over = [shutdown, Walk.bind_again, Walk.getpeername, Walk.connect_nobody]


class Datagrams(Walk):
    kind = socket.SOCK_DGRAM

    def bind(self, name, s):
        host = self.random.choice([self.host, self.host, ""])
        self.call(f"{name} bind to {host or 'any'}", lambda: (s.bind((host, 0)), self.remember(name, s))[0])

    def sendto(self, name, s):
        port, which = self.port() if self.ports and self.random.random() < 0.8 else (9, "port 9")
        data = self.random.randbytes(4) * self.random.choice([0, 1, 10, 300])
        self.call(f"{name} sendto {which} {len(data)}", lambda: s.sendto(data, (self.host, port)))

    def send(self, name, s):
        # One without a peer has an address all the same from then on, but not in the kernel.
        if self.original(name) in self.connected:
            super().send(name, s)

    def recvfrom(self, name, s):
        n = self.random.choice([10, 5000])

        def received():
            b, a = s.recvfrom(n)
            return f"{len(b)} {b[:4].hex()} from {a and self.ports.get(a[1], 'a port')}"
        self.call(f"{name} recvfrom {n}", received)

    def shutdown(self, name, s):
        if self.original(name) in self.connected:
            how = self.random.choice([socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
            self.call(f"{name} shutdown {('RD', 'WR', 'RDWR')[how]}", lambda: s.shutdown(how))

    def reuse(self, name, s):
        self.call(f"{name} reuse", lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))

    def reuse_port(self, name, s):
        self.call(f"{name} SO_REUSEPORT", lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1))

    choice = [
        (bind, 10), (Walk.bind_again, 4), (Walk.connect, 14), (Walk.connect_nobody, 5), (sendto, 18), (send, 14), (recvfrom, 14),
        (Walk.recv, 10), (Walk.recvmsg, 3), (Walk.getsockname, 5), (Walk.getpeername, 4), (Walk.error, 5), (shutdown, 3), (Walk.close, 6),
        (Walk.dup, 3), (reuse, 3), (reuse_port, 2),
    ]


signal.signal(signal.SIGPIPE, signal.SIG_IGN)
transcripts = {}
kind = {"tcp": Streams, "udp": Datagrams}[sys.argv[1]]
if len(sys.argv) > 4:
    with open(sys.argv[4]) as f:
        for line in f.read().splitlines():
            if line.startswith("walk "):
                transcript = transcripts[line] = []
            else:
                transcript.append(line)
first, last = int(sys.argv[2]), int(sys.argv[3])
for number in range(first, last):
    print("walk", number)
    walk = kind(number, transcripts.get(f"walk {number}"))
    try:
        for _ in range(STEPS):
            walk.step()
    except Elsewhere:
        pass
    for s in walk.sockets.values():
        s.close()
print("walk end")
