/* How many CPUs this process may use: by affinity, and by the quotas of its control groups. */
#ifndef TL_CORE_CPU_COUNT_H
#define TL_CORE_CPU_COUNT_H

#include <stddef.h>

/* At least 1. Asked anew at every call. */
size_t tl_cpu_count(void);

/* CPUs by affinity alone, at least 1. */
size_t tl_cpu_count_by_affinity(void);

/* The smallest quota, rounded up to whole CPUs, on the way from the process's control group up
 * to the root, of versions 1 and 2; 0 where there is none. `membership` is a file such as
 * /proc/self/cgroup, `mount` the folder where groups are, such as /sys/fs/cgroup. */
size_t tl_cpu_count_by_quota(const char *membership, const char *mount);

#endif
