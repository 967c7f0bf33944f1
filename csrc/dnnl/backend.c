/* One primitive a step, made for one image in plain nhwc, with the weights in whatever layout
 * oneDNN likes best. Primitives are made and run by crew threads, scratch comes from the
 * caller's arena, and memory.c answers in OpenMP's place: no team of threads is ever started.
 */
#include "dnnl/backend.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/ballast.h"
#include "core/cpu.h"
#include "core/pool.h"
#include "dnnl/memory.h"

static dnnl_engine_t engine; /* made by tl_dnnl_open, never changed */
static char version_text[32];

/* --- errors ----------------------------------------------------------------------------- */

static tl_status
translate(dnnl_status_t result, const char *call)
{
    if (result == dnnl_success) {
        return TL_OK;
    }
    if (result == dnnl_out_of_memory) {
        return tl_fail(TL_OUT_OF_MEMORY, "%s had no memory", call);
    }
    return tl_fail(TL_BACKEND_FAILED, "%s failed with status %d (%s)", call, (int)result,
                   result == dnnl_unimplemented       ? "unimplemented"
                   : result == dnnl_invalid_arguments ? "invalid arguments"
                                                      : "run-time error");
}

#define DNNL_TRY(function, ...) TL_TRY(translate(function(__VA_ARGS__), #function))

/* --- opening ---------------------------------------------------------------------------- */

/* Tells oneDNN of the limit. Without one it takes all that it knows, VNNI and bfloat16 too. */
static tl_status
limit_isa(void)
{
    static const dnnl_cpu_isa_t known[] = {
        [TL_ISA_SSE41] = dnnl_cpu_isa_sse41,
        [TL_ISA_AVX2] = dnnl_cpu_isa_avx2,
        [TL_ISA_AVX512] = dnnl_cpu_isa_avx512_core,
    };
    const tl_isa isa = tl_cpu_isa();
    if (!tl_cpu_is_limited() || isa == TL_ISA_BASELINE) {
        return TL_OK;
    }
    return translate(dnnl_set_max_cpu_isa(known[isa]), "dnnl_set_max_cpu_isa");
}

tl_status
tl_dnnl_open(void)
{
    tl_status status = TL_OK;
    if (engine == NULL) {
        const dnnl_version_t *v = dnnl_version();
        (void)snprintf(version_text, sizeof version_text, "%d.%d.%d", v->major, v->minor,
                       v->patch);
        tl_dnnl_memory_open();
        TL_TRY(tl_ballast_hold());
        TL_TRY(limit_isa());
        DNNL_TRY(dnnl_engine_create, &engine, dnnl_cpu, 0);
    }
done:
    tl_ballast_drop();
    return status;
}

const char *
tl_dnnl_version(void)
{
    return version_text;
}

const char *
tl_dnnl_isa(void)
{
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
        return "SSE4.1";
    case dnnl_cpu_isa_avx:
        return "AVX";
    case dnnl_cpu_isa_avx2:
        return "AVX2";
    case dnnl_cpu_isa_avx2_vnni:
        return "AVX2 with VNNI";
    case dnnl_cpu_isa_avx512_core:
        return "AVX-512";
    case dnnl_cpu_isa_avx512_core_vnni:
        return "AVX-512 with VNNI";
    case dnnl_cpu_isa_avx512_core_bf16:
        return "AVX-512 with VNNI and bfloat16";
    default:
        return "newer than AVX-512 with bfloat16";
    }
}

/* --- kernels ---------------------------------------------------------------------------- */

typedef struct primitive {
    dnnl_primitive_t primitive;
    dnnl_primitive_desc_t description; /* owns weights and scratch */
    dnnl_memory_desc_t src, dst, bias; /* owned */
    dnnl_memory_desc_t given_weights;  /* owned: Keras's layout */
    const_dnnl_memory_desc_t weights;  /* view of description: oneDNN's layout */
    const_dnnl_memory_desc_t scratch;
    size_t weights_bytes; /* rounded up: the bias lies behind */
} primitive;

static size_t
takes(const tl_block *chain)
{
    const tl_step_kind kind = chain->steps[0].kind;
    return kind == TL_STEP_CONV2D || kind == TL_STEP_DEPTHWISE_CONV2D || kind == TL_STEP_DENSE;
}

static tl_status
describe(dnnl_memory_desc_t *out, int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    return translate(dnnl_memory_desc_create_with_tag(out, rank, dims, dnnl_f32, tag),
                     "dnnl_memory_desc_create_with_tag");
}

/* Scratch from the caller; then the residual (already in dst), then the activation. */
static tl_status
make_attributes(dnnl_primitive_attr_t *out, const tl_step *step)
{
    tl_status status = TL_OK;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t post_ops = NULL;

    DNNL_TRY(dnnl_primitive_attr_create, &attributes);
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode, attributes, dnnl_scratchpad_mode_user);
    DNNL_TRY(dnnl_post_ops_create, &post_ops);
    if (step->has_residual) {
        DNNL_TRY(dnnl_post_ops_append_sum, post_ops, 1.0F, 0, dnnl_data_type_undef);
    }
    if (step->function == TL_RELU) {
        DNNL_TRY(dnnl_post_ops_append_eltwise, post_ops, dnnl_eltwise_relu, 0.0F, 0.0F);
    } else if (step->function == TL_RELU6) {
        DNNL_TRY(dnnl_post_ops_append_eltwise, post_ops, dnnl_eltwise_clip, 0.0F, 6.0F);
    }
    DNNL_TRY(dnnl_primitive_attr_set_post_ops, attributes, post_ops);

    *out = attributes; /* handed over */
    attributes = NULL;
done:
    dnnl_post_ops_destroy(post_ops);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

static tl_status
describe_convolution(primitive *p, const tl_step *step, const_dnnl_primitive_attr_t attributes)
{
    tl_status status = TL_OK;
    const size_t *s = step->src_shape.dims;
    const size_t *d = step->dst_shape.dims;
    const bool depthwise = step->kind == TL_STEP_DEPTHWISE_CONV2D;
    const int rank = depthwise ? 5 : 4;
    const dnnl_dim_t in = (dnnl_dim_t)s[2];
    const dnnl_dim_t out = (dnnl_dim_t)d[2];
    const dnnl_dim_t kh = (dnnl_dim_t)step->kernel[0];
    const dnnl_dim_t kw = (dnnl_dim_t)step->kernel[1];
    const dnnl_dims_t src = {1, in, (dnnl_dim_t)s[0], (dnnl_dim_t)s[1]};
    const dnnl_dims_t dst = {1, out, (dnnl_dim_t)d[0], (dnnl_dim_t)d[1]};
    const dnnl_dims_t dense_weights = {out, in, kh, kw};
    const dnnl_dims_t depthwise_weights = {in, 1, 1, kh, kw};
    const dnnl_dims_t bias = {out};
    const dnnl_dims_t strides = {(dnnl_dim_t)step->strides[0], (dnnl_dim_t)step->strides[1]};
    const dnnl_dims_t dilations = {0, 0};
    const dnnl_dims_t before = {(dnnl_dim_t)step->padding.top, (dnnl_dim_t)step->padding.left};
    const dnnl_dims_t behind = {(dnnl_dim_t)step->padding.bottom,
                                (dnnl_dim_t)step->padding.right};
    const dnnl_dim_t *weights = depthwise ? depthwise_weights : dense_weights;
    dnnl_memory_desc_t any = NULL;

    TL_TRY(describe(&p->src, 4, src, dnnl_nhwc));
    TL_TRY(describe(&p->dst, 4, dst, dnnl_nhwc));
    TL_TRY(describe(&p->bias, 1, bias, dnnl_a));
    TL_TRY(describe(&p->given_weights, rank, weights, depthwise ? dnnl_hwigo : dnnl_hwio));
    TL_TRY(describe(&any, rank, weights, dnnl_format_tag_any));
    DNNL_TRY(dnnl_convolution_forward_primitive_desc_create, &p->description, engine,
             dnnl_forward_inference, dnnl_convolution_direct, p->src, any, p->bias, p->dst,
             strides, dilations, before, behind, attributes);
done:
    dnnl_memory_desc_destroy(any);
    return status;
}

static tl_status
describe_dense(primitive *p, const tl_step *step, const_dnnl_primitive_attr_t attributes)
{
    tl_status status = TL_OK;
    const dnnl_dim_t in = (dnnl_dim_t)tl_shape_channels(&step->src_shape);
    const dnnl_dim_t out = (dnnl_dim_t)tl_shape_channels(&step->dst_shape);
    const dnnl_dim_t rows = (dnnl_dim_t)tl_shape_elements(&step->src_shape) / in;
    const dnnl_dims_t src = {rows, in};
    const dnnl_dims_t dst = {rows, out};
    const dnnl_dims_t weights = {in, out};
    const dnnl_dims_t bias = {1, out};
    dnnl_memory_desc_t any = NULL;

    TL_TRY(describe(&p->src, 2, src, dnnl_ab));
    TL_TRY(describe(&p->dst, 2, dst, dnnl_ab));
    TL_TRY(describe(&p->bias, 2, bias, dnnl_ab));
    TL_TRY(describe(&p->given_weights, 2, weights, dnnl_ab));
    TL_TRY(describe(&any, 2, weights, dnnl_format_tag_any));
    DNNL_TRY(dnnl_matmul_primitive_desc_create, &p->description, engine, p->src, any, p->bias,
             p->dst, attributes);
done:
    dnnl_memory_desc_destroy(any);
    return status;
}

static void
destroy_primitive(primitive *p)
{
    if (p != NULL) {
        dnnl_primitive_destroy(p->primitive);
        dnnl_primitive_desc_destroy(p->description);
        dnnl_memory_desc_destroy(p->given_weights);
        dnnl_memory_desc_destroy(p->bias);
        dnnl_memory_desc_destroy(p->dst);
        dnnl_memory_desc_destroy(p->src);
        tl_free(p);
    }
}

static size_t
aligned(size_t bytes)
{
    return (bytes + TL_ALIGNMENT - 1) / TL_ALIGNMENT * TL_ALIGNMENT;
}

static tl_status
prepare(tl_kernel *kernel, const tl_block *block)
{
    const tl_step *step = &block->steps[0];
    tl_status status = TL_OUT_OF_MEMORY;
    dnnl_primitive_attr_t attributes = NULL;
    primitive *p = tl_alloc(1, sizeof *p);
    tl_fork_guard_enter(); /* oneDNN's primitive cache has a lock of its own */
    if (p == NULL) {
        goto done;
    }
    /* oneDNN's kernels count in int */
    if (tl_shape_elements(&step->src_shape) > INT32_MAX ||
        tl_shape_elements(&step->dst_shape) > INT32_MAX) {
        status = tl_fail(TL_UNSUPPORTED, "a %s of more than 2^31 - 1 numbers cannot be run",
                         tl_step_kind_name(step->kind));
        goto done;
    }
    TL_TRY(tl_ballast_hold());
    TL_TRY(make_attributes(&attributes, step));
    TL_TRY(step->kind == TL_STEP_DENSE ? describe_dense(p, step, attributes)
                                       : describe_convolution(p, step, attributes));
    DNNL_TRY(dnnl_primitive_create, &p->primitive, p->description);
    p->weights = dnnl_primitive_desc_query_md(p->description, dnnl_query_weights_md, 0);
    p->scratch = dnnl_primitive_desc_query_md(p->description, dnnl_query_scratchpad_md, 0);
    p->weights_bytes = aligned(dnnl_memory_desc_get_size(p->weights));

    kernel->state = p; /* handed over */
    kernel->packed_bytes = p->weights_bytes + tl_step_bias_count(step) * sizeof(float);
    kernel->scratch_bytes = dnnl_memory_desc_get_size(p->scratch);
    kernel->adds_in_place = step->has_residual;
    p = NULL;
done:
    destroy_primitive(p);
    dnnl_primitive_attr_destroy(attributes);
    tl_fork_guard_leave();
    return status;
}

static void
release(tl_kernel *kernel)
{
    destroy_primitive(kernel->state);
    kernel->state = NULL;
}

/* --- weights ---------------------------------------------------------------------------- */

static tl_status
reorder(const_dnnl_memory_desc_t to_layout, void *to, const_dnnl_memory_desc_t from_layout,
        const void *from)
{
    tl_status status = TL_OK;
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t move = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_memory_t src = NULL;
    dnnl_memory_t dst = NULL;

    TL_TRY(tl_ballast_hold());
    DNNL_TRY(dnnl_reorder_primitive_desc_create, &description, from_layout, engine, to_layout,
             engine, NULL);
    DNNL_TRY(dnnl_primitive_create, &move, description);
    DNNL_TRY(dnnl_stream_create, &stream, engine, dnnl_stream_default_flags);
    /* oneDNN has no pointer to const; a reorder only reads its source */
    DNNL_TRY(dnnl_memory_create, &src, from_layout, engine, (void *)(uintptr_t)from);
    DNNL_TRY(dnnl_memory_create, &dst, to_layout, engine, to);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, src}, {DNNL_ARG_TO, dst}};
    DNNL_TRY(dnnl_primitive_execute, move, stream, 2, arguments);
    DNNL_TRY(dnnl_stream_wait, stream);
done:
    dnnl_memory_destroy(dst);
    dnnl_memory_destroy(src);
    dnnl_stream_destroy(stream);
    dnnl_primitive_destroy(move);
    dnnl_primitive_desc_destroy(description);
    return status;
}

static tl_status
pack(const tl_kernel *kernel, const tl_block *block, void *packed, const float *const *weights,
     const float *const *biases)
{
    const primitive *p = kernel->state;
    tl_fork_guard_enter();
    const tl_status status = reorder(p->weights, packed, p->given_weights, weights[0]);
    tl_fork_guard_leave();
    memcpy((unsigned char *)packed + p->weights_bytes, biases[0],
           tl_step_bias_count(&block->steps[0]) * sizeof(float));
    return status;
}

/* --- running ---------------------------------------------------------------------------- */

enum { SRC, DST, WEIGHTS, BIAS, SCRATCH, ARGUMENTS };

typedef struct binding {
    dnnl_stream_t stream;
    dnnl_exec_arg_t arguments[ARGUMENTS];
} binding;

static void
unbind(void *bound)
{
    binding *b = bound;
    for (int i = 0; i < ARGUMENTS; i++) {
        dnnl_memory_destroy(b->arguments[i].memory);
    }
    dnnl_stream_destroy(b->stream);
    tl_free(b);
}

static tl_status
bind(void **out, const tl_kernel *kernel, void *packed, void *scratch)
{
    tl_status status = TL_OUT_OF_MEMORY;
    const primitive *p = kernel->state;
    unsigned char *bias = (unsigned char *)packed + p->weights_bytes;
    binding *b = tl_alloc(1, sizeof *b);
    if (b == NULL) {
        return status;
    }
    b->arguments[SRC].arg = DNNL_ARG_SRC;
    b->arguments[DST].arg = DNNL_ARG_DST;
    b->arguments[WEIGHTS].arg = DNNL_ARG_WEIGHTS;
    b->arguments[BIAS].arg = DNNL_ARG_BIAS;
    b->arguments[SCRATCH].arg = DNNL_ARG_SCRATCHPAD;
    TL_TRY(tl_ballast_hold());
    DNNL_TRY(dnnl_stream_create, &b->stream, engine, dnnl_stream_default_flags);
    DNNL_TRY(dnnl_memory_create, &b->arguments[SRC].memory, p->src, engine, DNNL_MEMORY_NONE);
    DNNL_TRY(dnnl_memory_create, &b->arguments[DST].memory, p->dst, engine, DNNL_MEMORY_NONE);
    DNNL_TRY(dnnl_memory_create, &b->arguments[WEIGHTS].memory, p->weights, engine, packed);
    DNNL_TRY(dnnl_memory_create, &b->arguments[BIAS].memory, p->bias, engine, bias);
    DNNL_TRY(dnnl_memory_create, &b->arguments[SCRATCH].memory, p->scratch, engine, scratch);

    *out = b; /* handed over */
    b = NULL;
done:
    if (b != NULL) {
        unbind(b);
    }
    return status;
}

static tl_status
forward(const tl_kernel *kernel, const tl_block *block, void *bound, const tl_work *work)
{
    tl_status status = TL_OK;
    const primitive *p = kernel->state;
    binding *b = bound;
    (void)block;
    TL_TRY(tl_ballast_hold());
    DNNL_TRY(dnnl_memory_set_data_handle, b->arguments[SRC].memory,
             (void *)(uintptr_t)work->src);
    DNNL_TRY(dnnl_memory_set_data_handle, b->arguments[DST].memory, work->dst);
    DNNL_TRY(dnnl_primitive_execute, p->primitive, b->stream, ARGUMENTS, b->arguments);
done:
    return status;
}

const tl_backend tl_dnnl_backend = {
    .name = "oneDNN",
    .takes = takes,
    .prepare = prepare,
    .release = release,
    .pack = pack,
    .bind = bind,
    .unbind = unbind,
    .forward = forward,
};

tl_status
tl_dnnl_gemm(float *c, const float *a, const float *b, const tl_gemm *shape)
{
    const dnnl_dim_t m = (dnnl_dim_t)shape->m;
    const dnnl_dim_t n = (dnnl_dim_t)shape->n;
    const dnnl_dim_t k = (dnnl_dim_t)shape->k;
    const tl_status status = tl_ballast_hold();
    if (status != TL_OK) {
        return status;
    }
    return translate(dnnl_sgemm(shape->transpose_a ? 'T' : 'N', shape->transpose_b ? 'T' : 'N',
                                m, n, k, 1.0F, a, shape->transpose_a ? m : k, b,
                                shape->transpose_b ? k : n, shape->beta, c, n),
                     "dnnl_sgemm");
}
