/* model.h -- the MODL frame: config.json, tokenizer and side files of a checkpoint as arrays (u8)
 * named by their file name. woq-pack copies along what it finds here. */
#ifndef WOQ_MODEL_H
#define WOQ_MODEL_H
#include <woq/arch.h>
#include <woq/chat.h>
#include <woq/frame.h>
#include <woq/tokenizer.h>

/* Begins a MODL frame. Files are added with woq_frame_add(f, "config.json", WOQ_U8, 1, &bytes,
 * data). */
void woq_modl_begin(struct woq_frame *f);
/* A side file of a MODL frame by name, or NULL. */
const struct woq_array *woq_modl_file(const struct woq_frame *modl, const char *name);
/* config.json parsed; the caller frees. */
int woq_modl_config(const struct woq_frame *modl, struct woq_json **config, struct woq_error *err);
/* The tokenizer of a MODL frame; a clear error if the checkpoint came without one. */
int woq_modl_tokenizer(const struct woq_frame *modl, struct woq_tokenizer **t,
                       struct woq_error *err);
/* The tokenizer and the chat template (chat.h); both or none. */
int woq_modl_chat(const struct woq_frame *modl, struct woq_tokenizer **t, struct woq_chat **c,
                  const struct woq_chat_options *o, struct woq_error *err);
/* All chat templates (woq_chat_list); the caller frees. */
int woq_modl_chat_list(const struct woq_frame *modl, struct woq_json **list, struct woq_error *err);

/* Sets meta of a weight frame: "name", "role", "block" (if any), "group" (if any). */
int woq_tensor_meta(struct woq_frame *f, const struct woq_arch *a, const char *name,
                    struct woq_error *err);

#endif
