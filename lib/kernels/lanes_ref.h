/* lanes_ref.h -- the order of reductions, as everything else must reproduce it. */
#ifndef WOQ_LANES_REF_H
#define WOQ_LANES_REF_H
#include <stddef.h>

#define LANES 16

/* Element i belongs to lane i % 16, so the tail falls into lanes 0..r-1. */
static inline float lanes_sum(float lane[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            lane[i] = lane[i] + lane[i + half];
    return lane[0];
}

/* The comparison decides for the second operand when they are equal or one is NaN: what minps and
 * maxps do, so that NaN elements (first operand) are passed over. */
static inline float pick_min(float x, float acc)
{
    return x < acc ? x : acc;
}
static inline float pick_max(float x, float acc)
{
    return x > acc ? x : acc;
}
static inline float lanes_min(float lane[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            lane[i] = pick_min(lane[i + half], lane[i]);
    return lane[0];
}
static inline float lanes_max(float lane[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            lane[i] = pick_max(lane[i + half], lane[i]);
    return lane[0];
}

#endif
