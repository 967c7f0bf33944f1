/* Affinity and control groups, read from the kernel. */
#include "core/cpu_count.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A kernel refuses a set that is smaller than its own; the largest are built for 8,192 CPUs. */
enum { SET_CPUS = 1 << 16, SET_BYTES = SET_CPUS / CHAR_BIT };

size_t
tl_cpu_count_by_affinity(void)
{
    unsigned long words[SET_BYTES / sizeof(unsigned long)] = {0};
    if (sched_getaffinity(0, sizeof words, (cpu_set_t *)(void *)words) == 0) {
        const int count = CPU_COUNT_S(sizeof words, (cpu_set_t *)(void *)words);
        return count > 0 ? (size_t)count : 1;
    }
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (size_t)online : 1;
}

/* --- quotas ----------------------------------------------------------------------------- */

/* Reads up to two numbers that a file begins with; how many there were. "max" is none. */
static int
read_numbers(double numbers[2], const char *folder, const char *name)
{
    char path[PATH_MAX];
    const int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof path) {
        return 0;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    const int count = fscanf(file, "%lf %lf", &numbers[0], &numbers[1]);
    fclose(file);
    return count < 0 ? 0 : count;
}

static size_t
whole_cpus(double quota, double period)
{
    if (!(quota > 0) || !(period > 0)) {
        return 0;
    }
    const double cpus = quota / period + 0.999;
    if (cpus >= SET_CPUS) {
        return 0;
    }
    return cpus < 1 ? 1 : (size_t)cpus;
}

/* The quota of one group: "quota period" in version 2, a file each in version 1 (-1: none). */
static size_t
group_quota(const char *folder, bool version_2)
{
    double quota[2];
    double period[2];
    if (version_2) {
        return read_numbers(quota, folder, "cpu.max") == 2 ? whole_cpus(quota[0], quota[1]) : 0;
    }
    if (read_numbers(quota, folder, "cpu.cfs_quota_us") < 1 ||
        read_numbers(period, folder, "cpu.cfs_period_us") < 1) {
        return 0;
    }
    return whole_cpus(quota[0], period[0]);
}

/* The smallest quota from `base`/`group` up to `base`. A container may not see its own path,
 * only the root, which then is its group. */
static size_t
least_quota(const char *base, const char *group, bool version_2)
{
    size_t least = 0;
    char folder[PATH_MAX];
    const size_t root = strlen(base);
    const int length = snprintf(folder, sizeof folder, "%s%s", base, group);
    if (length < 0 || (size_t)length >= sizeof folder) {
        return 0;
    }
    for (;;) {
        const size_t cpus = group_quota(folder, version_2);
        if (cpus > 0 && (least == 0 || cpus < least)) {
            least = cpus;
        }
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < root) {
            return least;
        }
        *slash = '\0';
    }
}

static size_t
smaller(size_t a, size_t b)
{
    return a == 0 || (b > 0 && b < a) ? b : a;
}

static bool
names_cpu(const char *controllers)
{
    for (const char *at = controllers; *at != '\0';) {
        const size_t length = strcspn(at, ",");
        if (length == 3 && strncmp(at, "cpu", 3) == 0) {
            return true;
        }
        at += length + (at[length] == ',');
    }
    return false;
}

/* The quota behind one "number:controllers:group" line. */
static size_t
line_quota(char *line, const char *mount)
{
    char base[PATH_MAX];
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL) {
        return 0;
    }
    *group++ = '\0';
    controllers++;
    group[strcspn(group, "\n")] = '\0';
    if (*controllers == '\0') {
        return least_quota(mount, group, true);
    }
    if (!names_cpu(controllers)) {
        return 0;
    }
    size_t least = 0;
    const char *const folders[] = {"cpu",
                                   controllers}; /* the one is often a link to the other */
    for (size_t i = 0; i < 2; i++) {
        const int length = snprintf(base, sizeof base, "%s/%s", mount, folders[i]);
        if (length > 0 && (size_t)length < sizeof base) {
            least = smaller(least, least_quota(base, group, false));
        }
    }
    return least;
}

size_t
tl_cpu_count_by_quota(const char *membership, const char *mount)
{
    size_t least = 0;
    char line[PATH_MAX];
    FILE *file = fopen(membership, "re");
    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        least = smaller(least, line_quota(line, mount));
    }
    fclose(file);
    return least;
}

size_t
tl_cpu_count(void)
{
    const size_t cpus = tl_cpu_count_by_affinity();
    const size_t quota = tl_cpu_count_by_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    return quota > 0 && quota < cpus ? quota : cpus;
}
