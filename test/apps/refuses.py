"""Where a listener has just been closed connections are refused, also if some that it has accepted go on."""
import collections
import errno
import socket
import struct

said = collections.Counter()
for i in range(300):
    listener = socket.create_server(("127.0.0.1", 0))
    to = listener.getsockname()
    others = []
    if i % 3:
        others = [socket.create_connection(to), listener.accept()[0]]
    listener.close()
    try:
        others.append(socket.create_connection(to))
        said["connected"] += 1
    except OSError as e:
        said[errno.errorcode[e.errno]] += 1
    for s in others:
        # So many ports in TIME_WAIT would be in the way of other tests.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
print(dict(said))
print("end")
