/* A load generator for MessageU v2, and for the same work on Redis, NATS and RabbitMQ.
 *
 * load MODE --port PORT [options]; benchmarks/README.md says what there is. It prints one line of
 * JSON. Every answer is checked: a refusal is an error, and what makes no sense ends a connection.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

enum { RECEIVE_SIZE = 1 << 18, WRITE_VECTORS = 256, EVENTS = 512, KNOCK_EVERY = 16 };

static const double DRAIN_SECONDS = 30;

struct options options = {
    .dialect = &v2,
    .host = "127.0.0.1",
    .connections = 1,
    .in_flight = 1,
    .size = 300,
    .mailboxes = 50,
};

struct id *ids;
unsigned id_count;

static int poller;
static struct connection *connections;
static struct request *requests; /* by mailbox, or by connection and mailbox */
static struct histogram latencies;
static unsigned next_mailbox;
static uint64_t issued_total, answered_total, in_flight_total;
static uint64_t counted, errors, wrong_total, items_total, content_total;
static uint64_t now, measure_from, first_answer_at, last_answer_at;
static bool stopping;

_Noreturn void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void give_up(struct connection *c)
{
    if (c->fd < 0)
        return;
    close(c->fd);
    c->fd = -1;
    in_flight_total -= c->issued - c->answered;
    wrong_total += c->issued - c->answered;
}

void wrong(struct connection *c, const char *why)
{
    if (!wrong_total)
        fprintf(stderr, "load: %s\n", why);
    if (c->issued == c->answered)
        wrong_total++;
    give_up(c);
}

void answered(struct connection *c, bool fine)
{
    uint64_t latency = now - c->started[c->answered % options.in_flight];
    c->answered++;
    answered_total++;
    in_flight_total--;
    last_answer_at = now;
    errors += !fine;
    items_total += c->items;
    content_total += c->content;
    if (options.mode == FETCH && !(fine && c->items))
        c->mailbox = next_mailbox < id_count ? next_mailbox++ : UINT_MAX;
    c->items = c->content = 0;
    if (fine && now >= measure_from && !stopping) {
        counted++;
        record(&latencies, latency);
    }
}

static const struct request *request_of(const struct connection *c, uint64_t number)
{
    if (options.mode == FETCH)
        return &requests[c->mailbox];
    size_t mailbox = (c->number + number) % options.mailboxes;
    return &requests[(options.dialect->personal ? c->number * options.mailboxes : 0) + mailbox];
}

static bool may_issue(const struct connection *c)
{
    return !stopping && c->issued - c->answered < options.in_flight &&
           (!options.count || issued_total < options.count) &&
           !(options.mode == FETCH && c->mailbox == UINT_MAX);
}

static void want_to_write(struct connection *c, bool wanted)
{
    if (c->waits_to_write == wanted)
        return;
    c->waits_to_write = wanted;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

/* Hand the kernel all it takes of what was issued, as one write where it can be. */
static void flush_requests(struct connection *c)
{
    while (c->written < c->issued) {
        struct iovec vectors[WRITE_VECTORS];
        int used = 0;
        size_t total = 0;
        for (uint64_t i = c->written; i < c->issued && used < WRITE_VECTORS; i++, used++) {
            const struct request *request = request_of(c, i);
            size_t begin = i == c->written ? c->offset : 0;
            vectors[used].iov_base = request->bytes + begin;
            vectors[used].iov_len = request->size - begin;
            total += request->size - begin;
        }
        ssize_t sent = writev(c->fd, vectors, used);
        if (sent < 0 && errno != EAGAIN) {
            wrong(c, strerror(errno));
            return;
        }
        size_t left = sent < 0 ? 0 : (size_t)sent;
        for (int i = 0; i < used && left >= vectors[i].iov_len; i++) {
            left -= vectors[i].iov_len;
            c->written++;
            c->offset = 0;
        }
        c->offset += left;
        if (sent < 0 || (size_t)sent < total) {
            want_to_write(c, true);
            return;
        }
    }
    want_to_write(c, false);
}

static void pump(struct connection *c)
{
    while (may_issue(c)) {
        c->started[c->issued % options.in_flight] = now;
        c->issued++;
        issued_total++;
        in_flight_total++;
    }
    if (c->written < c->issued)
        flush_requests(c);
}

static void receive(struct connection *c)
{
    static unsigned char buffer[REST_SIZE + RECEIVE_SIZE];
    memcpy(buffer, c->rest, c->rest_size);
    ssize_t got = read(c->fd, buffer + c->rest_size, RECEIVE_SIZE);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        wrong(c, got ? strerror(errno) : "the server has closed the connection");
        return;
    }
    now = now_ns();
    size_t size = c->rest_size + (size_t)got;
    size_t used = options.dialect->read(c, buffer, size);
    if (c->fd < 0)
        return;
    if (size - used > REST_SIZE)
        die("an answer is longer than this program expects");
    c->rest_size = size - used;
    memcpy(c->rest, buffer + used, c->rest_size);
}

static bool finished(void)
{
    if (in_flight_total)
        return false;
    return stopping || options.mode == FETCH || (options.count && issued_total >= options.count) ||
           wrong_total;
}

static void run(void)
{
    uint64_t begin = now = now_ns();
    measure_from = begin + (uint64_t)(options.warmup * 1e9);
    uint64_t end = options.seconds > 0 ? measure_from + (uint64_t)(options.seconds * 1e9) : UINT64_MAX;
    uint64_t deadline = UINT64_MAX;
    for (unsigned i = 0; i < options.connections; i++)
        pump(&connections[i]);
    first_answer_at = begin;
    while (!finished()) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poller, events, EVENTS, 100);
        now = now_ns();
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT)
                receive(c);
            if (c->fd >= 0)
                pump(c);
        }
        if (!stopping && now >= end) {
            stopping = true;
            deadline = now + (uint64_t)(DRAIN_SECONDS * 1e9);
            end = now;
        }
        if (now >= deadline) {
            wrong_total += in_flight_total;
            break;
        }
    }
    uint64_t until = options.seconds > 0 ? end : last_answer_at;
    double seconds = until > measure_from ? (double)(until - measure_from) / 1e9 : 0;
    printf("{\"count\": %llu, \"seconds\": %.6f, \"rate\": %.2f, "
           "\"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"p999\": %.2f, \"max\": %.2f, "
           "\"errors\": %llu, \"wrong\": %llu, \"answered\": %llu, \"items\": %llu, "
           "\"content\": %llu}\n",
           (unsigned long long)counted, seconds, seconds > 0 ? (double)counted / seconds : 0,
           (double)percentile(&latencies, 0.5) / 1e3, (double)percentile(&latencies, 0.9) / 1e3,
           (double)percentile(&latencies, 0.99) / 1e3, (double)percentile(&latencies, 0.999) / 1e3,
           (double)latencies.max / 1e3, (unsigned long long)errors,
           (unsigned long long)wrong_total, (unsigned long long)answered_total,
           (unsigned long long)items_total, (unsigned long long)content_total);
}

static void make_requests(void)
{
    unsigned mailboxes = options.mode == FETCH ? id_count : options.mailboxes;
    unsigned copies = options.mode == SEND && options.dialect->personal ? options.connections : 1;
    static const unsigned codes[] = {[FETCH] = 604, [POLL] = 604, [LIST] = 601};
    requests = calloc((size_t)mailboxes * copies, sizeof *requests);
    for (unsigned i = 0; i < mailboxes * copies; i++) {
        struct request *r = &requests[i];
        if (options.mode == SEND)
            r->bytes = options.dialect->request(i % mailboxes, i / mailboxes, &r->size);
        else
            r->bytes = v2_plain_request(ids[i], codes[options.mode], &r->size);
    }
}

static void open_connections(void)
{
    poller = epoll_create1(0);
    connections = calloc(options.connections, sizeof *connections);
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        c->number = i;
        c->started = calloc(options.in_flight, sizeof *c->started);
        c->confirmed = calloc(options.in_flight, sizeof *c->confirmed);
        c->mailbox = next_mailbox < id_count ? next_mailbox++ : UINT_MAX;
        c->fd = open_socket(i, true);
        if (options.dialect->greet)
            options.dialect->greet(c->fd, i);
        else if (options.dialect == &v2 && i % KNOCK_EVERY == 0)
            v2_knock(c->fd); /* or the server's backlog overflows */
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    }
}

static void read_ids(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        die("%s: %s", path, strerror(errno));
    id_count = (unsigned)((size_t)ftell(file) / ID_SIZE);
    rewind(file);
    ids = calloc(id_count, sizeof *ids);
    if (!id_count || fread(ids, ID_SIZE, id_count, file) != id_count)
        die("%s holds no ids", path);
    fclose(file);
}

static void write_ids(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(ids, ID_SIZE, id_count, file) != id_count || fclose(file))
        die("%s: %s", path, strerror(errno));
}

static void find_ids(void)
{
    if (options.dialect != &v2)
        return;
    if (options.ids_file)
        read_ids(options.ids_file);
    else
        v2_register(options.mailboxes);
    if (options.mailboxes > id_count)
        options.mailboxes = id_count;
    if (options.write_ids)
        write_ids(options.write_ids);
}

static enum mode mode_named(const char *name)
{
    static const char *names[] = {"send", "fetch", "poll", "list", "connect", "idle", "register"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return (enum mode)i;
    die("there is no mode %s", name);
}

static const struct dialect *dialect_named(const char *name)
{
    static const struct dialect *all[] = {&v2, &redis, &nats, &amqp};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(name, all[i]->name))
            return all[i];
    die("there is no dialect %s", name);
}

static void parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"host", required_argument, NULL, 'h'},     {"port", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'c'}, {"in-flight", required_argument, NULL, 'f'},
        {"size", required_argument, NULL, 's'},     {"count", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 't'},  {"warmup", required_argument, NULL, 'w'},
        {"mailboxes", required_argument, NULL, 'm'}, {"ids", required_argument, NULL, 'i'},
        {"write-ids", required_argument, NULL, 'o'}, {"dialect", required_argument, NULL, 'd'},
        {"spread", no_argument, NULL, 'S'},         {"request", no_argument, NULL, 'R'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;)
        switch (option) {
        case 'h': options.host = optarg; break;
        case 'p': options.port = atoi(optarg); break;
        case 'c': options.connections = (unsigned)atoi(optarg); break;
        case 'f': options.in_flight = (unsigned)atoi(optarg); break;
        case 's': options.size = (size_t)atoll(optarg); break;
        case 'n': options.count = (uint64_t)atoll(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'w': options.warmup = atof(optarg); break;
        case 'm': options.mailboxes = (unsigned)atoi(optarg); break;
        case 'i': options.ids_file = optarg; break;
        case 'o': options.write_ids = optarg; break;
        case 'd': options.dialect = dialect_named(optarg); break;
        case 'S': options.spread = true; break;
        case 'R': options.request = true; break;
        default: exit(2);
        }
    if (optind + 1 != argc || !options.port)
        die("usage: load MODE --port PORT [options]");
    options.mode = mode_named(argv[optind]);
    if (!options.connections || !options.in_flight || !options.mailboxes)
        die("connections, in-flight and mailboxes are at least 1");
    bool timed = options.mode == SEND || options.mode == POLL || options.mode == LIST ||
                 options.mode == CONNECT;
    if (timed && !options.count && options.seconds <= 0)
        die("--seconds or --count is wanted");
    if (options.mode == FETCH)
        options.in_flight = 1;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    parse_options(argc, argv);
    if (options.mode == IDLE) {
        run_idle();
        return 0;
    }
    find_ids();
    if (options.mode == REGISTER) {
        printf("{\"count\": %u}\n", id_count);
    } else if (options.mode == CONNECT) {
        run_connect();
    } else {
        make_requests();
        open_connections();
        run();
    }
    return 0;
}
