/* loop.c -- what `loop` has. */
#include "internal.h"

bool tpl_loop_attr(struct tpl_run *r, struct tpl_loop *l, struct tpl_val name, struct tpl_val *out)
{
    const int64_t at = (int64_t)l->at, n = (int64_t)l->items->n;
    const struct {
        const char *name;
        struct tpl_val v;
    } has[] = {
        { "index", tpl_int(at + 1) },
        { "index0", tpl_int(at) },
        { "revindex", tpl_int(n - at) },
        { "revindex0", tpl_int(n - at - 1) },
        { "first", tpl_bool(at == 0) },
        { "last", tpl_bool(at + 1 == n) },
        { "length", tpl_int(n) },
        { "depth", tpl_int(1) },
        { "depth0", tpl_int(0) },
        { "previtem", at ? l->items->v[at - 1] : tpl_undefined },
        { "nextitem", at + 1 < n ? l->items->v[at + 1] : tpl_undefined },
    };

    for (size_t i = 0; i < sizeof has / sizeof has[0]; i++)
        if (tpl_text_is(name, has[i].name)) {
            *out = has[i].v;
            if (out->type == TPL_UNDEFINED && !out->s)
                *out = tpl_missing(r, "there is no %s item", i == 9 ? "previous" : "next");
            return true;
        }
    return tpl_method_find(r, (struct tpl_val){ .type = TPL_LOOP, .loop = l }, name, out);
}
