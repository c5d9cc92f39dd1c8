/* Stands between a relay and its disk (LD_PRELOAD): counts every call that changes a file below one
 * folder, makes the chosen one kill the process or fail, and logs what was done and what was sent.
 *
 * DISK_FOLDER   the folder, absolute, without a slash at its end
 * DISK_CONTROL  a file of one `struct control`, which the test writes while the relay runs
 * DISK_LOG      a file to which records are added; none are when it is not set
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { NOTHING, KILL, TEAR, FAIL };
enum { DESCRIPTORS = 65536 };

/* From the call `first` on, `limit` calls are hit; 0 is none. They are counted from 1. */
struct control {
    int64_t calls, first, limit, hits;
    int32_t action, error, syncs_only, unused;
};

struct record {
    uint8_t kind, error, unused[2];
    int32_t descriptor;
    int64_t offset;
    uint32_t size;
} __attribute__((packed));

static struct control idle, *control = &idle;
static char folder[PATH_MAX];
static size_t folder_size;
static int log_descriptor = -1;
static uint8_t watched[DESCRIPTORS], sends[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t real_write(int descriptor, const void *data, size_t size)
{
    REAL(write);
    return real(descriptor, data, size);
}

static int real_open(const char *path, int flags, mode_t mode)
{
    REAL(open64);
    return real(path, flags, mode);
}

/* The caller holds the lock, so that records are whole and in order. */
static void note(char kind, int error, int descriptor, int64_t offset, const void *data, size_t size)
{
    if (log_descriptor < 0)
        return;
    struct record head = {kind, error, {0}, descriptor, offset, size};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)data, size}};
    REAL(writev);
    if (real(log_descriptor, parts, 2) != (ssize_t)(sizeof head + size))
        abort();
}

static void note_alone(char kind, int error, int descriptor, int64_t offset, const void *data,
                       size_t size)
{
    int before = errno;
    pthread_mutex_lock(&lock);
    note(kind, error, descriptor, offset, data, size);
    pthread_mutex_unlock(&lock);
    errno = before;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("DISK_FOLDER");
    if (path == NULL)
        return;
    folder_size = strlen(path);
    memcpy(folder, path, folder_size + 1);
    int descriptor = real_open(getenv("DISK_CONTROL"), O_RDWR | O_CLOEXEC, 0);
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (shared == MAP_FAILED)
        abort();
    control = shared;
    if (getenv("DISK_LOG") != NULL) {
        /* Out of the way of descriptors that somebody closes or counts. */
        int low = real_open(getenv("DISK_LOG"), O_WRONLY | O_APPEND | O_CLOEXEC, 0);
        log_descriptor = fcntl(low, F_DUPFD_CLOEXEC, 900);
        if (log_descriptor < 0)
            abort();
    }
    note_alone('S', 0, 0, 0, NULL, 0);
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Counts a call. TEAR: it is to do half of its work and then die. FAIL: errno is set. */
static enum action count(int is_sync)
{
    int64_t call = __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);
    int64_t first = __atomic_load_n(&control->first, __ATOMIC_SEQ_CST);
    if (first == 0 || call < first || control->hits >= control->limit
        || (control->syncs_only && !is_sync))
        return NOTHING;
    __atomic_add_fetch(&control->hits, 1, __ATOMIC_SEQ_CST);
    enum action action = control->action;
    if (action == KILL)
        die();
    if (action == FAIL)
        errno = control->error;
    return action;
}

static int is_inside(const char *path)
{
    return folder_size > 0 && strncmp(path, folder, folder_size) == 0
           && (path[folder_size] == '/' || path[folder_size] == '\0');
}

static int is_watched(int descriptor)
{
    return descriptor >= 0 && descriptor < DESCRIPTORS && watched[descriptor];
}

static int open_file(const char *path, int flags, mode_t mode)
{
    if (!is_inside(path))
        return real_open(path, flags, mode);
    struct stat status;
    int created = (flags & O_CREAT) && stat(path, &status) != 0;
    if (created) {
        enum action action = count(0);
        if (action == FAIL)
            return -1;
        if (action == TEAR)
            die();
    }
    int descriptor = real_open(path, flags, mode);
    if (descriptor >= 0 && descriptor < DESCRIPTORS) {
        watched[descriptor] = 1;
        note_alone(created ? 'C' : 'O', 0, descriptor, 0, path, strlen(path));
    }
    return descriptor;
}

static mode_t mode_in(int flags, va_list arguments)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_in(flags, arguments); \
        va_end(arguments); \
        return open_file(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int place, const char *path, int flags, ...) \
    { \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_in(flags, arguments); \
        va_end(arguments); \
        if (is_inside(path)) \
            return open_file(path, flags, mode); \
        REAL(name); \
        return real(place, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);

int __open_2(const char *path, int flags)
{
    return open_file(path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
    return open_file(path, flags, 0);
}

int close(int descriptor)
{
    if (descriptor >= 0 && descriptor < DESCRIPTORS && (watched[descriptor] || sends[descriptor])) {
        watched[descriptor] = sends[descriptor] = 0;
        note_alone('X', 0, descriptor, 0, NULL, 0);
    }
    REAL(close);
    return real(descriptor);
}

static ssize_t write_at(int descriptor, const void *data, size_t size, off64_t offset)
{
    enum action action = count(0);
    if (action == FAIL)
        return -1;
    REAL(pwrite64);
    ssize_t done = real(descriptor, data, action == TEAR ? size / 2 : size, offset);
    if (done > 0)
        note_alone('W', 0, descriptor, offset, data, done);
    if (action == TEAR)
        die();
    return done;
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset)
{
    if (is_watched(descriptor))
        return write_at(descriptor, data, size, offset);
    REAL(pwrite64);
    return real(descriptor, data, size, offset);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset)
{
    return pwrite64(descriptor, data, size, offset);
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    if (!is_watched(descriptor))
        return real_write(descriptor, data, size);
    off64_t offset = lseek64(descriptor, 0, SEEK_CUR);
    ssize_t done = write_at(descriptor, data, size, offset);
    if (done > 0)
        lseek64(descriptor, offset + done, SEEK_SET);
    return done;
}

int ftruncate64(int descriptor, off64_t size)
{
    int seen = is_watched(descriptor);
    if (seen) {
        enum action action = count(0);
        if (action == FAIL)
            return -1;
        if (action == TEAR)
            die();
    }
    REAL(ftruncate64);
    int result = real(descriptor, size);
    if (seen && result == 0)
        note_alone('T', 0, descriptor, size, NULL, 0);
    return result;
}

int ftruncate(int descriptor, off_t size)
{
    return ftruncate64(descriptor, size);
}

/* A sync that fails leaves pages clean that are not on the disk, which the log tells. */
#define SYNC(name) \
    int name(int descriptor) \
    { \
        REAL(name); \
        if (!is_watched(descriptor)) \
            return real(descriptor); \
        enum action action = count(1); \
        if (action == TEAR) \
            die(); \
        int result = action == FAIL ? -1 : real(descriptor); \
        note_alone('F', result == 0 ? 0 : errno, descriptor, 0, NULL, 0); \
        return result; \
    }
SYNC(fsync)
SYNC(fdatasync)

static int may_change_names(void)
{
    enum action action = count(0);
    if (action == TEAR)
        die();
    return action != FAIL;
}

int unlink(const char *path)
{
    int seen = is_inside(path) && access(path, F_OK) == 0;
    if (seen && !may_change_names())
        return -1;
    REAL(unlink);
    int result = real(path);
    if (seen && result == 0)
        note_alone('U', 0, -1, 0, path, strlen(path));
    return result;
}

int rename(const char *from, const char *to)
{
    int seen = is_inside(from);
    if (seen && !may_change_names())
        return -1;
    REAL(rename);
    int result = real(from, to);
    if (seen && result == 0) {
        char both[2 * PATH_MAX];
        size_t size = strlen(from);
        memcpy(both, from, size + 1);
        strcpy(both + size + 1, to);
        note_alone('R', 0, -1, 0, both, size + 1 + strlen(to));
    }
    return result;
}

/* What is sent is logged before anything that comes after it. */
ssize_t send(int descriptor, const void *data, size_t size, int flags)
{
    REAL(send);
    if (log_descriptor < 0)
        return real(descriptor, data, size, flags);
    pthread_mutex_lock(&lock);
    ssize_t done = real(descriptor, data, size, flags);
    int before = errno;
    if (done > 0 && descriptor < DESCRIPTORS) {
        sends[descriptor] = 1;
        note('A', 0, descriptor, 0, data, done);
    }
    pthread_mutex_unlock(&lock);
    errno = before;
    return done;
}
