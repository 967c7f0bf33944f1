/* Source, ring, depthwise, project: a row or a panel at a time. */
#include "kernels/fused_stages.h"

#include <string.h>

enum { NEXT_BLOCK = 16 * 1024, LINE = 16, FAR = 4 };

/* `row` is one of the `slots` from the turn's first on. */
static size_t
slot_of(tl_turn t, size_t row, size_t slots)
{
    const size_t slot = t.slot + (row - t.row);
    return slot < slots ? slot : slot - slots;
}

/* --- weights ---------------------------------------------------------------------------- */

tl_soon
tl_fused_produce_weights(const tl_fused_run *r, size_t panel)
{
    const tl_fused *p = r->p;
    const size_t depth = p->produce->kernel[0] * p->produce->kernel[1] * p->in_channels;
    const size_t wide = tl_panel_channels(&p->middle, panel, p->micro->width);
    return (tl_soon){r->packed + p->produce_at + panel * tl_fused_panel_floats(p) * depth,
                     depth * wide * sizeof(float)};
}

tl_soon
tl_fused_project_weights(const tl_fused_run *r, size_t panel, size_t k, size_t depth)
{
    const tl_fused *p = r->p;
    const size_t column = panel * p->out.vectors * p->micro->width;
    const size_t wide = tl_panel_channels(&p->out, panel, p->micro->width);
    return (tl_soon){r->packed + p->project_at + column * p->depth + k * wide,
                     depth * wide * sizeof(float)};
}

tl_soon
tl_fused_next_weights(const tl_fused_run *r)
{
    return (tl_soon){r->packed + r->p->packed_floats, NEXT_BLOCK};
}

/* --- source ----------------------------------------------------------------------------- */

/* A row of the source with its edges, as floats. `row` counts from the edge above on. */
static float *
in_row(const tl_fused_run *r, size_t row)
{
    const tl_fused *p = r->p;
    const bool outside = row < p->in.top || row >= p->in.top + p->in.height;
    const size_t slot = outside ? p->in_slots : slot_of(r->in, row, p->in_slots);
    return r->scratch + p->in_rows_at + slot * p->in.width * p->in_channels;
}

static void
copy_in(tl_fused_run *r, size_t row)
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

void
tl_fused_copy_rows_in(tl_fused_run *r, size_t from, size_t to)
{
    const tl_fused *p = r->p;
    const size_t bottom = p->in.top + p->in.height;
    const size_t first = from * p->produce->strides[0];
    const size_t end = (to - 1) * p->produce->strides[0] + p->produce->kernel[0];
    size_t row = first > r->in_have ? first : r->in_have; /* a stride may pass rows by */
    row = row > p->in.top ? row : p->in.top;
    r->in = tl_turn_to(first, p->in_slots);
    for (; row < end && row < bottom; row++) {
        copy_in(r, row);
    }
    r->in_have = row;
}

void
tl_fused_find_source(const tl_fused_run *r, tl_panel_job *job, size_t row)
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

tl_panel_job
tl_fused_producing(const tl_fused_run *r)
{
    const tl_fused *p = r->p;
    return (tl_panel_job){
        .segments = p->produce->kernel[0],
        .src_stride = p->in_channels * p->produce->strides[1],
        .depth = p->produce->kernel[1] * p->in_channels,
        .function = p->produce->function,
    };
}

void
tl_fused_produce_panel(const tl_fused_run *r, tl_panel_job *job, size_t panel)
{
    const tl_fused *p = r->p;
    job->vectors = tl_panel_vectors(&p->middle, panel, p->micro->width);
    job->weights = tl_fused_produce_weights(r, panel).at;
    job->bias = r->packed + p->produce_bias_at + panel * tl_fused_panel_floats(p);
    p->micro->multiply(job);
}

/* --- the ring --------------------------------------------------------------------------- */

/* A row of the middle, of a panel: (mid.width, panel). */
static float *
ring_row(const tl_fused_run *r, size_t panel, size_t row)
{
    const tl_fused *p = r->p;
    const size_t slot = (panel - r->chunk) * p->slots + slot_of(r->ring, row, p->slots);
    return r->scratch + p->ring_at + slot * p->mid.width * tl_fused_panel_floats(p);
}

void
tl_fused_clear_row_of_zeros(const tl_fused_run *r)
{
    const tl_fused *p = r->p;
    if (p->edged) {
        const size_t all = p->in.width * p->in_channels;
        memset(r->scratch + p->in_rows_at + p->in_slots * all, 0, all * sizeof(float));
    }
}

void
tl_fused_clear_edges(const tl_fused_run *r)
{
    const tl_fused *p = r->p;
    const size_t wide = tl_fused_panel_floats(p);
    const size_t before = p->mid.left * wide;
    const size_t behind = before + p->mid.inner * wide;
    const size_t row = p->mid.width * wide;
    for (size_t i = 0; i < p->ring_panels * p->slots; i++) {
        float *at = r->scratch + p->ring_at + i * row;
        memset(at, 0, before * sizeof *at);
        memset(at + behind, 0, (row - behind) * sizeof *at);
    }
    memset(r->scratch + p->zeros_at, 0, row * sizeof(float));
    tl_fused_clear_row_of_zeros(r);
}

/* Where there is no producer: a slice of the source's channels. */
static void
copy_panel(const tl_fused_run *r, float *to, size_t panel, size_t row)
{
    const tl_fused *p = r->p;
    const size_t wide = tl_fused_panel_floats(p);
    const size_t left = p->in_channels - panel * wide;
    const size_t exist = left < wide ? left : wide;
    const float *from = r->work->src + row * p->in_width * p->in_channels + panel * wide;
    for (size_t i = 0; i < p->mid.inner; i++) {
        memcpy(to + i * wide, from + i * p->in_channels, exist * sizeof *to);
        memset(to + i * wide + exist, 0, (wide - exist) * sizeof *to);
    }
}

void
tl_fused_fill_ring(const tl_fused_run *r, size_t panel, size_t from, size_t to, tl_soon next)
{
    const tl_fused *p = r->p;
    const size_t wide = tl_fused_panel_floats(p);
    const size_t part = next.bytes == 0 ? 0 : next.bytes / (to - from) / sizeof(float);
    for (size_t row = from; row < to; row++) {
        float *dst = ring_row(r, panel, row) + p->mid.left * wide;
        if (p->produce == NULL) {
            copy_panel(r, dst, panel, row);
            continue;
        }
        tl_panel_job job = tl_fused_producing(r);
        tl_fused_find_source(r, &job, row);
        job.next = next.at + (row - from) * part;
        job.next_bytes = part * sizeof(float);
        job.dst = dst;
        job.dst_stride = wide;
        job.pixels = p->mid.inner;
        job.channels = tl_panel_channels(&p->middle, panel, p->micro->width);
        tl_fused_produce_panel(r, &job, panel);
    }
}

/* --- out of the ring -------------------------------------------------------------------- */

void
tl_fused_depthwise_row(const tl_fused_run *r, float *dst, size_t dst_stride, size_t channels,
                       size_t panel, size_t row)
{
    const tl_fused *p = r->p;
    const size_t first = panel * tl_fused_panel_floats(p);
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

void
tl_fused_project(const tl_fused_run *r, const tl_projection *what)
{
    const tl_fused *p = r->p;
    const size_t wide = p->out.vectors * p->micro->width;
    const size_t k = what->k;
    const bool ends = k + what->depth == p->depth;
    for (size_t panel = what->begin; panel < what->end; panel++) {
        const size_t column = panel * wide;
        const size_t at = what->first * p->out_channels + column;
        const size_t left = p->out_channels - column;
        const size_t full = tl_panel_channels(&p->out, panel, p->micro->width);
        const tl_soon next = panel + 1 < what->end
                                 ? tl_fused_project_weights(r, panel + 1, k, what->depth)
                                 : what->then;
        const tl_panel_job job = {
            .dst = r->work->dst + at,
            .dst_stride = p->out_channels,
            .src = {what->src},
            .segments = 1,
            .src_stride = what->src_stride,
            .depth = what->depth,
            .weights = tl_fused_project_weights(r, panel, k, what->depth).at,
            .vectors = tl_panel_vectors(&p->out, panel, p->micro->width),
            .channels = left < full ? left : full,
            .pixels = what->pixels,
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
