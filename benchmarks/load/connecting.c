/* Connections themselves: how fast they come and go, and what many idle ones cost. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { STORED_FRAME = 27 };

/* One place for a connection: it connects, perhaps asks one thing and is answered, shuts down its
 * half, and waits for the server's end, which only comes when the server has accepted it. */
struct slot {
    int fd;
    uint64_t started;
    size_t received;
    bool connected;
};

static int poller;
static unsigned opened;
static struct request request;
static struct histogram times;
static uint64_t finished_count, wrong_count;

static void begin(struct slot *slot)
{
    slot->started = now_ns();
    slot->received = 0;
    slot->connected = false;
    slot->fd = open_socket(opened++, false);
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = slot};
    epoll_ctl(poller, EPOLL_CTL_ADD, slot->fd, &event);
}

static void speak(struct slot *slot)
{
    slot->connected = true;
    if (!options.request)
        shutdown(slot->fd, SHUT_WR);
    else if (write(slot->fd, request.bytes, request.size) != (ssize_t)request.size)
        wrong_count++;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = slot};
    epoll_ctl(poller, EPOLL_CTL_MOD, slot->fd, &event);
}

/* Whether the connection has ended. */
static bool listen_to(struct slot *slot)
{
    unsigned char bytes[256];
    ssize_t got = read(slot->fd, bytes, sizeof bytes);
    if (got > 0) {
        if (slot->received == 0 && (bytes[0] != 2 || bytes[1] != 2103 % 256 || bytes[2] != 2103 / 256))
            wrong_count++;
        slot->received += (size_t)got;
        if (slot->received >= STORED_FRAME)
            shutdown(slot->fd, SHUT_WR);
        return false;
    }
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got < 0 || slot->received != (options.request ? STORED_FRAME : 0u))
        wrong_count++;
    close(slot->fd);
    return true;
}

void run_connect(void)
{
    poller = epoll_create1(0);
    request.bytes = v2.request(0, 0, &request.size);
    struct slot *slots = calloc(options.connections, sizeof *slots);
    uint64_t start = now_ns(), now = start;
    uint64_t end = options.count ? UINT64_MAX : start + (uint64_t)(options.seconds * 1e9);
    for (unsigned i = 0; i < options.connections; i++)
        begin(&slots[i]);
    while (now < end && !(options.count && finished_count >= options.count)) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, 100);
        now = now_ns();
        for (int i = 0; i < ready; i++) {
            struct slot *slot = events[i].data.ptr;
            if (!slot->connected) {
                speak(slot);
            } else if (listen_to(slot)) {
                finished_count++;
                record(&times, now - slot->started);
                begin(slot);
            }
        }
    }
    double seconds = (double)(now - start) / 1e9;
    printf("{\"count\": %llu, \"seconds\": %.6f, \"rate\": %.2f, \"p50\": %.2f, \"p99\": %.2f, "
           "\"max\": %.2f, \"errors\": 0, \"wrong\": %llu}\n",
           (unsigned long long)finished_count, seconds, (double)finished_count / seconds,
           (double)percentile(&times, 0.5) / 1e3, (double)percentile(&times, 0.99) / 1e3,
           (double)times.max / 1e3, (unsigned long long)wrong_count);
}

/* Open connections, each of which has been answered once; say so; hold them until stdin ends. */
void run_idle(void)
{
    int *fds = calloc(options.connections, sizeof *fds);
    for (unsigned i = 0; i < options.connections; i++) {
        fds[i] = open_socket(i, true);
        v2_knock(fds[i]);
    }
    printf("{\"open\": %u}\n", options.connections);
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    unsigned open = 0;
    for (unsigned i = 0; i < options.connections; i++)
        open += recv(fds[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    printf("{\"open\": %u}\n", open);
}
