"""What becomes of a connection for which accept(2) had no descriptor, when nobody listens any more."""
import ctypes
import errno
import os
import resource
import socket

for family, address in (socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'):
    for says in b'', b'before':
        l = socket.create_server((address, 0), family=family)
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            to = l.getsockname()
            l.close()
            c = socket.socket(family)
            c.connect(to)
            c.send(says)
            os.write(tell, b'.')
            c.settimeout(5)
            try:
                print('recv = %r' % c.recv(9), flush=True)
            except OSError as e:
                print('recv =', errno.errorcode.get(e.errno, e), flush=True)
            os._exit(0)
        os.read(told, 1)
        usual = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (tell + 1, usual[1]))
        for i in range(2):
            try:
                l.accept()
            except OSError as e:
                print('accept =', errno.errorcode[e.errno], flush=True)
        l.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)

# It is of the kind that the call asks for that gets it.
libc = ctypes.CDLL(None, use_errno=True)
l = socket.create_server(('127.0.0.1', 0))
clients = []
for first, second in (socket.SOCK_NONBLOCK, 0), (0, socket.SOCK_NONBLOCK):
    clients.append(socket.create_connection(l.getsockname()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (clients[-1].fileno() + 1, usual[1]))
    fd = libc.accept4(l.fileno(), None, None, first)
    print('accept4 =', fd, errno.errorcode[ctypes.get_errno()])
    resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    print('blocking:', os.get_blocking(libc.accept4(l.fileno(), None, None, second)))
print('end')
