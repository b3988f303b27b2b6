# What a program sees of its connections when its supervisor, or its kernel, dies under it.
import errno, os, select, socket, sys, threading, time

addr = sys.argv[1]
family = socket.AF_INET6 if ':' in addr else socket.AF_INET
listener = socket.socket(family)
listener.bind((addr, 0))
listener.listen(20)


def pair():
    c = socket.socket(family)
    c.connect(listener.getsockname())
    a, _ = listener.accept()
    return c, a


def outcome(call):
    try:
        return repr(call())
    except OSError as e:
        return errno.errorcode[e.errno]


def talk(c, a):
    for x, y, size in ((c, a, 1), (a, c, 1), (c, a, 100000), (a, c, 100000)):
        t = threading.Thread(target=x.sendall, args=(b'x' * size,))
        t.start()
        while size:
            size -= len(y.recv(size))
        t.join()


def sends(s):
    while True:
        s.sendall(b'x' * 100000)


def polls(s):
    p = select.poll()
    p.register(s, select.POLLIN)
    (_, events), = p.poll()
    names = [n for n in ('IN', 'ERR', 'HUP') if events & getattr(select, 'POLL' + n)]
    return '|'.join(names) + ' ' + outcome(lambda: s.recv(1))


def unread(s):
    p = select.poll()
    p.register(s, select.POLLERR)
    p.poll()
    return s.recv(100), outcome(lambda: s.recv(100))


def after(s):
    release.wait()
    return s.recv(1), outcome(lambda: s.send(b'x'))


keep, waiting = [], []
release = threading.Event()


def case(name, s, call):
    def run():
        # In one write: they end at the same time.
        os.write(1, (name + ': ' + outcome(lambda: call(s)) + '\n').encode())
    keep.append(s)
    t = threading.Thread(target=run, daemon=True)
    t.start()
    waiting.append(t)


silent = pair()
case('recv, nothing was said', silent[0], lambda s: s.recv(1))
case('recv of the accepted, nothing was said', silent[1], lambda s: s.recv(1))
talked = pair()
talk(*talked)
case('recv', talked[0], lambda s: s.recv(1))
case('recv of the accepted', talked[1], lambda s: s.recv(1))
full = pair()
keep.append(full[1])
case('send', full[0], sends)
polled = pair()
talk(*polled)
keep.append(polled[1])
case('poll', polled[0], polls)
half = pair()
half[0].sendall(b'the end')
half[0].shutdown(socket.SHUT_WR)
while half[1].recv(100):
    pass
keep.append(half[1])
case('recv after shutdown', half[0], lambda s: s.recv(1))
late = pair()
late[1].sendall(b'before')
select.select([late[0]], [], [])
keep.append(late[1])
case('unread', late[0], unread)
over = pair()
talk(*over)
for s in over:
    s.shutdown(socket.SHUT_WR)
for s in over:
    assert s.recv(1) == b''
keep.append(over[1])
time.sleep(0.2)
case('ended before', over[0], after)
case('accept', listener, lambda s: s.accept())


def again(s):
    # As servers do that see no difference between one error and another.
    release.wait()
    end, n = time.monotonic() + 0.5, 0
    while time.monotonic() < end:
        outcome(lambda: s.accept())
        n += 1
    return 'often' if n > 50 else 'seldom'


case('accept again and again', listener, again)
time.sleep(0.3)
print('ready', os.getppid(), flush=True)
sys.stdin.readline()
release.set()
for t in waiting:
    t.join(30)
print('done', sum(t.is_alive() for t in waiting), flush=True)
