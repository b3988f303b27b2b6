"""Two sockets to one port, which share it by SO_REUSEADDR, SO_REUSEPORT or not: may the second have it?"""
import errno
import itertools
import os
import socket


def attempt(call):
    try:
        call()
        return '0'
    except OSError as e:
        return errno.errorcode[e.errno]


options = {'-': (), 'A': (socket.SO_REUSEADDR,), 'P': (socket.SO_REUSEPORT,), 'AP': (socket.SO_REUSEADDR, socket.SO_REUSEPORT)}


def sharing(address, kind, how, only):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family, kind)
    for o in options[how]:
        s.setsockopt(socket.SOL_SOCKET, o, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    return s


addresses = '0.0.0.0', '127.0.0.1', '::', '::1', '::ffff:127.0.0.1'
for kind, listens in (socket.SOCK_DGRAM, False), (socket.SOCK_STREAM, False), (socket.SOCK_STREAM, True):
    for first, second, only in itertools.product(addresses, addresses, (0, 1)):
        for how, other in itertools.product(options, options):
            with sharing(first, kind, how, only) as a, sharing(second, kind, other, only) as b:
                try:
                    a.bind((first, 0))
                except OSError:
                    continue  # of IPv4, where there is none
                port = a.getsockname()[1]
                if listens:
                    a.listen()
                print('%s%s, %s %s, %s %s, V6ONLY %d: %s' % (
                    kind.name, ' listens' if listens else '', first, how, second, other, only,
                    attempt(lambda: b.bind((second, port)))))

# The first is another process's too, and closed at last.
for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
    with sharing('127.0.0.1', kind, '-', 0) as a, sharing('0.0.0.0', kind, 'A', 0) as b:
        a.bind(('127.0.0.1', 0))
        port = a.getsockname()[1]
        r, w = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(w)
            os.read(r, 1)
            os._exit(0)
        os.close(r)
        a.close()
        print(kind.name + ', closed by one: ' + attempt(lambda: b.bind(('0.0.0.0', port))))
        os.close(w)
        os.waitpid(child, 0)
        print(kind.name + ', closed by both: ' + attempt(lambda: b.bind(('0.0.0.0', port))))

with sharing('127.0.0.1', socket.SOCK_DGRAM, '-', 0) as a, sharing('127.0.0.1', socket.SOCK_DGRAM, 'A', 0) as b:
    a.bind(('127.0.0.1', 0))
    b.bind(('127.0.0.1', 0))
    print('of one that has an address: ' + attempt(lambda: b.bind(('0.0.0.0', a.getsockname()[1]))))
print('end')
