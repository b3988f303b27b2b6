"""A thread that waits for a datagram, a byte or a connection is woken by another that shuts its socket down."""
import errno
import os
import socket
import threading
import time


def result(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]


def woken(what, s, call, how):
    said = []
    thread = threading.Thread(target=lambda: said.append(result(call)), daemon=True)
    thread.start()
    time.sleep(0.1)  # mostly it waits then, and if not it has the same to say
    shut = result(lambda: s.shutdown(how))
    thread.join(5)
    print(what, how, "shutdown", shut, "thread", said, flush=True)


for how in socket.SHUT_RD, socket.SHUT_RDWR:
    for connected in False, True:
        for name, *arguments in ("recv", 10), ("recvfrom", 10), ("recvmsg", 10, 100):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("127.0.0.1", 0))
            if connected:
                s.connect(s.getsockname())
            woken(f"{name} {connected}", s, lambda: getattr(s, name)(*arguments), how)
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    woken("stream recv", client, lambda: client.recv(10), how)
    woken("accept", listener, lambda: [listener.accept() for _ in range(2)], how)
print("end", flush=True)
os._exit(0)
