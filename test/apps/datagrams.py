# What UDP sockets do around connect(2) and close(2), line by line.
import os, select, socket, struct, sys, time
import ctypes

LO = "127.0.0.1"

def udp(timeout=20):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((LO, 0))
    s.settimeout(timeout)
    return s

def drain(s):
    "what comes until nothing does for a while"
    got = []
    while True:
        s.settimeout(1)
        try:
            got.append(s.recv(100000))
        except socket.timeout:
            s.settimeout(20)
            return got

server = udp()
good = 0
for i in range(50):
    c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    c.connect(server.getsockname())
    c.send(b"%d" % i)
    c.send(b"two")
    c.close()
    good += server.recv(100) == b"%d" % i and server.recv(100) == b"two"
print("sent and closed:", good)

good = 0
for i in range(10):
    if os.fork() == 0:
        c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        c.connect(server.getsockname())
        c.send(b"last")
        os._exit(0)
    os.wait()
    good += server.recv(100) == b"last"
print("sent and ended:", good)

a, b, c = udp(), udp(), udp()
for i in range(20):
    b.sendto(b"%d" % i, a.getsockname())
first, peer = a.recvfrom(100)
a.connect(peer)
got = [first] + drain(a)
print("there before it was connected:", got)
b.sendto(b"after", a.getsockname())
print(a.recv(100), peer == b.getsockname())
a.send(b"answer")
print(b.recvfrom(100) == (b"answer", a.getsockname()))

a.connect(c.getsockname())
c.sendto(b"from the second", a.getsockname())
print(a.recv(100))
b.sendto(b"from the first", a.getsockname())
print("from whom it is connected to no more:", drain(a))
a.send(b"to the second")
print(c.recv(100), drain(b))
libc = ctypes.CDLL(None, use_errno=True)
print("disconnect:", libc.connect(a.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16))

good = 0
for i in range(100):
    a = udp()
    a.connect(b.getsockname())
    a.send(b"%d" % i)
    data, peer = b.recvfrom(100)
    b.sendto(data, peer)
    libc.connect(a.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16)
    good += a.recv(100) == b"%d" % i
print("come before a disconnect:", good)

IP_PKTINFO, IP_RECVERR = 8, 11
a, b = udp(), udp()
a.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
for connected in False, True:
    if connected:
        a.connect(b.getsockname())
    for i in range(3):
        b.sendto(b"told", a.getsockname())
        data, control, flags, addr = a.recvmsg(100, 100)
        print("control:", data, [(m[0], m[1], m[2][4:]) for m in control], flags, addr == b.getsockname())
a.send(b"goes on")
print(b.recv(100))

a, b = udp(), udp()
a.connect(b.getsockname())
b.sendto(b"1", a.getsockname())
print(a.recv(100))
a.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
b.sendto(b"2", a.getsockname())
data, control, flags, addr = a.recvmsg(100, 100)
print("control of one that is connected:", data, len(control))

a, b = udp(), udp()
dead = b.getsockname()
a.connect(dead)
a.send(b"1")
print(b.recv(100))
b.close()
a.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
poll = select.poll()
poll.register(a, select.POLLIN)
# When a socket is closed is not always when NetBSD's own kernel knows.
for i in range(20):
    a.send(b"nobody's")
    if poll.poll(1000):
        print("poll")
        break
data, control, flags, addr = a.recvmsg(100, 200, socket.MSG_ERRQUEUE)
print("queue of errors:", data, len(control), addr == dead)

a.close()
a = udp()
a.connect(dead)
for i in range(3):
    try:
        a.send(b"x")
        a.recv(100)
        print("received?")
    except ConnectionError:
        print("refused")
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b.bind(dead)
b.settimeout(20)
for i in range(20):
    try:
        a.send(b"now")
        break
    except ConnectionError:
        pass
data, peer = b.recvfrom(100)
b.sendto(b"yes", peer)
print(data, a.recv(100))

a, b = udp(), udp()
a.connect(b.getsockname())
b.connect(a.getsockname())
for n in 0, 1, 1472, 9000, 20000, 65507:
    a.send(b"x" * n)
    print(n, len(b.recv(100000)))

# Each datagram has its own control messages, also when several wait; who does not ask does not see them.
a, b = udp(), udp()
a.connect(b.getsockname())
b.connect(a.getsockname())
b.setsockopt(socket.SOL_SOCKET, 29, 1) # SO_TIMESTAMP
b.setsockopt(socket.IPPROTO_IP, 12, 1) # IP_RECVTTL
for ttl in 11, 12, 13, 14, 15:
    a.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    a.send(b"ttl %d" % ttl)
    time.sleep(0.1)
before = None
for i in range(5):
    if i == 3:
        print(b.recv(100))
        continue
    data, control, flags, addr = b.recvmsg(100, 200, socket.MSG_PEEK if i == 1 else 0)
    if i == 1:
        data, control, flags, addr = b.recvmsg(100, 200)
    told = {(level, kind): value for level, kind, value in control}
    sec, usec = struct.unpack("qq", told[socket.SOL_SOCKET, 29])
    now = sec + usec / 1e6
    # The host's first may have been stamped when it was received.
    later = i < 2 or now - before > 0.04
    before = now
    print(data, struct.unpack("i", told[socket.IPPROTO_IP, socket.IP_TTL]), flags & ~socket.MSG_CMSG_CLOEXEC, addr == a.getsockname(), later)
# An option is not for what has been sent before.
a, b = udp(), udp()
a.connect(b.getsockname())
b.setsockopt(socket.IPPROTO_IP, 12, 1) # IP_RECVTTL
for ttl in range(1, 61):
    a.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    a.send(bytes([ttl]))
good = 0
for i in range(60):
    data, control, flags, addr = b.recvmsg(100, 100)
    good += struct.unpack("i", control[0][2])[0] == data[0]
print("sent with their options:", good)
print(len(os.listdir("/proc/self/fd")) < 100)
print("datagrams: end")
