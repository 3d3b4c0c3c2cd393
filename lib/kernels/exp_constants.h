/* exp_constants.h -- exp(x) = 2^n * exp(r), n = rint(x / ln 2), |r| <= ln(2)/2.
 *
 * ln 2 is split so that n * LN2_HI is exact for every n in range (LN2_HI has 9 bits). The
 * polynomial is exp(r) = 1 + r + r^2 P(r), P the interpolant of degree 4 at the Chebyshev points,
 * rounded to float. Largest error over all floats of the range: 1.04 ulp. */
#ifndef WOQ_EXP_CONSTANTS_H
#define WOQ_EXP_CONSTANTS_H
#define EXP_MAX 88.72283f    /* the largest float whose exp is finite */
#define EXP_MIN (-87.33654f) /* the smallest float whose exp is normal */
#define EXP_LOG2E 1.44269504f
#define EXP_LN2_HI 0.693359375f
#define EXP_LN2_LO (-2.12194440e-4f)
#define EXP_P4 0.0013926184f
#define EXP_P3 0.00836317893f
#define EXP_P2 0.0416665561f
#define EXP_P1 0.166665763f
#define EXP_P0 0.5f
#endif
