"""Where a listener has just been closed connections are refused, also if some that it has accepted go on."""
import collections
import errno
import socket

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
        s.close()
print(dict(said))
print("end")
