/*
 * The C side of the benchmarks: does with librumpclient, against the kernel that
 * RUMP_SERVER names, what bench does with package spclient, and prints how many
 * nanoseconds that took.
 *
 *	cclient null CALLERS CALLS	getpid(2): all threads' calls together
 *	cclient sendto SIZE CALLS	sendto(2) over lo0 to a socket that nobody reads
 *	cclient tcp SIZE CALLS		write(2), and a thread that reads all of it, over lo0
 *
 * Where librumpclient is installed:
 *
 *	cc -O2 -o cclient cclient.c -lrumpclient -lpthread
 *
 * bench finds it by BENCH_CCLIENT, the path of the program.
 */
#include <sys/types.h>
#include <sys/socket.h>

#include <arpa/inet.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rump/rumpclient.h>
#include <rump/rump_syscalls.h>

/* The kernel's sockaddr_in, which need not be the host's. */
struct inet {
	uint8_t len, family;
	uint16_t port;
	uint32_t addr;
	uint8_t zero[8];
};

static long size, calls;

#define CHECK(e) do {							\
	if ((e) == -1) {						\
		perror(#e);						\
		exit(1);						\
	}								\
} while (0)

/* bound makes a socket of a type with an address of its own on lo0. */
static int
bound(int type, struct inet *at)
{
	struct inet sin = { sizeof sin, AF_INET, 0, htonl(INADDR_LOOPBACK), { 0 } };
	socklen_t len = sizeof *at;
	int s;

	CHECK(s = rump_sys_socket(AF_INET, type, 0));
	CHECK(rump_sys_bind(s, (struct sockaddr *)&sin, sizeof sin));
	CHECK(rump_sys_getsockname(s, (struct sockaddr *)at, &len));
	return s;
}

static void *
caller(void *arg)
{
	long n = (long)arg;

	while (n-- > 0)
		CHECK(rump_sys_getpid());
	return NULL;
}

static void *
reader(void *arg)
{
	char *buf = malloc(size);
	long rest = size * calls;
	ssize_t n;

	while (rest > 0) {
		CHECK(n = rump_sys_read((int)(intptr_t)arg, buf, size));
		if (n == 0)
			exit(1);
		rest -= n;
	}
	free(buf);
	return NULL;
}

static int64_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int
main(int argc, char **argv)
{
	pthread_t t[1024];
	struct inet to;
	char *buf;
	int64_t start;
	long i, n, rest;
	int s, l, a;

	if (argc != 4 || (size = atol(argv[2])) < 1 || (calls = atol(argv[3])) < 1) {
		fprintf(stderr, "usage: cclient null CALLERS CALLS | sendto SIZE CALLS | tcp SIZE CALLS\n");
		return 1;
	}
	CHECK(rumpclient_init());
	buf = calloc(1, size);
	if (strcmp(argv[1], "null") == 0 && size <= 1024) {
		start = now();
		/* The last caller is this thread: one alone has no other beside it. */
		for (i = 0; i < size - 1; i++)
			if (pthread_create(&t[i], NULL, caller, (void *)(calls / size)) != 0)
				return 1;
		caller((void *)(calls - calls / size * (size - 1)));
		while (i-- > 0)
			pthread_join(t[i], NULL);
	} else if (strcmp(argv[1], "sendto") == 0) {
		bound(SOCK_DGRAM, &to);
		CHECK(s = rump_sys_socket(AF_INET, SOCK_DGRAM, 0));
		start = now();
		for (i = 0; i < calls; i++)
			CHECK(rump_sys_sendto(s, buf, size, 0, (struct sockaddr *)&to, sizeof to));
	} else if (strcmp(argv[1], "tcp") == 0) {
		l = bound(SOCK_STREAM, &to);
		CHECK(rump_sys_listen(l, 1));
		CHECK(s = rump_sys_socket(AF_INET, SOCK_STREAM, 0));
		CHECK(rump_sys_connect(s, (struct sockaddr *)&to, sizeof to));
		CHECK(a = rump_sys_accept(l, NULL, NULL));
		start = now();
		if (pthread_create(&t[0], NULL, reader, (void *)(intptr_t)a) != 0)
			return 1;
		for (rest = size * calls; rest > 0; rest -= n)
			CHECK(n = rump_sys_write(s, buf, rest < size ? rest : size));
		pthread_join(t[0], NULL);
	} else {
		fprintf(stderr, "cclient: what is \"%s %s\"?\n", argv[1], argv[2]);
		return 1;
	}
	printf("%lld\n", (long long)(now() - start));
	return 0;
}
