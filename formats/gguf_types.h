/* gguf_types.h -- which type a tensor gets in a GGUF file: the mixes of llama-quantize by name,
 * rules of the user, and what takes the place of a type whose blocks do not divide the columns. */
#ifndef WOQ_GGUF_TYPES_H
#define WOQ_GGUF_TYPES_H
#include <formats/ggml_types.h>
#include <woq/arch.h>
#include <woq/opt.h>

/* For tables of options: what --type and the types of single tensors may be. */
#define WOQ_GGUF_TYPES                                                                             \
    "f32|f16|bf16|q8_0|q6_k|q5_k|q4_k|q3_k|q2_k|q5_1|q5_0|q4_1|q4_0|iq4_nl|iq4_xs|mxfp4|tq1_0|"    \
    "tq2_0"
#define WOQ_GGUF_MIXES                                                                             \
    WOQ_GGUF_TYPES "|q5_k_m|q5_k_s|q4_k_m|q4_k_s|q3_k_l|q3_k_m|q3_k_s|q2_k_s|mxfp4_moe"

struct woq_gguf_mix;
struct woq_gguf_types {                       /* zeroed = empty */
    const struct woq_gguf_mix *mix;           /* NULL: "auto" */
    const struct woq_ggml_type *embed, *head; /* NULL: as the mix says */
    bool pure;
    struct woq_gguf_rule {
        char *glob;
        const struct woq_ggml_type *type;
    } * rules;
    size_t n_rules;
};

/* type: "auto", or one of WOQ_GGUF_MIXES; embed, head: NULL, "auto" or one of WOQ_GGUF_TYPES, a
 * head follows embed where that is given; rules: "GLOB=TYPE", the first that matches counts. */
int woq_gguf_types_init(struct woq_gguf_types *t, const char *type, const char *embed,
                        const char *head, const struct woq_list *rules, bool pure,
                        struct woq_error *err);
void woq_gguf_types_release(struct woq_gguf_types *t);

struct woq_gguf_matrix {
    const char *name, *gguf_name; /* a rule's GLOB matches either */
    enum woq_role role;
    long block;
    size_t n_cols;
    bool has_importance;
    const struct woq_ggml_type *raw; /* the type it has its bytes in, or NULL */
};
/* Type of a float matrix; *fell_back: it is not the one that was asked for, since n_cols is no
 * multiple of that one's block. */
const struct woq_ggml_type *woq_gguf_type_of(const struct woq_gguf_types *t,
                                             const struct woq_config *c,
                                             const struct woq_gguf_matrix *m, bool *fell_back);

/* general.file_type: of the mix; else of what most weights are. */
uint32_t woq_gguf_file_type(const struct woq_gguf_types *t, const struct woq_ggml_type *most);

#endif
