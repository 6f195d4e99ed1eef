"""A real S3 server on loopback, for tests and trials: OpenStack Swift (`s3api`, `tempauth`, `slo`) behind nginx.

    apt-get install --no-install-recommends swift-proxy swift-account swift-container swift-object nginx-light
    python infra/s3/server.py start FOLDER    # prints the address and keys as JSON
    python infra/s3/server.py stop FOLDER
    python infra/s3/server.py guard FOLDER    # stops it when its own stdin closes

Everything it writes is in FOLDER, which needs extended attributes (ext4, xfs). Ports are free ones. Two users: the
owner may do everything in the account, the stranger nothing. nginx stands in front because Swift's own replies are
more than aiohttp, which DVC's S3 remote uses, can read.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

DEBIAN_PYTHON = "/usr/bin/python3"
RINGS = """\
import json, sys
from swift.common.ring import RingBuilder
for kind, port in json.loads(sys.argv[2]).items():
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1,
                     "replication_ip": "127.0.0.1", "replication_port": port, "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{kind}.ring.gz")
"""
PROGRAMS = (
    "swift-proxy-server",
    "swift-account-server",
    "swift-container-server",
    "swift-object-server",
    "nginx",
)
STORES = ("account", "container", "object")
KEYS = {
    "access_key_id": "factory:owner",
    "secret_access_key": "owner-secret",
    "stranger_key_id": "factory:stranger",
    "stranger_secret": "stranger-secret",
}
START_S = 60

STORE = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {etc}
devices = {disks}
mount_check = false
workers = 0
eventlet_debug = false
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""

PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {etc}
workers = 0
[pipeline:main]
pipeline = catch_errors cache s3api tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{nothing}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_factory_owner = owner-secret .admin
user_factory_stranger = stranger-secret
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/log/nginx-error.log;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/log/requests.log;
  client_body_temp_path {folder}/tmp/body;
  proxy_temp_path {folder}/tmp/proxy;
  fastcgi_temp_path {folder}/tmp/fastcgi;
  uwsgi_temp_path {folder}/tmp/uwsgi;
  scgi_temp_path {folder}/tmp/scgi;
  client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{proxy};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_request_buffering off;
    }}
  }}
}}
"""


def missing_programs() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


def start(folder: Path) -> dict[str, str]:
    """Return address and keys of a server that answers; raises RuntimeError with its log if it does not."""
    if missing := missing_programs():
        raise RuntimeError(f"{', '.join(missing)} not installed; see the apt-get line in {__file__}")
    folder = folder.resolve()
    etc, disks = folder / "etc", folder / "disks"
    for part in (etc, disks / "d1", folder / "log", folder / "tmp"):
        part.mkdir(parents=True, exist_ok=True)
    ports = dict(zip((*STORES, "proxy", "nginx", "nothing"), _free_ports(6), strict=True))
    user = getpass.getuser()
    secret = os.urandom(8).hex()
    (etc / "swift.conf").write_text(
        f"[swift-hash]\nswift_hash_path_suffix = {secret}\nswift_hash_path_prefix = {secret}\n"
        "[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    for kind in STORES:
        (etc / f"{kind}.conf").write_text(STORE.format(kind=kind, port=ports[kind], user=user, etc=etc, disks=disks))
    _rings(etc, ports)
    (etc / "proxy.conf").write_text(PROXY.format(port=ports["proxy"], user=user, etc=etc, nothing=ports["nothing"]))
    (etc / "nginx.conf").write_text(NGINX.format(folder=folder, port=ports["nginx"], proxy=ports["proxy"]))
    commands = {kind: [f"swift-{kind}-server", str(etc / f"{kind}.conf")] for kind in (*STORES, "proxy")}
    commands["nginx"] = ["nginx", "-p", str(folder), "-c", str(etc / "nginx.conf")]
    pids = {name: _spawn(command, folder / "log" / f"{name}.log") for name, command in commands.items()}
    (folder / "pids.json").write_text(json.dumps(pids))
    endpoint = f"http://127.0.0.1:{ports['nginx']}"
    try:
        _wait(endpoint, [ports[name] for name in commands])
    except RuntimeError as error:
        stop(folder)
        logs = "\n".join(p.read_text(errors="replace")[-1500:] for p in sorted((folder / "log").glob("*.log")))
        raise RuntimeError(f"{error}\n{logs}") from None
    told = {"endpoint_url": endpoint, "region": "us-east-1", **KEYS}
    (folder / "server.json").write_text(json.dumps(told, indent=1))
    return told


def guard(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that stops the server when this one ends, however it ends; closing its stdin does it too."""
    command = [sys.executable, __file__, "guard", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def stop(folder: Path) -> None:
    """End the processes that `start` began in this folder, by their ids; the files stay."""
    listed = folder.resolve() / "pids.json"
    if not listed.is_file():
        return
    pids = [pid for pid in json.loads(listed.read_text()).values() if _ours(pid, folder.resolve())]
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            if _ours(pid, folder.resolve()):
                os.kill(pid, kind)
        until = time.monotonic() + 5
        while any(_ours(pid, folder.resolve()) for pid in pids) and time.monotonic() < until:
            time.sleep(0.05)
    listed.unlink()


def _ours(pid: int, folder: Path) -> bool:
    """Return whether the process runs and was begun for this folder: an id may have passed on to another program."""
    try:
        with Path(f"/proc/{pid}/stat").open() as handle:
            if handle.read().rpartition(")")[2].split()[0] == "Z":
                os.waitpid(pid, os.WNOHANG)
                return False
        return str(folder) in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ChildProcessError):
        return False


def _rings(etc: Path, ports: dict[str, int]) -> None:
    """Write the three rings in one go: nine calls of swift-ring-builder take ten seconds."""
    wanted = json.dumps({kind: ports[kind] for kind in STORES})
    subprocess.run([DEBIAN_PYTHON, "-c", RINGS, str(etc), wanted], check=True, env=_environment())


def _spawn(command: list[str], log: Path) -> int:
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=_environment()
        )
    return process.pid


def _environment() -> dict[str, str]:
    # Swift is Debian's Python's; packages of this project must not come before its own.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "PATH": _path()}


def _path() -> str:
    return os.pathsep.join(["/usr/sbin", "/usr/bin", "/sbin", "/bin"])


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait(endpoint: str, ports: list[int]) -> None:
    until = time.monotonic() + START_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until:
        try:
            for port in ports:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            opener.open(endpoint, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            if error.code < 500:  # it asks who we are: it works
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"{endpoint}: no S3 server after {START_S} s")


def main() -> None:
    """Start, stop or guard a server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("start", "stop", "guard"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "guard":
        sys.stdin.buffer.read()
    if arguments.verb in ("stop", "guard"):
        stop(arguments.folder)
        return
    try:
        print(json.dumps(start(arguments.folder), indent=1))
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
