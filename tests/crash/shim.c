/* A recorder of everything a process does to the files below one folder, and of every "250" it sends.
 *
 * Preloaded (LD_PRELOAD) it logs, in the order they took effect: writes with their octets, truncations, creations,
 * renames, unlinks, and the begin and end of each fsync. A write is logged after it returned and an fsync's begin
 * before it is called, so that whatever stands before a begin was there to be synced. An answer is logged before it
 * is sent, so that whatever stands after it happened too late to be its reason.
 *
 *   POWER_ROOT   the folder; POWER_LOG the log (appended); POWER_NOSYNC=1 makes fsync and fdatasync do nothing,
 *                return 0, and leave no record: a disk that lies.
 *
 * Record: one header of fixed size, then `path_len` and `data_len` octets. Numbers in the machine's byte order.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 65536, PATHS = 4096 };

struct header {
    uint32_t kind;
    uint32_t tid;
    uint64_t ns;
    uint64_t inode;
    uint64_t offset;
    uint32_t path_len;
    uint32_t data_len;
};

static char root[PATHS];
static size_t root_len;
static int log_fd = -1, nosync;
/* Recursive: a change of names holds it from before the call to after its record, or a name in a new folder could be
 * recorded before the folder. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static uint64_t inode_of[FDS]; /* 0: not ours */

#define REAL(type, name, ...)                                   \
    static type (*real_##name)(__VA_ARGS__);                    \
    if (!real_##name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
{
    const char *where = getenv("POWER_ROOT"), *into = getenv("POWER_LOG");
    nosync = getenv("POWER_NOSYNC") != NULL;
    if (!where || !into || !realpath(where, root)) return;
    root_len = strlen(root);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, into, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* Out of the way of programs that close what they find low. */
    if (log_fd >= 0) log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, 900);
}

static void put(uint32_t kind, uint64_t inode, uint64_t offset, const char *path, size_t path_len,
                const struct iovec *data, int parts, size_t data_len)
{
    struct iovec out[64];
    struct header head = {.kind = kind, .tid = (uint32_t)syscall(SYS_gettid), .inode = inode, .offset = offset};
    int saved = errno, n = 0;
    struct timespec now;
    size_t left = data_len;

    if (log_fd < 0) return;
    head.path_len = (uint32_t)path_len;
    head.data_len = (uint32_t)data_len;
    pthread_mutex_lock(&lock);
    clock_gettime(CLOCK_MONOTONIC, &now);
    head.ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    out[n++] = (struct iovec){&head, sizeof head};
    if (path_len) out[n++] = (struct iovec){(void *)path, path_len};
    for (int i = 0; i < parts && left && n < 64; i++) {
        size_t take = data[i].iov_len < left ? data[i].iov_len : left;
        out[n++] = (struct iovec){data[i].iov_base, take};
        left -= take;
    }
    if (left || syscall(SYS_writev, log_fd, out, n) < 0) {
        static const char said[] = "the recorder could not write its log\n";
        (void)!syscall(SYS_write, 2, said, sizeof said - 1);
        _exit(99);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
}

/* Make `path` absolute into `out`; true where it is the folder or below it. */
static int ours(int at, const char *path, char *out)
{
    char base[PATHS], link[64];
    ssize_t got;
    if (log_fd < 0 || !path) return 0;
    if (path[0] == '/') {
        snprintf(out, PATHS, "%s", path);
    } else {
        if (at == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            if ((got = readlink(link, base, sizeof base - 1)) < 0) return 0;
            base[got] = 0;
        }
        if (snprintf(out, PATHS, "%s/%s", base, path) >= PATHS) return 0;
    }
    for (char *p; (p = strstr(out, "/./"));) memmove(p, p + 2, strlen(p + 2) + 1);
    for (char *p; (p = strstr(out, "//"));) memmove(p, p + 1, strlen(p + 1) + 1);
    return !strncmp(out, root, root_len) && (out[root_len] == '/' || !out[root_len]);
}

static uint64_t inode_at(const char *path)
{
    struct stat st;
    return lstat(path, &st) ? 0 : (uint64_t)st.st_ino;
}

static void opened(int fd, int flags, uint64_t before, const char *path)
{
    struct stat st;
    if (fd < 0 || fd >= FDS || fstat(fd, &st)) return;
    inode_of[fd] = st.st_ino;
    if ((flags & O_CREAT) && !before) put('C', st.st_ino, 0, path, strlen(path), NULL, 0, 0);
    if ((flags & O_TRUNC) && before) put('T', st.st_ino, 0, NULL, 0, NULL, 0, 0);
}

#define OPEN(name, at_given)                                                                  \
    {                                                                                         \
        char full[PATHS];                                                                     \
        mode_t mode = 0;                                                                      \
        int fd, mine = ours(at_given, path, full);                                            \
        uint64_t before;                                                                      \
        int naming = mine && (flags & O_CREAT);                                               \
        if (naming) pthread_mutex_lock(&lock);                                                \
        before = mine ? inode_at(full) : 0;                                                   \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                \
            va_list ap;                                                                       \
            va_start(ap, flags);                                                              \
            mode = va_arg(ap, mode_t);                                                        \
            va_end(ap);                                                                       \
        }                                                                                     \
        fd = (int)syscall(SYS_openat, at_given, path, flags | O_LARGEFILE, mode);             \
        if (mine) opened(fd, flags, before, full);                                            \
        if (naming) pthread_mutex_unlock(&lock);                                              \
        return fd;                                                                            \
    }

int open(const char *path, int flags, ...) OPEN(open, AT_FDCWD)
int open64(const char *path, int flags, ...) OPEN(open64, AT_FDCWD)
int openat(int at, const char *path, int flags, ...) OPEN(openat, at)
int openat64(int at, const char *path, int flags, ...) OPEN(openat64, at)

FILE *fopen64(const char *path, const char *mode)
{
    char full[PATHS];
    REAL(FILE *, fopen64, const char *, const char *);
    /* Nothing of the spool is written through stdio; if it ever is, the record would be wrong, so say so. */
    if (ours(AT_FDCWD, path, full) && strpbrk(mode, "wa+")) _exit(98);
    return real_fopen64(path, mode);
}

static int is_ours(int fd) { return fd >= 0 && fd < FDS && inode_of[fd]; }

static void wrote(int fd, uint64_t offset, const struct iovec *data, int parts, ssize_t done)
{
    if (done > 0) put('W', inode_of[fd], offset, NULL, 0, data, parts, (size_t)done);
}

static void says(const struct iovec *data, int parts)
{
    size_t all = 0;
    if (log_fd < 0 || parts < 1 || data[0].iov_len < 4 || memcmp(data[0].iov_base, "250", 3)) return;
    for (int i = 0; i < parts; i++) all += data[i].iov_len;
    put('A', 0, 0, NULL, 0, data, parts, all);
}

ssize_t write(int fd, const void *octets, size_t count)
{
    struct iovec one = {(void *)octets, count};
    off_t at = 0;
    ssize_t done;
    if (is_ours(fd)) {
        at = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    } else {
        says(&one, 1);
    }
    done = syscall(SYS_write, fd, octets, count);
    if (is_ours(fd)) wrote(fd, (uint64_t)at, &one, 1, done);
    return done;
}

ssize_t writev(int fd, const struct iovec *data, int parts)
{
    off_t at = 0;
    ssize_t done;
    if (is_ours(fd)) {
        at = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    } else {
        says(data, parts);
    }
    done = syscall(SYS_writev, fd, data, parts);
    if (is_ours(fd)) wrote(fd, (uint64_t)at, data, parts, done);
    return done;
}

ssize_t send(int fd, const void *octets, size_t count, int flags)
{
    struct iovec one = {(void *)octets, count};
    says(&one, 1);
    return syscall(SYS_sendto, fd, octets, count, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int);
    says(message->msg_iov, (int)message->msg_iovlen);
    return real_sendmsg(fd, message, flags);
}

static ssize_t pwrite_at(int fd, const void *octets, size_t count, off_t at)
{
    struct iovec one = {(void *)octets, count};
    ssize_t done = syscall(SYS_pwrite64, fd, octets, count, at);
    if (is_ours(fd)) wrote(fd, (uint64_t)at, &one, 1, done);
    return done;
}
ssize_t pwrite(int fd, const void *octets, size_t count, off_t at) { return pwrite_at(fd, octets, count, at); }
ssize_t pwrite64(int fd, const void *octets, size_t count, off64_t at) { return pwrite_at(fd, octets, count, at); }

static ssize_t pwritev_at(int fd, const struct iovec *data, int parts, off_t at)
{
    ssize_t done = syscall(SYS_pwritev, fd, data, parts, (long)at, 0L);
    if (is_ours(fd)) wrote(fd, (uint64_t)at, data, parts, done);
    return done;
}
ssize_t pwritev(int fd, const struct iovec *data, int parts, off_t at) { return pwritev_at(fd, data, parts, at); }
ssize_t pwritev64(int fd, const struct iovec *data, int parts, off64_t at) { return pwritev_at(fd, data, parts, at); }

static int truncate_to(int fd, off_t size)
{
    int done = (int)syscall(SYS_ftruncate, fd, size);
    if (!done && is_ours(fd)) put('T', inode_of[fd], (uint64_t)size, NULL, 0, NULL, 0, 0);
    return done;
}
int ftruncate(int fd, off_t size) { return truncate_to(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncate_to(fd, size); }

static int allocate(int fd, off_t at, off_t size)
{
    struct stat st;
    int done = (int)syscall(SYS_fallocate, fd, 0, at, size);
    if (done) return errno;
    if (is_ours(fd) && !fstat(fd, &st)) put('T', inode_of[fd], (uint64_t)st.st_size, NULL, 0, NULL, 0, 0);
    return 0;
}
int posix_fallocate(int fd, off_t at, off_t size) { return allocate(fd, at, size); }
int posix_fallocate64(int fd, off64_t at, off64_t size) { return allocate(fd, at, size); }

static int sync_with(int fd, long call)
{
    uint64_t inode = is_ours(fd) ? inode_of[fd] : 0;
    int done;
    if (nosync) return 0;
    if (inode) put('B', inode, 0, NULL, 0, NULL, 0, 0);
    done = (int)syscall(call, fd);
    if (inode && !done) put('E', inode, 0, NULL, 0, NULL, 0, 0);
    return done;
}
int fsync(int fd) { return sync_with(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_with(fd, SYS_fdatasync); }

int close(int fd)
{
    if (fd == log_fd && fd >= 0) return 0;
    if (fd >= 0 && fd < FDS) inode_of[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

static int renamed(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    char old[PATHS], new[PATHS], both[2 * PATHS + 1];
    int mine = ours(from_at, from, old), done;
    uint64_t inode;
    mine = ours(to_at, to, new) && mine;
    pthread_mutex_lock(&lock);
    inode = mine ? inode_at(old) : 0;
    done = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (!done && mine) {
        int length = snprintf(both, sizeof both, "%s%c%s", old, 0, new);
        put('R', inode, 0, both, (size_t)length, NULL, 0, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int linked(int from_at, const char *from, int to_at, const char *to, int flags)
{
    char new[PATHS];
    int mine = ours(to_at, to, new), done;
    pthread_mutex_lock(&lock);
    done = (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    if (!done && mine) put('C', inode_at(new), 1, new, strlen(new), NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int link(const char *from, const char *to) { return linked(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return linked(a, from, b, to, flags); }

static int unlinked(int at, const char *path, int flags)
{
    char full[PATHS];
    int mine = ours(at, path, full), done;
    uint64_t inode;
    pthread_mutex_lock(&lock);
    inode = mine ? inode_at(full) : 0;
    done = (int)syscall(SYS_unlinkat, at, path, flags);
    if (!done && mine) put('U', inode, 0, full, strlen(full), NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return unlinked(at, path, flags); }
int rmdir(const char *path) { return unlinked(AT_FDCWD, path, AT_REMOVEDIR); }

static int made(int at, const char *path, mode_t mode)
{
    char full[PATHS];
    int mine = ours(at, path, full), done;
    pthread_mutex_lock(&lock);
    done = (int)syscall(SYS_mkdirat, at, path, mode);
    if (!done && mine) put('M', inode_at(full), 0, full, strlen(full), NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return made(at, path, mode); }
