/* zframe.c -- compressed frame bodies. The only file that knows zstd. */
#include "wire_internal.h"

#include <woq/packages.h>
#include <woq/threads.h>

#include <stdlib.h>
#include <zstd.h>

int woq_zframe_expand(void *dst, size_t raw_bytes, const void *src, size_t bytes,
                      struct woq_error *err)
{
    const size_t n = ZSTD_decompress(dst, raw_bytes, src, bytes);

    if (ZSTD_isError(n))
        return woq_fail(err, WOQ_EDATA, NULL, "compressed payload is corrupt: %s",
                        ZSTD_getErrorName(n));
    if (n != raw_bytes)
        return woq_fail(err, WOQ_EDATA, NULL, "compressed payload gives %zu bytes, want %zu", n,
                        raw_bytes);
    return WOQ_OK;
}

static int feed(ZSTD_CCtx *z, struct woq_str *out, const void *data, size_t bytes,
                ZSTD_EndDirective end, struct woq_error *err)
{
    char block[65536];
    ZSTD_inBuffer in = { data, bytes, 0 };
    size_t left;

    do {
        ZSTD_outBuffer o = { block, sizeof block, 0 };

        left = ZSTD_compressStream2(z, &o, &in, end);
        if (ZSTD_isError(left))
            return woq_fail(err, WOQ_ESYS, NULL, "zstd: %s", ZSTD_getErrorName(left));
        if (woq_str_add(out, block, o.pos))
            return woq_fail_nomem(err, out->len * 2);
    } while (in.pos < in.size || (end == ZSTD_e_end && left > 0));
    return WOQ_OK;
}

int woq_zframe_pack(struct woq_str *out, const struct woq_segment *segs, size_t n, int level,
                    struct woq_error *err)
{
    static const char zeros[WOQ_GRID];
    ZSTD_CCtx *z = ZSTD_createCCtx();
    int rc = WOQ_OK;

    if (!z)
        return woq_fail_nomem(err, 1 << 20);
    out->len = 0;
    ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, level);
    /* The result is the same for any number of workers from 1 on. */
    ZSTD_CCtx_setParameter(z, ZSTD_c_nbWorkers, woq_threads());
    for (size_t i = 0; i < n && rc == WOQ_OK; i++) {
        const size_t pad = (size_t)(woq_align(segs[i].bytes, WOQ_GRID) - segs[i].bytes);

        rc = feed(z, out, segs[i].data, segs[i].bytes, ZSTD_e_continue, err);
        if (rc == WOQ_OK && i + 1 < n)
            rc = feed(z, out, zeros, pad, ZSTD_e_continue, err);
    }
    if (rc == WOQ_OK)
        rc = feed(z, out, NULL, 0, ZSTD_e_end, err);
    ZSTD_freeCCtx(z);
    return rc;
}

const char *woq_version_zstd(void)
{
    return ZSTD_versionString();
}
