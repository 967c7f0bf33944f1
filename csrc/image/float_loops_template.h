/* The loops of float_loops.h, included once an instruction set, which defines TARGET and
 * NAME(x). Written for the compiler to vectorise. */

static TARGET void
NAME(map)(float *restrict x, size_t count, const tl_pixel_map *map, float rescale)
{
    const tl_pixel_map by = *map;
    for (size_t i = 0; i < count; i++) {
        const float divided = x[i] / by.divide;
        const float scaled = divided * by.scale;
        const float moved = scaled + by.offset;
        x[i] = moved * rescale;
    }
}

static TARGET void
NAME(shift)(float *restrict x, size_t count, float by, float lowest, float highest)
{
    for (size_t i = 0; i < count; i++) {
        const float moved = x[i] + by;
        const float raised = moved < lowest ? lowest : moved;
        x[i] = raised > highest ? highest : raised;
    }
}

static TARGET void
NAME(clamp)(float *restrict x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const float raised = x[i] > 0 ? x[i] : 0;
        x[i] = raised < 255 ? raised : 255;
    }
}

/* Short loops, for the compiler makes vectors of these. */
static TARGET void
NAME(brighten)(float *restrict x, size_t count, const tl_brightness *by)
{
    const bool beyond = by->lowest < 0 || by->highest > 255;
    const float lowest = by->lowest;
    const float span = by->highest - lowest;
    const float divide = span != 0 ? span : 1;
    const float factor = by->factor;
    for (size_t i = 0; (beyond || by->stretches) && i < count; i++) {
        x[i] = (x[i] - lowest) / divide * 255;
    }
    NAME(clamp)(x, count);
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(int)x[i] * factor;
    }
    NAME(clamp)(x, count);
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(int)x[i];
    }
    for (size_t i = 0; beyond && !by->stretches && i < count; i++) {
        x[i] = x[i] / 255 * span + lowest;
    }
}

static TARGET void
NAME(subtract)(float *restrict x, size_t count, float value)
{
    for (size_t i = 0; i < count; i++) {
        x[i] -= value;
    }
}

static TARGET void
NAME(divide)(float *restrict x, size_t count, float value)
{
    for (size_t i = 0; i < count; i++) {
        x[i] /= value;
    }
}

static TARGET void
NAME(by_channel)(float *restrict x, size_t count, size_t channels, const float *mean,
                 const float *divisor)
{
    float means[PERIOD];
    float divisors[PERIOD];
    /* as many values as begin with the first channel again */
    const size_t period = channels <= PERIOD ? PERIOD - PERIOD % channels : 0;
    for (size_t i = 0; i < period; i++) {
        means[i] = mean != NULL ? mean[i % channels] : 0;
        divisors[i] = divisor != NULL ? divisor[i % channels] : 1;
    }
    size_t i = 0;
    for (; period != 0 && i + period <= count; i += period) {
        for (size_t k = 0; k < period; k++) {
            x[i + k] = (x[i + k] - means[k]) / divisors[k];
        }
    }
    for (; i < count; i++) {
        x[i] -= mean != NULL ? mean[i % channels] : 0;
        x[i] /= divisor != NULL ? divisor[i % channels] : 1;
    }
}

/* Integers in the order of the floats; what undoes it is the same. */
static inline __attribute__((always_inline)) TARGET int32_t
NAME(in_order)(int32_t bits)
{
    return bits ^ (bits < 0 ? INT32_MAX : 0);
}

/* The compiler makes vectors of lowest and highest integers, not of floats. */
static TARGET void
NAME(extend_range)(float range[2], const float *x, size_t count)
{
    int32_t ends[2];
    memcpy(ends, range, sizeof ends);
    int32_t lowest = NAME(in_order)(ends[0]);
    int32_t highest = NAME(in_order)(ends[1]);
    for (size_t i = 0; i < count; i++) {
        int32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits = NAME(in_order)(bits);
        lowest = bits < lowest ? bits : lowest;
        highest = bits > highest ? bits : highest;
    }
    ends[0] = NAME(in_order)(lowest);
    ends[1] = NAME(in_order)(highest);
    memcpy(range, ends, sizeof ends);
}

static const tl_float_loops NAME(loops) = {
    NAME(map),    NAME(shift),      NAME(brighten),     NAME(subtract),
    NAME(divide), NAME(by_channel), NAME(extend_range),
};

#undef TARGET
#undef NAME
