"""A connection whose close is to be a reset is passed to another process, and closed by who had it, before that takes it."""
import socket
import struct
import time

l = socket.create_server(('127.0.0.1', 0))
c = socket.create_connection(l.getsockname())
s, peer = l.accept()
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
a, b = socket.socketpair()
socket.send_fds(a, [b'x'], [c.fileno()])
c.close()
time.sleep(0.5)
c = socket.socket(fileno=socket.recv_fds(b, 1, 1)[1][0])
print('sent', c.send(b'there'), s.recv(9))
print('sent', s.send(b'back'), c.recv(9))
print('its name:', c.getsockname() == peer)
c.close()
try:
    print('closed', s.recv(9))
except ConnectionResetError as e:
    print('closed', e)
print('end')
