# UDP sockets that are closed while an error comes for them must not hold up what comes
# after.
import socket
for _ in range(300):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
    s.connect(('127.0.0.1', 9))
    s.send(b'x')
    s.close()
    c = socket.socket()
    try:
        c.connect(('127.0.0.1', 9))
    except ConnectionRefusedError:
        pass
    c.close()
print('done')
