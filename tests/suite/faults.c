/*
 * Preloaded into the program by tests/suite/faults.rs: counts the calls that change files below a folder, and
 * lets one of them fail. What it is told stands in the environment:
 *
 *   FAULTS_UNDER  the folder; calls on other files are passed on
 *   FAULTS_LOG    a file outside of it that gets a line for each counted call, and one that starts with "!" when
 *                 the fault was injected
 *   FAULTS_AT     the number of the call, from 1 on
 *   FAULTS_HOW    kill   the process is killed before the call
 *                 torn   killed in it: half of the bytes are written, other calls are done
 *                 full   no space is left from there on; of the first write half fits
 *                 eio    this one call fails
 *                 power  killed before it, and everything that was not synced by then is lost
 *                 rags   the same, but some of what was not synced is there, picked by FAULTS_SEED
 *                 pause  the call waits until there is a file FAULTS_GO
 *                 int    somebody presses Ctrl-C; the call is done
 *   FAULTS_READS  if set, calls that read are counted in place of those that change something; only to pause
 *   FAULTS_SAVE   a folder on the same file system, for what a power loss brings back
 *
 * Losing power is taken at its worst: data lasts from the fsync of its file on, an entry of a folder (made,
 * renamed, removed) from the fsync of that folder on, and data of one file may last in any order.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE, TRUNCATE, CREATE, MKDIR, UNLINK, RENAME, GONE };

struct op {
    enum kind kind;
    int file;            /* index into files, for data */
    off_t at, size;      /* where it was written; the file's size before, the new size of a truncation */
    size_t old_len, new_len;
    char *old_bytes, *new_bytes;
    char *path, *to;     /* for entries */
    int saved;           /* number in the save folder, or 0 */
};

static struct { dev_t dev; ino_t ino; int fd; } files[256];
static int n_files;
static struct op *ops;
static size_t n_ops, room;

static char under[PATH_MAX], save[PATH_MAX];
static const char *how = "", *go = "";
static int reads;
static long at, counted;
static unsigned seed;
static int log_fd = -1, saved_count, power;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long raw_open(const char *path, int flags, int mode) { return syscall(SYS_openat, AT_FDCWD, path, flags, mode); }

__attribute__((constructor)) static void begin(void) {
    const char *text;
    if (!(text = getenv("FAULTS_UNDER")) || !realpath(text, under)) return;
    if ((text = getenv("FAULTS_SAVE"))) realpath(text, save);
    if ((text = getenv("FAULTS_HOW"))) how = text;
    if ((text = getenv("FAULTS_AT"))) at = atol(text);
    if ((text = getenv("FAULTS_SEED"))) seed = (unsigned)atol(text);
    if ((text = getenv("FAULTS_GO"))) go = text;
    reads = getenv("FAULTS_READS") != NULL;
    if ((text = getenv("FAULTS_LOG"))) log_fd = (int)raw_open(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    power = !strcmp(how, "power") || !strcmp(how, "rags");
}

static void say(const char *mark, const char *name, const char *path) {
    char line[PATH_MAX + 64];
    int n = snprintf(line, sizeof line, "%s%ld %s %s\n", mark, counted, name, path);
    if (log_fd >= 0) syscall(SYS_write, log_fd, line, (size_t)n);
}

/* Whether the path is one that counts; SQLite's shared memory is not data. */
static int watched(const char *path) {
    size_t n = strlen(under), m = strlen(path);
    if (!n || strncmp(path, under, n) || (path[n] && path[n] != '/')) return 0;
    return !(m > 4 && !strcmp(path + m - 4, "-shm"));
}

static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n < 0) return 0;
    out[n] = 0;
    return watched(out);
}

static int whole_path(int dir, const char *path, char *out) {
    char base[PATH_MAX], joined[2 * PATH_MAX];
    if (path[0] == '/') snprintf(joined, sizeof joined, "%s", path);
    else {
        if (dir == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
        else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
            ssize_t n = readlink(link, base, sizeof base - 1);
            if (n < 0) return 0;
            base[n] = 0;
        }
        snprintf(joined, sizeof joined, "%s/%s", base, path);
    }
    /* The folder is there, the file need not be. */
    char *slash = strrchr(joined, '/');
    char folder[PATH_MAX];
    *slash = 0;
    if (!realpath(*joined ? joined : "/", folder)) return 0;
    if (strlen(folder) + strlen(slash + 1) + 2 > PATH_MAX) return 0;
    strcpy(stpcpy(stpcpy(out, folder), "/"), slash + 1);
    return watched(out);
}

static struct op *note(enum kind kind) {
    if (n_ops == room) {
        room = room ? 2 * room : 256;
        ops = realloc(ops, room * sizeof *ops);
    }
    struct op *op = &ops[n_ops++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    return op;
}

static int file_of(int fd) {
    struct stat st;
    char link[64];
    fstat(fd, &st);
    for (int i = 0; i < n_files; i++)
        if (files[i].dev == st.st_dev && files[i].ino == st.st_ino) return i;
    /* Never closed: closing it would give up the process's locks on the file. */
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    files[n_files].dev = st.st_dev;
    files[n_files].ino = st.st_ino;
    files[n_files].fd = (int)raw_open(link, O_RDWR | O_CLOEXEC, 0);
    return n_files++;
}

static void note_write(int fd, const void *bytes, size_t n, off_t where) {
    struct stat st;
    int file = file_of(fd);
    fstat(fd, &st);
    struct op *op = note(WRITE);
    op->file = file;
    op->at = where;
    op->size = st.st_size;
    op->new_len = n;
    op->new_bytes = malloc(n + 1);
    memcpy(op->new_bytes, bytes, n);
    op->old_bytes = malloc(n + 1);
    ssize_t got = syscall(SYS_pread64, files[file].fd, op->old_bytes, n, where);
    op->old_len = got > 0 ? (size_t)got : 0;
}

static void note_truncate(int fd, off_t size) {
    struct stat st;
    int file = file_of(fd);
    fstat(fd, &st);
    struct op *op = note(TRUNCATE);
    op->file = file;
    op->at = size;
    op->size = st.st_size;
    if (st.st_size > size) {
        op->old_len = (size_t)(st.st_size - size);
        op->old_bytes = malloc(op->old_len);
        syscall(SYS_pread64, files[file].fd, op->old_bytes, op->old_len, size);
    }
}

static int keep(const char *path) {
    char name[PATH_MAX + 32];
    snprintf(name, sizeof name, "%s/%d", save, saved_count + 1);
    return syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, name, 0) ? 0 : ++saved_count;
}

static void note_entry(enum kind kind, const char *path, const char *to) {
    int saved = kind == UNLINK ? keep(path) : kind == RENAME ? keep(to) : 0;
    struct op *op = note(kind);
    op->path = strdup(path);
    op->to = to ? strdup(to) : NULL;
    op->saved = saved;
}

/* What was written to the file, or which entries the folder has, lasts from now on. */
static void synced(int fd, const char *path) {
    struct stat st;
    fstat(fd, &st);
    size_t n = strlen(path);
    for (size_t i = 0; i < n_ops; i++) {
        struct op *op = &ops[i];
        if (op->kind == GONE) continue;
        if (op->path) {
            const char *slash = strrchr(op->path, '/');
            if (S_ISDIR(st.st_mode) && (size_t)(slash - op->path) == n && !strncmp(op->path, path, n)) op->kind = GONE;
        } else if (files[op->file].dev == st.st_dev && files[op->file].ino == st.st_ino) op->kind = GONE;
    }
}

static void restore(int saved, const char *path) {
    char name[PATH_MAX + 32];
    snprintf(name, sizeof name, "%s/%d", save, saved);
    syscall(SYS_renameat, AT_FDCWD, name, AT_FDCWD, path);
}

static void lose(void) {
    int rags = !strcmp(how, "rags");
    /* Of a folder's entries the first changes may last, never later ones without them. */
    size_t lasting = rags && n_ops ? (size_t)(rand_r(&seed) % (n_ops + 1)) : 0;
    for (size_t i = n_ops; i-- > 0;) {
        struct op *op = &ops[i];
        if (op->path && i < lasting) continue;
        int fd = op->path ? -1 : files[op->file].fd;
        switch (op->kind) {
        case WRITE:
            syscall(SYS_pwrite64, fd, op->old_bytes, op->old_len, op->at);
            syscall(SYS_ftruncate, fd, op->size);
            break;
        case TRUNCATE:
            syscall(SYS_ftruncate, fd, op->size);
            if (op->old_len) syscall(SYS_pwrite64, fd, op->old_bytes, op->old_len, op->at);
            break;
        case CREATE: syscall(SYS_unlinkat, AT_FDCWD, op->path, 0); break;
        case MKDIR: {
            /* With all that is in it. */
            char name[PATH_MAX + 32];
            snprintf(name, sizeof name, "%s/%d", save, ++saved_count);
            syscall(SYS_renameat, AT_FDCWD, op->path, AT_FDCWD, name);
            break;
        }
        case UNLINK: if (op->saved) restore(op->saved, op->path); break;
        case RENAME:
            syscall(SYS_renameat, AT_FDCWD, op->to, AT_FDCWD, op->path);
            if (op->saved) restore(op->saved, op->to);
            break;
        case GONE: break;
        }
    }
    for (size_t i = 0; rags && i < n_ops; i++) {
        struct op *op = &ops[i];
        if (op->path || op->kind == GONE || rand_r(&seed) % 2) continue;
        if (op->kind == WRITE) syscall(SYS_pwrite64, files[op->file].fd, op->new_bytes, op->new_len, op->at);
        else syscall(SYS_ftruncate, files[op->file].fd, op->at);
    }
}

static void end(void) { syscall(SYS_kill, getpid(), SIGKILL); }

/* After the last call, power is lost as well. */
__attribute__((destructor)) static void finish(void) {
    if (power && at > counted) {
        say("!", "end", "");
        lose();
    }
}

enum fate { PASS, HALF, FAIL };

#define TORN() (!strcmp(how, "torn"))

/* Counts a call and says what becomes of it. */
static enum fate judge(const char *name, const char *path, int reading) {
    if (reading != reads) return PASS;
    counted++;
    say("", name, path);
    if (!at || counted < at) return PASS;
    int full = !strcmp(how, "full");
    if (counted > at && !full) return PASS;
    say("!", name, path);
    if (!strcmp(how, "kill")) end();
    if (!strcmp(how, "pause")) {
        while (access(go, F_OK)) usleep(2000);
        return PASS;
    }
    if (!strcmp(how, "int")) {
        kill(getpid(), SIGINT);
        /* A thread of its own takes note of it. */
        usleep(30000);
        return PASS;
    }
    if (power) { lose(); end(); }
    if (!strcmp(how, "torn")) return HALF;
    errno = full ? ENOSPC : EIO;
    if (full && counted == at) return HALF;
    return FAIL;
}

static ssize_t writing(const char *name, int fd, const void *bytes, size_t n, off_t where, int placed) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    if (path_of(fd, path)) {
        switch (judge(name, path, 0)) {
        case PASS: break;
        case HALF:
            if (TORN() || n > 1) {
                ssize_t half = placed ? syscall(SYS_pwrite64, fd, bytes, n / 2, where) : syscall(SYS_write, fd, bytes, n / 2);
                if (TORN()) end();
                pthread_mutex_unlock(&lock);
                return half;
            }
            /* fall through */
        case FAIL: pthread_mutex_unlock(&lock); return -1;
        }
        if (power) note_write(fd, bytes, n, placed ? where : lseek(fd, 0, SEEK_CUR));
    }
    pthread_mutex_unlock(&lock);
    return placed ? syscall(SYS_pwrite64, fd, bytes, n, where) : syscall(SYS_write, fd, bytes, n);
}

static void reading(int fd) {
    char path[PATH_MAX];
    if (!reads) return;
    pthread_mutex_lock(&lock);
    if (path_of(fd, path)) judge("read", path, 1);
    pthread_mutex_unlock(&lock);
}

ssize_t read(int fd, void *bytes, size_t n) { reading(fd); return syscall(SYS_read, fd, bytes, n); }
ssize_t pread(int fd, void *bytes, size_t n, off_t where) { reading(fd); return syscall(SYS_pread64, fd, bytes, n, where); }
ssize_t pread64(int fd, void *bytes, size_t n, off_t where) { reading(fd); return syscall(SYS_pread64, fd, bytes, n, where); }

ssize_t write(int fd, const void *bytes, size_t n) { return writing("write", fd, bytes, n, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t where) { return writing("pwrite", fd, bytes, n, where, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t where) { return writing("pwrite", fd, bytes, n, where, 1); }

ssize_t writev(int fd, const struct iovec *parts, int n) {
    char path[PATH_MAX];
    if (n > 0 && path_of(fd, path)) return write(fd, parts[0].iov_base, parts[0].iov_len);
    return syscall(SYS_writev, fd, parts, n);
}

/* Calls of these kinds would pass uncounted: better to fail loudly than to measure nothing. */
static void not_covered(const char *name, int fd) {
    char path[PATH_MAX];
    if (path_of(fd, path)) { say("?", name, path); abort(); }
}

ssize_t copy_file_range(int in, off_t *a, int out, off_t *b, size_t n, unsigned flags) {
    not_covered("copy_file_range", out);
    return syscall(SYS_copy_file_range, in, a, out, b, n, flags);
}
ssize_t sendfile64(int out, int in, off_t *a, size_t n) { not_covered("sendfile", out); return syscall(SYS_sendfile, out, in, a, n); }
int fallocate64(int fd, int mode, off_t a, off_t n) { not_covered("fallocate", fd); return (int)syscall(SYS_fallocate, fd, mode, a, n); }
int posix_fallocate(int fd, off_t a, off_t n) { not_covered("posix_fallocate", fd); return (int)syscall(SYS_fallocate, fd, 0, a, n); }

static int truncating(int fd, off_t size) {
    char path[PATH_MAX];
    struct stat st;
    pthread_mutex_lock(&lock);
    if (path_of(fd, path)) {
        fstat(fd, &st);
        enum fate fate = judge("ftruncate", path, 0);
        if (fate == HALF && TORN()) { syscall(SYS_ftruncate, fd, size); end(); }
        /* Where no space is left, less can still be had. */
        if (fate != PASS && !(!strcmp(how, "full") && size <= st.st_size)) { pthread_mutex_unlock(&lock); return -1; }
        if (power) note_truncate(fd, size);
    }
    pthread_mutex_unlock(&lock);
    return (int)syscall(SYS_ftruncate, fd, size);
}

int ftruncate(int fd, off_t size) { return truncating(fd, size); }
int ftruncate64(int fd, off_t size) { return truncating(fd, size); }

static int syncing(const char *name, int fd, long number) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    int mine = path_of(fd, path);
    if (mine) {
        enum fate fate = judge(name, path, 0);
        if (fate == HALF && TORN()) end();
        if (fate != PASS) { pthread_mutex_unlock(&lock); return -1; }
    }
    /* Where power is not lost, or only as played here, nothing has to reach a real disk. */
    int result = mine ? 0 : (int)syscall(number, fd);
    if (mine && power && !result) synced(fd, path);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return syncing("fsync", fd, SYS_fsync); }
int fdatasync(int fd) { return syncing("fdatasync", fd, SYS_fdatasync); }

static int opening(int dir, const char *path, int flags, int mode) {
    char whole[PATH_MAX];
    struct stat st;
    if ((flags & O_CREAT) && whole_path(dir, path, whole) && lstat(whole, &st)) {
        pthread_mutex_lock(&lock);
        enum fate fate = judge("create", whole, 0);
        if (fate == HALF && TORN()) { syscall(SYS_openat, dir, path, flags, mode); end(); }
        if (fate != PASS) { pthread_mutex_unlock(&lock); return -1; }
        int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
        if (fd >= 0 && power) note_entry(CREATE, whole, NULL);
        pthread_mutex_unlock(&lock);
        return fd;
    }
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

#define MODE() int mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); }
int open(const char *path, int flags, ...) { MODE() return opening(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE() return opening(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE() return opening(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE() return opening(dir, path, flags, mode); }

int mkdir(const char *path, mode_t mode) {
    char whole[PATH_MAX];
    struct stat st;
    if (whole_path(AT_FDCWD, path, whole) && lstat(whole, &st)) {
        pthread_mutex_lock(&lock);
        enum fate fate = judge("mkdir", whole, 0);
        if (fate == HALF && TORN()) { syscall(SYS_mkdirat, AT_FDCWD, path, mode); end(); }
        if (fate != PASS) { pthread_mutex_unlock(&lock); return -1; }
        if (power) note_entry(MKDIR, whole, NULL);
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

static int unlinking(int dir, const char *path, int flags) {
    char whole[PATH_MAX];
    struct stat st;
    if (whole_path(dir, path, whole) && !lstat(whole, &st)) {
        pthread_mutex_lock(&lock);
        enum fate fate = judge("unlink", whole, 0);
        if (fate == HALF && TORN()) { syscall(SYS_unlinkat, dir, path, flags); end(); }
        if (fate != PASS && strcmp(how, "full")) { pthread_mutex_unlock(&lock); return -1; }
        if (power) note_entry(UNLINK, whole, NULL);
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_unlinkat, dir, path, flags);
}

int unlink(const char *path) { return unlinking(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return unlinking(dir, path, flags); }

int rename(const char *from, const char *to) {
    char whole[PATH_MAX], target[PATH_MAX];
    if (whole_path(AT_FDCWD, from, whole) | whole_path(AT_FDCWD, to, target)) {
        pthread_mutex_lock(&lock);
        enum fate fate = judge("rename", whole, 0);
        if (fate == HALF && TORN()) { syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to); end(); }
        if (fate != PASS) { pthread_mutex_unlock(&lock); return -1; }
        if (power) note_entry(RENAME, whole, target);
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}
