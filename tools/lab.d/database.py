"""The controller's MariaDB, RabbitMQ and memcached, with the Debian packages' own data directories."""

from places import NAME, PASSWORD

SCHEMAS = ("keystone", "neutron")


def start_mariadb(node, *options):
    node.file("/run/mysqld").mkdir(exist_ok=True)
    node.run("chown", "mysql:", "/run/mysqld")
    # Nobody needs the data after a power failure.
    fast = ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--sync-binlog=0"]
    node.launch("mariadb", "mariadbd", "--user=mysql", "--bind-address=127.0.0.1", "--max-connections=1000", *fast, *options)
    node.await_service("mariadb", 120, "mariadb-admin", "ping")


def start_database(node):
    start_mariadb(node, "--skip-name-resolve")
    for schema in SCHEMAS:
        node.run("mariadb", "--execute", f"""CREATE DATABASE IF NOT EXISTS {schema};
            GRANT ALL ON {schema}.* TO '{schema}'@'localhost' IDENTIFIED BY '{PASSWORD}';
            GRANT ALL ON {schema}.* TO '{schema}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'""")
    start_memcached(node)


def start_memcached(node):
    node.launch("memcached", "memcached", "-u", "memcache", "-l", "127.0.0.1")


def migrate(node, schema, cache, *command):
    """Makes the tables of a schema by the command, once; later labs load them from the cache, which saves half of their start."""
    dump = cache / f"{schema}.sql"
    inside = f"/var/tmp/{schema}.sql"
    if dump.exists():
        node.write(inside, dump.read_text())
        node.run("sh", "-c", f"mariadb {schema} <{inside}")
        return
    node.run(*command)
    text = node.run("mariadb-dump", schema)
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f"{schema}.{NAME}.partial"
    partial.write_text(text)
    partial.rename(dump)


def database_url(schema):
    return f"mysql+pymysql://{schema}:{PASSWORD}@127.0.0.1/{schema}?charset=utf8"


def start_rabbitmq(node):
    """Returns what runs a command of rabbitmqctl there."""
    environment = {
        "RABBITMQ_NODENAME": f"rabbit@{node.name}",
        "RABBITMQ_NODE_IP_ADDRESS": node.address,
        "HOME": "/var/lib/rabbitmq",
    }
    node.launch("rabbitmq", "/usr/lib/rabbitmq/bin/rabbitmq-server", user="rabbitmq", environment=environment)

    def control(*arguments):
        return node.run("/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", *arguments, user="rabbitmq", environment=environment)

    node.await_service("rabbitmq", 180, "bash", "-c", f"exec 3<>/dev/tcp/{node.address}/5672")
    control("await_startup", "--timeout", "120")
    return control


def start_messages(node):
    control = start_rabbitmq(node)
    if "openstack" not in control("list_users"):
        control("add_user", "openstack", PASSWORD)
        control("set_permissions", "openstack", ".*", ".*", ".*")


def messages_url(node):
    return f"rabbit://openstack:{PASSWORD}@{node.address}:5672/"
