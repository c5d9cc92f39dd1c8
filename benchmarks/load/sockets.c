/* Sockets, blocking where a connection begins. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

/* A socket that is connected, or, if it does not block, connecting. With options.spread each number
 * has an address of its own in 127/8, so that neither ports nor limits for an address run out. */
int open_socket(unsigned number, bool blocking)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket: %s", strerror(errno));
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.spread) {
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(0x7f010001u + number % 0xf00000u);
        if (bind(fd, (struct sockaddr *)&from, sizeof from))
            die("bind: %s", strerror(errno));
    }
    if (!blocking)
        fcntl(fd, F_SETFL, O_NONBLOCK);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    if (inet_pton(AF_INET, options.host, &to.sin_addr) != 1)
        die("%s is no IPv4 address", options.host);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        die("connect to %s:%d: %s", options.host, options.port, strerror(errno));
    return fd;
}

void send_all(int fd, const void *bytes, size_t size)
{
    for (const char *at = bytes; size;) {
        ssize_t sent = write(fd, at, size);
        if (sent <= 0)
            die("write: %s", strerror(errno));
        at += sent;
        size -= (size_t)sent;
    }
}

void receive_all(int fd, void *bytes, size_t size)
{
    for (char *at = bytes; size;) {
        ssize_t got = read(fd, at, size);
        if (got <= 0)
            die("the server has closed the connection: %s", got ? strerror(errno) : "end");
        at += got;
        size -= (size_t)got;
    }
}

/* A line without its end, terminated by a NUL; its length. */
size_t receive_line(int fd, char *line, size_t size)
{
    for (size_t at = 0; at < size; at++) {
        receive_all(fd, line + at, 1);
        if (line[at] == '\n') {
            while (at && line[at - 1] == '\r')
                at--;
            line[at] = '\0';
            return at;
        }
    }
    die("the server's line is too long");
}
