/* MessageU v2 (docs/protocol/v2.md), as far as a load needs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

enum {
    REQUEST_HEADER = 23,
    RESPONSE_HEADER = 7,
    SEND_HEAD = 21,
    STORED = 20,
    WAITING_HEAD = 25,
    LISTED = 271,
    NAME_FIELD = 255,
    PUBLIC_KEY = 160,
    UNKNOWN_CODE = 999,
    VERSION = 2,
};

enum { REGISTERED = 2100, CLIENTS = 2101, STORED_CODE = 2103, WAITING = 2104, REFUSED = 9000 };

static const unsigned expected_code[] = {
    [SEND] = STORED_CODE, [FETCH] = WAITING, [POLL] = WAITING, [LIST] = CLIENTS,
};

uint32_t le32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

static unsigned code_of(const unsigned char *header)
{
    return (unsigned)header[1] | (unsigned)header[2] << 8;
}

static unsigned char *frame(struct id id, unsigned code, size_t payload, size_t *size)
{
    *size = REQUEST_HEADER + payload;
    unsigned char *bytes = calloc(1, *size);
    if (!bytes)
        die("no memory");
    memcpy(bytes, id.raw, ID_SIZE);
    bytes[16] = VERSION;
    bytes[17] = (unsigned char)code;
    bytes[18] = (unsigned char)(code >> 8);
    put32(bytes + 19, (uint32_t)payload);
    return bytes;
}

unsigned char *v2_plain_request(struct id id, unsigned code, size_t *size)
{
    return frame(id, code, 0, size);
}

/* 603 from the client after the recipient, so that both change. */
static unsigned char *send_request(unsigned mailbox, unsigned connection, size_t *size)
{
    (void)connection;
    unsigned char *bytes =
        frame(ids[(mailbox + 1) % id_count], 603, SEND_HEAD + options.size, size);
    unsigned char *payload = bytes + REQUEST_HEADER;
    memcpy(payload, ids[mailbox].raw, ID_SIZE);
    payload[16] = 3;
    put32(payload + 17, (uint32_t)options.size);
    for (size_t i = 0; i < options.size; i++)
        payload[SEND_HEAD + i] = (unsigned char)(i * 167 + 13);
    return bytes;
}

/* The answer that is due begins here; bytes used, or 0 when more are needed. */
static size_t begin_answer(struct connection *c, const unsigned char *bytes, size_t size)
{
    unsigned code = code_of(bytes);
    uint32_t payload = le32(bytes + 3);
    if (bytes[0] != VERSION) {
        wrong(c, "a version that is not 2");
    } else if (code == REFUSED && payload == 0) {
        answered(c, false);
        return RESPONSE_HEADER;
    } else if (code != expected_code[options.mode]) {
        wrong(c, "an answer of another code");
    } else if (code == STORED_CODE) {
        if (payload != STORED) {
            wrong(c, "a 2103 of another size");
            return 0;
        }
        if (size < RESPONSE_HEADER + STORED)
            return 0;
        unsigned mailbox = (unsigned)((c->number + c->answered) % options.mailboxes);
        if (memcmp(bytes + RESPONSE_HEADER, ids[mailbox].raw, ID_SIZE)) {
            wrong(c, "a 2103 for somebody else");
            return 0;
        }
        answered(c, true);
        return RESPONSE_HEADER + STORED;
    } else {
        c->in_list = true;
        c->list_left = payload;
        c->items = c->content = 0;
        return RESPONSE_HEADER;
    }
    return 0;
}

/* The next item of a 2101 or 2104; bytes used, or 0 when more are needed. */
static size_t begin_item(struct connection *c, const unsigned char *bytes, size_t size)
{
    size_t head = options.mode == LIST ? LISTED : WAITING_HEAD;
    if (c->list_left < head) {
        wrong(c, "a list that ends inside an item");
        return 0;
    }
    if (size < head)
        return 0;
    c->list_left -= head;
    c->items++;
    if (options.mode == LIST)
        return head;
    uint32_t content = le32(bytes + 21);
    if (content > c->list_left) {
        wrong(c, "a message that is longer than its answer");
        return 0;
    }
    c->list_left -= content;
    c->content += content;
    c->skip = content;
    return head;
}

static size_t read_answers(struct connection *c, const unsigned char *bytes, size_t size)
{
    size_t at = 0;
    while (c->fd >= 0) {
        size_t skipped = c->skip < size - at ? (size_t)c->skip : size - at;
        c->skip -= skipped;
        at += skipped;
        if (c->skip)
            return at;
        size_t used;
        if (c->in_list && !c->list_left) {
            c->in_list = false;
            answered(c, true);
            continue;
        }
        if (c->in_list)
            used = begin_item(c, bytes + at, size - at);
        else if (size - at < RESPONSE_HEADER)
            return at;
        else if (c->answered == c->issued) {
            wrong(c, "an answer that nobody asked for");
            return at;
        } else
            used = begin_answer(c, bytes + at, size - at);
        if (!used)
            return at;
        at += used;
    }
    return at;
}

const struct dialect v2 = {"v2", NULL, send_request, read_answers, false};

/* Ask what every server refuses, and wait for the refusal: it has accepted the connection then. */
void v2_knock(int fd)
{
    size_t size;
    unsigned char answer[RESPONSE_HEADER];
    unsigned char *request = frame((struct id){{0}}, UNKNOWN_CODE, 0, &size);
    send_all(fd, request, size);
    free(request);
    receive_all(fd, answer, sizeof answer);
    if (code_of(answer) != REFUSED || le32(answer + 3))
        die("an unknown code was answered with %u", code_of(answer));
}

/* Make so many clients, one after the other. */
void v2_register(unsigned count)
{
    ids = calloc(count, sizeof *ids);
    id_count = count;
    int fd = open_socket(0, true);
    for (unsigned i = 0; i < count; i++) {
        size_t size;
        unsigned char answer[RESPONSE_HEADER + ID_SIZE];
        unsigned char *bytes = frame((struct id){{0}}, 600, NAME_FIELD + PUBLIC_KEY, &size);
        snprintf((char *)bytes + REQUEST_HEADER, NAME_FIELD, "load-%d-%llx-%u", (int)getpid(),
                 (unsigned long long)now_ns(), i);
        send_all(fd, bytes, size);
        free(bytes);
        receive_all(fd, answer, RESPONSE_HEADER);
        if (code_of(answer) != REGISTERED || le32(answer + 3) != ID_SIZE)
            die("a registration was answered with %u", code_of(answer));
        receive_all(fd, ids[i].raw, ID_SIZE);
    }
    close(fd);
}
