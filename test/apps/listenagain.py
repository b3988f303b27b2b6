"""How many connections wait for a socket with a backlog of 1 that has listened before, when one for it then was on its way still.

The host's queue has room for two connections, so that the third waits for room until the last who has the old queue closes it."""
import os
import select
import socket
import sys
import time

# A port that Linux chooses is the socket's no longer when it ceases to listen.
with socket.create_server((sys.argv[1], 0)) as l:
    to = l.getsockname()
with socket.create_server(to, backlog=8) as l:
    told, tell = os.pipe()
    ended, end = os.pipe()
    if os.fork() == 0:
        os.close(end)
        os.read(told, 1)
        os._exit(0)
    os.close(ended)
    os.close(end)
    before = [socket.create_connection(to) for _ in range(3)]
    time.sleep(0.3)
    l.shutdown(socket.SHUT_RDWR)
    l.listen(1)
    clients = []

    def connected():
        c = socket.socket()
        c.setblocking(False)
        c.connect_ex(to)
        clients.append(c)
        poll = select.poll()
        poll.register(c, select.POLLOUT)
        return bool(poll.poll(1000))

    first = connected()
    os.write(tell, b'.')
    os.wait()
    time.sleep(0.3)
    print('connected', first, connected(), connected())
