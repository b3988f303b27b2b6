"""accept(2) when others than the kernel have connected to where its connections wait."""
import os
import socket
import struct
import sys
import time


def where(s):
    """The path at which the local socket that stands for s is reached."""
    inode = os.readlink('/proc/self/fd/%d' % s.fileno())[len('socket:['):-1]
    with open('/proc/%d/net/unix' % os.getppid()) as f:
        for line in f:
            fields = line.split()
            if fields[6] == inode:
                return os.path.dirname(fields[7])[:-1]


for blocking in False, True:
    with socket.create_server((sys.argv[1], 0)) as l:
        strangers = []
        for _ in range(3):
            stranger = socket.socket(socket.AF_UNIX)
            stranger.connect(where(l))
            strangers.append(stranger)
        c = socket.create_connection(l.getsockname())
        time.sleep(0.5)  # it waits, too
        l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('@ll', 5, 0))
        l.setblocking(blocking)
        try:
            print('accepted', l.accept()[1] == c.getsockname())
        except OSError as e:
            print(e)
