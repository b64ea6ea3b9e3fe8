"""No connection leaves the machine, from start to end, workers included."""

import re
import subprocess

import pytest
from fixtures.runs import digests

from faults.conftest import needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
_LOOPBACK = re.compile(r"127\.|0\.0\.0\.0$|::1$|::$|::ffff:127\.")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_are_the_same_where_only_loopback_is_up(case, undisturbed, tmp_path, workers):
    needs("unshare")
    needs("ip")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to make a network namespace")
    inside = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    code, text = case.run(tmp_path / "out", "--workers", workers, prefix=inside)
    assert code == 0, text
    assert digests(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_no_socket_of_any_process_goes_anywhere_but_loopback(case, undisturbed, tmp_path, workers):
    needs("strace")
    trace = tmp_path / "trace"
    watch = ("strace", "--follow-forks", "--quiet=all", "-e", "trace=connect,sendto,sendmsg,bind", "-o", str(trace))
    if subprocess.run([*watch[:-1], "/dev/null", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to trace processes")
    code, text = case.run(tmp_path / "out", "--workers", workers, prefix=watch)  # strace ends when the last process has
    assert code == 0, text
    assert digests(tmp_path / "out") == undisturbed
    addresses = {first or second for first, second in _ADDRESS.findall(trace.read_text())}
    assert not [address for address in addresses if not _LOOPBACK.match(address)]
    assert workers == 1 or addresses, "a trace without any connection cannot have watched Dask"
