/* In place of gcc's omp.h, which clang cannot read: what csrc/dnnl calls of it. */
#ifndef TL_TESTS_FUZZ_OMP_H
#define TL_TESTS_FUZZ_OMP_H

void omp_set_num_threads(int count);

#endif
