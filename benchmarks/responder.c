/* Answers every 603 with a 2103, in C: it shows how much the load generator can drive.
 *
 * responder PORT; it prints "ready". Every 600 makes the same client; what it does not know gets 9000.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 23, STORED_FRAME = 27, REST = 1024, BUFFER = 1 << 16, EVENTS = 512 };

struct connection {
    int fd;
    size_t rest_size;
    unsigned char rest[REST];
};

static uint32_t le32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static size_t answer(const unsigned char *request, unsigned char *out)
{
    static uint32_t number;
    unsigned code = (unsigned)request[17] | (unsigned)request[18] << 8;
    unsigned reply = code == 603 ? 2103 : code == 600 ? 2100 : 9000;
    uint32_t size = code == 603 ? 20 : code == 600 ? 16 : 0;
    out[0] = 2;
    out[1] = (unsigned char)reply;
    out[2] = (unsigned char)(reply >> 8);
    memcpy(out + 3, &size, 4);
    memcpy(out + 7, request + (code == 603 ? HEADER : 0), 16);
    number++;
    memcpy(out + 23, &number, 4);
    return 7 + size;
}

/* False when the connection has ended. Requests are small, and answers fit into the kernel. */
static int serve(struct connection *c)
{
    static unsigned char in[REST + BUFFER], out[BUFFER];
    memcpy(in, c->rest, c->rest_size);
    ssize_t got = read(c->fd, in + c->rest_size, BUFFER);
    if (got <= 0)
        return 0;
    size_t size = c->rest_size + (size_t)got, at = 0, written = 0;
    while (size - at >= HEADER && size - at >= HEADER + le32(in + at + 19)) {
        if (written + STORED_FRAME > sizeof out)
            return 0;
        written += answer(in + at, out + written);
        at += HEADER + le32(in + at + 19);
    }
    if (size - at > REST)
        return 0;
    c->rest_size = size - at;
    memcpy(c->rest, in + at, c->rest_size);
    return !written || write(c->fd, out, written) == (ssize_t)written;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, poller = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 1024)) {
        perror("responder");
        return 1;
    }
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                c = calloc(1, sizeof *c);
                c->fd = accept(listener, NULL, NULL);
                setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                event = (struct epoll_event){.events = EPOLLIN, .data.ptr = c};
                epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
            } else if (!serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
