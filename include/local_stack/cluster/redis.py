"""Redis from the system's packages, as Celery's broker: a password, every message kept in a file, loopback only."""

import os
from functools import partial

from include.local_stack.cluster.configuration import ClusterConfiguration
from include.local_stack.env_file import write_private
from include.local_stack.ports import HOST
from include.local_stack.process import Component, RunFile


def redis_component(cluster: ClusterConfiguration) -> Component:
    """The broker, and its file of settings: the password must not stand on a command line."""
    port, directory = cluster.stack.ports["redis"], cluster.redis
    directory.mkdir(parents=True, exist_ok=True)
    settings_file = directory / "redis.conf"
    write_private(
        settings_file,
        f"bind {HOST}\nport {port.number}\nprotected-mode yes\nrequirepass {cluster.secrets['REDIS_PASSWORD']}\n"
        # A message that was accepted survives a kill: what waits in the broker is work that Airflow counts on.
        f"appendonly yes\nappendfsync everysec\ndir {directory}\n"
        "maxmemory-policy noeviction\ndaemonize no\n",
    )
    return Component(
        name="redis",
        arguments=("redis-server", str(settings_file)),
        environment={},
        inherited={name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ},
        directory=directory,
        ports=(port,),
        healthy=partial(_is_healthy, cluster.broker_url),
    )


def _is_healthy(url: str, _: RunFile) -> bool:
    """Whether it answers PING with our password: while it reads its file it refuses."""
    import redis

    with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
