"""Two sockets with SO_REUSEADDR to one port: who may listen, by addresses, families and order."""
import errno
import itertools
import socket


def attempt(what, call):
    try:
        call()
        print(what + ' = 0')
    except OSError as e:
        print(what + ' = ' + errno.errorcode[e.errno])


def reusing(address, only):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    return s


addresses = '0.0.0.0', '127.0.0.1', '::', '::1', '::ffff:127.0.0.1'
for first, second, only, late in itertools.product(addresses, addresses, (0, 1), (0, 1)):
    name = '%s, %s, V6ONLY %d, %s: ' % (first, second, only, ('listen, bind', 'bind, listen')[late])
    with reusing(first, only) as a, reusing(second, only) as b:
        try:
            a.bind((first, 0))
        except OSError:
            continue  # of IPv4, where there is none
        port = a.getsockname()[1]
        if not late:
            attempt(name + 'listen', a.listen)
        attempt(name + 'the other: bind', lambda: b.bind((second, port)))
        if late:
            attempt(name + 'listen', a.listen)
        if b.getsockname()[1] == port:
            attempt(name + 'the other: listen', b.listen)
print('end')
