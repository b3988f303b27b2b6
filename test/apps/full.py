"""A server that has as many sockets as the kernel lets it have when somebody connects, and then no longer."""
import errno
import resource
import socket
import struct
import sys

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as l:
    l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('@ll', 10, 0))
    sockets = []
    try:
        while len(sockets) < 16500:
            sockets.append(socket.socket())
            sockets[-1].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)  # the kernel is asked
    except OSError as e:
        print('full:', errno.errorcode[e.errno], flush=True)
    input()
    for s in sockets:
        s.close()
    print('accept:', l.accept()[0].recv(9))
