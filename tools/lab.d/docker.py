"""dockerd on a network node, and the one image of the lab."""

from nodes import cgroup

IMAGE = "busybox"


CONF = "/etc/docker/daemon.json"


def start(node):
    launch(node)
    if not node.succeeds("docker", "image", "inspect", IMAGE):
        make_image(node)


def launch(node):
    options = ["--host", "unix:///run/docker.sock", "--pidfile", "/run/docker.pid", "--cgroup-parent", cgroup(node)]
    node.launch("dockerd", "dockerd", *options)
    node.await_service("dockerd", 180, "docker", "version")


def restart_under_containers(node):
    """Another dockerd over the same running containers. It is told so by its file, and reads that on SIGHUP."""
    node.write(CONF, '{"live-restore": true}\n')
    node.run("sh", "-c", "kill -HUP $(cat /run/lab/dockerd.pid)")
    node.await_service("dockerd", 60, "sh", "-c", "docker info --format '{{.LiveRestoreEnabled}}' | grep -q true")
    node.stop("dockerd")
    launch(node)


def make_image(node):
    """No registry can be reached from a node; busybox makes an image by itself."""
    node.run("sh", "-c", f"""set -e; root=$(mktemp -d); mkdir $root/bin $root/tmp; cp "$(command -v busybox)" $root/bin/busybox
        for applet in $($root/bin/busybox --list); do [ $applet = busybox ] || ln -s busybox $root/bin/$applet; done
        tar -C $root -c . | docker import --change 'CMD ["sh"]' - {IMAGE}; rm -rf $root""")
