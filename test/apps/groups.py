# Multicasts by sockets that have not been told of an interface, and broadcasts by such as may not.
import errno, socket, struct, sys

me4, me6, net = sys.argv[1:]


def case(name, f):
    try:
        print(name + ':', f())
    except OSError as e:
        print(name + ':', errno.errorcode[e.errno])


def udp(to, bind=None, connect=False, broadcast=False):
    s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM)
    if broadcast:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if bind:
        s.bind((bind, 0))
    if connect:
        s.connect((to, 9))
        return s.send(b'x') + s.send(b'x')
    return s.sendto(b'x', (to, 9))


case('group, bound', lambda: udp('239.1.1.1', me4))
case('group, bound and connected', lambda: udp('239.1.1.1', me4, True))
case('group', lambda: udp('239.1.1.1'))
case('group, connected', lambda: udp('239.1.1.1', connect=True))
for group in 'ff02::99', 'ff05::99', 'ff15::99':
    case(group, lambda: udp(group))
    case(group + ', bound', lambda: udp(group, me6))
    case(group + ', bound and connected', lambda: udp(group, me6, True))
case('broadcast', lambda: udp(net))
case('broadcast, connected', lambda: udp(net, connect=True))
case('broadcast, connected and allowed', lambda: udp(net, connect=True, broadcast=True))


def join(group):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    mreq = socket.inet_pton(socket.AF_INET6, group) + struct.pack('@I', 0)
    said = []
    for option in (socket.IPV6_JOIN_GROUP, socket.IPV6_JOIN_GROUP, socket.IPV6_LEAVE_GROUP, socket.IPV6_LEAVE_GROUP):
        try:
            s.setsockopt(socket.IPPROTO_IPV6, option, mreq)
            said.append('0')
        except OSError as e:
            said.append(errno.errorcode[e.errno])
    return ' '.join(said)




def named(family, group, bind, level, option, some, none):
    "with an interface, and without again"
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((bind, 0))
    s.setsockopt(level, option, some)
    n = s.sendto(b'x', (group, 9))
    s.setsockopt(level, option, none)
    return n + s.sendto(b'x', (group, 9))


case('named', lambda: named(socket.AF_INET, '239.1.1.1', me4, socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                            socket.inet_aton(me4), socket.inet_aton('0.0.0.0')))
index = [i for i, name in socket.if_nameindex() if name not in ('lo', 'lo0')][0]
case('named, IPv6', lambda: named(socket.AF_INET6, 'ff15::99', me6, socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index, 0))
for group in 'ff02::1234', 'ff05::1234', 'ff0e::1234':
    case('join ' + group, lambda: join(group))


def round_trip(family, group, bind):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(10)
    s.bind(('', 0))
    if family == socket.AF_INET:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(bind))
    else:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(family, group) + struct.pack('@I', 0))
    c = socket.socket(family, socket.SOCK_DGRAM)
    c.bind((bind, 0))
    c.sendto(b'hello', (group, s.getsockname()[1]))
    data, name = s.recvfrom(100)
    if family == socket.AF_INET:
        told = c.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4)
    else:
        told = c.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, 4)
    return data.decode(), name[0] == bind, told.hex()


case('round trip', lambda: round_trip(socket.AF_INET, '239.5.5.5', me4))
case('round trip, IPv6', lambda: round_trip(socket.AF_INET6, 'ff15::77', me6))
