/* How many CPUs: big machines, and control groups of both versions laid out in a folder. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "core/cpu_count.h"

/* --- affinity --------------------------------------------------------------------------- */

static size_t machine_cpus; /* 0: the real machine */

/* Stands in for the C library's: a kernel for many CPUs refuses sets that are smaller. */
int
sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    if (machine_cpus == 0) {
        const long bytes = syscall(SYS_sched_getaffinity, pid, size, set);
        return bytes < 0 ? -1 : 0;
    }
    if (size * 8 < machine_cpus) {
        errno = EINVAL;
        return -1;
    }
    for (size_t cpu = 0; cpu < machine_cpus; cpu++) {
        CPU_SET_S(cpu, size, set);
    }
    return 0;
}

static void
test_the_real_machine(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    machine_cpus = 0;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
    CHECK(tl_cpu_count_by_affinity() == (size_t)CPU_COUNT(&set));
    CHECK(tl_cpu_count() >= 1 && tl_cpu_count() <= tl_cpu_count_by_affinity());
}

static void
test_machines_with_thousands_of_cpus(void)
{
    machine_cpus = 8192;
    CHECK(tl_cpu_count_by_affinity() == 8192);
    machine_cpus = 1025;
    CHECK(tl_cpu_count_by_affinity() == 1025);
    machine_cpus = 1u << 20; /* beyond all kernels: what is online counts */
    CHECK(tl_cpu_count_by_affinity() == (size_t)sysconf(_SC_NPROCESSORS_ONLN));
    machine_cpus = 0;
}

/* --- control groups --------------------------------------------------------------------- */

static char folder[64];

static const char *
inside(const char *name)
{
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Writes a file, and makes the folders on the way to it. */
static void
put(const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s", inside(name));
    for (char *at = path + strlen(folder) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    if (file != NULL) {
        (void)fputs(text, file);
        (void)fclose(file);
    }
}

static size_t
quota(const char *membership)
{
    char mount[512];
    put("membership", membership);
    (void)snprintf(mount, sizeof mount, "%s", inside("mount"));
    return tl_cpu_count_by_quota(inside("membership"), mount);
}

static void
test_quotas_of_version_2(void)
{
    put("mount/job/step/cpu.max", "max 100000\n");
    put("mount/job/cpu.max", "250000 100000\n");
    put("mount/small/cpu.max", "1000 100000\n");
    put("mount/exact/cpu.max", "400000 100000\n");
    CHECK(quota("0::/job/step\n") == 3); /* rounded up; the group above counts */
    CHECK(quota("0::/small\n") == 1);
    CHECK(quota("0::/exact\n") == 4);
    CHECK(quota("0::/\n") == 0);
    CHECK(quota("0::/gone/elsewhere\n") == 0);
}

static void
test_quotas_of_version_1(void)
{
    put("mount/cpu/job/cpu.cfs_quota_us", "-1\n");
    put("mount/cpu/job/cpu.cfs_period_us", "100000\n");
    put("mount/cpu/cpu.cfs_quota_us", "150000\n");
    put("mount/cpu/cpu.cfs_period_us", "100000\n");
    put("mount/cpu,cpuacct/named/cpu.cfs_quota_us", "50000\n");
    put("mount/cpu,cpuacct/named/cpu.cfs_period_us", "50000\n");
    put("mount/cpu,cpuacct/broken/cpu.cfs_quota_us", "50000\n");
    CHECK(quota("4:memory:/job\n1:cpu:/job\n0::/\n") == 2);
    CHECK(quota("1:cpu:/a/container/does/not/see/its/path\n") == 2);
    CHECK(quota("2:cpu,cpuacct:/named\n") == 1);
    CHECK(quota("2:cpuacct,cpu:/broken\n") ==
          2); /* no period there; the root of "cpu" counts */
    CHECK(quota("2:cpuset:/job\n3:cpuacct:/job\n") == 0);
}

static void
test_the_least_of_both_versions_counts(void)
{
    put("mount/both/cpu.max", "300000 100000\n");
    put("mount/cpu/both/cpu.cfs_quota_us", "100000\n");
    put("mount/cpu/both/cpu.cfs_period_us", "100000\n");
    CHECK(quota("1:cpu:/both\n0::/both\n") == 1);
}

static void
test_what_is_no_quota(void)
{
    put("mount/odd/cpu.max", "many 100000\n");
    put("mount/zero/cpu.max", "100000 0\n");
    put("mount/huge/cpu.max", "1e300 1\n");
    put("mount/nan/cpu.max", "nan 100000\n");
    CHECK(quota("0::/odd\n") == 0);
    CHECK(quota("0::/zero\n") == 0);
    CHECK(quota("0::/huge\n") == 0);
    CHECK(quota("0::/nan\n") == 0);
    CHECK(quota("") == 0);
    CHECK(quota("nonsense\n1:cpu\n::\n") == 0);
    CHECK(tl_cpu_count_by_quota(inside("missing"), folder) == 0);
}

static void
test_long_paths(void)
{
    char line[5000] = "0::";
    for (size_t i = 3; i < sizeof line - 1; i++) {
        line[i] = i % 100 == 3 ? '/' : 'g';
    }
    CHECK(quota(line) == 0);
    line[600] = '\0'; /* longer than one name, as where groups are nested deeply */
    (void)snprintf(line + 600, 2, "\n");
    CHECK(quota(line) == 0);
}

int
main(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/tlcore-cpus-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        (void)printf("no folder for tests\n");
        return 1;
    }
    RUN(test_the_real_machine);
    RUN(test_machines_with_thousands_of_cpus);
    RUN(test_quotas_of_version_2);
    RUN(test_quotas_of_version_1);
    RUN(test_the_least_of_both_versions_counts);
    RUN(test_what_is_no_quota);
    RUN(test_long_paths);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
    return REPORT();
}
