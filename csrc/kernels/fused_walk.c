/* In what order a block's stages run: by rows or by chunks, whole or in parts. What is computed
 * does not depend on that: every output is one chain of multiply-adds, over taps and then
 * channels in order, and a sum that rests in memory between two chunks is the float that it
 * was. */
#include <string.h>

#include "kernels/fused_run.h"
#include "kernels/fused_stages.h"

/* Output rows [row, stop), whose new rows of the middle are [from, need): panel after panel, so
 * that the depthwise convolution finds what was just produced near. */
static void
run_tile(const tl_fused_run *r, size_t row, size_t stop, size_t from, size_t need)
{
    const tl_fused *p = r->p;
    float *tile = r->scratch + p->tile_at;
    for (size_t panel = 0; panel < p->middle.count; panel++) {
        const size_t column = panel * tl_fused_panel_floats(p);
        tl_fused_fill_ring(r, panel, from, need, (tl_soon){0});
        for (size_t y = row; y < stop; y++) {
            if (p->project != NULL) {
                float *dst = tile + (y - row) * p->out_width * p->tile_stride + column;
                tl_fused_depthwise_row(r, dst, p->tile_stride, p->middle.padded - column, panel,
                                       y);
            } else {
                float *dst = r->work->dst + y * p->out_width * p->out_channels + column;
                tl_fused_depthwise_row(r, dst, p->out_channels, p->out_channels - column, panel,
                                       y);
            }
        }
    }
    if (p->project != NULL) {
        tl_fused_project(r, &(tl_projection){.src = tile,
                                             .src_stride = p->tile_stride,
                                             .depth = p->depth,
                                             .first = row * p->out_width,
                                             .pixels = (stop - row) * p->out_width,
                                             .end = p->out.count});
    }
}

/* Rows [begin, end) of outputs, tile by tile, all channels of the middle at once. */
static void
run_rows(tl_fused_run *r, size_t begin, size_t end)
{
    const tl_fused *p = r->p;
    size_t have = tl_fused_first_row(p, begin);
    tl_fused_clear_edges(r);
    for (size_t row = begin; row < end; row += p->tile_rows) {
        const size_t stop = row + p->tile_rows < end ? row + p->tile_rows : end;
        const size_t need = tl_fused_needed_rows(p, stop);
        const size_t from =
            have > tl_fused_first_row(p, row) ? have : tl_fused_first_row(p, row);
        r->ring = tl_turn_to(tl_fused_first_row(p, row), p->slots);
        if (p->edged && from < need) {
            tl_fused_copy_rows_in(r, from, need);
        }
        run_tile(r, row, stop, from, need);
        have = need > have ? need : have;
    }
}

/* Panels of the middle over the whole picture: their depthwise outputs. */
static void
run_chunk(tl_fused_run *r, float *dst, size_t dst_stride, size_t first, size_t panels,
          tl_soon then)
{
    const tl_fused *p = r->p;
    const size_t wide = tl_fused_panel_floats(p);
    for (size_t i = 0; i < panels; i++) {
        const size_t panel = first + i;
        const bool more = i + 1 < panels && p->produce != NULL;
        const tl_soon next = more ? tl_fused_produce_weights(r, panel + 1) : then;
        r->chunk = panel; /* the ring holds one panel */
        tl_fused_fill_ring(r, panel, 0, p->mid.height, next);
        for (size_t y = 0; y < p->out_height; y++) {
            tl_fused_depthwise_row(r, dst + y * p->out_width * dst_stride + i * wide,
                                   dst_stride, wide, panel, y);
        }
    }
}

/* The whole picture, a panel of the middle after the other; the sums rest in dst. */
static void
run_chunks(tl_fused_run *r)
{
    const tl_fused *p = r->p;
    const size_t wide = tl_fused_panel_floats(p);
    float *tile = r->scratch + p->tile_at;
    tl_fused_clear_edges(r);
    for (size_t panel = 0; panel < p->middle.count; panel += p->chunk_panels) {
        const size_t end = panel + p->chunk_panels;
        const bool last = end >= p->middle.count;
        const size_t panels = (last ? p->middle.count : end) - panel;
        const size_t k = panel * wide;
        const size_t left = p->middle.channels - k;
        const size_t depth = left < panels * wide ? left : panels * wide;
        const tl_soon then = last || p->produce == NULL ? tl_fused_next_weights(r)
                                                        : tl_fused_produce_weights(r, end);
        run_chunk(r, tile, p->tile_stride, panel, panels,
                  tl_fused_project_weights(r, 0, k, depth));
        tl_fused_project(r, &(tl_projection){.src = tile,
                                             .src_stride = p->tile_stride,
                                             .k = k,
                                             .depth = depth,
                                             .pixels = p->out_height * p->out_width,
                                             .end = p->out.count,
                                             .then = then});
    }
}

/* The same in two phases: panels of the middle, then groups of pixels of panels of dst. */
static void
run_chunks_in_part(tl_fused_run *r)
{
    const tl_fused *p = r->p;
    const tl_work *w = r->work;
    const size_t wide = tl_fused_panel_floats(p);
    const size_t stride = p->middle.padded;
    const size_t pixels = p->out_height * p->out_width;
    const size_t groups = tl_fused_groups(p);
    float *shared = w->shared;
    if (w->phase == 0) {
        tl_fused_clear_edges(r);
        for (size_t panel = w->begin; panel < w->end; panel++) {
            const bool more = panel + 1 < w->end && p->produce != NULL;
            run_chunk(r, shared + panel * wide, stride, panel, 1,
                      more ? tl_fused_produce_weights(r, panel + 1) : (tl_soon){0});
        }
        return;
    }
    for (size_t unit = w->begin; unit < w->end;) {
        const size_t panel = unit / groups;
        const size_t last = (panel + 1) * groups < w->end ? (panel + 1) * groups : w->end;
        const size_t first = unit % groups * TL_GROUP;
        const size_t stop = (last - panel * groups) * TL_GROUP;
        tl_fused_project(
            r, &(tl_projection){
                   .src = shared + first * stride,
                   .src_stride = stride,
                   .depth = p->depth,
                   .first = first,
                   .pixels = (stop < pixels ? stop : pixels) - first,
                   .begin = panel,
                   .end = panel + 1,
                   .then = last < w->end ? tl_fused_project_weights(r, panel + 1, 0, p->depth)
                                         : tl_fused_next_weights(r)});
        unit = last;
    }
}

/* A convolution of pictures, with nothing behind it. */
static void
run_stem(tl_fused_run *r, size_t begin, size_t end)
{
    const tl_fused *p = r->p;
    const size_t wide = tl_fused_panel_floats(p);
    tl_fused_clear_row_of_zeros(r);
    for (size_t row = begin; row < end; row++) {
        tl_panel_job job = tl_fused_producing(r);
        tl_fused_copy_rows_in(r, row, row + 1);
        tl_fused_find_source(r, &job, row);
        job.dst_stride = p->out_channels;
        job.pixels = p->out_width;
        for (size_t panel = 0; panel < p->middle.count; panel++) {
            const size_t left = p->out_channels - panel * wide;
            const size_t full = tl_panel_channels(&p->middle, panel, p->micro->width);
            job.dst = r->work->dst + row * p->out_width * p->out_channels + panel * wide;
            job.channels = left < full ? left : full;
            tl_fused_produce_panel(r, &job, panel);
        }
    }
}

/* Panels [begin, end) of a 1 x 1 convolution, averaged over all pixels, which are added up in
 * order and divided at the end, as the plain kernel does it. */
static void
run_pooled(const tl_fused_run *r, size_t begin, size_t end)
{
    const tl_fused *p = r->p;
    const size_t pixels = p->out_height * p->out_width;
    const size_t wide = p->out.vectors * p->micro->width;
    float *tile = r->scratch + p->tile_at;
    for (size_t panel = begin; panel < end; panel++) {
        const size_t left = p->out_channels - panel * wide;
        const size_t full = tl_panel_channels(&p->out, panel, p->micro->width);
        const size_t channels = left < full ? left : full;
        const tl_soon next = panel + 1 < end
                                 ? tl_fused_project_weights(r, panel + 1, 0, p->in_channels)
                                 : tl_fused_next_weights(r);
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

tl_status
tl_fused_forward(const tl_kernel *kernel, const float *packed, float *scratch,
                 const tl_work *work)
{
    const tl_fused *p = kernel->state;
    tl_fused_run r = {
        .p = p, .packed = packed, .scratch = scratch, .work = work, .finite = true};
    const size_t begin = work->whole ? 0 : work->begin;
    const size_t end = work->whole ? kernel->units[0] : work->end;
    if (p->by_chunks) {
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
        tl_fused_project(&r, &(tl_projection){.src = work->src + first * p->in_channels,
                                              .src_stride = p->in_channels,
                                              .depth = p->in_channels,
                                              .first = first,
                                              .pixels = (end - begin) * p->out_width,
                                              .end = p->out.count,
                                              .then = tl_fused_next_weights(&r)});
    }
    return r.finite || !work->finite ? TL_OK : tl_fail(TL_BAD_VALUE, TL_NOT_FINITE);
}
