import psutil
import pytest

from cloche.planning.available import available_memory

GIB = 1 << 30


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def meminfo(available):
    return f"MemTotal: {64 << 20} kB\nMemFree: 1024 kB\nMemAvailable:   {available >> 10} kB\n"


def test_without_a_container_it_is_what_the_kernel_calls_available(tmp_path):
    write(tmp_path, {"proc/meminfo": meminfo(20 * GIB)})
    assert available_memory(root=tmp_path) == 20 * GIB


def test_a_group_of_version_2_allows_less_and_its_cached_files_can_go(tmp_path):
    write(
        tmp_path,
        {
            "proc/meminfo": meminfo(20 * GIB),
            "proc/self/cgroup": "0::/jobs/one\n",
            "sys/fs/cgroup/jobs/one/memory.max": "max\n",
            "sys/fs/cgroup/jobs/one/memory.current": f"{GIB}\n",
            "sys/fs/cgroup/jobs/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/jobs/memory.current": f"{3 * GIB}\n",
            "sys/fs/cgroup/jobs/memory.stat": f"anon 5\ninactive_file {GIB}\n",
        },
    )
    assert available_memory(root=tmp_path) == 6 * GIB


@pytest.mark.parametrize("group", ["/docker/0123abcd", "/../..", "/"])
def test_in_a_container_the_limit_lies_at_the_mount_itself(tmp_path, group):
    write(
        tmp_path,
        {
            "proc/meminfo": meminfo(20 * GIB),
            "proc/self/cgroup": f"0::{group}\n",
            "sys/fs/cgroup/memory.max": f"{2 * GIB}",
            "sys/fs/cgroup/memory.current": f"{GIB // 2}",
        },
    )
    assert available_memory(root=tmp_path) == 3 * GIB // 2


@pytest.mark.parametrize(
    ("limit", "left"), [(str(4 * GIB), 3 * GIB), ("9223372036854771712", 20 * GIB)]
)
def test_a_group_of_version_1(tmp_path, limit, left):
    write(
        tmp_path,
        {
            "proc/meminfo": meminfo(20 * GIB),
            "proc/self/cgroup": "12:cpu,cpuacct:/x\n4:memory:/slurm/job\n",
            "sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes": limit,
            "sys/fs/cgroup/memory/slurm/job/memory.usage_in_bytes": str(2 * GIB),
            "sys/fs/cgroup/memory/slurm/job/memory.stat": f"total_inactive_file {GIB}\n",
        },
    )
    assert available_memory(root=tmp_path) == left


def test_a_group_over_its_limit_leaves_nothing(tmp_path):
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "100",
            "sys/fs/cgroup/memory.current": "200",
        },
    )
    assert available_memory(root=tmp_path) == 0


def test_where_there_is_no_proc_the_system_is_asked(tmp_path, monkeypatch):
    class Found:
        available = 7 * GIB

    monkeypatch.setattr(psutil, "virtual_memory", Found)
    assert available_memory(root=tmp_path) == 7 * GIB


def test_this_machine_has_some():
    assert 0 < available_memory() <= psutil.virtual_memory().total
