# closed.py: who sends to a peer that has closed its connection just before is told of the reset.
import select
import socket

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(100)
untold = 0
for i in range(200):
    ends = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
    ends.pop(i % 2).close()
    end = ends[0]
    poll = select.poll()
    poll.register(end, select.POLLRDHUP)
    poll.poll(5000)
    end.send(b"late")
    poll.register(end, 0)  # POLLHUP
    untold += not poll.poll(5000 if untold == 0 else 0)
    end.close()
print("closed:", untold, "of 200 were not told")
print("closed: end")
