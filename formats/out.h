/* out.h -- a checkpoint that appears under its name whole or not at all.
 *
 * Everything is written under a temporary name beside the final one (same file system, so that the
 * rename is atomic), synced, and renamed by commit. An existing name is replaced only with `force`,
 * and a folder only if it holds what a checkpoint holds: plain files, a config.json, chat templates
 * in the folder of their own (WOQ_CHAT_FOLDER), the only one there may be. */
#ifndef WOQ_FORMATS_OUT_H
#define WOQ_FORMATS_OUT_H
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <woq/error.h>

struct woq_out {
    char *path, *temp, *parent; /* temp: NULL before open and after commit or abort */
    bool is_folder, force;
    pthread_mutex_t lock;
};

/* `path` may not exist unless force. Creates the temporary folder, or nothing yet for a file. */
int woq_out_open(struct woq_out *o, const char *path, bool is_folder, bool force,
                 struct woq_error *err);
/* A new file: `name` inside the folder, or in WOQ_CHAT_FOLDER inside it; NULL for the file itself.
 * The caller closes *fd. */
int woq_out_create(struct woq_out *o, const char *name, int *fd, struct woq_error *err);
/* An existing file inside the folder, for corrections; and its removal. */
int woq_out_reopen(struct woq_out *o, const char *name, int *fd, struct woq_error *err);
void woq_out_remove(struct woq_out *o, const char *name);
/* Another name for a file inside the folder. */
int woq_out_rename(struct woq_out *o, const char *from, const char *to, struct woq_error *err);
/* Bytes that may still be written beside the final name; UINT64_MAX if the system does not tell. */
uint64_t woq_out_free_bytes(const struct woq_out *o);
/* Final name. Every file was synced and closed by its writer. */
int woq_out_commit(struct woq_out *o, struct woq_error *err);
/* Removes the temporary, if there is one. Accepts a zeroed struct. */
void woq_out_abort(struct woq_out *o);
/* The same from a thread that handles signals: afterwards every other call waits for ever, so that
 * nothing is created behind our back. The process has to end then. */
void woq_out_kill(struct woq_out *o);
void woq_out_release(struct woq_out *o); /* aborts too */

/* One file being written from front to back, with corrections at the end. */
struct woq_outfile {
    bool is_open;
    int fd;
    uint64_t at;     /* bytes appended; who writes elsewhere may move it */
    uint64_t pushed; /* handed to the disk early */
    char name[256];  /* for messages */
    /* What write_later has under way. */
    pthread_t thread;
    bool is_writing;
    const void *later;
    uint64_t later_bytes, later_at;
    struct woq_error late; /* its error, for the next call */
};
int woq_outfile_open(struct woq_outfile *f, struct woq_out *o, const char *name,
                     struct woq_error *err);
int woq_outfile_reopen(struct woq_outfile *f, struct woq_out *o, const char *name,
                       struct woq_error *err);
int woq_outfile_add(struct woq_outfile *f, const void *data, uint64_t bytes, struct woq_error *err);
/* As write_at, but returns while the bytes are being written: `data` must stay as it is until the
 * next call for this file, which waits for them and returns their error, too. */
int woq_outfile_write_later(struct woq_outfile *f, const void *data, uint64_t bytes,
                            uint64_t offset, struct woq_error *err);
int woq_outfile_zeros(struct woq_outfile *f, uint64_t bytes, struct woq_error *err);
int woq_outfile_write_at(struct woq_outfile *f, const void *data, uint64_t bytes, uint64_t offset,
                         struct woq_error *err);
int woq_outfile_read_at(struct woq_outfile *f, void *data, uint64_t bytes, uint64_t offset,
                        struct woq_error *err);
/* Moves everything from byte `from` on to byte `to`, before or behind, and sets the length. */
int woq_outfile_shift(struct woq_outfile *f, uint64_t from, uint64_t to, struct woq_error *err);
/* Syncs and closes. */
int woq_outfile_finish(struct woq_outfile *f, struct woq_error *err);
void woq_outfile_abort(struct woq_outfile *f); /* closes only */

#endif
