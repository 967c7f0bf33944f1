/* Binding a graph to its parameters; programs by (start, stop); the cut. */
#include "core/network.h"

#include <stdatomic.h>
#include <string.h>

#include "core/arena.h"
#include "core/infer.h"
#include "core/pool.h"

/* A program and what its packed weights were made from. */
typedef struct entry {
    struct entry *next;
    size_t start, stop;
    tl_program *program;
    unsigned long *newest;   /* a group: 1 + its last change of the stretch; 0: not in it */
    unsigned long *versions; /* the same when the weights were packed; 0: never */
    size_t users;            /* calls that run it now; guarded by the network's lock */
} entry;

/* Each holds packed copies of its weights: a model whose `trainable` changes again and again
 * would otherwise collect one for every cut. Calls at work may need more for a while. */
enum { MAX_PROGRAMS = 8 };

struct tl_network {
    tl_graph *graph;
    const tl_ops *ops;
    size_t group_count;
    tl_parameters **groups; /* each holds one reference */
    size_t *lock_order;     /* groups by address, each once */
    size_t lock_count;
    tl_tensor *tensors;       /* the graph's parameters in order */
    size_t *owners;           /* the group of each */
    unsigned long **versions; /* the version of each, in its group */
    const float **data;       /* tensors[i].data */
    tl_mutex lock;            /* of the programs */
    entry *programs;          /* the last used first */
    unsigned long generation;
    atomic_size_t prefix_runs;
};

/* --- creation --------------------------------------------------------------------------- */

/* Binds one parameter of `node` to a tensor of a group. */
static tl_status
bind_tensor(tl_network *network, const tl_node *node, size_t param, const tl_param_spec *spec,
            size_t group, size_t tensor)
{
    if (group >= network->group_count || tensor >= network->groups[group]->count) {
        return tl_fail(TL_BAD_VALUE, "parameters hold no tensor for the %s of \"%s\"",
                       spec->name, node->name);
    }
    const tl_tensor *bound = &network->groups[group]->tensors[tensor];
    if (!tl_shape_equal(&bound->shape, &spec->shape)) {
        return tl_fail(TL_BAD_VALUE,
                       "parameters hold a tensor of another shape for the %s of \"%s\"",
                       spec->name, node->name);
    }
    network->tensors[param] = *bound;
    network->owners[param] = group;
    network->versions[param] = &network->groups[group]->versions[tensor];
    network->data[param] = bound->data;
    return TL_OK;
}

/* The first group from `group` on that holds tensors behind `tensor`. */
static void
skip_spent_groups(const tl_network *network, size_t *group, size_t *tensor)
{
    while (*group < network->group_count && *tensor == network->groups[*group]->count) {
        (*group)++;
        *tensor = 0;
    }
}

/* `picks`: the tensor of the group beside it, one a parameter; NULL: all tensors in order. */
static tl_status
bind_tensors(tl_network *network, const size_t *picks)
{
    const tl_graph *graph = network->graph;
    tl_param_spec specs[TL_MAX_NODE_PARAMS];
    size_t group = 0;
    size_t tensor = 0;
    for (size_t i = 0; i < graph->count; i++) {
        const tl_node *node = &graph->nodes[i];
        const size_t count = tl_node_params(graph, node, specs);
        for (size_t k = 0; k < count; k++) {
            const size_t param = node->first_param + k;
            if (picks == NULL) {
                skip_spent_groups(network, &group, &tensor);
            } else {
                group = param;
                tensor = param < network->group_count ? picks[param] : 0;
            }
            const tl_status status =
                bind_tensor(network, node, param, &specs[k], group, tensor++);
            if (status != TL_OK) {
                return status;
            }
        }
    }
    if (picks == NULL) {
        skip_spent_groups(network, &group, &tensor);
    } else {
        group = graph->param_count;
    }
    if (group < network->group_count) {
        return tl_fail(TL_BAD_VALUE, "parameters hold more tensors than the graph has");
    }
    return TL_OK;
}

/* Sorts the groups by address; one that appears twice is locked once. */
static void
order_locks(tl_network *network)
{
    for (size_t i = 0; i < network->group_count; i++) {
        size_t at = 0;
        while (at < network->lock_count &&
               network->groups[network->lock_order[at]] < network->groups[i]) {
            at++;
        }
        if (at < network->lock_count &&
            network->groups[network->lock_order[at]] == network->groups[i]) {
            continue;
        }
        memmove(&network->lock_order[at + 1], &network->lock_order[at],
                (network->lock_count - at) * sizeof network->lock_order[0]);
        network->lock_order[at] = i;
        network->lock_count++;
    }
}

static tl_status
create(tl_network **out, const tl_graph *graph, tl_parameters *const *groups,
       const size_t *picks, size_t group_count, const tl_ops *ops)
{
    tl_status status = TL_OUT_OF_MEMORY;
    tl_network *network = tl_alloc(1, sizeof *network);
    if (network == NULL) {
        goto done;
    }
    TL_TRY(tl_mutex_init(&network->lock));
    network->generation = tl_generation();
    network->ops = ops;
    TL_TRY(tl_graph_copy(&network->graph, graph));
    network->groups = tl_alloc(group_count, sizeof(tl_parameters *));
    network->lock_order = tl_alloc(group_count, sizeof *network->lock_order);
    network->tensors = tl_alloc(graph->param_count, sizeof *network->tensors);
    network->owners = tl_alloc(graph->param_count, sizeof *network->owners);
    network->versions = tl_alloc(graph->param_count, sizeof(unsigned long *));
    network->data = tl_alloc(graph->param_count, sizeof *network->data);
    if (network->groups == NULL || network->lock_order == NULL || network->tensors == NULL ||
        network->owners == NULL || network->versions == NULL || network->data == NULL) {
        status = TL_OUT_OF_MEMORY;
        goto done;
    }
    for (size_t i = 0; i < group_count; i++) {
        network->groups[network->group_count++] = tl_parameters_share(groups[i]);
    }
    order_locks(network);
    TL_TRY(bind_tensors(network, picks));

    *out = network; /* handed over */
    network = NULL;
done:
    tl_network_destroy(network);
    return status;
}

tl_status
tl_network_create(tl_network **out, const tl_graph *graph, tl_parameters *const *groups,
                  size_t group_count, const tl_ops *ops)
{
    return create(out, graph, groups, NULL, group_count, ops);
}

tl_status
tl_network_create_picked(tl_network **out, const tl_graph *graph, tl_parameters *const *groups,
                         const size_t *picks, size_t count, const tl_ops *ops)
{
    return create(out, graph, groups, picks, count, ops);
}

static void
entry_destroy(entry *e)
{
    if (e != NULL) {
        tl_program_destroy(e->program);
        tl_free(e->newest);
        tl_free(e->versions);
        tl_free(e);
    }
}

void
tl_network_destroy(tl_network *network)
{
    if (network == NULL) {
        return;
    }
    while (network->programs != NULL) {
        entry *next = network->programs->next;
        entry_destroy(network->programs);
        network->programs = next;
    }
    for (size_t i = 0; i < network->group_count; i++) {
        tl_parameters_release(network->groups[i]);
    }
    tl_graph_destroy(network->graph);
    tl_free(network->data);
    tl_free(network->versions);
    tl_free(network->owners);
    tl_free(network->tensors);
    tl_free(network->lock_order);
    tl_free(network->groups);
    tl_mutex_clear(&network->lock);
    tl_free(network);
}

const tl_graph *
tl_network_graph(const tl_network *network)
{
    return network->graph;
}

const tl_ops *
tl_network_ops(const tl_network *network)
{
    return network->ops;
}

const tl_tensor *
tl_network_tensor(const tl_network *network, size_t param)
{
    return &network->tensors[param];
}

const float *const *
tl_network_data(const tl_network *network)
{
    return network->data;
}

/* --- locks ------------------------------------------------------------------------------ */

void
tl_network_lock_read(tl_network *network)
{
    for (size_t i = 0; i < network->lock_count; i++) {
        tl_rwlock_read(&network->groups[network->lock_order[i]]->lock);
    }
}

void
tl_network_lock_write(tl_network *network)
{
    for (size_t i = 0; i < network->lock_count; i++) {
        tl_rwlock_write(&network->groups[network->lock_order[i]]->lock);
    }
}

void
tl_network_unlock(tl_network *network)
{
    for (size_t i = network->lock_count; i-- > 0;) {
        tl_rwlock_unlock(&network->groups[network->lock_order[i]]->lock);
    }
}

void
tl_network_touch(tl_network *network, const bool *params)
{
    for (size_t i = 0; i < network->lock_count; i++) {
        tl_parameters *group = network->groups[network->lock_order[i]];
        bool raised = false;
        for (size_t p = 0; p < network->graph->param_count; p++) {
            if (params[p] && network->groups[network->owners[p]] == group) {
                group->version += raised ? 0 : 1;
                raised = true;
                *network->versions[p] = group->version;
            }
        }
    }
}

unsigned long
tl_network_version(const tl_network *network)
{
    unsigned long sum = 0;
    for (size_t i = 0; i < network->lock_count; i++) {
        sum += network->groups[network->lock_order[i]]->version;
    }
    return sum;
}

/* --- programs --------------------------------------------------------------------------- */

static tl_status
entry_create(entry **out, tl_network *network, size_t start, size_t stop)
{
    tl_status status = TL_OUT_OF_MEMORY;
    entry *e = tl_alloc(1, sizeof *e);
    if (e == NULL) {
        goto done;
    }
    e->start = start;
    e->stop = stop;
    e->newest = tl_alloc(network->group_count, sizeof *e->newest);
    e->versions = tl_alloc(network->group_count, sizeof *e->versions);
    if (e->newest == NULL || e->versions == NULL) {
        goto done;
    }
    TL_TRY(tl_program_create(&e->program, network->graph, network->ops, start, stop));

    *out = e; /* handed over */
    e = NULL;
done:
    entry_destroy(e);
    return status;
}

/* Frees the programs that were used longest ago, all but MAX_PROGRAMS; holds network->lock. */
static void
drop_old_entries(tl_network *network)
{
    size_t count = 0;
    for (entry **link = &network->programs; *link != NULL;) {
        entry *e = *link;
        if (++count > MAX_PROGRAMS && e->users == 0) {
            tl_fork_guard_enter(); /* a forked child frees what it finds in the list */
            *link = e->next;
            entry_destroy(e);
            tl_fork_guard_leave();
        } else {
            link = &e->next;
        }
    }
}

/* The entry for this stretch, made if it is new, at the head; holds network->lock. */
static tl_status
find_entry(entry **out, tl_network *network, size_t start, size_t stop)
{
    tl_status status = TL_OK;
    entry **link = &network->programs;
    while (*link != NULL && ((*link)->start != start || (*link)->stop != stop)) {
        link = &(*link)->next;
    }
    entry *e = *link;
    if (e == NULL) {
        TL_TRY(entry_create(&e, network, start, stop));
    }
    tl_fork_guard_enter();
    if (*link != NULL) {
        *link = e->next;
    }
    e->next = network->programs;
    network->programs = e;
    tl_fork_guard_leave();
    drop_old_entries(network);
    *out = e;
done:
    return status;
}

/* Packs the weights again if one of the stretch changed; holds network->lock and the groups
 * for reading. */
static tl_status
refresh_entry(tl_network *network, entry *e)
{
    bool fresh = true;
    memset(e->newest, 0, network->group_count * sizeof *e->newest);
    for (size_t i = e->start + 1; i <= e->stop; i++) { /* both are nodes: the program exists */
        const tl_node *node = &network->graph->nodes[i];
        for (size_t p = node->first_param; p < node->first_param + node->param_count; p++) {
            unsigned long *newest = &e->newest[network->owners[p]];
            if (*newest < *network->versions[p] + 1) {
                *newest = *network->versions[p] + 1;
            }
        }
    }
    for (size_t i = 0; i < network->group_count; i++) {
        fresh = fresh && e->versions[i] == e->newest[i];
    }
    if (fresh) {
        return TL_OK;
    }
    const tl_status status = tl_program_pack(e->program, network->data);
    for (size_t i = 0; i < network->group_count; i++) {
        e->versions[i] = status == TL_OK ? e->newest[i] : 0;
    }
    return status;
}

/* An entry ready to run, until release_entry; the groups are held for reading. */
static tl_status
ready_entry(entry **out, tl_network *network, size_t start, size_t stop)
{
    tl_status status = TL_OK;
    entry *e;
    tl_mutex_lock(&network->lock);
    if (network->generation != tl_generation()) {
        network->programs = NULL; /* the parent's; may have been in the making at the fork */
        network->generation = tl_generation();
    }
    TL_TRY(find_entry(&e, network, start, stop));
    TL_TRY(refresh_entry(network, e));
    e->users++;
    *out = e;
done:
    tl_mutex_unlock(&network->lock);
    return status;
}

static void
release_entry(tl_network *network, entry *e)
{
    tl_mutex_lock(&network->lock);
    e->users--;
    tl_mutex_unlock(&network->lock);
}

/* Whether a run of this stretch brings images from the input to where they are used. On their
 * way to a random change of pictures they are still to come from there. */
static bool
carries_on(const tl_graph *graph, size_t start, size_t stop)
{
    for (size_t i = stop + 1; i < graph->count; i++) {
        if (graph->nodes[i].inputs[0] == stop && tl_node_is_augmentation(&graph->nodes[i])) {
            return false;
        }
    }
    return start == 0 || tl_node_is_augmentation(&graph->nodes[start]);
}

tl_status
tl_network_run(tl_network *network, float *dst, const float *src, size_t count, size_t start,
               size_t stop)
{
    return tl_network_run_images(network, dst, &(tl_images){.numbers = src}, count, start,
                                 stop);
}

tl_status
tl_network_run_images(tl_network *network, float *dst, const tl_images *src, size_t count,
                      size_t start, size_t stop)
{
    tl_status status = TL_OK;
    entry *e;
    if (src->numbers == NULL && start != 0) {
        return tl_fail(TL_BAD_VALUE, "bytes can be read at the input only, not from node %zu",
                       start);
    }
    tl_network_lock_read(network);
    TL_TRY(ready_entry(&e, network, start, stop));
    status = tl_program_run(e->program, dst, src, count);
    release_entry(network, e);
    if (status == TL_OK && start != stop && carries_on(network->graph, start, stop)) {
        atomic_fetch_add(&network->prefix_runs, count);
    }
done:
    tl_network_unlock(network);
    return status;
}

size_t
tl_network_prefix_runs(const tl_network *network)
{
    return atomic_load(&network->prefix_runs);
}

tl_status
tl_network_memory_plan(tl_network *network, tl_network_memory *memory, size_t start,
                       size_t stop)
{
    tl_status status = TL_OK;
    entry *e;
    tl_network_lock_read(network);
    TL_TRY(ready_entry(&e, network, start, stop));
    *memory = (tl_network_memory){
        .packed = tl_program_packed_bytes(e->program),
        .executor = tl_program_executor_bytes(e->program),
    };
    release_entry(network, e);
    for (size_t i = 0; i < network->lock_count; i++) {
        memory->parameters += network->groups[network->lock_order[i]]->arena.size;
    }
done:
    tl_network_unlock(network);
    return status;
}

/* --- the cut ---------------------------------------------------------------------------- */

/* True where training must run the node: it has a trainable parameter or is random. */
static bool
must_train(const tl_node *node, const bool *trainable)
{
    if (tl_node_is_random(node)) {
        return true;
    }
    for (size_t k = 0; k < node->param_count; k++) {
        if (trainable[node->first_param + k]) {
            return true;
        }
    }
    return false;
}

/* Whether every path to a node behind `cut` leads through `cut`. */
static bool
separates(const tl_graph *graph, size_t cut)
{
    for (size_t i = cut + 1; i < graph->count; i++) {
        for (size_t k = 0; k < graph->nodes[i].input_count; k++) {
            if (graph->nodes[i].inputs[k] < cut) {
                return false;
            }
        }
    }
    return true;
}

size_t
tl_network_cut(const tl_network *network, const bool *trainable)
{
    const tl_graph *graph = network->graph;
    const size_t output = graph->count - 1;
    const tl_node *last = &graph->nodes[output];
    /* the loss is computed from what goes into the output's activation */
    size_t limit = last->op == TL_OP_ACTIVATION ? last->inputs[0] : output;
    for (size_t i = 0; i <= limit; i++) {
        if (must_train(&graph->nodes[i], trainable)) {
            limit = i - 1; /* node 0 is the input: it has no parameters */
            break;
        }
    }
    while (!separates(graph, limit)) {
        limit--;
    }
    return limit;
}
