/* The same work on Redis streams, NATS JetStream and RabbitMQ quorum queues. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

static unsigned char *with_content(const char *before, const char *after, size_t *size)
{
    size_t head = strlen(before), tail = strlen(after);
    *size = head + options.size + tail;
    unsigned char *bytes = malloc(*size);
    if (!bytes)
        die("no memory");
    memcpy(bytes, before, head);
    memset(bytes + head, 'x', options.size);
    memcpy(bytes + head + options.size, after, tail);
    return bytes;
}

/* Redis: XADD, and a bulk string with the entry's id. */

static unsigned char *redis_request(unsigned mailbox, unsigned connection, size_t *size)
{
    (void)connection;
    char key[32], head[128];
    snprintf(key, sizeof key, "mailbox:%u", mailbox);
    snprintf(head, sizeof head,
             "*5\r\n$4\r\nXADD\r\n$%zu\r\n%s\r\n$1\r\n*\r\n$1\r\nm\r\n$%zu\r\n", strlen(key), key,
             options.size);
    return with_content(head, "\r\n", size);
}

static size_t redis_read(struct connection *c, const unsigned char *bytes, size_t size)
{
    size_t at = 0;
    while (c->fd >= 0 && at < size) {
        const unsigned char *end = memchr(bytes + at, '\n', size - at);
        if (!end)
            return at;
        size_t line = (size_t)(end - bytes) + 1;
        if (bytes[at] == '-') {
            answered(c, false);
            at = line;
            continue;
        }
        int length = atoi((const char *)bytes + at + 1);
        if (bytes[at] != '$' || length < 3) {
            wrong(c, "an answer that is no entry's id");
            return at;
        }
        if (size - line < (size_t)length + 2)
            return at;
        answered(c, true);
        at = line + (size_t)length + 2;
    }
    return at;
}

const struct dialect redis = {"redis", NULL, redis_request, redis_read, false};

/* NATS: PUB with an inbox to which JetStream reports the message's sequence. */

static void nats_greet(int fd, unsigned number)
{
    char text[4096];
    receive_line(fd, text, sizeof text); /* INFO */
    snprintf(text, sizeof text,
             "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB inbox.%u 1\r\nPING\r\n", number);
    send_all(fd, text, strlen(text));
    do
        receive_line(fd, text, sizeof text);
    while (strcmp(text, "PONG"));
}

static unsigned char *nats_request(unsigned mailbox, unsigned connection, size_t *size)
{
    char head[96];
    snprintf(head, sizeof head, "PUB mailbox.%u inbox.%u %zu\r\n", mailbox, connection,
             options.size);
    return with_content(head, "\r\n", size);
}

static size_t nats_read(struct connection *c, const unsigned char *bytes, size_t size)
{
    size_t at = 0;
    while (c->fd >= 0 && at < size) {
        const unsigned char *end = memchr(bytes + at, '\n', size - at);
        if (!end)
            return at;
        size_t line = (size_t)(end - bytes) + 1;
        if (memcmp(bytes + at, "MSG ", line - at < 4 ? line - at : 4)) {
            if (bytes[at] == '-') {
                wrong(c, "an error of NATS");
                return at;
            }
            at = line; /* PING: an answer is due only in minutes */
            continue;
        }
        const unsigned char *last = memrchr(bytes + at, ' ', line - at);
        size_t length = (size_t)atoi((const char *)last + 1);
        if (size - line < length + 2)
            return at;
        answered(c, memmem(bytes + line, length, "\"seq\":", 6) != NULL &&
                        memmem(bytes + line, length, "\"error\"", 7) == NULL);
        at = line + length + 2;
    }
    return at;
}

const struct dialect nats = {"nats", nats_greet, nats_request, nats_read, true};

/* RabbitMQ: AMQP 0-9-1, basic.publish with confirms. */

enum { AMQP_METHOD = 1, AMQP_HEADER = 2, AMQP_BODY = 3, AMQP_END = 0xCE, AMQP_FRAME_HEAD = 7 };

struct writer {
    unsigned char *bytes;
    size_t at, frame;
};

static void put(struct writer *w, uint64_t value, int size)
{
    while (size--)
        w->bytes[w->at++] = (unsigned char)(value >> 8 * size);
}

static void put_text(struct writer *w, const char *text, int length_size)
{
    put(w, strlen(text), length_size);
    memcpy(w->bytes + w->at, text, strlen(text));
    w->at += strlen(text);
}

static void begin_frame(struct writer *w, unsigned type, unsigned channel)
{
    put(w, type, 1);
    put(w, channel, 2);
    w->frame = w->at;
    put(w, 0, 4);
}

static void end_frame(struct writer *w)
{
    size_t end = w->at;
    w->at = w->frame;
    put(w, end - w->frame - 4, 4);
    w->at = end;
    put(w, AMQP_END, 1);
}

static void begin_method(struct writer *w, unsigned channel, unsigned class, unsigned method)
{
    begin_frame(w, AMQP_METHOD, channel);
    put(w, class, 2);
    put(w, method, 2);
}

static uint64_t be(const unsigned char *at, int size)
{
    uint64_t value = 0;
    while (size--)
        value = value << 8 | *at++;
    return value;
}

/* Send what was written, and wait for a method. */
static void ask(int fd, struct writer *w, unsigned class, unsigned method)
{
    unsigned char head[AMQP_FRAME_HEAD], payload[16384];
    if (w->at)
        send_all(fd, w->bytes, w->at);
    w->at = 0;
    receive_all(fd, head, sizeof head);
    size_t size = (size_t)be(head + 3, 4) + 1;
    if (size > sizeof payload)
        die("RabbitMQ says too much");
    receive_all(fd, payload, size);
    if (be(payload, 2) != class || be(payload + 2, 2) != method)
        die("RabbitMQ answered %u.%u, not %u.%u", (unsigned)be(payload, 2),
            (unsigned)be(payload + 2, 2), class, method);
}

static void declare_queue(int fd, struct writer *w, unsigned mailbox)
{
    char name[32];
    snprintf(name, sizeof name, "mailbox-%u", mailbox);
    begin_method(w, 1, 50, 10);
    put(w, 0, 2);
    put_text(w, name, 1);
    put(w, 2, 1); /* durable */
    size_t table = w->at;
    put(w, 0, 4);
    put_text(w, "x-queue-type", 1);
    put(w, 'S', 1);
    put_text(w, "quorum", 4);
    size_t end = w->at;
    w->at = table;
    put(w, end - table - 4, 4);
    w->at = end;
    end_frame(w);
    ask(fd, w, 50, 11);
}

static void amqp_greet(int fd, unsigned number)
{
    unsigned char bytes[1024];
    struct writer writer = {bytes, 8, 0}, *w = &writer;
    memcpy(bytes, "AMQP\0\0\x09\x01", 8);
    ask(fd, w, 10, 10); /* start */
    begin_method(w, 0, 10, 11);
    put(w, 0, 4); /* no properties */
    put_text(w, "PLAIN", 1);
    put(w, 12, 4);
    memcpy(bytes + w->at, "\0guest\0guest", 12);
    w->at += 12;
    put_text(w, "en_US", 1);
    end_frame(w);
    ask(fd, w, 10, 30); /* tune */
    begin_method(w, 0, 10, 31);
    put(w, 1, 2); /* one channel */
    put(w, 131072, 4);
    put(w, 0, 2); /* no heartbeats */
    end_frame(w);
    begin_method(w, 0, 10, 40);
    put_text(w, "/", 1);
    put(w, 0, 2);
    end_frame(w);
    ask(fd, w, 10, 41); /* open */
    begin_method(w, 1, 20, 10);
    put(w, 0, 1);
    end_frame(w);
    ask(fd, w, 20, 11); /* a channel */
    if (number == 0)
        for (unsigned i = 0; i < options.mailboxes; i++)
            declare_queue(fd, w, i);
    begin_method(w, 1, 85, 10);
    put(w, 0, 1);
    end_frame(w);
    ask(fd, w, 85, 11); /* confirms */
}

static unsigned char *amqp_request(unsigned mailbox, unsigned connection, size_t *size)
{
    (void)connection;
    char name[32];
    snprintf(name, sizeof name, "mailbox-%u", mailbox);
    struct writer writer = {malloc(256 + options.size), 0, 0}, *w = &writer;
    if (!w->bytes)
        die("no memory");
    begin_method(w, 1, 60, 40);
    put(w, 0, 2);
    put_text(w, "", 1);
    put_text(w, name, 1);
    put(w, 0, 1);
    end_frame(w);
    begin_frame(w, AMQP_HEADER, 1);
    put(w, 60, 2);
    put(w, 0, 2);
    put(w, options.size, 8);
    put(w, 0x1000, 2); /* delivery mode: */
    put(w, 2, 1);      /* persistent */
    end_frame(w);
    begin_frame(w, AMQP_BODY, 1);
    memset(w->bytes + w->at, 'x', options.size);
    w->at += options.size;
    end_frame(w);
    *size = w->at;
    return w->bytes;
}

/* Confirms can come out of order; they count in the order of the requests. */
static void confirm(struct connection *c, uint64_t tag, bool multiple, bool fine)
{
    if (!tag || tag > c->issued) {
        wrong(c, "a confirm of what was not sent");
        return;
    }
    for (uint64_t i = multiple ? c->answered : tag - 1; i < tag; i++)
        c->confirmed[i % options.in_flight] = true;
    while (c->answered < c->issued && c->confirmed[c->answered % options.in_flight]) {
        c->confirmed[c->answered % options.in_flight] = false;
        answered(c, fine);
    }
}

static size_t amqp_read(struct connection *c, const unsigned char *bytes, size_t size)
{
    size_t at = 0;
    while (c->fd >= 0 && size - at >= AMQP_FRAME_HEAD) {
        const unsigned char *frame = bytes + at;
        size_t length = (size_t)be(frame + 3, 4);
        if (size - at < AMQP_FRAME_HEAD + length + 1)
            return at;
        const unsigned char *payload = frame + AMQP_FRAME_HEAD;
        unsigned method = frame[0] == AMQP_METHOD ? (unsigned)be(payload, 4) : 0;
        if (method == (60u << 16 | 80) || method == (60u << 16 | 120))
            confirm(c, be(payload + 4, 8), payload[12] & 1, method == (60u << 16 | 80));
        else if (frame[0] == AMQP_METHOD)
            wrong(c, "a method of RabbitMQ that is no confirm");
        at += AMQP_FRAME_HEAD + length + 1;
    }
    return at;
}

const struct dialect amqp = {"amqp", amqp_greet, amqp_request, amqp_read, false};
