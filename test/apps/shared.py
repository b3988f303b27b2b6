"""A listener that another process has, too, is shut down: what becomes of what waits for it, and of the socket."""
import errno
import os
import socket
import struct


def attempt(f, *args):
    try:
        return f(*args)
    except OSError as e:
        return errno.errorcode.get(e.errno, e)


def recv(s):
    s.settimeout(5)
    return attempt(s.recv, 9)


nobody = struct.pack('@H14x', socket.AF_UNSPEC)

for family, address in (socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'):
    for shared in False, True:
        for says in b'', b'before':
            for then in 'connect', 'listen':
                name = '%s %s, %r, %s: ' % (family.name, 'of two' if shared else 'of one', says, then)
                l = socket.create_server((address, 0), family=family)
                other = socket.create_server((address, 0), family=family)
                c = socket.socket(family)
                c.connect(l.getsockname())
                c.send(says)
                told, tell = os.pipe()
                if shared:
                    child = os.fork()
                    if child == 0:
                        os.close(tell)
                        other.close()
                        os.read(told, 1)
                        print(name + 'the other: accept =', attempt(l.accept), flush=True)
                        os._exit(0)
                print(name + 'shutdown =', attempt(l.shutdown, socket.SHUT_RDWR), flush=True)
                print(name + 'recv of who was connected =', recv(c), flush=True)
                if then == 'connect':
                    said = attempt(l.connect, other.getsockname())
                    print(name + 'connect =', said, flush=True)
                    if said is None:  # newer hosts refuse it to what has listened
                        a, peer = other.accept()
                        a.send(b'after')
                        print(name + 'recv =', recv(l), flush=True)
                        a.close()
                os.write(tell, b'.')
                if shared:
                    os.waitpid(child, 0)
                if then == 'listen':
                    print(name + 'listen =', attempt(l.listen), flush=True)
                    d = socket.socket(family)
                    d.connect(l.getsockname())
                    print(name + 'accepted is who connects:', l.accept()[1] == d.getsockname(), flush=True)
                    d.close()
                for fd in told, tell:
                    os.close(fd)
                for s in l, other, c:
                    s.close()
print('end')
