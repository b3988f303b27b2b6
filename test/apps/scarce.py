"""A connect(2) during which the supervisor has one descriptor left, and those after it."""
import ctypes
import errno
import os
import resource
import select
import socket
import struct
import sys
import time

address, *nobody = sys.argv[1:]
supervisor = os.getppid()
usual = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)


def leave(n):
    """Lets the supervisor have n descriptors more."""
    used = last = None
    while used is None or used != last:  # it may just be doing something
        last = used
        time.sleep(0.1)
        used = {int(name) for name in os.listdir('/proc/%d/fd' % supervisor)}
    limit = 0
    while n > 0 or limit in used:
        n -= limit not in used
        limit += 1
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (limit, usual[1]))


def name(f, *args):
    try:
        return f(*args)
    except OSError as e:
        return errno.errorcode[e.errno]


def short(n, f, *args):
    leave(n)
    try:
        return name(f, *args)
    finally:
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, usual)


def attempt(s, to):
    """A connect whose socket the supervisor has a descriptor for, but not for its other end."""
    s.getsockname()
    return short(1, s.connect, to)


def accepts(l):
    """accept(2) as it is: Python's goes on after a signal."""
    fd = ctypes.CDLL(None, use_errno=True).accept(l.fileno(), None, None)
    return fd if fd >= 0 else errno.errorcode[ctypes.get_errno()]


with socket.create_server((address, 0)) as server:
    # Those that go on, of a program that waits for an edge. For the second there is nothing that it could be connected to.
    waiting = []
    for absent in nobody:
        s = socket.socket()
        s.setblocking(False)
        epoll = select.epoll()
        epoll.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        epoll.poll(0)
        waiting.append((s, epoll, attempt(s, (absent, 9))))
    for s, epoll, result in waiting:
        print('connect %s, %d edge' % (result, len(epoll.poll(5))), flush=True)
        print('SO_ERROR', errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0))
        print('send %s, getpeername %s' % (name(s.send, b'x'), name(s.getpeername)))
        print('again', name(s.connect, server.getsockname()), name(s.connect, server.getsockname()))
        select.select([], [s], [], 5)
        accepted, peer = server.accept()
        print('it is connected', peer == s.getsockname(), name(s.send, b'again'), accepted.recv(9))
        s.close()
        accepted.close()

    # One that is over at once. Nor is there a descriptor for the accepted one.
    s = socket.socket()
    print('waits', attempt(s, server.getsockname()))

with socket.create_server((address, 0)) as server:
    # What others send is not for it.
    for _ in range(2):
        t = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        accepted.settimeout(5)
        print('another', t.send(b'another'), name(accepted.recv, 9))
        t.close()
        accepted.close()
    s.settimeout(5)
    print('the first', name(s.recv, 9), name(s.connect, server.getsockname()), name(s.send, b'first'))
    print('it is connected', server.accept()[0].recv(9))

    # Calls on a socket that the supervisor has no descriptor for.
    c = socket.create_connection(server.getsockname())
    select.select([server], [], [], 5)
    print('none:', short(0, accepts, server), short(0, server.getsockname), short(0, c.connect, server.getsockname()))
    accepted, peer = server.accept()
    print('accepted', peer == c.getsockname(), accepted.send(b'whole'), c.recv(9), c.send(b'whole'), accepted.recv(9))

    # One that waits when there is none to look at its signals by.
    server.setblocking(True)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('@ll', 0, 300000))
    print('waits:', short(1, accepts, server))
