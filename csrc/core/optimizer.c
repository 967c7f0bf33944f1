/* SGD and Adam. */
#include "core/optimizer.h"

#include <math.h>

size_t
tl_optimizer_slots(const tl_optimizer *optimizer)
{
    if (optimizer->kind == TL_ADAM) {
        return 2;
    }
    return optimizer->momentum != 0 ? 1 : 0;
}

static void
update_sgd(const tl_optimizer *o, float *weights, float *velocity, const float *grad,
           size_t count, float learning_rate)
{
    for (size_t i = 0; i < count; i++) {
        const float move = -learning_rate * grad[i];
        if (velocity == NULL) {
            weights[i] += move;
            continue;
        }
        velocity[i] = o->momentum * velocity[i] + move;
        weights[i] += o->nesterov ? o->momentum * velocity[i] + move : velocity[i];
    }
}

static void
update_adam(const tl_optimizer *o, float *weights, float *m, float *v, const float *grad,
            size_t count, float learning_rate, uint64_t step)
{
    const float power_1 = powf((float)o->beta_1, (float)step);
    const float power_2 = powf((float)o->beta_2, (float)step);
    const float share_1 = (float)(1.0 - o->beta_1);
    const float share_2 = (float)(1.0 - o->beta_2);
    const float rate = learning_rate * sqrtf(1.0F - power_2) / (1.0F - power_1);
    for (size_t i = 0; i < count; i++) {
        m[i] += (grad[i] - m[i]) * share_1;
        v[i] += (grad[i] * grad[i] - v[i]) * share_2;
        weights[i] -= m[i] * rate / (sqrtf(v[i]) + o->epsilon);
    }
}

void
tl_optimizer_update(const tl_optimizer *optimizer, float *weights,
                    float *const slots[TL_MAX_SLOTS], const float *grad, size_t count,
                    float learning_rate, uint64_t step)
{
    if (optimizer->kind == TL_ADAM) {
        update_adam(optimizer, weights, slots[0], slots[1], grad, count, learning_rate, step);
    } else {
        update_sgd(optimizer, weights, slots[0], grad, count, learning_rate);
    }
}
