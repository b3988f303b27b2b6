/*
 * Does with sockets what programs do, and prints what came of it: the same on any host,
 * as neither ports nor times are printed. Usage: sockets [-a IPV4] [-A IPV6] [-l] [SECTION...]
 *
 * Every section runs in a process of its own that is ended after a while, so that one
 * that hangs says so and the others run.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *section;
static int fam = AF_INET;
static const char *host4 = "127.0.0.1", *host6 = "::1";
static int out = 1;
static const char *self;

/* ---- what is printed ---- */

/* One write a line: processes share the output. */
static void say(const char *format, ...)
{
	char line[1024];
	int n = snprintf(line, sizeof line, "%s%s: ", section, fam == AF_INET6 ? "6" : "");
	va_list ap;
	va_start(ap, format);
	n += vsnprintf(line + n, sizeof line - n - 1, format, ap);
	va_end(ap);
	if (n > (int)sizeof line - 2)
		n = sizeof line - 2;
	line[n++] = '\n';
	for (int i = 0; i < n;) {
		ssize_t w = write(out, line + i, n - i);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			_exit(9);
		i += w;
	}
}

/* A buffer for a printf argument, of which a line has a few. */
static char *text(void)
{
	static _Thread_local char ring[16][256];
	static _Thread_local int next;
	return ring[next++ % 16];
}

/* What a call returned: a number, or the name of its error. */
static const char *res(long r)
{
	char *s = text();
	if (r < 0) {
		const char *name = strerrorname_np(errno);
		snprintf(s, 256, "%s", name ? name : "?");
	} else {
		snprintf(s, 256, "%ld", r);
	}
	return s;
}

/* As res, for calls that return a descriptor. */
static const char *ok(long r)
{
	return r < 0 ? res(r) : "ok";
}

static const char *err(int e)
{
	const char *name = e ? strerrorname_np(e) : "0";
	return name ? name : "?";
}

static const char *bits(int revents)
{
	static const struct { int bit; const char *name; } names[] = {
		{POLLIN, "IN"}, {POLLPRI, "PRI"}, {POLLOUT, "OUT"}, {POLLERR, "ERR"},
		{POLLHUP, "HUP"}, {POLLNVAL, "NVAL"}, {POLLRDHUP, "RDHUP"},
	};
	char *s = text();
	*s = 0;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (revents & names[i].bit) {
			if (*s)
				strcat(s, "|");
			strcat(s, names[i].name);
		}
	return *s ? s : "-";
}

static void fatal(const char *what)
{
	say("FATAL %s: %s", what, strerrorname_np(errno));
	_exit(3);
}

/* Arguments of a call are evaluated in no order: these are, one after the other. */
#define SAY2(format, a, b) \
	do { \
		const char *a_ = (a), *b_ = (b); \
		say(format, a_, b_); \
	} while (0)
#define SAY3(format, a, b, c) \
	do { \
		const char *a_ = (a), *b_ = (b), *c_ = (c); \
		say(format, a_, b_, c_); \
	} while (0)

/* ---- time ---- */

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Whether a wait of so many seconds took that long; busy machines take longer. */
static const char *took(double since, double least)
{
	double t = now() - since;
	char *s = text();
	if (t < least * 0.95)
		snprintf(s, 256, "too soon, after %.3f s", t);
	else if (t > least + 5)
		snprintf(s, 256, "too late, after %.3f s", t);
	else
		snprintf(s, 256, "in time");
	return s;
}

static void pause_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};
	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* ---- addresses ---- */

union addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_storage ss;
};

static socklen_t addrlen_of(int family)
{
	return family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static union addr address(int family, const char *host, int port)
{
	union addr a;
	memset(&a, 0, sizeof a);
	a.sa.sa_family = family;
	if (family == AF_INET6) {
		a.in6.sin6_port = htons(port);
		if (inet_pton(AF_INET6, host, &a.in6.sin6_addr) != 1)
			_exit(4);
	} else {
		a.in.sin_port = htons(port);
		if (inet_pton(AF_INET, host, &a.in.sin_addr) != 1)
			_exit(4);
	}
	return a;
}

/* The name of the interface that 127.0.0.1 is on. */
static const char *loopback(void) { return if_nametoindex("lo0") ? "lo0" : "lo"; }

static const char *myhost(void) { return fam == AF_INET6 ? host6 : host4; }
static const char *anyhost(void) { return fam == AF_INET6 ? "::" : "0.0.0.0"; }

static int port_of(const union addr *a)
{
	return ntohs(a->sa.sa_family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port);
}

/* A name, without the port: "HOST" for the address that the test runs on. */
static const char *name(const union addr *a, socklen_t len)
{
	char *s = text(), host[INET6_ADDRSTRLEN] = "?", mapped[32];
	if (len == 0)
		return "no address";
	snprintf(mapped, sizeof mapped, "::ffff:%s", host4);
	if (a->sa.sa_family == AF_INET)
		inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof host);
	else if (a->sa.sa_family == AF_INET6)
		inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof host);
	else {
		snprintf(s, 256, "family %d, length %d", a->sa.sa_family, len);
		return s;
	}
	snprintf(s, 256, "%s %s port%s, length %d", a->sa.sa_family == AF_INET6 ? "inet6" : "inet",
	    strcmp(host, host4) == 0 || strcmp(host, host6) == 0 ? "HOST" : strcmp(host, mapped) == 0 ? "::ffff:HOST" : host,
	    port_of(a) ? "" : " 0", (int)len);
	return s;
}

static union addr sockname(int fd)
{
	union addr a;
	socklen_t len = sizeof a;
	memset(&a, 0, sizeof a);
	if (getsockname(fd, &a.sa, &len) < 0)
		fatal("getsockname");
	return a;
}

static union addr peername(int fd)
{
	union addr a;
	socklen_t len = sizeof a;
	memset(&a, 0, sizeof a);
	if (getpeername(fd, &a.sa, &len) < 0)
		memset(&a, 0, sizeof a);
	return a;
}

static void say_names(const char *what, int fd)
{
	union addr a;
	socklen_t len = sizeof a;
	memset(&a, 0, sizeof a);
	int r = getsockname(fd, &a.sa, &len);
	say("%s: getsockname = %s", what, r < 0 ? res(r) : name(&a, len));
	len = sizeof a;
	memset(&a, 0, sizeof a);
	r = getpeername(fd, &a.sa, &len);
	say("%s: getpeername = %s", what, r < 0 ? res(r) : name(&a, len));
}

static const char *same(const union addr *a, const union addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return "another family";
	if (port_of(a) != port_of(b))
		return "another port";
	if (a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr != b->in.sin_addr.s_addr :
	    memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 16) != 0)
		return "another address";
	return "the same";
}

/* ---- sockets ---- */

static int sock(int type)
{
	int fd = socket(fam, type, 0);
	if (fd < 0)
		fatal("socket");
	return fd;
}

static int bound(int type, union addr *a)
{
	int fd = sock(type);
	*a = address(fam, myhost(), 0);
	if (bind(fd, &a->sa, addrlen_of(fam)) < 0)
		fatal("bind");
	*a = sockname(fd);
	return fd;
}

static int listener(int flags, int backlog, union addr *a)
{
	int fd = bound(SOCK_STREAM | flags, a);
	if (listen(fd, backlog) < 0)
		fatal("listen");
	return fd;
}

static int connected(const union addr *a)
{
	int fd = sock(SOCK_STREAM);
	if (connect(fd, &a->sa, addrlen_of(a->sa.sa_family)) < 0)
		fatal("connect");
	return fd;
}

/* A connection's two ends: [0] has connected, [1] is accepted. */
static void pair(int fd[2])
{
	union addr a;
	int l = listener(0, 5, &a);
	fd[0] = connected(&a);
	fd[1] = accept(l, NULL, NULL);
	if (fd[1] < 0)
		fatal("accept");
	close(l);
}

static int setint(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof value);
}

static int getint(int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof value;
	if (getsockopt(fd, level, option, &value, &len) < 0)
		return -1;
	return value;
}

static int soerror(int fd) { return getint(fd, SOL_SOCKET, SO_ERROR); }

static void timeout_of(int fd, int option, int ms)
{
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	if (setsockopt(fd, SOL_SOCKET, option, &tv, sizeof tv) < 0)
		fatal("setsockopt of a time-out");
}

/* What poll says of a descriptor within ms. */
static const char *polled(int fd, int events, int ms)
{
	struct pollfd p = {fd, events, 0};
	int r = poll(&p, 1, ms);
	if (r < 0)
		return res(r);
	return bits(p.revents);
}

static const char *ready(int fd, int ms) { return polled(fd, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, ms); }

/* Waits until poll says the wanted bits, and says all of them. */
static const char *awaits(int fd, int want)
{
	const char *is = "-";
	for (double end = now() + 5; now() < end; pause_ms(5)) {
		struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0};
		if (poll(&p, 1, 100) < 0)
			return res(-1);
		is = bits(p.revents);
		if ((p.revents & want) == want)
			return is;
	}
	char *s = text();
	snprintf(s, 256, "%s after 5 s, not %s", is, bits(want));
	return s;
}

static const char *oneline(char *s)
{
	for (char *c = s; *c; c++)
		if (*c == '\n')
			*c = '|';
	return s;
}

static const char *received(int fd, int flags)
{
	char buf[200] = "";
	ssize_t n = recv(fd, buf, sizeof buf - 1, flags);
	char *s = text();
	if (n < 0)
		return res(n);
	snprintf(s, 256, "%zd \"%.*s\"", n, (int)n, buf);
	return oneline(s);
}

/* Reads just as much; what came instead is said. */
static const char *gets_all(int fd, const char *want)
{
	char buf[256];
	size_t n = 0;
	while (n < strlen(want)) {
		ssize_t r = read(fd, buf + n, strlen(want) - n);
		if (r < 0)
			return res(r);
		if (r == 0)
			return "end of file";
		n += r;
	}
	char *s = text();
	snprintf(s, 256, "\"%.*s\"", (int)n, buf);
	return oneline(s);
}

static void nonblocking(int fd, int on)
{
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

static const char *ended(pid_t pid)
{
	int status;
	char *s = text();
	if (waitpid(pid, &status, 0) < 0)
		return res(-1);
	if (WIFSIGNALED(status))
		snprintf(s, 256, "by SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(s, 256, "exit %d", WEXITSTATUS(status));
	return s;
}

/* A process that connects to a after ms and waits for the end. */
static pid_t connects_later(const union addr *a, int ms)
{
	pid_t pid = fork();
	if (pid == 0) {
		struct itimerval off = {0};
		setitimer(ITIMER_REAL, &off, NULL);
		pause_ms(ms);
		int fd = socket(a->sa.sa_family, SOCK_STREAM, 0);
		if (connect(fd, &a->sa, addrlen_of(a->sa.sa_family)) < 0)
			_exit(1);
		char c;
		read(fd, &c, 1);
		_exit(0);
	}
	return pid;
}

/* ---- sections: TCP ---- */

static void fresh(void)
{
	int types[] = {SOCK_STREAM, SOCK_DGRAM};
	for (int i = 0; i < 2; i++) {
		const char *what = i ? "udp" : "tcp";
		int fd = sock(types[i]);
		struct stat st;
		char link[64], path[64];
		say_names(what, fd);
		say("%s: SO_TYPE %s SO_DOMAIN %s SO_PROTOCOL %s SO_ACCEPTCONN %s SO_ERROR %s", what,
		    res(getint(fd, SOL_SOCKET, SO_TYPE)), res(getint(fd, SOL_SOCKET, SO_DOMAIN)),
		    res(getint(fd, SOL_SOCKET, SO_PROTOCOL)), res(getint(fd, SOL_SOCKET, SO_ACCEPTCONN)), err(soerror(fd)));
		say("%s: poll %s", what, ready(fd, 0));
		say("%s: S_ISSOCK %d", what, fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode));
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t n = readlink(path, link, sizeof link);
		say("%s: link %.*s", what, n > 8 ? 8 : (int)n, link);
		say("%s: recv MSG_DONTWAIT = %s", what, received(fd, MSG_DONTWAIT));
		say("%s: send = %s", what, res(send(fd, "x", 1, MSG_NOSIGNAL)));
		say("%s: write = %s", what, res(write(fd, "", 0)));
		say("%s: accept = %s", what, ok(accept(fd, NULL, NULL)));
		say("%s: lseek = %s", what, res(lseek(fd, 0, SEEK_SET)));
		say("%s: F_GETFL %d, F_GETFD %d", what, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
		close(fd);
		fd = sock(types[i] | SOCK_NONBLOCK | SOCK_CLOEXEC);
		say("%s: F_GETFL O_NONBLOCK %d, F_GETFD %d", what, !!(fcntl(fd, F_GETFL) & O_NONBLOCK), fcntl(fd, F_GETFD));
		close(fd);
	}
	say("unknown type = %s", ok(socket(fam, 77, 0)));
	say("unknown protocol = %s", ok(socket(fam, SOCK_STREAM, 99)));
	say("UDP as stream = %s", ok(socket(fam, SOCK_STREAM, IPPROTO_UDP)));
	say("TCP as datagram = %s", ok(socket(fam, SOCK_DGRAM, IPPROTO_TCP)));
	say("socketpair = %s", ok(socketpair(fam, SOCK_STREAM, 0, (int[2]){0})));
	say("unknown family = %s", ok(socket(77, SOCK_STREAM, 0)));
	int fd = sock(SOCK_STREAM);
	close(fd);
	union addr a = address(fam, myhost(), 0);
	say("bind of a closed descriptor = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
	int p[2];
	if (pipe(p) == 0)
		say("bind of a pipe = %s, getsockname %s", res(bind(p[0], &a.sa, addrlen_of(fam))), res(getsockname(p[0], &a.sa, &(socklen_t){sizeof a})));
}

static void basic(void)
{
	union addr a, b, c;
	int l = listener(0, 5, &a);
	say_names("listener", l);
	say("listener: SO_ACCEPTCONN %d, poll %s", getint(l, SOL_SOCKET, SO_ACCEPTCONN), ready(l, 0));
	int fd = connected(&a);
	say("listener: poll with a connection %s", awaits(l, POLLIN));
	socklen_t len = sizeof b;
	int s = accept(l, &b.sa, &len);
	say("accept = %s, %s", ok(s), name(&b, len));
	c = sockname(fd);
	say("accept's address and getsockname of the peer: %s", same(&b, &c));
	c = peername(s);
	say("accept's address and getpeername: %s", same(&b, &c));
	c = sockname(s);
	say("getsockname of the accepted and of the listener: %s", same(&c, &a));
	c = peername(fd);
	say("getpeername and the listener: %s", same(&c, &a));
	say_names("connected", fd);
	say_names("accepted", s);
	char few[8];
	len = 4;
	say("getpeername into 4 bytes = %s", res(getpeername(s, (struct sockaddr *)few, &len)));
	say("its length then %d", len);
	len = -1;
	say("getsockname with length -1 = %s", res(getsockname(s, &c.sa, &len)));
	say("getsockname to nowhere = %s", res(getsockname(s, (void *)1, &(socklen_t){16})));
	say("poll %s, %s", ready(fd, 0), ready(s, 0));
	say("write = %s", res(write(fd, "hello", 5)));
	say("poll %s", awaits(s, POLLIN));
	int n = -1;
	SAY2("FIONREAD = %s: %s", res(ioctl(s, FIONREAD, &n)), res(n));
	say("peek = %s", received(s, MSG_PEEK));
	say("recv = %s", received(s, 0));
	say("recv MSG_DONTWAIT = %s", received(s, MSG_DONTWAIT));
	struct iovec v[2] = {{"ab", 2}, {"cde", 3}};
	say("writev = %s", res(writev(s, v, 2)));
	say("readv = %s", gets_all(fd, "abcde"));
	write(s, "123", 3);
	write(s, "456", 3);
	char buf[7] = "";
	say("MSG_WAITALL = %s", res(recv(fd, buf, 6, MSG_WAITALL)));
	say("\"%s\"", buf);
	/* With an address, and in pieces. */
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 3; i++) {
			pause_ms(60);
			write(s, "pqrstuvwx" + 3 * i, 3);
		}
		_exit(0);
	}
	char nine[10] = "";
	len = sizeof b;
	say("recvfrom MSG_WAITALL = %s", res(recvfrom(fd, nine, 9, MSG_WAITALL, &b.sa, &len)));
	say("\"%s\"", nine);
	waitpid(pid, NULL, 0);
	/* Linux fills no address for a stream, and says so by the length. */
	write(s, "x", 1);
	len = sizeof b;
	say("recvfrom = %s", res(recvfrom(fd, buf, 1, 0, &b.sa, &len)));
	say("its address: %s", name(&b, len));
	say("sendto with an address = %s", res(sendto(fd, "y", 1, 0, &a.sa, addrlen_of(fam))));
	say("recv = %s", received(s, 0));
	struct msghdr m = {.msg_iov = &(struct iovec){"zz", 2}, .msg_iovlen = 1};
	say("sendmsg = %s", res(sendmsg(fd, &m, 0)));
	struct msghdr r = {.msg_iov = &(struct iovec){buf, 6}, .msg_iovlen = 1, .msg_name = &b, .msg_namelen = sizeof b};
	say("recvmsg = %s", res(recvmsg(s, &r, 0)));
	say("its name's length %d, flags %x, control %d", r.msg_namelen, r.msg_flags, (int)r.msg_controllen);
	say("connect again = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	say("bind the connected = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
	say("listen on the connected = %s", res(listen(fd, 1)));
	say("connect the listener = %s", res(connect(l, &a.sa, addrlen_of(fam))));
	say("recv of the listener = %s", received(l, MSG_DONTWAIT));
	say("send to the listener = %s", res(send(l, "x", 1, MSG_NOSIGNAL)));
	say("read of length 0 = %s", res(read(s, buf, 0)));
	say("recv to nowhere = %s", res((write(fd, "q", 1), pause_ms(50), recv(s, (void *)1, 1, 0))));
	close(fd);
	say("poll after the peer's close %s", awaits(s, POLLRDHUP));
	close(s);
	/* What was written before a close arrives, also from a socket that had been bound. */
	fd = bound(SOCK_STREAM, &b);
	say("connect the bound = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	static char many[100000];
	say("write much = %s", res(write(fd, many, sizeof many)));
	close(fd);
	s = accept(l, NULL, NULL);
	long sum = 0;
	while ((n = read(s, many, sizeof many)) > 0)
		sum += n;
	say("read %ld bytes, then %s", sum, res(n));
	close(s);
	close(l);
}

static void halfclose(void)
{
	int fd[2];
	pair(fd);
	write(fd[0], "request", 7);
	say("shutdown SHUT_WR = %s", res(shutdown(fd[0], SHUT_WR)));
	say("again = %s", res(shutdown(fd[0], SHUT_WR)));
	say("poll of who shut down %s", ready(fd[0], 0));
	say("poll of the peer %s", awaits(fd[1], POLLRDHUP));
	SAY2("peer reads %s, then %s", gets_all(fd[1], "request"), received(fd[1], 0));
	say("and again %s", received(fd[1], 0));
	say("peer answers %s", res(write(fd[1], "response", 8)));
	say("who shut down reads %s", gets_all(fd[0], "response"));
	say("and writes = %s", res(write(fd[0], "more", 4)));
	say("getpeername still = %s", name(&(union addr){.ss = peername(fd[0]).ss}, addrlen_of(fam)));
	close(fd[1]);
	say("after both ends are closed: poll %s", awaits(fd[0], POLLIN | POLLHUP));
	say("recv = %s", received(fd[0], 0));
	close(fd[0]);

	pair(fd);
	say("shutdown SHUT_RD = %s", res(shutdown(fd[0], SHUT_RD)));
	say("poll %s", ready(fd[0], 0));
	say("recv = %s", received(fd[0], 0));
	say("the peer's write = %s", res(write(fd[1], "x", 1)));
	close(fd[0]);
	close(fd[1]);

	pair(fd);
	say("shutdown SHUT_RDWR = %s", res(shutdown(fd[0], SHUT_RDWR)));
	SAY2("recv = %s, send = %s", received(fd[0], 0), res(send(fd[0], "x", 1, MSG_NOSIGNAL)));
	say("the peer's recv = %s", received(fd[1], 0));
	say("shutdown with 9 = %s", res(shutdown(fd[1], 9)));
	close(fd[0]);
	close(fd[1]);

	/* The signal, and that MSG_NOSIGNAL keeps it away. */
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		pair(fd);
		shutdown(fd[0], SHUT_WR);
		say("send MSG_NOSIGNAL = %s", res(send(fd[0], "x", 1, MSG_NOSIGNAL)));
		write(fd[0], "x", 1);
		_exit(0);
	}
	say("write after shutdown ends %s", ended(pid));

	/* A shutdown wakes who waits. */
	pair(fd);
	pid = fork();
	if (pid == 0) {
		pause_ms(100);
		shutdown(fd[0], SHUT_RDWR);
		_exit(0);
	}
	say("recv while another process shuts down = %s", received(fd[0], 0));
	ended(pid);
	close(fd[0]);
	close(fd[1]);
}

static void after_reset(const char *what, int fd)
{
	say("%s: poll %s", what, awaits(fd, POLLHUP));
	SAY3("%s: recv = %s, then %s", what, received(fd, 0), received(fd, 0));
	say("%s: send = %s", what, res(send(fd, "x", 1, MSG_NOSIGNAL)));
	say("%s: getpeername = %s", what, res(getpeername(fd, &(struct sockaddr){0}, &(socklen_t){sizeof(struct sockaddr)})));
	say("%s: SO_ERROR %s", what, err(soerror(fd)));
}

/* What was sent just before a close that resets arrives before the reset, whether somebody waits
 * for it, it is read later, or it was sent before accept. */
static void reset_after_data(void)
{
	static char in[100000];
	const size_t sizes[] = {5, 20000, 100000};
	const char *whens[] = {"at once", "later", "after accept"};
	for (int i = 0; i < 3; i++)
		for (int when = 0; when < 3; when++)
			for (int end = 0; end < (when < 2 ? 2 : 1); end++) {
				int fd[2] = {-1, -1}, l = -1;
				union addr a;
				if (when < 2)
					pair(fd);
				else {
					l = listener(0, 5, &a);
					fd[0] = connected(&a);
				}
				setsockopt(fd[end], SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
				/* Somebody else waits for the first byte. */
				int p[2];
				if (pipe(p) < 0)
					fatal("pipe");
				pid_t pid = fork();
				if (pid == 0) {
					close(fd[end]);
					close(p[1]);
					size_t n = 0;
					ssize_t r = 0;
					if (when > 0)
						read(p[0], in, 1); /* until it has been closed */
					if (when == 1)
						pause_ms(100);
					if (when == 2)
						fd[1] = accept(l, NULL, NULL);
					while ((r = read(fd[1 - end], in, sizeof in)) > 0)
						n += r;
					say("linger 0 after %zu bytes to end %d, read %s: %zu, then %s", sizes[i], 1 - end, whens[when], n, res(r));
					_exit(0);
				}
				if (fd[1 - end] >= 0)
					close(fd[1 - end]);
				close(p[0]);
				ssize_t w = write(fd[end], in, sizes[i]);
				close(fd[end]);
				close(p[1]);
				say("written %zd, %s", w, ended(pid));
				if (l >= 0)
					close(l);
			}
}

static void reset(void)
{
	int fd[2];
	struct linger now_ = {1, 0};
	pair(fd);
	write(fd[1], "unread", 6);
	awaits(fd[0], POLLIN);
	close(fd[0]);
	after_reset("closed with data unread", fd[1]);
	close(fd[1]);

	pair(fd);
	setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
	close(fd[0]);
	after_reset("linger 0", fd[1]);
	close(fd[1]);

	pair(fd);
	setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
	close(fd[1]);
	after_reset("linger 0 of the accepted", fd[0]);
	close(fd[0]);

	pair(fd);
	setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
	close(fd[0]);
	awaits(fd[1], POLLHUP);
	SAY2("SO_ERROR first: %s, then recv %s", err(soerror(fd[1])), received(fd[1], 0));
	close(fd[1]);

	pair(fd);
	setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
	close(fd[0]);
	awaits(fd[1], POLLHUP);
	say("send first: %s", res(send(fd[1], "x", 1, MSG_NOSIGNAL)));
	SAY2("then %s, recv %s", res(send(fd[1], "x", 1, MSG_NOSIGNAL)), received(fd[1], 0));
	close(fd[1]);

	/* One who waits in recv when it comes. */
	pair(fd);
	setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
	pid_t pid = fork();
	if (pid == 0) {
		close(fd[1]);
		pause_ms(100);
		_exit(0); /* the last reference is here */
	}
	close(fd[0]);
	say("recv when the reset comes = %s", received(fd[1], 0));
	ended(pid);
	close(fd[1]);

	/* The peer shut down first. */
	pair(fd);
	setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
	shutdown(fd[1], SHUT_WR);
	awaits(fd[0], POLLRDHUP);
	close(fd[0]);
	SAY2("linger 0 after the peer's shutdown: poll %s, recv %s", awaits(fd[1], POLLHUP), received(fd[1], 0));
	close(fd[1]);

	/* A process that is killed. */
	pair(fd);
	pid = fork();
	if (pid == 0) {
		close(fd[1]);
		pause();
	}
	close(fd[0]);
	pause_ms(50);
	kill(pid, SIGKILL);
	ended(pid);
	say("the peer is killed: recv %s", received(fd[1], 0));
	close(fd[1]);

	/* What was sent before an orderly close arrives, however late it is read. */
	pair(fd);
	static char big[300000];
	memset(big, 'z', sizeof big);
	pid = fork();
	if (pid == 0) {
		close(fd[1]);
		size_t n = 0;
		while (n < sizeof big) {
			ssize_t w = write(fd[0], big + n, sizeof big - n);
			if (w < 0)
				_exit(1);
			n += w;
		}
		_exit(0);
	}
	close(fd[0]);
	pause_ms(300);
	size_t n = 0;
	ssize_t r;
	while ((r = read(fd[1], big, sizeof big)) > 0)
		n += r;
	say("300000 bytes before a close: %zu, then %s; writer %s", n, res(r), ended(pid));
	close(fd[1]);
	reset_after_data();
	/* The port of a connection that was reset is free at once. */
	union addr to, mine;
	int l = listener(0, 5, &to), failed = 0;
	for (int i = 0; i < 100; i++) {
		int c = i == 0 ? bound(SOCK_STREAM, &mine) : sock(SOCK_STREAM);
		while (i > 0 && bind(c, &mine.sa, addrlen_of(fam)) < 0) {
			if (failed++ == 100) {
				say("bind to the port of connection %d, which was reset: %s for long", i - 1, err(errno));
				_exit(1);
			}
			pause_ms(50);
		}
		if (connect(c, &to.sa, addrlen_of(fam)) < 0) {
			say("connection %d from the port of one that was reset: %s", i, err(errno));
			close(c);
			continue;
		}
		int s = accept(l, NULL, NULL);
		struct linger resets = {1, 0};
		setsockopt(c, SOL_SOCKET, SO_LINGER, &resets, sizeof resets);
		close(c);
		close(s);
	}
	say("the port of a connection that was reset: %s", failed ? "binds fail" : "no bind fails");
	close(l);
}

static void timeouts(void)
{
	int fd[2];
	pair(fd);
	timeout_of(fd[0], SO_RCVTIMEO, 200);
	struct timeval tv;
	socklen_t len = sizeof tv;
	say("SO_RCVTIMEO read back = %s", res(getsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &len)));
	say("%ld ms, length %d", tv.tv_sec * 1000 + tv.tv_usec / 1000, len);
	double t = now();
	say("recv = %s", received(fd[0], 0));
	say("%s", took(t, 0.2));
	t = now();
	char c;
	say("read = %s", res(read(fd[0], &c, 1)));
	say("%s", took(t, 0.2));
	t = now();
	say("MSG_WAITALL of some = %s", res((write(fd[1], "ab", 2), recv(fd[0], (char[9]){0}, 9, MSG_WAITALL))));
	say("%s", took(t, 0.2));
	timeout_of(fd[0], SO_SNDTIMEO, 300);
	static char big[1 << 20];
	t = now();
	ssize_t n;
	size_t sum = 0;
	/* The buffers hold some MB. */
	while ((n = write(fd[0], big, sizeof big)) == sizeof big)
		sum += n;
	if (n > 0)
		n = write(fd[0], big, sizeof big);
	/* Some of it, or none. */
	say("write that nobody reads: %s", n < (ssize_t)sizeof big && (n > 0 || (n < 0 && errno == EAGAIN)) ? "blocks" : res(n));
	say("%s", took(t, 0.3));
	say("poll then %s", ready(fd[0], 0));
	nonblocking(fd[0], 1);
	say("nonblocking write = %s", res(write(fd[0], big, 1)));
	pid_t pid = fork();
	if (pid == 0) {
		close(fd[0]);
		while (read(fd[1], big, sizeof big) > 0)
			;
		_exit(0);
	}
	close(fd[1]);
	say("poll when it is read %s", polled(fd[0], POLLOUT, 5000));
	close(fd[0]);
	say("reader: %s", ended(pid));
	union addr a;
	int l = listener(0, 5, &a);
	timeout_of(l, SO_RCVTIMEO, 200);
	t = now();
	say("accept = %s", ok(accept(l, NULL, NULL)));
	say("%s", took(t, 0.2));
	t = now();
	union addr b;
	len = sizeof b;
	say("accept with an address = %s", ok(accept(l, &b.sa, &len)));
	say("%s", took(t, 0.2));
	timeout_of(l, SO_RCVTIMEO, 0);
	int u = bound(SOCK_DGRAM, &a);
	timeout_of(u, SO_RCVTIMEO, 200);
	t = now();
	say("udp recv = %s", received(u, 0));
	say("%s", took(t, 0.2));
	t = now();
	len = sizeof b;
	say("udp recvfrom = %s", res(recvfrom(u, &c, 1, 0, &b.sa, &len)));
	say("%s", took(t, 0.2));
	say("poll for 200 ms: %s", (t = now(), ready(l, 200)));
	say("%s", took(t, 0.2));
}

static int dead_port(union addr *a)
{
	int fd = bound(SOCK_STREAM, a);
	close(fd);
	return fd;
}

static void nonblock(void)
{
	union addr a, dead;
	int l = listener(0, 5, &a);
	int fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
	say("poll before %s", ready(fd, 0));
	say("connect = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	say("poll %s", awaits(fd, POLLOUT));
	say("SO_ERROR %s", err(soerror(fd)));
	say("connect again = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	say("and again = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	say_names("connected", fd);
	int s = accept(l, NULL, NULL);
	say("nothing but what is sent arrives: %s", received(s, MSG_DONTWAIT));
	write(fd, "x", 1);
	say("this: %s", received(s, 0));
	say("recv = %s", received(fd, 0));
	close(fd);
	close(s);

	/* Edges: of one that was told before it connects, too. */
	int ep0 = epoll_create1(0);
	struct epoll_event e0 = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP}, got0;
	fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
	epoll_ctl(ep0, EPOLL_CTL_ADD, fd, &e0);
	int edges = epoll_wait(ep0, &got0, 1, 0);
	SAY2("edge before connect = %s: %s", res(edges), bits(edges > 0 ? got0.events : 0));
	say("connect = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	edges = epoll_wait(ep0, &got0, 1, 5000);
	SAY2("edge then = %s: %s", res(edges), bits(edges > 0 ? got0.events : 0));
	close(ep0);
	close(fd);
	close(accept(l, NULL, NULL));

	dead_port(&dead);
	fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
	say("connect to a closed port = %s", res(connect(fd, &dead.sa, addrlen_of(fam))));
	say("poll %s", awaits(fd, POLLOUT));
	SAY2("SO_ERROR %s, then %s", err(soerror(fd)), err(soerror(fd)));
	say("poll then %s", ready(fd, 0));
	say("getpeername = %s", res(getpeername(fd, &(struct sockaddr){0}, &(socklen_t){sizeof(struct sockaddr)})));
	/* Linux may end the first attempt by ECONNABORTED, and others need not. */
	int again = -1;
	for (int i = 0; i < 3 && again < 0 && (i == 0 || errno == ECONNABORTED); i++)
		again = connect(fd, &a.sa, addrlen_of(fam));
	say("connect to an open one %s", again == 0 || errno == EINPROGRESS ? "goes on" : res(again));
	say("poll %s", awaits(fd, POLLOUT));
	say("SO_ERROR %s", err(soerror(fd)));
	s = accept(l, NULL, NULL);
	write(s, "again", 5);
	nonblocking(fd, 0);
	say("and gets %s", gets_all(fd, "again"));
	close(fd);
	close(s);

	fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
	connect(fd, &dead.sa, addrlen_of(fam));
	awaits(fd, POLLOUT);
	SAY2("recv after a refusal = %s, then %s", received(fd, 0), received(fd, 0));
	say("SO_ERROR then = %s", err(soerror(fd)));
	say("send = %s", res(send(fd, "x", 1, MSG_NOSIGNAL)));
	close(fd);

	fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
	connect(fd, &dead.sa, addrlen_of(fam));
	awaits(fd, POLLOUT);
	say("connect after a refusal = %s", res(connect(fd, &dead.sa, addrlen_of(fam))));
	close(fd);

	/* What calls say that nothing was asked before, by both numbers of a socket. */
	for (int call = 0; call < 4; call++) {
		static const char *const names[] = {"send", "getpeername and recv", "connect twice", "shutdown"};
		fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
		int second = dup(fd);
		connect(fd, &dead.sa, addrlen_of(fam));
		awaits(second, POLLOUT);
		switch (call) {
		case 0:
			say("send after a refusal = %s", res(send(fd, "x", 1, 0)));
			break;
		case 1:
			say("getpeername after a refusal = %s", res(getpeername(second, &(struct sockaddr){0}, &(socklen_t){sizeof(struct sockaddr)})));
			say("recv then = %s", received(second, 0));
			break;
		case 2:
			say("connect after a refusal = %s", res(connect(second, &dead.sa, addrlen_of(fam))));
			say("recv then = %s", received(second, 0));
			say("write then = %s", res(send(second, "x", 1, MSG_NOSIGNAL)));
			say("connect then = %s", res(connect(second, &dead.sa, addrlen_of(fam))));
			awaits(second, POLLOUT);
			break;
		case 3:
			say("shutdown after a refusal = %s", res(shutdown(fd, SHUT_RDWR)));
			break;
		}
		say("after %s: poll %s", names[call], ready(second, 0));
		SAY2("recv = %s, of the other %s", received(fd, 0), received(second, 0));
		say("SO_ERROR = %s", err(soerror(second)));
		say("listen = %s", res(listen(second, 1)));
		union addr any = address(fam, myhost(), 0);
		say("bind = %s", res(bind(fd, &any.sa, addrlen_of(fam))));
		say("send = %s", res(send(fd, "x", 1, MSG_NOSIGNAL)));
		say("connect to nobody = %s", res(connect(fd, &(struct sockaddr){AF_UNSPEC}, sizeof(struct sockaddr))));
		say("poll %s", ready(second, 0));
		say("listen then = %s", res(listen(second, 1)));
		say("accept = %s", res(accept(fd, NULL, NULL)));
		close(fd);
		close(second);
	}

	fd = sock(SOCK_STREAM);
	say("blocking connect to a closed port = %s", res(connect(fd, &dead.sa, addrlen_of(fam))));
	SAY2("SO_ERROR %s, poll %s", err(soerror(fd)), ready(fd, 0));
	say("again = %s", res(connect(fd, &dead.sa, addrlen_of(fam))));
	say("to an open one = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	s = accept(l, NULL, NULL);
	write(s, "blocking", 8);
	say("and gets %s", gets_all(fd, "blocking"));
	close(fd);
	close(s);

	/* By select and epoll. */
	for (int refused = 0; refused < 2; refused++) {
		const union addr *to = refused ? &dead : &a;
		fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
		connect(fd, &to->sa, addrlen_of(fam));
		fd_set rd, wr;
		FD_ZERO(&rd);
		FD_ZERO(&wr);
		FD_SET(fd, &rd);
		FD_SET(fd, &wr);
		struct timeval tv = {5, 0};
		awaits(fd, POLLOUT);
		int n = select(fd + 1, &rd, &wr, NULL, &tv);
		say("select %s = %d: read %d, write %d", refused ? "refused" : "ok", n, !!FD_ISSET(fd, &rd), !!FD_ISSET(fd, &wr));
		close(fd);
		fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
		int ep = epoll_create1(0);
		connect(fd, &to->sa, addrlen_of(fam));
		struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.fd = fd}, got[4];
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
		awaits(fd, POLLOUT);
		n = epoll_wait(ep, got, 4, 5000);
		say("epoll %s = %d: %s", refused ? "refused" : "ok", n, bits(n > 0 ? got[0].events : 0));
		say("SO_ERROR %s", err(soerror(fd)));
		close(ep);
		close(fd);
		if (!refused)
			for (int i = 0; i < 2; i++)
				close(accept(l, NULL, NULL));
	}
	/* One that connects again after a refusal is still in the epolls that it was in. */
	fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
	int ep[2] = {epoll_create1(0), epoll_create1(0)};
	struct epoll_event in_ep = {.events = EPOLLOUT | EPOLLET, .data.u64 = 0x123456789}, out_ep[4];
	for (int i = 0; i < 2; i++)
		epoll_ctl(ep[i], EPOLL_CTL_ADD, fd, &in_ep);
	connect(fd, &dead.sa, addrlen_of(fam));
	awaits(fd, POLLOUT);
	for (int i = 0; i < 2; i++)
		epoll_wait(ep[i], out_ep, 4, 5000);
	soerror(fd);
	again = -1;
	for (int i = 0; i < 3 && again < 0 && (i == 0 || errno == ECONNABORTED); i++)
		again = connect(fd, &a.sa, addrlen_of(fam));
	for (int i = 0; i < 2; i++) {
		int n = epoll_wait(ep[i], out_ep, 4, 5000);
		say("epoll after a refusal = %d: %s, its data %s", n, n > 0 && out_ep[0].events & EPOLLOUT ? "OUT" : "-",
		    n > 0 && out_ep[0].data.u64 == in_ep.data.u64 ? "the same" : "others");
		say("EPOLL_CTL_ADD = %s", res(epoll_ctl(ep[i], EPOLL_CTL_ADD, fd, &in_ep)));
		say("EPOLL_CTL_DEL = %s", res(epoll_ctl(ep[i], EPOLL_CTL_DEL, fd, NULL)));
		close(ep[i]);
	}
	say("SO_ERROR %s", err(soerror(fd)));
	close(fd);
	close(accept(l, NULL, NULL));
	/* Addresses that nobody can have. */
	fd = sock(SOCK_STREAM);
	union addr bad = a;
	say("connect with a short length = %s", res(connect(fd, &bad.sa, 4)));
	bad.sa.sa_family = 77;
	say("connect to another family = %s", res(connect(fd, &bad.sa, addrlen_of(fam))));
	bad = address(fam, myhost(), 0);
	say("connect to port 0 = %s", res(connect(fd, &bad.sa, addrlen_of(fam))));
	bad = address(fam, anyhost(), port_of(&a));
	say("connect to any address = %s", res(connect(fd, &bad.sa, addrlen_of(fam))));
	say_names("its names", fd);
	close(fd);
	fd = sock(SOCK_STREAM);
	bad = address(fam, fam == AF_INET6 ? "2001:db8::77" : "203.0.113.7", 0);
	say("bind to an address of another host = %s", res(bind(fd, &bad.sa, addrlen_of(fam))));
	bad = address(fam, myhost(), 0);
	SAY2("bind = %s, again %s", res(bind(fd, &bad.sa, addrlen_of(fam))), res(bind(fd, &bad.sa, addrlen_of(fam))));
	union addr mine = sockname(fd);
	say("connect of the bound = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	union addr is = sockname(fd);
	say("its name is %s", same(&mine, &is));
	close(fd);
	close(l);
}

static void backlog(void)
{
	union addr a;
	int l = listener(0, 1, &a), fd[4], n = 0;
	for (int i = 0; i < 4; i++) {
		fd[i] = sock(SOCK_STREAM | SOCK_NONBLOCK);
		connect(fd[i], &a.sa, addrlen_of(fam));
		if (strcmp(polled(fd[i], POLLOUT, 300), "OUT") == 0)
			n++;
	}
	say("of 4 to a backlog of 1, %d are connected at first", n);
	for (int i = 0; i < 4; i++)
		say("%d: poll %s", i, polled(fd[i], POLLOUT, 0));
	int w = sock(SOCK_STREAM);
	timeout_of(w, SO_SNDTIMEO, 300);
	double t = now();
	say("connect with SO_SNDTIMEO = %s", res(connect(w, &a.sa, addrlen_of(fam))));
	say("%s", took(t, 0.3));
	close(w);
	/* Who closes a socket gives up its connect, and its port. */
	union addr given_up;
	w = bound(SOCK_STREAM | SOCK_NONBLOCK, &given_up);
	say("connect = %s", res(connect(w, &a.sa, addrlen_of(fam))));
	say("poll %s", polled(w, POLLOUT, 100));
	close(w);
	/* It may be heard of a little later. */
	int again = -1;
	for (double end = now() + 1; again < 0 && now() < end; pause_ms(10)) {
		w = sock(SOCK_STREAM);
		again = bind(w, &given_up.sa, addrlen_of(fam));
		close(w);
	}
	say("bind to the port of a connect that was given up = %s", res(again));
	int s[4];
	for (int i = 0; i < 4; i++) {
		s[i] = accept(l, NULL, NULL);
		say("accept = %s", ok(s[i]));
	}
	for (int i = 0; i < 4; i++)
		say("%d: %s", i, awaits(fd[i], POLLOUT));
	for (int i = 0; i < 4; i++) {
		close(fd[i]);
		close(s[i]);
	}
	close(l);

	/* One waits with a backlog of 0, too. */
	l = listener(0, 0, &a);
	n = 0;
	for (int i = 0; i < 3; i++) {
		fd[i] = sock(SOCK_STREAM | SOCK_NONBLOCK);
		connect(fd[i], &a.sa, addrlen_of(fam));
		if (strcmp(polled(fd[i], POLLOUT, 300), "OUT") == 0)
			n++;
	}
	say("of 3 to a backlog of 0, %d are connected at first", n);
	for (int i = 0; i < 3; i++) {
		s[i] = accept(l, NULL, NULL);
		say("accept = %s", ok(s[i]));
	}
	for (int i = 0; i < 3; i++)
		say("%d: %s", i, awaits(fd[i], POLLOUT));
	for (int i = 0; i < 3; i++) {
		close(fd[i]);
		close(s[i]);
	}
	close(l);

	/* A later connect has what came of the first one, which is told once. */
	for (int refused = 0; refused < 2; refused++) {
		union addr other;
		int l2 = listener(0, 5, &other);
		l = listener(0, 0, &a);
		for (int i = 0; i < 2; i++) {
			fd[i] = sock(SOCK_STREAM | SOCK_NONBLOCK);
			connect(fd[i], &a.sa, addrlen_of(fam));
			polled(fd[i], POLLOUT, 300);
		}
		w = sock(SOCK_STREAM);
		timeout_of(w, SO_SNDTIMEO, 300);
		say("a connect that is to be %s = %s", refused ? "refused" : "accepted", res(connect(w, &a.sa, addrlen_of(fam))));
		timeout_of(w, SO_SNDTIMEO, 0);
		pid_t pid = fork();
		if (pid == 0) {
			pause_ms(300);
			while (!refused && accept(l, NULL, NULL) >= 0)
				;
			_exit(0);
		}
		close(l);
		if (refused)
			ended(pid);
		say("again = %s", res(connect(w, &a.sa, addrlen_of(fam))));
		say("getpeername = %s", res(getpeername(w, &(struct sockaddr){0}, &(socklen_t){sizeof(struct sockaddr)})));
		say("SO_ERROR %s", err(soerror(w)));
		say("connect to another = %s", res(connect(w, &other.sa, addrlen_of(fam))));
		say("once more = %s", res(connect(w, &other.sa, addrlen_of(fam))));
		close(w);
		kill(pid, SIGKILL);
		if (!refused)
			ended(pid);
		for (int i = 0; i < 2; i++)
			close(fd[i]);
		close(l2);
	}

	/* What clients do before accept. */
	l = listener(0, 5, &a);
	fd[0] = connected(&a);
	write(fd[0], "early", 5);
	close(fd[0]);
	pause_ms(100);
	s[0] = accept(l, NULL, NULL);
	SAY2("written and closed before accept: %s, then %s", gets_all(s[0], "early"), received(s[0], 0));
	close(s[0]);
	fd[0] = connected(&a);
	union addr its = sockname(fd[0]);
	shutdown(fd[0], SHUT_WR);
	pause_ms(100);
	s[0] = accept(l, NULL, NULL);
	union addr b = peername(s[0]);
	say("shut down before accept: its name is %s, recv %s", same(&its, &b), received(s[0], 0));
	write(s[0], "still", 5);
	say("the client gets %s", gets_all(fd[0], "still"));
	close(s[0]);
	close(fd[0]);
	struct linger now_ = {1, 0};
	fd[0] = connected(&a);
	setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
	close(fd[0]);
	pause_ms(100);
	nonblocking(l, 1);
	s[0] = accept(l, NULL, NULL);
	say("reset before accept: accept %s", ok(s[0]));
	if (s[0] >= 0) {
		say("recv %s", received(s[0], 0));
		close(s[0]);
	}
	fd[0] = connected(&a);
	write(fd[0], "x", 1);
	close(l);
	SAY2("the listener closed before accept: poll %s, recv %s", awaits(fd[0], POLLHUP), received(fd[0], 0));
	close(fd[0]);
	fd[0] = sock(SOCK_STREAM);
	say("connect then = %s", res(connect(fd[0], &a.sa, addrlen_of(fam))));
	close(fd[0]);

	/* Many at once, all in order of nothing but their own data. */
	l = listener(0, 128, &a);
	enum { MANY = 100 };
	int c[MANY], sum = 0, bad = 0;
	for (int i = 0; i < MANY; i++) {
		c[i] = connected(&a);
		dprintf(c[i], "%03d", i);
	}
	for (int i = 0; i < MANY; i++) {
		union addr p;
		socklen_t len = sizeof p;
		int x = accept(l, &p.sa, &len);
		char buf[4] = "";
		if (recv(x, buf, 3, MSG_WAITALL) != 3)
			bad++;
		int k = atoi(buf);
		union addr q = sockname(c[k]);
		if (strcmp(same(&p, &q), "the same") != 0)
			bad++;
		sum += k;
		write(x, buf, 3);
		close(x);
	}
	for (int i = 0; i < MANY; i++) {
		char buf[4] = "";
		if (recv(c[i], buf, 3, MSG_WAITALL) != 3 || atoi(buf) != i)
			bad++;
		close(c[i]);
	}
	say("100 connections wait and are served: %d wrong, sum %d", bad, sum);
	close(l);
}

static void *accept_thread(void *arg)
{
	int l = *(int *)arg;
	int s = accept(l, NULL, NULL);
	if (s >= 0) {
		write(s, "t", 1);
		close(s);
	}
	return (void *)(long)(s < 0 ? -errno : 1);
}

static void accepts(void)
{
	union addr a, b;
	socklen_t len;
	int l = listener(SOCK_NONBLOCK, 16, &a);
	say("nonblocking accept = %s", ok(accept(l, NULL, NULL)));
	len = sizeof b;
	say("with an address = %s", ok(accept(l, &b.sa, &len)));
	int fd = connected(&a);
	awaits(l, POLLIN);
	int s = accept(l, NULL, NULL);
	say("accept: O_NONBLOCK %d, FD_CLOEXEC %d", !!(fcntl(s, F_GETFL) & O_NONBLOCK), fcntl(s, F_GETFD));
	close(s);
	close(fd);
	SAY2("TCP_DEFER_ACCEPT = %s, read back %s", res(setint(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 60)), res(getint(l, IPPROTO_TCP, TCP_DEFER_ACCEPT)));
	/* One that has to wait for its data before it can tell takes a quarter of a second, each time. */
	double soonest = 10;
	for (int i = 0;; i++) {
		double since = now();
		fd = connected(&a);
		if (now() - since < soonest)
			soonest = now() - since;
		if (i == 4)
			break;
		write(fd, "data", 4);
		awaits(l, POLLIN);
		close(accept(l, NULL, NULL));
		close(fd);
	}
	say("connected %s", soonest < 0.2 ? "soon" : "late");
	say("connected: poll %s", polled(l, POLLIN, 300));
	write(fd, "data", 4);
	say("with data: poll %s", awaits(l, POLLIN));
	s = accept(l, NULL, NULL);
	say("accepted: %s", gets_all(s, "data"));
	write(s, "answer", 6);
	say("answered: %s", gets_all(fd, "answer"));
	close(s);
	setint(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
	close(fd);
	fd = connected(&a);
	awaits(l, POLLIN);
	len = sizeof b;
	s = accept4(l, &b.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	say("accept4: O_NONBLOCK %d, FD_CLOEXEC %d, %s", !!(fcntl(s, F_GETFL) & O_NONBLOCK), fcntl(s, F_GETFD), name(&b, len));
	close(s);
	close(fd);
	say("accept4 with unknown flags = %s", ok(accept4(l, NULL, NULL, 1)));
	fd = connected(&a);
	awaits(l, POLLIN);
	len = 4;
	char few[16];
	s = accept(l, (struct sockaddr *)few, &len);
	say("accept into 4 bytes = %s, length then %d", ok(s), (int)len);
	close(s);
	close(fd);
	fd = connected(&a);
	awaits(l, POLLIN);
	len = -1;
	s = accept(l, &b.sa, &len);
	say("accept with length -1 = %s", ok(s));
	if (s >= 0)
		close(s);
	s = accept(l, NULL, NULL);
	say("and then = %s", ok(s));
	if (s >= 0)
		close(s);
	close(fd);

	/* Edge-triggered: an event for each that arrives, none for what is there. */
	int ep = epoll_create1(0);
	struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.fd = l}, got[4];
	epoll_ctl(ep, EPOLL_CTL_ADD, l, &e);
	say("EPOLLET, nothing: %s", res(epoll_wait(ep, got, 4, 50)));
	int c[3];
	c[0] = connected(&a);
	say("EPOLLET, a connection: %s", res(epoll_wait(ep, got, 4, 5000)));
	say("EPOLLET, nothing new: %s", res(epoll_wait(ep, got, 4, 100)));
	c[1] = connected(&a);
	say("EPOLLET, another: %s", res(epoll_wait(ep, got, 4, 5000)));
	int n = 0;
	while ((s = accept(l, NULL, NULL)) >= 0) {
		n++;
		close(s);
	}
	say("accepted %d, then %s", n, res(-1));
	c[2] = connected(&a);
	say("EPOLLET, a third: %s", res(epoll_wait(ep, got, 4, 5000)));
	close(accept(l, NULL, NULL));
	e.events = EPOLLIN | EPOLLONESHOT;
	epoll_ctl(ep, EPOLL_CTL_MOD, l, &e);
	for (int i = 0; i < 3; i++)
		close(c[i]);
	c[0] = connected(&a);
	say("ONESHOT: %s", res(epoll_wait(ep, got, 4, 5000)));
	say("ONESHOT, again: %s", res(epoll_wait(ep, got, 4, 50)));
	close(c[0]);
	close(accept(l, NULL, NULL));
	close(ep);

	/* A blocking one, by thread, process, and by all of them. */
	nonblocking(l, 0);
	double t = now();
	pid_t pid = connects_later(&a, 150);
	len = sizeof b;
	s = accept(l, &b.sa, &len);
	say("blocking accept = %s, %s, %s", ok(s), name(&b, len), took(t, 0.15));
	close(s);
	say("client: %s", ended(pid));
	pid = connects_later(&a, 150);
	s = accept(l, NULL, NULL);
	say("blocking accept without an address = %s", ok(s));
	close(s);
	say("client: %s", ended(pid));
	enum { THREADS = 8 };
	pthread_t th[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&th[i], NULL, accept_thread, &l);
	pause_ms(100);
	n = 0;
	for (int i = 0; i < THREADS; i++) {
		fd = connected(&a);
		char ch;
		n += read(fd, &ch, 1);
		close(fd);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(th[i], NULL);
	say("8 threads accept: %d served", n);

	/* Half of them say no address. */
	pid_t kids[4];
	for (int i = 0; i < 4; i++)
		if ((kids[i] = fork()) == 0) {
			len = sizeof b;
			s = i % 2 ? accept(l, &b.sa, &len) : accept(l, NULL, NULL);
			if (s < 0)
				_exit(1);
			write(s, "p", 1);
			_exit(0);
		}
	pause_ms(100);
	n = 0;
	for (int i = 0; i < 4; i++) {
		fd = connected(&a);
		char ch;
		n += read(fd, &ch, 1);
		close(fd);
	}
	for (int i = 0; i < 4; i++)
		say("prefork %d: %s", i, ended(kids[i]));
	say("prefork: %d served", n);

	pid = fork();
	if (pid == 0) {
		pause_ms(150);
		shutdown(l, SHUT_RDWR);
		_exit(0);
	}
	len = sizeof b;
	say("accept of a listener that is shut down = %s", ok(accept(l, &b.sa, &len)));
	ended(pid);
	fd = sock(SOCK_STREAM);
	say("connect to it = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	say("listen again = %s", res(listen(l, 4)));
	/* The port that the kernel chose may be another then. */
	a = sockname(l);
	say("connect then = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	close(fd);
	close(l);
	/* It can be ended by shutdown and by connect, and begin again. */
	l = listener(0, 4, &a);
	for (int how = 0; how < 2; how++) {
		static const char *const names[] = {"shutdown", "connect to nobody"};
		int ep = epoll_create1(0);
		struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
		epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev);
		int waiting = connected(&a);
		say("%s of a listener = %s", names[how],
		    res(how ? connect(l, &(struct sockaddr){AF_UNSPEC}, sizeof(struct sockaddr)) : shutdown(l, SHUT_RD)));
		say("poll %s", ready(l, 0));
		int n = epoll_wait(ep, &ev, 1, 0);
		SAY2("epoll %s: %s", res(n), bits(n > 0 ? ev.events : 0));
		say("accept = %s", ok(accept(l, NULL, NULL)));
		say("what waited: %s", received(waiting, 0));
		fd = sock(SOCK_STREAM);
		say("connect to it = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
		say("listen again = %s", res(listen(l, 4)));
		a = sockname(l);
		say("connect then = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
		s = accept(l, NULL, NULL);
		say("accepted: %s", s < 0 ? err(errno) : "yes");
		close(s);
		close(fd);
		close(waiting);
		close(ep);
	}
	close(l);
	l = sock(SOCK_STREAM);
	say("listen without bind = %s", res(listen(l, 4)));
	say_names("its name", l);
	a = sockname(l);
	b = address(fam, myhost(), port_of(&a));
	fd = connected(&b);
	s = accept(l, NULL, NULL);
	say_names("what it accepts", s);
	say("listen once more = %s", res(listen(l, 9)));
	close(l);
	write(fd, "q", 1);
	say("the listener is closed, the connection lives: %s", received(s, 0));
}

static void inuse(void)
{
	union addr a, any;
	int l = listener(0, 1, &a), fd = sock(SOCK_STREAM);
	say("bind = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
	setint(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	say("with REUSEADDR = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
	any = address(fam, anyhost(), port_of(&a));
	say("on any address, with REUSEADDR = %s", res(bind(fd, &any.sa, addrlen_of(fam))));
	close(fd);
	close(l);
	fd = sock(SOCK_STREAM);
	say("bind after the close = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
	say("listen = %s", res(listen(fd, 1)));
	close(fd);

	/* Its own TIME_WAIT. */
	l = sock(SOCK_STREAM);
	setint(l, SOL_SOCKET, SO_REUSEADDR, 1);
	a = address(fam, myhost(), 0);
	bind(l, &a.sa, addrlen_of(fam));
	listen(l, 1);
	a = sockname(l);
	fd = connected(&a);
	int s = accept(l, NULL, NULL);
	close(s);
	awaits(fd, POLLRDHUP);
	close(fd);
	close(l);
	pause_ms(50);
	fd = sock(SOCK_STREAM);
	say("bind in TIME_WAIT = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
	close(fd);
	fd = sock(SOCK_STREAM);
	setint(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	int r = bind(fd, &a.sa, addrlen_of(fam));
	say("with REUSEADDR = %s, listen %s", res(r), r < 0 ? "-" : res(listen(fd, 1)));
	close(fd);

	/* Both say REUSEPORT. */
	for (int udp = 0; udp < 2; udp++) {
		int type = udp ? SOCK_DGRAM : SOCK_STREAM;
		l = sock(type);
		say("%s SO_REUSEPORT = %s", udp ? "udp" : "tcp", res(setint(l, SOL_SOCKET, SO_REUSEPORT, 1)));
		a = address(fam, myhost(), 0);
		bind(l, &a.sa, addrlen_of(fam));
		a = sockname(l);
		fd = sock(type);
		setint(fd, SOL_SOCKET, SO_REUSEPORT, 1);
		say("%s both = %s", udp ? "udp" : "tcp", res(bind(fd, &a.sa, addrlen_of(fam))));
		int other = sock(type);
		say("%s one without = %s", udp ? "udp" : "tcp", res(bind(other, &a.sa, addrlen_of(fam))));
		close(other);
		close(fd);
		close(l);
	}
	/* What different senders send is spread over them, and of one it is for one. */
	int workers[4], got[4] = {0}, with = 0, one = 0;
	for (int i = 0; i < 4; i++) {
		workers[i] = sock(SOCK_DGRAM);
		setint(workers[i], SOL_SOCKET, SO_REUSEPORT, 1);
		if (i == 0)
			a = address(fam, myhost(), 0);
		if (bind(workers[i], &a.sa, addrlen_of(fam)) < 0)
			fatal("bind");
		a = sockname(workers[i]);
	}
	for (int i = 0; i < 200; i++) {
		fd = sock(SOCK_DGRAM);
		sendto(fd, "x", 1, 0, &a.sa, addrlen_of(fam));
		sendto(fd, "y", 1, 0, &a.sa, addrlen_of(fam));
		struct pollfd p[4];
		int came[4] = {0};
		for (int j = 0; j < 4; j++)
			p[j] = (struct pollfd){.fd = workers[j], .events = POLLIN};
		for (int all = 0; all < 2 && poll(p, 4, 1000) > 0;)
			for (int j = 0; j < 4; j++)
				while (recv(workers[j], &(char){0}, 1, MSG_DONTWAIT) == 1)
					came[j]++, all++;
		for (int j = 0; j < 4; j++) {
			got[j] += came[j];
			one += came[j] == 2;
		}
		close(fd);
	}
	for (int j = 0; j < 4; j++) {
		with += got[j] > 20;
		close(workers[j]);
	}
	say("udp SO_REUSEPORT: %d of 4 get datagrams, both of a sender %s", with, one > 190 ? "the same one" : "different ones");
	l = bound(SOCK_DGRAM, &a);
	fd = sock(SOCK_DGRAM);
	say("udp = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
	close(fd);
	/* Other sections may have TCP connections with a port that UDP gives. */
	for (int try = 0; ; try++) {
		fd = sock(SOCK_STREAM);
		r = bind(fd, &a.sa, addrlen_of(fam));
		if (r == 0 || try == 5)
			break;
		close(fd);
		close(l);
		l = bound(SOCK_DGRAM, &a);
	}
	say("tcp on udp's port = %s", res(r));
	close(fd);
	close(l);
	fd = sock(SOCK_STREAM);
	l = listener(0, 1, &a);
	int c = connected(&a);
	union addr eph = sockname(c);
	say("an ephemeral port in use = %s", res(bind(fd, &eph.sa, addrlen_of(fam))));
	close(fd);
	close(c);
	close(l);
	/* It keeps its address, but not that of one that was never bound. */
	union addr dead, mine, now;
	dead_port(&dead);
	for (int flags = 0; flags <= SOCK_NONBLOCK; flags += SOCK_NONBLOCK) {
		fd = bound(SOCK_STREAM | flags, &mine);
		r = connect(fd, &dead.sa, addrlen_of(fam));
		if (flags)
			awaits(fd, POLLOUT | POLLHUP);
		now = sockname(fd);
		SAY3("bound, and refused = %s: %s; the address is %s", res(r), err(soerror(fd)), same(&now, &mine));
		close(fd);
	}
	l = listener(0, 1, &mine);
	r = shutdown(l, SHUT_RD);
	now = sockname(l);
	SAY2("listens no more = %s: the address is %s", res(r), same(&now, &mine));
	close(l);
}

static void dualstack(void)
{
	union addr a, b;
	socklen_t len = sizeof b;
	if (fam != AF_INET6)
		return;
	int l = sock(SOCK_STREAM);
	say("IPV6_V6ONLY %d", getint(l, IPPROTO_IPV6, IPV6_V6ONLY));
	setint(l, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	a = address(AF_INET6, "::", 0);
	bind(l, &a.sa, sizeof a.in6);
	listen(l, 5);
	a = sockname(l);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	b = address(AF_INET, host4, port_of(&a));
	say("connect by IPv4 = %s", res(connect(fd, &b.sa, sizeof b.in)));
	int s = accept(l, &b.sa, &len);
	say("accept = %s, %s", ok(s), name(&b, len));
	say_names("accepted", s);
	say_names("connected", fd);
	close(s);
	close(fd);
	char mapped[64];
	snprintf(mapped, sizeof mapped, "::ffff:%s", host4);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	b = address(AF_INET6, mapped, port_of(&a));
	say("connect to a mapped address = %s", res(connect(fd, &b.sa, sizeof b.in6)));
	say_names("connected", fd);
	s = accept(l, NULL, NULL);
	write(s, "x", 1);
	say("recv = %s", received(fd, 0));
	close(s);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	b = address(AF_INET, "0.0.0.0", port_of(&a));
	say("bind of the port by IPv4 = %s", res(bind(fd, &b.sa, sizeof b.in)));
	close(fd);
	close(l);
	l = sock(SOCK_STREAM);
	setint(l, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	say("IPV6_V6ONLY %d", getint(l, IPPROTO_IPV6, IPV6_V6ONLY));
	a = address(AF_INET6, "::", 0);
	bind(l, &a.sa, sizeof a.in6);
	listen(l, 5);
	a = sockname(l);
	say("IPV6_V6ONLY after bind = %s", res(setint(l, IPPROTO_IPV6, IPV6_V6ONLY, 0)));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	b = address(AF_INET, host4, port_of(&a));
	say("V6ONLY, connect by IPv4 = %s", res(connect(fd, &b.sa, sizeof b.in)));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	b = address(AF_INET, "0.0.0.0", port_of(&a));
	say("V6ONLY, bind of the port by IPv4 = %s", res(bind(fd, &b.sa, sizeof b.in)));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	say("connect of an IPv4 socket to an IPv6 address = %s", res(connect(fd, &a.sa, sizeof a.in6)));
	close(fd);

	/* What getaddrinfo(3) of the GNU C library does to order addresses. */
	fd = socket(AF_INET6, SOCK_DGRAM, 0);
	b = address(AF_INET, host4, 0);
	say("an inet6 UDP socket, connect to an IPv4 address = %s", res(connect(fd, &b.sa, sizeof b.in)));
	say_names("it", fd);
	union addr none = {.sa.sa_family = AF_UNSPEC};
	say("AF_UNSPEC = %s", res(connect(fd, &none.sa, sizeof none.sa)));
	b = address(AF_INET6, host6, 0);
	say("connect to IPv6, port 0 = %s", res(connect(fd, &b.sa, sizeof b.in6)));
	b = sockname(fd);
	say("address %s", name(&b, sizeof b.in6));
	close(fd);
	/* UDP, both kinds to one socket. */
	l = socket(AF_INET6, SOCK_DGRAM, 0);
	a = address(AF_INET6, "::", 0);
	bind(l, &a.sa, sizeof a.in6);
	a = sockname(l);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	b = address(AF_INET, host4, port_of(&a));
	say("udp by IPv4 = %s", res(sendto(fd, "4", 1, 0, &b.sa, sizeof b.in)));
	char buf[4];
	len = sizeof b;
	say("recvfrom = %s", res(recvfrom(l, buf, 4, 0, &b.sa, &len)));
	say("from %s", name(&b, len));
	say("the answer = %s", res(sendto(l, "answer", 6, 0, &b.sa, len)));
	say("arrives: %s", received(fd, 0));
	/* What is told of a datagram of IPv4, and what it is sent with: as servers of QUIC do. */
	setint(l, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	setint(l, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
	setint(l, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
	setint(l, IPPROTO_IP, IP_PKTINFO, 1);
	setint(l, IPPROTO_IP, IP_RECVTOS, 1);
	setint(l, IPPROTO_IP, IP_RECVTTL, 1);
	union addr to4 = address(AF_INET6, mapped, port_of(&a)), to6 = address(AF_INET6, host6, port_of(&a));
	int sender = socket(AF_INET6, SOCK_DGRAM, 0);
	say("IP_TOS = %s", res(setint(sender, IPPROTO_IP, IP_TOS, 8)));
	say("IPV6_TCLASS = %s", res(setint(sender, IPPROTO_IPV6, IPV6_TCLASS, 4)));
	for (int i = 0; i < 4; i++) {
		char ctl[CMSG_SPACE(4)] = {0}, all[512], list[400] = "", addr[INET6_ADDRSTRLEN];
		struct msghdr m = {.msg_iov = &(struct iovec){"x", 1}, .msg_iovlen = 1, .msg_name = i & 1 ? &to6 : &to4, .msg_namelen = sizeof to4.in6};
		struct cmsghdr *c = (struct cmsghdr *)ctl;
		if (i & 2) {
			*c = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_TOS, .cmsg_len = CMSG_LEN(4)};
			memcpy(CMSG_DATA(c), &(int){2}, 4);
			m.msg_control = ctl;
			m.msg_controllen = sizeof ctl;
		}
		say("to IPv%d%s = %s", i & 1 ? 6 : 4, i & 2 ? " with IP_TOS" : "", res(sendmsg(sender, &m, 0)));
		m = (struct msghdr){.msg_iov = &(struct iovec){buf, 4}, .msg_iovlen = 1, .msg_control = all, .msg_controllen = sizeof all};
		recvmsg(l, &m, 0);
		for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			size_t at = strlen(list);
			if (c->cmsg_type == (c->cmsg_level == IPPROTO_IPV6 ? IPV6_PKTINFO : IP_PKTINFO)) {
				int inet6 = c->cmsg_level == IPPROTO_IPV6;
				inet_ntop(inet6 ? AF_INET6 : AF_INET, CMSG_DATA(c) + (inet6 ? 0 : 8), addr, sizeof addr);
				snprintf(list + at, sizeof list - at, " PKTINFO %s", !strcmp(addr, inet6 ? i & 1 ? host6 : mapped : host4) ? "HOST" : addr);
			} else {
				snprintf(list + at, sizeof list - at, " %d/%d: %d", c->cmsg_level, c->cmsg_type, *CMSG_DATA(c));
			}
		}
		say("control messages:%s", list);
	}
	close(sender);
}

/* ---- sections: UDP ---- */

static int patient(int fd)
{
	timeout_of(fd, SO_RCVTIMEO, 2000);
	return fd;
}

static void udp(void)
{
	union addr a, b, c, third;
	socklen_t len = sizeof b;
	char buf[70000];
	/* One that is lost is to be one line, not the end. */
	int s = patient(bound(SOCK_DGRAM, &a)), fd = patient(sock(SOCK_DGRAM));
	say_names("bound", s);
	say("poll %s", ready(s, 0));
	say("sendto = %s", res(sendto(fd, "hello", 5, 0, &a.sa, addrlen_of(fam))));
	say_names("after sendto", fd);
	say("poll %s", awaits(s, POLLIN));
	int n = -1;
	SAY2("FIONREAD = %s: %s", res(ioctl(s, FIONREAD, &n)), res(n));
	say("peek = %s", received(s, MSG_PEEK));
	say("peek of 2, MSG_TRUNC = %s", res(recv(s, buf, 2, MSG_PEEK | MSG_TRUNC)));
	memset(&b, 0, sizeof b);
	say("recvfrom = %s", res(recvfrom(s, buf, sizeof buf, 0, &b.sa, &len)));
	c = sockname(fd);
	say("from %s; port %s", name(&b, len), port_of(&b) == port_of(&c) ? "the same" : "another");
	say("the answer = %s", res(sendto(s, "answer", 6, 0, &b.sa, len)));
	len = sizeof b;
	say("recvfrom = %s", res(recvfrom(fd, buf, sizeof buf, 0, &b.sa, &len)));
	say("from the bound: %s", same(&a, &b));

	/* Sizes. */
	say("zero length: %s", res(sendto(fd, "", 0, 0, &a.sa, addrlen_of(fam))));
	say("poll %s", awaits(s, POLLIN));
	say("recv = %s", received(s, 0));
	sendto(fd, "0123456789", 10, 0, &a.sa, addrlen_of(fam));
	struct msghdr m = {.msg_iov = &(struct iovec){buf, 4}, .msg_iovlen = 1, .msg_name = &b, .msg_namelen = sizeof b};
	say("recvmsg of 4 = %s", res(recvmsg(s, &m, 0)));
	say("flags %s, name's length %d", m.msg_flags & MSG_TRUNC ? "MSG_TRUNC" : "none", m.msg_namelen);
	sendto(fd, "0123456789", 10, 0, &a.sa, addrlen_of(fam));
	say("recv of 4 MSG_TRUNC = %s", res(recv(s, buf, 4, MSG_TRUNC)));
	sendto(fd, "one", 3, 0, &a.sa, addrlen_of(fam));
	sendto(fd, "two", 3, 0, &a.sa, addrlen_of(fam));
	say("recv of 1 = %s", res(recv(s, buf, 1, 0)));
	say("the rest is gone: %s", received(s, 0));
	say("recv MSG_DONTWAIT = %s", received(s, MSG_DONTWAIT));
	for (int size = 1000; size < 70000; size *= 2) {
		memset(buf, size & 0xff, sizeof buf);
		ssize_t r = sendto(fd, buf, size, 0, &a.sa, addrlen_of(fam));
		ssize_t g = r < 0 ? 0 : recv(s, buf, sizeof buf, 0);
		say("%d bytes: %s, received %s", size, res(r), res(g));
	}
	say("65507 bytes: %s", res(sendto(fd, buf, 65507, 0, &a.sa, addrlen_of(fam))));
	say("received %s", res(recv(s, buf, sizeof buf, 0)));
	say("65530 bytes: %s", res(sendto(fd, buf, 65530, 0, &a.sa, addrlen_of(fam))));

	/* Connected. */
	say("send of the unconnected = %s", res(send(fd, "x", 1, 0)));
	int k = patient(bound(SOCK_DGRAM, &third));
	say("connect = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	say_names("connected", fd);
	say("send = %s", res(send(fd, "conn", 4, 0)));
	say("recv = %s", received(s, 0));
	c = sockname(fd);
	say("write of another to it = %s", res(sendto(k, "third", 5, 0, &c.sa, addrlen_of(fam))));
	pause_ms(100);
	say("recv = %s", received(fd, MSG_DONTWAIT));
	sendto(s, "right", 5, 0, &c.sa, addrlen_of(fam));
	say("of the right one: %s", received(fd, 0));
	say("sendto another = %s", res(sendto(fd, "aside", 5, 0, &third.sa, addrlen_of(fam))));
	say("arrives: %s", received(k, 0));
	/* What has come before stays. */
	sendto(s, "unread", 6, 0, &c.sa, addrlen_of(fam));
	say("unread: poll %s", awaits(fd, POLLIN));
	say("connect to the other = %s", res(connect(fd, &third.sa, addrlen_of(fam))));
	socklen_t length = sizeof b;
	b = (union addr){0};
	say("unread: recvfrom = %s", res(recvfrom(fd, buf, sizeof buf, MSG_DONTWAIT, &b.sa, &length)));
	say("unread: from the one before it is %s", same(&b, &a));
	say("write = %s", res(write(fd, "moved", 5)));
	say("arrives: %s", received(k, 0));
	sendto(k, "back", 4, 0, &c.sa, addrlen_of(fam));
	say("read: %s", gets_all(fd, "back"));
	sendto(k, "unread", 6, 0, &c.sa, addrlen_of(fam));
	say("unread: poll %s", awaits(fd, POLLIN));
	union addr none = {.sa.sa_family = AF_UNSPEC};
	say("AF_UNSPEC = %s", res(connect(fd, &none.sa, sizeof none.sa)));
	length = sizeof b;
	b = (union addr){0};
	say("unread: recvfrom = %s", res(recvfrom(fd, buf, sizeof buf, MSG_DONTWAIT, &b.sa, &length)));
	say("unread: from the one before it is %s", same(&b, &third));
	say_names("then", fd);
	say("send = %s", res(send(fd, "x", 1, 0)));
	say("shutdown of the unconnected = %s", res(shutdown(fd, SHUT_RDWR)));

	/* Nobody there. */
	int dead = bound(SOCK_DGRAM, &b);
	close(dead);
	close(fd);
	fd = sock(SOCK_DGRAM);
	say("sendto nobody = %s", res(sendto(fd, "x", 1, 0, &b.sa, addrlen_of(fam))));
	pause_ms(100);
	say("unconnected hears nothing: %s", received(fd, MSG_DONTWAIT));
	connect(fd, &b.sa, addrlen_of(fam));
	say("send to nobody = %s", res(send(fd, "x", 1, 0)));
	say("poll %s", awaits(fd, POLLERR));
	SAY2("recv = %s, then %s", received(fd, MSG_DONTWAIT), received(fd, MSG_DONTWAIT));
	send(fd, "x", 1, 0);
	say("poll %s", awaits(fd, POLLERR));
	SAY2("SO_ERROR %s, then %s", err(soerror(fd)), err(soerror(fd)));
	send(fd, "x", 1, 0);
	say("poll %s", awaits(fd, POLLERR));
	say("send then = %s", res(send(fd, "x", 1, 0)));
	pause_ms(100);
	SAY2("SO_ERROR %s, then %s", err(soerror(fd)), err(soerror(fd)));
	say("poll %s", ready(fd, 0));
	timeout_of(fd, SO_RCVTIMEO, 5000);
	send(fd, "x", 1, 0);
	say("blocking recv = %s", received(fd, 0));
	pid_t pid = fork();
	if (pid == 0) {
		pause_ms(150);
		send(fd, "x", 1, 0);
		_exit(0);
	}
	say("blocking recv, the error comes later = %s", received(fd, 0));
	ended(pid);
	timeout_of(fd, SO_RCVTIMEO, 0);
	close(fd);

	/* Who sent what, when read in different ways. */
	int from[3], bad = 0, wrong = 0;
	union addr is[3];
	for (int i = 0; i < 3; i++)
		from[i] = bound(SOCK_DGRAM, &is[i]);
	for (int i = 0; i < 150; i++) {
		char line[16];
		snprintf(line, sizeof line, "%d %d", i, i % 3);
		if (sendto(from[i % 3], line, strlen(line), 0, &a.sa, addrlen_of(fam)) < 0)
			bad++;
		if (i % 30 != 29)
			continue;
		for (int j = i - 29; j <= i; j++) {
			memset(buf, 0, 16);
			len = sizeof b;
			ssize_t r = j % 5 == 4 ? read(s, buf, 16) : recvfrom(s, buf, 16, 0, &b.sa, &len);
			int seq = -1, who = -1;
			sscanf(buf, "%d %d", &seq, &who);
			if (r < 0 || seq != j || who != j % 3)
				bad++;
			else if (j % 5 != 4 && strcmp(same(&b, &is[who]), "the same") != 0)
				wrong++;
		}
	}
	say("150 from 3 sources, every fifth by read: %d out of order, %d with another's address", bad, wrong);

	/* A receiver that does not read keeps nobody. */
	fd = sock(SOCK_DGRAM);
	n = 0;
	for (int i = 0; i < 5000; i++)
		if (sendto(fd, buf, 1000, 0, &a.sa, addrlen_of(fam)) == 1000)
			n++;
	say("5000 that nobody reads: %d sent", n);
	pause_ms(100);
	n = 0;
	/* None may be left for what follows; a busy machine has pauses. */
	while (strcmp(polled(s, POLLIN, 1500), "IN") == 0 && recv(s, buf, sizeof buf, MSG_DONTWAIT) == 1000)
		n++;
	say("%s of them arrive", n == 0 ? "none" : n == 5000 ? "all" : "some");
	struct mmsghdr mm[3] = {0};
	struct iovec mv[3] = {{"m0", 2}, {"m1", 2}, {"m2", 2}};
	for (int i = 0; i < 3; i++)
		mm[i].msg_hdr = (struct msghdr){.msg_iov = &mv[i], .msg_iovlen = 1, .msg_name = &a, .msg_namelen = addrlen_of(fam)};
	say("sendmmsg = %s", res(sendmmsg(fd, mm, 3, 0)));
	awaits(s, POLLIN);
	pause_ms(50);
	char in[4][8] = {{0}};
	struct mmsghdr rr[4] = {0};
	union addr whose[4];
	struct iovec rv[4];
	for (int i = 0; i < 4; i++) {
		rv[i] = (struct iovec){in[i], 7};
		rr[i].msg_hdr = (struct msghdr){.msg_iov = &rv[i], .msg_iovlen = 1, .msg_name = &whose[i], .msg_namelen = sizeof whose[i]};
	}
	say("recvmmsg = %s", res(recvmmsg(s, rr, 4, MSG_DONTWAIT, NULL)));
	b = sockname(fd);
	say("\"%s\" \"%s\" \"%s\", lengths %d %d %d, port %s", in[0], in[1], in[2], rr[0].msg_len, rr[1].msg_len, rr[2].msg_len,
	    port_of(&b) == port_of(&whose[2]) ? "the same" : "another");
	/* Times are looked at after each datagram. */
	sendmmsg(fd, mm, 3, 0);
	pause_ms(50);
	struct timespec at_once = {0, 0}, second = {1, 0}, wrong_time = {0, -1};
	say("recvmmsg, bad time = %s", res(recvmmsg(s, rr, 4, 0, &wrong_time)));
	say("recvmmsg, no time = %s", res(recvmmsg(s, rr, 4, 0, &at_once)));
	say("recvmmsg, a second, MSG_WAITFORONE = %s", res(recvmmsg(s, rr, 4, MSG_WAITFORONE, &second)));
	say("time is left: %d", second.tv_sec == 0 && second.tv_nsec > 0);
	/* They come while it waits. */
	while (recv(s, in[0], 7, MSG_DONTWAIT) >= 0)
		;
	pid_t later = fork();
	if (later == 0) {
		for (int i = 0; i < 3; i++) {
			pause_ms(60);
			sendmmsg(fd, &mm[i], 1, 0);
		}
		_exit(0);
	}
	say("recvmmsg of what comes later = %s", res(recvmmsg(s, rr, 3, 0, NULL)));
	say("\"%s\" \"%s\" \"%s\"", in[0], in[1], in[2]);
	waitpid(later, NULL, 0);
	/* One message as datagrams of a size. */
	char ctl[CMSG_SPACE(2)] = {0};
	struct msghdr cut = {.msg_iov = &(struct iovec){"0123456789", 10}, .msg_iovlen = 1, .msg_name = &a, .msg_namelen = addrlen_of(fam),
	    .msg_control = ctl, .msg_controllen = sizeof ctl};
	struct cmsghdr *size = CMSG_FIRSTHDR(&cut);
	size->cmsg_level = SOL_UDP;
	size->cmsg_type = UDP_SEGMENT;
	size->cmsg_len = CMSG_LEN(2);
	memcpy(CMSG_DATA(size), &(unsigned short){4}, 2);
	say("UDP_SEGMENT 4 = %s", res(sendmsg(fd, &cut, 0)));
	say("%s", (awaits(s, POLLIN), received(s, 0)));
	say("%s", (awaits(s, POLLIN), received(s, 0)));
	say("%s", (awaits(s, POLLIN), received(s, 0)));
	memcpy(CMSG_DATA(size), &(unsigned short){10}, 2);
	say("UDP_SEGMENT 10 = %s", res(sendmsg(fd, &cut, 0)));
	say("%s", (awaits(s, POLLIN), received(s, 0)));
	char many[129] = {0};
	cut.msg_iov = &(struct iovec){many, sizeof many};
	memcpy(CMSG_DATA(size), &(unsigned short){1}, 2);
	say("UDP_SEGMENT 1 of 129 bytes = %s", res(sendmsg(fd, &cut, 0)));
	size->cmsg_len = CMSG_LEN(1);
	say("UDP_SEGMENT of a byte = %s", res(sendmsg(fd, &cut, 0)));
	union addr bc = address(AF_INET, "127.255.255.255", port_of(&a));
	if (fam == AF_INET) {
		say("broadcast = %s", res(sendto(fd, "b", 1, 0, &bc.sa, sizeof bc.in)));
	}
	bc = a;
	bc.sa.sa_family = 77;
	say("sendto another family = %s", res(sendto(fd, "b", 1, 0, &bc.sa, addrlen_of(fam))));
	say("sendto a short address = %s", res(sendto(fd, "b", 1, 0, &a.sa, 4)));
	bc = address(fam, myhost(), 0);
	say("sendto port 0 = %s", res(sendto(fd, "b", 1, 0, &bc.sa, addrlen_of(fam))));
	if (fam == AF_INET)
		say("send MSG_OOB = %s", res(sendto(fd, "b", 1, MSG_OOB, &a.sa, addrlen_of(fam))));
	say("listen = %s, accept = %s", res(listen(fd, 1)), ok(accept(fd, NULL, NULL)));
	fd_set rd;
	FD_ZERO(&rd);
	FD_SET(s, &rd);
	struct timeval tv = {0, 100000};
	say("select, nothing = %s", res(select(s + 1, &rd, NULL, NULL, &tv)));
	sendto(fd, "s", 1, 0, &a.sa, addrlen_of(fam));
	FD_ZERO(&rd);
	FD_SET(s, &rd);
	tv = (struct timeval){5, 0};
	say("select = %s", res(select(s + 1, &rd, NULL, NULL, &tv)));
	int ep = epoll_create1(0);
	struct epoll_event e = {.events = EPOLLIN | EPOLLET}, got[2];
	epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
	say("EPOLLET, one there = %s", res(epoll_wait(ep, got, 2, 5000)));
	say("and no other = %s", res(epoll_wait(ep, got, 2, 50)));
	sendto(fd, "t", 1, 0, &a.sa, addrlen_of(fam));
	say("another = %s", res(epoll_wait(ep, got, 2, 5000)));
	SAY2("%s, %s", received(s, 0), received(s, 0));

	/* More than anybody has room for: what is too much is lost, and that is no error. */
	static char much[8000];
	int flood = sock(SOCK_DGRAM), deaf = bound(SOCK_DGRAM, &b), failed = 0;
	connect(flood, &b.sa, addrlen_of(fam));
	for (int i = 0; i < 600; i++)
		failed += (i < 500 ? send(flood, much, sizeof much, 0) : sendto(flood, much, sizeof much, 0, &b.sa, addrlen_of(fam))) != sizeof much;
	say("of 600 datagrams that nobody reads %d fail, SO_ERROR %d", failed, soerror(flood));
	/* All that is on its way is to find somebody: a kernel has a limit for the errors of all. */
	while (poll(&(struct pollfd){.fd = deaf, .events = POLLIN}, 1, 300) == 1)
		recv(deaf, much, sizeof much, MSG_DONTWAIT);
}

static void control(void)
{
	union addr a, b;
	char data[16], ctl[512];
	int v6 = fam == AF_INET6;
	int s = sock(SOCK_DGRAM), fd = sock(SOCK_DGRAM);
	a = address(fam, anyhost(), 0);
	bind(s, &a.sa, addrlen_of(fam));
	a = sockname(s);
	a = address(fam, myhost(), port_of(&a));
	int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	say("PKTINFO = %s", res(setint(s, level, v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, 1)));
	say("TTL = %s", res(setint(s, level, v6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, 1)));
	say("TOS = %s", res(setint(s, level, v6 ? IPV6_RECVTCLASS : IP_RECVTOS, 1)));
	say("TIMESTAMP = %s", res(setint(s, SOL_SOCKET, SO_TIMESTAMP, 1)));
	say("send with TTL 33 = %s", res(setint(fd, level, v6 ? IPV6_UNICAST_HOPS : IP_TTL, 33)));
	say("and SO_DONTROUTE = %s", res(setint(fd, SOL_SOCKET, SO_DONTROUTE, 1)));
	say("send with TOS 16 = %s", res(setint(fd, level, v6 ? IPV6_TCLASS : IP_TOS, 16)));
	sendto(fd, "data", 4, 0, &a.sa, addrlen_of(fam));
	struct msghdr m = {.msg_iov = &(struct iovec){data, sizeof data}, .msg_iovlen = 1, .msg_name = &b, .msg_namelen = sizeof b,
	    .msg_control = ctl, .msg_controllen = sizeof ctl};
	say("recvmsg = %s", res(recvmsg(s, &m, 0)));
	say("flags %x", m.msg_flags & (MSG_CTRUNC | MSG_TRUNC));
	int ifindex = 0, seen = 0;
	/* Their order is no part of the interface. */
	for (int pass = 0; pass < 4; pass++)
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			char buf[INET6_ADDRSTRLEN];
			if (pass == 0 && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
				struct in_pktinfo pi;
				memcpy(&pi, CMSG_DATA(c), sizeof pi);
				inet_ntop(AF_INET, &pi.ipi_addr, buf, sizeof buf);
				ifindex = pi.ipi_ifindex;
				say("IP_PKTINFO: to %s, length %d", strcmp(buf, host4) ? buf : "HOST", (int)c->cmsg_len);
				inet_ntop(AF_INET, &pi.ipi_spec_dst, buf, sizeof buf);
				say("IP_PKTINFO: spec_dst %s", strcmp(buf, host4) ? buf : "HOST");
			} else if (pass == 0 && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
				struct in6_pktinfo pi;
				memcpy(&pi, CMSG_DATA(c), sizeof pi);
				inet_ntop(AF_INET6, &pi.ipi6_addr, buf, sizeof buf);
				ifindex = pi.ipi6_ifindex;
				say("IPV6_PKTINFO: to %s, length %d", strcmp(buf, host6) ? buf : "HOST", (int)c->cmsg_len);
			} else if (pass == 1 && c->cmsg_level == level && c->cmsg_type == (v6 ? IPV6_HOPLIMIT : IP_TTL)) {
				say("TTL %d", *(int *)CMSG_DATA(c));
			} else if (pass == 2 && c->cmsg_level == level && c->cmsg_type == (v6 ? IPV6_TCLASS : IP_TOS)) {
				say("TOS %d", *(unsigned char *)CMSG_DATA(c));
			} else if (pass == 3 && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMP) {
				struct timeval tv, is;
				memcpy(&tv, CMSG_DATA(c), sizeof tv);
				gettimeofday(&is, NULL);
				say("SO_TIMESTAMP: %s", labs(is.tv_sec - tv.tv_sec) < 10 ? "about now" : "another time");
			} else if (pass == 0) {
				seen++;
			}
		}
	char nm[IF_NAMESIZE];
	say("the interface has a name: %s", if_indextoname(ifindex, nm) ? "yes" : res(-1));
	(void)seen;

	patient(s);
	/* The answer's source is the address that was written to. */
	memset(ctl, 0, sizeof ctl);
	struct msghdr w = {.msg_iov = &(struct iovec){"answer", 6}, .msg_iovlen = 1, .msg_name = &b, .msg_namelen = m.msg_namelen, .msg_control = ctl};
	struct cmsghdr *c = (struct cmsghdr *)ctl;
	c->cmsg_level = level;
	if (v6) {
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(struct in6_pktinfo));
		struct in6_pktinfo pi = {.ipi6_addr = a.in6.sin6_addr};
		memcpy(CMSG_DATA(c), &pi, sizeof pi);
		w.msg_controllen = CMSG_SPACE(sizeof pi);
	} else {
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
		struct in_pktinfo pi = {.ipi_spec_dst = a.in.sin_addr};
		memcpy(CMSG_DATA(c), &pi, sizeof pi);
		w.msg_controllen = CMSG_SPACE(sizeof pi);
	}
	say("sendmsg with PKTINFO = %s", res(sendmsg(s, &w, 0)));
	socklen_t len = sizeof b;
	timeout_of(fd, SO_RCVTIMEO, 5000);
	say("recvfrom = %s", res(recvfrom(fd, data, sizeof data, 0, &b.sa, &len)));
	say("from the address written to: %s", same(&a, &b));
	sendto(fd, "more", 4, 0, &a.sa, addrlen_of(fam));
	m.msg_controllen = 4;
	m.msg_namelen = sizeof b;
	say("recvmsg with room for no control = %s", res(recvmsg(s, &m, 0)));
	say("flags %s", m.msg_flags & MSG_CTRUNC ? "MSG_CTRUNC" : "none");
	setint(s, level, v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, 0);
	setint(s, level, v6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, 0);
	setint(s, level, v6 ? IPV6_RECVTCLASS : IP_RECVTOS, 0);
	setint(s, SOL_SOCKET, SO_TIMESTAMP, 0);
	sendto(fd, "none", 4, 0, &a.sa, addrlen_of(fam));
	m.msg_controllen = sizeof ctl;
	m.msg_namelen = sizeof b;
	recvmsg(s, &m, 0);
	say("options off: control %d", (int)m.msg_controllen);
	setint(s, level, v6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, 1);
	setint(fd, SOL_SOCKET, SO_DONTROUTE, 0);
	sendto(fd, "near", 4, MSG_DONTROUTE, &a.sa, addrlen_of(fam));
	m.msg_controllen = sizeof ctl;
	m.msg_namelen = sizeof b;
	recvmsg(s, &m, 0);
	c = CMSG_FIRSTHDR(&m);
	say("MSG_DONTROUTE: TTL %d", c ? *(int *)CMSG_DATA(c) : -1);

	/* The error queue. */
	int dead = bound(SOCK_DGRAM, &b);
	close(dead);
	close(fd);
	fd = sock(SOCK_DGRAM);
	say("RECVERR = %s", res(setint(fd, level, v6 ? IPV6_RECVERR : IP_RECVERR, 1)));
	connect(fd, &b.sa, addrlen_of(fam));
	send(fd, "lost", 4, 0);
	say("poll %s", awaits(fd, POLLERR));
	memset(data, 0, sizeof data);
	m = (struct msghdr){.msg_iov = &(struct iovec){data, sizeof data - 1}, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
	say("MSG_ERRQUEUE = %s", res(recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT)));
	say("\"%s\", %s", data, m.msg_flags & MSG_ERRQUEUE ? "MSG_ERRQUEUE" : "no flag");
	say("then %s", res(recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT)));
}

/* What the queue of errors has first: the error, its message of ICMP, who sent that, and of which datagram. */
static void next_error(const char *what, int fd, const union addr *dead)
{
	char data[64], ctl[256];
	union addr to;
	memset(data, 0, sizeof data);
	memset(&to, 0, sizeof to);
	struct msghdr m = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &(struct iovec){data, sizeof data - 1}, .msg_iovlen = 1,
		.msg_control = ctl, .msg_controllen = sizeof ctl};
	ssize_t n = recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
	if (n < 0) {
		say("%s: %s", what, res(n));
		return;
	}
	say("%s: \"%.*s\", flags %s, to the address: %s", what, (int)n, data, m.msg_flags & MSG_ERRQUEUE ? "MSG_ERRQUEUE" : "none", same(&to, dead));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == SOL_SOCKET) {
			struct timeval tv;
			memcpy(&tv, CMSG_DATA(c), sizeof tv);
			say("%s: SOL_SOCKET, type %d: %s", what, c->cmsg_type, labs(time(NULL) - tv.tv_sec) < 10 ? "about now" : "another time");
			continue;
		}
		if (c->cmsg_type == (fam == AF_INET6 ? IPV6_HOPLIMIT : IP_TTL)) {
			say("%s: level %d, type %d, length %d", what, c->cmsg_level, c->cmsg_type, (int)c->cmsg_len);
			continue;
		}
		struct sock_extended_err e;
		memcpy(&e, CMSG_DATA(c), sizeof e);
		union addr from;
		memset(&from, 0, sizeof from);
		memcpy(&from, CMSG_DATA(c) + sizeof e, c->cmsg_len - CMSG_LEN(sizeof e));
		const char *name = strerrorname_np(e.ee_errno);
		union addr plain = *dead; /* without its port */
		if (fam == AF_INET)
			plain.in.sin_port = 0;
		else
			plain.in6.sin6_port = 0;
		say("%s: level %d, type %d: %s, origin %d, type %d, code %d, info %u, from the host: %s", what, c->cmsg_level, c->cmsg_type,
		    name ? name : "?", e.ee_origin, e.ee_type, e.ee_code, e.ee_info, same(&from, &plain));
	}
}

/* Errors of datagrams, of sockets that are connected and of others. */
static void errqueue(void)
{
	union addr dead, a, b;
	int level = fam == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP, name = fam == AF_INET6 ? IPV6_RECVERR : IP_RECVERR;
	char data[64];
	close(bound(SOCK_DGRAM, &dead));
	for (int connects = 0; connects < 2; connects++) {
		const char *how = connects ? "connected" : "unconnected";
		int fd = bound(SOCK_DGRAM, &a);
		int other = bound(SOCK_DGRAM, &b);
		setint(fd, level, name, 1);
		next_error(how, fd, &dead);
		if (connects)
			connect(fd, &dead.sa, addrlen_of(fam));
		for (int i = 0; i < 2; i++) {
			say("%s: send = %s", how, res(sendto(fd, "lost", 4, 0, connects ? NULL : &dead.sa, connects ? 0 : addrlen_of(fam))));
			say("%s: poll %s", how, awaits(fd, POLLERR));
			next_error(how, fd, &dead);
			next_error(how, fd, &dead);
			say("%s: then SO_ERROR %d, poll %s", how, getint(fd, SOL_SOCKET, SO_ERROR), polled(fd, POLLIN, 50));
		}
		/* The error is the next call's, and stays in the queue. */
		timeout_of(fd, SO_RCVTIMEO, 5000);
		setint(fd, SOL_SOCKET, SO_TIMESTAMP, 1);
		sendto(fd, "again", 5, 0, connects ? NULL : &dead.sa, connects ? 0 : addrlen_of(fam));
		socklen_t len = sizeof b;
		say("%s: recvfrom = %s", how, res(recvfrom(fd, data, sizeof data, 0, &b.sa, &len)));
		setint(fd, level, fam == AF_INET6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, 1);
		next_error(how, fd, &dead);
		b = sockname(other);
		/* Datagrams that wait are not lost. */
		if (!connects) {
			for (int i = 0; i < 3; i++) {
				snprintf(data, sizeof data, "kept %d", i);
				sendto(other, data, 6, 0, &a.sa, addrlen_of(fam));
			}
			say("%s: poll %s", how, awaits(fd, POLLIN));
			pause_ms(100);
			sendto(fd, "two", 3, 0, &dead.sa, addrlen_of(fam));
			say("%s: poll %s", how, awaits(fd, POLLIN | POLLERR));
			say("%s: send = %s", how, res(sendto(fd, "three", 5, 0, &dead.sa, addrlen_of(fam))));
			say("%s: send = %s", how, res(sendto(fd, "three", 5, 0, &dead.sa, addrlen_of(fam))));
			pause_ms(200);
			next_error(how, fd, &dead);
			say("%s: with one more poll %s", how, awaits(fd, POLLIN | POLLERR));
			next_error(how, fd, &dead);
			for (int i = 0; i < 3; i++) {
				union addr from;
				len = sizeof from;
				ssize_t n = recvfrom(fd, data, sizeof data, 0, &from.sa, &len);
				say("%s: recvfrom = %s, from %s", how, res(n), n < 0 ? "nobody" : same(&from, &b));
			}
			say("%s: in the end poll %s", how, polled(fd, POLLIN, 50));
		}
		sendto(other, "goes on", 7, 0, &a.sa, addrlen_of(fam));
		if (!connects)
			say("%s: recv = %s", how, res(recv(fd, data, sizeof data, 0)));
		close(fd);
		close(other);
	}
}

/* What calls without an address do on a UDP socket, and nothing but a UDP socket does: datagrams in pieces, pieces of what is
 * sent, the end of a direction, and errors that the queue still has when a call has told of them. */
static void plain(void)
{
	union addr a, dead;
	int s = bound(SOCK_DGRAM, &a), fd = sock(SOCK_DGRAM);
	close(bound(SOCK_DGRAM, &dead));
	say("send MSG_MORE of the unconnected = %s", res(send(fd, "x", 1, MSG_MORE)));
	/* Linux says so and does it. */
	say("shutdown of the unconnected = %s", res(shutdown(fd, SHUT_RDWR)));
	say("connect = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	say("send = %s", res(send(fd, "x", 1, 0)));
	close(fd);
	fd = sock(SOCK_DGRAM);
	connect(fd, &a.sa, addrlen_of(fam));
	say("send MSG_MORE = %s", res(send(fd, "ab", 2, MSG_MORE)));
	say("poll %s", polled(s, POLLIN, 100));
	struct msghdr more = {.msg_iov = &(struct iovec){"cd", 2}, .msg_iovlen = 1};
	say("sendmsg MSG_MORE = %s", res(sendmsg(fd, &more, MSG_MORE)));
	say("write = %s", res(write(fd, "ef", 2)));
	say("%s", (awaits(s, POLLIN), received(s, 0)));
	say("UDP_SEGMENT: %s", res(getint(fd, SOL_UDP, UDP_SEGMENT)));
	say("UDP_SEGMENT 3 = %s", res(setint(fd, SOL_UDP, UDP_SEGMENT, 3)));
	say("send of 8 = %s", res(send(fd, "01234567", 8, 0)));
	for (int i = 0; i < 3; i++)
		say("%s", (awaits(s, POLLIN), received(s, 0)));
	say("sendto of 8 = %s", res(sendto(fd, "01234567", 8, 0, &a.sa, addrlen_of(fam))));
	for (int i = 0; i < 3; i++)
		say("%s", (awaits(s, POLLIN), received(s, 0)));
	say("UDP_SEGMENT -1 = %s", res(setint(fd, SOL_UDP, UDP_SEGMENT, -1)));
	say("UDP_SEGMENT 0 = %s", res(setint(fd, SOL_UDP, UDP_SEGMENT, 0)));
	say("send of 8 = %s", res(send(fd, "01234567", 8, 0)));
	say("%s", (awaits(s, POLLIN), received(s, 0)));
	/* The errors of calls, in order, and again what came before them. */
	int level = fam == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
	setint(fd, level, fam == AF_INET6 ? IPV6_RECVERR : IP_RECVERR, 1);
	connect(fd, &dead.sa, addrlen_of(fam));
	for (int i = 0; i < 3; i++) {
		say("send to nobody = %s", res(send(fd, i ? "more" : "lost", 4, 0)));
		pause_ms(300); /* the queue has others, of which poll(2) tells, too */
		say("poll %s", awaits(fd, POLLERR));
		say("recv = %s", res(recv(fd, &(char){0}, 1, MSG_DONTWAIT)));
		say("then poll %s", polled(fd, POLLIN | POLLOUT, 50));
	}
	for (int i = 0; i < 4; i++)
		next_error("queue", fd, &dead);
	say("then poll %s", polled(fd, POLLIN | POLLOUT, 50));
	setint(fd, level, fam == AF_INET6 ? IPV6_RECVERR : IP_RECVERR, 0);
	connect(fd, &a.sa, addrlen_of(fam));
	say("shutdown SHUT_WR = %s", res(shutdown(fd, SHUT_WR)));
	say("send = %s", res(send(fd, "x", 1, 0)));
	say("poll %s", polled(fd, POLLIN | POLLOUT, 50));
	say("shutdown SHUT_RD = %s", res(shutdown(fd, SHUT_RD)));
	say("recv = %s", res(recv(fd, &(char){0}, 1, 0)));
	say("poll %s", polled(fd, POLLIN | POLLOUT, 50));
	close(fd);
	close(s);
}

/* Datagrams of a socket that finds the MTU of its path as it is told, and what the queue of errors has of each. */
static void discovers(int v)
{
	int v6 = fam == AF_INET6, level = v6 ? IPPROTO_IPV6 : IPPROTO_IP, discover = v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER;
	static char data[70000];
	union addr a;
	int to = bound(SOCK_DGRAM, &a);
	for (int connects = 0; connects < 2; connects++) {
		int fd = sock(SOCK_DGRAM);
		setint(fd, level, v6 ? IPV6_RECVERR : IP_RECVERR, 1);
		const char *set = res(setint(fd, level, discover, v));
		say("discover %d = %s, then %d", v, set, getint(fd, level, discover));
		int other = sock(SOCK_DGRAM);
		if (connect(other, &a.sa, addrlen_of(fam)) < 0 || (connects && connect(fd, &a.sa, addrlen_of(fam)) < 0))
			fatal("connect");
		int most = getint(other, level, v6 ? IPV6_MTU : IP_MTU) - (v6 ? 40 : 20) - 8;
		union addr none = a;
		if (!v6 && !connects)
			none.in.sin_port = 0; /* that of the peer, of whom there is none */
		int sizes[] = {1, most, most + 1, 60000, 65508, 65536};
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			char what[64];
			snprintf(what, sizeof what, "discover %d, %sconnected, %d bytes", v, connects ? "" : "un", sizes[i]);
			struct msghdr m = {.msg_iov = &(struct iovec){data, sizes[i]}, .msg_iovlen = 1};
			if (!connects)
				m.msg_name = &a, m.msg_namelen = addrlen_of(fam);
			ssize_t n = sendmsg(fd, &m, 0);
			say("%s: sendmsg = %s", what, res(n));
			/* One of IPv6 that is longer than those of IPv4 never comes under exec. */
			timeout_of(to, SO_RCVTIMEO, v6 && sizes[i] == 65508 ? 200 : 5000);
			if (n >= 0)
				say("%s: recv = %s", what, res(recv(to, data, sizeof data, 0)));
			say("%s: SO_ERROR %d", what, soerror(fd));
			next_error(what, fd, &none);
		}
		close(fd);
		close(other);
	}
	close(to);
}

/* How long datagrams may be, and what becomes of those that are longer. */
static void mtu(void)
{
	int v6 = fam == AF_INET6, level = v6 ? IPPROTO_IPV6 : IPPROTO_IP, discover = v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER;
	int asks = v6 ? IPV6_MTU : IP_MTU;
	static char data[70000];
	union addr a;
	int to = bound(SOCK_DGRAM, &a);
	timeout_of(to, SO_RCVTIMEO, 5000);
	int fd = sock(SOCK_DGRAM);
	say("unconnected: MTU %s", res(getsockopt(fd, level, asks, data, &(socklen_t){4})));
	if (connect(fd, &a.sa, addrlen_of(fam)) < 0)
		fatal("connect");
	int most = getint(fd, level, asks) - (v6 ? 40 : 20) - 8;
	say("connected: at most %d bytes", most);
	for (int v = -1; v <= 6; v += 7)
		say("discover %d = %s, then %d", v, res(setint(fd, level, discover, v)), getint(fd, level, discover));
	close(fd);
	discovers(IP_PMTUDISC_DONT);
	discovers(IP_PMTUDISC_WANT);
	discovers(IP_PMTUDISC_OMIT);
	if (v6) {
		fd = sock(SOCK_DGRAM);
		int sizes[] = {-1, 0, 1, 1279, 1280, 1500, 70000, 0};
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			say("IPV6_MTU %d = %s", sizes[i], res(setint(fd, level, IPV6_MTU, sizes[i])));
			say("then sendto = %s", res(sendto(fd, data, 5000, 0, &a.sa, addrlen_of(fam))));
			say("then recv = %s", res(recv(to, data, sizeof data, 0)));
		}
		say("IPV6_DONTFRAG = %s", res(setint(fd, level, IPV6_DONTFRAG, 1)));
		say("then sendto = %s", res(sendto(fd, data, most + 1, 0, &a.sa, addrlen_of(fam))));
		say("IPV6_DONTFRAG off = %s", res(setint(fd, level, IPV6_DONTFRAG, 0)));
		say("then sendto = %s", res(sendto(fd, data, most + 1, 0, &a.sa, addrlen_of(fam))));
	}
}

/* Those that are not to be fragmented. */
static void whole(void)
{
	int v6 = fam == AF_INET6, level = v6 ? IPPROTO_IPV6 : IPPROTO_IP, discover = v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER;
	discovers(IP_PMTUDISC_DO);
	discovers(IP_PMTUDISC_PROBE);
	discovers(IP_PMTUDISC_INTERFACE);
	/* A stream may be asked as well. */
	int c = sock(SOCK_STREAM);
	for (int v = -1; v <= 6; v++)
		say("stream: discover %d = %s, then %d", v, res(setint(c, level, discover, v)), getint(c, level, discover));
}

/* An address that no route leads to, but for a default route, which there is none of. */
static void noroute(void)
{
	union addr to = address(fam, fam == AF_INET6 ? "2001:db8::1" : "192.0.2.1", 9), near = address(fam, myhost(), 9);
	int s = sock(SOCK_DGRAM), t = sock(SOCK_STREAM), fd = sock(SOCK_STREAM | SOCK_NONBLOCK);
	say("sendto = %s", res(sendto(s, "x", 1, 0, &to.sa, addrlen_of(fam))));
	say("connect = %s", res(connect(s, &to.sa, addrlen_of(fam))));
	say_names("after it", s);
	say("connect to a host that is there = %s", res(connect(s, &near.sa, addrlen_of(fam))));
	say_names("then", s);
	say("connect = %s", res(connect(s, &to.sa, addrlen_of(fam))));
	say_names("still", s);
	say("SO_ERROR %s", err(soerror(s)));
	say("stream: connect = %s", res(connect(t, &to.sa, addrlen_of(fam))));
	say("stream: nonblocking connect = %s", res(connect(fd, &to.sa, addrlen_of(fam))));
	say("stream: SO_ERROR %s", err(soerror(fd)));
	if (fam == AF_INET6) {
		to = address(fam, "ff02::99", 9);
		say("connect to a group without an interface = %s", res(connect(sock(SOCK_DGRAM), &to.sa, addrlen_of(fam))));
	}
}

/* An interface as SO_BINDTODEVICE tells it. */
static const char *device_of(int fd)
{
	char name[IFNAMSIZ] = "";
	socklen_t len = sizeof name;
	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) < 0)
		return res(-1);
	unsigned index = len ? if_nametoindex(name) : 0;
	char *s = text();
	snprintf(s, 256, "%s, length %s, index %s", len == 0 ? "none" : strcmp(name, loopback()) == 0 ? "LOOPBACK" : name,
	    len == (len ? strlen(name) + 1 : 0) ? "right" : "wrong",
	    getint(fd, SOL_SOCKET, SO_BINDTOIFINDEX) == (int)index ? "right" : "wrong");
	return s;
}

static int to_device(int fd, const char *name) { return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, strlen(name)); }

/* What a socket has of its address once it is connected to nobody: what it was bound to. */
static void dissociate(void)
{
	static const struct {
		const char *what;
		int binds, address, port;
	} kinds[] = {
		{"unbound", 0, 0, 0}, {"any address", 1, 0, 0}, {"any address and a port", 1, 0, 1},
		{"an address", 1, 1, 0}, {"an address and a port", 1, 1, 1},
	};
	union addr none = {.sa.sa_family = AF_UNSPEC}, a, b, peer, other;
	int s = patient(bound(SOCK_DGRAM, &peer)), k = patient(bound(SOCK_DGRAM, &other));
	char buf[16];
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		int fd = bound(SOCK_DGRAM, &a);
		close(fd);
		fd = patient(sock(SOCK_DGRAM));
		a = address(fam, kinds[i].address ? myhost() : anyhost(), kinds[i].port ? port_of(&a) : 0);
		if (kinds[i].binds)
			say("%s: bind = %s", kinds[i].what, res(bind(fd, &a.sa, addrlen_of(fam))));
		for (int connects = 0; connects < 3; connects++) {
			if (connects > 0)
				say("connect = %s", res(connect(fd, &peer.sa, addrlen_of(fam))));
			if (connects > 1)
				say("connect to another = %s", res(connect(fd, &other.sa, addrlen_of(fam))));
			if (connects > 0) {
				say_names("connected", fd);
				a = sockname(fd);
				int to = connects > 1 ? k : s;
				socklen_t len = sizeof b;
				say("send = %s", res(send(fd, "x", 1, 0)));
				say("recvfrom = %s", res(recvfrom(to, buf, sizeof buf, 0, &b.sa, &len)));
				say("from %s", same(&a, &b));
				sendto(to, "waits", 5, 0, &a.sa, addrlen_of(fam));
				say("poll %s", awaits(fd, POLLIN));
			}
			for (int twice = 0; twice < 2; twice++) {
				say("AF_UNSPEC = %s", res(connect(fd, &none.sa, sizeof none.sa)));
				say_names("then", fd);
			}
			b = sockname(fd);
			say("port %s", port_of(&b) == 0 ? "none" : port_of(&b) == port_of(&a) ? "the same" : "another");
			if (connects > 0)
				say("what has come: %s", received(fd, 0));
			say("to somebody = %s", res(sendto(fd, "y", 1, 0, &peer.sa, addrlen_of(fam))));
			say_names("then", fd);
			b = sockname(fd);
			a = address(fam, myhost(), port_of(&b));
			socklen_t len = sizeof b;
			say("recvfrom = %s", res(recvfrom(s, buf, sizeof buf, 0, &b.sa, &len)));
			say("from %s", same(&a, &b));
			say("from another = %s", res(sendto(k, "another", 7, 0, &a.sa, addrlen_of(fam))));
			say("recv = %s", received(fd, 0));
		}
		a = address(fam, anyhost(), 0);
		say("bind = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
		connect(fd, &none.sa, sizeof none.sa);
		int third = sock(SOCK_DGRAM);
		say("bind of another to the port = %s", res(bind(third, &b.sa, addrlen_of(fam))));
		close(third);
		say("bind then = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
		say_names("bound", fd);
		close(fd);
	}
}

static void device(void)
{
	union addr a, to;
	char buf[64] = "";
	int s = sock(SOCK_DGRAM), c = sock(SOCK_DGRAM), l, fd;
	say("at first: %s", device_of(s));
	say("one that is not there = %s", res(to_device(s, "nonesuch0")));
	say("none = %s", res(to_device(s, "")));
	say("index -1 = %s", res(setint(s, SOL_SOCKET, SO_BINDTOIFINDEX, -1)));
	say("still: %s", device_of(s));
	SAY2("loopback = %s: %s", res(to_device(s, loopback())), device_of(s));
	socklen_t len = 4;
	say("into 4 bytes = %s", res(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, buf, &len)));
	a = address(fam, anyhost(), 0);
	say("bind = %s", res(bind(s, &a.sa, addrlen_of(fam))));
	to = address(fam, myhost(), port_of((a = sockname(s), &a)));
	say("sendto = %s", res(sendto(c, "any", 3, 0, &to.sa, addrlen_of(fam))));
	SAY2("poll %s, recv = %s", awaits(s, POLLIN), res(recv(s, buf, sizeof buf, MSG_DONTWAIT)));
	SAY2("the other, too, by index = %s: %s", res(setint(c, SOL_SOCKET, SO_BINDTOIFINDEX, if_nametoindex(loopback()))), device_of(c));
	say("connect = %s", res(connect(c, &to.sa, addrlen_of(fam))));
	say_names("connected", c);
	say("send = %s", res(send(c, "bound", 5, 0)));
	len = sizeof a;
	SAY3("poll %s, recvfrom = %s from %s", awaits(s, POLLIN), res(recvfrom(s, buf, sizeof buf, MSG_DONTWAIT, &a.sa, &len)), name(&a, len));
	say("answer = %s", res(sendto(s, "answer", 6, 0, &a.sa, len)));
	SAY2("poll %s, recv = %s", awaits(c, POLLIN), res(recv(c, buf, sizeof buf, MSG_DONTWAIT)));
	union addr none = {.sa.sa_family = AF_UNSPEC};
	SAY2("connect to nobody = %s: %s", res(connect(c, &none.sa, sizeof none.sa)), device_of(c));
	fd = sock(SOCK_DGRAM);
	a = address(fam, anyhost(), port_of((a = sockname(s), &a)));
	say("bind of one that is not bound to it = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
	to_device(fd, loopback());
	say("bind of one that is = %s", res(bind(fd, &a.sa, addrlen_of(fam))));
	close(fd);
	SAY2("none again = %s: %s", res(to_device(s, "")), device_of(s));
	close(s);
	close(c);

	l = sock(SOCK_STREAM);
	SAY2("stream: loopback = %s: %s", res(to_device(l, loopback())), device_of(l));
	a = address(fam, anyhost(), 0);
	say("stream: bind = %s, listen = %s", res(bind(l, &a.sa, addrlen_of(fam))), res(listen(l, 4)));
	to = address(fam, myhost(), port_of((a = sockname(l), &a)));
	for (int bound = 0; bound < 2; bound++) {
		c = sock(SOCK_STREAM);
		if (bound) {
			a = address(fam, myhost(), 0);
			bind(c, &a.sa, addrlen_of(fam));
			say("stream: of one that has an address = %s", res(to_device(c, loopback())));
		}
		say("stream: connect = %s", res(connect(c, &to.sa, addrlen_of(fam))));
		fd = accept(l, NULL, NULL);
		say("stream: accepted: %s, the peer: %s", device_of(fd), device_of(c));
		write(c, "there", 5);
		say("stream: %s", gets_all(fd, "there"));
		write(fd, "and back", 8);
		say("stream: %s", gets_all(c, "and back"));
		close(c);
		close(fd);
	}
	close(l);
}

static void multicast(void)
{
	union addr a, b, group;
	if (fam == AF_INET6) {
		int fd = sock(SOCK_DGRAM);
		struct ipv6_mreq m = {.ipv6mr_interface = if_nametoindex(loopback())};
		inet_pton(AF_INET6, "ff02::77", &m.ipv6mr_multiaddr);
		say("IPV6_JOIN_GROUP = %s", res(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof m)));
		say("again = %s", res(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof m)));
		say("IPV6_LEAVE_GROUP = %s", res(setsockopt(fd, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &m, sizeof m)));
		say("again = %s", res(setsockopt(fd, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &m, sizeof m)));
		say("IPV6_MULTICAST_HOPS %d, LOOP %d", getint(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), getint(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP));
		SAY2("IPV6_MULTICAST_HOPS 3 = %s: %s", res(setint(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 3)), res(getint(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS)));
		return;
	}
	int s = sock(SOCK_DGRAM), fd = sock(SOCK_DGRAM);
	a = address(AF_INET, "0.0.0.0", 0);
	bind(s, &a.sa, sizeof a.in);
	a = sockname(s);
	struct ip_mreq m;
	inet_pton(AF_INET, "224.0.0.77", &m.imr_multiaddr);
	inet_pton(AF_INET, host4, &m.imr_interface);
	say("IP_ADD_MEMBERSHIP = %s", res(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m)));
	say("again = %s", res(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m)));
	say("IP_MULTICAST_TTL %d, LOOP %d", getint(fd, IPPROTO_IP, IP_MULTICAST_TTL), getint(fd, IPPROTO_IP, IP_MULTICAST_LOOP));
	SAY2("IP_MULTICAST_TTL 3 = %s: %s", res(setint(fd, IPPROTO_IP, IP_MULTICAST_TTL, 3)), res(getint(fd, IPPROTO_IP, IP_MULTICAST_TTL)));
	unsigned char byte = 4;
	SAY2("as a byte = %s: %s", res(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &byte, 1)), res(getint(fd, IPPROTO_IP, IP_MULTICAST_TTL)));
	say("IP_MULTICAST_IF = %s", res(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m.imr_interface, 4)));
	struct in_addr is = {0};
	socklen_t len = sizeof is;
	SAY2("read back = %s: %s", res(getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &is, &len)), strcmp(inet_ntoa(is), host4) ? inet_ntoa(is) : "HOST");
	group = address(AF_INET, "224.0.0.77", port_of(&a));
	say("sendto = %s", res(sendto(fd, "many", 4, 0, &group.sa, sizeof group.in)));
	timeout_of(s, SO_RCVTIMEO, 3000);
	char buf[8] = "";
	len = sizeof b;
	memset(&b, 0, sizeof b); /* in case nothing comes */
	say("recvfrom = %s", res(recvfrom(s, buf, 8, 0, &b.sa, &len)));
	say("\"%s\" from %s", buf, name(&b, len));
	SAY2("IP_MULTICAST_LOOP 0 = %s: %s", res(setint(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0)), res(getint(fd, IPPROTO_IP, IP_MULTICAST_LOOP)));
	setint(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 1);
	say("IP_DROP_MEMBERSHIP = %s", res(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m)));
	say("again = %s", res(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m)));
	struct ip_mreqn n = {.imr_multiaddr = m.imr_multiaddr, .imr_address = m.imr_interface};
	say("by ip_mreqn = %s", res(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &n, sizeof n)));
	inet_pton(AF_INET, "10.1.2.3", &m.imr_multiaddr);
	say("a group that is none = %s", res(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m)));
}

/* ---- sections: what acts on descriptors ---- */

static void oob(void)
{
	int fd[2];
	pair(fd);
	write(fd[0], "ab", 2);
	say("send MSG_OOB = %s", res(send(fd[0], "!", 1, MSG_OOB)));
	write(fd[0], "cd", 2);
	say("poll %s", awaits(fd[1], POLLPRI));
	int mark = -1;
	SAY2("SIOCATMARK = %s: %s", res(ioctl(fd[1], SIOCATMARK, &mark)), res(mark));
	say("recv MSG_OOB = %s", received(fd[1], MSG_OOB | MSG_DONTWAIT));
	say("recv = %s", received(fd[1], MSG_DONTWAIT));
	SAY2("SIOCATMARK = %s: %s", res(ioctl(fd[1], SIOCATMARK, &mark)), res(mark));
	say("recv = %s", received(fd[1], MSG_DONTWAIT));
	say("recv MSG_OOB of nothing = %s", received(fd[1], MSG_OOB | MSG_DONTWAIT));
	close(fd[0]);
	close(fd[1]);
}

static void bulk(void)
{
	int fd[2], p[2];
	pair(fd);
	static unsigned char big[1 << 20], in[1 << 20];
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = i * 31 >> 3;
	say("TCP_CORK = %s", res(setint(fd[0], IPPROTO_TCP, TCP_CORK, 1)));
	say("TCP_CORK read back %s", res(getint(fd[0], IPPROTO_TCP, TCP_CORK)));
	write(fd[0], "cork", 4);
	setint(fd[0], IPPROTO_TCP, TCP_CORK, 0);
	say("uncorked: %s", gets_all(fd[1], "cork"));
	setint(fd[0], IPPROTO_TCP, TCP_CORK, 5);
	SAY2("again: %s, read back %s", gets_all(fd[1], ""), res(getint(fd[0], IPPROTO_TCP, TCP_CORK)));
	write(fd[0], "late", 4);
	say("never uncorked: %s", gets_all(fd[1], "late"));
	write(fd[0], "la", 2);
	write(fd[0], "st", 2);
	shutdown(fd[0], SHUT_WR);
	SAY2("corked and shut down: %s, then %s", gets_all(fd[1], "last"), received(fd[1], 0));
	close(fd[0]);
	close(fd[1]);
	union addr a;
	int l = listener(0, 5, &a);
	say("TCP_CORK of a listener = %s", res(setint(l, IPPROTO_TCP, TCP_CORK, 1)));
	fd[0] = sock(SOCK_STREAM);
	SAY2("TCP_CORK before connect = %s, read back %s", res(setint(fd[0], IPPROTO_TCP, TCP_CORK, 1)), res(getint(fd[0], IPPROTO_TCP, TCP_CORK)));
	connect(fd[0], &a.sa, addrlen_of(fam));
	fd[1] = accept(l, NULL, NULL);
	close(l);
	SAY2("then %s and %s", res(getint(fd[0], IPPROTO_TCP, TCP_CORK)), res(getint(fd[1], IPPROTO_TCP, TCP_CORK)));
	write(fd[0], "to", 2);
	write(fd[1], "fro", 3);
	SAY2("%s, %s", gets_all(fd[1], "to"), gets_all(fd[0], "fro"));
	setint(fd[0], IPPROTO_TCP, TCP_CORK, 0);
	setint(fd[1], IPPROTO_TCP, TCP_CORK, 0);
	write(fd[0], "to", 2);
	write(fd[1], "fro", 3);
	SAY2("uncorked: %s, %s", gets_all(fd[1], "to"), gets_all(fd[0], "fro"));
	send(fd[0], "mo", 2, MSG_MORE);
	send(fd[0], "re", 2, 0);
	say("MSG_MORE: %s", gets_all(fd[1], "more"));
	char path[] = "/tmp/sockets-XXXXXX";
	int file = mkstemp(path);
	unlink(path);
	if (write(file, big, sizeof big) != sizeof big)
		fatal("write");
	struct { const char *what; } ways[] = {{"write"}, {"sendfile"}, {"splice"}, {"vmsplice and splice"}, {"MSG_ZEROCOPY"}};
	for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
		pid_t pid = fork();
		if (pid == 0) {
			close(fd[1]);
			size_t n = 0;
			off_t off = 0;
			ssize_t r = 0;
			if (w == 4)
				setint(fd[0], SOL_SOCKET, SO_ZEROCOPY, 1);
			pipe(p);
			while (n < sizeof big) {
				if (w == 0)
					r = write(fd[0], big + n, sizeof big - n);
				else if (w == 1)
					r = sendfile(fd[0], file, &off, sizeof big - n);
				else if (w == 2) {
					r = splice(file, &off, p[1], NULL, 65536, 0);
					if (r > 0)
						r = splice(p[0], NULL, fd[0], NULL, r, 0);
				} else if (w == 3) {
					struct iovec v = {big + n, sizeof big - n > 32768 ? 32768 : sizeof big - n};
					r = vmsplice(p[1], &v, 1, 0);
					if (r > 0)
						r = splice(p[0], NULL, fd[0], NULL, r, SPLICE_F_MOVE);
				} else
					r = send(fd[0], big + n, sizeof big - n, 0);
				if (r <= 0)
					break;
				n += r;
			}
			if (n < sizeof big)
				say("%s ends with %s", ways[w].what, res(r));
			_exit(0);
		}
		memset(in, 0, sizeof in);
		size_t n = 0;
		pipe(p);
		while (n < sizeof in) {
			ssize_t r;
			/* The last but one way is read by splice, too. */
			if (w == 3) {
				r = splice(fd[1], NULL, p[1], NULL, 32768, 0);
				if (r > 0) {
					size_t k = 0;
					while (k < (size_t)r) {
						ssize_t x = read(p[0], in + n + k, r - k);
						if (x <= 0)
							break;
						k += x;
					}
				}
			} else
				r = read(fd[1], in + n, sizeof in - n);
			if (r <= 0)
				break;
			n += r;
		}
		close(p[0]);
		close(p[1]);
		say("%s: %zu bytes, %s; %s", ways[w].what, n, memcmp(in, big, sizeof big) ? "changed" : "unchanged", ended(pid));
	}
	/* Both ways at once. */
	pid_t pid = fork();
	for (int me = pid == 0 ? 1 : 0, done = 0; !done; done = 1) {
		size_t sent = 0, got = 0;
		int bad = 0;
		nonblocking(fd[me], 1);
		while (sent < 8 * sizeof big || got < 8 * sizeof big) {
			struct pollfd q = {fd[me], POLLIN | (sent < 8 * sizeof big ? POLLOUT : 0), 0};
			poll(&q, 1, 5000);
			if (q.revents == 0)
				break;
			if (q.revents & POLLOUT) {
				size_t at = sent % sizeof big;
				ssize_t r = write(fd[me], big + at, sizeof big - at);
				sent += r > 0 ? r : 0;
			}
			if (q.revents & POLLIN) {
				ssize_t r = read(fd[me], in, sizeof in);
				if (r <= 0)
					break;
				for (ssize_t i = 0; i < r; i++)
					bad += in[i] != big[(got + i) % sizeof big];
				got += r;
			}
		}
		if (me == 1)
			_exit(bad || got != 8 * sizeof big);
		say("8 MiB each way at once: %zu sent, %zu received, %d wrong", sent, got, bad);
	}
	say("the other: %s", ended(pid));
	int left = -1;
	for (double t = now() + 5; now() < t; pause_ms(5))
		if (ioctl(fd[0], SIOCOUTQ, &left) < 0 || left == 0)
			break;
	say("SIOCOUTQ in the end %d", left);
	write(fd[0], "trunc", 5);
	awaits(fd[1], POLLIN);
	say("MSG_TRUNC discards: %s", res(recv(fd[1], NULL, 5, MSG_TRUNC)));
	say("then %s", received(fd[1], MSG_DONTWAIT));
}

/* What is written past the program's memory with a small send buffer leaves room, too, once it
 * has been read. */
static void smallpages(void)
{
	static char in[100000];
	const int sizes[] = {4096, 65536, 120000}, chunks[] = {4096, 60000, 65536, 131072, 262144};
	int file = memfd_create("file", MFD_CLOEXEC);
	if (ftruncate(file, 262144) < 0)
		fatal("ftruncate");
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 5; j++)
			for (int way = 0; way < 4; way++) {
				int fd[2], p[2], end = way % 2;
				size_t all = chunks[j], sent = 0;
				loff_t off = 0;
				pair(fd);
				int s = fd[end];
				setint(s, SOL_SOCKET, SO_SNDBUF, sizes[i]);
				if (pipe2(p, O_NONBLOCK) < 0)
					fatal("pipe2");
				fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
				/* It reads all, and no more. */
				pid_t pid = fork();
				if (pid == 0) {
					size_t n = 0;
					ssize_t r = 1;
					close(s);
					while (n < all && r > 0)
						n += r = read(fd[1 - end], in, sizeof in < all - n ? sizeof in : all - n);
					_exit(n != all);
				}
				nonblocking(s, 1);
				if (way >= 2 && splice(file, &off, p[1], NULL, all, 0) != (ssize_t)all)
					fatal("splice");
				while (sent < all) {
					ssize_t r = way < 2 ? sendfile(s, file, &off, all - sent) : splice(p[0], NULL, s, NULL, all - sent, SPLICE_F_NONBLOCK);
					struct pollfd w = {s, POLLOUT, 0};
					if (r > 0)
						sent += r;
					else if (errno != EAGAIN || poll(&w, 1, 5000) <= 0)
						break;
				}
				say("SO_SNDBUF %d, %d bytes by %s: %zu; the reader %s; %s", sizes[i], chunks[j], way < 2 ? "sendfile" : "splice", sent, ended(pid),
				    polled(s, POLLOUT, 5000));
				close(p[0]);
				close(p[1]);
				close(fd[0]);
				close(fd[1]);
			}
	close(file);
}

/* What is written with a send buffer as small as it may be, by one who waits for POLLOUT,
 * arrives; and then there is room again, and nothing waits. */
static void smallbuf(void)
{
	static char big[100000], in[100000];
	const int sizes[] = {1, 4096}, chunks[] = {1, 1000, 100000};
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 3; j++)
			for (int end = 0; end < 2; end++) {
				int fd[2], left = -1;
				size_t all = chunks[j] == 1 ? 3000 : 300000, sent = 0;
				pair(fd);
				int s = fd[end];
				setint(s, SOL_SOCKET, SO_SNDBUF, sizes[i]);
				pid_t pid = fork();
				if (pid == 0) {
					size_t n = 0;
					ssize_t r;
					close(s);
					while (n < all && (r = read(fd[1 - end], in, sizeof in)) > 0)
						n += r;
					pause();
				}
				nonblocking(s, 1);
				while (sent < all) {
					ssize_t r = write(s, big, (size_t)chunks[j] < all - sent ? (size_t)chunks[j] : all - sent);
					struct pollfd p = {s, POLLOUT, 0};
					if (r > 0)
						sent += r;
					else if (errno != EAGAIN || poll(&p, 1, 5000) <= 0)
						break;
				}
				for (double until = now() + 5; now() < until && left != 0; pause_ms(5))
					if (ioctl(s, SIOCOUTQ, &left) < 0)
						break;
				say("SO_SNDBUF %d is %d; %zu bytes by %d; %s; SIOCOUTQ %d", sizes[i], getint(s, SOL_SOCKET, SO_SNDBUF), sent, chunks[j],
				    ready(s, 5000), left);
				kill(pid, SIGKILL);
				ended(pid);
				close(fd[0]);
				close(fd[1]);
			}
	smallpages();
}

static void option(const char *label, int fd, int level, int opt, int value)
{
	int was = getint(fd, level, opt);
	const char *before = res(was);
	int r = setint(fd, level, opt, value);
	const char *set = res(r);
	int is = getint(fd, level, opt);
	say("%s: %s; set %d = %s; then %s", label, before, value, set, res(is));
}

#define OPTION(fd, level, opt, value) option(#opt, fd, level, opt, value)

/* What they are at first is the host's choice. */
static void buffer(int fd, int opt)
{
	const char *what = opt == SO_RCVBUF ? "SO_RCVBUF" : "SO_SNDBUF";
	say("%s %s", what, getint(fd, SOL_SOCKET, opt) > 4096 ? "more than 4096" : res(-1));
	SAY3("%s: set 65536 = %s; then %s", what, res(setint(fd, SOL_SOCKET, opt, 65536)), res(getint(fd, SOL_SOCKET, opt)));
}

static void options(void)
{
	int fd[2], t = sock(SOCK_STREAM), u = sock(SOCK_DGRAM);
	pair(fd);
	OPTION(t, SOL_SOCKET, SO_REUSEADDR, 1);
	OPTION(t, SOL_SOCKET, SO_REUSEPORT, 1);
	OPTION(t, SOL_SOCKET, SO_KEEPALIVE, 1);
	OPTION(t, SOL_SOCKET, SO_OOBINLINE, 1);
	OPTION(t, SOL_SOCKET, SO_DONTROUTE, 1);
	OPTION(u, SOL_SOCKET, SO_BROADCAST, 1);
	OPTION(t, SOL_SOCKET, SO_TIMESTAMP, 1);
	OPTION(t, SOL_SOCKET, SO_RCVLOWAT, 2);
	OPTION(t, SOL_SOCKET, SO_PRIORITY, 3);
	OPTION(t, SOL_SOCKET, SO_TYPE, 3);
	OPTION(t, SOL_SOCKET, SO_ERROR, 3);
	OPTION(t, SOL_SOCKET, SO_DOMAIN, 3);
	buffer(t, SO_RCVBUF);
	buffer(t, SO_SNDBUF);
	buffer(u, SO_RCVBUF);
	buffer(u, SO_SNDBUF);
	OPTION(t, SOL_SOCKET, 9999, 1);
	struct linger lg = {1, 5};
	socklen_t len = sizeof lg;
	say("SO_LINGER = %s", res(setsockopt(t, SOL_SOCKET, SO_LINGER, &lg, len)));
	lg = (struct linger){0, 0};
	say("read back = %s", res(getsockopt(t, SOL_SOCKET, SO_LINGER, &lg, &len)));
	say("it is %d %d", lg.l_onoff, lg.l_linger);
	OPTION(fd[0], IPPROTO_TCP, TCP_NODELAY, 1);
	OPTION(fd[0], IPPROTO_TCP, TCP_KEEPIDLE, 100);
	OPTION(fd[0], IPPROTO_TCP, TCP_KEEPINTVL, 11);
	OPTION(fd[0], IPPROTO_TCP, TCP_KEEPCNT, 4);
	OPTION(fd[0], IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
	OPTION(fd[0], IPPROTO_TCP, TCP_QUICKACK, 1);
	OPTION(t, IPPROTO_TCP, TCP_SYNCNT, 4);
	OPTION(t, IPPROTO_TCP, TCP_LINGER2, 30);
	OPTION(t, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
	OPTION(t, IPPROTO_TCP, TCP_MAXSEG, 1000);
	OPTION(t, IPPROTO_TCP, 9999, 1);
	OPTION(t, IPPROTO_TCP, TCP_NODELAY, 7);
	say("TCP_NODELAY of 1 byte = %s", res(setsockopt(t, IPPROTO_TCP, TCP_NODELAY, "\1", 1)));
	say("SO_KEEPALIVE of 1 byte = %s", res(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, "\1", 1)));
	say("SO_KEEPALIVE from nowhere = %s", res(setsockopt(t, SOL_SOCKET, SO_KEEPALIVE, (void *)1, 4)));
	say("TCP option on UDP = %s", res(setint(u, IPPROTO_TCP, TCP_NODELAY, 1)));
	say("level 99 = %s", res(setint(t, 99, 1, 1)));
	char cc[16] = "", none[64];
	len = sizeof cc;
	SAY2("TCP_CONGESTION = %s, %s", res(getsockopt(fd[0], IPPROTO_TCP, TCP_CONGESTION, cc, &len)), *cc ? "a name" : "none");
	say("set to itself = %s", res(setsockopt(fd[0], IPPROTO_TCP, TCP_CONGESTION, cc, strlen(cc))));
	say("set to nonsense = %s", res(setsockopt(fd[0], IPPROTO_TCP, TCP_CONGESTION, "nonsense", 8)));
	say("TCP_ULP = %s", res(setsockopt(fd[0], IPPROTO_TCP, TCP_ULP, "nonsense", 8)));
	struct tcp_info ti;
	memset(&ti, 0, sizeof ti);
	len = sizeof ti;
	say("TCP_INFO = %s", res(getsockopt(fd[0], IPPROTO_TCP, TCP_INFO, &ti, &len)));
	say("state %d, MSS %s", ti.tcpi_state, ti.tcpi_snd_mss > 0 ? "positive" : "none");
	len = sizeof ti;
	getsockopt(t, IPPROTO_TCP, TCP_INFO, &ti, &len);
	say("of the unconnected: state %d", ti.tcpi_state);
	say("TCP_MAXSEG of the connected %s", getint(fd[0], IPPROTO_TCP, TCP_MAXSEG) > 500 ? "more than 500" : res(-1));
	if (fam == AF_INET) {
		OPTION(t, IPPROTO_IP, IP_TOS, 16);
		OPTION(t, IPPROTO_IP, IP_TTL, 55);
		OPTION(t, IPPROTO_IP, IP_TTL, 256);
		OPTION(u, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
		OPTION(u, IPPROTO_IP, IP_RECVTTL, 1);
		OPTION(u, IPPROTO_IP, IP_RECVTOS, 1);
		OPTION(u, IPPROTO_IP, IP_PKTINFO, 1);
		OPTION(u, IPPROTO_IP, IP_RECVERR, 1);
		OPTION(t, IPPROTO_IP, 9999, 1);
		len = sizeof none;
		SAY2("IP_OPTIONS = %s, length %s", res(getsockopt(fd[0], IPPROTO_IP, IP_OPTIONS, none, &len)), res(len));
	} else {
		OPTION(t, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 55);
		OPTION(t, IPPROTO_IPV6, IPV6_TCLASS, 16);
		OPTION(t, IPPROTO_IPV6, IPV6_V6ONLY, 1);
		OPTION(u, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
		OPTION(u, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
		OPTION(u, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
		OPTION(u, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
		OPTION(u, IPPROTO_IPV6, IPV6_RECVERR, 1);
		OPTION(t, IPPROTO_IPV6, 9999, 1);
	}
	unsigned char one = 99;
	len = 1;
	SAY3("SO_TYPE into 1 byte = %s: %s, length %s", res(getsockopt(t, SOL_SOCKET, SO_TYPE, &one, &len)), res(one), res(len));
	len = -1;
	say("SO_TYPE with length -1 = %s", res(getsockopt(t, SOL_SOCKET, SO_TYPE, &one, &len)));
	struct ucred uc;
	len = sizeof uc;
	say("SO_PEERCRED = %s", res(getsockopt(fd[0], SOL_SOCKET, SO_PEERCRED, &uc, &len)));
	say("pid %d, uid %d", uc.pid, uc.uid);
	/* Asks for two bytes: one is none. */
	setint(fd[1], SOL_SOCKET, SO_RCVLOWAT, 2);
	write(fd[0], "1", 1);
	pause_ms(100);
	say("SO_RCVLOWAT 2, one byte: poll %s", polled(fd[1], POLLIN, 0));
	write(fd[0], "2", 1);
	say("two: poll %s", polled(fd[1], POLLIN, 5000));
	/* Inherited by the accepted. */
	union addr a;
	int l = bound(SOCK_STREAM, &a);
	setint(l, SOL_SOCKET, SO_KEEPALIVE, 1);
	setint(l, IPPROTO_TCP, TCP_NODELAY, 1);
	listen(l, 1);
	int c = connected(&a), s = accept(l, NULL, NULL);
	say("accepted: SO_KEEPALIVE %d, TCP_NODELAY %d", getint(s, SOL_SOCKET, SO_KEEPALIVE), getint(s, IPPROTO_TCP, TCP_NODELAY));
	close(c);
}

static void mixes(void)
{
	int fd[2], p[2], us[2];
	union addr ua, la;
	pair(fd);
	pipe(p);
	socketpair(AF_UNIX, SOCK_STREAM, 0, us);
	int u = bound(SOCK_DGRAM, &ua), l = listener(0, 5, &la);
	int ev = eventfd(0, 0), tm = timerfd_create(CLOCK_MONOTONIC, 0), ep = epoll_create1(0), inner = epoll_create1(0);
	int watch[] = {fd[1], p[0], us[0], u, l, ev, tm};
	const char *names[] = {"tcp", "pipe", "unix", "udp", "listener", "eventfd", "timerfd"};
	enum { N = 7 };
	for (int i = 0; i < N; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
		epoll_ctl(i == 0 || i == 4 ? inner : ep, EPOLL_CTL_ADD, watch[i], &e);
	}
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 100};
	epoll_ctl(ep, EPOLL_CTL_ADD, inner, &e);
	struct epoll_event got[16];
	say("nothing: epoll %s", res(epoll_wait(ep, got, 16, 50)));
	int c = -1;
	for (int i = 0; i < N; i++) {
		if (i == 0)
			write(fd[0], "x", 1);
		else if (i == 1)
			write(p[1], "x", 1);
		else if (i == 2)
			write(us[1], "x", 1);
		else if (i == 3)
			sendto(u, "x", 1, 0, &ua.sa, addrlen_of(fam));
		else if (i == 4)
			c = connected(&la);
		else if (i == 5)
			eventfd_write(ev, 1);
		else {
			struct itimerspec it = {.it_value.tv_nsec = 1000000};
			timerfd_settime(tm, 0, &it, NULL);
		}
		struct pollfd pf[N];
		for (int j = 0; j < N; j++)
			pf[j] = (struct pollfd){watch[j], POLLIN, 0};
		int np = poll(pf, N, 5000);
		fd_set rd;
		FD_ZERO(&rd);
		int max = 0;
		for (int j = 0; j < N; j++) {
			FD_SET(watch[j], &rd);
			max = watch[j] > max ? watch[j] : max;
		}
		struct timeval tv = {5, 0};
		int ns = select(max + 1, &rd, NULL, NULL, &tv);
		int ne = epoll_wait(ep, got, 16, 5000);
		unsigned which = ne > 0 ? got[0].data.u32 : 99;
		if (which == 100 && epoll_wait(inner, got, 16, 0) == 1)
			which = got[0].data.u32;
		say("%s: poll %d %s, select %d %d, epoll %d %s", names[i], np, bits(pf[i].revents), ns, !!FD_ISSET(watch[i], &rd), ne, which < N ? names[which] : "?");
		char buf[8];
		if (i == 4)
			close(accept(l, NULL, NULL));
		else
			read(watch[i], buf, 8);
	}
	close(c);
	/* A descriptor that is closed leaves the set. */
	write(fd[0], "y", 1);
	close(fd[1]);
	say("closed: inner epoll %s", res(epoll_wait(inner, got, 16, 50)));
	say("EPOLL_CTL_DEL of the closed = %s", res(epoll_ctl(inner, EPOLL_CTL_DEL, fd[1], NULL)));
	struct pollfd bad = {fd[1], POLLIN, 0};
	poll(&bad, 1, 0);
	say("poll of the closed %s", bits(bad.revents));
	/* One waits in epoll while it happens. */
	int q[2];
	pair(q);
	e = (struct epoll_event){.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u32 = 7};
	epoll_ctl(ep, EPOLL_CTL_ADD, q[1], &e);
	pid_t pid = fork();
	if (pid == 0) {
		pause_ms(100);
		write(q[0], "z", 1);
		pause_ms(200);
		shutdown(q[0], SHUT_WR);
		_exit(0);
	}
	int n = epoll_wait(ep, got, 16, 5000);
	say("while one waits: %d %s", n, bits(got[0].events));
	n = epoll_wait(ep, got, 16, 5000);
	say("then: %d %s", n, bits(got[0].events));
	ended(pid);
}

/* ---- sections: processes ---- */

static void forks(void)
{
	int fd[2];
	pair(fd);
	pid_t pid = fork();
	if (pid == 0) {
		close(fd[1]);
		write(fd[0], "child ", 6);
		union addr a = sockname(fd[0]);
		say("the child's name: %s", name(&a, addrlen_of(fam)));
		_exit(0);
	}
	ended(pid);
	write(fd[0], "parent", 6);
	say("the peer reads %s", gets_all(fd[1], "child parent"));
	say("and not its end: %s", received(fd[1], MSG_DONTWAIT));
	write(fd[1], "still", 5);
	say("the parent reads %s", gets_all(fd[0], "still"));
	pid = fork();
	if (pid == 0) {
		close(fd[1]);
		pause_ms(200);
		write(fd[0], "last", 4);
		_exit(0);
	}
	close(fd[0]);
	SAY2("closed by the parent, the child writes: %s, then %s", gets_all(fd[1], "last"), received(fd[1], 0));
	ended(pid);
	close(fd[1]);

	/* What comes after a receiver was killed is for the others. */
	union addr a;
	int u = bound(SOCK_DGRAM, &a), sender = sock(SOCK_DGRAM), lost = 0;
	timeout_of(u, SO_RCVTIMEO, 5000);
	for (int i = 0; i < 5; i++) {
		pid = fork();
		if (pid == 0) {
			union addr from;
			char b;
			recvfrom(u, &b, 1, 0, &from.sa, &(socklen_t){sizeof from});
			_exit(0);
		}
		pause_ms(500);
		kill(pid, SIGKILL);
		ended(pid);
		sendto(sender, "x", 1, 0, &a.sa, addrlen_of(fam));
		if (strcmp(received(u, 0), "1 \"x\"") != 0)
			lost++;
	}
	say("of 5 datagrams, each after a receiver was killed, %d are lost", lost);
	close(u);
	close(sender);

	/* A server that forks for each connection; the processes are nobody's children. */
	int l = listener(0, 10, &a);
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			if (fork() != 0)
				_exit(0);
			int s = accept(l, NULL, NULL);
			char c;
			while (read(s, &c, 1) == 1 && c != '.')
				write(s, &c, 1);
			_exit(0);
		}
	for (int i = 0; i < 3; i++)
		wait(NULL);
	int c[3];
	for (int i = 0; i < 3; i++) {
		c[i] = connected(&a);
		write(c[i], "abc", 3);
	}
	for (int i = 0; i < 3; i++) {
		say("orphan %d echoes %s", i, gets_all(c[i], "abc"));
		write(c[i], ".", 1);
		say("and ends: %s", received(c[i], 0));
		close(c[i]);
	}
	/* vfork and exec, as system(3) and posix_spawn(3). */
	say("system(3) = %s", res(system("exit 3") >> 8));
	close(l);
}

static void send_fd(int over, int fd)
{
	char ctl[CMSG_SPACE(sizeof fd)] = {0};
	struct msghdr m = {.msg_iov = &(struct iovec){"f", 1}, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	if (sendmsg(over, &m, 0) != 1)
		fatal("sendmsg of a descriptor");
}

static int recv_fd(int over)
{
	char ctl[CMSG_SPACE(sizeof(int))] = {0}, b;
	struct msghdr m = {.msg_iov = &(struct iovec){&b, 1}, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
	if (recvmsg(over, &m, MSG_CMSG_CLOEXEC) != 1 || m.msg_controllen == 0)
		fatal("recvmsg of a descriptor");
	int fd;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	return fd;
}

static void rights(void)
{
	int us[2], fd[2];
	union addr a;
	socketpair(AF_UNIX, SOCK_STREAM, 0, us);
	pid_t pid = fork();
	if (pid == 0) {
		close(us[0]);
		int c = recv_fd(us[1]);
		say_names("the receiver", c);
		write(c, "passed", 6);
		close(c);
		int l = recv_fd(us[1]);
		say("the receiver's listener: SO_ACCEPTCONN %d", getint(l, SOL_SOCKET, SO_ACCEPTCONN));
		union addr b;
		socklen_t len = sizeof b;
		int s = accept(l, &b.sa, &len);
		say("it accepts %s", name(&b, len));
		write(s, "accepted", 8);
		close(s);
		int u = recv_fd(us[1]);
		say("the receiver's UDP: %s", received(u, 0));
		int n = recv_fd(us[1]);
		union addr la = sockname(l);
		say("a fresh one connects = %s", res(connect(n, &la.sa, addrlen_of(fam))));
		s = accept(l, NULL, NULL);
		write(s, "mine too", 8);
		write(us[1], "c", 1);
		read(us[1], &(char){0}, 1);
		_exit(0);
	}
	close(us[1]);
	pair(fd);
	send_fd(us[0], fd[0]);
	close(fd[0]);
	SAY2("the peer reads %s, then %s", gets_all(fd[1], "passed"), received(fd[1], 0));
	int l = listener(0, 4, &a);
	send_fd(us[0], l);
	close(l);
	int c = connected(&a);
	SAY2("the client reads %s, then %s", gets_all(c, "accepted"), received(c, 0));
	close(c);
	int u = bound(SOCK_DGRAM, &a), w = sock(SOCK_DGRAM);
	sendto(w, "queued", 6, 0, &a.sa, addrlen_of(fam));
	awaits(u, POLLIN);
	send_fd(us[0], u);
	close(u);
	u = sock(SOCK_STREAM);
	send_fd(us[0], u);
	read(us[0], &(char){0}, 1);
	say_names("the sender's copy of the fresh one", u);
	say("it reads %s", gets_all(u, "mine too"));
	close(us[0]);
	say("the receiver: %s", ended(pid));
	/* In flight, and never received. */
	pair(fd);
	socketpair(AF_UNIX, SOCK_STREAM, 0, us);
	send_fd(us[0], fd[0]);
	close(fd[0]);
	say("in flight: the peer reads %s", received(fd[1], MSG_DONTWAIT));
	close(us[0]);
	close(us[1]);
	say("lost in flight: poll %s", awaits(fd[1], POLLRDHUP));
	say("recv %s", received(fd[1], 0));
	/* A rump socket carries no descriptors. */
	pair(fd);
	char ctl[CMSG_SPACE(sizeof(int))] = {0};
	struct msghdr m = {.msg_iov = &(struct iovec){"f", 1}, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd[1], sizeof(int));
	ssize_t r = sendmsg(fd[0], &m, 0);
	say("SCM_RIGHTS over TCP = %s", res(r));
	char in[CMSG_SPACE(sizeof(int))], b;
	struct msghdr g = {.msg_iov = &(struct iovec){&b, 1}, .msg_iovlen = 1, .msg_control = in, .msg_controllen = sizeof in};
	if (r == 1) {
		r = recvmsg(fd[1], &g, 0);
		say("recvmsg = %s, control %d", res(r), (int)g.msg_controllen);
	}
}

static void child_of_exec(const char *what)
{
	section = "exec";
	/* The output is a copy that the parent kept. */
	out = atoi(strchr(what, ' ') + 1);
	fam = what[0] == '6' ? AF_INET6 : AF_INET;
	for (int fd = 0; fd < 3; fd++) {
		char label[32];
		snprintf(label, sizeof label, "descriptor %d", fd);
		say_names(label, fd);
	}
	char line[32] = "";
	int n = 0;
	while (n < 31 && read(0, line + n, 1) == 1 && line[n] != '\n')
		n++;
	line[n] = 0;
	say("isatty(0) = %d", isatty(0));
	printf("you said %s\n", line);
	fflush(stdout);
	fprintf(stderr, "to 2\n");
	_exit(7);
}

static void execs(void)
{
	int fd[2];
	pair(fd);
	int keep = dup(out), hidden = fcntl(fd[0], F_DUPFD_CLOEXEC, 50);
	pid_t pid = fork();
	if (pid == 0) {
		close(fd[1]);
		for (int i = 0; i < 3; i++)
			dup2(fd[0], i);
		close(fd[0]);
		char arg[32];
		snprintf(arg, sizeof arg, "%d %d", fam == AF_INET6 ? 6 : 4, keep);
		execl(self, self, "-x", arg, NULL);
		_exit(99);
	}
	close(fd[0]);
	close(hidden);
	write(fd[1], "hello\n", 6);
	say("the peer reads %s", gets_all(fd[1], "you said hello\nto 2\n"));
	say("then %s", received(fd[1], 0));
	say("the program: %s", ended(pid));
	close(fd[1]);
	/* A shell on a socket. */
	pair(fd);
	pid = fork();
	if (pid == 0) {
		dup2(fd[0], 0);
		dup2(fd[0], 1);
		close(fd[0]);
		close(fd[1]);
		execl("/bin/sh", "sh", "-c", "read x; echo got $x; cat", NULL);
		_exit(99);
	}
	close(fd[0]);
	write(fd[1], "line\nrest", 9);
	shutdown(fd[1], SHUT_WR);
	SAY3("a shell: %s, then %s; %s", gets_all(fd[1], "got line\nrest"), received(fd[1], 0), ended(pid));
}

static void closeall(void)
{
	int answer[2];
	pipe(answer);
	pid_t pid = fork();
	if (pid == 0) {
		int keep = fcntl(answer[1], F_DUPFD_CLOEXEC, 100);
		for (int i = 0; i < 100; i++)
			close(i);
		out = keep;
		union addr a = address(fam, myhost(), 0);
		int l = socket(fam, SOCK_STREAM, 0);
		say("the first socket is %d", l);
		bind(l, &a.sa, addrlen_of(fam));
		listen(l, 3);
		a = sockname(l);
		int c = socket(fam, SOCK_STREAM, 0);
		say("the second %d", c);
		say("connect = %s", res(connect(c, &a.sa, addrlen_of(fam))));
		int s = accept(l, NULL, NULL);
		say("accept = %d", s);
		write(s, "yes", 3);
		say("read %s", gets_all(c, "yes"));
		close(l);
		union addr b;
		int u = socket(fam, SOCK_DGRAM, 0);
		say("the lowest again: %d", u);
		(void)b;
		for (int i = 0; i < 50; i++)
			close(i);
		int n = 0;
		for (int i = 0; i < 200; i++) {
			int x = socket(fam, i % 2 ? SOCK_STREAM : SOCK_DGRAM, 0);
			n += x == 0;
			close(x);
		}
		say("200 times socket and close: %d times 0", n);
		_exit(0);
	}
	close(answer[1]);
	char line[512];
	FILE *f = fdopen(answer[0], "r");
	while (fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		char *text_ = strchr(line, ':');
		say("%s", text_ ? text_ + 2 : line);
	}
	fclose(f);
	say("it: %s", ended(pid));
}

static void emfile(void)
{
	union addr a, b;
	int l = listener(SOCK_NONBLOCK, 5, &a), c[2];
	c[0] = connected(&a);
	awaits(l, POLLIN);
	struct rlimit rl = {40, 40};
	setrlimit(RLIMIT_NOFILE, &rl);
	int first = -1, last = -1, n = 0, fd;
	while ((fd = socket(fam, n % 2 ? SOCK_DGRAM : SOCK_STREAM, 0)) >= 0) {
		if (first < 0)
			first = fd;
		last = fd;
		n++;
	}
	say("socket = %s; the last was 39: %s", res(-1), last == 39 ? "yes" : "no");
	say("there were none between: %s", n == last - first + 1 ? "yes" : "no");
	say("accept = %s", ok(accept(l, NULL, NULL)));
	socklen_t len = sizeof b;
	say("accept with an address = %s", ok(accept(l, &b.sa, &len)));
	close(last);
	len = sizeof b;
	int s = accept(l, &b.sa, &len);
	say("after a close = %s, %s", ok(s), s == last ? "the same descriptor" : "another");
	union addr is = sockname(c[0]);
	say("it is the one that waited: %s", same(&b, &is));
	write(c[0], "x", 1);
	say("recv = %s", received(s, 0));
	for (int i = first; i < 40; i++)
		if (i != s)
			close(i);
	int again = sock(SOCK_STREAM);
	say("then socket = %s", ok(again));
}

static volatile sig_atomic_t ticks;

static void tick(int sig) { (void)sig; ticks++; }

static void storm(int flags, int hz)
{
	struct sigaction sa = {.sa_handler = tick, .sa_flags = flags};
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval it = {0};
	if (hz)
		it.it_interval.tv_usec = it.it_value.tv_usec = 1000000 / hz;
	setitimer(ITIMER_REAL, &it, NULL);
}

static void alarm_in(int ms, int flags)
{
	struct sigaction sa = {.sa_handler = tick, .sa_flags = flags};
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval it = {.it_value.tv_usec = ms * 1000};
	setitimer(ITIMER_REAL, &it, NULL);
}

static void once(int ms) { alarm_in(ms, 0); }

/* Calls that have a timeout of their socket's are never made again. */
static void signals_in_time(void)
{
	union addr a, b;
	socklen_t len = sizeof b;
	char c, buf[4096] = {0};
	struct iovec iv = {&c, 1};
	struct mmsghdr mm = {.msg_hdr = {.msg_iov = &iv, .msg_iovlen = 1}};
	int u = bound(SOCK_DGRAM, &a), l = listener(0, 0, &b), fd[2], fill[3];
	timeout_of(u, SO_RCVTIMEO, 3000);
	timeout_of(l, SO_RCVTIMEO, 3000);
	storm(SA_RESTART, 5);
	double t = now();
	say("SO_RCVTIMEO and SA_RESTART, recvfrom = %s", res(recvfrom(u, &c, 1, 0, &b.sa, &len)));
	say("%s", took(t, 0));
	say("recvmsg = %s", res(recvmsg(u, &mm.msg_hdr, 0)));
	say("recvmmsg = %s", res(recvmmsg(u, &mm, 1, 0, NULL)));
	len = sizeof b;
	say("accept = %s", res(accept(l, &b.sa, &len)));
	timeout_of(u, SO_RCVTIMEO, 0);
	storm(0, 0);

	/* The time that recvmmsg(2) is given is none of the socket's. */
	pid_t pid = fork();
	if (pid == 0) {
		pause_ms(500);
		sendto(u, "x", 1, 0, &a.sa, addrlen_of(fam));
		_exit(0);
	}
	ticks = 0;
	alarm_in(100, SA_RESTART);
	struct timespec ten = {10, 0};
	say("recvmmsg, 10 seconds = %s", res(recvmmsg(u, &mm, 1, 0, &ten)));
	say("signals: %d", ticks);
	ended(pid);

	/* SO_SNDTIMEO: what has a full buffer, and a full backlog. */
	pair(fd);
	nonblocking(fd[0], 1);
	/* It may go on to the peer's buffer yet. */
	for (int quiet = 0; quiet < 10; quiet++) {
		while (write(fd[0], buf, sizeof buf) > 0 || write(fd[0], buf, 1) > 0)
			quiet = 0;
		pause_ms(50);
	}
	nonblocking(fd[0], 0);
	timeout_of(fd[0], SO_SNDTIMEO, 3000);
	a = peername(fd[0]);
	alarm_in(100, SA_RESTART);
	say("SO_SNDTIMEO, sendto = %s", res(sendto(fd[0], buf, 1, 0, &a.sa, addrlen_of(fam))));
	a = sockname(l);
	for (int i = 0; i < 3; i++) {
		fill[i] = sock(SOCK_STREAM | SOCK_NONBLOCK);
		connect(fill[i], &a.sa, addrlen_of(fam));
		pause_ms(50);
	}
	int w = sock(SOCK_STREAM);
	timeout_of(w, SO_SNDTIMEO, 3000);
	alarm_in(150, SA_RESTART);
	say("connect = %s", res(connect(w, &a.sa, addrlen_of(fam))));
	for (int i = 0; i < 3; i++)
		close(fill[i]);
	close(fd[0]);
	close(fd[1]);
	close(l);
	close(u);
	close(w);
}

static void signals(void)
{
	union addr a, b;
	socklen_t len;
	int l = listener(0, 5, &a);
	char buf[4096];
	/* A thousand a second, all calls restarted. */
	double t = now();
	pid_t pid = connects_later(&a, 400);
	storm(SA_RESTART, 1000);
	len = sizeof b;
	int s = accept(l, &b.sa, &len);
	say("SA_RESTART, accept = %s, %s", ok(s), took(t, 0.4));
	say("there were signals: %s", ticks > 5 ? "yes" : "no");
	storm(SA_RESTART, 0);
	close(s);
	ended(pid);
	pid = connects_later(&a, 400);
	storm(SA_RESTART, 1000);
	s = accept(l, NULL, NULL);
	say("without an address = %s", ok(s));
	storm(SA_RESTART, 0);
	close(s);
	ended(pid);

	int bad = 0;
	storm(SA_RESTART, 1000);
	for (int i = 0; i < 300; i++) {
		int fd = socket(fam, SOCK_STREAM, 0);
		union addr x = address(fam, myhost(), 0);
		if (fd < 0 || bind(fd, &x.sa, addrlen_of(fam)) < 0 || connect(fd, &a.sa, addrlen_of(fam)) < 0) {
			bad++;
			say("set-up: %s", res(-1));
		}
		s = accept(l, NULL, NULL);
		if (s < 0 || write(fd, "ping", 4) != 4 || recv(s, buf, 4, MSG_WAITALL) != 4) {
			bad++;
			say("use: %s", res(-1));
		}
		len = sizeof x;
		if (getpeername(s, &x.sa, &len) < 0)
			bad++;
		close(fd);
		close(s);
		int u = socket(fam, SOCK_DGRAM, 0);
		x = address(fam, myhost(), 0);
		if (u < 0 || bind(u, &x.sa, addrlen_of(fam)) < 0) {
			bad++;
			say("udp: %s", res(-1));
		}
		x = sockname(u);
		len = sizeof b;
		if (sendto(u, "u", 1, 0, &x.sa, addrlen_of(fam)) != 1 || recvfrom(u, buf, 1, 0, &b.sa, &len) != 1 || strcmp(same(&x, &b), "the same")) {
			bad++;
			say("udp: %s", res(-1));
		}
		close(u);
	}
	storm(SA_RESTART, 0);
	say("300 connections and datagrams under signals: %d wrong", bad);

	/* A transfer, both ends in signals. */
	int fd[2];
	pair(fd);
	pid = fork();
	if (pid == 0) {
		close(fd[1]);
		storm(SA_RESTART, 1000);
		memset(buf, 'q', sizeof buf);
		for (int i = 0; i < 600; i++) {
			size_t n = 0;
			while (n < sizeof buf) {
				ssize_t w = write(fd[0], buf + n, sizeof buf - n);
				if (w < 0)
					_exit(1);
				n += w;
			}
		}
		_exit(0);
	}
	close(fd[0]);
	storm(SA_RESTART, 1000);
	size_t sum = 0;
	ssize_t r;
	while ((r = read(fd[1], buf, sizeof buf)) > 0)
		sum += r;
	storm(SA_RESTART, 0);
	say("a transfer: %zu bytes, then %s; writer %s", sum, res(r), ended(pid));
	close(fd[1]);

	/* Not restarted. */
	once(100);
	t = now();
	len = sizeof b;
	s = accept(l, &b.sa, &len);
	say("no SA_RESTART, accept = %s", ok(s));
	say("%s", took(t, 0.1));
	once(100);
	say("without an address = %s", ok(accept(l, NULL, NULL)));
	pair(fd);
	once(100);
	say("recv = %s", received(fd[0], 0));
	write(fd[1], "kept", 4);
	say("nothing is lost: %s", gets_all(fd[0], "kept"));
	int u = bound(SOCK_DGRAM, &b);
	once(100);
	union addr c;
	len = sizeof c;
	say("recvfrom = %s", res(recvfrom(u, buf, 1, 0, &c.sa, &len)));
	once(100);
	say("poll = %s", polled(u, POLLIN, 5000));
	timeout_of(fd[0], SO_RCVTIMEO, 5000);
	alarm_in(100, SA_RESTART);
	say("SA_RESTART and SO_RCVTIMEO, recv = %s", received(fd[0], 0));
	timeout_of(fd[0], SO_RCVTIMEO, 0);
	signals_in_time();

	/* A connect that waits, as the backlog is full. */
	int full = listener(0, 0, &b), fill[3];
	for (int i = 0; i < 3; i++) {
		fill[i] = sock(SOCK_STREAM | SOCK_NONBLOCK);
		connect(fill[i], &b.sa, addrlen_of(fam));
		pause_ms(50);
	}
	int w = sock(SOCK_STREAM);
	once(150);
	t = now();
	say("connect = %s", res(connect(w, &b.sa, addrlen_of(fam))));
	say("%s", took(t, 0.15));
	say("again, nonblocking = %s", res((nonblocking(w, 1), connect(w, &b.sa, addrlen_of(fam)))));
	nonblocking(full, 1);
	for (int i = 0, n = 0; n < 4 && i < 100; i++) {
		if (strcmp(polled(full, POLLIN, 100), "IN") == 0 && accept(full, NULL, NULL) >= 0)
			n++;
		if (strcmp(polled(w, POLLOUT, 0), "OUT") == 0)
			break;
	}
	SAY2("it is connected in the end: poll %s, SO_ERROR %s", polled(w, POLLOUT, 8000), err(soerror(w)));
}

static void jobs(void)
{
	union addr a, b;
	socklen_t len = sizeof b;
	int l = listener(0, 5, &a), status;
	for (int with = 0; with < 2; with++) {
		const char *what = with ? "with an address" : "without one";
		pid_t pid = fork();
		if (pid == 0) {
			len = sizeof b;
			int s = with ? accept(l, &b.sa, &len) : accept(l, NULL, NULL);
			_exit(s < 0 ? errno : 0);
		}
		pause_ms(150);
		double t = now();
		kill(pid, SIGTSTP);
		waitpid(pid, &status, WUNTRACED);
		say("accept %s, SIGTSTP: %s, %s", what, WIFSTOPPED(status) ? "stopped" : "not stopped", took(t, 0));
		pause_ms(50);
		kill(pid, SIGCONT);
		waitpid(pid, &status, WCONTINUED);
		say("SIGCONT: %s", WIFCONTINUED(status) ? "continued" : "not continued");
		pause_ms(100);
		int c = connected(&a);
		say("it accepts then: %s", ended(pid));
		close(c);
		pid = fork();
		if (pid == 0) {
			len = sizeof b;
			int s = with ? accept(l, &b.sa, &len) : accept(l, NULL, NULL);
			_exit(s < 0 ? errno : 0);
		}
		pause_ms(150);
		t = now();
		kill(pid, SIGINT);
		const char *how = ended(pid);
		say("SIGINT: %s, %s", how, took(t, 0));
		pid = fork();
		if (pid == 0) {
			len = sizeof b;
			int s = with ? accept(l, &b.sa, &len) : accept(l, NULL, NULL);
			_exit(s < 0 ? errno : 0);
		}
		pause_ms(150);
		kill(pid, SIGKILL);
		say("SIGKILL: %s", ended(pid));
		/* The connection that comes next is for who still is there. */
		c = connected(&a);
		len = sizeof b;
		int s = accept(l, &b.sa, &len);
		union addr mine = sockname(c);
		say("the next connection: %s", same(&b, &mine));
		close(s);
		close(c);
	}
	int u = bound(SOCK_DGRAM, &a);
	pid_t pid = fork();
	if (pid == 0) {
		len = sizeof b;
		recvfrom(u, (char[1]){0}, 1, 0, &b.sa, &len);
		_exit(0);
	}
	pause_ms(150);
	kill(pid, SIGTERM);
	say("recvfrom, SIGTERM: %s", ended(pid));
}

static void *recv_thread(void *arg)
{
	char c;
	ssize_t n = recv(*(int *)arg, &c, 1, 0);
	return (void *)(n < 0 ? -(long)errno : (long)n);
}

static atomic_int mistakes;

static void *busy_thread(void *arg)
{
	union addr *a = arg;
	for (int i = 0; i < 40; i++) {
		int fd = socket(a->sa.sa_family, SOCK_STREAM, 0);
		char buf[8] = "", want[8];
		snprintf(want, sizeof want, "%07d", i);
		if (connect(fd, &a->sa, addrlen_of(a->sa.sa_family)) < 0 || write(fd, want, 7) != 7 || recv(fd, buf, 7, MSG_WAITALL) != 7 || strcmp(buf, want))
			mistakes++;
		close(fd);
	}
	return NULL;
}

static void *echo_thread(void *arg)
{
	for (;;) {
		union addr b;
		socklen_t len = sizeof b;
		int s = accept(*(int *)arg, &b.sa, &len);
		if (s < 0)
			return NULL;
		char buf[8];
		ssize_t n;
		while ((n = read(s, buf, sizeof buf)) > 0)
			if (write(s, buf, n) != n)
				break;
		close(s);
	}
}

/* A signal of the process while threads accept. */
struct for_process {
	const char *what;
	int sig, flags;
	enum { BLOCKS, GONE, ACCEPTS, JOINS } first; /* what the first thread does */
	int l;
};

static atomic_int failures, last_failure;

static void *accepts_only(void *arg)
{
	union addr b;
	socklen_t len = sizeof b;
	struct for_process *f = arg;
	/* The end of a child is for the thread that has made it, first. */
	if (f->sig == SIGCHLD && gettid() != getpid() && fork() == 0) {
		pause_ms(300);
		_exit(0);
	}
	if (accept(f->l, &b.sa, &len) < 0) {
		last_failure = errno;
		failures++;
	}
	return NULL;
}

static void *has_signal_sent(void *arg)
{
	struct for_process *f = arg;
	pause_ms(300);
	if (f->sig != SIGCHLD)
		kill(getpid(), f->sig);
	for (int i = 0; i < 500 && ticks == 0; i++)
		pause_ms(10);
	pause_ms(400);
	say("%s: handlers %d, calls that failed %d: %s", f->what, ticks, failures, err(last_failure));
	_exit(0);
}

static void process_signal(struct for_process *f)
{
	pthread_t th;
	sigset_t set, was;
	struct sigaction sa = {.sa_handler = tick, .sa_flags = f->flags};
	ticks = 0;
	sigaction(f->sig, &sa, NULL);
	int threads = f->sig == SIGCHLD ? 1 : 3;
	for (int i = 0; i < threads; i++)
		pthread_create(&th, NULL, accepts_only, f);
	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, &was);
	if (f->first == BLOCKS)
		has_signal_sent(f);
	pthread_t sends;
	pthread_create(&sends, NULL, has_signal_sent, f);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	if (f->first == GONE)
		pthread_exit(NULL);
	if (f->first == ACCEPTS)
		accepts_only(f);
	pthread_join(sends, NULL);
}

/* A process stops, with all its threads, and goes on: they accept then. */
static void stops(int first_accepts)
{
	union addr a;
	int l = listener(0, 5, &a), status = 0;
	struct for_process f = {.l = l};
	const char *what = first_accepts ? "the first thread accepts, too" : "the first thread sleeps";
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t th[3];
		for (int i = 0; i < 3; i++)
			pthread_create(&th[i], NULL, accepts_only, &f);
		if (first_accepts)
			accepts_only(&f);
		for (int i = 0; i < 3; i++)
			pthread_join(th[i], NULL);
		_exit(failures);
	}
	pause_ms(300);
	kill(pid, SIGTSTP);
	pid_t r = 0;
	for (int i = 0; i < 500 && r == 0; i++) {
		pause_ms(10);
		r = waitpid(pid, &status, WUNTRACED | WNOHANG);
	}
	say("%s: %s", what, r == pid && WIFSTOPPED(status) ? "stopped" : "not stopped");
	int fd[4];
	for (int i = 0; i < 3 + first_accepts; i++)
		fd[i] = connected(&a);
	kill(pid, SIGCONT);
	say("goes on: %s", ended(pid));
	for (int i = 0; i < 3 + first_accepts; i++)
		close(fd[i]);
	close(l);
}

static void threads(void)
{
	stops(0);
	stops(1);
	int fd[2];
	pthread_t th[8], ec[4];
	void *r;
	pair(fd);
	pthread_create(&th[0], NULL, recv_thread, &fd[0]);
	pause_ms(100);
	shutdown(fd[0], SHUT_RD);
	pthread_join(th[0], &r);
	say("recv while a thread shuts down = %ld", (long)r);
	close(fd[0]);
	close(fd[1]);
	pair(fd);
	pthread_create(&th[0], NULL, recv_thread, &fd[0]);
	pause_ms(100);
	write(fd[1], "x", 1);
	pthread_join(th[0], &r);
	say("recv in a thread = %ld", (long)r);
	union addr a;
	int l = listener(0, 64, &a);
	for (int i = 0; i < 4; i++)
		pthread_create(&ec[i], NULL, echo_thread, &l);
	for (int i = 0; i < 8; i++)
		pthread_create(&th[i], NULL, busy_thread, &a);
	for (int i = 0; i < 8; i++)
		pthread_join(th[i], NULL);
	say("8 threads, 40 connections each, 4 that accept: %d wrong", mistakes);
	shutdown(l, SHUT_RDWR);
	for (int i = 0; i < 4; i++)
		pthread_join(ec[i], NULL);
	say("all have ended");
	close(l);
	l = listener(0, 5, &a);
	struct for_process cases[] = {
		{"the first thread blocks a signal, SA_RESTART", SIGUSR1, SA_RESTART, BLOCKS, l},
		{"it blocks it, no SA_RESTART", SIGUSR1, 0, BLOCKS, l},
		{"it has gone, SA_RESTART", SIGUSR1, SA_RESTART, GONE, l},
		{"it has gone, no SA_RESTART", SIGUSR1, 0, GONE, l},
		{"it accepts, SA_RESTART", SIGUSR1, SA_RESTART, ACCEPTS, l},
		{"it accepts, no SA_RESTART", SIGUSR1, 0, ACCEPTS, l},
		{"it waits for a thread, SA_RESTART", SIGUSR1, SA_RESTART, JOINS, l},
		{"it waits for a thread, no SA_RESTART", SIGUSR1, 0, JOINS, l},
		{"it accepts, and another's child ends, SA_RESTART", SIGCHLD, SA_RESTART, ACCEPTS, l},
		{"it accepts, and another's child ends, no SA_RESTART", SIGCHLD, 0, ACCEPTS, l},
		{"it waits for a thread, and another's child ends", SIGCHLD, SA_RESTART, JOINS, l},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			process_signal(&cases[i]);
			_exit(1);
		}
		if (strcmp(ended(pid), "exit 0") != 0)
			say("%s: it has not ended well", cases[i].what);
	}
}

/* Idle threads, for whoever measures what they cost: sockets idle SECONDS THREADS. */
static void idle(int seconds, int n)
{
	union addr a;
	section = "idle";
	int l = listener(0, 64, &a);
	for (int i = 0; i < n; i++) {
		pthread_t th;
		if (pthread_create(&th, NULL, echo_thread, &l) != 0)
			fatal("pthread_create");
	}
	pause_ms(seconds * 1000);
	int c = connected(&a);
	write(c, "alive", 5);
	say("%s", gets_all(c, "alive"));
}

static void *recv_once(void *fd)
{
	const char *s = received(*(int *)fd, 0);
	return strdup(strcmp(s, "ECONNRESET") == 0 ? "by ECONNRESET" : s);
}

struct attempt { int fd; const union addr *to; };

static void *connect_once(void *arg)
{
	const struct attempt *a = arg;
	const char *s = res(connect(a->fd, &a->to->sa, addrlen_of(fam)));
	/* Linux has EPIPE since 6.7. */
	return strdup(strcmp(s, "EPIPE") == 0 ? "ECONNRESET" : s);
}

/* Fills a listener with a backlog of 0: NetBSD's lets more wait. */
enum { CROWD = 4 };

static void crowd(const union addr *a, int fd[CROWD])
{
	for (int i = 0; i < CROWD; i++) {
		fd[i] = sock(SOCK_STREAM | SOCK_NONBLOCK);
		connect(fd[i], &a->sa, addrlen_of(fam));
		ready(fd[i], 20);
	}
}

/* connect(2) to nobody with a connection, which resets it. */
static void nobody(void)
{
	const union addr none = {.sa.sa_family = AF_UNSPEC};
	union addr a, mine, now;
	int l = listener(0, 5, &a);
	for (int how = 0; how < 4; how++) {
		/* Plain, bound to a port, with a thread that waits, and with bytes unread and a second descriptor in an epoll. */
		const char *what = ((const char *[]){"plain", "bound", "waited for", "unread"})[how];
		int fd = how == 1 ? bound(SOCK_STREAM, &mine) : sock(SOCK_STREAM);
		if (how == 1) {
			/* Its port is its own only if it was asked for. */
			close(fd);
			fd = sock(SOCK_STREAM);
			setint(fd, SOL_SOCKET, SO_REUSEADDR, 1);
			say("%s: bind = %s", what, res(bind(fd, &mine.sa, addrlen_of(fam))));
		}
		say("%s: connect = %s", what, res(connect(fd, &a.sa, addrlen_of(fam))));
		int s = accept(l, NULL, NULL), second = dup(fd), ep = epoll_create1(0);
		struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP, .data.u32 = 7}, got = {0};
		pthread_t thread;
		if (how == 2) {
			pthread_create(&thread, NULL, recv_once, &fd);
			pause_ms(50);
		}
		if (how == 3) {
			epoll_ctl(ep, EPOLL_CTL_ADD, second, &e);
			write(s, "unread", 6);
			say("%s: it is there: %s", what, awaits(fd, POLLIN));
		}
		if (how != 1)
			mine = sockname(fd);
		say("%s: to what has no family = %s", what, res(connect(fd, &none.sa, 1)));
		say("%s: to nobody = %s", what, res(connect(fd, &none.sa, sizeof none.sa)));
		if (how == 2) {
			void *said;
			pthread_join(thread, &said);
			/* Linux has EPIPE since 6.7. */
			say("%s: recv is woken %s", what, strcmp(said, "EPIPE") == 0 ? "by ECONNRESET" : said);
			free(said);
		}
		say("%s: the peer: poll %s", what, awaits(s, POLLHUP));
		say("%s: the peer: recv = %s", what, received(s, 0));
		say_names(what, fd);
		now = sockname(fd);
		say("%s: the port is %s", what, port_of(&now) == port_of(&mine) ? "the same" : "another");
		if (how == 3) {
			int n = epoll_wait(ep, &got, 1, 1000);
			SAY3("%s: epoll = %s: %s", what, res(n), bits(n > 0 ? got.events : 0));
			say("%s: SO_ERROR %s", what, err(soerror(second)));
		}
		say("%s: poll %s", what, ready(second, 0));
		say("%s: once more = %s", what, res(connect(second, &none.sa, sizeof none.sa)));
		SAY3("%s: recv = %s, then %s", what, received(fd, MSG_DONTWAIT), received(second, MSG_DONTWAIT));
		say("%s: send = %s", what, res(send(fd, "x", 1, MSG_NOSIGNAL)));
		say("%s: SO_ERROR %s", what, err(soerror(fd)));
		close(s);
		say("%s: connect again = %s", what, res(connect(second, &a.sa, addrlen_of(fam))));
		s = accept(l, NULL, NULL);
		if (how == 1) {
			union addr is = peername(s);
			say("%s: it is from %s", what, same(&is, &mine));
		}
		write(fd, "x", 1);
		say("%s: this arrives: %s", what, received(s, 0));
		write(s, "y", 1);
		say("%s: and this: %s", what, received(second, 0));
		close(s);
		say("%s: after the peer's close: %s", what, received(fd, 0));
		say("%s: to nobody = %s", what, res(connect(fd, &none.sa, sizeof none.sa)));
		int listens = listen(fd, 1);
		say("%s: listen = %s", what, res(listens));
		if (listens == 0) { /* newer hosts refuse it to what has connected */
			now = sockname(second);
			int c = connected(&now);
			s = accept(second, NULL, NULL);
			write(c, "z", 1);
			say("%s: accepted: %s", what, received(s, 0));
			close(s);
			close(c);
		}
		close(fd);
		close(second);
		close(ep);
	}
	/* Of an attempt: a full listener lets nobody in. */
	int full = listener(0, 0, &mine), before[CROWD];
	crowd(&mine, before);
	int w = sock(SOCK_STREAM | SOCK_NONBLOCK);
	say("attempt: connect = %s", res(connect(w, &mine.sa, addrlen_of(fam))));
	say("attempt: poll %s", ready(w, 100));
	say("attempt: to nobody = %s", res(connect(w, &none.sa, sizeof none.sa)));
	say("attempt: poll %s", ready(w, 0));
	say("attempt: SO_ERROR %s", err(soerror(w)));
	say("attempt: poll then %s", ready(w, 0));
	say("attempt: another = %s", res(connect(w, &a.sa, addrlen_of(fam))));
	say("attempt: poll %s", awaits(w, POLLOUT));
	say("attempt: SO_ERROR %s", err(soerror(w)));
	int s = accept(l, NULL, NULL);
	write(s, "x", 1);
	say("attempt: poll %s", awaits(w, POLLIN));
	say("attempt: this arrives: %s", received(w, 0));
	close(s);
	close(w);
	w = sock(SOCK_STREAM | SOCK_NONBLOCK);
	connect(w, &mine.sa, addrlen_of(fam));
	say("attempt: shutdown = %s", res(shutdown(w, SHUT_WR)));
	say("attempt: poll %s", ready(w, 0));
	say("attempt: shutdown again = %s", res(shutdown(w, SHUT_WR)));
	SAY2("attempt: send = %s, recv = %s", res(send(w, "x", 1, MSG_NOSIGNAL)), received(w, MSG_DONTWAIT));
	close(w);
	/* Which another thread waits for, and maybe another process has the socket, too. */
	for (int how = 0; how < 3; how++) {
		const char *what = ((const char *[]){"to nobody", "shutdown", "to nobody of a shared one"})[how];
		pid_t child = 0;
		w = sock(SOCK_STREAM);
		if (how == 2 && (child = fork()) == 0) {
			pause();
			_exit(0);
		}
		struct attempt args = {w, &mine};
		pthread_t thread;
		pthread_create(&thread, NULL, connect_once, &args);
		do {
			pause_ms(10);
			now = sockname(w);
		} while (port_of(&now) == 0);
		SAY2("attempt: %s = %s", what, how == 1 ? res(shutdown(w, SHUT_RDWR)) : res(connect(w, &none.sa, sizeof none.sa)));
		void *said;
		pthread_join(thread, &said);
		SAY2("attempt: %s: who waits has %s", what, (char *)said);
		free(said);
		if (how == 1) /* else the error is told twice, since 6.7 */
			SAY2("attempt: %s: SO_ERROR %s", what, err(soerror(w)));
		SAY2("attempt: %s: another = %s", what, res(connect(w, &a.sa, addrlen_of(fam))));
		close(accept(l, NULL, NULL));
		close(w);
		if (child > 0) {
			kill(child, SIGKILL);
			waitpid(child, NULL, 0);
		}
	}
	for (int i = 0; i < CROWD; i++)
		close(before[i]);
	close(full);
	/* Of one that has been reset. */
	int fd[2];
	pair(fd);
	setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	close(fd[1]);
	say("reset: poll %s", awaits(fd[0], POLLHUP));
	say("reset: to nobody = %s", res(connect(fd[0], &none.sa, sizeof none.sa)));
	say("reset: SO_ERROR %s", err(soerror(fd[0])));
	say("reset: connect = %s", res(connect(fd[0], &a.sa, addrlen_of(fam))));
	close(fd[0]);
	close(accept(l, NULL, NULL));
	/* An attempt makes the buffer for what is sent no smaller. */
	full = listener(0, 0, &mine);
	crowd(&mine, before);
	w = sock(SOCK_STREAM | SOCK_NONBLOCK);
	say("buffer: connect = %s", res(connect(w, &mine.sa, addrlen_of(fam))));
	say("buffer: shutdown in no direction = %s", res(shutdown(w, 7)));
	close(w);
	/* Nor what the program sets meanwhile. */
	w = sock(SOCK_STREAM | SOCK_NONBLOCK);
	int size = getint(w, SOL_SOCKET, SO_SNDBUF);
	say("buffer: connect = %s", res(connect(w, &mine.sa, addrlen_of(fam))));
	say("buffer: as before: %d", getint(w, SOL_SOCKET, SO_SNDBUF) == size);
	say("buffer: SO_SNDBUF = %s", res(setint(w, SOL_SOCKET, SO_SNDBUF, 100000)));
	size = getint(w, SOL_SOCKET, SO_SNDBUF);
	say("buffer: %d, poll %s", size, ready(w, 100));
	say("buffer: to nobody = %s", res(connect(w, &none.sa, sizeof none.sa)));
	fcntl(w, F_SETFL, 0);
	say("buffer: another = %s", res(connect(w, &a.sa, addrlen_of(fam))));
	s = accept(l, NULL, NULL);
	fcntl(w, F_SETFL, O_NONBLOCK);
	say("buffer: %d", getint(w, SOL_SOCKET, SO_SNDBUF));
	static const char much[64 << 10];
	say("buffer: send = %s", res(send(w, much, sizeof much, 0)));
	close(s);
	close(w);
	for (int i = 0; i < CROWD; i++)
		close(before[i]);
	close(full);
	/* One that was refused, which then knows no more of that. */
	union addr dead;
	dead_port(&dead);
	w = sock(SOCK_STREAM | SOCK_NONBLOCK);
	say("refused: connect = %s", res(connect(w, &dead.sa, addrlen_of(fam))));
	say("refused: poll %s", awaits(w, POLLHUP));
	say("refused: SO_ERROR %s", err(soerror(w)));
	say("refused: to nobody = %s", res(connect(w, &none.sa, sizeof none.sa)));
	fcntl(w, F_SETFL, 0);
	say("refused: connect = %s", res(connect(w, &a.sa, addrlen_of(fam))));
	say("refused: connect again = %s", res(connect(w, &a.sa, addrlen_of(fam))));
	close(accept(l, NULL, NULL));
	close(w);
	/* One that is bound afterwards. */
	w = sock(SOCK_STREAM);
	connect(w, &a.sa, addrlen_of(fam));
	close(accept(l, NULL, NULL));
	say("then bound: to nobody = %s", res(connect(w, &none.sa, sizeof none.sa)));
	dead_port(&mine);
	mine = address(fam, anyhost(), port_of(&mine));
	say("then bound: bind = %s", res(bind(w, &mine.sa, addrlen_of(fam))));
	say("then bound: connect = %s", res(connect(w, &a.sa, addrlen_of(fam))));
	say("then bound: to nobody = %s", res(connect(w, &none.sa, sizeof none.sa)));
	now = sockname(w);
	say("then bound: the address is %s", same(&now, &mine));
	close(accept(l, NULL, NULL));
	close(w);
	say("shutdown of the listener in no direction = %s", res(shutdown(l, 7)));
	w = sock(SOCK_STREAM);
	say("shutdown in no direction = %s", res(shutdown(w, -1)));
	say("connect = %s", res(connect(w, &a.sa, addrlen_of(fam))));
	close(w);
	close(l);
}

/* A connection that has ended in both directions is a socket all the same. */
static void bothways(void)
{
	const union addr none = {.sa.sa_family = AF_UNSPEC};
	int fd[2];
	for (int how = 0; how < 4; how++) {
		const char *what = ((const char *[]){"both at once", "one by one", "then the peer", "after the peer"})[how];
		union addr a, now;
		int l = listener(0, 5, &a);
		fd[0] = connected(&a);
		fd[1] = accept(l, NULL, NULL);
		if (how == 3) {
			close(fd[1]);
			awaits(fd[0], POLLIN);
		}
		if (how == 1)
			shutdown(fd[0], SHUT_RD);
		say("%s: shutdown = %s", what, res(shutdown(fd[0], how == 0 ? SHUT_RDWR : SHUT_WR)));
		if (how < 2)
			SAY2("%s: the peer's recv = %s", what, received(fd[1], 0));
		else if (how == 2)
			close(fd[1]);
		say("%s: poll %s", what, awaits(fd[0], POLLHUP));
		pause_ms(100);
		now = sockname(fd[0]);
		say("%s: getsockname = %s", what, name(&now, addrlen_of(fam)));
		SAY2("%s: recv = %s", what, received(fd[0], 0));
		say("%s: SO_ERROR %s", what, err(soerror(fd[0])));
		say("%s: TCP_NODELAY %d", what, getint(fd[0], SOL_TCP, TCP_NODELAY));
		say("%s: connect = %s", what, res(connect(fd[0], &a.sa, addrlen_of(fam))));
		say("%s: to nobody = %s", what, res(connect(fd[0], &none.sa, sizeof none.sa)));
		say("%s: connect = %s", what, res(connect(fd[0], &a.sa, addrlen_of(fam))));
		int s = accept(l, NULL, NULL);
		write(s, "x", 1);
		say("%s: this arrives: %s", what, received(fd[0], 0));
		close(s);
		close(l);
		close(fd[0]);
		if (how < 2)
			close(fd[1]);
	}
}

/* A socket whose connection was reset is as a new one after connect(2) to nobody. */
static void anew(void)
{
	const union addr none = {.sa.sa_family = AF_UNSPEC};
	const struct linger now_ = {1, 0};
	union addr a, dead, other;
	int l = listener(0, 5, &a);
	int fd = sock(SOCK_STREAM);
	say("connect = %s", res(connect(fd, &a.sa, addrlen_of(fam))));
	int s = accept(l, NULL, NULL);
	setsockopt(s, SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
	close(s);
	say("poll %s", awaits(fd, POLLHUP));
	say("to nobody = %s", res(connect(fd, &none.sa, sizeof none.sa)));
	dead_port(&dead);
	say("to where nobody listens = %s", res(connect(fd, &dead.sa, addrlen_of(fam))));
	/* An attempt that goes on for a while. */
	int full = listener(0, 0, &other), before[CROWD];
	crowd(&other, before);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	say("to a full listener = %s", res(connect(fd, &other.sa, addrlen_of(fam))));
	say("poll %s", ready(fd, 200));
	for (int i = 0; i < CROWD; i++)
		close(before[i]);
	/* It comes after those that were there before. */
	union addr me = sockname(fd), peer;
	while ((s = accept(full, &peer.sa, &(socklen_t){sizeof peer})) >= 0 && port_of(&peer) != port_of(&me))
		close(s);
	say("poll %s", awaits(fd, POLLOUT));
	say("SO_ERROR %s", err(soerror(fd)));
	say_names("again", fd);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
	close(fd);
	say("the peer: poll %s", awaits(s, POLLHUP));
	say("the peer: recv = %s", received(s, 0));
	close(s);
	close(full);
	close(l);
}

static const struct { const char *name; void (*run)(void); int seconds; } sections[] = {
	{"fresh", fresh, 20}, {"basic", basic, 20}, {"halfclose", halfclose, 20}, {"reset", reset, 30}, {"timeouts", timeouts, 30},
	{"nonblock", nonblock, 30}, {"nobody", nobody, 20}, {"anew", anew, 30}, {"bothways", bothways, 20}, {"backlog", backlog, 60}, {"accepts", accepts, 40}, {"inuse", inuse, 20}, {"dualstack", dualstack, 20},
	{"udp", udp, 40}, {"dissociate", dissociate, 20}, {"control", control, 20}, {"errqueue", errqueue, 40}, {"plain", plain, 20}, {"mtu", mtu, 40}, {"whole", whole, 40}, {"device", device, 20}, {"noroute", noroute, 20}, {"multicast", multicast, 20}, {"oob", oob, 20}, {"bulk", bulk, 40}, {"smallbuf", smallbuf, 60},
	{"options", options, 20},
	{"mixes", mixes, 30}, {"forks", forks, 60}, {"rights", rights, 20}, {"exec", execs, 20}, {"closeall", closeall, 20}, {"emfile", emfile, 20},
	{"signals", signals, 60}, {"jobs", jobs, 30}, {"threads", threads, 60},
};

int main(int argc, char **argv)
{
	enum { N = sizeof sections / sizeof *sections };
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	path[n < 0 ? 0 : n] = 0;
	self = path;
	int c, six = 0;
	while ((c = getopt(argc, argv, "a:A:lx:6")) != -1)
		switch (c) {
		case 'a': host4 = optarg; break;
		case 'A': host6 = optarg; break;
		case '6': six = 1; break;
		case 'x': child_of_exec(optarg); break;
		case 'l':
			for (int i = 0; i < N; i++)
				printf("%s\n", sections[i].name);
			return 0;
		default:
			fprintf(stderr, "usage: sockets [-6l] [-a IPV4] [-A IPV6] [SECTION...]\n");
			return 2;
		}
	fam = six ? AF_INET6 : AF_INET;
	if (optind + 2 < argc && strcmp(argv[optind], "idle") == 0) {
		idle(atoi(argv[optind + 1]), atoi(argv[optind + 2]));
		return 0;
	}
	for (int i = 0; i < N; i++) {
		int asked = optind == argc;
		for (int j = optind; j < argc; j++)
			asked |= strcmp(argv[j], sections[i].name) == 0;
		if (!asked)
			continue;
		section = sections[i].name;
		pid_t pid = fork();
		if (pid == 0) {
			setpgid(0, 0);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			signal(SIGPIPE, SIG_IGN);
			sections[i].run();
			_exit(0);
		}
		setpgid(pid, pid);
		int status = 0, over = 0;
		for (double end = now() + sections[i].seconds; waitpid(pid, &status, WNOHANG) == 0; pause_ms(2))
			if (now() > end && !over) {
				over = 1;
				kill(-pid, SIGKILL);
			}
		/* What it has forked and not waited for. */
		kill(-pid, SIGKILL);
		if (over)
			say("HANGS");
		else if (WIFSIGNALED(status))
			say("ends by SIG%s", sigabbrev_np(WTERMSIG(status)));
		else if (WEXITSTATUS(status))
			say("ends with %d", WEXITSTATUS(status));
		else
			say("end");
	}
	return 0;
}
