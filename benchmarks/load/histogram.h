/* Latencies in buckets whose width grows with their value: at most 1.6 % off, in 15 KiB. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { SUB_BITS = 6, SUB_BUCKETS = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS) * SUB_BUCKETS };

struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t total;
    uint64_t max;
};

static inline size_t bucket_of(uint64_t value)
{
    if (value < SUB_BUCKETS)
        return (size_t)value;
    int shift = 63 - __builtin_clzll(value) - SUB_BITS + 1;
    return (size_t)shift * (SUB_BUCKETS / 2) + (size_t)(value >> shift);
}

/* The middle of a bucket. */
static inline uint64_t value_of(size_t bucket)
{
    if (bucket < SUB_BUCKETS)
        return bucket;
    int shift = (int)(bucket / (SUB_BUCKETS / 2)) - 1;
    uint64_t low = (bucket % (SUB_BUCKETS / 2) + SUB_BUCKETS / 2) << shift;
    return low + ((uint64_t)1 << shift) / 2;
}

static inline void record(struct histogram *h, uint64_t value)
{
    h->counts[bucket_of(value)]++;
    h->total++;
    if (value > h->max)
        h->max = value;
}

/* The value that this part of all values does not exceed; 0 when there are none. */
static inline uint64_t percentile(const struct histogram *h, double part)
{
    uint64_t wanted = (uint64_t)((double)h->total * part);
    uint64_t seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > wanted) {
            uint64_t value = value_of(i);
            return value < h->max ? value : h->max;
        }
    }
    return h->max;
}

#endif
