# What becomes of datagrams that are sent to a UDP socket as soon as it has been closed, before anybody can have heard of that.
import select
import socket

LOOPBACK = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")

def readable(s):
    poll = select.poll()
    poll.register(s, select.POLLIN)
    return poll.poll(5000)

def udp(family, address, shared=False):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if shared:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(address)
    s.settimeout(20)
    return s

# A client sends once, and waits.
for family, host in LOOPBACK:
    refused, answers = 0, 0
    for _ in range(100):
        server = udp(family, (host, 0))
        client = udp(family, (host, 0))
        client.connect(server.getsockname())
        client.send(b"?")
        server.sendto(b"!", server.recvfrom(1)[1])
        # What it has sent before it is closed comes first.
        server.sendto(b"bye", client.getsockname())
        answers += client.recv(3) == b"!"
        server.close()
        client.send(b"?")
        got = []
        while len(got) < 2 and readable(client):
            try:
                got.append(client.recv(3))
            except ConnectionRefusedError:
                got.append("refused")
        client.close()
        if sorted(map(str, got)) != ["b'bye'", "refused"]:
            break # it takes long
        refused += 1
    print(host, "answers", answers, "refused", refused)

# A server is restarted: the new one has the port already.
for family, host in LOOPBACK:
    for newest in False, True:
        complete = 0
        for _ in range(5):
            servers = [udp(family, (host, 0), True)]
            servers.append(udp(family, servers[0].getsockname(), True))
            clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(40)]
            for c in clients:
                c.connect(servers[0].getsockname())
            servers.pop(newest).close()
            for c in clients:
                c.send(b"?")
            senders = set()
            while len(senders) < len(clients) and readable(servers[0]):
                senders.add(servers[0].recvfrom(1)[1])
            complete += senders == {c.getsockname() for c in clients}
            for s in servers + clients:
                s.close()
            if len(senders) < len(clients):
                break
        print(host, "newest" if newest else "oldest", "closed, all arrive", complete)

# Of one sender in their order.
for family, host in LOOPBACK:
    ordered = 0
    for _ in range(20):
        servers = [udp(family, (host, 0), True)]
        servers.append(udp(family, servers[0].getsockname(), True))
        client = socket.socket(family, socket.SOCK_DGRAM)
        client.connect(servers[0].getsockname())
        client.send(b"?")
        first = select.select(servers, [], [], 20)[0][0]
        first.recv(1)
        servers.remove(first)
        first.close()
        for i in range(40):
            client.send(b"%d" % i)
        got = []
        while len(got) < 40 and readable(servers[0]):
            got.append(int(servers[0].recv(10)))
        ordered += got == list(range(40))
        client.close()
        servers[0].close()
        if len(got) < 40:
            break
    print(host, "in order", ordered)
print("udpclosed: end")
