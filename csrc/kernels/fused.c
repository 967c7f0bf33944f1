/* Packing and running fused blocks. What is computed does not depend on how the work is cut:
 * every output is one chain of multiply-adds, over taps and then channels in order, and a sum
 * that rests in memory between two chunks is the float that it was. */
#include "kernels/fused.h"

#include <string.h>

#include "core/arena.h"
#include "kernels/choices.h"
#include "kernels/fused_plan.h"

/* Pixels of a project that go to one thread at a time: the largest tile's. */
enum { GROUP = 14, NEXT_BLOCK = 16 * 1024, LINE = 16, FAR = 4 };

static tl_preference preference = TL_PREFER_TABLE;

bool
tl_fused_prefer(const char *name)
{
    static const char *const names[] = {
        [TL_PREFER_TABLE] = "table",
        [TL_PREFER_FUSED] = "fused",
        [TL_PREFER_SEPARATE] = "separate",
        [TL_PREFER_ONEDNN] = "onednn",
    };
    for (tl_preference p = TL_PREFER_TABLE; p <= TL_PREFER_ONEDNN; p++) {
        if (strcmp(name, names[p]) == 0) {
            preference = p;
            return true;
        }
    }
    return false;
}

static size_t
takes(const tl_block *chain)
{
    const tl_block first = {chain->steps, 1};
    const tl_block block = {chain->steps, tl_fused_match(chain)};
    if (block.count == 0 || preference == TL_PREFER_ONEDNN) {
        return 0;
    }
    if (preference == TL_PREFER_FUSED) {
        return block.count;
    }
    if (preference == TL_PREFER_SEPARATE) {
        return tl_fused_match(&first);
    }
    switch (tl_choose(tl_fused_micro()->isa, &block)) {
    case TL_CHOICE_ONEDNN:
        return 0;
    case TL_CHOICE_SEPARATE:
        return tl_fused_match(&first);
    default:
        return block.count;
    }
}

/* --- kernels ---------------------------------------------------------------------------- */

static bool
in_one_tile(const tl_fused *p)
{
    return p->by_chunks;
}

static size_t
pixel_groups(const tl_fused *p)
{
    return (p->out_height * p->out_width + GROUP - 1) / GROUP;
}

/* Rows where they are independent; panels, and then groups of pixels, where all rows are done
 * chunk by chunk: cut by rows, threads would compute the rows at the cut twice. */
static void
share_out(tl_kernel *kernel, const tl_fused *p)
{
    kernel->phases = 1;
    kernel->units[0] = p->pools ? p->out.count : p->out_height;
    if (in_one_tile(p)) {
        kernel->phases = 2;
        kernel->units[0] = p->middle.count;
        kernel->units[1] = p->out.count * pixel_groups(p);
        kernel->shared_bytes = p->out_height * p->out_width * p->middle.padded * sizeof(float);
    }
}

/* Rows of the middle that outputs before `row` need. */
static size_t
needed_rows(const tl_fused *p, size_t row)
{
    const size_t end = row == 0 ? 0 : (row - 1) * p->depthwise->strides[0] + 3;
    const size_t inside = end < p->mid.top ? 0 : end - p->mid.top;
    return inside < p->mid.height ? inside : p->mid.height;
}

/* Whether every row of the source is copied in. */
static bool
reads_all(const tl_fused *p)
{
    const tl_step *step = p->produce;
    const size_t rows = p->depthwise != NULL ? needed_rows(p, p->out_height) : p->out_height;
    const size_t end = rows == 0 ? 0 : (rows - 1) * step->strides[0] + step->kernel[0];
    return end >= p->in.top + p->in.height && step->strides[0] <= step->kernel[0];
}

static tl_status
prepare(tl_kernel *kernel, const tl_block *block)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_fused *plan = tl_alloc(1, sizeof *plan);
    tl_kernel made = {0};
    if (plan == NULL) {
        goto done;
    }
    TL_TRY(tl_fused_plan(plan, block, tl_fused_micro()));
    made.packed_bytes = plan->packed_floats * sizeof(float);
    made.scratch_bytes = plan->scratch_floats * sizeof(float);
    made.takes_pixels = plan->edged;
    made.checks_finite = plan->edged && reads_all(plan);
    share_out(&made, plan);
    made.state = plan; /* handed over */
    plan = NULL;
    *kernel = made;
done:
    tl_free(plan);
    return status;
}

static void
release(tl_kernel *kernel)
{
    tl_free(kernel->state);
    kernel->state = NULL;
}

/* Two rows at a time, their channels side by side; zeros where the second is missing. */
static void
pack_pairs(float *to, const float *from, size_t rows, size_t channels, size_t stride)
{
    for (size_t r = 0; r < rows; r += 2) {
        for (size_t c = 0; c < channels; c++) {
            *to++ = from[r * stride + c];
            *to++ = r + 1 < rows ? from[(r + 1) * stride + c] : 0;
        }
    }
}

/* (rows, channels) -> panels of (rows, vectors * width), zeros behind the last channel. Where
 * all panels are `even`, the last one is as wide as the others. */
static void
pack_panels(float *to, const float *from, size_t rows, const tl_panels *panels, size_t width,
            bool even)
{
    for (size_t panel = 0; panel < panels->count; panel++) {
        const size_t whole = panels->vectors * width;
        const size_t first = panel * whole;
        const size_t wide = even ? whole : tl_panel_channels(panels, panel, width);
        const size_t left = panels->channels - first;
        const size_t exist = left < wide ? left : wide;
        if (tl_panel_is_paired(panels, panel)) {
            pack_pairs(to, from + first, rows, exist, panels->channels);
            return;
        }
        for (size_t r = 0; r < rows; r++) {
            memcpy(to, from + r * panels->channels + first, exist * sizeof *to);
            memset(to + exist, 0, (wide - exist) * sizeof *to);
            to += wide;
        }
    }
}

static tl_status
pack(const tl_kernel *kernel, const tl_block *block, void *packed, const float *const *weights,
     const float *const *biases)
{
    const tl_fused *p = kernel->state;
    const size_t width = p->micro->width;
    float *numbers = packed;
    for (size_t i = 0; i < block->count; i++) {
        const tl_step *step = &block->steps[i];
        if (step == p->produce) {
            pack_panels(numbers + p->produce_at, weights[i],
                        step->kernel[0] * step->kernel[1] * p->in_channels, &p->middle, width,
                        false);
            pack_panels(numbers + p->produce_bias_at, biases[i], 1, &p->middle, width, false);
        } else if (step == p->depthwise) {
            pack_panels(numbers + p->depthwise_at, weights[i], 9, &p->middle, width, true);
            pack_panels(numbers + p->depthwise_bias_at, biases[i], 1, &p->middle, width, true);
        } else if (step == p->project) {
            pack_panels(numbers + p->project_at, weights[i], p->depth, &p->out, width, false);
            pack_panels(numbers + p->project_bias_at, biases[i], 1, &p->out, width, false);
        }
    }
    return TL_OK;
}

typedef struct binding {
    const float *packed;
    float *scratch;
} binding;

static tl_status
bind(void **out, const tl_kernel *kernel, void *packed, void *scratch)
{
    binding *b = tl_alloc(1, sizeof *b);
    (void)kernel;
    if (b == NULL) {
        return TL_OUT_OF_MEMORY;
    }
    *b = (binding){packed, scratch};
    *out = b;
    return TL_OK;
}

static void
unbind(void *bound)
{
    tl_free(bound);
}

/* --- one run ---------------------------------------------------------------------------- */

/* Where a ring's rows lie: row i in slot i % slots, without a division for each. */
typedef struct turn {
    size_t row, slot; /* the first row of those that are in use, and its slot */
} turn;

static turn
turn_to(size_t row, size_t slots)
{
    return (turn){row, row % slots};
}

/* `row` is one of the `slots` from the turn's first on. */
static size_t
slot_of(turn t, size_t row, size_t slots)
{
    const size_t slot = t.slot + (row - t.row);
    return slot < slots ? slot : slot - slots;
}

typedef struct run {
    const tl_fused *p;
    const float *packed;
    float *scratch;
    const tl_work *work;
    size_t chunk;   /* first panel of the middle that lies in the ring */
    size_t in_have; /* rows of the source before this one need not be copied in again */
    turn in, ring;
    bool finite; /* what has been copied in */
} run;

static size_t
panel_floats(const tl_fused *p)
{
    return p->micro->widest_panel * p->micro->width;
}

/* --- weights ---------------------------------------------------------------------------- */

/* Weights that the thread reads next, brought near while it computes: a network's do not fit
 * into a core's cache, and each image reads all of them. */
typedef struct soon {
    const float *at;
    size_t bytes;
} soon;

static soon
produce_weights(const run *r, size_t panel)
{
    const tl_fused *p = r->p;
    const size_t depth = p->produce->kernel[0] * p->produce->kernel[1] * p->in_channels;
    const size_t wide = tl_panel_channels(&p->middle, panel, p->micro->width);
    return (soon){r->packed + p->produce_at + panel * panel_floats(p) * depth,
                  depth * wide * sizeof(float)};
}

/* Of a panel of outputs: channels [k, k + depth) of the middle. */
static soon
project_weights(const run *r, size_t panel, size_t k, size_t depth)
{
    const tl_fused *p = r->p;
    const size_t column = panel * p->out.vectors * p->micro->width;
    const size_t wide = tl_panel_channels(&p->out, panel, p->micro->width);
    return (soon){r->packed + p->project_at + column * p->depth + k * wide,
                  depth * wide * sizeof(float)};
}

/* What lies behind this block's: another block's. */
static soon
next_weights(const run *r)
{
    return (soon){r->packed + r->p->packed_floats, NEXT_BLOCK};
}

/* --- source ----------------------------------------------------------------------------- */

/* A row of the source with its edges, as floats. `row` counts from the edge above on. */
static float *
in_row(const run *r, size_t row)
{
    const tl_fused *p = r->p;
    const bool outside = row < p->in.top || row >= p->in.top + p->in.height;
    const size_t slot = outside ? p->in_slots : slot_of(r->in, row, p->in_slots);
    return r->scratch + p->in_rows_at + slot * p->in.width * p->in_channels;
}

static void
copy_in(run *r, size_t row)
{
    const tl_fused *p = r->p;
    const size_t floats = p->in.inner * p->in_channels;
    const size_t before = p->in.left * p->in_channels;
    const size_t all = p->in.width * p->in_channels;
    const size_t at = (row - p->in.top) * floats;
    float *to = in_row(r, row);
    memset(to, 0, before * sizeof *to);
    memset(to + before + floats, 0, (all - before - floats) * sizeof *to);
    if (r->work->pixels == NULL) {
        const float *from = r->work->src + at;
        for (size_t i = 0; i < floats; i += LINE) { /* of rows to come: they may be far away */
            __builtin_prefetch(from + FAR * floats + i);
        }
        r->finite = p->micro->copy(to + before, from, floats) && r->finite;
    } else {
        const uint8_t *bytes = r->work->pixels + at;
        for (size_t i = 0; i < floats; i++) {
            to[before + i] = r->work->values[bytes[i]];
        }
    }
}

/* What rows [from, to) of the middle need of the source and do not have yet. */
static void
copy_rows_in(run *r, size_t from, size_t to)
{
    const tl_fused *p = r->p;
    const size_t bottom = p->in.top + p->in.height;
    const size_t first = from * p->produce->strides[0];
    const size_t end = (to - 1) * p->produce->strides[0] + p->produce->kernel[0];
    size_t row = first > r->in_have ? first : r->in_have; /* a stride may pass rows by */
    row = row > p->in.top ? row : p->in.top;
    r->in = turn_to(first, p->in_slots);
    for (; row < end && row < bottom; row++) {
        copy_in(r, row);
    }
    r->in_have = row;
}

/* Where the producer's job for a row of the middle finds its source. */
static void
find_source(const run *r, tl_panel_job *job, size_t row)
{
    const tl_fused *p = r->p;
    const tl_step *step = p->produce;
    if (!p->edged) {
        job->src[0] = r->work->src + row * p->in_width * p->in_channels;
        return;
    }
    for (size_t s = 0; s < step->kernel[0]; s++) {
        job->src[s] = in_row(r, row * step->strides[0] + s);
    }
}

static tl_panel_job
producing(const run *r)
{
    const tl_fused *p = r->p;
    return (tl_panel_job){
        .segments = p->produce->kernel[0],
        .src_stride = p->in_channels * p->produce->strides[1],
        .depth = p->produce->kernel[1] * p->in_channels,
        .function = p->produce->function,
    };
}

/* One panel of the producer: `job` has source and destination. */
static void
produce_panel(const run *r, tl_panel_job *job, size_t panel)
{
    const tl_fused *p = r->p;
    job->vectors = tl_panel_vectors(&p->middle, panel, p->micro->width);
    job->weights = produce_weights(r, panel).at;
    job->bias = r->packed + p->produce_bias_at + panel * panel_floats(p);
    p->micro->multiply(job);
}

/* --- the ring --------------------------------------------------------------------------- */

/* A row of the middle, of a panel: (mid.width, panel). */
static float *
ring_row(const run *r, size_t panel, size_t row)
{
    const tl_fused *p = r->p;
    const size_t slot = (panel - r->chunk) * p->slots + slot_of(r->ring, row, p->slots);
    return r->scratch + p->ring_at + slot * p->mid.width * panel_floats(p);
}

/* The row above and below the source. */
static void
clear_row_of_zeros(const run *r)
{
    const tl_fused *p = r->p;
    if (p->edged) {
        const size_t all = p->in.width * p->in_channels;
        memset(r->scratch + p->in_rows_at + p->in_slots * all, 0, all * sizeof(float));
    }
}

/* What lies beside the rows, and the row above and below the picture. */
static void
clear_edges(const run *r)
{
    const tl_fused *p = r->p;
    const size_t wide = panel_floats(p);
    const size_t before = p->mid.left * wide;
    const size_t behind = before + p->mid.inner * wide;
    const size_t row = p->mid.width * wide;
    for (size_t i = 0; i < p->ring_panels * p->slots; i++) {
        float *at = r->scratch + p->ring_at + i * row;
        memset(at, 0, before * sizeof *at);
        memset(at + behind, 0, (row - behind) * sizeof *at);
    }
    memset(r->scratch + p->zeros_at, 0, row * sizeof(float));
    clear_row_of_zeros(r);
}

/* Where there is no producer: a slice of the source's channels. */
static void
copy_panel(const run *r, float *to, size_t panel, size_t row)
{
    const tl_fused *p = r->p;
    const size_t wide = panel_floats(p);
    const size_t left = p->in_channels - panel * wide;
    const size_t exist = left < wide ? left : wide;
    const float *from = r->work->src + row * p->in_width * p->in_channels + panel * wide;
    for (size_t i = 0; i < p->mid.inner; i++) {
        memcpy(to + i * wide, from + i * p->in_channels, exist * sizeof *to);
        memset(to + i * wide + exist, 0, (wide - exist) * sizeof *to);
    }
}

/* Rows [from, to) of the middle, one panel. */
static void
fill_ring(const run *r, size_t panel, size_t from, size_t to, soon next)
{
    const tl_fused *p = r->p;
    const size_t wide = panel_floats(p);
    const size_t part = next.bytes == 0 ? 0 : next.bytes / (to - from) / sizeof(float);
    for (size_t row = from; row < to; row++) {
        float *dst = ring_row(r, panel, row) + p->mid.left * wide;
        if (p->produce == NULL) {
            copy_panel(r, dst, panel, row);
            continue;
        }
        tl_panel_job job = producing(r);
        find_source(r, &job, row);
        job.next = next.at + (row - from) * part;
        job.next_bytes = part * sizeof(float);
        job.dst = dst;
        job.dst_stride = wide;
        job.pixels = p->mid.inner;
        job.channels = tl_panel_channels(&p->middle, panel, p->micro->width);
        produce_panel(r, &job, panel);
    }
}

/* One row of outputs of the depthwise convolution, one panel. */
static void
depthwise_row(const run *r, float *dst, size_t dst_stride, size_t channels, size_t panel,
              size_t row)
{
    const tl_fused *p = r->p;
    const size_t first = panel * panel_floats(p);
    const size_t stride = p->depthwise->strides[0];
    tl_depthwise_job job = {
        .dst = dst,
        .dst_stride = dst_stride,
        .stride = stride,
        .weights = r->packed + p->depthwise_at + 9 * first,
        .bias = r->packed + p->depthwise_bias_at + first,
        .vectors = tl_panel_vectors(&p->middle, panel, p->micro->width),
        .channels = channels,
        .pixels = p->out_width,
        .function = p->depthwise->function,
    };
    for (size_t i = 0; i < 3; i++) {
        const size_t at = row * stride + i;
        const bool outside = at < p->mid.top || at >= p->mid.top + p->mid.height;
        job.src[i] = outside ? r->scratch + p->zeros_at : ring_row(r, panel, at - p->mid.top);
    }
    p->micro->depthwise(&job);
}

/* The first row of the middle that the output row reads. */
static size_t
first_row(const tl_fused *p, size_t row)
{
    const size_t at = row * p->depthwise->strides[0];
    return at < p->mid.top ? 0 : at - p->mid.top;
}

/* --- project ---------------------------------------------------------------------------- */

/* dst's pixels [first, first + pixels), panels [begin, end) <- channels [k, k + depth) of the
 * middle, which lie at src. */
static void
project(const run *r, const float *src, size_t src_stride, size_t k, size_t depth, size_t first,
        size_t pixels, size_t begin, size_t end, soon then)
{
    const tl_fused *p = r->p;
    const size_t wide = p->out.vectors * p->micro->width;
    const bool ends = k + depth == p->depth;
    for (size_t panel = begin; panel < end; panel++) {
        const size_t column = panel * wide;
        const size_t at = first * p->out_channels + column;
        const size_t left = p->out_channels - column;
        const size_t full = tl_panel_channels(&p->out, panel, p->micro->width);
        const soon next = panel + 1 < end ? project_weights(r, panel + 1, k, depth) : then;
        const tl_panel_job job = {
            .dst = r->work->dst + at,
            .dst_stride = p->out_channels,
            .src = {src},
            .segments = 1,
            .src_stride = src_stride,
            .depth = depth,
            .weights = project_weights(r, panel, k, depth).at,
            .vectors = tl_panel_vectors(&p->out, panel, p->micro->width),
            .channels = left < full ? left : full,
            .pixels = pixels,
            .bias = k == 0 ? r->packed + p->project_bias_at + column : NULL,
            .residual = ends && p->project->has_residual ? r->work->residual + at : NULL,
            .function = ends ? p->project->function : TL_LINEAR,
            .next = next.at,
            .next_bytes = next.bytes,
        };
        if (tl_panel_is_paired(&p->out, panel)) {
            p->micro->multiply_pairs(&job);
        } else {
            p->micro->multiply(&job);
        }
    }
}

/* --- blocks ----------------------------------------------------------------------------- */

/* Output rows [row, stop), whose new rows of the middle are [from, need): panel after panel, so
 * that the depthwise convolution finds what was just produced near. */
static void
run_tile(const run *r, size_t row, size_t stop, size_t from, size_t need)
{
    const tl_fused *p = r->p;
    float *tile = r->scratch + p->tile_at;
    for (size_t panel = 0; panel < p->middle.count; panel++) {
        const size_t column = panel * panel_floats(p);
        fill_ring(r, panel, from, need, (soon){0});
        for (size_t y = row; y < stop; y++) {
            if (p->project != NULL) {
                float *dst = tile + (y - row) * p->out_width * p->tile_stride + column;
                depthwise_row(r, dst, p->tile_stride, p->middle.padded - column, panel, y);
            } else {
                float *dst = r->work->dst + y * p->out_width * p->out_channels + column;
                depthwise_row(r, dst, p->out_channels, p->out_channels - column, panel, y);
            }
        }
    }
    if (p->project != NULL) {
        project(r, tile, p->tile_stride, 0, p->depth, row * p->out_width,
                (stop - row) * p->out_width, 0, p->out.count, (soon){0});
    }
}

/* Rows [begin, end) of outputs, tile by tile, all channels of the middle at once. */
static void
run_rows(run *r, size_t begin, size_t end)
{
    const tl_fused *p = r->p;
    size_t have = first_row(p, begin);
    clear_edges(r);
    for (size_t row = begin; row < end; row += p->tile_rows) {
        const size_t stop = row + p->tile_rows < end ? row + p->tile_rows : end;
        const size_t need = needed_rows(p, stop);
        const size_t from = have > first_row(p, row) ? have : first_row(p, row);
        r->ring = turn_to(first_row(p, row), p->slots);
        if (p->edged && from < need) {
            copy_rows_in(r, from, need);
        }
        run_tile(r, row, stop, from, need);
        have = need > have ? need : have;
    }
}

/* Panels of the middle over the whole picture: their depthwise outputs. */
static void
run_chunk(run *r, float *dst, size_t dst_stride, size_t first, size_t panels, soon then)
{
    const tl_fused *p = r->p;
    const size_t wide = panel_floats(p);
    for (size_t i = 0; i < panels; i++) {
        const size_t panel = first + i;
        const bool more = i + 1 < panels && p->produce != NULL;
        const soon next = more ? produce_weights(r, panel + 1) : then;
        r->chunk = panel; /* the ring holds one panel */
        fill_ring(r, panel, 0, p->mid.height, next);
        for (size_t y = 0; y < p->out_height; y++) {
            depthwise_row(r, dst + y * p->out_width * dst_stride + i * wide, dst_stride, wide,
                          panel, y);
        }
    }
}

/* The whole picture, a panel of the middle after the other; the sums rest in dst. */
static void
run_chunks(run *r)
{
    const tl_fused *p = r->p;
    const size_t wide = panel_floats(p);
    float *tile = r->scratch + p->tile_at;
    clear_edges(r);
    for (size_t panel = 0; panel < p->middle.count; panel += p->chunk_panels) {
        const size_t end = panel + p->chunk_panels;
        const bool last = end >= p->middle.count;
        const size_t panels = (last ? p->middle.count : end) - panel;
        const size_t k = panel * wide;
        const size_t left = p->middle.channels - k;
        const size_t depth = left < panels * wide ? left : panels * wide;
        const soon then =
            last || p->produce == NULL ? next_weights(r) : produce_weights(r, end);
        run_chunk(r, tile, p->tile_stride, panel, panels, project_weights(r, 0, k, depth));
        project(r, tile, p->tile_stride, k, depth, 0, p->out_height * p->out_width, 0,
                p->out.count, then);
    }
}

/* The same in two phases: panels of the middle, then groups of pixels of panels of dst. */
static void
run_chunks_in_part(run *r)
{
    const tl_fused *p = r->p;
    const tl_work *w = r->work;
    const size_t wide = panel_floats(p);
    const size_t stride = p->middle.padded;
    const size_t pixels = p->out_height * p->out_width;
    const size_t groups = pixel_groups(p);
    float *shared = w->shared;
    if (w->phase == 0) {
        clear_edges(r);
        for (size_t panel = w->begin; panel < w->end; panel++) {
            const bool more = panel + 1 < w->end && p->produce != NULL;
            run_chunk(r, shared + panel * wide, stride, panel, 1,
                      more ? produce_weights(r, panel + 1) : (soon){0});
        }
        return;
    }
    for (size_t unit = w->begin; unit < w->end;) {
        const size_t panel = unit / groups;
        const size_t last = (panel + 1) * groups < w->end ? (panel + 1) * groups : w->end;
        const size_t first = unit % groups * GROUP;
        const size_t stop = (last - panel * groups) * GROUP;
        project(r, shared + first * stride, stride, 0, p->middle.channels, first,
                (stop < pixels ? stop : pixels) - first, panel, panel + 1,
                last < w->end ? project_weights(r, panel + 1, 0, p->middle.channels)
                              : next_weights(r));
        unit = last;
    }
}

/* A convolution of pictures, with nothing behind it. */
static void
run_stem(run *r, size_t begin, size_t end)
{
    const tl_fused *p = r->p;
    const size_t wide = panel_floats(p);
    clear_row_of_zeros(r);
    for (size_t row = begin; row < end; row++) {
        tl_panel_job job = producing(r);
        if (p->edged) {
            copy_rows_in(r, row, row + 1);
        }
        find_source(r, &job, row);
        job.dst_stride = p->out_channels;
        job.pixels = p->out_width;
        for (size_t panel = 0; panel < p->middle.count; panel++) {
            const size_t left = p->out_channels - panel * wide;
            const size_t full = tl_panel_channels(&p->middle, panel, p->micro->width);
            job.dst = r->work->dst + row * p->out_width * p->out_channels + panel * wide;
            job.channels = left < full ? left : full;
            produce_panel(r, &job, panel);
        }
    }
}

/* Panels [begin, end) of a 1 x 1 convolution, averaged over all pixels, which are added up in
 * order and divided at the end, as the plain kernel does it. */
static void
run_pooled(const run *r, size_t begin, size_t end)
{
    const tl_fused *p = r->p;
    const size_t pixels = p->out_height * p->out_width;
    const size_t wide = p->out.vectors * p->micro->width;
    float *tile = r->scratch + p->tile_at;
    for (size_t panel = begin; panel < end; panel++) {
        const size_t left = p->out_channels - panel * wide;
        const size_t full = tl_panel_channels(&p->out, panel, p->micro->width);
        const size_t channels = left < full ? left : full;
        const soon next = panel + 1 < end ? project_weights(r, panel + 1, 0, p->in_channels)
                                          : next_weights(r);
        const tl_panel_job job = {
            .dst = tile,
            .dst_stride = full,
            .src = {r->work->src},
            .segments = 1,
            .src_stride = p->in_channels,
            .depth = p->in_channels,
            .weights = r->packed + p->project_at + panel * wide * p->in_channels,
            .vectors = full / p->micro->width,
            .channels = full,
            .pixels = pixels,
            .bias = r->packed + p->project_bias_at + panel * wide,
            .function = p->project->function,
            .next = next.at,
            .next_bytes = next.bytes,
        };
        float *dst = r->work->dst + panel * wide;
        p->micro->multiply(&job);
        memcpy(dst, tile, channels * sizeof *dst);
        for (size_t i = 1; i < pixels; i++) {
            for (size_t c = 0; c < channels; c++) {
                dst[c] += tile[i * full + c];
            }
        }
        for (size_t c = 0; c < channels; c++) {
            dst[c] /= (float)pixels;
        }
    }
}

static tl_status
forward(const tl_kernel *kernel, const tl_block *block, void *bound, const tl_work *work)
{
    const tl_fused *p = kernel->state;
    const binding *b = bound;
    run r = {.p = p, .packed = b->packed, .scratch = b->scratch, .work = work, .finite = true};
    const size_t begin = work->whole ? 0 : work->begin;
    const size_t end = work->whole ? kernel->units[0] : work->end;
    (void)block;
    if (in_one_tile(p)) {
        if (work->whole) {
            run_chunks(&r);
        } else {
            run_chunks_in_part(&r);
        }
    } else if (p->depthwise != NULL) {
        run_rows(&r, begin, end);
    } else if (p->produce != NULL) {
        run_stem(&r, begin, end);
    } else if (p->pools) {
        run_pooled(&r, begin, end);
    } else {
        const size_t first = begin * p->out_width;
        project(&r, work->src + first * p->in_channels, p->in_channels, 0, p->in_channels,
                first, (end - begin) * p->out_width, 0, p->out.count, next_weights(&r));
    }
    return r.finite || !work->finite ? TL_OK : tl_fail(TL_BAD_VALUE, TL_NOT_FINITE);
}

const tl_backend tl_fused_backend = {
    .name = "fused",
    .takes = takes,
    .prepare = prepare,
    .release = release,
    .pack = pack,
    .bind = bind,
    .unbind = unbind,
    .forward = forward,
};
