/* out.c -- see the header. */
#define _GNU_SOURCE /* renameat2 (swap with what is replaced), sync_file_range, statvfs */
#include <formats/out.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <woq/chat.h>
#include <woq/util.h>

static const char hint_space[] = "make room, or choose another place with --out";

/* "DIR" and "NAME" of a path, trailing slashes ignored. */
static int split(struct woq_out *o, const char *path, char **base, struct woq_error *err)
{
    size_t n = strlen(path), at;

    while (n > 1 && path[n - 1] == '/')
        n--;
    for (at = n; at > 0 && path[at - 1] != '/'; at--)
        ;
    o->path = strndup(path, n);
    *base = strndup(path + at, n - at);
    o->parent = at == 0 ? strdup(".") : at == 1 ? strdup("/") : strndup(path, at - 1);
    if (!o->path || !*base || !o->parent)
        return woq_fail_nomem(err, n);
    if (!**base || !strcmp(*base, ".") || !strcmp(*base, ".."))
        return woq_fail(err, WOQ_EUSAGE, "name a folder or file that is to be made",
                        "--out '%s': there is no name at its end", path);
    return WOQ_OK;
}

/* Does the folder NAME of `d` hold chat templates, and nothing else? */
static bool is_chat_folder(DIR *d, const char *name)
{
    const int fd = strcmp(name, WOQ_CHAT_FOLDER) == 0
                       ? openat(dirfd(d), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                       : -1;
    DIR *in = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *e;
    bool ok = in != NULL;

    if (!in && fd >= 0)
        close(fd);
    while (ok && (e = readdir(in))) {
        const size_t n = strlen(e->d_name);

        ok = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
             (n > 6 && !strcmp(e->d_name + n - 6, ".jinja"));
    }
    if (in)
        closedir(in);
    return ok;
}

/* Only a folder that looks like a checkpoint is ever removed. */
static int check_replaceable(const struct woq_out *o, struct woq_error *err)
{
    DIR *d = opendir(o->path);
    const struct dirent *e;
    struct stat st;
    bool config = false;
    size_t n = 0;

    if (!d)
        return woq_fail_errno(err, NULL, "can't open '%s'", o->path);
    while ((e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        n++;
        config = config || !strcmp(e->d_name, "config.json");
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) &&
            !is_chat_folder(d, e->d_name)) {
            woq_fail(err, WOQ_EUSAGE, "remove it yourself, or choose another name",
                     "'%s' holds a folder '%s': --force replaces only model folders", o->path,
                     e->d_name);
            closedir(d);
            return WOQ_EUSAGE;
        }
    }
    closedir(d);
    if (n && !config)
        return woq_fail(err, WOQ_EUSAGE, "remove it yourself, or choose another name",
                        "'%s' has no config.json: --force replaces only model folders", o->path);
    return WOQ_OK;
}

static int check_target(const struct woq_out *o, struct woq_error *err)
{
    struct stat st;

    if (stat(o->parent, &st) < 0 || !S_ISDIR(st.st_mode))
        return woq_fail(err, WOQ_ESYS, "make it first: mkdir -p", "there is no folder '%s'",
                        o->parent);
    if (lstat(o->path, &st) < 0)
        return errno == ENOENT ? WOQ_OK : woq_fail_errno(err, NULL, "can't look at '%s'", o->path);
    if (!o->force)
        return woq_fail(err, WOQ_EUSAGE, "choose another name, or add --force to replace it",
                        "'%s' exists", o->path);
    if (S_ISDIR(st.st_mode) != o->is_folder || !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
        return woq_fail(err, WOQ_EUSAGE, "choose another name", "'%s' exists and is %s, want %s",
                        o->path,
                        S_ISDIR(st.st_mode)   ? "a folder"
                        : S_ISLNK(st.st_mode) ? "a symbolic link"
                        : S_ISREG(st.st_mode) ? "a file"
                                              : "a device",
                        o->is_folder ? "a folder" : "a file");
    return o->is_folder ? check_replaceable(o, err) : WOQ_OK;
}

/* Under the lock, so that woq_out_kill sees either nothing or a name to remove. */
static int make_temp(struct woq_out *o, const char *base, mode_t mask, struct woq_error *err)
{
    const size_t n = strlen(o->parent) + strlen(base) + 32;
    char *temp = malloc(n);
    bool ok;
    int fd = -1, why;

    if (!temp)
        return woq_fail_nomem(err, n);
    snprintf(temp, n, "%s/.%s.tmp-XXXXXX", o->parent, base);
    pthread_mutex_lock(&o->lock);
    if (o->is_folder)
        ok = mkdtemp(temp) && chmod(temp, 0777 & ~mask) == 0;
    else
        ok = (fd = mkstemp(temp)) >= 0 && fchmod(fd, 0666 & ~mask) == 0;
    why = errno;
    o->temp = ok ? temp : NULL;
    pthread_mutex_unlock(&o->lock);
    if (fd >= 0)
        close(fd);
    if (ok)
        return WOQ_OK;
    free(temp);
    errno = why;
    return woq_fail_errno(err, NULL, "can't make a %s in '%s'", o->is_folder ? "folder" : "file",
                          o->parent);
}

int woq_out_open(struct woq_out *o, const char *path, bool is_folder, bool force,
                 struct woq_error *err)
{
    const mode_t mask = umask(0);
    char *base = NULL;
    int rc;

    umask(mask);
    memset(o, 0, sizeof *o);
    pthread_mutex_init(&o->lock, NULL);
    o->is_folder = is_folder;
    o->force = force;
    rc = split(o, path, &base, err);
    if (rc == WOQ_OK)
        rc = check_target(o, err);
    if (rc == WOQ_OK)
        rc = make_temp(o, base, mask, err);
    free(base);
    return rc;
}

/* Path of `name` in the temporary folder, or the temporary file; malloc'ed. */
static char *path_of(const struct woq_out *o, const char *name)
{
    const size_t n = strlen(o->temp) + (name ? strlen(name) : 0) + 2;
    char *p = malloc(n);

    if (p)
        snprintf(p, n, name ? "%s/%s" : "%s%s", o->temp, name ? name : "");
    return p;
}

static int open_in(struct woq_out *o, const char *name, int flags, int *fd, struct woq_error *err)
{
    const char *in = name && (flags & O_CREAT) ? strchr(name, '/') : NULL;
    char *path;

    pthread_mutex_lock(&o->lock);
    path = path_of(o, name);
    if (path && in) { /* a failure shows when the file is opened */
        path[strlen(path) - strlen(in)] = '\0';
        (void)mkdir(path, 0777);
        path[strlen(path)] = '/';
    }
    *fd = path ? open(path, O_RDWR | O_CLOEXEC | flags, 0666) : -1;
    pthread_mutex_unlock(&o->lock);
    if (!path)
        return woq_fail_nomem(err, 256);
    free(path);
    if (*fd < 0)
        return woq_fail_errno(err, hint_space, "can't open '%s' for writing",
                              name ? name : o->path);
    return WOQ_OK;
}

int woq_out_create(struct woq_out *o, const char *name, int *fd, struct woq_error *err)
{
    return open_in(o, name, name ? O_CREAT | O_EXCL : O_TRUNC, fd, err);
}

int woq_out_reopen(struct woq_out *o, const char *name, int *fd, struct woq_error *err)
{
    return open_in(o, name, 0, fd, err);
}

void woq_out_remove(struct woq_out *o, const char *name)
{
    char *path;

    pthread_mutex_lock(&o->lock);
    path = path_of(o, name);
    if (path)
        unlink(path);
    free(path);
    pthread_mutex_unlock(&o->lock);
}

int woq_out_rename(struct woq_out *o, const char *from, const char *to, struct woq_error *err)
{
    char *a, *b;
    int rc = WOQ_OK;

    pthread_mutex_lock(&o->lock);
    a = path_of(o, from);
    b = path_of(o, to);
    if (!a || !b)
        rc = woq_fail_nomem(err, 256);
    else if (rename(a, b) < 0)
        rc = woq_fail_errno(err, NULL, "can't rename '%s' to '%s'", from, to);
    free(a);
    free(b);
    pthread_mutex_unlock(&o->lock);
    return rc;
}

uint64_t woq_out_free_bytes(const struct woq_out *o)
{
    struct statvfs s;

    if (statvfs(o->parent, &s) < 0 || s.f_blocks == 0)
        return UINT64_MAX;
    return (uint64_t)s.f_bavail * s.f_frsize;
}

/* Not through a symbolic link. */
static void remove_files(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *e;

    if (!d && fd >= 0)
        close(fd);
    while (d && (e = readdir(d)))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    rmdir(path);
}

/* PATH/additional_chat_templates, malloc'ed. */
static char *chat_folder(const char *path)
{
    const size_t n = strlen(path) + sizeof "/" WOQ_CHAT_FOLDER;
    char *inner = malloc(n);

    if (inner)
        snprintf(inner, n, "%s/" WOQ_CHAT_FOLDER, path);
    return inner;
}

static void remove_tree(const char *path, bool is_folder)
{
    char *inner = is_folder ? chat_folder(path) : NULL;

    if (inner)
        remove_files(inner);
    free(inner);
    if (is_folder)
        remove_files(path);
    else
        unlink(path);
}

static int sync_folder(const char *path, struct woq_error *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = WOQ_OK;

    /* Some file systems cannot sync a folder and say EINVAL. */
    if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
        rc = woq_fail_errno(err, NULL, "can't sync folder '%s'", path);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Swaps where the system can, so that at every moment one of the two models has the name. */
static int replace(struct woq_out *o, struct woq_error *err)
{
    char *old;
    size_t n;

    if (rename(o->temp, o->path) == 0) /* a file, or an empty folder */
        return WOQ_OK;
    if (!o->is_folder)
        return woq_fail_errno(err, NULL, "can't rename to '%s'", o->path);
    if (renameat2(AT_FDCWD, o->temp, AT_FDCWD, o->path, RENAME_EXCHANGE) == 0) {
        remove_tree(o->temp, true);
        return WOQ_OK;
    }
    n = strlen(o->temp) + 5;
    old = malloc(n);
    if (!old)
        return woq_fail_nomem(err, n);
    snprintf(old, n, "%s.old", o->temp);
    if (rename(o->path, old) < 0 || rename(o->temp, o->path) < 0) {
        const int rc = woq_fail_errno(err, NULL, "can't replace '%s'", o->path);
        free(old);
        return rc;
    }
    remove_tree(old, true);
    free(old);
    return WOQ_OK;
}

/* Without force the name must still be free now; RENAME_NOREPLACE says so atomically. */
static int claim(struct woq_out *o, struct woq_error *err)
{
    if (renameat2(AT_FDCWD, o->temp, AT_FDCWD, o->path, RENAME_NOREPLACE) == 0)
        return WOQ_OK;
    if (errno == EINVAL || errno == ENOSYS) {
        struct stat st;
        if (lstat(o->path, &st) < 0 && rename(o->temp, o->path) == 0)
            return WOQ_OK;
    }
    return woq_fail_errno(err, "choose another name", "can't rename the result to '%s'", o->path);
}

int woq_out_commit(struct woq_out *o, struct woq_error *err)
{
    char *inner = o->is_folder ? chat_folder(o->temp) : NULL;
    int rc = o->is_folder ? sync_folder(o->temp, err) : WOQ_OK;

    if (rc == WOQ_OK && inner && access(inner, F_OK) == 0)
        rc = sync_folder(inner, err);
    free(inner);
    pthread_mutex_lock(&o->lock);
    if (rc == WOQ_OK)
        rc = o->force ? replace(o, err) : claim(o, err);
    if (rc == WOQ_OK) {
        free(o->temp);
        o->temp = NULL;
    }
    pthread_mutex_unlock(&o->lock);
    return rc == WOQ_OK ? sync_folder(o->parent, err) : rc;
}

void woq_out_kill(struct woq_out *o)
{
    pthread_mutex_lock(&o->lock);
    if (o->temp)
        remove_tree(o->temp, o->is_folder);
}

void woq_out_abort(struct woq_out *o)
{
    if (!o->temp)
        return;
    pthread_mutex_lock(&o->lock);
    remove_tree(o->temp, o->is_folder);
    free(o->temp);
    o->temp = NULL;
    pthread_mutex_unlock(&o->lock);
}

void woq_out_release(struct woq_out *o)
{
    woq_out_abort(o);
    free(o->path);
    free(o->parent);
    o->path = o->parent = NULL;
}
