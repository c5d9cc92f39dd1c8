/* What the parts of the load generator share. One thread, one epoll, no allocation while measuring. */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

enum { ID_SIZE = 16, REST_SIZE = 512 };

enum mode { SEND, FETCH, POLL, LIST, CONNECT, IDLE, REGISTER };

struct connection;

/* A way to speak: how a connection begins, what a request looks like, what an answer means. */
struct dialect {
    const char *name;
    /* Greet, blocking; NULL where nothing needs to be said. */
    void (*greet)(int fd, unsigned number);
    /* The bytes that store a message of options.size in this mailbox; from malloc. */
    unsigned char *(*request)(unsigned mailbox, unsigned connection, size_t *size);
    /* Read answers; the bytes that were used. What is not used comes again with what follows. */
    size_t (*read)(struct connection *c, const unsigned char *bytes, size_t size);
    /* Whether the bytes of a request depend on its connection. */
    bool personal;
};

struct options {
    enum mode mode;
    const struct dialect *dialect;
    const char *host;
    int port;
    unsigned connections;
    unsigned in_flight;
    size_t size;
    uint64_t count;
    double seconds;
    double warmup;
    unsigned mailboxes;
    const char *ids_file;
    const char *write_ids;
    bool spread;  /* each connection comes from an address of its own */
    bool request; /* a connection asks something before it ends */
};

extern struct options options;

struct request {
    unsigned char *bytes;
    size_t size;
};

/* Requests are numbered from 0 on each connection; answers come in their order. */
struct connection {
    int fd;
    unsigned number;
    unsigned mailbox;
    bool waits_to_write;
    uint64_t issued, written, answered;
    size_t offset; /* bytes of request `written` that the kernel has */
    uint64_t *started;
    bool *confirmed; /* by number modulo in_flight, for dialects that confirm out of order */
    /* What is left of an answer. */
    unsigned char rest[REST_SIZE];
    size_t rest_size;
    bool in_list;
    uint64_t list_left, skip, items, content;
};

/* A client's id, for v2. */
struct id {
    unsigned char raw[ID_SIZE];
};

extern struct id *ids;
extern unsigned id_count;

/* load.c */
_Noreturn void die(const char *format, ...);
uint64_t now_ns(void);
/* One answer to the oldest request of a connection: it did what was asked, or it was refused. */
void answered(struct connection *c, bool fine);
/* What came makes no sense: the connection is given up. */
void wrong(struct connection *c, const char *why);

/* sockets.c */
int open_socket(unsigned number, bool blocking);
void send_all(int fd, const void *bytes, size_t size);
void receive_all(int fd, void *bytes, size_t size);
size_t receive_line(int fd, char *line, size_t size);

/* v2.c */
extern const struct dialect v2;
uint32_t le32(const unsigned char *at);
unsigned char *v2_plain_request(struct id id, unsigned code, size_t *size);
void v2_knock(int fd);
void v2_register(unsigned count);

/* others.c */
extern const struct dialect redis, nats, amqp;

/* connecting.c */
void run_connect(void);
void run_idle(void);

#endif
