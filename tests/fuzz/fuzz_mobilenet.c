/* tl_mobilenet_v2_create with any options: refused with a sentence, or a whole network. */
#include <math.h>
#include <string.h>

#include "core/mobilenet_v2.h"
#include "fuzz.h"

/* Every allowed network has these many nodes without its top and its adds, of which there are
 * more than ten where small widths round to equal numbers of channels (keras.applications). */
enum { BODY_NODES = 144, ADDS = 10 };

static size_t
edge(uint8_t byte)
{
    return byte < 192 ? byte : byte < 250 ? (size_t)1 << (byte % 64) : SIZE_MAX - byte % 4;
}

static bool
is_allowed(const tl_mobilenet_v2 *o)
{
    return o->alpha > 0 && o->alpha <= 16 && o->input.rank == 3 && o->input.dims[0] >= 32 &&
           o->input.dims[1] >= 32 && o->input.dims[2] >= 1 &&
           (!o->include_top ||
            (o->classes >= 1 && o->classifier_activation < TL_FUNCTION_COUNT));
}

/* Numbers of the largest value and parameter, as a float tells them. */
static double
largest_size(const tl_mobilenet_v2 *o)
{
    const double pixels = (double)o->input.dims[0] * (double)o->input.dims[1];
    const double channels = fmax((double)o->input.dims[2], 2000 * fmax(o->alpha, 1));
    return fmax(pixels * channels, 40000 * ((double)o->classes + channels * channels));
}

static void
check_network(const tl_graph *graph, const tl_mobilenet_v2 *o)
{
    const tl_shape *last = &graph->nodes[graph->count - 1].shape;
    const size_t top = o->include_top
                           ? 2U + (o->classifier_activation != TL_LINEAR)
                           : (o->pooling == TL_POOLING_AVERAGE || o->pooling == TL_POOLING_MAX);
    size_t params = 0;
    size_t adds = 0;
    for (size_t i = 0; i < graph->count; i++) {
        if (graph->nodes[i].first_param != params && graph->nodes[i].param_count > 0) {
            fuzz_broken("a parameter has two owners");
        }
        params += graph->nodes[i].param_count;
        adds += graph->nodes[i].op == TL_OP_ADD;
    }
    if (params != graph->param_count || graph->count != BODY_NODES + adds + top ||
        adds < ADDS || adds > ADDS + 3) {
        (void)fprintf(stderr, "%zu nodes, %zu adds, %zu of the top\n", graph->count, adds, top);
        fuzz_broken("the network has other nodes than Keras's");
    }
    if (o->include_top && (last->rank != 1 || last->dims[0] != o->classes)) {
        fuzz_broken("the top has another shape than (classes,)");
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    uint8_t b[24] = {0};
    tl_graph *graph = NULL;
    memcpy(b, bytes, count < sizeof b ? count : sizeof b);
    tl_mobilenet_v2 options = {
        .input = {b[0] < 240 ? 3 : edge(b[0]), {edge(b[1]), edge(b[2]), edge(b[3]), 0}},
        .alpha = (double)b[4] / 64,
        .include_top = b[5] % 2 != 0,
        .pooling = (tl_pooling)(b[6] < 240 ? b[6] % 3 : b[6]),
        .classes = edge(b[7]),
        .classifier_activation = (tl_function)(b[8] < 240 ? b[8] % TL_FUNCTION_COUNT : b[8]),
    };
    if (b[9] % 2 != 0) {
        memcpy(&options.alpha, b + 10, sizeof options.alpha);
    }
    tl_detail_clear();
    const tl_status status = tl_mobilenet_v2_create(&graph, &options);
    if (status == TL_OK) {
        if (!is_allowed(&options)) {
            fuzz_broken("options that cannot be were taken");
        }
        check_network(graph, &options);
    } else if (graph != NULL || tl_detail()[0] == '\0') {
        fuzz_broken("a refusal left a graph, or has no sentence");
    } else if (is_allowed(&options) && largest_size(&options) < 0x1p50) {
        (void)fprintf(stderr, "%s\n", tl_detail());
        fuzz_broken("sound options were refused");
    }
    tl_graph_destroy(graph);
    return 0;
}
