/* packages.h -- which packages were compiled in, and their versions at run time (woq-info). Each
 * function lives in the file that owns the package. */
#ifndef WOQ_PACKAGES_H
#define WOQ_PACKAGES_H

const char *woq_version_zstd(void);
const char *woq_version_xxhash(void);
const char *woq_version_cjson(void);
const char *woq_version_pcre2(void);
const char *woq_version_utf8proc(void);
/* OpenBLAS: woq_blas_config() of linalg.h. */

#endif
