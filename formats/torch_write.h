/* torch_write.h -- a state dict as torch.save writes it (formats.md 2): storages as they come, each
 * a tensor of its own, and behind them the pickle that tells of them, which torch.load finds by the
 * directory. */
#ifndef WOQ_TORCH_WRITE_H
#define WOQ_TORCH_WRITE_H
#include <formats/safetensors_write.h>

/* Begins the storage of tensor `number`, counted from 0; its bytes go to woq_zip_data. Refuses
 * types that PyTorch has no storage of. */
int woq_torch_begin(struct woq_zip_writer *z, const struct woq_st_entry *e, size_t number,
                    struct woq_error *err);
/* The pickle and the end of the archive. */
int woq_torch_finish(struct woq_zip_writer *z, const struct woq_st_entry *entries, size_t n,
                     struct woq_error *err);

#endif
