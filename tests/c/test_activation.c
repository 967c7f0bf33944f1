/* Every activation: its values against double, its slopes against differences of these, kinks
 * as TensorFlow has them. To add a function, add it to reference_function. */
#include "check.h"
#include "core/activation.h"
#include "reference_ops.h"

static bool
sees_rows(tl_function function)
{
    return function == TL_SOFTMAX || function == TL_LOG_SOFTMAX;
}

/* From -20 to 20, more of them near 0; no kink among them. */
static float
point(int i)
{
    const double t = ((double)i - 200.5) / 200;
    return (float)(20 * t * t * t + 1e-3);
}

static void
test_values_and_slopes_are_those_of_the_function(void)
{
    for (int f = 0; f < TL_FUNCTION_COUNT; f++) {
        const tl_function function = (tl_function)f;
        for (int i = 0; i < 401 && !sees_rows(function); i++) {
            const float x = point(i);
            const float one = 1;
            float y = 0;
            float slope = 0.5F; /* is added to */
            const double h = 1e-6;
            const double up = reference_function(function, (double)x + h);
            const double down = reference_function(function, (double)x - h);
            const double here = reference_function(function, (double)x);
            const double expected = (up - down) / (2 * h);
            tl_activation_forward(&y, &x, 1, 1, function);
            tl_activation_backward(&slope, &one, &x, &y, 1, 1, function);
            CHECK_NEAR(y, here, 2e-6);
            CHECK_NEAR((double)slope - 0.5, expected, 5e-6);
        }
    }
}

static void
test_rows_have_the_gradients_of_their_sums(void)
{
    enum { COLS = 5 };
    const float x[COLS] = {0.3F, -2.0F, 1.7F, 0.0F, 40.0F - 39.0F};
    const float weights[COLS] = {1.0F, -0.5F, 2.0F, 0.25F, -1.5F};
    for (int logarithm = 0; logarithm < 2; logarithm++) {
        const tl_function function = logarithm != 0 ? TL_LOG_SOFTMAX : TL_SOFTMAX;
        float y[COLS];
        float grad[COLS] = {0};
        tl_activation_forward(y, x, 1, COLS, function);
        tl_activation_backward(grad, weights, x, y, 1, COLS, function);
        for (int c = 0; c < COLS; c++) {
            double value[2] = {0, 0};
            const double h = 1e-6;
            for (int side = 0; side < 2; side++) {
                double total = 0;
                double z[COLS];
                for (int k = 0; k < COLS; k++) {
                    z[k] = (double)x[k] + (k == c ? (side != 0 ? h : -h) : 0);
                    total += exp(z[k]);
                }
                for (int k = 0; k < COLS; k++) {
                    value[side] += (double)weights[k] *
                                   (logarithm != 0 ? z[k] - log(total) : exp(z[k]) / total);
                }
            }
            CHECK_NEAR(grad[c], (value[1] - value[0]) / (2 * h), 1e-6);
        }
    }
}

/* tf.GradientTape, TensorFlow 2.21. */
static void
test_slopes_at_kinks_are_tensorflows(void)
{
    static const struct {
        tl_function function;
        float x;
        float slope;
    } kinks[] = {
        {TL_RELU, 0.0F, 0.0F},          {TL_RELU, -0.0F, 0.0F},
        {TL_RELU6, 0.0F, 0.0F},         {TL_RELU6, 6.0F, 0.0F},
        {TL_ELU, 0.0F, 1.0F},           {TL_ELU, -0.0F, 1.0F},
        {TL_SELU, 0.0F, 1.050701F},     {TL_LEAKY_RELU, 0.0F, 0.2F},
        {TL_HARD_SIGMOID, -3.0F, 0.0F}, {TL_HARD_SIGMOID, 3.0F, 0.0F},
        {TL_HARD_SILU, -3.0F, 0.0F},    {TL_HARD_SILU, 3.0F, 1.0F},
    };
    for (size_t i = 0; i < sizeof kinks / sizeof kinks[0]; i++) {
        const float one = 1;
        float y = 0;
        float slope = 0;
        tl_activation_forward(&y, &kinks[i].x, 1, 1, kinks[i].function);
        tl_activation_backward(&slope, &one, &kinks[i].x, &y, 1, 1, kinks[i].function);
        CHECK_NEAR(slope, kinks[i].slope, 1e-6);
    }
}

static void
test_far_out_nothing_overflows_that_need_not(void)
{
    const float ends[] = {-1e4F, 1e4F};
    for (int f = 0; f < TL_FUNCTION_COUNT; f++) {
        const tl_function function = (tl_function)f;
        for (int i = 0; i < 2; i++) {
            const float one = 1;
            float y = 0;
            float slope = 0;
            tl_activation_forward(&y, &ends[i], 1, 1, function);
            tl_activation_backward(&slope, &one, &ends[i], &y, 1, 1, function);
            CHECK((isfinite(y) && isfinite(slope)) || (function == TL_EXPONENTIAL && i == 1));
            tl_activation_forward(&y, &(const float){NAN}, 1, 1, function);
            CHECK(isnan(y));
        }
    }
}

int
main(void)
{
    RUN(test_values_and_slopes_are_those_of_the_function);
    RUN(test_rows_have_the_gradients_of_their_sums);
    RUN(test_slopes_at_kinks_are_tensorflows);
    RUN(test_far_out_nothing_overflows_that_need_not);
    return REPORT();
}
